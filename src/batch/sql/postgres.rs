//! Statements of PostgreSQL.
//!
//! Promises: every value goes as text under a place that names its type, so that it is read by the type's own input and
//! arrives exact; a cast never shortens or rounds, since the names of types have no modifiers; what comes back is either
//! one of the types that [`crate::database::postgres`] reads in binary form, or text.

use std::sync::Arc;

use super::{Comparison, Dialect, ParameterKind, Qualifier, SqlWriter, Statement, like_text};
use crate::batch::catalogue::{Column, ColumnId, ColumnType, Entity, KeyRule, NamedStatement};
use crate::batch::operation::{Assignment, BoundOperation, Condition, Handed, Handover, Lock, Pattern, Work};
use crate::batch::value::Value;

/// How PostgreSQL writes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

impl Dialect for Postgres {
    fn quote(&self) -> char {
        '"'
    }

    fn place(&self, writer: &mut SqlWriter<'_>, number: usize, kind: &ParameterKind) {
        writer.push("$");
        writer.number(number);
        match kind {
            ParameterKind::Column { column_type, native_type } => cast(writer, column_type, native_type, ""),
            ParameterKind::List { column_type, native_type } => cast(writer, column_type, native_type, "[]"),
            ParameterKind::Text => writer.push("::text"),
            ParameterKind::Count => writer.push("::bigint"),
        }
    }

    fn like(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        pattern: &Pattern,
    ) {
        writer.column(entity, at, column);
        // What is not text, and what pads, is compared by its text.
        if !matches!(&*entity.columns[column].native_type, "text" | "character varying") {
            writer.push("::text");
        }
        writer.push(" LIKE ");
        writer.bind(Value::Text(like_text(pattern, '\\')), ParameterKind::Text);
    }

    fn one_of(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        values: &[Value],
    ) {
        let about = &entity.columns[column];
        // A list of lists is one flat list to PostgreSQL, and JSON is compared in its own form.
        if matches!(about.column_type, ColumnType::Array(_) | ColumnType::Json) {
            for (index, value) in values.iter().enumerate() {
                writer.push(if index == 0 { "(" } else { " OR " });
                self.compare(writer, entity, at, column, Comparison::Eq, value);
            }
            return writer.push(")");
        }
        // One place however long the list is: one statement shape.
        self.operand(writer, entity, at, column);
        writer.push(" = ANY(");
        writer.bind(Value::Array(values.to_vec()), ParameterKind::list_of(about));
        writer.push(")");
    }

    fn compare(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        operator: Comparison,
        value: &Value,
    ) {
        let about = &entity.columns[column];
        let json = about.column_type == ColumnType::Json;
        self.operand(writer, entity, at, column);
        if json {
            // `json` has no equality; `jsonb` has.
            writer.push("::jsonb");
        }
        writer.push(operator.sql());
        writer.bind(value.clone(), ParameterKind::of(about));
        if json {
            writer.push("::jsonb");
        }
    }

    fn answered(&self, writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, column: ColumnId) {
        answered(writer, &entity.columns[column], |writer| writer.column(entity, at, column));
    }
}

/// Writes `::type`, by way of text where PostgreSQL would have to be asked what type that is.
fn cast(writer: &mut SqlWriter<'_>, column_type: &ColumnType, native_type: &Arc<str>, list: &'static str) {
    if !is_well_known(column_type) {
        writer.push("::text");
    }
    writer.push("::");
    if native_type.is_empty() {
        writer.push(type_name(column_type));
    } else {
        writer.configured(native_type);
    }
    writer.push(list);
}

/// Whether the type, and lists of it, are built into PostgreSQL for sure.
fn is_well_known(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Enum(_) | ColumnType::Other | ColumnType::Any => false,
        ColumnType::Array(element) => is_well_known(element),
        _ => true,
    }
}

