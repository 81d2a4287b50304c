//! One load: the rows of one object, from the window they are read in to the transaction that makes them the target's.
//!
//! Promises: a load's id is fixed before its first row is fetched and never changes; what a plan says is all that is needed
//! to go on after a crash.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::table::{TableLayout, TableName};
use crate::model::{ObjectName, OrgName};

/// The digits of an id, in the order of their values (Crockford's base 32).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ID_LENGTH: usize = 26;

/// A load's id: a ULID, 26 characters, of which the first ten are the time it was planned at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoadId(Box<str>);

/// A text that is no load's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a load: 26 digits and capital letters")]
pub struct BadLoadId(String);

impl LoadId {
    /// The id of a load planned `wall_ms` after 1970, told apart from others of that time by 80 bits of `random`.
    pub fn new(wall_ms: u64, random: u128) -> Self {
        let mut value = (u128::from(wall_ms) << 80) | (random & ((1 << 80) - 1));
        let mut text = [b'0'; ID_LENGTH];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(value & 31) as usize];
            value >>= 5;
        }
        Self(String::from_utf8_lossy(&text).into())
    }

    /// The 26 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LoadId {
    type Err = BadLoadId;

    fn from_str(text: &str) -> Result<Self, BadLoadId> {
        let is_id = text.len() == ID_LENGTH && text.bytes().all(|byte| DIGITS.contains(&byte));
        if is_id { Ok(Self(text.into())) } else { Err(BadLoadId(text.chars().take(40).collect())) }
    }
}

impl TryFrom<String> for LoadId {
    type Error = BadLoadId;

    fn try_from(text: String) -> Result<Self, BadLoadId> {
        text.parse()
    }
}

impl From<LoadId> for String {
    fn from(id: LoadId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for LoadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a load does to its target, in the one transaction that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// The newest staged row of each key replaces the target's, unless the target's is newer. Staged keys without a row
    /// have left the filter: their rows leave the target, whatever the delete policy, unless the key is in a part from
    /// [`SPARED_FROM`] on.
    Upsert,
    /// The newest staged row of each key replaces the target's, also where that is newer, for every row was read just now. Rows
    /// of the target whose key was not staged are deleted; see [`LoadPlan::flags_absent`]. Those whose key alone was staged
    /// stay as they are. The table is never dropped.
    Replace,
    /// Only the load's own columns of rows that the target has already; a row that is as it was is not counted.
    Refresh,
    /// Rows of the target whose key was staged are deleted, by the delete policy.
    DeleteKeys,
    /// Rows of the target whose key was not staged are deleted, by the delete policy.
    KeepKeys,
}

/// What becomes of a row that the org has deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletePolicy {
    /// It stays, with its `IsDeleted` true.
    Flag,
    /// It leaves the target.
    Remove,
}

/// Up to where the target has an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watermark {
    /// Upper end of the window of the last load, by the org's clock; everything committed at the org before it and visible
    /// then is in the target.
    pub at: Timestamp,
}

/// All of a load that must be known to run it, or to run it on after a crash. Holds no row and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Fixed here, before anything is fetched.
    pub id: LoadId,
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// Where its rows go.
    pub table: TableName,
    /// What the load does there.
    pub mode: LoadMode,
    /// The columns of its rows, in the order of the cells. All of them are in the target once its schema is applied.
    pub layout: TableLayout,
    /// What becomes of deleted rows.
    pub deletes: DeletePolicy,
    /// Lower end of the window; `None`: from the beginning.
    pub from: Option<Timestamp>,
    /// Upper end of the window; `None`: this load moves no watermark.
    pub to: Option<Timestamp>,
    /// Of the target's columns, when the load was planned.
    pub schema_version: u64,
    /// A stage of the warehouse that files go through, where one is to be used.
    pub stage: Option<String>,
    /// Its rows are those that a filter lets through.
    #[serde(default)]
    pub is_filtered: bool,
    /// What is to be known of the table once the load is in it, where that is more than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The rows that are there are another org's: those that are not staged leave, for nobody has deleted them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ousts: bool,
}

