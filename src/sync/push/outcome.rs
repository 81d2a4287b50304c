//! What became of a row, and how it is told in the results table.
//!
//! Promises: an error is kept in the org's own words, its code apart; whether sending the row again may help is decided by
//! the code alone. Values of rows are in no print.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::settings::PushOperation;
use crate::sync::table::{ColumnType, TableColumn, TableLayout};
use crate::warehouse::Cell;

/// Our code for a row that the org did not come to: its job ended before.
const NOT_PROCESSED: &str = "not_processed";
/// Codes of refusals that pass by themselves: somebody held a lock, or the org was too busy.
const PASSING: [&str; 9] = [
    NOT_PROCESSED,
    "UNABLE_TO_LOCK_ROW",
    "REQUEST_RUNNING_TOO_LONG",
    "QUERY_TIMEOUT",
    "SERVER_UNAVAILABLE",
    "API_TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "CANNOT_EXECUTE_NOW",
    "TXN_LOCK_TIMEOUT",
];
/// Code for a record that is deleted already.
const DELETED: &str = "ENTITY_IS_DELETED";
/// Longest message that is kept, in characters.
const MESSAGE_MAX: usize = 2_000;

/// Why a row was not written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// `REQUIRED_FIELD_MISSING`, and so on; ours are in small letters.
    pub code: String,
    /// In words; it may hold values of the row.
    pub message: String,
}

impl fmt::Debug for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowError").field("code", &self.code).finish_non_exhaustive()
    }
}

impl RowError {
    /// An error of our own; `code` in small letters.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { code: code.to_owned(), message: message.chars().take(MESSAGE_MAX).collect() }
    }

    /// Takes apart what the results of a job say: `CODE:message:fields --`.
    pub fn of_job(text: &str) -> Self {
        let is_code = |code: &str| {
            !code.is_empty()
                && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let (code, rest) = match text.split_once(':') {
            Some((code, rest)) if is_code(code) => (code, rest),
            _ => return Self::new("UNKNOWN", text),
        };
        // The fields stand at the end, or two dashes alone.
        let message = rest.trim_end().strip_suffix("--").unwrap_or(rest).trim_end();
        Self::new(code, message.strip_suffix(':').unwrap_or(message))
    }

    /// The same row may well be taken a little later.
    pub fn may_pass(&self) -> bool {
        PASSING.contains(&self.code.as_str())
    }
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowFate {
    /// The org has it.
    Written,
    /// The org refused it.
    Refused,
    /// It was never sent: it does not fit the object.
    Unfit,
    /// Nobody knows: the org forgot the job or does not tell of the row, and sending an insert again might make the record
    /// twice.
    Unknown,
}

/// What became of one row.
#[derive(Clone, PartialEq, Eq)]
pub struct RowOutcome {
    /// Number of the row in the query, from 1; `None`: a result that no row was found for.
    pub row: Option<u64>,
    /// Its value of the match field.
    pub match_value: Option<String>,
    /// The record's id.
    pub id: Option<String>,
    /// Whether the record is new; the org says so of those it wrote.
    pub created: Option<bool>,
    /// How it ended.
    pub fate: RowFate,
    /// Why not.
    pub error: Option<RowError>,
}

impl fmt::Debug for RowOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowOutcome")
            .field("row", &self.row)
            .field("fate", &self.fate)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl RowOutcome {
    /// A row that the org has.
    pub fn written(
        row: Option<u64>,
        match_value: Option<String>,
        id: Option<String>,
        created: Option<bool>,
    ) -> Self {
        Self { row, match_value, id, created, fate: RowFate::Written, error: None }
    }

    /// A row that the org refused. A delete whose record is deleted already is done: the delete may have been sent before.
    pub fn refused(
        row: Option<u64>,
        match_value: Option<String>,
        id: Option<String>,
        error: RowError,
        operation: &PushOperation,
    ) -> Self {
        let is_done = *operation == PushOperation::Delete && error.code == DELETED;
        match is_done {
            true => Self::written(row, match_value, id, Some(false)),
            false => Self { row, match_value, id, created: None, fate: RowFate::Refused, error: Some(error) },
        }
    }

    /// A row that was not sent.
    pub fn unfit(row: u64, match_value: Option<String>, error: RowError) -> Self {
        Self {
            row: Some(row),
            match_value,
            id: None,
            created: None,
            fate: RowFate::Unfit,
            error: Some(error),
        }
    }

    /// A row that the org itself says it did not come to.
    pub fn unprocessed(row: u64, match_value: Option<String>, why: &str, operation: &PushOperation) -> Self {
        let message = format!("the org did not come to this row: {why}");
        Self::refused(Some(row), match_value, None, RowError::new(NOT_PROCESSED, message), operation)
    }

    /// A row that no list of its job tells of. `broke_off`: why the job ended before it was through. An insert may have made
    /// the record all the same: the org was at it when the job ended, or tells it back as none that was sent.
    pub fn left_over(
        row: u64,
        match_value: Option<String>,
        broke_off: Option<&str>,
        operation: &PushOperation,
    ) -> Self {
        let mut message = "the job ended, and its results do not tell of this row".to_owned();
        if let Some(why) = broke_off {
            message.push_str(&format!(": {why}"));
        }
        if operation.may_be_repeated() {
            let error = RowError::new(NOT_PROCESSED, message);
            return Self::refused(Some(row), match_value, None, error, operation);
        }
        Self::unknown(row, match_value, &message)
    }

    /// A row of which nobody knows.
    pub fn unknown(row: u64, match_value: Option<String>, why: &str) -> Self {
        let error = Some(RowError::new("unknown", why));
        Self { row: Some(row), match_value, id: None, created: None, fate: RowFate::Unknown, error }
    }

    /// The same row may well be taken a little later.
    pub fn may_pass(&self) -> bool {
        self.fate == RowFate::Refused && self.error.as_ref().is_some_and(RowError::may_pass)
    }

    /// Its row in the results table, in the order of [`results_layout`].
    pub fn cells<'o>(&'o self, of: &'o ResultOf<'o>) -> [Cell<'o>; COLUMNS.len()] {
        let text =
            |text: Option<&'o str>| text.filter(|text| !text.is_empty()).map_or(Cell::Null, Cell::Text);
        let number = |number: u64| i64::try_from(number).map_or(Cell::Null, Cell::Int);
        [
            text(Some(of.push)),
            text(Some(of.object)),
            text(Some(of.operation.as_str())),
            self.row.map_or(Cell::Null, number),
            text(of.match_field),
            text(self.match_value.as_deref()),
            text(self.id.as_deref()),
            self.created.map_or(Cell::Null, Cell::Boolean),
            Cell::Boolean(self.fate == RowFate::Written),
            text(self.error.as_ref().map(|error| error.code.as_str())),
            text(self.error.as_ref().map(|error| error.message.as_str())),
            Cell::Boolean(self.may_pass()),
            Cell::Int(i64::from(of.attempt)),
            text(of.job_id),
        ]
    }
}

