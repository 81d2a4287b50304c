//! Rows as Bulk writes them: every value quoted, `"` doubled, null and empty alike `""`, moments ending in `Z`.
//!
//! A statement's columns are looked at once. A column that the row source can write by itself goes straight
//! from row number to bytes; any other goes through its value.

use crate::{
    json,
    org::OrgData,
    query::{Found, plan},
    rows_api::{CellWriter, Value},
    soql::{SoqlError, ast::FieldPath, dates},
    tables::{ColumnRef, Kind, OpenRow, Table},
};

/// Between values, and after a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: Delimiter,
    pub line_ending: LineEnding,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: Delimiter::Comma, line_ending: LineEnding::Lf }
    }
}

/// What stands between values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    Backquote,
    Caret,
    Comma,
    Pipe,
    Semicolon,
    Tab,
}

impl Delimiter {
    const ALL: [(Self, &'static str, u8); 6] = [
        (Self::Backquote, "BACKQUOTE", b'`'),
        (Self::Caret, "CARET", b'^'),
        (Self::Comma, "COMMA", b','),
        (Self::Pipe, "PIPE", b'|'),
        (Self::Semicolon, "SEMICOLON", b';'),
        (Self::Tab, "TAB", b'\t'),
    ];

    /// The delimiter of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known, _)| *known == name).map(|(delimiter, ..)| delimiter)
    }

    /// Its name in a job.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The byte written.
    pub fn byte(self) -> u8 {
        Self::ALL[self as usize].2
    }
}

/// What ends a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnding {
    Lf,
    CrLf,
}

impl LineEnding {
    /// The line ending of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "LF" => Some(Self::Lf),
            "CRLF" => Some(Self::CrLf),
            _ => None,
        }
    }

    /// Its name in a job.
    pub fn name(self) -> &'static str {
        if self == Self::Lf { "LF" } else { "CRLF" }
    }

    /// The bytes written.
    pub fn bytes(self) -> &'static [u8] {
        if self == Self::Lf { b"\n" } else { b"\r\n" }
    }
}

/// Appends text with its quotes doubled.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for (at, part) in text.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part);
    }
}

/// Appends a row of texts, each quoted.
pub fn push_row<'a>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a str>, dialect: Dialect) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(dialect.delimiter.byte());
        }
        out.push(b'"');
        push_escaped(out, cell.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(dialect.line_ending.bytes());
}

/// Appends a value, its quotes doubled but none around it.
pub fn push_value(out: &mut Vec<u8>, value: &Value, kind: Kind) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) if kind == Kind::Double => json::double(out, *value as f64),
        Value::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Double(value) => json::double(out, *value),
        Value::Text(text) => push_escaped(out, text.as_bytes()),
        Value::Date(date) => out.extend_from_slice(date.as_bytes()),
        Value::DateTime(millis) => out.extend_from_slice(dates::soql_datetime(*millis).as_bytes()),
    }
}

/// A selected column.
struct Column {
    path: plan::Path,
    /// The row source's own writer, without a value in between; for rows nobody wrote to.
    direct: Option<Box<dyn CellWriter>>,
}

/// Writes the rows of one statement.
pub struct RowWriter {
    table: Table,
    header: Vec<String>,
    columns: Vec<Column>,
}

impl RowWriter {
    /// A writer for the columns that `found` selected, in their order; the same column twice is written once.
    ///
    /// # Errors
    /// None for a statement that was run; the names resolve a second time.
    pub fn new(org: &OrgData, table: Table, found: &Found) -> Result<Self, SoqlError> {
        let resolver = plan::Resolver { org, text: "", table, alias: None };
        let mut writer = Self { table, header: Vec::new(), columns: Vec::new() };
        for shown in &found.columns {
            let name = shown.names.join(".");
            if writer.header.contains(&name) {
                continue;
            }
            let path = resolver.path(&FieldPath { parts: shown.names.clone(), at: 0 })?;
            writer.header.push(name);
            let direct = direct(org, table, &path);
            writer.columns.push(Column { path, direct });
        }
        Ok(writer)
    }

    /// The columns' names, in order.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Appends the header row.
    pub fn push_header(&self, out: &mut Vec<u8>, dialect: Dialect) {
        push_row(out, self.header.iter().map(String::as_str), dialect);
    }

