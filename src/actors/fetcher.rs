//! The fetcher: reads the org, and has the cache keep what it read before anybody goes on with it.
//!
//! Promises: what the cache has acknowledged is not read again, also after a crash, a panic or a retry. An object that
//! cannot be described leaves with its reason, and the others of its group go on. A family that cannot be read is noted
//! with its reason. A fault that may pass is retried by the engine; a spent quota, a throttle and an open breaker are waited
//! out without spending attempts. What it reads of leads: `leads`.
//! It keeps nothing: a restart costs the calls in hand.

mod leads;
mod outlet;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::engine::{Output, ServiceRef, Stage, StageCx, StageError};
use super::lead_run::LeadRuns;
use super::rate_limiter::{on_behalf, priority_of};
use super::schema_run::{SchemaRuns, family_key, field_permissions_key};
use crate::limiter::ThrottleKind;
use crate::messages::{DescribedObject, FetchAsk, Fetched, Lookup, Store};
use crate::model::{Family, ObjectDescribe, ObjectName, OrgName};
use crate::salesforce::families::{self, FamilyError, FamilyRows};
use crate::salesforce::{OrgClient, OrgError};
use crate::store::cache::{CacheKey, Found};

pub use outlet::FetchedOutlet;

/// The clients of all orgs, by name.
pub type OrgClients = Arc<HashMap<OrgName, OrgClient>>;

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct Fetcher {
    clients: OrgClients,
    cache: ServiceRef<Cache>,
    runs: SchemaRuns,
    lead_runs: LeadRuns,
}

impl Fetcher {
    /// A fetcher for these orgs.
    pub fn new(clients: OrgClients, cache: ServiceRef<Cache>, runs: SchemaRuns, lead_runs: LeadRuns) -> Self {
        Self { clients, cache, runs, lead_runs }
    }

    fn client(&self, org: &OrgName, cx: &StageCx) -> Result<OrgClient, StageError> {
        let client =
            self.clients.get(org).ok_or_else(|| StageError::fatal(format!("no org is named `{org}`")))?;
        Ok(client.with_priority(priority_of(cx.header().lane)))
    }

    /// Runs calls on the process's own threads, on this handler's behalf.
    async fn call<F>(&self, cx: &StageCx, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        cx.io(on_behalf(cx.suspender(), work)).await
    }

    async fn describes(
        &self,
        client: OrgClient,
        objects: &[ObjectName],
        cx: &StageCx,
    ) -> Result<Output<Fetched>, StageError> {
        let org = client.org().clone();
        let keys: Vec<CacheKey> = objects.iter().map(|object| describe_key(&client, object)).collect();
        // Waiting for the cache is not this handler's fault: the cache has a supervisor of its own.
        let known = cx.waiting(lookup(&self.cache, keys)).await;
        let mut described: HashMap<ObjectName, Result<ObjectDescribe, String>> = HashMap::new();
        for (object, found) in objects.iter().zip(known) {
            if let Some(Ok(describe)) = found.map(|bytes| serde_json::from_slice(&bytes)) {
                described.insert(object.clone(), Ok(describe));
            }
        }
        let missing: Vec<ObjectName> =
            objects.iter().filter(|object| !described.contains_key(*object)).cloned().collect();
        let mut passing: Option<OrgError> = None;
        if !missing.is_empty() {
            let asker = client.clone();
            let (answers, entries) = self
                .call(cx, async move {
                    let answers = asker.describe_group(&missing).await;
                    let entries = answers.iter().filter_map(|(object, answer)| {
                        let bytes = serde_json::to_vec(answer.as_ref().ok()?).ok()?;
                        Some((describe_key(&asker, object), bytes))
                    });
                    let entries: Vec<_> = entries.collect();
                    (answers, entries)
                })
                .await;
            cx.waiting(keep(&self.cache, entries)).await?;
            for (object, answer) in answers {
                match answer {
                    Ok(describe) => drop(described.insert(object, Ok(describe))),
                    Err(error) if may_pass(&error) => passing = Some(error),
                    Err(error) => drop(described.insert(object, Err(chain(&error)))),
                }
            }
        }
        if let Some(error) = passing {
            // What was read is in the cache: the next attempt asks for the rest only.
            return Err(stage_error(&error));
        }
        let described = objects.iter().filter_map(|object| {
            let outcome = described.remove(object)?;
            let described = DescribedObject { org: org.clone(), object: object.clone(), outcome };
            Some(Fetched::Described(Box::new(described)))
        });
        Ok(Output::Many(described.collect()))
    }

    async fn family(&self, client: OrgClient, family: Family, cx: &StageCx) -> Result<(), StageError> {
        let key = family_key(&client, family);
        let asker = client.clone();
        let read = self.call(cx, async move { families::read_family(&asker, family, &[]).await }).await;
        let rows = self.family_rows(read, cx)?;
        if let Ok(rows) = &rows {
            cx.waiting(keep(&self.cache, vec![(key, rows_to_json(rows)?)])).await?;
        }
        self.runs.note_family(cx.header(), family, rows);
        Ok(())
    }

