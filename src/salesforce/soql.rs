//! Queries, built from checked parts and never by pasting text.
//!
//! Promises: text from outside enters a query only as an [`ObjectName`], a [`FieldName`], a checked
//! [`FieldPath`] or an escaped [`Literal`], so it cannot change a query's shape. Names that stand in our
//! own source are checked while compiling. Lists are cut so that a GET stays within the org's limit.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::model::{FieldName, ObjectName};

/// Longest statement, in characters.
pub const STATEMENT_CHARS_MAX: usize = 100_000;
/// Longest URI, and longest URI with headers, in bytes.
pub const URI_BYTES_MAX: usize = 16_384;
/// Bytes of [`URI_BYTES_MAX`] kept free for the address and the headers; tokens can be 2 kB long.
pub const URI_BYTES_RESERVED: usize = 4_096;

/// A field, or a walk over references to one: `Owner.Profile.Name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Cow<'static, str>);

impl FieldPath {
    /// A path that stands in our own source; use it in a `const`, so that a bad one does not compile.
    pub const fn literal(path: &'static str) -> Self {
        assert!(is_path(path.as_bytes()), "not a field path");
        Self(Cow::Borrowed(path))
    }

    /// A path from outside; `None` when it is none.
    pub fn read(path: &str) -> Option<Self> {
        is_path(path.as_bytes()).then(|| Self(Cow::Owned(path.to_owned())))
    }

    /// A walk from reference to reference to `field`; the names of relationships follow the rules of field names.
    pub fn walk(relationships: &[FieldName], field: &FieldName) -> Self {
        let mut path = String::new();
        for name in relationships {
            path.push_str(name.as_str());
            path.push('.');
        }
        path.push_str(field.as_str());
        Self(Cow::Owned(path))
    }
}

impl From<&FieldName> for FieldPath {
    fn from(field: &FieldName) -> Self {
        Self(Cow::Owned(field.as_str().to_owned()))
    }
}

/// The object after FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(Cow<'static, str>);

impl Source {
    /// An object that stands in our own source; use it in a `const`.
    pub const fn literal(name: &'static str) -> Self {
        assert!(is_name(name.as_bytes(), 0, name.len()), "not an object name");
        Self(Cow::Borrowed(name))
    }
}

impl From<&ObjectName> for Source {
    fn from(object: &ObjectName) -> Self {
        Self(Cow::Owned(object.as_str().to_owned()))
    }
}

/// A value in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// Text, escaped and put in quotes.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A point in time, in UTC, to the second.
    Time(jiff::Timestamp),
    /// `null`.
    Null,
}

impl Literal {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_quoted(text, out),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Int(number) => {
                let _ = write!(out, "{number}");
            }
            Self::Time(at) => {
                let _ = write!(out, "{}", at.strftime("%Y-%m-%dT%H:%M:%SZ"));
            }
            Self::Null => out.push_str("null"),
        }
    }
}

impl From<&ObjectName> for Literal {
    fn from(name: &ObjectName) -> Self {
        Self::Text(name.as_str().to_owned())
    }
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says it all")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Like => "LIKE",
        }
    }
}

/// What rows must satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A field compared with a value.
    Compare(FieldPath, Comparison, Literal),
    /// A field's value is one of a list; an empty list makes the query unbuildable.
    In(FieldPath, Vec<Literal>),
    /// All hold; an empty list makes the query unbuildable.
    All(Vec<Condition>),
    /// At least one holds; an empty list makes the query unbuildable.
    Any(Vec<Condition>),
    /// A condition that was taken apart as a grammar and printed anew, in parentheses where it has an OR: see
    /// [`crate::sync`]. Never text as a person wrote it.
    Printed(String),
}

impl Condition {
    fn write(&self, out: &mut String) -> Result<(), SoqlError> {
        match self {
            Self::Compare(path, comparison, literal) => {
                let _ = write!(out, "{} {} ", path.0, comparison.as_str());
                literal.write(out);
            }
            Self::In(path, literals) => {
                if literals.is_empty() {
                    return Err(SoqlError::EmptyList);
                }
                let _ = write!(out, "{} IN (", path.0);
                for (index, literal) in literals.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    literal.write(out);
                }
                out.push(')');
            }
            Self::Printed(text) if text.trim().is_empty() => return Err(SoqlError::EmptyList),
            Self::Printed(text) => out.push_str(text),
            Self::All(conditions) => write_joined(conditions, " AND ", out)?,
            Self::Any(conditions) => write_joined(conditions, " OR ", out)?,
        }
        Ok(())
    }
}

