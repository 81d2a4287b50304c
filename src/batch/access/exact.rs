//! Row filters on MariaDB and MySQL.
//!
//! Promises: `owner = ${claims.sub}` means this owner and nobody whose name a collation takes for the same. There a column of
//! text compares by default without regard to case, accents and spaces at the end, so `Ada` would see the rows of `ada`.
//! The plain comparison stays beside the exact one: an index can serve it.

use super::super::catalogue::{Column, ColumnId, ColumnType};
use super::super::operation::{Condition, Pattern, PatternPart, Test};
use super::super::value::Value;

/// The filter with texts compared letter by letter.
pub fn exact(filter: Condition, columns: &[Column]) -> Condition {
    let every = |parts: Vec<Condition>| parts.into_iter().map(|part| exact(part, columns)).collect();
    match filter {
        Condition::All(parts) => Condition::All(every(parts)),
        Condition::Any(parts) => Condition::Any(every(parts)),
        Condition::Not(part) => Condition::Not(Box::new(exact(*part, columns))),
        Condition::Column(column, test)
            if columns.get(column).is_some_and(|meta| meta.column_type == ColumnType::Text) =>
        {
            exact_test(column, test)
        }
        other => other,
    }
}

fn exact_test(column: ColumnId, test: Test) -> Condition {
    let same = |value: &Value| Condition::Column(column, Test::Like(literal(value)));
    let other = |value: &Value| Condition::Column(column, Test::NotLike(literal(value)));
    match test {
        Test::Eq(value) => {
            let exactly = same(&value);
            Condition::All(vec![Condition::Column(column, Test::Eq(value)), exactly])
        }
        Test::Ne(value) => other(&value),
        Test::In(values) if !values.is_empty() => {
            let exactly = Condition::Any(values.iter().map(same).collect());
            Condition::All(vec![Condition::Column(column, Test::In(values)), exactly])
        }
        Test::NotIn(values) if !values.is_empty() => Condition::All(values.iter().map(other).collect()),
        test => Condition::Column(column, test),
    }
}

/// A pattern that only this text matches.
fn literal(value: &Value) -> Pattern {
    let text = match value {
        Value::Text(text) => text.clone(),
        other => other.to_json(),
    };
    Pattern(vec![PatternPart::Literal(text)])
}
