//! The catalogue of metrics: every name, type, label and meaning, in one place.
//!
//! Promises: names follow `penstock_<part>_<what>_<unit>[_total]` with base units; labels come from closed
//! sets, never from an id, a message or a query; every series known in advance is there at 0 from the start,
//! so that an alert never meets an absent one. Each plant has its own registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::actor_metrics::ActorMetrics;

/// The actors of the line, in flow order, then those that serve or watch them.
pub const ACTORS: [&str; 13] = [
    "batcher",
    "fetcher",
    "composer",
    "text_batcher",
    "embedder",
    "sync_writer",
    "lead_intake",
    "assessor",
    "warehouse_writer",
    "cache",
    "rate_limiter",
    "batch_gateway",
    "supervisor",
];

/// Surfaces of the org's API that are counted apart.
pub const ORG_APIS: [&str; 6] = ["auth", "rest", "tooling", "composite", "limits", "bulk"];
/// How a call to the org can end.
pub const ORG_OUTCOMES: [&str; 5] = ["ok", "throttled", "unauthorized", "failed", "network"];

/// What a circuit breaker does, as the `state` label says it.
pub const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];
/// Who works, as the `priority` label says it.
pub const PRIORITIES: [&str; 3] = ["interactive", "normal", "bulk"];

/// How a batch can end.
pub const BATCH_OUTCOMES: [&str; 5] = ["ok", "partial", "failed", "invalid", "rejected"];
/// Why a batch, or one of its operations, was run again.
pub const BATCH_RETRIES: [&str; 4] = ["serialization_failure", "deadlock", "busy", "connection_lost"];
/// Where a batch is counted that was refused before a database was chosen, and an operation on an entity that is not there.
pub const NOWHERE: &str = "none";

/// What can become of a lead.
pub const LEAD_OUTCOMES: [&str; 4] = ["assessed", "failed", "no_record", "unread"];
/// Where a lead job can be.
pub const LEAD_PHASES: [&str; 6] = ["intake", "assessing", "awaiting_batch", "reporting", "done", "failed"];
/// What can become of a row that a sync read.
pub const SYNC_ROW_OUTCOMES: [&str; 4] = ["written", "unchanged", "deleted", "rejected"];
/// How a load into the warehouse can end.
pub const SYNC_LOAD_RESULTS: [&str; 3] = ["committed", "failed", "stopped"];
/// How a request to a model can end; `unusable` was answered and paid, and of no use.
pub const MODEL_OUTCOMES: [&str; 6] = ["ok", "unusable", "throttled", "refused", "failed", "network"];
/// What a model counts its tokens as.
pub const TOKEN_KINDS: [&str; 2] = ["prompt", "completion"];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, with a sum.
    Histogram,
}

impl Kind {
    /// The word of the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One line of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The name in full.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What one of it is.
    pub unit: &'static str,
    /// What it tells.
    pub help: &'static str,
}

/// Something the catalogue can make from a definition.
trait Instrument: Collector + Clone + Sized + 'static {
    const KIND: Kind;
    fn make(definition: &Definition) -> prometheus::Result<Self>;
}

macro_rules! instruments {
    ($($type:ty, $kind:ident, |$definition:ident| $make:expr;)*) => { $(
        impl Instrument for $type {
            const KIND: Kind = Kind::$kind;
            fn make($definition: &Definition) -> prometheus::Result<Self> { $make }
        }
    )* };
}
instruments! {
    IntCounter, Counter, |d| IntCounter::with_opts(Opts::new(d.name, d.help));
    IntCounterVec, Counter, |d| IntCounterVec::new(Opts::new(d.name, d.help), d.labels);
    prometheus::Counter, Counter, |d| prometheus::Counter::with_opts(Opts::new(d.name, d.help));
    prometheus::CounterVec, Counter, |d| prometheus::CounterVec::new(Opts::new(d.name, d.help), d.labels);
    IntGauge, Gauge, |d| IntGauge::with_opts(Opts::new(d.name, d.help));
    IntGaugeVec, Gauge, |d| IntGaugeVec::new(Opts::new(d.name, d.help), d.labels);
    Gauge, Gauge, |d| Gauge::with_opts(Opts::new(d.name, d.help));
    GaugeVec, Gauge, |d| GaugeVec::new(Opts::new(d.name, d.help), d.labels);
    Histogram, Histogram, |d| Histogram::with_opts(histogram(d));
    HistogramVec, Histogram, |d| HistogramVec::new(histogram(d), d.labels);
}

