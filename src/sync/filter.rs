//! A person's condition on the rows of an object, which nothing escapes.
//!
//! Promises: a condition is parsed by the grammar of SOQL and written anew in brackets, so that it narrows what a window
//! holds and never widens it: `x = 1 OR y = 2` becomes one condition beside the window's, and a bracket too many, a second
//! clause or a comment is refused with its position. What its changes cannot show in a window is told.

use crate::model::ObjectDescribe;
use crate::model::soql_condition::tokens::Kind;
use crate::model::soql_condition::{ConditionParser, FieldUse, SoqlFault};

use super::window::{CursorField, Window};

/// Longest condition, in characters: the org takes statements of 100,000, with the names of the fields.
const CHARS_MAX: usize = 40_000;

/// What follows a condition in a query, or is taken for it, and why it does not here.
const REFUSED: [(&str, &str); 12] = [
    ("ORDER", "a sync brings all rows, in no order; take ORDER BY out"),
    ("LIMIT", "a sync brings all rows that the condition finds; take LIMIT out"),
    ("OFFSET", "a sync brings all rows that the condition finds; take OFFSET out"),
    ("GROUP", "grouped rows are no records; take GROUP BY out"),
    ("HAVING", "grouped rows are no records; take HAVING out"),
    ("ALL", "deleted rows are read anyway; take ALL ROWS out"),
    ("WITH", "WITH does not pass; the permissions of the connected user hold anyway"),
    ("FOR", "FOR UPDATE, VIEW and REFERENCE change the record; take it out"),
    ("UPDATE", "UPDATE TRACKING and VIEWSTAT change the org; take it out"),
    ("USING", "USING SCOPE does not pass; write a condition such as `OwnerId = '005..'`"),
    ("UNION", "SOQL has no UNION; join conditions by OR"),
    ("JOIN", "SOQL has no JOIN; reach parents by `Owner.Name`, children by `Id IN (SELECT LeadId FROM ..)`"),
];

/// A condition that may stand beside a window's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    soql: String,
    uses: Vec<FieldUse>,
    fields: Vec<String>,
    moves_with_time: bool,
}

/// Why a condition is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`where`, character {position}: {what}")]
pub struct FilterError {
    /// Position of the character that it is about, from 1.
    pub position: usize,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl From<SoqlFault> for FilterError {
    fn from(fault: SoqlFault) -> Self {
        Self { position: fault.position, what: fault.what }
    }
}

impl Filter {
    /// Reads a condition, with or without WHERE in front.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let fault = |position, what: String| Err(FilterError { position, what });
        if text.chars().count() > CHARS_MAX {
            return fault(CHARS_MAX + 1, format!("longer than {CHARS_MAX} characters"));
        }
        let mut parser = ConditionParser::new(text)?;
        parser.take_if("WHERE");
        let first = parser.peek();
        if first.kind == Kind::End {
            return fault(
                first.position,
                "there is no condition; leave `where` out for every row".to_owned(),
            );
        }
        if first.is("SELECT") {
            let what = "a condition alone, such as `Country = 'US'`, no SELECT".to_owned();
            return fault(first.position, what);
        }
        let condition = parser.condition()?;
        let token = parser.peek();
        if token.kind != Kind::End {
            if let Some((_, why)) = REFUSED.iter().find(|(word, _)| token.is(word)) {
                return fault(token.position, (*why).to_owned());
            }
            if token.is_symbol(")") {
                return fault(token.position, "this bracket closes none; take it out".to_owned());
            }
            parser.expected::<()>("AND, OR or the end")?;
        }
        let uses = parser.fields().to_vec();
        let mut fields: Vec<String> = Vec::new();
        for used in &uses {
            if !fields.iter().any(|field| field.eq_ignore_ascii_case(&used.path)) {
                fields.push(used.path.clone());
            }
        }
        Ok(Self { soql: format!("({condition})"), uses, fields, moves_with_time: parser.moves_with_time() })
    }

    /// The condition in brackets.
    pub fn soql(&self) -> &str {
        &self.soql
    }

    /// The fields that it compares, each once, those of semi-joins apart.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Holds its fields against the object.
    ///
    /// # Errors
    /// At the first field that the object does not have.
    pub fn check(&self, describe: &ObjectDescribe) -> Result<(), FilterError> {
        for used in &self.uses {
            let steps = self.steps(used, describe);
            let Some((first, rest)) = steps.split_first() else { continue };
            let is_known = match rest.is_empty() {
                true => describe.fields.iter().any(|field| field.name.as_str().eq_ignore_ascii_case(first)),
                false => describe.fields.iter().any(|field| {
                    field.relationship_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(first))
                }),
            };
            if !is_known {
                let sort = if rest.is_empty() { "field" } else { "reference" };
                let what = format!("`{}` has no {sort} `{first}` that this login may read", describe.name);
                return Err(FilterError { position: used.position, what });
            }
        }
        Ok(())
    }

    /// What makes rows enter or leave the condition without a stamp that an increment would see, a sentence each.
    pub fn unseen_changes(&self, describe: &ObjectDescribe, cursor: CursorField) -> Vec<String> {
        let mut notes = Vec::new();
        let stamp = cursor.as_str();
        let remedy = "a full sync from time to time brings such rows in and out";
        if self.moves_with_time {
            notes.push(format!("the filter moves with time, without a new {stamp}: {remedy}"));
        }
        for path in &self.fields {
            let used = FieldUse { path: path.clone(), position: 1 };
            let steps = self.steps(&used, describe);
            let is_formula = steps.len() == 1
                && describe
                    .fields
                    .iter()
                    .any(|field| field.calculated && field.name.as_str().eq_ignore_ascii_case(steps[0]));
            if steps.len() > 1 {
                notes.push(format!(
                    "`{path}` of the filter is another record's, whose changes give no new {stamp}: {remedy}"
                ));
            } else if is_formula {
                notes.push(format!(
                    "`{path}` of the filter is a formula, whose changes give no new {stamp}: {remedy}"
                ));
            }
        }
        notes
    }

    /// The names of a path, without the object's own in front.
    fn steps<'u>(&self, used: &'u FieldUse, describe: &ObjectDescribe) -> Vec<&'u str> {
        let mut steps: Vec<&str> = used.path.split('.').collect();
        if steps.len() > 1 && steps[0].eq_ignore_ascii_case(describe.name.as_str()) {
            steps.remove(0);
        }
        steps
    }
}

/// What stands behind WHERE: the window and the filter, or one of them, or nothing for every row.
///
/// An increment of a filtered object also reads the ids of all rows in the window, `where_clause(Some(window), None)`: those
/// that are not among the rows have left the filter. They are read *first*: a row that is committed late between the two
/// readings is then a row that is new, never one that seems to have left.
pub fn where_clause(window: Option<&Window>, filter: Option<&Filter>) -> String {
    let window = window.and_then(Window::condition);
    match (window, filter) {
        (Some(window), Some(filter)) => format!("{window} AND {}", filter.soql()),
        (Some(window), None) => window,
        (None, Some(filter)) => filter.soql().to_owned(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
