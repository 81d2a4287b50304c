//! SOQL: a reader ([`parse`]) and what it reads ([`ast`]). Knows no org; names are checked by [`crate::query`].

pub mod ast;
pub mod dates;
mod lex;
mod parse;

pub use parse::parse;

/// Why a statement was refused, in the org's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SoqlError {
    /// `MALFORMED_QUERY`, `INVALID_FIELD`, ...
    pub code: &'static str,
    /// The text a client sees.
    pub message: String,
}

impl SoqlError {
    /// An error without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error at byte `at` of `text`: the line with a caret below it, then row and column, then the message.
    pub fn located(code: &'static str, text: &str, at: usize, message: &str) -> Self {
        let at = at.min(text.len());
        let before = &text[..at];
        let row = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count() + 1;
        let line: Vec<char> = text[line_start..].lines().next().unwrap_or("").chars().collect();
        // A long statement is shown as the neighbourhood of the mistake, as the org does.
        let from = (column - 1).saturating_sub(80);
        let shown: String = line.iter().skip(from).take(160).collect();
        let caret = " ".repeat(column - 1 - from);
        Self::new(code, format!("\n{shown}\n{caret}^\nERROR at Row:{row}:Column:{column}\n{message}"))
    }
}

#[cfg(test)]
mod tests;
