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
    tables::{ColumnRef, Kind, Table},
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

/// How a column's values get written.
enum Column {
    /// By the row source, without a value in between.
    Direct(Box<dyn CellWriter>),
    Path(plan::Path),
}

/// Writes the rows of one statement.
pub struct RowWriter {
    table: Table,
    header: Vec<String>,
    columns: Vec<Column>,
    kinds: Vec<Kind>,
}

impl RowWriter {
    /// A writer for the columns that `found` selected, in their order; the same column twice is written once.
    ///
    /// # Errors
    /// None for a statement that was run; the names resolve a second time.
    pub fn new(org: &OrgData, table: Table, found: &Found) -> Result<Self, SoqlError> {
        let resolver = plan::Resolver { org, text: "", table, alias: None };
        let mut writer = Self { table, header: Vec::new(), columns: Vec::new(), kinds: Vec::new() };
        for shown in &found.columns {
            let name = shown.names.join(".");
            if writer.header.contains(&name) {
                continue;
            }
            let path = resolver.path(&FieldPath { parts: shown.names.clone(), at: 0 })?;
            writer.header.push(name);
            writer.kinds.push(path.kind);
            writer.columns.push(column(org, table, path));
        }
        Ok(writer)
    }

    /// Appends the header row.
    pub fn push_header(&self, out: &mut Vec<u8>, dialect: Dialect) {
        push_row(out, self.header.iter().map(String::as_str), dialect);
    }

    /// Appends one row.
    pub fn push(&self, out: &mut Vec<u8>, org: &OrgData, row: u64, dialect: Dialect) {
        let between = [b'"', dialect.delimiter.byte(), b'"'];
        for (at, column) in self.columns.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"" } else { &between });
            self.push_cell(out, org, row, column, self.kinds[at]);
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
        for (at, column) in self.columns.iter().take(columns).enumerate() {
            if at > 0 {
                out.push(dialect.delimiter.byte());
            }
            out.push(b'"');
            let from = out.len();
            self.push_cell(out, org, row, column, self.kinds[at]);
            change(out, from, self.kinds[at]);
            out.push(b'"');
        }
        out.extend_from_slice(dialect.line_ending.bytes());
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    fn push_cell(&self, out: &mut Vec<u8>, org: &OrgData, row: u64, column: &Column, kind: Kind) {
        match column {
            Column::Direct(writer) => writer.push(row, out),
            Column::Path(path) => push_value(out, &path.value(org, self.table, row), kind),
        }
    }
}

fn column(org: &OrgData, table: Table, path: plan::Path) -> Column {
    if let (Table::Object(at), ColumnRef::Field(field), true) = (table, path.column, path.is_own()) {
        let object = &org.model.objects[at];
        if let Some(writer) = org.rows.cell_writer(object, &object.fields[field]) {
            return Column::Direct(writer);
        }
    }
    Column::Path(path)
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
