//! Lead lists: ids in, verdicts out. What decides about a lead is here; what reads sheets is in `sheets`, what keeps a job
//! in `store::lead_jobs`, what asks a model in `ai`, and what carries leads in `actors`.
//!
//! Promises: pure. No clock, no disk, no network. An id is never guessed: it is repaired by its own checksum or refused with
//! the reason. A lead without a usable answer is *failed*, never scored 0, and averages leave it out.

pub mod answer;
pub mod assess;
mod coherence;
pub mod domains;
pub mod enforce;
pub mod field;
pub mod id;
pub mod job;
pub mod lead;
pub mod limits;
pub mod money;
pub mod outcome;
pub mod phone;
pub mod plan;
pub mod prompt;
pub mod reference;
pub mod report_row;
pub mod rules;
pub mod settings;
pub mod size;
#[cfg(test)]
mod test_support;
mod text;

pub use answer::{AnswerFault, RawAnswer, read_answer};
pub use assess::{assess_by_rules, assess_with, confidence};
pub use domains::FreeMail;
pub use enforce::{WebsiteVerdict, enforce, websites_to_check};
pub use field::{FieldMapping, FieldPath, LeadField};
pub use id::{IdFault, LeadId, ReadId, reads_as_number};
pub use job::{JobPhase, LeadCounts, LeadJobSpec, LeadProgress};
pub use lead::{Lead, Presence};
pub use money::cost;
pub use outcome::{
    Assessment, Flags, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Ordinal, Scores, Spent,
};
pub use plan::{Retrieval, RetrievalNeeds, RetrievalPlan};
pub use prompt::{PROMPT_VERSION, Prompt, estimated_tokens};
pub use report_row::{ReportRow, ReportRows, ReportRowsError, RowPlace, RowsInMemory};
pub use rules::{flags, rule_scores};
pub use settings::{LeadSettings, ModelSettings, Money, Price, ScoreWeights};