/// PostgreSQL's name of a type that no column gave one: parameters of named statements.
fn type_name(column_type: &ColumnType) -> &'static str {
    match column_type {
        ColumnType::Int { .. } => "bigint",
        ColumnType::Decimal => "numeric",
        ColumnType::Float { bits: 32 } => "real",
        ColumnType::Float { .. } => "double precision",
        ColumnType::Boolean => "boolean",
        ColumnType::Uuid => "uuid",
        ColumnType::Date => "date",
        ColumnType::Time => "time without time zone",
        ColumnType::Timestamp => "timestamp without time zone",
        ColumnType::TimestampTz => "timestamp with time zone",
        ColumnType::Bytes => "bytea",
        ColumnType::Json => "jsonb",
        ColumnType::Text
        | ColumnType::Enum(_)
        | ColumnType::Array(_)
        | ColumnType::Other
        | ColumnType::Any => "text",
    }
}

/// Writes a column so that its content comes back in a form that is read exactly.
fn answered(writer: &mut SqlWriter<'_>, column: &Column, name: impl FnOnce(&mut SqlWriter<'_>)) {
    match column.column_type {
        ColumnType::Array(_) => {
            writer.push("to_json(");
            name(writer);
            writer.push(")");
        }
        ColumnType::Decimal | ColumnType::Enum(_) | ColumnType::Other | ColumnType::Any => {
            name(writer);
            writer.push("::text");
        }
        _ => name(writer),
    }
}

/// Statements of one operation: one, or one for each row of a create whose rows cannot be told apart in one answer.
/// A last column says whether the row may be there, when the operation has a condition on what it writes.
pub fn statements(operation: &BoundOperation) -> Vec<Statement> {
    match (&operation.work, &operation.entity) {
        (Work::Create { columns, rows, must_hold }, Some(entity)) => {
            let insert = |row: &Vec<Value>| insert(entity, columns, row, must_hold, operation);
            rows.iter().map(insert).collect()
        }
        _ => vec![statement(operation)],
    }
}

/// Whether the answer of the operation's statement has a last column that says whether the row may be there.
pub fn has_verdict(operation: &BoundOperation) -> bool {
    match &operation.work {
        Work::Create { must_hold, .. } | Work::Update { must_hold, .. } => *must_hold != Condition::True,
        _ => false,
    }
}

fn statement(operation: &BoundOperation) -> Statement {
    let mut writer = SqlWriter::new(&Postgres);
    let returning = &operation.returning;
    let Some(entity) = &operation.entity else {
        if let Work::Statement { statement, parameters, limit } = &operation.work {
            named(&mut writer, statement, parameters, returning, *limit);
        }
        return writer.finish();
    };
    match &operation.work {
        Work::Read { condition, sort, limit, offset, lock } => {
            writer.read(entity, returning, condition, sort, *limit, *offset, *lock);
        }
        Work::Count { condition } => writer.count(entity, condition),
        Work::Update { set, condition, must_hold, .. } if set.is_empty() => {
            // Nothing to store: the rows as they are, held like those of an update.
            let at = writer.alias();
            writer.push("SELECT ");
            answer(&mut writer, entity, at, returning, must_hold);
            writer.push(" FROM ");
            writer.table_as(entity, at);
            writer.filter(condition, entity, at);
            let lock = Postgres.lock(Lock::Update);
            writer.push(lock);
        }
        Work::Update { set, condition, must_hold, .. } => {
            let at = writer.alias();
            writer.push("UPDATE ");
            writer.table_as(entity, at);
            for (index, (column, assignment)) in set.iter().enumerate() {
                writer.push(if index == 0 { " SET " } else { ", " });
                writer.column(entity, Qualifier::Bare, *column);
                writer.push(" = ");
                match assignment {
                    Assignment::Value(value) => {
                        writer.bind(value.clone(), ParameterKind::of(&entity.columns[*column]));
                    }
                    Assignment::Increment => {
                        writer.column(entity, at, *column);
                        writer.push(" + 1");
                    }
                }
            }
            writer.filter(condition, entity, at);
            writer.push(" RETURNING ");
            answer(&mut writer, entity, at, returning, must_hold);
        }
        Work::Delete { condition, .. } => {
            let at = writer.alias();
            writer.push("DELETE FROM ");
            writer.table_as(entity, at);
            writer.filter(condition, entity, at);
            writer.push(" RETURNING ");
            answer(&mut writer, entity, at, returning, &Condition::True);
        }
        // Creates are in `insert`; a statement has no entity.
        Work::Create { .. } | Work::Statement { .. } => {}
    }
    writer.finish()
}