/// From 100 microseconds (a composer) to two minutes (a handler's timeout).
const SECONDS: [f64; 15] =
    [1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// From one to the largest batch, and what it may become.
const COUNTS: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 1_000.0];

fn histogram(definition: &Definition) -> HistogramOpts {
    let buckets = if definition.unit == "seconds" { SECONDS.to_vec() } else { COUNTS.to_vec() };
    HistogramOpts::new(definition.name, definition.help).buckets(buckets)
}

macro_rules! catalogue {
    ($( $field:ident : $type:ty = $name:literal [$($label:literal),*] $unit:literal $help:literal; )*) => {
        /// Every metric of ours there is; those of the process come from the kernel.
        pub const CATALOGUE: &[Definition] = &[ $( Definition {
            name: $name, kind: <$type as Instrument>::KIND, labels: &[$($label),*], unit: $unit, help: $help,
        } ),* ];

        /// The instruments, one field each.
        #[derive(Debug)]
        pub struct Instruments { $( #[doc = $help] pub $field: $type, )* }

        impl Instruments {
            pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
                let mut definitions = CATALOGUE.iter();
                $(
                    let definition = definitions.next().ok_or(prometheus::Error::AlreadyReg)?;
                    let $field = <$type as Instrument>::make(definition)?;
                    registry.register(Box::new($field.clone()))?;
                )*
                Ok(Self { $($field),* })
            }
        }
    };
}

catalogue! {
    actor_mailbox_messages: IntGaugeVec = "penstock_actor_mailbox_messages" ["actor"] "items"
        "Items in the fullest lane of an actor's mailbox: waiting, in hand, or waiting for downstream.";
    actor_mailbox_bytes: IntGaugeVec = "penstock_actor_mailbox_bytes" ["actor"] "bytes"
        "Bytes in the fullest lane of an actor's mailbox.";
    actor_mailbox_capacity_messages: IntGaugeVec = "penstock_actor_mailbox_capacity_messages" ["actor"] "items"
        "Items each lane of an actor's mailbox may hold.";
    actor_mailbox_capacity_bytes: IntGaugeVec = "penstock_actor_mailbox_capacity_bytes" ["actor"] "bytes"
        "Bytes each lane of an actor's mailbox may hold.";
    actor_messages_total: IntCounterVec = "penstock_actor_messages_total" ["actor", "outcome"] "items"
        "Items an actor resolved, by outcome; fenced answers came too late to count.";
    actor_handle_seconds: HistogramVec = "penstock_actor_handle_seconds" ["actor"] "seconds"
        "Time an actor worked on an item or batch, without waiting for downstream.";
    actor_mailbox_wait_seconds: HistogramVec = "penstock_actor_mailbox_wait_seconds" ["actor"] "seconds"
        "Time an item waited in the mailbox before it was leased.";
    actor_blocked_seconds_total: prometheus::CounterVec = "penstock_actor_blocked_seconds_total" ["actor"] "seconds"
        "Time an actor's slots waited for room downstream.";
    actor_restarts_total: IntCounterVec = "penstock_actor_restarts_total" ["actor", "reason"] "restarts"
        "Incarnations that replaced an earlier one, by what ended it.";
    actor_redeliveries_total: IntCounterVec = "penstock_actor_redeliveries_total" ["actor", "reason"] "items"
        "Items handed out again, by why the attempt before did not resolve them.";
    actor_dead_letters_total: IntCounterVec = "penstock_actor_dead_letters_total" ["actor"] "items"
        "Items given up after their last attempt.";
    actor_in_flight: IntGaugeVec = "penstock_actor_in_flight" ["actor"] "items"
        "Items in an actor's hands now.";
    actor_incarnation: IntGaugeVec = "penstock_actor_incarnation" ["actor"] "number"
        "Number of the incarnation at work, from 1; 0 before the first.";
    actor_state: IntGaugeVec = "penstock_actor_state" ["actor", "state"] "boolean"
        "1 for the state an actor is in, 0 for the others.";

    engine_escalations_total: IntCounter = "penstock_engine_escalations_total" [] "escalations"
        "Times the restart budget was overrun and the daemon became degraded.";
    engine_arbiters_abandoned_total: IntCounter = "penstock_engine_arbiters_abandoned_total" [] "threads"
        "Threads left behind because something blocked them.";
    paused: IntGaugeVec = "penstock_paused" ["scope"] "boolean"
        "1 while paused: by the operator, by a spent quota, or because the engine is degraded.";

    org_requests_total: IntCounterVec = "penstock_org_requests_total" ["api", "outcome"] "requests"
        "Requests to the org, by API surface and outcome.";
    org_request_seconds: HistogramVec = "penstock_org_request_seconds" ["api"] "seconds"
        "Time from sending a request to the last byte of its answer.";
    org_quota_used_ratio: GaugeVec = "penstock_org_quota_used_ratio" ["limit"] "ratio"
        "Share of an org limit used, of the org nearest to it.";
    org_quota_remaining: GaugeVec = "penstock_org_quota_remaining" ["limit"] "calls"
        "What is left of an org limit, of the org with the least.";
    org_quota_room: GaugeVec = "penstock_org_quota_room" ["priority"] "calls"
        "Calls left before a priority stops at its share of the daily quota, of the org with the least.";
    org_breakers: IntGaugeVec = "penstock_org_breakers" ["api", "state"] "breakers"
        "Circuit breakers of an API surface in a state, one breaker an org.";
    org_breaker_opened_total: IntCounterVec = "penstock_org_breaker_opened_total" ["api"] "openings"
        "Times a circuit breaker opened because the org failed call after call.";
    org_throttle_wait_seconds_total: prometheus::Counter = "penstock_org_throttle_wait_seconds_total" [] "seconds"
        "Time requests waited for a permit.";
    rate_limit_permits: GaugeVec = "penstock_rate_limit_permits" ["api"] "permits"
        "Permits that could be granted at once now.";

    cache_lookups_total: IntCounterVec = "penstock_cache_lookups_total" ["outcome"] "lookups"
        "Questions to the cache, by whether it knew.";
    cache_bytes: IntGauge = "penstock_cache_bytes" [] "bytes"
        "Size of the cache on disk.";
    schema_objects_total: IntCounterVec = "penstock_schema_objects_total" ["outcome"] "objects"
        "Objects the schema job finished, by outcome.";
    schema_last_success_timestamp_seconds: Gauge = "penstock_schema_last_success_timestamp_seconds" [] "seconds"
        "When the schema job last ended well, since the epoch; 0 is never.";
    embed_texts_total: IntCounterVec = "penstock_embed_texts_total" ["outcome"] "texts"
        "Texts that came to the embedder, by whether they had changed.";

    leads_total: IntCounterVec = "penstock_leads_total" ["outcome"] "leads"
        "Leads of jobs, by what became of them, counted when it was durable.";
    lead_rows_total: IntCounterVec = "penstock_lead_rows_total" ["outcome"] "rows"
        "Rows of sheets, by what their id was: a lead, a duplicate of an earlier row, blank or invalid.";
    lead_jobs: IntGaugeVec = "penstock_lead_jobs" ["phase"] "jobs"
        "Lead jobs that are kept, by where they are.";
    sync_rows_total: IntCounterVec = "penstock_sync_rows_total" ["object", "outcome"] "rows"
        "Rows that syncs brought to the warehouse, by object and by what the target counted; rejected ones are in a file.";
    sync_loads_total: IntCounterVec = "penstock_sync_loads_total" ["result"] "loads"
        "Loads into the warehouse, by how they ended; a stopped one goes on when its object is next synced.";
    sync_objects_total: IntCounterVec = "penstock_sync_objects_total" ["result"] "syncs"
        "Syncs of objects, by how they ended.";
    sync_calls_total: IntCounter = "penstock_sync_calls_total" [] "calls"
        "Calls to the org that syncs made.";
    sync_jobs_total: IntCounter = "penstock_sync_jobs_total" [] "jobs"
        "Bulk jobs that syncs made.";
    push_rows_total: IntCounterVec = "penstock_push_rows_total" ["push", "outcome"] "rows"
        "Rows that pushes sent to the org, by what the org said of them.";
    pushes_total: IntCounterVec = "penstock_pushes_total" ["result"] "pushes"
        "Pushes, by how they ended; an unfinished one goes on when it is next run.";
    sync_lag_seconds: GaugeVec = "penstock_sync_lag_seconds" ["object"] "seconds"
        "Our clock less the time up to which the warehouse has an object.";
    sync_running: IntGauge = "penstock_sync_running" [] "objects"
        "Objects that are being synced, or wait for their turn.";
    model_requests_total: IntCounterVec = "penstock_model_requests_total" ["outcome"] "requests"
        "Requests to the model, by how they ended; unusable answers were paid for.";
    model_request_seconds: Histogram = "penstock_model_request_seconds" [] "seconds"
        "Time from sending a request to the model to the last byte of its answer.";
    model_tokens_total: IntCounterVec = "penstock_model_tokens_total" ["kind"] "tokens"
        "Tokens that the model's endpoint counted.";
    model_cost_total: prometheus::Counter = "penstock_model_cost_total" [] "money"
        "What its answers cost at the configured prices, in units of their currency.";
    model_reused_total: IntCounter = "penstock_model_reused_total" [] "answers"
        "Leads whose assessment was there already, for the same content, prompt and model.";
    model_throttle_wait_seconds_total: prometheus::Counter = "penstock_model_throttle_wait_seconds_total" [] "seconds"
        "Time requests to the model waited for their turn.";

    batch_requests_total: IntCounterVec = "penstock_batch_requests_total" ["outcome"] "batches"
        "Batches by how they ended; invalid ones were refused before anything ran, rejected ones for no fault of their own.";
    batch_operations_total: IntCounterVec = "penstock_batch_operations_total" ["entity", "action", "status"] "operations"
        "Operations of batches that ran, by entity (none: not in the catalogue), action and what became of them.";
    batch_size_operations: Histogram = "penstock_batch_size_operations" [] "operations"
        "Operations of a batch.";
    batch_duration_seconds: HistogramVec = "penstock_batch_duration_seconds" ["database", "atomic"] "seconds"
        "Time from a batch's arrival to its answer; database none: it was refused before one was chosen.";
    batch_waits: Histogram = "penstock_batch_waits" [] "flights"
        "Flights of a batch: how often it waited for the database.";
    batch_merged_rows_total: IntCounter = "penstock_batch_merged_rows_total" [] "rows"
        "Rows of creates that shared a statement with others.";
    batch_retries_total: IntCounterVec = "penstock_batch_retries_total" ["reason"] "retries"
        "Batches, or operations of non-atomic ones, that were run again.";
    batch_reference_errors_total: IntCounter = "penstock_batch_reference_errors_total" [] "errors"
        "References that were malformed, pointed nowhere or had no value.";
    batch_cycle_errors_total: IntCounter = "penstock_batch_cycle_errors_total" [] "errors"
        "Batches that were refused because their operations wait for each other.";
    batch_idempotent_replays_total: IntCounter = "penstock_batch_idempotent_replays_total" [] "batches"
        "Batches that were answered with the stored answer of an earlier run.";
    batch_queue_depth: IntGaugeVec = "penstock_batch_queue_depth" ["database"] "batches"
        "Batches that wait for a database.";
    batch_group_commit_size: Histogram = "penstock_batch_group_commit_size" [] "batches"
        "Batches that shared one COMMIT of SQLite.";
    db_connections: IntGaugeVec = "penstock_db_connections" ["state"] "connections"
        "Connections of all batch databases, by what they do.";

    journal_commits_total: IntCounter = "penstock_journal_commits_total" [] "commits"
        "Group commits of the journal.";
    store_fsync_seconds: HistogramVec = "penstock_store_fsync_seconds" ["store"] "seconds"
        "Time a store took to reach the disk.";
    store_bytes: IntGaugeVec = "penstock_store_bytes" ["store"] "bytes"
        "Size of a store on disk.";
    store_quarantines_total: IntCounterVec = "penstock_store_quarantines_total" ["store"] "stores"
        "Stores found damaged or of another version, set aside and rebuilt.";

    config_last_reload_successful: IntGauge = "penstock_config_last_reload_successful" [] "boolean"
        "1 when the last load of the configuration was good, 0 when it was refused and the old one kept.";
    config_last_reload_success_timestamp_seconds: Gauge =
        "penstock_config_last_reload_success_timestamp_seconds" [] "seconds"
        "When a configuration was last taken, since the epoch.";
    build_info: IntGaugeVec = "penstock_build_info" ["version"] "boolean"
        "Always 1; the label says which penstock this is.";
    log_lines_total: IntCounterVec = "penstock_log_lines_total" ["level"] "lines"
        "Log lines written, by level.";
}

/// All metrics of one plant; a clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    instruments: Instruments,
    actors: Mutex<BTreeMap<String, ActorMetrics>>,
}

