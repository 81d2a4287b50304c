//! SQLite's statements.
//!
//! Promises: one row of a create is one statement, so an answer's rows stand in the order in which they were sent; an
//! update or delete touches at most one row more than it may, whatever its condition matches; whether a new row may be is
//! one more column of the answer, judged in the same statement that wrote it.
//!
//! `RETURNING` shows rows before triggers ran. Where a table has triggers, the key is returned and the row is read back.

use super::{Comparison, Dialect, Parameter, ParameterKind, Qualifier, SqlWriter, Statement};
use crate::batch::catalogue::{ColumnId, ColumnType, Entity};
use crate::batch::operation::{
    Assignment, BoundOperation, Condition, Lock, Pattern, PatternPart, Test, Work,
};
use crate::batch::value::Value;

/// SQLite.
#[derive(Debug, Clone, Copy)]
pub struct Sqlite;

/// How an operation is carried out on SQLite.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteWork {
    /// SQL text.
    pub text: String,
    /// What is bound, once for each time that the statement is run: a create runs it for each row.
    pub rounds: Vec<Vec<Parameter>>,
    /// Whether the last column of the answer says whether the row may be.
    pub judged: bool,
    /// More rows than this are too many: of all rounds together.
    pub rows_max: u64,
    /// Whether parameters are named (`:name`), as in statements of the config.
    pub named: bool,
    /// Where rows have to be read again by their keys: the answer above is the key, and this reads one row.
    pub read_back: Option<ReadBack>,
}

/// Reads one row again by its key.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadBack {
    /// Its places are the columns of the key, then `parameters`.
    pub text: String,
    /// Columns of the key.
    pub key: Vec<ColumnId>,
    /// What is bound after the key.
    pub parameters: Vec<Parameter>,
    /// Whether the last column of the answer says whether the row may be.
    pub judged: bool,
}

/// The statement of an operation. `None` when it is about an entity and names none, which no bound operation does.
pub fn work(operation: &BoundOperation) -> Option<SqliteWork> {
    if let Work::Statement { statement, parameters, limit } = &operation.work {
        let kinds = statement.parameters.iter().map(|(_, column_type)| ParameterKind::Column {
            column_type: column_type.clone(),
            native_type: "".into(),
        });
        let bound = parameters.iter().cloned().zip(kinds).map(|(value, kind)| Parameter { value, kind });
        return Some(SqliteWork {
            text: statement.sql.to_string(),
            rounds: vec![bound.collect()],
            judged: false,
            rows_max: *limit,
            named: true,
            read_back: None,
        });
    }
    let entity = operation.entity.as_deref()?;
    let returning = &operation.returning;
    Some(match &operation.work {
        Work::Create { columns, rows, must_hold } => create(entity, columns, rows, must_hold, returning),
        Work::Read { condition, sort, limit, offset, lock } => {
            let mut sql = SqlWriter::new(&Sqlite);
            sql.read(entity, returning, condition, sort, *limit, *offset, *lock);
            plain(sql.finish(), *limit)
        }
        Work::Count { condition } => {
            let mut sql = SqlWriter::new(&Sqlite);
            sql.count(entity, condition);
            plain(sql.finish(), 1)
        }
        Work::Update { set, condition, must_hold, rows_max } => {
            update(entity, set, condition, must_hold, *rows_max, returning)
        }
        Work::Delete { condition, rows_max } => {
            let mut sql = SqlWriter::new(&Sqlite);
            sql.push("DELETE FROM ");
            sql.table(entity);
            bounded(&mut sql, entity, condition, *rows_max);
            sql.push(" RETURNING ");
            sql.answered(entity, Qualifier::Bare, returning, "1");
            plain(sql.finish(), *rows_max)
        }
        Work::Statement { .. } => return None,
    })
}

fn plain(statement: Statement, rows_max: u64) -> SqliteWork {
    SqliteWork {
        text: statement.text,
        rounds: vec![statement.parameters],
        judged: false,
        rows_max,
        named: false,
        read_back: None,
    }
}

