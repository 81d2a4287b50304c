//! What stands in the columns that a report adds to a row. Pure.

use std::fmt::Write;

use crate::leads::report_row::{ReportRow, RowPlace};
use crate::leads::{Assessment, LeadField, LeadOutcome, LeadResult, ModelVerdict, Presence};

/// A column of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    LeadId,
    /// What was given where an id should be, when it is none: without a sheet it stands nowhere else.
    LeadIdOrWritten,
    Field(LeadField),
    EmailDomain,
    NotInTam,
    Suspicious,
    Acquisition,
    Enrichment,
    Coherence,
    Confidence,
    Explanation,
    Corrections,
    Inferences,
    Status,
    Presence,
    Note,
}

/// A column of ours with its head and its width in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added {
    pub(super) column: Column,
    pub(super) head: &'static str,
    pub(super) width: f64,
}

const fn added(column: Column, head: &'static str, width: f64) -> Added {
    Added { column, head, width }
}

/// Behind the columns of a sheet (report B).
pub(super) const BESIDE: [Added; 13] = [
    added(Column::Acquisition, "Acquisition_Score", 12.0),
    added(Column::Enrichment, "Enrichment_Score", 12.0),
    added(Column::Coherence, "AI_Coherence_Score", 12.0),
    added(Column::Confidence, "Final_Confidence_Score", 12.0),
    added(Column::Explanation, "AI_Explanation", 60.0),
    added(Column::Corrections, "AI_Corrections", 30.0),
    added(Column::Inferences, "AI_Inferences", 30.0),
    added(Column::NotInTam, "AI_Not_in_TAM", 12.0),
    added(Column::Suspicious, "AI_Suspicious_Enrichment", 12.0),
    added(Column::Status, "AI_Status", 20.0),
    added(Column::LeadId, "Lead_ID", 21.0),
    added(Column::Presence, "Lead_Presence", 14.0),
    added(Column::Note, "Note", 50.0),
];

/// A table of leads (report A): the seed's 27 columns, and two of ours.
pub(super) const ALONE: [Added; 29] = [
    added(Column::LeadIdOrWritten, "Lead ID", 21.0),
    field(LeadField::FirstName, 14.0),
    field(LeadField::LastName, 16.0),
    field(LeadField::Phone, 18.0),
    field(LeadField::Country, 16.0),
    field(LeadField::Title, 24.0),
    field(LeadField::Industry, 20.0),
    field(LeadField::Email, 30.0),
    field(LeadField::FirstChannel, 18.0),
    field(LeadField::SegmentName, 18.0),
    field(LeadField::CompanySizeRange, 20.0),
    field(LeadField::Website, 28.0),
    field(LeadField::Company, 28.0),
    field(LeadField::EnrichedWebsite, 28.0),
    field(LeadField::EnrichedCompany, 28.0),
    field(LeadField::EnrichedEmployees, 14.0),
    added(Column::EmailDomain, "Email Domain", 22.0),
    added(Column::NotInTam, "Not in TAM", 12.0),
    added(Column::Suspicious, "Suspicious Enrichment", 14.0),
    added(Column::Acquisition, "Acquisition Score", 12.0),
    added(Column::Enrichment, "Enrichment Score", 12.0),
    added(Column::Coherence, "AI Coherence Score", 12.0),
    added(Column::Confidence, "Final Confidence Score", 12.0),
    added(Column::Explanation, "Explanation", 60.0),
    added(Column::Corrections, "Corrections", 30.0),
    added(Column::Inferences, "Inferences", 30.0),
    added(Column::Status, "AI Status", 20.0),
    added(Column::Presence, "Lead Presence", 14.0),
    added(Column::Note, "Note", 50.0),
];

const fn field(field: LeadField, width: f64) -> Added {
    // The head is asked for where it is written: `LeadField::header` is not const.
    Added { column: Column::Field(field), head: "", width }
}

impl Added {
    /// The head of the column.
    pub(super) fn head(&self) -> &'static str {
        match self.column {
            Column::Field(field) => field.header(),
            _ => self.head,
        }
    }
}

/// What stands in a cell of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Text(&'a str),
    /// From 0 to 100, to be coloured.
    Score(f64),
    Whole(i64),
    YesNo(bool),
}

/// The lists that rows are also put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// What stands there is no id.
    Invalid,
    /// The org has no record of its lead for us.
    NoRecord,
    /// Its lead could not be read, or the model gave no usable answer.
    Failed,
}