impl Deref for Metrics {
    type Target = Instruments;

    fn deref(&self) -> &Instruments {
        &self.0.instruments
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own, with every known series at 0.
    pub fn new() -> Self {
        let registry = Registry::new();
        let instruments = Instruments::register(&registry).expect("a test holds that the catalogue is sound");
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the process's metrics have names of their own");
        let metrics = Self(Arc::new(Inner { registry, instruments, actors: Mutex::default() }));
        metrics.show_known_series();
        metrics
    }

    /// Handles of one actor's series, made once and kept; all at 0 from here on.
    pub fn actor(&self, name: &str) -> ActorMetrics {
        // A panic elsewhere cannot leave the map half changed: the entry is whole or absent.
        let mut actors = self.0.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = actors.get(name) {
            return known.clone();
        }
        let made = ActorMetrics::new(self, name);
        actors.insert(name.to_owned(), made.clone());
        made
    }

    /// The text exposition that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut out = Vec::with_capacity(64 << 10);
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be written");
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn show_known_series(&self) {
        for actor in ACTORS {
            self.actor(actor);
        }
        for api in ORG_APIS {
            self.org_request_seconds.with_label_values(&[api]);
            self.org_breaker_opened_total.with_label_values(&[api]);
            for state in BREAKER_STATES {
                self.org_breakers.with_label_values(&[api, state]);
            }
            for outcome in ORG_OUTCOMES {
                self.org_requests_total.with_label_values(&[api, outcome]);
            }
        }
        for priority in PRIORITIES {
            self.org_quota_room.with_label_values(&[priority]);
        }
        for scope in ["operator", "quota", "degraded"] {
            self.paused.with_label_values(&[scope]);
        }
        for outcome in ["hit", "miss", "expired"] {
            self.cache_lookups_total.with_label_values(&[outcome]);
        }
        for outcome in ["written", "failed"] {
            self.schema_objects_total.with_label_values(&[outcome]);
        }
        for outcome in ["embedded", "unchanged"] {
            self.embed_texts_total.with_label_values(&[outcome]);
        }
        for outcome in LEAD_OUTCOMES {
            self.leads_total.with_label_values(&[outcome]);
        }
        for outcome in ["lead", "duplicate", "blank", "invalid"] {
            self.lead_rows_total.with_label_values(&[outcome]);
        }
        for phase in LEAD_PHASES {
            self.lead_jobs.with_label_values(&[phase]);
        }
        for result in SYNC_LOAD_RESULTS {
            self.sync_loads_total.with_label_values(&[result]);
        }
        for result in ["ok", "failed"] {
            self.sync_objects_total.with_label_values(&[result]);
            self.pushes_total.with_label_values(&[result]);
        }
        for outcome in MODEL_OUTCOMES {
            self.model_requests_total.with_label_values(&[outcome]);
        }
        for kind in TOKEN_KINDS {
            self.model_tokens_total.with_label_values(&[kind]);
        }
        for outcome in BATCH_OUTCOMES {
            self.batch_requests_total.with_label_values(&[outcome]);
        }
        for action in ["create", "read", "update", "delete"] {
            for status in ["completed", "failed", "skipped"] {
                self.batch_operations_total.with_label_values(&[NOWHERE, action, status]);
            }
        }
        for reason in BATCH_RETRIES {
            self.batch_retries_total.with_label_values(&[reason]);
        }
        for state in ["idle", "busy", "down"] {
            self.db_connections.with_label_values(&[state]);
        }
        self.batch_duration_seconds.with_label_values(&[NOWHERE, "true"]);
        self.batch_queue_depth.with_label_values(&[NOWHERE]);
        for store in ["journal", "cache", "vectors"] {
            self.store_fsync_seconds.with_label_values(&[store]);
            self.store_bytes.with_label_values(&[store]);
            self.store_quarantines_total.with_label_values(&[store]);
        }
        for level in super::logging::LEVELS {
            self.log_lines_total.with_label_values(&[level]);
        }
        // The daily limit of API requests is the one that stops work, so it is there before the first answer.
        self.org_quota_used_ratio.with_label_values(&["daily_api_requests"]);
        self.org_quota_remaining.with_label_values(&["daily_api_requests"]);
        self.rate_limit_permits.with_label_values(&["rest"]);
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

/// The table of `docs/metrics.md`.
pub fn catalogue_as_markdown() -> String {
    let mut out =
        String::from("| name | type | labels | unit | meaning |\n| --- | --- | --- | --- | --- |\n");
    for line in CATALOGUE {
        let labels: Vec<_> = line.labels.iter().map(|label| format!("`{label}`")).collect();
        let (labels, kind) = (labels.join(", "), line.kind.as_str());
        let _ = writeln!(out, "| `{}` | {kind} | {labels} | {} | {} |", line.name, line.unit, line.help);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_rules() {
        let mut names = BTreeSet::new();
        for line in CATALOGUE {
            let name = line.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("penstock_"), "{name}");
            assert_eq!(name.ends_with("_total"), line.kind == Kind::Counter, "{name}");
            if line.kind == Kind::Histogram {
                assert_eq!(name.ends_with("_seconds"), line.unit == "seconds", "{name}");
            }
            assert!(line.help.ends_with('.') && !line.help.contains('|'), "{name}");
            for label in line.labels {
                assert!(!name.contains(&format!("_by_{label}")), "{name}");
                assert!(!["id", "name", "query", "message"].contains(label), "{name} has an open label");
            }
        }
    }

    #[test]
    fn every_metric_has_a_series_at_the_start() {
        // Of objects and pushes, which are known once they are configured.
        let by_name = ["penstock_sync_rows_total", "penstock_sync_lag_seconds", "penstock_push_rows_total"];
        let text = Metrics::new().render();
        for line in CATALOGUE.iter().filter(|line| !by_name.contains(&line.name)) {
            let has_series = text.lines().any(|row| {
                let name = row.split(['{', ' ']).next().unwrap_or_default();
                let base = if line.kind == Kind::Histogram {
                    name.strip_suffix("_count").unwrap_or_default()
                } else {
                    name
                };
                base == line.name
            });
            assert!(has_series, "{} is absent", line.name);
        }
        assert!(text.contains("\nprocess_resident_memory_bytes "));
    }

    #[test]
    fn plants_in_one_process_do_not_share_metrics() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.journal_commits_total.inc();
        assert_eq!((one.journal_commits_total.get(), other.journal_commits_total.get()), (1, 0));
    }

    #[test]
    fn an_actor_asked_for_twice_has_one_set_of_series() {
        let metrics = Metrics::new();
        metrics.actor("toy").mailbox_messages.set(3);
        metrics.clone().actor("toy").mailbox_messages.inc();
        assert!(metrics.render().contains("penstock_actor_mailbox_messages{actor=\"toy\"} 4"));
    }
}