    async fn field_permissions(
        &self,
        client: OrgClient,
        objects: &[ObjectName],
        cx: &StageCx,
    ) -> Result<(), StageError> {
        let key = field_permissions_key(&client, objects);
        let (asker, group) = (client.clone(), objects.to_vec());
        let read = self.call(cx, async move {
            families::read_field_permissions(&asker, &group).await.map(FamilyRows::FieldPermissions)
        });
        let rows = self.family_rows(read.await, cx)?;
        if let Ok(rows) = &rows {
            cx.waiting(keep(&self.cache, vec![(key, rows_to_json(rows)?)])).await?;
        }
        self.runs.note_family(cx.header(), Family::FieldPermissions, rows);
        Ok(())
    }

    /// A fault that may pass is the item's; one that will not is the family's, and is reported with it.
    fn family_rows(
        &self,
        read: Result<FamilyRows, FamilyError>,
        cx: &StageCx,
    ) -> Result<Result<FamilyRows, String>, StageError> {
        const LAST_ATTEMPT: u32 = 3;
        match read {
            Ok(rows) => Ok(Ok(rows)),
            Err(FamilyError { source, .. }) if may_pass(&source) => {
                let was_told_to_wait = matches!(stage_error(&source), StageError::Throttled { .. });
                let gave_up = cx.header().attempt >= LAST_ATTEMPT && !was_told_to_wait;
                if gave_up { Ok(Err(chain(&source))) } else { Err(stage_error(&source)) }
            }
            Err(FamilyError { source, .. }) => Ok(Err(chain(&source))),
        }
    }
}

impl Stage for Fetcher {
    type In = FetchAsk;
    type Out = Fetched;
    const NAME: &'static str = "fetcher";

    async fn run(&self, ask: Arc<FetchAsk>, cx: &StageCx) -> Result<Output<Fetched>, StageError> {
        let client = self.client(ask.org(), cx)?;
        match &*ask {
            FetchAsk::Describes { objects, .. } => self.describes(client, objects, cx).await,
            FetchAsk::Family { family, .. } => self.family(client, *family, cx).await.map(|()| Output::None),
            FetchAsk::FieldPermissions { objects, .. } => {
                self.field_permissions(client, objects, cx).await.map(|()| Output::None)
            }
            FetchAsk::Leads(leads) => self.leads(client, leads, cx).await,
        }
    }
}

/// Where an object's describe is kept.
pub fn describe_key(client: &OrgClient, object: &ObjectName) -> CacheKey {
    CacheKey::new(client.org(), client.api_version(), "describe", object.as_str())
}

/// What the cache knows, in the order of the keys. A cache that fails knows nothing.
pub async fn lookup(cache: &ServiceRef<Cache>, keys: Vec<CacheKey>) -> Vec<Option<Vec<u8>>> {
    let asked = keys.len();
    match cache.ask(Lookup(keys)).await {
        Ok(Ok(found)) => found
            .into_iter()
            .map(|one| match one {
                Found::Hit(bytes) => Some(bytes),
                Found::Miss | Found::Expired => None,
            })
            .collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the cache cannot be read, the org is asked instead");
            vec![None; asked]
        }
        Err(_closed) => vec![None; asked],
    }
}

/// Has the cache keep entries. A full disk holds the work up: going on would spend the calls for nothing.
async fn keep(cache: &ServiceRef<Cache>, entries: Vec<(CacheKey, Vec<u8>)>) -> Result<(), StageError> {
    use crate::store::cache::CacheError;
    const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);
    if entries.is_empty() {
        return Ok(());
    }
    match cache.ask(Store(entries)).await {
        Ok(Ok(())) | Err(_) => Ok(()),
        Ok(Err(error @ CacheError::DiskFull)) => {
            tracing::error!(%error, "work waits until there is room");
            Err(StageError::Throttled { after: WHILE_DISK_IS_FULL, why: error.to_string() })
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "an answer could not be cached");
            Ok(())
        }
    }
}

fn rows_to_json(rows: &FamilyRows) -> Result<Vec<u8>, StageError> {
    let bytes = match rows {
        FamilyRows::Flows(rows) => serde_json::to_vec(rows),
        FamilyRows::Triggers(rows) => serde_json::to_vec(rows),
        FamilyRows::ValidationRules(rows) => serde_json::to_vec(rows),
        FamilyRows::WorkflowRules(rows) => serde_json::to_vec(rows),
        FamilyRows::RecordTypes(rows) => serde_json::to_vec(rows),
        FamilyRows::Layouts(rows) => serde_json::to_vec(rows),
        FamilyRows::PermissionSets(rows) => serde_json::to_vec(rows),
        FamilyRows::ObjectPermissions(rows) => serde_json::to_vec(rows),
        FamilyRows::FieldPermissions(rows) => serde_json::to_vec(rows),
        FamilyRows::RecordCounts(rows) => serde_json::to_vec(rows),
    };
    bytes.map_err(|error| StageError::fatal(format!("rows cannot be kept: {error}")))
}

