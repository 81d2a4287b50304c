//! Lead lists: ids in, verdicts out. What decides about a lead is here; what reads sheets is in `sheets`, what keeps a job
//! in `store::lead_jobs`, what asks a model in `ai`, and what carries leads in `actors`.
//!
//! Promises: pure. No clock, no disk, no network. An id is never guessed: it is repaired by its own checksum or refused with
//! the reason. A lead without a usable answer is *failed*, never scored 0, and averages leave it out.

pub mod field;
pub mod id;
pub mod job;
pub mod lead;
pub mod outcome;
pub mod plan;
pub mod report_row;
pub mod settings;

pub use field::{FieldMapping, FieldPath, LeadField};
pub use id::{IdFault, LeadId, ReadId};
pub use job::{JobPhase, LeadCounts, LeadJobSpec, LeadProgress};
pub use lead::{Lead, Presence};
pub use outcome::{
    Assessment, Flags, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Ordinal, Scores, Spent,
};
pub use plan::{Retrieval, RetrievalNeeds, RetrievalPlan};
pub use report_row::{ReportRow, ReportRows, ReportRowsError, RowPlace, RowsInMemory};
pub use settings::{LeadSettings, ModelSettings, Money, Price, ScoreWeights};