/// Columns of an answer, and the verdict on the row.
fn answer(
    writer: &mut SqlWriter<'_>,
    entity: &Entity,
    at: Qualifier,
    returning: &[ColumnId],
    must_hold: &Condition,
) {
    writer.answered(entity, at, returning, "1");
    verdict(writer, entity, at, must_hold);
}

fn verdict(writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, must_hold: &Condition) {
    if *must_hold != Condition::True {
        writer.push(", (");
        writer.condition(must_hold, entity, at);
        writer.push(" IS TRUE)");
    }
}

/// The name of the setting that keeps a value for the rest of a transaction.
fn handed(writer: &mut SqlWriter<'_>, handover: &Handover) {
    writer.bind(Value::Text(format!("penstock.value_{}", handover.name)), ParameterKind::Text);
}

/// What an earlier create of the transaction gave.
fn taken(writer: &mut SqlWriter<'_>, entity: &Entity, handover: &Handover) {
    let Column { column_type, native_type, .. } = &entity.columns[handover.column];
    writer.push("current_setting(");
    handed(writer, handover);
    writer.push(")");
    cast(writer, column_type, native_type, "");
}

/// Columns of the answer of a create, and the verdict on the row. Those that it gives are kept on their way out, as they are in
/// the row whatever default made them.
fn answer_giving(
    writer: &mut SqlWriter<'_>,
    entity: &Entity,
    at: Qualifier,
    returning: &[ColumnId],
    gives: &[Handover],
    must_hold: &Condition,
) {
    if gives.is_empty() {
        return answer(writer, entity, at, returning, must_hold);
    }
    for (index, column) in returning.iter().enumerate() {
        if index > 0 {
            writer.push(", ");
        }
        match gives.iter().find(|given| given.column == *column) {
            None => Postgres.answered(writer, entity, at, *column),
            Some(given) => {
                let Column { column_type, native_type, .. } = &entity.columns[*column];
                writer.push("set_config(");
                handed(writer, given);
                writer.push(", ");
                writer.column(entity, at, *column);
                writer.push("::text, true)");
                cast(writer, column_type, native_type, "");
            }
        }
    }
    verdict(writer, entity, at, must_hold);
}

/// Columns of the key that a sequence of the config fills.
fn from_sequences(entity: &Entity) -> impl Iterator<Item = (ColumnId, &Arc<str>)> {
    entity.columns.iter().enumerate().filter_map(|(id, column)| match &column.key {
        Some(KeyRule::Sequence(name)) => Some((id, name)),
        _ => None,
    })
}

fn insert(
    entity: &Entity,
    columns: &[ColumnId],
    row: &[Value],
    must_hold: &Condition,
    operation: &BoundOperation,
) -> Statement {
    let Handed { gives, takes } = &operation.handed;
    let mut writer = SqlWriter::new(&Postgres);
    let at = writer.alias();
    writer.push("INSERT INTO ");
    writer.table_as(entity, at);
    let is_taken = |column: ColumnId| takes.iter().any(|taken| taken.column == column);
    let sequences: Vec<_> = from_sequences(entity)
        .filter(|(column, _)| !columns.contains(column) && !is_taken(*column))
        .collect();
    if columns.is_empty() && sequences.is_empty() && takes.is_empty() {
        writer.push(" DEFAULT VALUES");
    } else {
        let stored = columns.iter().copied().chain(takes.iter().map(|taken| taken.column));
        let stored = stored.chain(sequences.iter().map(|(column, _)| *column));
        column_list(&mut writer, entity, stored);
        writer.push(" VALUES (");
        for (index, (column, value)) in columns.iter().zip(row).enumerate() {
            if index > 0 {
                writer.push(", ");
            }
            writer.bind(value.clone(), ParameterKind::of(&entity.columns[*column]));
        }
        for (index, handover) in takes.iter().enumerate() {
            if index > 0 || !columns.is_empty() {
                writer.push(", ");
            }
            taken(&mut writer, entity, handover);
        }
        for (index, (_, sequence)) in sequences.iter().enumerate() {
            if index > 0 || !columns.is_empty() || !takes.is_empty() {
                writer.push(", ");
            }
            writer.push("nextval(");
            writer.bind(Value::Text(sequence.to_string()), ParameterKind::Text);
            writer.push("::regclass)");
        }
        writer.push(")");
    }
    writer.push(" RETURNING ");
    answer_giving(&mut writer, entity, at, &operation.returning, gives, must_hold);
    writer.finish()
}

