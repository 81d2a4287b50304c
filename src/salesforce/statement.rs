//! A query as a person wrote it, taken apart as far as is needed to know its columns.
//!
//! The statement stays the person's own: it is read, never changed but for the case of names, and sent as
//! one query. What cannot be told as flat rows (child queries, TYPEOF, FIELDS) is refused with a word on what
//! to do instead.

use std::collections::BTreeMap;

use super::rows::{Column, ColumnKind, Columns, RowsError};
use super::soql::{Soql, SoqlError};
use crate::model::{FieldName, ObjectDescribe, ObjectName};

/// A statement with its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    object: ObjectName,
    selected: Vec<Selected>,
    /// Clauses that keep it from the Bulk API, or from its chunking.
    rest_only: Option<&'static str>,
}

/// One item of a SELECT list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selected {
    /// A field, or a walk over references to one.
    Path(Vec<FieldName>),
    /// A function, told under this name.
    Function { name: String, function: String, argument: Vec<FieldName> },
    /// `COUNT()`, which gives a number and no rows.
    CountRows,
}

/// Why a statement was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is not `SELECT .. FROM ..`.
    #[error("a query reads `SELECT field, .. FROM Object ..`: {0}")]
    Shape(&'static str),
    /// A name that cannot be one.
    #[error("`{0}` is not the name of a field or an object")]
    Name(String),
    /// It gives rows that are not flat.
    #[error("{what} cannot be told as flat rows; {instead}")]
    NotFlat {
        /// What.
        what: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// The object has no such field, or the user may not read it.
    #[error("`{object}` has no field `{field}` that this user may read")]
    NoSuchField {
        /// Of this object.
        object: ObjectName,
        /// As written.
        field: String,
    },
    /// Too long.
    #[error(transparent)]
    Soql(#[from] SoqlError),
    /// Columns that no row can have.
    #[error(transparent)]
    Columns(#[from] RowsError),
}

/// What a describe's `type` would be for a column, by the column's name: what a checkpoint keeps.
pub type ColumnTypes = Vec<(String, String)>;

impl Statement {
    /// Takes a statement apart.
    ///
    /// # Errors
    /// See [`StatementError`].
    pub fn read(text: &str) -> Result<Self, StatementError> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let words = Words::of(text);
        let shape = StatementError::Shape;
        let mut top = words.0.iter().filter(|word| word.depth == 0);
        if !top.next().is_some_and(|word| word.is(text, "SELECT") && word.start == 0) {
            return Err(shape("it starts with SELECT"));
        }
        let from = top.clone().find(|word| word.is(text, "FROM")).ok_or(shape("FROM is missing"))?;
        let mut after = top.skip_while(|word| word.start <= from.start);
        let object = after.next().ok_or(shape("the object after FROM is missing"))?.text(text);
        let object: ObjectName = object.parse().map_err(|_| StatementError::Name(object.to_owned()))?;
        let mut after = after.peekable();
        const CLAUSES: [&str; 9] =
            ["WHERE", "WITH", "GROUP", "ORDER", "LIMIT", "OFFSET", "FOR", "USING", "HAVING"];
        if after.peek().is_some_and(|word| !CLAUSES.iter().any(|clause| word.is(text, clause))) {
            return Err(shape("an alias, or a second object, after FROM is not understood"));
        }
        let rest_only = after.find_map(|word| {
            ["GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR"]
                .into_iter()
                .find(|clause| word.is(text, clause))
        });
        let selected = select_list(&text["SELECT".len()..from.start])?;
        let aggregates = selected.iter().any(|item| !matches!(item, Selected::Path(_)));
        let rest_only = rest_only.or(aggregates.then_some("a function"));
        Ok(Self { text: text.to_owned(), object, selected, rest_only })
    }

    /// The object after FROM.
    pub fn object(&self) -> &ObjectName {
        &self.object
    }

    /// The statement, to be sent.
    ///
    /// # Errors
    /// When it is longer than the org takes.
    pub fn soql(&self) -> Result<Soql, StatementError> {
        Ok(Soql::of_a_person(self.text.clone(), (&self.object).into())?)
    }

    /// A clause that the Bulk API refuses, or that turns off its chunking.
    pub fn rest_only(&self) -> Option<&'static str> {
        self.rest_only
    }

    /// `SELECT COUNT()`: the answer is a number, not rows.
    pub fn counts_rows(&self) -> bool {
        self.selected == [Selected::CountRows]
    }

    /// Names of the references that its columns walk over from the object itself, such as `Owner`; what they
    /// refer to must be described before [`Statement::column_types`].
    pub fn references(&self) -> Vec<Vec<FieldName>> {
        let mut walks: Vec<Vec<FieldName>> = self
            .selected
            .iter()
            .filter_map(|item| match item {
                Selected::Path(path) | Selected::Function { argument: path, .. } => {
                    path.split_last().map(|(_, walk)| walk.to_vec())
                }
                Selected::CountRows => None,
            })
            .filter(|walk| !walk.is_empty())
            .collect();
        walks.sort_unstable();
        walks.dedup();
        walks
    }

    /// The describe type of each column. `describes` holds the object and what its references lead to. A walk
    /// that leads to what was not described is text, which takes every value.
    ///
    /// # Errors
    /// [`StatementError::NoSuchField`] for a field that the object itself does not have.
    pub fn column_types(
        &self,
        describes: &BTreeMap<ObjectName, ObjectDescribe>,
    ) -> Result<ColumnTypes, StatementError> {
        let mut types = Vec::new();
        for item in &self.selected {
            match item {
                Selected::Path(path) => types.push((joined(path), self.type_of(path, describes)?)),
                Selected::Function { name, function, argument } => {
                    let word = match function.to_ascii_uppercase().as_str() {
                        "COUNT" | "COUNT_DISTINCT" | "GROUPING" => "int".to_owned(),
                        "SUM" | "AVG" | "DISTANCE" => "double".to_owned(),
                        "MIN" | "MAX" => self.type_of(argument, describes)?,
                        "DAY_ONLY" => "date".to_owned(),
                        function
                            if function.starts_with("CALENDAR_")
                                || function.starts_with("FISCAL_")
                                || function.starts_with("DAY_IN_")
                                || function.starts_with("WEEK_IN_")
                                || function == "HOUR_IN_DAY" =>
                        {
                            "int".to_owned()
                        }
                        _ => "string".to_owned(),
                    };
                    types.push((name.clone(), word));
                }
                Selected::CountRows => {}
            }
        }
        Ok(types)
    }

    fn type_of(
        &self,
        path: &[FieldName],
        describes: &BTreeMap<ObjectName, ObjectDescribe>,
    ) -> Result<String, StatementError> {
        let unknown = || "string".to_owned();
        let Some((last, walk)) = path.split_last() else { return Ok(unknown()) };
        let mut objects = vec![self.object.clone()];
        for step in walk {
            objects = targets(&objects, step, describes);
        }
        let field = objects.iter().filter_map(|name| described(describes, name)).find_map(|describe| {
            describe.fields.iter().find(|field| same(field.name.as_str(), last.as_str()))
        });
        match field {
            Some(field) => Ok(field.field_type.clone()),
            None if walk.is_empty() && describes.contains_key(&self.object) => {
                Err(StatementError::NoSuchField { object: self.object.clone(), field: last.to_string() })
            }
            None => Ok(unknown()),
        }
    }
}

/// The objects that a reference of any of `objects` may lead to.
pub fn targets(
    objects: &[ObjectName],
    reference: &FieldName,
    describes: &BTreeMap<ObjectName, ObjectDescribe>,
) -> Vec<ObjectName> {
    let mut found: Vec<ObjectName> = objects
        .iter()
        .filter_map(|name| described(describes, name))
        .flat_map(|describe| &describe.fields)
        .filter(|field| field.relationship_name.as_deref().is_some_and(|name| same(name, reference.as_str())))
        .flat_map(|field| &field.reference_to)
        .filter_map(|name| name.parse().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn described<'d>(
    describes: &'d BTreeMap<ObjectName, ObjectDescribe>,
    name: &ObjectName,
) -> Option<&'d ObjectDescribe> {
    describes.get(name).or_else(|| {
        describes.iter().find(|(known, _)| same(known.as_str(), name.as_str())).map(|(_, describe)| describe)
    })
}

/// Makes columns of what [`Statement::column_types`] gave.
///
/// # Errors
/// Columns that no row can have.
pub fn columns_of(types: &ColumnTypes) -> Result<Columns, RowsError> {
    let column =
        |(name, word): &(String, String)| Column::new(name.as_str(), ColumnKind::from_describe(word));
    Columns::new(types.iter().map(column).collect())
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn joined(path: &[FieldName]) -> String {
    let names: Vec<&str> = path.iter().map(FieldName::as_str).collect();
    names.join(".")
}

/// Reads what stands between SELECT and FROM.
fn select_list(list: &str) -> Result<Vec<Selected>, StatementError> {
    let mut selected = Vec::new();
    let mut unnamed = 0;
    for item in split_top(list) {
        let item = item.trim();
        if item.starts_with('(') {
            let (what, instead) = ("a child query", "query the child object and select its reference");
            return Err(StatementError::NotFlat { what, instead });
        }
        if item.get(..6).is_some_and(|start| same(start, "TYPEOF"))
            && item[6..].starts_with(char::is_whitespace)
        {
            let (what, instead) = ("TYPEOF", "select the fields of one type");
            return Err(StatementError::NotFlat { what, instead });
        }
        let Some((function, rest)) = item.split_once('(') else {
            selected.push(path_with_alias(item)?);
            continue;
        };
        let function = function.trim();
        if same(function, "FIELDS") {
            let (what, instead) = ("FIELDS()", "name the fields");
            return Err(StatementError::NotFlat { what, instead });
        }
        let (argument, alias) =
            rest.rsplit_once(')').ok_or(StatementError::Shape("a bracket is not closed"))?;
        let (argument, alias) = (argument.trim(), alias.trim());
        if same(function, "COUNT") && argument.is_empty() {
            selected.push(Selected::CountRows);
            continue;
        }
        let first = argument.split(',').next().unwrap_or_default().trim();
        // A nested function has no field of its own; its type is not known, and text takes every value.
        let argument = if first.contains('(') { Vec::new() } else { path(first)? };
        let name = match alias {
            "" if is_plain_rendering(function) && !argument.is_empty() => joined(&argument),
            "" => {
                unnamed += 1;
                format!("expr{}", unnamed - 1)
            }
            alias => path(alias).map(|path| joined(&path))?,
        };
        selected.push(Selected::Function { name, function: function.to_owned(), argument });
    }
    if selected.is_empty() || (selected.contains(&Selected::CountRows) && selected.len() > 1) {
        return Err(StatementError::Shape("the fields are missing, or COUNT() is not alone"));
    }
    Ok(selected)
}

/// Functions that render one field, and keep its name.
fn is_plain_rendering(function: &str) -> bool {
    ["toLabel", "convertCurrency", "FORMAT"].iter().any(|known| same(known, function))
}

fn path_with_alias(item: &str) -> Result<Selected, StatementError> {
    let mut words = item.split_whitespace();
    let (Some(first), None) = (words.next(), words.next()) else {
        return Err(StatementError::Shape("an item of the list is empty, or has an alias"));
    };
    Ok(Selected::Path(path(first)?))
}

fn path(text: &str) -> Result<Vec<FieldName>, StatementError> {
    let bad = |_| StatementError::Name(super::error::shorten(text));
    text.split('.').map(|name| name.trim().parse().map_err(bad)).collect()
}

/// Splits at the commas that stand outside brackets.
fn split_top(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

/// A word outside quotes, with how many brackets are open around it.
#[derive(Debug, Clone, Copy)]
struct Word {
    start: usize,
    end: usize,
    depth: i32,
}

impl Word {
    fn text<'t>(&self, statement: &'t str) -> &'t str {
        &statement[self.start..self.end]
    }

    fn is(&self, statement: &str, keyword: &str) -> bool {
        same(self.text(statement), keyword)
    }
}

struct Words(Vec<Word>);

impl Words {
    fn of(text: &str) -> Self {
        let (mut words, mut depth, mut at) = (Vec::new(), 0, 0);
        let bytes = text.as_bytes();
        let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        while at < bytes.len() {
            match bytes[at] {
                b'\'' => {
                    at += 1;
                    while at < bytes.len() && bytes[at] != b'\'' {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                }
                b'(' => (depth, at) = (depth + 1, at + 1),
                b')' => (depth, at) = (depth - 1, at + 1),
                byte if in_word(byte) => {
                    let start = at;
                    while at < bytes.len() && in_word(bytes[at]) {
                        at += 1;
                    }
                    words.push(Word { start, end: at, depth });
                }
                _ => at += 1,
            }
        }
        Self(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("select Id, Owner.Name from Lead", "Lead", &["Id", "Owner.Name"], None)]
    #[case("SELECT Id FROM Lead WHERE Name = 'x FROM y GROUP'", "Lead", &["Id"], None)]
    #[case("SELECT Id FROM Lead WHERE Id IN (SELECT LeadId FROM X LIMIT 1) ;", "Lead", &["Id"], None)]
    #[case("SELECT Id FROM Lead WHERE Name LIKE 'O\\'Hara LIMIT' ORDER BY Id", "Lead", &["Id"], Some("ORDER"))]
    #[case("SELECT Id FROM Lead LIMIT 5", "Lead", &["Id"], Some("LIMIT"))]
    #[case("SELECT COUNT(Id), MAX(Amount) top, Name FROM Deal__c GROUP BY Name", "Deal__c", &["expr0", "top", "Name"], Some("GROUP"))]
    #[case("SELECT toLabel(Status) FROM Lead", "Lead", &["Status"], Some("a function"))]
    fn a_statement_tells_its_object_and_its_columns(
        #[case] text: &str,
        #[case] object: &str,
        #[case] columns: &[&str],
        #[case] rest_only: Option<&str>,
    ) {
        let statement = Statement::read(text).unwrap();
        assert_eq!(statement.object().as_str(), object);
        assert_eq!(statement.rest_only(), rest_only);
        let types = statement.column_types(&BTreeMap::new()).unwrap();
        assert_eq!(types.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), columns);
    }

    #[rstest]
    #[case("DELETE FROM Lead")]
    #[case("SELECT Id")]
    #[case("SELECT FROM Lead")]
    #[case("SELECT Id FROM")]
    #[case("SELECT Id FROM Lead l")]
    #[case("SELECT Id, (SELECT Id FROM Contacts) FROM Account")]
    #[case("SELECT FIELDS(ALL) FROM Lead LIMIT 200")]
    #[case("SELECT TYPEOF What WHEN Account THEN Name END FROM Event")]
    #[case("SELECT *, Id FROM Lead")]
    #[case("")]
    fn what_is_no_flat_query_is_refused(#[case] text: &str) {
        assert!(Statement::read(text).is_err(), "{:?}", Statement::read(text));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in r"(?s)(SELECT )?.{0,40}( FROM .{0,40})?") {
            drop(Statement::read(&text));
        }
    }
}