/// Reads a family back from the cache; `None` when the entry is of another form.
pub fn rows_from_json(family: Family, bytes: &[u8]) -> Option<FamilyRows> {
    Some(match family {
        Family::Flows => FamilyRows::Flows(serde_json::from_slice(bytes).ok()?),
        Family::Triggers => FamilyRows::Triggers(serde_json::from_slice(bytes).ok()?),
        Family::ValidationRules => FamilyRows::ValidationRules(serde_json::from_slice(bytes).ok()?),
        Family::WorkflowRules => FamilyRows::WorkflowRules(serde_json::from_slice(bytes).ok()?),
        Family::RecordTypes => FamilyRows::RecordTypes(serde_json::from_slice(bytes).ok()?),
        Family::Layouts => FamilyRows::Layouts(serde_json::from_slice(bytes).ok()?),
        Family::PermissionSets => FamilyRows::PermissionSets(serde_json::from_slice(bytes).ok()?),
        Family::ObjectPermissions => FamilyRows::ObjectPermissions(serde_json::from_slice(bytes).ok()?),
        Family::FieldPermissions => FamilyRows::FieldPermissions(serde_json::from_slice(bytes).ok()?),
        Family::RecordCounts => FamilyRows::RecordCounts(serde_json::from_slice(bytes).ok()?),
    })
}

pub(super) fn may_pass(error: &OrgError) -> bool {
    error.is_transient() || error.throttle_kind().is_some() || matches!(error, OrgError::Gate(_))
}

pub(super) fn stage_error(error: &OrgError) -> StageError {
    match pause_of(error) {
        Some(after) => StageError::Throttled { after, why: chain(error) },
        None => StageError::Retry { after: error.retry_after(), why: chain(error) },
    }
}

/// How long to wait when it was not the call that failed, but somebody who said "not now": the limiter, or the org by one of
/// its limits. Such a wait spends no attempt. `None` for every other error.
pub fn pause_of(error: &OrgError) -> Option<Duration> {
    // The org's own refusal has closed the limiter's gate, which knows for how long.
    const TO_THE_GATE: Duration = Duration::from_secs(1);
    // Long calls must end before there is room; the limiter has halved what may run meanwhile.
    const WHILE_LONG_CALLS_RUN: Duration = Duration::from_secs(30);
    match error {
        OrgError::Gate(error) => Some(error.retry_after().unwrap_or(Duration::from_secs(1))),
        OrgError::Login(error) => pause_of(error),
        OrgError::Throttled { kind, retry_after, .. } => Some(retry_after.unwrap_or(match kind {
            ThrottleKind::Daily | ThrottleKind::Rate => TO_THE_GATE,
            ThrottleKind::Concurrent => WHILE_LONG_CALLS_RUN,
        })),
        _ => None,
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::Api;
    use crate::salesforce::gate::GateError;
    use rstest::rstest;

    fn throttled(kind: ThrottleKind) -> OrgError {
        OrgError::Throttled { kind, message: String::new(), retry_after: None }
    }

    fn quota_spent(secs: u64) -> OrgError {
        let retry_after = Duration::from_secs(secs);
        OrgError::Gate(GateError::QuotaSpent { org: "acme".parse().unwrap(), retry_after })
    }

    fn circuit_open(secs: u64) -> OrgError {
        let (api, retry_after) = (Api::Composite, Duration::from_secs(secs));
        OrgError::Gate(GateError::CircuitOpen { org: "acme".parse().unwrap(), api, retry_after })
    }

    fn busy() -> OrgError {
        OrgError::Busy { status: 503, overloaded: true, message: String::new(), retry_after: None }
    }

    #[rstest]
    #[case::quota(quota_spent(300), Some(300))]
    #[case::breaker(circuit_open(5), Some(5))]
    #[case::breaker_of_the_login(OrgError::Login(Arc::new(circuit_open(5))), Some(5))]
    #[case::daily(throttled(ThrottleKind::Daily), Some(1))]
    #[case::rate(throttled(ThrottleKind::Rate), Some(1))]
    #[case::concurrent(throttled(ThrottleKind::Concurrent), Some(30))]
    #[case::busy(busy(), None)]
    fn being_told_to_wait_spends_no_attempt(#[case] error: OrgError, #[case] pause_secs: Option<u64>) {
        assert_eq!(pause_of(&error), pause_secs.map(Duration::from_secs));
        assert!(may_pass(&error));
        let is_throttle = matches!(stage_error(&error), StageError::Throttled { .. });
        assert_eq!(is_throttle, pause_secs.is_some());
    }
}