fn create(
    entity: &Entity,
    columns: &[ColumnId],
    rows: &[Vec<Value>],
    must_hold: &Condition,
    returning: &[ColumnId],
) -> SqliteWork {
    let mut sql = SqlWriter::new(&Sqlite);
    sql.push("INSERT INTO ");
    sql.table(entity);
    if columns.is_empty() {
        sql.push(" DEFAULT VALUES");
    } else {
        for (index, column) in columns.iter().enumerate() {
            sql.push(if index == 0 { " (" } else { ", " });
            sql.column(entity, Qualifier::Bare, *column);
        }
        sql.push(") VALUES (");
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                sql.push(", ");
            }
            sql.bind(Value::Null, ParameterKind::of(&entity.columns[*column]));
        }
        sql.push(")");
    }
    let (judged, read_back) = written(&mut sql, entity, must_hold, returning);
    let Statement { text, parameters } = sql.finish();
    let rounds = rows
        .iter()
        .map(|row| {
            let mut bound = parameters.clone();
            for (place, value) in bound.iter_mut().zip(row) {
                place.value = value.clone();
            }
            bound
        })
        .collect();
    SqliteWork { text, rounds, judged, rows_max: u64::MAX, named: false, read_back }
}

fn update(
    entity: &Entity,
    set: &[(ColumnId, Assignment)],
    condition: &Condition,
    must_hold: &Condition,
    rows_max: u64,
    returning: &[ColumnId],
) -> SqliteWork {
    let mut sql = SqlWriter::new(&Sqlite);
    sql.push("UPDATE ");
    sql.table(entity);
    for (index, (column, assignment)) in set.iter().enumerate() {
        sql.push(if index == 0 { " SET " } else { ", " });
        sql.column(entity, Qualifier::Bare, *column);
        sql.push(" = ");
        match assignment {
            Assignment::Value(value) => sql.bind(value.clone(), ParameterKind::of(&entity.columns[*column])),
            Assignment::Increment => {
                sql.column(entity, Qualifier::Bare, *column);
                sql.push(" + 1");
            }
        }
    }
    bounded(&mut sql, entity, condition, rows_max);
    let (judged, read_back) = written(&mut sql, entity, must_hold, returning);
    let Statement { text, parameters } = sql.finish();
    SqliteWork { text, rounds: vec![parameters], judged, rows_max, named: false, read_back }
}

/// Appends the condition so that it meets at most one row more than `rows_max`: one too many is seen, and the millions
/// that a careless condition may match are left alone.
fn bounded(sql: &mut SqlWriter<'_>, entity: &Entity, condition: &Condition, rows_max: u64) {
    let key = &entity.primary_key;
    // A key that may be null does not tell its rows apart, and a row that is named by its key is one.
    let tells_apart = !key.is_empty() && key.iter().all(|column| !entity.columns[*column].nullable);
    if !tells_apart || names_one_row(condition, key) {
        return sql.filter(condition, entity, Qualifier::Table);
    }
    let names = |sql: &mut SqlWriter<'_>, at| {
        for (index, column) in key.iter().enumerate() {
            sql.push(if index == 0 { "" } else { ", " });
            sql.column(entity, at, *column);
        }
    };
    sql.push(" WHERE (");
    names(sql, Qualifier::Table);
    let at = sql.alias();
    sql.push(") IN (SELECT ");
    names(sql, at);
    sql.push(" FROM ");
    sql.table_as(entity, at);
    sql.filter(condition, entity, at);
    sql.push(" LIMIT ");
    sql.bind_count(rows_max.saturating_add(1));
    sql.push(")");
}

