//! A lead job: what was asked for, how far it is, what its counts are.

use serde::{Deserialize, Serialize};

use super::settings::Money;
use crate::model::OrgName;

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// A workbook.
    Xlsx,
    /// Comma-separated.
    Csv,
    /// One JSON object a row.
    Jsonl,
}

impl ReportFormat {
    /// Extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Xlsx => "xlsx",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Where the ids come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadSource {
    /// A sheet, copied into the job's folder: its columns and rows go into the report.
    Sheet {
        /// Name of the copy within the job's folder.
        file: String,
        /// As the person called it.
        name: String,
        /// The sheet; `None` in a file that has one.
        sheet: Option<String>,
        /// Head of the column with the ids.
        id_column: String,
    },
    /// A query that the guard has passed.
    Query {
        /// The statement.
        soql: String,
    },
    /// A list.
    Ids {
        /// As they were given.
        ids: Vec<String>,
    },
}

/// What was asked for. Kept with the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadJobSpec {
    /// The job's id, such as `leads-20261123T101500123`; also the name of its folder.
    pub job: String,
    /// The org.
    pub org: OrgName,
    /// Where the ids come from.
    pub source: LeadSource,
    /// Whether the model is asked, where one is configured.
    pub ask_model: bool,
    /// Ids in one read.
    pub read_batch: usize,
    /// Leads in one item of the assessor.
    pub assess_batch: usize,
    /// Most that it may spend.
    pub max_cost: Option<Money>,
    /// Forms of the report.
    pub reports: Vec<ReportFormat>,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// Reading its sheet.
    Intake,
    /// Reading leads from the org, assessing them.
    Assessing,
    /// Waiting for the endpoint's batch.
    AwaitingBatch,
    /// Writing the report.
    Reporting,
    /// Over; its report is there.
    Done,
    /// Over without a report; see its error. What was done is kept, and a retry goes on with it.
    Failed,
}

impl JobPhase {
    /// The name used in answers, metrics and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Assessing => "assessing",
            Self::AwaitingBatch => "awaiting_batch",
            Self::Reporting => "reporting",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing happens any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// What is in a job's sheet, and what became of its leads: counted in the job's store, never estimated.
///
/// `rows = blank + invalid + (leads + duplicates)`;
/// `leads = assessed + failed + no_record + unread + open`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
// What an older penstock has kept lacks counts that came later: they were 0.
#[serde(default)]
pub struct LeadCounts {
    /// Data rows of the sheet.
    pub rows: u64,
    /// Rows without an id.
    pub blank: u64,
    /// Rows whose id is none.
    pub invalid: u64,
    /// Rows whose lead stands in an earlier row.
    pub duplicates: u64,
    /// Rows whose id had lost its case and was repaired.
    pub repaired: u64,
    /// Different leads.
    pub leads: u64,
    /// Leads without an outcome yet.
    pub open: u64,
    /// Leads that were assessed, by rules alone or with a usable answer of the model.
    pub assessed: u64,
    /// Leads for which the model gave no usable answer.
    pub failed: u64,
    /// Leads of which the org has no record for us: the three below together.
    pub no_record: u64,
    /// Of those, merged into another.
    pub merged: u64,
    /// Of those, in the recycle bin.
    pub deleted: u64,
    /// Of those, unknown or not to be seen.
    pub not_visible: u64,
    /// Leads with a record that have become contacts.
    pub converted: u64,
    /// Leads that could not be read.
    pub unread: u64,
    /// Leads with a flag.
    pub with_issues: u64,
    /// Flag.
    pub not_in_tam: u64,
    /// Flag.
    pub suspicious_enrichment: u64,
    /// Leads for which the model gave a usable answer, reused ones included.
    pub model_answered: u64,
    /// Of those, reused.
    pub model_reused: u64,
    /// Sum of the scores after caps of answered leads, for the average.
    pub model_score_sum: u64,
    /// Leads with a confidence.
    pub with_confidence: u64,
    /// Sum of confidences in tenths, for the average.
    pub confidence_tenths: u64,
    /// Requests sent to the model.
    pub model_requests: u64,
    /// Tokens of questions.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// What was paid.
    pub cost: Money,
}

impl LeadCounts {
    /// Leads with an outcome.
    pub fn finished(&self) -> u64 {
        self.leads - self.open.min(self.leads)
    }

    /// Mean of the model's scores, one decimal; `None` without an answer.
    pub fn average_model_score(&self) -> Option<f64> {
        mean(self.model_score_sum as f64, self.model_answered)
    }

    /// Mean confidence, one decimal; `None` without any.
    pub fn average_confidence(&self) -> Option<f64> {
        mean(self.confidence_tenths as f64 / 10.0, self.with_confidence)
    }

    /// Leads with issues among those that have a record, in per cent with two decimals.
    pub fn issue_percentage(&self) -> f64 {
        match self.assessed + self.failed {
            0 => 0.0,
            leads => (self.with_issues as f64 * 10_000.0 / leads as f64).round() / 100.0,
        }
    }
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| (sum * 10.0 / count as f64).round() / 10.0)
}

/// How far a job is, as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadProgress {
    /// The job.
    pub job: String,
    /// Where it is.
    pub phase: JobPhase,
    /// Its counts so far.
    pub counts: LeadCounts,
    /// Calls to the org for this job so far, the login included.
    pub org_calls: u64,
    /// Seconds since it began, or began again.
    pub elapsed_secs: f64,
    /// Leads finished a second, of late.
    pub leads_per_sec: f64,
    /// Seconds until it is done at this rate; `None` while nobody can tell.
    pub seconds_left: Option<f64>,
    /// What it waits for, in words, when it is not the work that takes the time.
    pub waits: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_leave_out_what_has_no_score() {
        let counts =
            LeadCounts { assessed: 3, model_answered: 2, model_score_sum: 145, ..Default::default() };
        assert_eq!(counts.average_model_score(), Some(72.5));
        assert_eq!(counts.average_confidence(), None);
        let counts = LeadCounts { assessed: 2, failed: 1, with_issues: 1, ..Default::default() };
        assert_eq!(counts.issue_percentage(), 33.33);
        assert_eq!(LeadCounts::default().issue_percentage(), 0.0);
    }
}
