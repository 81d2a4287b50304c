//! WHERE and HAVING as tests on values. Pure: a test sees values, never the org.

use crate::{
    ids,
    rows_api::Value,
    soql::{
        SoqlError,
        ast::{Comparison, Literal},
        dates,
    },
    tables::Kind,
};
use jiff::{ToSpan, civil::Date};
use std::{cmp::Ordering, collections::HashSet};

/// A condition over values fetched by `P` (a path, or a column of a grouped row).
pub enum Test<P> {
    All(Vec<Test<P>>),
    Any(Vec<Test<P>>),
    Not(Box<Test<P>>),
    Compare {
        what: P,
        op: Comparison,
        with: Fixed,
    },
    Among {
        what: P,
        negated: bool,
        with: Vec<Fixed>,
    },
    /// Many texts or ids: a set of comparable keys.
    InSet {
        what: P,
        negated: bool,
        keys: HashSet<String>,
    },
    Includes {
        what: P,
        excludes: bool,
        sets: Vec<Vec<String>>,
    },
}

/// A literal made comparable with one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Fixed {
    Null,
    Bool(bool),
    Number(f64),
    /// Lower case.
    Text(String),
    /// First 15 characters.
    Id(String),
    /// From the first up to but not including the second day, as `2026-01-02`.
    Days(String, String),
    /// From the first up to but not including the second, in epoch milliseconds.
    Moments(i64, i64),
}

/// Makes a literal comparable with a column.
///
/// # Errors
/// `INVALID_FIELD` when the types cannot be compared, in the org's words.
pub fn fixed(literal: &Literal, kind: Kind, field: &str, today: Date) -> Result<Fixed, SoqlError> {
    let refuse = |wanted: &str, quotes: &str| {
        let message = format!(
            "value of filter criterion for field '{field}' must be of type {wanted} and should {quotes}be enclosed in quotes"
        );
        Err(SoqlError::new("INVALID_FIELD", message))
    };
    let next = |day: Date| day.saturating_add(1.days());
    let days = |literal: &Literal| match literal {
        Literal::Date(date) => dates::parse_date(date).map(|day| (day, next(day))),
        Literal::Relative { name, count } => dates::range(name, *count, today),
        _ => None,
    };
    if *literal == Literal::Null {
        return Ok(Fixed::Null);
    }
    match kind {
        Kind::Id => match literal {
            Literal::Text(id) => Ok(Fixed::Id(ids::key(id).to_owned())),
            _ => refuse("ID", ""),
        },
        Kind::Text | Kind::MultiPicklist => match literal {
            Literal::Text(text) => Ok(Fixed::Text(text.to_lowercase())),
            _ => refuse("string", ""),
        },
        Kind::Bool => match literal {
            Literal::Bool(value) => Ok(Fixed::Bool(*value)),
            _ => refuse("boolean", "not "),
        },
        Kind::Int | Kind::Double => match literal {
            Literal::Int(value) => Ok(Fixed::Number(*value as f64)),
            Literal::Decimal(value) => Ok(Fixed::Number(*value)),
            _ => refuse(if kind == Kind::Int { "int" } else { "double" }, "not "),
        },
        Kind::Date => match days(literal) {
            Some((first, end)) => Ok(Fixed::Days(first.to_string(), end.to_string())),
            None => refuse("date", "not "),
        },
        Kind::DateTime => match literal {
            Literal::DateTime(millis) => Ok(Fixed::Moments(*millis, millis.saturating_add(1))),
            Literal::Relative { .. } => match days(literal) {
                Some((first, end)) => Ok(Fixed::Moments(dates::start_of(first), dates::start_of(end))),
                None => refuse("dateTime", "not "),
            },
            _ => refuse("dateTime", "not "),
        },
        Kind::Json | Kind::LongText => {
            let message = format!("field '{field}' can not be filtered in a query call");
            Err(SoqlError::new("INVALID_FIELD", message))
        }
    }
}

/// Where a value stands against a literal: before, inside or after; `None` when they cannot be compared.
fn place(value: &Value, with: &Fixed) -> Option<Ordering> {
    let within = |before: bool, after: bool| match (before, after) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => Ordering::Equal,
    };
    match (value, with) {
        (Value::Bool(value), Fixed::Bool(with)) => Some(value.cmp(with)),
        (Value::Int(value), Fixed::Number(with)) => (*value as f64).partial_cmp(with),
        (Value::Double(value), Fixed::Number(with)) => value.partial_cmp(with),
        (Value::Text(value), Fixed::Text(with)) => Some(value.to_lowercase().as_str().cmp(with)),
        (Value::Text(value), Fixed::Id(with)) => Some(ids::key(value).cmp(with)),
        (Value::Date(day), Fixed::Days(first, end)) => Some(within(day < first, day >= end)),
        (Value::DateTime(at), Fixed::Moments(first, end)) => Some(within(at < first, at >= end)),
        _ => None,
    }
}