fn column_list(writer: &mut SqlWriter<'_>, entity: &Entity, columns: impl Iterator<Item = ColumnId>) {
    for (index, column) in columns.enumerate() {
        writer.push(if index == 0 { " (" } else { ", " });
        writer.column(entity, Qualifier::Bare, column);
    }
    writer.push(")");
}

/// One insert of many rows: `lists` has, for each of `columns`, the values of all rows, written as PostgreSQL writes an
/// array; values of a column of arrays as texts. All rows take over the same values. Rows are stored in the order of the lists;
/// the order of the answer is the database's.
pub fn insert_many(
    entity: &Entity,
    columns: &[ColumnId],
    lists: Vec<String>,
    takes: &[Handover],
    must_hold: &Condition,
    returning: &[ColumnId],
) -> Statement {
    let mut writer = SqlWriter::new(&Postgres);
    let at = writer.alias();
    writer.push("INSERT INTO ");
    writer.table_as(entity, at);
    column_list(&mut writer, entity, columns.iter().copied().chain(takes.iter().map(|taken| taken.column)));
    for (index, column) in columns.iter().enumerate() {
        writer.push(if index == 0 { " SELECT r.c" } else { ", r.c" });
        writer.number(index);
        let column = &entity.columns[*column];
        if is_list(column) {
            cast(&mut writer, &column.column_type, &column.native_type, "");
        }
    }
    for handover in takes {
        writer.push(", ");
        taken(&mut writer, entity, handover);
    }
    writer.push(" FROM ROWS FROM (");
    for (index, (column, list)) in columns.iter().zip(lists).enumerate() {
        writer.push(if index == 0 { "unnest(" } else { ", unnest(" });
        let column = &entity.columns[*column];
        let kind = match is_list(column) {
            // A list of lists would come apart whole.
            true => ParameterKind::List { column_type: ColumnType::Text, native_type: "text".into() },
            false => ParameterKind::list_of(column),
        };
        writer.bind(Value::Text(list), kind);
        writer.push(")");
    }
    writer.push(") WITH ORDINALITY AS r (");
    for index in 0..columns.len() {
        writer.push("c");
        writer.number(index);
        writer.push(", ");
    }
    writer.push("place) ORDER BY r.place RETURNING ");
    answer(&mut writer, entity, at, returning, must_hold);
    writer.finish()
}

fn is_list(column: &Column) -> bool {
    matches!(column.column_type, ColumnType::Array(_))
}

/// A named statement of the config, its parameters in place, at most `limit` rows of it.
fn named(
    writer: &mut SqlWriter<'_>,
    statement: &NamedStatement,
    parameters: &[Value],
    returning: &[ColumnId],
    limit: u64,
) {
    writer.push("SELECT ");
    if returning.is_empty() {
        writer.push("1");
    }
    for (index, column) in returning.iter().enumerate() {
        if index > 0 {
            writer.push(", ");
        }
        let column = &statement.columns[*column];
        answered(writer, column, |writer| {
            writer.push("s.");
            writer.identifier(&column.name);
        });
    }
    writer.push(" FROM (");
    for piece in pieces(&statement.sql) {
        match piece {
            Piece::Text(text) => writer.configured(&text.into()),
            Piece::Parameter(name) => {
                let found =
                    statement.parameters.iter().zip(parameters).find(|((known, _), _)| &**known == name);
                if let Some(((_, column_type), value)) = found {
                    let kind =
                        ParameterKind::Column { column_type: column_type.clone(), native_type: "".into() };
                    writer.bind(value.clone(), kind);
                }
            }
        }
    }
    // On a line of its own: the config's text may end in a comment.
    writer.push("\n) AS s LIMIT ");
    writer.bind_count(limit);
}