/// Whether the condition has an equality for each column of the key.
fn names_one_row(condition: &Condition, key: &[ColumnId]) -> bool {
    let parts = match condition {
        Condition::All(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    key.iter().all(|column| {
        parts.iter().any(|part| matches!(part, Condition::Column(at, Test::Eq(_)) if at == column))
    })
}

/// Appends what a create or update answers, and how its rows are judged.
fn written(
    sql: &mut SqlWriter<'_>,
    entity: &Entity,
    must_hold: &Condition,
    returning: &[ColumnId],
) -> (bool, Option<ReadBack>) {
    let judged = *must_hold != Condition::True;
    sql.push(" RETURNING ");
    if !entity.has_triggers || entity.primary_key.is_empty() {
        sql.answered(entity, Qualifier::Bare, returning, "1");
        if judged {
            sql.push(", ");
            sql.condition(must_hold, entity, Qualifier::Table);
        }
        return (judged, None);
    }
    sql.answered(entity, Qualifier::Bare, &entity.primary_key, "1");

    // The key's places come first in the text, inside a subquery that is the table itself cut down to one row.
    let mut again = SqlWriter::new(&Sqlite);
    let at = again.alias();
    let key = entity.primary_key.clone();
    again.push("WITH one_row (");
    for (index, _) in key.iter().enumerate() {
        again.push(if index == 0 { "k" } else { ", k" });
        again.number(index);
    }
    again.push(") AS (VALUES (");
    for (index, column) in key.iter().enumerate() {
        again.push(if index == 0 { "" } else { ", " });
        again.bind(Value::Null, ParameterKind::of(&entity.columns[*column]));
    }
    again.push(")) SELECT ");
    again.answered(entity, at, returning, "1");
    if judged {
        again.push(", ");
        again.condition(must_hold, entity, at);
    }
    again.push(" FROM one_row JOIN ");
    again.table_as(entity, at);
    for (index, column) in key.iter().enumerate() {
        again.push(if index == 0 { " ON " } else { " AND " });
        again.column(entity, at, *column);
        again.push(" IS one_row.k");
        again.number(index);
    }
    let Statement { text, parameters } = again.finish();
    (false, Some(ReadBack { text, parameters: parameters[key.len()..].to_vec(), key, judged }))
}

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

    fn one_of(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        values: &[Value],
    ) {
        let about = &entity.columns[column];
        writer.column(entity, at, column);
        writer.push(" IN (");
        let mut first = true;
        for value in values {
            for form in forms_of(value, &about.column_type) {
                writer.push(if first { "" } else { ", " });
                writer.bind(form, ParameterKind::of(about));
                first = false;
            }
        }
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
        let kind = || ParameterKind::of(about);
        let moment = Moment::of(value, &about.column_type);
        let Some(moment) = moment else {
            writer.column(entity, at, column);
            writer.push(operator.sql());
            return writer.bind(value.clone(), kind());
        };
        // A moment stands in a file as text, with `T` or, as SQLite's own functions write it, with a space, with or
        // without `Z`. The bare comparison bounds the search for an index, the second is exact.
        match operator {
            Comparison::Eq => self.one_of(writer, entity, at, column, std::slice::from_ref(value)),
            Comparison::Ne => {
                writer.push("NOT (");
                self.one_of(writer, entity, at, column, std::slice::from_ref(value));
                writer.push(")");
            }
            Comparison::Lt | Comparison::Le | Comparison::Gt | Comparison::Ge => {
                writer.push("(");
                writer.column(entity, at, column);
                if matches!(operator, Comparison::Lt | Comparison::Le) {
                    writer.push(" <= ");
                    writer.bind(Value::Text(moment.above()), kind());
                } else {
                    writer.push(" >= ");
                    writer.bind(Value::Text(moment.below()), kind());
                }
                writer.push(" AND replace(replace(");
                writer.column(entity, at, column);
                writer.push(", ' ', 'T'), 'Z', '')");
                writer.push(operator.sql());
                writer.bind(Value::Text(moment.bare()), kind());
                writer.push(")");
            }
        }
    }

    fn lock(&self, _lock: Lock) -> &'static str {
        // One writer: nothing to lock.
        ""
    }
}

/// A day and time in its canonical form, `2026-01-02T03:04:05.5Z`, of a column that holds such.
struct Moment<'v> {
    day: &'v str,
    time: &'v str,
}

impl<'v> Moment<'v> {
    fn of(value: &'v Value, column_type: &ColumnType) -> Option<Self> {
        match (value, column_type) {
            (Value::Text(text), ColumnType::Timestamp | ColumnType::TimestampTz) => {
                let (day, time) = text.split_once('T')?;
                Some(Self { day, time: time.strip_suffix('Z').unwrap_or(time) })
            }
            _ => None,
        }
    }

    /// The form that is compared.
    fn bare(&self) -> String {
        format!("{}T{}", self.day, self.time)
    }

    /// No form of this moment or a later one is smaller.
    fn below(&self) -> String {
        format!("{} {}", self.day, self.time)
    }

    /// No form of this moment or an earlier one is larger: `Z` is larger than a point, a plus or an end.
    fn above(&self) -> String {
        let seconds = self.time.split('.').next().unwrap_or_default();
        format!("{}T{seconds}Z", self.day)
    }
}

/// The forms in which a value may stand in the file.
fn forms_of(value: &Value, column_type: &ColumnType) -> Vec<Value> {
    match Moment::of(value, column_type) {
        None => vec![value.clone()],
        Some(Moment { day, time }) => [
            format!("{day}T{time}"),
            format!("{day} {time}"),
            format!("{day}T{time}Z"),
            format!("{day} {time}Z"),
        ]
        .map(Value::Text)
        .into(),
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
