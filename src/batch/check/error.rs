//! Why one operation cannot be done, in our own words (contract, section 9.2).
//!
//! Promises: a sentence names the operation's own columns, operators and pointers and says what to do; it never holds the
//! database's text, a value of a row or a value of a claim.

use std::sync::Arc;

use crate::batch::bind::fit::Misfit;

/// Why one operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct OperationError {
    /// `statusCode` of the answer.
    pub status: u16,
    /// Code of section 9.2.
    pub code: &'static str,
    /// Our sentence.
    pub error: String,
    /// The column it is about.
    pub column: Option<Arc<str>>,
    /// The constraint it is about.
    pub constraint: Option<Arc<str>>,
    /// Where in the request: an RFC 6901 pointer.
    pub pointer: Option<String>,
    /// The row is there under another version.
    pub stale: bool,
}

impl OperationError {
    /// An error with a status, a code and a sentence.
    pub fn new(status: u16, code: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            code,
            error: error.into(),
            column: None,
            constraint: None,
            pointer: None,
            stale: false,
        }
    }

    /// A fault of the request: 400.
    pub fn bad(code: &'static str, error: impl Into<String>) -> Self {
        Self::new(400, code, error)
    }

    /// Something the caller may not do: 403.
    pub fn forbidden(code: &'static str, error: impl Into<String>) -> Self {
        Self::new(403, code, error)
    }

    /// The same, about this column.
    #[must_use]
    pub fn at_column(mut self, column: &Arc<str>) -> Self {
        self.column = Some(Arc::clone(column));
        self
    }

    /// The same, at this place of the request.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// The entity has no such column. `name` is the client's own text.
    pub(in crate::batch) fn unknown_column(entity: &str, name: &str) -> Self {
        Self::bad("unknown_column", format!("`{entity}` has no column `{}`", shortened(name)))
    }

    /// The caller has no right to this column.
    pub(in crate::batch) fn column_forbidden(entity: &str, column: &Arc<str>, doing: &str) -> Self {
        Self::forbidden(
            "column_forbidden",
            format!("you may not {doing} the column `{column}` of `{entity}`"),
        )
        .at_column(column)
    }

    /// A value does not fit its column.
    pub(in crate::batch) fn type_mismatch(column: &Arc<str>, misfit: &Misfit) -> Self {
        Self::bad("type_mismatch", format!("column `{column}` takes {misfit}")).at_column(column)
    }
}

/// A name of the client in a sentence: long ones are cut, so that an answer does not carry a whole body back.
pub(in crate::batch) fn shortened(name: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    match name.char_indices().nth(CHARACTERS_MAX) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}...", &name[..end]),
    }
}

/// Where in the request something is: builds an RFC 6901 pointer only when one is needed.
#[derive(Debug, Clone, Copy)]
pub(in crate::batch) struct Place<'a> {
    /// The operation's place in the list.
    pub operation: usize,
    /// `store_params`, `query_params` or `metadata_params`.
    pub part: &'static str,
    /// The key in it.
    pub key: &'a str,
    /// The row of a create with many rows.
    pub row: Option<usize>,
    /// An operator of the object form.
    pub operator: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// A key of a part of an operation.
    pub fn new(operation: usize, part: &'static str, key: &'a str) -> Self {
        Self { operation, part, key, row: None, operator: None }
    }

    /// As text.
    pub fn pointer(&self) -> String {
        use std::fmt::Write as _;
        let mut pointer = String::with_capacity(32 + self.part.len() + self.key.len());
        // Writing to memory cannot fail.
        let _ = write!(pointer, "/operations/{}/{}", self.operation, self.part);
        if let Some(row) = self.row {
            let _ = write!(pointer, "/{row}");
        }
        for step in std::iter::once(self.key).chain(self.operator) {
            pointer.push('/');
            for character in step.chars() {
                match character {
                    '~' => pointer.push_str("~0"),
                    '/' => pointer.push_str("~1"),
                    other => pointer.push(other),
                }
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_what_rfc_6901_escapes() {
        let mut place = Place::new(3, "store_params", "a/b~c");
        assert_eq!(place.pointer(), "/operations/3/store_params/a~1b~0c");
        place.row = Some(7);
        assert_eq!(place.pointer(), "/operations/3/store_params/7/a~1b~0c");
        let place = Place { operator: Some("in"), ..Place::new(0, "query_params", "x") };
        assert_eq!(place.pointer(), "/operations/0/query_params/x/in");
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"é".repeat(100));
        assert_eq!(cut, format!("{}...", "é".repeat(80)));
    }
}