fn equal(value: &Value, with: &Fixed) -> bool {
    match with {
        Fixed::Null => *value == Value::Null,
        _ => place(value, with) == Some(Ordering::Equal),
    }
}

fn compare(value: &Value, op: Comparison, with: &Fixed) -> bool {
    match op {
        Comparison::Equal => equal(value, with),
        // A null differs from every value.
        Comparison::NotEqual => !equal(value, with),
        Comparison::Like => match (value, with) {
            (Value::Text(value), Fixed::Text(pattern)) => like(&value.to_lowercase(), pattern),
            _ => false,
        },
        Comparison::Less => place(value, with) == Some(Ordering::Less),
        Comparison::LessOrEqual => place(value, with).is_some_and(Ordering::is_le),
        Comparison::Greater => place(value, with) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => place(value, with).is_some_and(Ordering::is_ge),
    }
}

/// `%` stands for any run, `_` for one character. Linear in memory, no backtracking blow-up.
fn like(value: &str, pattern: &str) -> bool {
    let (value, pattern): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
    let (mut v, mut p) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    while v < value.len() {
        match pattern.get(p) {
            Some('%') => {
                resume = Some((p + 1, v));
                p += 1;
            }
            Some('_') => (v, p) = (v + 1, p + 1),
            Some(c) if *c == value[v] => (v, p) = (v + 1, p + 1),
            _ => match resume.as_mut() {
                Some((after, from)) => {
                    *from += 1;
                    (p, v) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

/// The text a value is looked up by in a set.
pub fn set_key(value: &Value, kind: Kind) -> Option<String> {
    match value {
        Value::Text(text) if kind == Kind::Id => Some(ids::key(text).to_owned()),
        Value::Text(text) => Some(text.to_lowercase()),
        _ => None,
    }
}

impl<P> Test<P> {
    /// Whether a row passes; `get` fetches its values.
    pub fn holds(&self, get: &impl Fn(&P) -> (Value, Kind)) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(get)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(get)),
            Self::Not(test) => !test.holds(get),
            Self::Compare { what, op, with } => compare(&get(what).0, *op, with),
            Self::Among { what, negated, with } => {
                let value = get(what).0;
                with.iter().any(|one| equal(&value, one)) != *negated
            }
            Self::InSet { what, negated, keys } => {
                let (value, kind) = get(what);
                set_key(&value, kind).is_some_and(|key| keys.contains(&key)) != *negated
            }
            Self::Includes { what, excludes, sets } => {
                let Value::Text(value) = get(what).0 else { return *excludes };
                let value = value.to_lowercase();
                let chosen: HashSet<&str> = value.split(';').collect();
                sets.iter().any(|set| set.iter().all(|one| chosen.contains(one.as_str()))) != *excludes
            }
        }
    }
}

/// How two values of one column sort. Nulls are placed by the caller.
pub fn order(a: &Value, b: &Value, kind: Kind) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) if kind == Kind::Id => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::DateTime(a), Value::DateTime(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("acme corp", "acme%", true)]
    #[case("acme corp", "%corp", true)]
    #[case("acme corp", "%e c%", true)]
    #[case("acme", "a_me", true)]
    #[case("acme", "a_e", false)]
    #[case("", "%", true)]
    #[case("", "_", false)]
    #[case("aaab", "%a%b", true)]
    fn like_knows_its_two_wildcards(#[case] value: &str, #[case] pattern: &str, #[case] matches: bool) {
        assert_eq!(like(value, pattern), matches);
    }

    #[rstest]
    #[case(Comparison::Less, false, false, true)]
    #[case(Comparison::LessOrEqual, false, true, true)]
    #[case(Comparison::Equal, false, true, false)]
    #[case(Comparison::GreaterOrEqual, true, true, false)]
    #[case(Comparison::Greater, true, false, false)]
    fn a_day_range_is_compared_as_a_whole(
        #[case] op: Comparison,
        #[case] after: bool,
        #[case] inside: bool,
        #[case] before: bool,
    ) {
        let range = Fixed::Moments(100, 200);
        for (value, expected) in [(200, after), (199, inside), (100, inside), (99, before)] {
            assert_eq!(compare(&Value::DateTime(value), op, &range), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_like_itself_and_like_any_of_its_parts(text in "[a-c]{0,8}", from in 0usize..8, to in 0usize..8) {
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            prop_assert!(like(&text, &text));
            if from <= to {
                let pattern = format!("%{}%", &text[from..to]);
                prop_assert!(like(&text, &pattern));
            }
        }
    }
}
