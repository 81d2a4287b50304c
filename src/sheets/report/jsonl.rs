//! Reports as lines of JSON: `row`, `input` (the sheet's cells by head) or, of what is no id without a sheet, `written`, then
//! `lead` and `outcome`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::dates::Dates;
use super::heads::told_apart;
use super::verdict::Verdict;
use super::{Output, ReportError};
use crate::leads::report_row::{ReportRow, RowPlace};
use crate::leads::{
    Flags, Lead, LeadField, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Presence, Scores, Spent,
};
use crate::sheets::Rows;
use crate::sheets::cell::{CellView, RowView};
use crate::sheets::rows::lettered;
use crate::store::atomic_file::AtomicFile;

pub(super) struct JsonlReport {
    file: AtomicFile,
    /// Heads of the sheet, told apart.
    heads: Vec<String>,
    dates: Dates,
    line: Vec<u8>,
    note: String,
}

impl JsonlReport {
    pub(super) fn begin(file: AtomicFile, input: Option<&Rows<'_>>) -> Self {
        let heads = input.map(Rows::headers).unwrap_or_default();
        let heads = told_apart(&[], heads.iter().map(String::as_str));
        let dates = input.map(Dates::of).unwrap_or_default();
        Self { file, heads, dates, line: Vec::new(), note: String::new() }
    }
}

impl Output for JsonlReport {
    fn row(&mut self, sheet: Option<RowView<'_>>, row: &ReportRow) -> Result<(), ReportError> {
        let verdict = Verdict::of(row);
        self.note.clear();
        verdict.note(&mut self.note);
        let input = sheet.map(|row| Input { row, heads: &self.heads, dates: &self.dates });
        let written = match &row.place {
            RowPlace::Invalid { written, .. } if input.is_none() => Some(written.as_str()),
            _ => None,
        };
        let line = Line {
            row: row.row,
            written,
            input,
            lead: verdict.result().map(LeadShown),
            outcome: outcome(row, &verdict, &self.note),
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &line).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        Ok(self.file.write_all(&self.line)?)
    }

    fn finish(self) -> Result<usize, ReportError> {
        self.file.commit()?;
        Ok(0)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Input<'a>>,
    /// What was given where an id should be, when it is none and no sheet shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'a str>,
    lead: Option<LeadShown<'a>>,
    outcome: OutcomeShown<'a>,
}

/// The sheet's cells by their heads. Cells beyond the last head go by their column's letter.
struct Input<'a> {
    row: RowView<'a>,
    heads: &'a [String],
    dates: &'a Dates,
}

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for column in 0..self.heads.len().max(super::delimited::last_of(&self.row)) {
            let cell = self.row.cell(column);
            let head = match self.heads.get(column) {
                Some(head) => Cow::Borrowed(head.as_str()),
                None if cell.is_empty() => continue,
                None => Cow::Owned(told_apart(self.heads, [lettered(column).as_str()]).concat()),
            };
            match cell {
                CellView::Empty => map.serialize_entry(&head, &())?,
                CellView::Text(text) | CellView::Error(text) => map.serialize_entry(&head, text)?,
                CellView::Bool(value) => map.serialize_entry(&head, &value)?,
                CellView::Number { value, written, format } => match self.dates.shown(value, format) {
                    Some(date) => map.serialize_entry(&head, &date)?,
                    None if value.is_finite() && value.fract() == 0.0 && value.abs() < 9e15 => {
                        map.serialize_entry(&head, &(value as i64))?;
                    }
                    None if value.is_finite() => map.serialize_entry(&head, &value)?,
                    None => map.serialize_entry(&head, written)?,
                },
            }
        }
        map.end()
    }
}

/// A lead: its id, whether it is there, and its values by the names they have in answers over HTTP.
struct LeadShown<'a>(&'a LeadResult);

impl Serialize for LeadShown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Lead { id, presence, .. } = &self.0.lead;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("Id", id)?;
        if !matches!(self.0.outcome, LeadOutcome::Unread { .. }) {
            map.serialize_entry("presence", presence.as_str())?;
        }
        if let Presence::Merged { into } = presence {
            map.serialize_entry("merged_into", into)?;
        }
        if presence.has_record() {
            for field in LeadField::ALL {
                if let Some(value) = self.0.lead.get(field) {
                    map.serialize_entry(field.default_path(), value)?;
                }
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct OutcomeShown<'a> {
    status: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    id_repaired: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    assessed: Option<AssessedShown<'a>>,
}

#[derive(Serialize)]
struct AssessedShown<'a> {
    #[serde(flatten)]
    flags: Flags,
    scores: Scores,
    /// `not_asked`, `answered`, `reused` or `failed`.
    model: &'static str,
    explanation: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    score_said: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrections: Option<&'a BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inferences: Option<&'a BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    enforced: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    findings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    spent: Option<&'a Spent>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn outcome<'a>(row: &'a ReportRow, verdict: &Verdict<'a>, note: &'a str) -> OutcomeShown<'a> {
    let (kind, id_fault) = match &row.place {
        RowPlace::Blank => ("blank", None),
        RowPlace::Invalid { fault, .. } => ("invalid", Some(fault.as_str())),
        RowPlace::Lead { result, .. } => match &result.outcome {
            LeadOutcome::Assessed(_) if result.is_failed() => ("failed", None),
            LeadOutcome::Assessed(_) => ("assessed", None),
            LeadOutcome::NoRecord => ("no_record", None),
            LeadOutcome::Unread { .. } => ("unread", None),
        },
    };
    let assessed = verdict.assessment().map(|assessment| {
        let (model, answer, spent): (_, Option<&ModelAnswer>, _) = match &assessment.model {
            ModelVerdict::NotAsked => ("not_asked", None, None),
            ModelVerdict::Answered { answer, spent, reused: false } => {
                ("answered", Some(answer), Some(spent))
            }
            ModelVerdict::Answered { answer, .. } => ("reused", Some(answer), None),
            ModelVerdict::Failed { spent, .. } => ("failed", None, Some(spent)),
        };
        AssessedShown {
            flags: assessment.flags,
            scores: assessment.scores,
            model,
            explanation: verdict.explanation(),
            score_said: answer.map(|answer| answer.score_said),
            corrections: answer.map(|answer| &answer.corrections),
            inferences: answer.map(|answer| &answer.inferences),
            enforced: answer.map(|answer| answer.enforced.as_slice()).unwrap_or_default(),
            findings: answer.map(|_| assessment.findings.as_slice()).unwrap_or_default(),
            spent,
        }
    });
    OutcomeShown {
        status: verdict.status(),
        kind,
        id_fault,
        duplicate_of: verdict.duplicate_of(),
        id_repaired: verdict.is_repaired(),
        note,
        assessed,
    }
}
