//! What the journal keeps of syncs: the load of each object that is not over, and what its last syncs came to.
//!
//! Promises: a load is in the journal before its first row is asked for, and leaves it when its rows are the target's and its
//! bulk job is off the org; a cursor is written only when what lies before it is durable in the warehouse. Neither rows nor
//! secrets are in it; the condition a person wrote is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::engine::{Journal, JournalError, JournalWrite, Table};
use super::sync_extract::ExtractState;
use crate::model::ObjectName;
use crate::sync::method::BulkOffer;
use crate::sync::{CommitReceipt, LoadPlan, SchemaChange, SyncResult};

/// Behind an object's name, the key of its load's cursor: no name has it.
const CURSOR: &str = "~cursor";

/// What a load is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The object's rows, all or what changed.
    Rows,
    /// Values of fields that are new beside rows that were there.
    Backfill,
    /// Values of formulas, which change without a stamp.
    Formulas,
    /// Keys of rows that were deleted for good.
    HardDeletes,
    /// The keys of every row that there is.
    AllKeys,
}

impl Purpose {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Backfill => "new fields",
            Self::Formulas => "formulas",
            Self::HardDeletes => "deleted rows",
            Self::AllKeys => "all keys",
        }
    }
}

/// A load that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenLoad {
    /// What all of it is about.
    pub plan: LoadPlan,
    /// What it is for.
    pub purpose: Purpose,
    /// It is in the target, and did this there; what is left is to tidy up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<CommitReceipt>,
    /// What stands behind WHERE; empty for nothing.
    pub condition: String,
    /// Where there is a filter: the condition without it, by which the keys of all rows of the window are read as well, so
    /// that rows that have left the filter are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_condition: Option<String>,
    /// Deleted and archived rows too.
    pub with_deleted: bool,
    /// Only what has changed.
    pub is_incremental: bool,
    /// Whether a bulk job can read the fields.
    pub bulk: BulkOffer,
    /// A bulk job that somebody else made, to be read instead of one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_job: Option<String>,
    /// Why every row is read, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_full: Option<String>,
    /// The watermark that the window began at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// When it was planned, by our clock.
    pub began: Timestamp,
    /// Of deletes: what this load learns of is known up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes_until: Option<Timestamp>,
    /// The org's list of deletes does not reach back far enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletes_have_gap: bool,
    /// What the table needs before the first row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SchemaChange>,
    /// Columns that are new beside rows, to be filled by a load of their own afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfill: Vec<String>,
    /// Fields that are left out, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<(String, String)>,
    /// What else is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// By what settings it was planned; see [`SyncFacts::fingerprint`].
    pub fingerprint: String,
    /// Salesforce's id of the org that it was planned for, where the login told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// Where the extraction of a load stands: of its rows, and, where there is a filter, of the keys of the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    /// Of what the load is about: rows, or keys alone.
    pub rows: ExtractState,
    /// Of the keys of all rows of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ExtractState>,
    /// Calls to the org for this load, by processes before this one.
    #[serde(default)]
    pub calls: u64,
}

/// What is known of an object's syncs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncFacts {
    /// The last sync that came to an end, well or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<SyncResult>,
    /// The watermark of the last commit, for display: planning asks the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// Up to where deletes for good are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes_until: Option<Timestamp>,
    /// When that was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes_at: Option<Timestamp>,
    /// The org's list of deletes did not reach back to the last look: all ids must be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletes_have_gap: bool,
    /// When formulas were last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formulas_at: Option<Timestamp>,
    /// When org and target were last counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_at: Option<Timestamp>,
    /// Columns that still wait for the values of rows that were there before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfill: Vec<String>,
    /// Of the settings that the target's rows were chosen by: with other ones every row is read again.
    #[serde(default)]
    pub fingerprint: String,
    /// Jobs of others that were read already: each is taken once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs_taken: Vec<String>,
}

/// The journal, in the words of syncs.
#[derive(Clone)]
pub struct SyncRecords(Arc<dyn Journal>);

impl std::fmt::Debug for SyncRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncRecords").finish_non_exhaustive()
    }
}