/// What rows of the results table have in common.
#[derive(Debug, Clone, Copy)]
pub struct ResultOf<'o> {
    /// Name of the push.
    pub push: &'o str,
    /// The object.
    pub object: &'o str,
    /// What was done.
    pub operation: &'o PushOperation,
    /// The field whose value tells the rows apart.
    pub match_field: Option<&'o str>,
    /// Which sending of the rows, from 1.
    pub attempt: u32,
    /// The org's job, where there was one.
    pub job_id: Option<&'o str>,
}

/// Columns of the results table, behind those that say which push and which batch.
const COLUMNS: [(&str, ColumnType); 14] = [
    ("push", ColumnType::Text),
    ("object", ColumnType::Text),
    ("operation", ColumnType::Text),
    ("row_number", ColumnType::Int),
    ("match_field", ColumnType::Text),
    ("match_value", ColumnType::Text),
    ("id", ColumnType::Text),
    ("created", ColumnType::Boolean),
    ("success", ColumnType::Boolean),
    ("error_code", ColumnType::Text),
    ("error", ColumnType::Text),
    ("retriable", ColumnType::Boolean),
    ("attempt", ColumnType::Int),
    ("job_id", ColumnType::Text),
];

/// The results table.
pub fn results_layout() -> TableLayout {
    let column = |(name, kind): (&str, ColumnType)| TableColumn {
        field: name.to_owned(),
        name: name.to_owned(),
        kind,
    };
    TableLayout {
        columns: COLUMNS.map(column).to_vec(),
        key: 3,
        stamp: None,
        deleted: None,
        deleted_column: crate::sync::shape::DELETED_COLUMN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::dashes(
        "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--",
        "UNABLE_TO_LOCK_ROW",
        "unable to obtain exclusive access",
        true
    )]
    #[case::fields(
        "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --",
        "REQUIRED_FIELD_MISSING",
        "Required fields are missing: [LastName]:LastName",
        false
    )]
    #[case::no_fields(
        "DUPLICATE_VALUE:Duplicate external id specified: a:b",
        "DUPLICATE_VALUE",
        "Duplicate external id specified: a:b",
        false
    )]
    #[case::no_code("something went wrong: badly", "UNKNOWN", "something went wrong: badly", false)]
    #[case::nothing("", "UNKNOWN", "", false)]
    fn an_error_of_a_job_is_taken_apart(
        #[case] text: &str,
        #[case] code: &str,
        #[case] message: &str,
        #[case] passes: bool,
    ) {
        let error = RowError::of_job(text);
        assert_eq!((error.code.as_str(), error.message.as_str(), error.may_pass()), (code, message, passes));
    }

    #[test]
    fn a_delete_of_what_is_deleted_is_done() {
        let gone = || RowError::of_job("ENTITY_IS_DELETED:entity is deleted:--");
        let outcome = |operation| RowOutcome::refused(Some(1), None, None, gone(), operation);
        assert_eq!(outcome(&PushOperation::Delete).fate, RowFate::Written);
        assert_eq!(outcome(&PushOperation::Update).fate, RowFate::Refused);
    }

    #[rstest]
    #[case::an_insert_of_a_job_that_broke_off(PushOperation::Insert, Some("too many"), RowFate::Unknown)]
    #[case::an_insert_that_is_not_told(PushOperation::Insert, None, RowFate::Unknown)]
    #[case::an_update_of_a_job_that_broke_off(PushOperation::Update, Some("too many"), RowFate::Refused)]
    #[case::an_update_that_is_not_told(PushOperation::Update, None, RowFate::Refused)]
    fn a_row_without_a_result_is_sent_again_only_where_that_is_harmless(
        #[case] operation: PushOperation,
        #[case] broke_off: Option<&str>,
        #[case] fate: RowFate,
    ) {
        let outcome = RowOutcome::left_over(3, None, broke_off, &operation);
        assert_eq!((outcome.fate, outcome.may_pass()), (fate, fate == RowFate::Refused));
    }

    #[test]
    fn a_row_that_the_org_says_it_did_not_come_to_is_sent_again_whatever_it_is() {
        let outcome = RowOutcome::unprocessed(3, None, "too many", &PushOperation::Insert);
        assert_eq!((outcome.fate, outcome.may_pass()), (RowFate::Refused, true));
    }

    #[test]
    fn a_result_has_a_cell_for_each_column_of_its_kind() {
        let operation = PushOperation::Upsert { external_id: "Ext__c".parse().unwrap() };
        let of = ResultOf {
            push: "scores",
            object: "Lead",
            operation: &operation,
            match_field: Some("Ext__c"),
            attempt: 2,
            job_id: Some("750"),
        };
        let refused = RowError::of_job("UNABLE_TO_LOCK_ROW:locked:--");
        let outcomes = [
            RowOutcome::written(Some(7), Some("k7".into()), Some("00Q".into()), Some(true)),
            RowOutcome::refused(Some(8), Some("k8".into()), Some(String::new()), refused, &operation),
            RowOutcome::unfit(9, None, RowError::new("no_match_value", "no value")),
            RowOutcome::unknown(10, None, "the job is gone"),
        ];
        let layout = results_layout();
        for outcome in &outcomes {
            for (cell, column) in outcome.cells(&of).iter().zip(&layout.columns) {
                let fits = match cell {
                    Cell::Null => true,
                    Cell::Text(text) => column.kind == ColumnType::Text && !text.is_empty(),
                    Cell::Int(_) => column.kind == ColumnType::Int,
                    Cell::Boolean(_) => column.kind == ColumnType::Boolean,
                    _ => false,
                };
                assert!(fits, "{}", column.name);
            }
        }
        let cell = |outcome: usize, name: &str| {
            let at = layout.columns.iter().position(|column| column.name == name).unwrap();
            outcomes[outcome].cells(&of)[at]
        };
        assert!(cell(0, "success") == Cell::Boolean(true) && cell(0, "created") == Cell::Boolean(true));
        assert!(cell(1, "retriable") == Cell::Boolean(true) && cell(1, "id") == Cell::Null);
        assert!(cell(1, "error_code") == Cell::Text("UNABLE_TO_LOCK_ROW"));
        assert!(cell(2, "row_number") == Cell::Int(9) && cell(2, "retriable") == Cell::Boolean(false));
        assert!(cell(3, "success") == Cell::Boolean(false) && cell(3, "error_code") == Cell::Text("unknown"));
    }

    #[test]
    fn prints_hold_no_values() {
        let error = RowError::new("DUPLICATE_VALUE", "secret");
        let outcome = RowOutcome::refused(
            Some(1),
            Some("secret".into()),
            Some("secret".into()),
            error,
            &PushOperation::Insert,
        );
        assert!(!format!("{outcome:?}").contains("secret"));
    }
}
