//! One operation once its references have values: typed, limited, with every condition in it.
//!
//! Promises: what comes out is all that a database needs; a value that came from a reference is data and was never read for
//! operators, commas or wildcards; nothing here decides about rights, that was done in [`check`](super::check).

pub(in crate::batch) mod cursor;
pub mod fit;
pub(in crate::batch) mod planned;
mod selector;
mod work;

use super::check::{AssociationPlan, CheckedOperation, OperationError};
use super::operation::{BoundOperation, Condition, Handed, Handover, Test, Work};
use super::reference::{Results, Warning};
use super::request::Limits;
use super::value::Value;

/// What binding needs beside the results of other operations.
pub struct BindContext<'a> {
    /// The moment of the batch.
    pub now: jiff::Timestamp,
    /// Limits of section 13.
    pub limits: &'a Limits,
    /// Makes a random UUID: lower case, with hyphens.
    pub new_uuid: &'a mut dyn FnMut() -> String,
    /// Bytes that references may still copy in this batch; starts at `limits.resolved_bytes`.
    pub bytes_left: &'a mut usize,
    /// Where warnings go.
    pub warnings: &'a mut Vec<Warning>,
}

impl CheckedOperation {
    /// The operation as a database is asked to do it. All operations it refers to must have completed.
    pub fn bind(
        &self,
        results: &dyn Results,
        cx: &mut BindContext<'_>,
    ) -> Result<BoundOperation, OperationError> {
        self.bind_taking(results, Vec::new(), cx)
    }

    /// As [`Self::bind`], of a create that finds the values of some columns in the database: these references need no result.
    pub fn bind_taking(
        &self,
        results: &dyn Results,
        takes: Vec<Handover>,
        cx: &mut BindContext<'_>,
    ) -> Result<BoundOperation, OperationError> {
        let first_warning = cx.warnings.len();
        let work = work::bind(self, results, &takes, cx)?;
        for warning in &mut cx.warnings[first_warning..] {
            warning.operation.get_or_insert_with(|| self.id.clone());
        }
        let returning = if self.is_count { Vec::new() } else { self.fetch_columns.clone() };
        Ok(BoundOperation {
            index: self.index,
            entity: self.entity.clone(),
            work,
            returning,
            handed: Handed { gives: Vec::new(), takes },
        })
    }

    /// How many rows a bound read is to answer. It asks the database for one more, to see whether there are more; the
    /// caller cuts the rows to this many.
    pub fn page_rows(&self, bound: &BoundOperation) -> Option<usize> {
        match bound.work {
            Work::Read { limit, .. } | Work::Statement { limit, .. } => {
                usize::try_from(limit.saturating_sub(1)).ok()
            }
            _ => None,
        }
    }

    /// The token for the rows after `last_row` (cells of [`CheckedOperation::fetch_columns`]); `None` when the order
    /// cannot be continued: no primary key, or a sort through a relation.
    pub fn next_cursor(&self, last_row: &[Value]) -> Option<String> {
        cursor::next(self, last_row)
    }

    /// Whether its selector names every column of the primary key by plain equality, so that it touches no row but the one
    /// with that key.
    pub fn selects_by_full_primary_key(&self) -> bool {
        let (Some(entity), Some(selector)) = (&self.entity, self.work.selector()) else {
            return false;
        };
        !entity.primary_key.is_empty()
            && entity.primary_key.iter().all(|column| selector.names_plainly(*column))
    }

    /// The same selector without the version test, as a count of rows that the caller may see: tells a stale version from
    /// a row that is not there. `None` where no version was tested.
    pub fn stale_probe(&self, bound: &BoundOperation) -> Option<BoundOperation> {
        let version = self.entity.as_ref()?.version?;
        let (Work::Update { condition, .. } | Work::Delete { condition, .. }) = &bound.work else {
            return None;
        };
        let is_test = |part: &Condition| matches!(part, Condition::Column(column, Test::Eq(_)) if *column == version.column);
        let condition = match condition {
            Condition::All(parts) => {
                // The selector's own tests come first, so the first such test is the request's and not a row filter's.
                let at = parts.iter().position(is_test)?;
                let mut rest = parts.clone();
                rest.remove(at);
                Condition::All(rest)
            }
            single if is_test(single) => Condition::True,
            _ => return None,
        };
        let entity = self.entity.clone();
        Some(BoundOperation {
            index: self.index,
            entity,
            work: Work::Count { condition },
            returning: Vec::new(),
            handed: Handed::default(),
        })
    }
}

impl AssociationPlan {
    /// The read that loads it for rows with these keys: for each row the values of [`AssociationPlan::pairs`]' columns here.
    /// It asks for one row more than `rows_max`, to see whether there are too many. `None` when no row has a key.
    pub fn load(&self, index: usize, keys: &[Vec<Value>], rows_max: u64) -> Option<BoundOperation> {
        work::load_association(self, index, keys, rows_max)
    }
}

#[cfg(test)]
mod tests;