impl SyncRecords {
    /// The records in `journal`.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self(journal)
    }

    /// Loads that are not over, by object.
    pub fn open_loads(&self) -> BTreeMap<ObjectName, OpenLoad> {
        let rows = self.0.rows(Table::Loads).into_iter().filter(|(key, _)| !key.ends_with(CURSOR));
        rows.filter_map(|(key, value)| Some((key.parse().ok()?, read(&key, &value)?))).collect()
    }

    /// An object's load that is not over.
    pub fn open_load(&self, object: &ObjectName) -> Option<OpenLoad> {
        self.row(Table::Loads, object.as_str())
    }

    /// Where it stands.
    pub fn stand(&self, object: &ObjectName) -> Stand {
        self.row(Table::Loads, &cursor_key(object)).unwrap_or_default()
    }

    /// What is known of an object.
    pub fn facts(&self, object: &ObjectName) -> SyncFacts {
        self.row(Table::Syncs, object.as_str()).unwrap_or_default()
    }

    /// What is known of every object, by object.
    pub fn all_facts(&self) -> BTreeMap<ObjectName, SyncFacts> {
        let rows = self.0.rows(Table::Syncs).into_iter();
        rows.filter_map(|(key, value)| Some((key.parse().ok()?, read(&key, &value)?))).collect()
    }

    /// Begins a load: nothing is known of it yet but its plan.
    pub async fn begin(&self, load: &OpenLoad) -> Result<(), JournalError> {
        let object = &load.plan.object;
        let forget = JournalWrite::Delete { table: Table::Loads, key: cursor_key(object) };
        self.0.commit(vec![forget, put(Table::Loads, object.as_str(), load)?]).await
    }

    /// Keeps what has become of a load.
    pub async fn keep(&self, load: &OpenLoad) -> Result<(), JournalError> {
        self.0.commit(vec![put(Table::Loads, load.plan.object.as_str(), load)?]).await
    }

    /// Keeps where a load stands.
    pub async fn keep_stand(&self, object: &ObjectName, at: &Stand) -> Result<(), JournalError> {
        self.0.commit(vec![put(Table::Loads, &cursor_key(object), at)?]).await
    }

    /// Ends a load, and keeps what it has taught, in one step.
    pub async fn end(&self, object: &ObjectName, facts: &SyncFacts) -> Result<(), JournalError> {
        let delete = |key: String| JournalWrite::Delete { table: Table::Loads, key };
        let writes = vec![
            delete(object.as_str().to_owned()),
            delete(cursor_key(object)),
            put(Table::Syncs, object.as_str(), facts)?,
        ];
        self.0.commit(writes).await
    }

    /// Keeps what is known of an object.
    pub async fn keep_facts(&self, object: &ObjectName, facts: &SyncFacts) -> Result<(), JournalError> {
        self.0.commit(vec![put(Table::Syncs, object.as_str(), facts)?]).await
    }

    fn row<T: serde::de::DeserializeOwned>(&self, table: Table, key: &str) -> Option<T> {
        let rows = self.0.rows(table);
        let (_, value) = rows.iter().find(|(of, _)| of == key)?;
        read(key, value)
    }
}

fn cursor_key(object: &ObjectName) -> String {
    format!("{object}{CURSOR}")
}

fn put<T: Serialize>(table: Table, key: &str, value: &T) -> Result<JournalWrite, JournalError> {
    let value = serde_json::to_vec(value).map_err(|error| JournalError::Failed(error.to_string()))?;
    Ok(JournalWrite::Put { table, key: key.to_owned(), value })
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    match serde_json::from_slice(value) {
        Ok(row) => Some(row),
        Err(error) => {
            // Left there: a later version may read it. The object is planned anew meanwhile.
            tracing::warn!(key, %error, "a sync's row in the journal cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::engine::MemoryJournal;

    fn lead() -> ObjectName {
        "Lead".parse().unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_load_forgets_where_it_stood_and_keeps_what_it_taught() {
        let records = SyncRecords::new(Arc::new(MemoryJournal::default()));
        let stand = Stand { calls: 7, ..Stand::default() };
        records.keep_stand(&lead(), &stand).await.unwrap();
        assert_eq!(records.stand(&lead()), stand);
        assert!(records.open_loads().is_empty(), "where a load stands is no load");
        let facts = SyncFacts { fingerprint: "lead".to_owned(), ..SyncFacts::default() };
        records.end(&lead(), &facts).await.unwrap();
        assert_eq!((records.stand(&lead()), records.facts(&lead())), (Stand::default(), facts));
        assert_eq!(records.all_facts().len(), 1);
    }
}
