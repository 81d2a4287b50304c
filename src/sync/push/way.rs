//! By which of the org's doors rows go in.
//!
//! Promises: the cheaper in calls, and one that can be asked after a crash: an insert always goes by a job, whose state the
//! org keeps, because an answer that was lost would else leave nobody to know whether the rows are there.

use serde::{Deserialize, Serialize};

use super::settings::PushOperation;
use crate::sync::told::{counted, grouped};

/// Records of one call of the collections.
pub const RECORDS_PER_CALL: u64 = 200;
/// Calls of a job beside its upload: it is made, closed, looked after three times, its three lists read, taken away.
const JOB_CALLS: u64 = 1 + 1 + 3 + 3 + 1;
/// From so many rows on a job costs no more calls than collections.
pub const BULK_FROM: u64 = (JOB_CALLS + 1) * RECORDS_PER_CALL;

/// A door of the org.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushWay {
    /// [`RECORDS_PER_CALL`] records a call, answered at once.
    Collections,
    /// Bulk API 2.0 ingest, a job for each batch.
    BulkJobs,
}

/// A door, and why this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushChoice {
    /// The door.
    pub way: PushWay,
    /// Why, with the figures.
    pub reason: String,
    /// Calls that it will take; a forecast, for nobody knows how long a job works.
    pub calls: u64,
    /// Jobs that it will take.
    pub jobs: u64,
}

/// Chooses for so many rows in so many batches.
pub fn choose(operation: &PushOperation, rows: u64, batches: u64, bulk_from: u64) -> PushChoice {
    let by_jobs = (batches * (JOB_CALLS + 1), batches);
    let by_calls = (rows.div_ceil(RECORDS_PER_CALL), 0);
    let told = counted(rows, "row");
    let (way, reason, (calls, jobs)) = if rows == 0 {
        (PushWay::Collections, "the query gives no rows: nothing is sent".to_owned(), (0, 0))
    } else if !operation.may_be_repeated() {
        let why = "an insert goes by a job, which can be asked after a crash what it did";
        (PushWay::BulkJobs, format!("{told}: {why}"), by_jobs)
    } else if rows < bulk_from {
        let reason = format!(
            "{told}, fewer than {} (`bulk_api_threshold`): {RECORDS_PER_CALL} a call",
            grouped(bulk_from)
        );
        (PushWay::Collections, reason, by_calls)
    } else {
        let reason = format!(
            "{told}, {} (`bulk_api_threshold`) or more: {}",
            grouped(bulk_from),
            counted(batches, "bulk job")
        );
        (PushWay::BulkJobs, reason, by_jobs)
    };
    PushChoice { way, reason, calls, jobs }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn upsert() -> PushOperation {
        PushOperation::Upsert { external_id: "Ext__c".parse().unwrap() }
    }

    #[rstest]
    #[case::nothing(upsert(), 0, 0, PushWay::Collections, 0, 0)]
    #[case::one(upsert(), 1, 1, PushWay::Collections, 1, 0)]
    #[case::a_call_full(upsert(), 200, 1, PushWay::Collections, 1, 0)]
    #[case::one_more(upsert(), 201, 1, PushWay::Collections, 2, 0)]
    #[case::below(PushOperation::Update, 1_999, 1, PushWay::Collections, 10, 0)]
    #[case::as_many_as_pay(PushOperation::Update, 2_000, 1, PushWay::BulkJobs, 10, 1)]
    #[case::many(upsert(), 60_000, 3, PushWay::BulkJobs, 30, 3)]
    #[case::few_deletes(PushOperation::Delete, 3, 1, PushWay::Collections, 1, 0)]
    #[case::one_insert(PushOperation::Insert, 1, 1, PushWay::BulkJobs, 10, 1)]
    fn the_cheaper_door_is_taken_and_inserts_go_by_jobs(
        #[case] operation: PushOperation,
        #[case] rows: u64,
        #[case] batches: u64,
        #[case] way: PushWay,
        #[case] calls: u64,
        #[case] jobs: u64,
    ) {
        let choice = choose(&operation, rows, batches, BULK_FROM);
        assert_eq!((choice.way, choice.calls, choice.jobs), (way, calls, jobs), "{}", choice.reason);
    }

    #[test]
    fn at_its_threshold_a_job_costs_what_collections_cost() {
        let below = choose(&upsert(), BULK_FROM - 1, 1, BULK_FROM).calls;
        let at = choose(&upsert(), BULK_FROM, 1, BULK_FROM).calls;
        assert_eq!(below, at);
    }
}
