//! SQLite's statements.

use super::{Dialect, ParameterKind, Qualifier, SqlWriter};
use crate::batch::catalogue::{ColumnId, Entity};
use crate::batch::operation::{Lock, Pattern, PatternPart};
use crate::batch::value::Value;

/// SQLite.
#[derive(Debug, Clone, Copy)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn quote(&self) -> char {
        '"'
    }

    fn place(&self, writer: &mut SqlWriter<'_>, number: usize, _kind: &ParameterKind) {
        writer.push("?");
        writer.number(number);
    }

    fn like(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        pattern: &Pattern,
    ) {
        // LIKE folds the case of ASCII on SQLite; GLOB does not.
        writer.column(entity, at, column);
        writer.push(" GLOB ");
        writer.bind(Value::Text(glob_text(pattern)), ParameterKind::Text);
    }

    fn lock(&self, _lock: Lock) -> &'static str {
        // One writer: nothing to lock.
        ""
    }
}

/// A pattern for `GLOB`: a literal wildcard stands in brackets.
fn glob_text(pattern: &Pattern) -> String {
    let mut text = String::new();
    for part in &pattern.0 {
        match part {
            PatternPart::Any => text.push('*'),
            PatternPart::One => text.push('?'),
            PatternPart::Literal(literal) => {
                for character in literal.chars() {
                    if matches!(character, '*' | '?' | '[') {
                        text.push('[');
                        text.push(character);
                        text.push(']');
                    } else {
                        text.push(character);
                    }
                }
            }
        }
    }
    text
}
