//! The sections, each key with its default and bounds. `config.toml` explains them to the operator.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::batch_sections::{ApiConfig, BatchConfig, DatabaseConfig};
use super::lead_sections::LeadsConfig;
use super::problems::Problems;
use super::spec::{KeyLine, Part, describe_list, read_list, section, words};
use super::sync_sections::{PushConfig, SyncConfig, WarehouseConfig};
use super::tree::Node;
use super::values::{ByteSize, LogFilter, LoginUrl, ObjectPattern, Period, Secret};
use crate::limiter;
use crate::model::{ApiVersion, OrgName};

section! {
    /// Everything penstock can be told.
    pub struct Config {
        /// Folder of journal, cache and stores; one daemon at a time.
        state_dir: PathBuf = "penstock-state".into();
        /// Folder of the files people read.
        output_dir: PathBuf = "penstock-output".into();
        /// Logging.
        log: LogConfig = LogConfig::default();
        /// Metrics and health.
        http: HttpConfig = HttpConfig::default();
        /// The orgs, each with its own budget.
        org: Vec<OrgConfig> = Vec::new();
        /// The embedded simulated org.
        simulator: SimulatorConfig = SimulatorConfig::default();
        /// The schema job.
        schema: SchemaConfig = SchemaConfig::default();
        /// Answers kept so that the org is not asked twice.
        cache: CacheConfig = CacheConfig::default();
        /// The model that embeds documents and questions.
        embedder: EmbedderConfig = EmbedderConfig::default();
        /// Lead jobs.
        leads: LeadsConfig = LeadsConfig::default();
        /// Where objects are synced to.
        warehouse: Vec<WarehouseConfig> = Vec::new();
        /// Objects that are synced.
        sync: SyncConfig = SyncConfig::default();
        /// Rows that go back to the org.
        push: Vec<PushConfig> = Vec::new();
        /// What holds for every actor.
        engine: EngineConfig = EngineConfig::default();
        /// What holds for one actor each.
        actors: ActorsConfig = ActorsConfig::default();
        /// The door of `POST /batch`.
        api: ApiConfig = ApiConfig::default();
        /// Limits of a batch.
        batch: BatchConfig = BatchConfig::default();
        /// Databases that batches may use.
        database: Vec<DatabaseConfig> = Vec::new();
    }
}