impl LoadPlan {
    /// Whether rows of the target that were not staged stay there, flagged as deleted. They leave where the policy says so, and
    /// where every row of a filter, or its key, was read: most of them have left it, and nobody can tell them from deleted
    /// ones. So do those of another org.
    pub fn flags_absent(&self) -> bool {
        let have_left = match self.mode {
            LoadMode::Replace => self.is_filtered || self.ousts,
            LoadMode::KeepKeys => self.is_filtered,
            LoadMode::Upsert | LoadMode::Refresh | LoadMode::DeleteKeys => false,
        };
        self.deletes == DeletePolicy::Flag && !have_left
    }

    /// Whether absent rows that are flagged as deleted stay although others leave. The keys to keep are those of rows that are
    /// not deleted, so that such a row is never among them, and under this policy it stays.
    pub fn spares_flagged(&self) -> bool {
        self.mode == LoadMode::KeepKeys && self.deletes == DeletePolicy::Flag && !self.flags_absent()
    }

    /// Whether a row of the target that is newer than the staged one stays.
    pub fn keeps_newer(&self) -> bool {
        self.mode != LoadMode::Replace
    }
}

/// A part of a load: rows that are staged together, and again together. Parts of one load may come in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartNumber(pub u32);

/// Number of the first part with keys alone.
pub const KEYS_FROM: u32 = 1_000_000_000;
/// Number of the first part with keys whose rows the target keeps as they are: the org has them, and they did not fit.
pub const SPARED_FROM: u32 = 2_000_000_000;

impl PartNumber {
    /// Whether the keys of this part are those of rows that stay as they are.
    pub fn is_spared(self) -> bool {
        self.0 >= SPARED_FROM
    }
}

/// What the parts of a load add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedCount {
    /// Rows.
    pub rows: u64,
    /// Keys without their rows.
    pub keys: u64,
}

impl StagedCount {
    /// Rows, and no keys.
    pub fn of_rows(rows: u64) -> Self {
        Self { rows, keys: 0 }
    }
}

/// What the warehouse knows of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadState {
    /// Nothing.
    Unknown,
    /// Some of it is staged.
    Staged {
        /// Parts that are there whole, ascending, with their rows.
        parts: Vec<PartReceipt>,
    },
    /// It is in the target.
    Committed(CommitReceipt),
}

/// A part that is durable in the staging table, or in a file of the warehouse's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// Which.
    pub part: PartNumber,
    /// Its rows, counted by the warehouse.
    pub rows: u64,
}

/// What a load has done to its target, counted there, in its transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReceipt {
    /// Rows that were staged.
    pub staged: u64,
    /// Rows of the target that are new.
    pub inserted: u64,
    /// Rows of the target that are other than before; those flagged as deleted are in `deleted`.
    pub updated: u64,
    /// Keys whose target row was the same already, or newer.
    pub unchanged: u64,
    /// Rows that left the target, or were flagged as deleted, by this load.
    pub deleted: u64,
    /// Where the watermark is now.
    pub watermark: Option<Watermark>,
}

impl CommitReceipt {
    /// Rows of the target that are new or other than before.
    pub fn written(&self) -> u64 {
        self.inserted + self.updated
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_tells_its_time_first() {
        assert_eq!(LoadId::new(0, 0).as_str(), "00000000000000000000000000");
        assert_eq!(LoadId::new((1 << 48) - 1, u128::MAX).as_str(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert!(LoadId::new(1, 0) > LoadId::new(0, u128::MAX));
    }

    proptest! {
        #[test]
        fn an_id_reads_back(wall_ms in 0u64..1 << 48, random: u128) {
            let id = LoadId::new(wall_ms, random);
            prop_assert_eq!(id.as_str().parse::<LoadId>(), Ok(id.clone()));
        }
    }

    #[test]
    fn what_could_be_a_path_is_no_id() {
        assert!("../../../../../etc/passwd0".parse::<LoadId>().is_err());
        assert!("".parse::<LoadId>().is_err());
    }
}