fn write_joined(conditions: &[Condition], joint: &str, out: &mut String) -> Result<(), SoqlError> {
    if conditions.is_empty() {
        return Err(SoqlError::EmptyList);
    }
    for (index, condition) in conditions.iter().enumerate() {
        if index > 0 {
            out.push_str(joint);
        }
        let nested = matches!(condition, Condition::All(_) | Condition::Any(_));
        if nested {
            out.push('(');
        }
        condition.write(out)?;
        if nested {
            out.push(')');
        }
    }
    Ok(())
}

/// Why a query could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoqlError {
    /// `SELECT` without fields.
    #[error("a query needs at least one field")]
    NoFields,
    /// `IN ()`, or AND and OR over nothing.
    #[error("a list in a query is empty")]
    EmptyList,
    /// The statement is longer than the org takes.
    #[error("the statement has {0} characters, the org takes 100000")]
    TooLong(usize),
}

/// A query in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    fields: Vec<FieldPath>,
    source: Source,
    condition: Option<Condition>,
    order_by: Option<FieldPath>,
    limit: Option<u32>,
}

impl Select {
    /// `SELECT fields FROM source`.
    pub fn new(fields: impl IntoIterator<Item = FieldPath>, source: impl Into<Source>) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            source: source.into(),
            condition: None,
            order_by: None,
            limit: None,
        }
    }

    /// Adds a condition that must hold beside those already there.
    #[must_use]
    pub fn filter(mut self, condition: Condition) -> Self {
        self.condition = Some(match self.condition.take() {
            None => condition,
            Some(before) => Condition::All(vec![before, condition]),
        });
        self
    }

    /// `ORDER BY`, ascending.
    #[must_use]
    pub fn order_by(mut self, path: FieldPath) -> Self {
        self.order_by = Some(path);
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows);
        self
    }

    /// The finished statement.
    pub fn build(&self) -> Result<Soql, SoqlError> {
        if self.fields.is_empty() {
            return Err(SoqlError::NoFields);
        }
        let mut text = String::from("SELECT ");
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&field.0);
        }
        let _ = write!(text, " FROM {}", self.source.0);
        if let Some(condition) = &self.condition {
            text.push_str(" WHERE ");
            condition.write(&mut text)?;
        }
        if let Some(path) = &self.order_by {
            let _ = write!(text, " ORDER BY {}", path.0);
        }
        if let Some(rows) = self.limit {
            let _ = write!(text, " LIMIT {rows}");
        }
        match text.chars().count() {
            0..=STATEMENT_CHARS_MAX => Ok(Soql { text, source: self.source.clone() }),
            chars => Err(SoqlError::TooLong(chars)),
        }
    }
}

/// A statement that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soql {
    text: String,
    source: Source,
}

impl Soql {
    /// A statement that a person wrote for themselves, as it is.
    pub(super) fn of_a_person(text: String, source: Source) -> Result<Self, SoqlError> {
        match text.chars().count() {
            0..=STATEMENT_CHARS_MAX => Ok(Self { text, source }),
            chars => Err(SoqlError::TooLong(chars)),
        }
    }

    /// The statement.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The object after FROM, for messages.
    pub fn source(&self) -> &str {
        &self.source.0
    }
}

/// Cuts names into groups for `IN (...)`: at most `count_max` names and `encoded_bytes_max` bytes of
/// percent-encoded text a group. Keeps the order; every name is in exactly one group.
pub fn chunk_names(names: &[ObjectName], count_max: usize, encoded_bytes_max: usize) -> Vec<Vec<ObjectName>> {
    let mut groups: Vec<Vec<ObjectName>> = Vec::new();
    let mut bytes = 0;
    for name in names {
        // The quotes (%27) and the comma (%2C) take three bytes each.
        let cost = encoded_len(name.as_str()) + 9;
        match groups.last_mut() {
            Some(group) if group.len() < count_max && bytes + cost <= encoded_bytes_max => {
                group.push(name.clone());
                bytes += cost;
            }
            _ => {
                groups.push(vec![name.clone()]);
                bytes = cost;
            }
        }
    }
    groups
}

/// Percent-encodes a value for a query string or a form.
pub(super) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn encoded_len(text: &str) -> usize {
    text.bytes().map(|byte| if is_unreserved(byte) { 1 } else { 3 }).sum()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\'');
}