/// What a report says of a row.
#[derive(Clone, Copy)]
pub(super) struct Verdict<'r> {
    row: &'r ReportRow,
}

impl<'r> Verdict<'r> {
    pub(super) fn of(row: &'r ReportRow) -> Self {
        Self { row }
    }

    pub(super) fn result(&self) -> Option<&'r LeadResult> {
        match &self.row.place {
            RowPlace::Lead { result, .. } => Some(result),
            RowPlace::Blank | RowPlace::Invalid { .. } => None,
        }
    }

    pub(super) fn assessment(&self) -> Option<&'r Assessment> {
        match &self.result()?.outcome {
            LeadOutcome::Assessed(assessment) => Some(assessment),
            LeadOutcome::NoRecord | LeadOutcome::Unread { .. } => None,
        }
    }

    /// The word of the column `AI_Status`.
    pub(super) fn status(&self) -> &'static str {
        match &self.row.place {
            RowPlace::Blank => "Not Analyzed",
            RowPlace::Invalid { .. } => "Invalid Lead ID",
            RowPlace::Lead { result, .. } => result.status(),
        }
    }

    /// The list that the row is also put on.
    pub(super) fn listed(&self) -> Option<Listed> {
        match &self.row.place {
            RowPlace::Blank => None,
            RowPlace::Invalid { .. } => Some(Listed::Invalid),
            RowPlace::Lead { result, .. } if result.is_failed() => Some(Listed::Failed),
            RowPlace::Lead { result, .. } => {
                matches!(result.outcome, LeadOutcome::NoRecord).then_some(Listed::NoRecord)
            }
        }
    }

    /// The id for a list: as it was written when it is none.
    pub(super) fn id_shown(&self) -> &'r str {
        match &self.row.place {
            RowPlace::Blank => "",
            RowPlace::Invalid { written, .. } => written,
            RowPlace::Lead { result, .. } => result.lead.id.as_str(),
        }
    }

    /// The earlier row with the same lead.
    pub(super) fn duplicate_of(&self) -> Option<u64> {
        match self.row.place {
            RowPlace::Lead { first_row, .. } if first_row != self.row.row => Some(first_row),
            _ => None,
        }
    }

    /// The id had lost its case.
    pub(super) fn is_repaired(&self) -> bool {
        matches!(self.row.place, RowPlace::Lead { repaired: true, .. })
    }

    /// Lines that explain the scores: the model's, or where it gave none those of the rules.
    pub(super) fn explanation(&self) -> &'r [String] {
        match self.assessment() {
            Some(Assessment { model: ModelVerdict::Answered { answer, .. }, .. }) => &answer.explanation,
            Some(assessment) => &assessment.findings,
            None => &[],
        }
    }

    /// What stands in a column. Text that is put together lies in `scratch`.
    pub(super) fn cell<'s>(&self, column: Column, scratch: &'s mut String) -> Cell<'s>
    where
        'r: 's,
    {
        scratch.clear();
        let score = |score: Option<f64>| score.map_or(Cell::Empty, Cell::Score);
        let (result, assessment) = (self.result(), self.assessment());
        let scores = assessment.map(|assessment| assessment.scores).unwrap_or_default();
        let flags = assessment.map(|assessment| assessment.flags);
        match column {
            Column::LeadIdOrWritten => {
                return match self.id_shown() {
                    "" => Cell::Empty,
                    text => Cell::Text(text),
                };
            }
            Column::LeadId => {
                return result.map_or(Cell::Empty, |result| Cell::Text(result.lead.id.as_str()));
            }
            Column::Field(field) => {
                let value = result.and_then(|result| result.lead.get(field));
                return match (value, field) {
                    (None, _) => Cell::Empty,
                    (Some(value), LeadField::EnrichedEmployees) => plain_number(value),
                    (Some(value), _) => Cell::Text(value),
                };
            }
            Column::EmailDomain => scratch.extend(result.and_then(|result| result.lead.email_domain())),
            Column::NotInTam => return flags.map_or(Cell::Empty, |flags| Cell::YesNo(flags.not_in_tam)),
            Column::Suspicious => {
                return flags.map_or(Cell::Empty, |flags| Cell::YesNo(flags.suspicious_enrichment));
            }
            Column::Acquisition => return score(scores.acquisition),
            Column::Enrichment => return score(scores.enrichment),
            Column::Coherence => return score(scores.coherence),
            Column::Confidence => return score(scores.confidence),
            Column::Explanation => match self.explanation() {
                [only] => return Cell::Text(only),
                lines => join(scratch, lines.iter().map(String::as_str), "\n"),
            },
            Column::Corrections | Column::Inferences => {
                if let Some(Assessment { model: ModelVerdict::Answered { answer, .. }, .. }) = assessment {
                    let is_corrections = column == Column::Corrections;
                    let proposed = if is_corrections { &answer.corrections } else { &answer.inferences };
                    if !proposed.is_empty() {
                        scratch.push_str(&serde_json::to_string(proposed).unwrap_or_default());
                    }
                }
            }
            Column::Status => return Cell::Text(self.status()),
            Column::Presence => {
                return match result {
                    // Nobody knows of a lead that was not read whether it is there.
                    Some(LeadResult { outcome: LeadOutcome::Unread { .. }, .. }) | None => Cell::Empty,
                    Some(result) => Cell::Text(result.lead.presence.as_str()),
                };
            }
            Column::Note => self.note(scratch),
        }
        if scratch.is_empty() { Cell::Empty } else { Cell::Text(scratch) }
    }

    /// Everything else that a person should know of the row, a clause each.
    pub(super) fn note(&self, note: &mut String) {
        let mut clause = |write: &dyn Fn(&mut String) -> std::fmt::Result| {
            if !note.is_empty() {
                note.push_str("; ");
            }
            // Writing to a string cannot fail.
            let _ = write(note);
        };
        if let Some(first) = self.duplicate_of() {
            clause(&|note| write!(note, "duplicate of row {first}"));
        }
        if self.is_repaired() {
            clause(&|note| note.write_str("id repaired: its letters had lost their case"));
        }
        if self.has_reason() {
            clause(&|note| self.reason(note));
        }
        let Some(result) = self.result() else { return };
        if result.lead.presence == Presence::Converted && self.assessment().is_some() {
            clause(&|note| note.write_str("converted to a contact"));
        }
        if let Some(ModelVerdict::Answered { answer, reused, .. }) =
            self.assessment().map(|assessment| &assessment.model)
        {
            if *reused {
                clause(&|note| note.write_str("assessment reused: given before for the same content"));
            }
            for sentence in &answer.enforced {
                clause(&|note| note.write_str(sentence));
            }
        }
    }

    /// Whether there is no whole assessment, for a reason.
    pub(super) fn has_reason(&self) -> bool {
        matches!(self.row.place, RowPlace::Blank) || self.listed().is_some()
    }

    /// Why there is no whole assessment; nothing when there is one.
    pub(super) fn reason(&self, reason: &mut String) -> std::fmt::Result {
        let result = match &self.row.place {
            RowPlace::Blank => return reason.write_str("no id"),
            RowPlace::Invalid { fault, .. } => return write!(reason, "no Lead id: {fault}"),
            RowPlace::Lead { result, .. } => result,
        };
        match &result.outcome {
            LeadOutcome::Unread { reason: why } => write!(reason, "not read: {why}"),
            LeadOutcome::NoRecord => match result.lead.presence {
                Presence::Merged { into } => write!(reason, "merged into {into}"),
                Presence::Deleted => reason.write_str("deleted: in the org's recycle bin"),
                Presence::Found | Presence::Converted | Presence::NotVisible => {
                    reason.write_str("the org does not know this id, or does not show it to us")
                }
            },
            LeadOutcome::Assessed(assessment) => match &assessment.model {
                ModelVerdict::Failed { reason: why, .. } => {
                    write!(reason, "no usable answer of the model: {why}")
                }
                ModelVerdict::NotAsked | ModelVerdict::Answered { .. } => Ok(()),
            },
        }
    }
}

/// A whole number that a person would write so, as a number; anything else as it is.
fn plain_number(text: &str) -> Cell<'_> {
    let digits = text.strip_suffix(".0").unwrap_or(text);
    match digits.parse::<i64>() {
        Ok(number) if digits.len() <= 15 && !digits.starts_with('+') => Cell::Whole(number),
        _ => Cell::Text(text),
    }
}

fn join<'t>(into: &mut String, parts: impl Iterator<Item = &'t str>, between: &str) {
    for (index, part) in parts.enumerate() {
        if index > 0 {
            into.push_str(between);
        }
        into.push_str(part);
    }
}
