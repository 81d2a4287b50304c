//! What a row consists of: names in order, each with the kind of its values.

use std::fmt;
use std::sync::Arc;

use super::error::RowsError;
use super::row::write_json_text;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Text of any sort, picklists included.
    Text,
    /// A record's id, or what else a reference holds (metadata views put object names there).
    Id,
    /// `true` or `false`.
    Boolean,
    /// A whole number of up to 64 bits.
    Int,
    /// A decimal number of any length, kept exactly.
    Decimal,
    /// A day.
    Date,
    /// A point in time, in milliseconds.
    DateTime,
    /// A time of day, in milliseconds.
    Time,
    /// Bytes in base64, or the address where REST offers them.
    Base64,
    /// A compound (address, location) or another structure.
    Json,
}

impl ColumnKind {
    /// The kind for a field's `type` in a describe. A type that is not known is [`Self::Text`], which
    /// takes every value, so that a new release of the org stops nothing.
    pub fn from_describe(field_type: &str) -> Self {
        match field_type {
            "id" | "reference" | "masterrecord" => Self::Id,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Int,
            "double" | "currency" | "percent" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "time" => Self::Time,
            "base64" | "byte" => Self::Base64,
            "address" | "location" | "complexvalue" | "json" => Self::Json,
            _ => Self::Text,
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Id => "id",
            Self::Boolean => "boolean",
            Self::Int => "whole number",
            Self::Decimal => "decimal number",
            Self::Date => "date",
            Self::DateTime => "date with time",
            Self::Time => "time of day",
            Self::Base64 => "base64",
            Self::Json => "JSON",
        })
    }
}

/// One selected column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name as selected; `Owner.Name` for a parent's field.
    pub name: String,
    /// What its values are.
    pub kind: ColumnKind,
}

impl Column {
    /// A column by the name it is selected by.
    pub fn new(name: impl Into<String>, kind: ColumnKind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// The columns of a query, in SELECT order; cheap to clone.
#[derive(Clone)]
pub struct Columns {
    shape: Arc<Shape>,
    keeps_bad: bool,
}

struct Shape {
    columns: Vec<Column>,
    /// What stands before a column's value in a JSON line: `{"Id":` for the first, `,"Name":` for others.
    prefixes: Vec<Box<[u8]>>,
    tree: Vec<Node>,
}

/// A name at one level of a REST record.
pub(super) struct Node {
    pub(super) name: Box<str>,
    /// The name in its quotes with a colon, as it stands in compact JSON.
    pub(super) key: Box<[u8]>,
    pub(super) target: Target,
}

/// What a name in a REST record leads to.
pub(super) enum Target {
    Column(usize),
    Parent(Vec<Node>),
}

impl Columns {
    /// Takes the columns of a query in SELECT order.
    pub fn new(columns: Vec<Column>) -> Result<Self, RowsError> {
        if columns.is_empty() {
            return Err(RowsError::NoColumns);
        }
        let mut tree = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            grow(&mut tree, &column.name, index, &column.name)?;
        }
        let prefixes = columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
                write_json_text(&column.name, &mut prefix);
                prefix.push(b':');
                prefix.into_boxed_slice()
            })
            .collect();
        Ok(Self { shape: Arc::new(Shape { columns, prefixes, tree }), keeps_bad: false })
    }

    /// The same columns, whose readers do not end at a value that is none of its column's kind: they give the row out with
    /// that value marked, see [`super::Row::bad`].
    #[must_use]
    pub fn keeping_bad(mut self) -> Self {
        self.keeps_bad = true;
        self
    }

    pub(super) fn keeps_bad(&self) -> bool {
        self.keeps_bad
    }

    /// The columns, in order.
    pub fn as_slice(&self) -> &[Column] {
        &self.shape.columns
    }

    /// How many columns there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always a column")]
    pub fn len(&self) -> usize {
        self.shape.columns.len()
    }

    pub(super) fn prefixes(&self) -> &[Box<[u8]>] {
        &self.shape.prefixes
    }

    pub(super) fn tree(&self) -> &[Node] {
        &self.shape.tree
    }

    pub(super) fn kind(&self, index: usize) -> ColumnKind {
        self.shape.columns[index].kind
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.shape.columns[index].name
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.shape.columns).finish()
    }
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        self.shape.columns == other.shape.columns
    }
}

impl Eq for Columns {}

/// Puts `path` into the tree, one level for each dot.
fn grow(level: &mut Vec<Node>, path: &str, index: usize, whole: &str) -> Result<(), RowsError> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let known = level.iter().position(|node| node.name.eq_ignore_ascii_case(name));
    match (known, rest) {
        (None, None) => level.push(node(name, Target::Column(index))),
        (None, Some(rest)) => {
            let mut children = Vec::new();
            grow(&mut children, rest, index, whole)?;
            level.push(node(name, Target::Parent(children)));
        }
        (Some(at), Some(rest)) => match &mut level[at].target {
            Target::Parent(children) => grow(children, rest, index, whole)?,
            Target::Column(_) => return Err(RowsError::ColumnIsParent(whole.to_owned())),
        },
        (Some(at), None) => {
            return Err(match level[at].target {
                Target::Column(_) => RowsError::ColumnTwice(whole.to_owned()),
                Target::Parent(_) => RowsError::ColumnIsParent(whole.to_owned()),
            });
        }
    }
    Ok(())
}

fn node(name: &str, target: Target) -> Node {
    let mut key = Vec::new();
    write_json_text(name, &mut key);
    key.push(b':');
    Node { name: name.into(), key: key.into_boxed_slice(), target }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn columns(names: &[&str]) -> Result<Columns, RowsError> {
        Columns::new(names.iter().map(|name| Column::new(*name, ColumnKind::Text)).collect())
    }

    #[rstest]
    #[case::none(&[], RowsError::NoColumns)]
    #[case::twice(&["Id", "id"], RowsError::ColumnTwice("id".to_owned()))]
    #[case::twice_in_parent(&["Owner.Name", "owner.name"], RowsError::ColumnTwice("owner.name".to_owned()))]
    #[case::value_first(&["Owner", "Owner.Name"], RowsError::ColumnIsParent("Owner.Name".to_owned()))]
    #[case::parent_first(&["Owner.Name", "Owner"], RowsError::ColumnIsParent("Owner".to_owned()))]
    fn columns_that_no_row_can_have_are_refused(#[case] names: &[&str], #[case] expected: RowsError) {
        assert_eq!(columns(names), Err(expected));
    }

    #[test]
    fn fields_of_one_parent_share_its_place() {
        let columns = columns(&["Id", "Owner.Name", "Name", "Owner.Manager.Name", "Owner.Id"]).unwrap();
        assert_eq!(columns.len(), 5);
        let names: Vec<&str> = columns.tree().iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["Id", "Owner", "Name"]);
    }

    #[test]
    fn an_unknown_field_type_is_text() {
        assert_eq!(ColumnKind::from_describe("hologram"), ColumnKind::Text);
        assert_eq!(ColumnKind::from_describe("reference"), ColumnKind::Id);
        assert_eq!(ColumnKind::from_describe("percent"), ColumnKind::Decimal);
    }
}