const fn is_name(text: &[u8], start: usize, end: usize) -> bool {
    if start >= end || !text[start].is_ascii_alphabetic() {
        return false;
    }
    let mut at = start;
    while at < end {
        if !(text[at].is_ascii_alphanumeric() || text[at] == b'_') {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_path(text: &[u8]) -> bool {
    let mut start = 0;
    let mut at = 0;
    while at <= text.len() {
        if at == text.len() || text[at] == b'.' {
            if !is_name(text, start, at) {
                return false;
            }
            start = at + 1;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: FieldPath = FieldPath::literal("Name");
    const OWNER_NAME: FieldPath = FieldPath::literal("Owner.Name");
    const LEAD: Source = Source::literal("Lead");

    /// The shape of a statement: everything outside string literals. `None` when a literal does not end.
    fn shape(statement: &str) -> Option<String> {
        let (mut shape, mut chars) = (String::new(), statement.chars());
        while let Some(c) = chars.next() {
            shape.push(c);
            if c == '\'' {
                loop {
                    match chars.next()? {
                        '\\' => drop(chars.next()?),
                        '\'' => break,
                        _ => {}
                    }
                }
                shape.push('\'');
            }
        }
        Some(shape)
    }

    #[test]
    fn a_query_reads_as_one_would_write_it() {
        let soql = Select::new([NAME, OWNER_NAME], LEAD)
            .filter(Condition::Compare(NAME, Comparison::Like, Literal::Text("O'Hara%".to_owned())))
            .filter(Condition::Any(vec![
                Condition::Compare(FieldPath::literal("IsDeleted"), Comparison::Equal, Literal::Bool(false)),
                Condition::Compare(
                    FieldPath::literal("SystemModstamp"),
                    Comparison::GreaterOrEqual,
                    Literal::Time(jiff::Timestamp::UNIX_EPOCH),
                ),
            ]))
            .order_by(NAME)
            .limit(10)
            .build()
            .unwrap();
        assert_eq!(
            soql.as_str(),
            "SELECT Name,Owner.Name FROM Lead WHERE Name LIKE 'O\\'Hara%' AND \
             (IsDeleted = false OR SystemModstamp >= 1970-01-01T00:00:00Z) ORDER BY Name LIMIT 10"
        );
    }

    #[test]
    fn a_query_that_cannot_mean_anything_is_not_built() {
        assert_eq!(Select::new([], LEAD).build(), Err(SoqlError::NoFields));
        let nothing = Select::new([NAME], LEAD).filter(Condition::In(NAME, Vec::new()));
        assert_eq!(nothing.build(), Err(SoqlError::EmptyList));
        let long = Literal::Text("x".repeat(STATEMENT_CHARS_MAX));
        let long = Select::new([NAME], LEAD).filter(Condition::Compare(NAME, Comparison::Equal, long));
        assert!(matches!(long.build(), Err(SoqlError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_text_from_outside_changes_the_shape_of_a_query(
            values in prop::collection::vec(r#"(?s).{0,60}|[\\'"]{1,9}|' OR Name != '|\\' OR 1=1 --"#, 1..20),
        ) {
            let count = values.len();
            let literals = values.into_iter().map(Literal::Text).collect();
            let soql = Select::new([NAME], LEAD).filter(Condition::In(OWNER_NAME, literals)).build().unwrap();
            let expected =
                format!("SELECT Name FROM Lead WHERE Owner.Name IN ({})", vec!["''"; count].join(","));
            prop_assert_eq!(shape(soql.as_str()), Some(expected));
            prop_assert!(!soql.as_str().contains(char::is_control));
        }

        #[test]
        fn percent_encoding_is_as_long_as_announced_and_can_be_read_back(text in any::<String>()) {
            let encoded = percent_encode(&text);
            prop_assert_eq!(encoded.len(), encoded_len(&text));
            prop_assert!(encoded.bytes().all(|byte| byte == b'%' || is_unreserved(byte)));
            let url = reqwest::Url::parse(&format!("http://h/?q={encoded}")).unwrap();
            let back = url.query_pairs().next().map(|(_, value)| value.into_owned());
            prop_assert_eq!(back, Some(text));
        }

        #[test]
        fn chunks_keep_every_name_once_and_within_the_limits(
            names in prop::collection::vec("[A-Za-z][A-Za-z0-9_]{0,79}", 0..200),
            count_max in 1usize..80,
            bytes_max in 100usize..6_000,
        ) {
            let names: Vec<ObjectName> = names.iter().map(|name| name.parse().unwrap()).collect();
            let groups = chunk_names(&names, count_max, bytes_max);
            prop_assert_eq!(groups.concat(), names);
            for group in groups {
                prop_assert!(!group.is_empty() && group.len() <= count_max);
                let bytes: usize = group.iter().map(|name| encoded_len(name.as_str()) + 9).sum();
                prop_assert!(bytes <= bytes_max);
            }
        }
    }
}