words! {
    /// How log lines look.
    pub enum LogFormat {
        /// Pretty on a terminal, JSON elsewhere.
        Auto = "auto",
        /// For reading.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// Logging, to stderr.
    pub struct LogConfig {
        /// How lines look.
        format: LogFormat = LogFormat::Auto;
        /// Which lines are written; read again on SIGHUP.
        filter: LogFilter = LogFilter::default();
    }
}

section! {
    /// `/metrics`, `/livez`, `/readyz` and `/status`.
    pub struct HttpConfig {
        /// Address and port; `None` switches the server off.
        listen: Option<SocketAddr> = Some(SocketAddr::from(([127, 0, 0, 1], 9187)));
        /// Whether an address other than loopback is meant: there is no sign-in.
        allow_remote: bool = false;
    }
}

words! {
    /// How an org is signed in to.
    pub enum AuthKind {
        /// OAuth client credentials: `client_id` and `client_secret`.
        ClientCredentials = "client_credentials",
        /// OAuth JWT bearer: `client_id`, `username` and `private_key_file`.
        Jwt = "jwt",
        /// OAuth refresh token of a person's sign-in: `client_id` and `refresh_token`; `client_secret` when the app has one.
        RefreshToken = "refresh_token",
        /// The same in one line of text: `sfdx_url`.
        SfdxUrl = "sfdx_url",
        /// The login that the sf CLI of this machine holds: `sf_alias`.
        SfCli = "sf_cli",
        /// A session token made elsewhere: `token`.
        Token = "token",
    }
}

words! {
    /// The org's edition, where it changes a limit.
    pub enum Edition {
        /// Treated as production.
        Auto = "auto",
        /// Production or sandbox: 25 long-running requests.
        Production = "production",
        /// Developer Edition: 5 long-running requests.
        Developer = "developer",
    }
}

section! {
    /// One org.
    pub struct OrgConfig {
        /// First part of every cache key and vector id: do not change it later.
        name: OrgName = "unnamed".parse().expect("lower-case letters are an org name");
        /// Whether the embedded simulated org stands in for a real one.
        simulated: bool = false;
        /// Where to sign in; for `token`, the org's own address.
        login_url: LoginUrl = LoginUrl::default();
        /// PEM file of certificates that are trusted beside the built-in roots.
        ca_file: Option<PathBuf> = None;
        /// Proxy for every request to this org.
        proxy_url: Option<Secret> = None;
        /// REST API version of every request.
        api_version: ApiVersion = "62.0".parse().expect("62.0 is an API version");
        /// How to sign in.
        auth: AuthKind = AuthKind::ClientCredentials;
        /// Consumer key of the connected app.
        client_id: Option<String> = None;
        /// Consumer secret of the connected app.
        client_secret: Option<Secret> = None;
        /// File that holds `client_secret`.
        client_secret_file: Option<PathBuf> = None;
        /// The user to act for.
        username: Option<String> = None;
        /// PEM file of the key that signs the JWT.
        private_key_file: Option<PathBuf> = None;
        /// Audience of the JWT; `None` takes `login_url`.
        audience: Option<String> = None;
        /// Refresh token; where the org replaces it, the newest is kept in the state folder.
        refresh_token: Option<Secret> = None;
        /// File that holds `refresh_token`.
        refresh_token_file: Option<PathBuf> = None;
        /// sfdx auth URL: `force://client-id:client-secret:refresh-token@host`.
        sfdx_url: Option<Secret> = None;
        /// File that holds `sfdx_url`.
        sfdx_url_file: Option<PathBuf> = None;
        /// Alias or user name under which the sf CLI knows the org.
        sf_alias: Option<String> = None;
        /// Session token.
        token: Option<Secret> = None;
        /// File that holds `token`.
        token_file: Option<PathBuf> = None;
        /// The org's edition.
        edition: Edition = Edition::Auto;
        /// Limits of what we ask of the org.
        limits: LimitsConfig = LimitsConfig::default();
    }
}

words! {
    /// A set of limiter constants.
    pub enum LimitProfile {
        /// As fast as the org lets us; slows down when it is throttled.
        Auto = "auto",
        /// 200 a minute within 50 to 300, looked at each minute.
        Seed = "seed",
    }
}

section! {
    /// Limits of what we ask of one org. `None` takes the profile's value.
    pub struct LimitsConfig {
        /// Where the values come from that are not given.
        profile: LimitProfile = LimitProfile::Auto;
        /// Calls a minute at the start.
        rate_start_per_min: Option<f64> = None, 1.0..=60_000.0;
        /// Calls a minute that no throttle goes below.
        rate_floor_per_min: Option<f64> = None, 1.0..=60_000.0;
        /// Calls a minute that no growth goes above.
        rate_ceiling_per_min: Option<f64> = None, 1.0..=60_000.0;
        /// The rate is multiplied by this at a throttle.
        cut_factor: Option<f64> = None, 0.1..=0.99;
        /// The rate grows by so many calls a second with each evaluation without a throttle.
        growth_per_sec: Option<f64> = None, 0.001..=100.0;
        /// Seconds between two evaluations.
        evaluation_secs: Option<u64> = None, 1..=3_600;
        /// Requests in flight at once.
        concurrency: Option<u32> = None, 1..=100;
        /// Share of the daily quota at which bulk work stops.
        share_bulk: f64 = 0.70, 0.0..=1.0;
        /// Share of the daily quota at which normal work stops.
        share_normal: f64 = 0.85, 0.0..=1.0;
        /// Share of the daily quota at which interactive work stops.
        share_interactive: f64 = 0.95, 0.0..=1.0;
        /// Seconds before the first probe while the org's quota is spent; the pause doubles up to three times this.
        quota_probe_secs: u64 = 300, 1..=3_600;
        /// Failures in a row that open the circuit breaker of a part of the org.
        breaker_failures: u32 = 10, 1..=10_000;
        /// Share of failures in the window that opens it.
        breaker_failure_ratio: f64 = 0.5, 0.01..=1.0;
        /// Calls that the window must hold before the share counts.
        breaker_calls_min: u32 = 20, 1..=10_000;
        /// Length of the window in seconds.
        breaker_window_secs: u64 = 30, 1..=3_600;
        /// First pause of an open breaker in seconds; a failed probe doubles it.
        breaker_open_secs: u64 = 5, 1..=3_600;
        /// Longest pause in seconds.
        breaker_open_max_secs: u64 = 120, 1..=86_400;
    }
}

impl LimitsConfig {
    /// The limiter's constants: the named profile with what is given here put over it.
    pub fn resolve(&self, edition: Edition) -> limiter::LimitProfile {
        let mut profile = match self.profile {
            LimitProfile::Auto => limiter::LimitProfile::auto(),
            LimitProfile::Seed => limiter::LimitProfile::seed(),
        };
        if edition == Edition::Developer {
            profile = profile.for_developer_edition();
        }
        profile.quota_share_bulk = self.share_bulk;
        profile.quota_share_normal = self.share_normal;
        profile.quota_share_interactive = self.share_interactive;
        profile.rate_start_per_min = self.rate_start_per_min.or(profile.rate_start_per_min);
        profile.rate_min_per_min = self.rate_floor_per_min.unwrap_or(profile.rate_min_per_min);
        profile.rate_max_per_min = self.rate_ceiling_per_min.or(profile.rate_max_per_min);
        profile.rate_cut = self.cut_factor.unwrap_or(profile.rate_cut);
        profile.rate_raise_per_min =
            self.growth_per_sec.map_or(profile.rate_raise_per_min, |growth| growth * 60.0);
        profile.rate_period_secs = self.evaluation_secs.unwrap_or(profile.rate_period_secs);
        profile.concurrency_max = self.concurrency.unwrap_or(profile.concurrency_max);
        profile.concurrency_long_max = profile.concurrency_long_max.min(profile.concurrency_max);
        profile.quota_probe_secs = self.quota_probe_secs;
        profile.quota_probe_max_secs = self.quota_probe_secs.saturating_mul(3);
        profile.breaker = limiter::BreakerProfile {
            failures_in_row: self.breaker_failures,
            failure_ratio: self.breaker_failure_ratio,
            calls_min: self.breaker_calls_min,
            window_secs: self.breaker_window_secs,
            open_secs: self.breaker_open_secs,
            open_max_secs: self.breaker_open_max_secs,
        };
        profile
    }
}

impl Part for Vec<OrgConfig> {
    fn read(self, node: Option<&Node>, key: &str, problems: &mut Problems) -> Self {
        read_list(self, node, key, problems)
    }

    fn describe(&self, key: &str, out: &mut Vec<KeyLine>) {
        describe_list(self, key, out);
    }
}

section! {
    /// The embedded simulated org.
    pub struct SimulatorConfig {
        /// Its records follow from this number.
        seed: u64 = 1;
        /// Each answer is held back by so much.
        latency_ms: u64 = 0, 0..=60_000;
        /// Folders of SFDX or metadata-API projects whose objects are added.
        sfdx: Vec<PathBuf> = Vec::new();
    }
}

section! {
    /// The schema job.
    pub struct SchemaConfig {
        /// Time between two runs; `None` runs on request only.
        every: Option<Period> = Some(Period::hours(24));
        /// Whether the daemon runs it when it starts.
        at_start: bool = true;
        /// Objects to take.
        include: Vec<ObjectPattern> = vec!["*".parse().expect("a star is a pattern")];
        /// Objects to leave out of those.
        exclude: Vec<ObjectPattern> = Vec::new();
    }
}

impl SchemaConfig {
    /// Whether the job takes this object.
    pub fn takes(&self, object: &str) -> bool {
        let fits = |patterns: &[ObjectPattern]| patterns.iter().any(|pattern| pattern.matches(object));
        fits(&self.include) && !fits(&self.exclude)
    }
}

section! {
    /// Answers kept so that the org is not asked twice.
    pub struct CacheConfig {
        /// Seconds an answer stays good.
        ttl_secs: u64 = 86_400, 0..=31_536_000;
        /// About what it may take on disk; past it the oldest answers go.
        max_bytes: ByteSize = ByteSize::mib(512), ByteSize::mib(8)..=ByteSize::mib(1 << 20);
        /// Bytes of memory for the store's pages.
        memory_bytes: ByteSize = ByteSize::mib(16), ByteSize::mib(1)..=ByteSize::mib(64 << 10);
        /// Level of zstd.
        zstd_level: i32 = 3, 1..=19;
    }
}

words! {
    /// Who turns text into vectors.
    pub enum EmbedderKind {
        /// The model that comes with penstock; nothing leaves the machine.
        Static = "static",
    }
}

section! {
    /// The model that embeds documents and questions.
    pub struct EmbedderConfig {
        /// Who does it.
        kind: EmbedderKind = EmbedderKind::Static;
        /// Folder of another static model; `None` takes the one built in.
        model_dir: Option<PathBuf> = None;
    }
}

section! {
    /// What holds for every actor.
    pub struct EngineConfig {
        /// Attempts after which an item goes to the dead letters.
        attempts_per_item: u32 = 5, 1..=100;
        /// Seconds without progress after which a handler is stuck.
        handler_timeout_secs: u64 = 120, 1..=86_400;
        /// Deaths without a culprit in one window before the daemon is degraded.
        restart_budget: u32 = 5, 0..=1_000;
        /// Length of that window.
        restart_window_secs: u64 = 60, 1..=86_400;
        /// First pause before a restart or another attempt; doubles each time, with jitter.
        backoff_ms: u64 = 200, 1..=600_000;
        /// Longest such pause.
        backoff_max_ms: u64 = 30_000, 1..=3_600_000;
        /// Seconds a drain may take.
        drain_deadline_secs: u64 = 25, 1..=3_600;
        /// Bytes of memory for the journal's pages.
        journal_memory_bytes: ByteSize = ByteSize::mib(16), ByteSize::mib(1)..=ByteSize::mib(64 << 10);
    }
}

section! {
    /// The bounds of an actor that works item by item.
    pub struct StageConfig {
        /// Items worked on at once.
        slots: u32 = 1, 1..=1_024;
        /// Items waiting or in hand.
        mailbox_items: u64 = 64, 1..=1_000_000;
        /// Bytes waiting or in hand.
        mailbox_bytes: ByteSize = ByteSize::mib(8), ByteSize::kib(64)..=ByteSize::mib(64 << 10);
    }
}

section! {
    /// The bounds of an actor that gathers items into batches.
    pub struct BatchingConfig {
        /// Batches worked on at once.
        slots: u32 = 1, 1..=1_024;
        /// Items waiting or in hand.
        mailbox_items: u64 = 64, 1..=1_000_000;
        /// Bytes waiting or in hand.
        mailbox_bytes: ByteSize = ByteSize::mib(8), ByteSize::kib(64)..=ByteSize::mib(64 << 10);
        /// A batch is sealed at so many items,
        seal_items: u64 = 1, 1..=100_000;
        /// or at so many bytes,
        seal_bytes: ByteSize = ByteSize::mib(1), ByteSize::kib(1)..=ByteSize::mib(1 << 10);
        /// or when its first item is so old.
        seal_age_ms: u64 = 50, 0..=60_000;
    }
}

section! {
    /// What holds for one actor each, in the order of the line.
    pub struct ActorsConfig {
        /// Groups the objects the cache did not know.
        batcher: BatchingConfig = batching(4, 400, 8, 25);
        /// Reads the org.
        fetcher: StageConfig = stage(20, 64, 8);
        /// Makes documents of descriptions.
        composer: StageConfig = stage(2, 256, 32);
        /// Groups texts for the embedder.
        text_batcher: BatchingConfig = batching(2, 256, 16, 64);
        /// Makes vectors of texts.
        embedder: StageConfig = stage(2, 32, 16);
        /// Writes what came out.
        sync_writer: StageConfig = stage(1, 32, 16);
        /// Reads sheets of lead ids.
        lead_intake: StageConfig = stage(2, 64, 1);
        /// Judges leads.
        assessor: StageConfig = stage(4, 64, 8);
    }
}

fn stage(slots: u32, mailbox_items: u64, mailbox_mib: u64) -> StageConfig {
    StageConfig { slots, mailbox_items, mailbox_bytes: ByteSize::mib(mailbox_mib) }
}

fn batching(slots: u32, mailbox_items: u64, mailbox_mib: u64, seal_items: u64) -> BatchingConfig {
    let mailbox_bytes = ByteSize::mib(mailbox_mib);
    BatchingConfig { slots, mailbox_items, mailbox_bytes, seal_items, ..BatchingConfig::default() }
}