    /// Appends one row.
    pub fn push(&self, out: &mut Vec<u8>, org: &OrgData, row: u64, dialect: Dialect) {
        let between = [b'"', dialect.delimiter.byte(), b'"'];
        let reader = self.reader(org, row);
        for (at, column) in self.columns.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"" } else { &between });
            reader.push(out, column);
        }
        out.push(b'"');
        out.extend_from_slice(dialect.line_ending.bytes());
    }

    /// Appends one row of which each cell passes through `change`, which sees the cell's kind and may edit what
    /// stands in the buffer from the given place on; only the first `columns` cells are written.
    pub fn push_changed(
        &self,
        out: &mut Vec<u8>,
        org: &OrgData,
        row: u64,
        dialect: Dialect,
        columns: usize,
        change: &dyn Fn(&mut Vec<u8>, usize, Kind),
    ) {
        let reader = self.reader(org, row);
        for (at, column) in self.columns.iter().take(columns).enumerate() {
            if at > 0 {
                out.push(dialect.delimiter.byte());
            }
            out.push(b'"');
            let from = out.len();
            reader.push(out, column);
            change(out, from, column.path.kind);
            out.push(b'"');
        }
        out.extend_from_slice(dialect.line_ending.bytes());
    }

    /// The values of one row with their names and kinds, for formats other than CSV.
    pub fn values<'a>(
        &'a self,
        org: &'a OrgData,
        row: u64,
    ) -> impl Iterator<Item = (&'a str, Kind, Value)> + 'a {
        let reader = self.reader(org, row);
        let named = self.header.iter().zip(&self.columns);
        named.map(move |(name, column)| (name.as_str(), column.path.kind, reader.value(column)))
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    fn reader<'a>(&self, org: &'a OrgData, row: u64) -> RowReader<'a> {
        let as_seeded = matches!(self.table, Table::Object(at) if org.rows.is_as_seeded(at, row));
        let open = (!as_seeded).then(|| self.table.open(org, row));
        RowReader { org, table: self.table, row, open }
    }
}

/// One row, as seeded or as it has become.
struct RowReader<'a> {
    org: &'a OrgData,
    table: Table,
    row: u64,
    /// `None`: as seeded.
    open: Option<OpenRow<'a>>,
}

impl RowReader<'_> {
    fn push(&self, out: &mut Vec<u8>, column: &Column) {
        match &column.direct {
            Some(writer) if self.open.is_none() => writer.push(self.row, out),
            _ => push_value(out, &self.value(column), column.path.kind),
        }
    }

    fn value(&self, column: &Column) -> Value {
        match &self.open {
            Some(open) if column.path.is_own() => open.value(column.path.column),
            _ => column.path.value(self.org, self.table, self.row),
        }
    }
}

fn direct(org: &OrgData, table: Table, path: &plan::Path) -> Option<Box<dyn CellWriter>> {
    match (table, path.column) {
        (Table::Object(at), ColumnRef::Field(field)) if path.is_own() => {
            let object = &org.model.objects[at];
            org.rows.source().cell_writer(object, &object.fields[field])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Value::Null, Kind::Text, "")]
    #[case(Value::Bool(true), Kind::Bool, "true")]
    #[case(Value::Int(7), Kind::Double, "7.0")]
    #[case(Value::Int(7), Kind::Int, "7")]
    #[case(Value::Double(125_000.0), Kind::Double, "125000.0")]
    #[case(Value::Text("a \"b\"\nc".into()), Kind::Text, "a \"\"b\"\"\nc")]
    #[case(Value::Date("2026-01-02".into()), Kind::Date, "2026-01-02")]
    #[case(Value::DateTime(1_767_323_045_000), Kind::DateTime, "2026-01-02T03:04:05.000Z")]
    fn a_value_is_written_the_bulk_way(#[case] value: Value, #[case] kind: Kind, #[case] expected: &str) {
        let mut out = Vec::new();
        push_value(&mut out, &value, kind);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[rstest]
    fn delimiters_have_the_documented_names(
        #[values("COMMA,", "TAB\t", "PIPE|", "SEMICOLON;", "CARET^", "BACKQUOTE`")] known: &str,
    ) {
        let (name, byte) = known.split_at(known.len() - 1);
        let delimiter = Delimiter::named(name).unwrap();
        assert_eq!((delimiter.name(), delimiter.byte()), (name, byte.as_bytes()[0]));
    }
}