/// A named statement with every parameter as null, to find the columns of its answer by preparing it.
pub fn named_for_columns(statement: &NamedStatement) -> Statement {
    let mut writer = SqlWriter::new(&Postgres);
    writer.push("SELECT * FROM (");
    for piece in pieces(&statement.sql) {
        match piece {
            Piece::Text(text) => writer.configured(&text.into()),
            Piece::Parameter(name) => {
                if let Some((_, column_type)) =
                    statement.parameters.iter().find(|(known, _)| &**known == name)
                {
                    writer.push("NULL");
                    cast(&mut writer, column_type, &"".into(), "");
                }
            }
        }
    }
    writer.push("\n) AS s LIMIT 0");
    writer.finish()
}

/// A piece of a named statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// SQL as it stands.
    Text(&'a str),
    /// `:name`
    Parameter(&'a str),
}

/// Divides SQL of the config at its `:name` parameters. Quoted text, quoted names, comments, dollar quotes and casts
/// (`::`) have none.
pub fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let sql = sql.trim_end().trim_end_matches(';').trim_end();
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut text_from = 0;
    let mut at = 0;
    while at < bytes.len() {
        // Inside a character of several bytes nothing begins.
        let rest = sql.get(at..).unwrap_or_default();
        match bytes[at] {
            b'\'' => {
                let escapes =
                    at > 0 && matches!(bytes[at - 1], b'e' | b'E') && (at < 2 || !is_word(bytes[at - 2]));
                at += quoted(rest, b'\'', escapes);
            }
            b'"' => at += quoted(rest, b'"', false),
            b'-' if rest.starts_with("--") => at += rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => at += block_comment(rest),
            b'$' if at == 0 || !is_word(bytes[at - 1]) => at += dollar_quoted(rest),
            b':' if rest.starts_with("::") => at += 2,
            b':' if bytes.get(at + 1).is_some_and(|next| next.is_ascii_alphabetic() || *next == b'_') => {
                let length = bytes[at + 1..].iter().take_while(|byte| is_word(**byte)).count();
                if at > text_from {
                    found.push(Piece::Text(&sql[text_from..at]));
                }
                found.push(Piece::Parameter(&sql[at + 1..at + 1 + length]));
                at += 1 + length;
                text_from = at;
            }
            _ => at += 1,
        }
    }
    if text_from < sql.len() {
        found.push(Piece::Text(&sql[text_from..]));
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Length of a quoted text with its quotes; a doubled quote is part of it.
fn quoted(text: &str, quote: u8, escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Length of a comment, with those inside it.
fn block_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Length of `$tag$ ... $tag$`, or of the dollar alone.
fn dollar_quoted(text: &str) -> usize {
    let tag_length = text[1..].bytes().take_while(|byte| is_word(*byte)).count();
    let opening = tag_length + 2;
    if text.as_bytes().get(opening - 1) != Some(&b'$') || text.as_bytes()[1].is_ascii_digit() {
        return 1;
    }
    let tag = &text[..opening];
    text[opening..].find(tag).map_or(text.len(), |end| opening + end + opening)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("SELECT :a", &["SELECT ", ":a"])]
    #[case::cast("SELECT :a::int, x::text", &["SELECT ", ":a", "::int, x::text"])]
    #[case::quotes("SELECT ':a', \":b\", 'it''s :c', :d", &["SELECT ':a', \":b\", 'it''s :c', ", ":d"])]
    #[case::escapes(r"SELECT E'\':a', :b", &[r"SELECT E'\':a', ", ":b"])]
    #[case::comments("SELECT 1 -- :a\n, /* :b /* :c */ :d */ :e;", &["SELECT 1 -- :a\n, /* :b /* :c */ :d */ ", ":e"])]
    #[case::dollars("SELECT $$:a$$, $t$ :b $$ $t$, :c", &["SELECT $$:a$$, $t$ :b $$ $t$, ", ":c"])]
    #[case::slices("SELECT x[1:2], :é", &["SELECT x[1:2], :é"])]
    #[case::open_quote("SELECT ':a", &["SELECT ':a"])]
    fn parameters_are_found_outside_of_quotes_and_comments(#[case] sql: &str, #[case] expected: &[&str]) {
        let found: Vec<String> = pieces(sql)
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Parameter(name) => format!(":{name}"),
            })
            .collect();
        assert_eq!(found, expected);
    }
}
