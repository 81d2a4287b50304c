//! Statements of MariaDB and MySQL, from bound operations.
//!
//! Promises: the text depends on neither the server's `sql_mode` nor its version beyond [`Flavor`]; equal shapes give equal
//! texts, so that the server's prepared statements are used again (lists of keys are filled up to a power of two); decimals
//! are compared as decimals, and patterns by the case of their letters whatever a column's collation says. Equality and
//! order do follow the collation.
//!
//! There is no `RETURNING` for updates anywhere and none at all on MySQL, so an update is three statements ([`lock_keys`],
//! [`update`], [`read_back`]) and a delete two. `read_back` locks the rows that are locked already: a plain read could show
//! the snapshot of the transaction instead of the rows just written.

use super::{Comparison, Dialect, ParameterKind, Qualifier, SqlWriter, Statement, like_text};
use crate::batch::catalogue::{Column, ColumnId, ColumnType, Entity, KeyRule};
use crate::batch::operation::{Assignment, Condition, Lock, Pattern, SortKey};
use crate::batch::value::Value;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MariaDB 10.5 or later: a create answers its rows by itself.
    MariaDb,
    /// MySQL 8: a create is read back by its key.
    Mysql,
}

/// Before what would be a wildcard in a pattern: a character that no `sql_mode` gives a meaning to.
const ESCAPE: char = '|';

/// A key of a row: one value for each column of the primary key, in its order.
pub type Key = Vec<Value>;

/// What MariaDB and MySQL write differently from others.
struct Mysql;

impl Dialect for Mysql {
    fn quote(&self) -> char {
        '`'
    }

    fn place(&self, writer: &mut SqlWriter<'_>, _: usize, _: &ParameterKind) {
        writer.push("?");
    }

    /// The escape is [`ESCAPE`].
    fn like(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        pattern: &Pattern,
    ) {
        writer.push("CONVERT(");
        writer.column(entity, at, column);
        writer.push(" USING utf8mb4) COLLATE utf8mb4_bin LIKE ");
        writer.bind(Value::Text(like_text(pattern, ESCAPE)), ParameterKind::Text);
        writer.push(" ESCAPE '|'");
    }

    fn one_of(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        values: &[Value],
    ) {
        writer.column(entity, at, column);
        writer.push(" IN (");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                writer.push(", ");
            }
            compared(writer, &entity.columns[column], value);
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
        writer.column(entity, at, column);
        writer.push(operator.sql());
        compared(writer, &entity.columns[column], value);
    }

    fn answered(&self, writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, column: ColumnId) {
        if is_geometry(&entity.columns[column]) {
            writer.push("ST_AsText(");
            writer.column(entity, at, column);
            writer.push(")");
        } else {
            writer.column(entity, at, column);
        }
    }

    fn nulls_last(&self) -> Option<&'static str> {
        None
    }

    fn lock(&self, lock: Lock) -> &'static str {
        match lock {
            Lock::None => "",
            // Both servers know this form; `FOR SHARE` only one of them.
            Lock::Share => " LOCK IN SHARE MODE",
            Lock::Update => " FOR UPDATE",
        }
    }
}

/// New rows. On MariaDB the answer has `returning`, and one more column where `must_hold` is not `True`: whether it holds.
/// On MySQL it has no columns.
pub fn create(
    flavor: Flavor,
    entity: &Entity,
    columns: &[ColumnId],
    rows: &[&[Value]],
    returning: &[ColumnId],
    must_hold: &Condition,
) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    // A key that comes from a sequence is not sent, and its column need not have the sequence as its default.
    let sequences: Vec<(ColumnId, &str)> = entity
        .columns
        .iter()
        .enumerate()
        .filter(|(id, _)| !columns.contains(id))
        .filter_map(|(id, column)| match &column.key {
            Some(KeyRule::Sequence(name)) => Some((id, &**name)),
            _ => None,
        })
        .collect();
    writer.push("INSERT INTO ");
    writer.table(entity);
    writer.push(" (");
    let all = columns.iter().copied().chain(sequences.iter().map(|(id, _)| *id));
    list(&mut writer, all, |writer, id| writer.column(entity, Qualifier::Bare, id));
    writer.push(") VALUES ");
    list(&mut writer, rows, |writer, row| {
        writer.push("(");
        let cells = columns.iter().zip(*row).map(Cell::Sent);
        let cells = cells.chain(sequences.iter().map(|(_, name)| Cell::Next(name)));
        list(writer, cells, |writer, cell| match cell {
            Cell::Sent((id, value)) => stored(writer, &entity.columns[*id], value),
            Cell::Next(name) => {
                writer.push("NEXTVAL(");
                writer.identifier(name);
                writer.push(")");
            }
        });
        writer.push(")");
    });
    if flavor == Flavor::MariaDb {
        writer.push(" RETURNING ");
        // An INSERT has no alias: its columns go by the table's own name.
        answer(&mut writer, entity, Qualifier::Table, returning, must_hold);
    }
    writer.finish()
}

/// A value of a row that is created.
enum Cell<'a> {
    Sent((&'a ColumnId, &'a Value)),
    Next(&'a str),
}

/// Rows as they are.
pub fn read(
    entity: &Entity,
    returning: &[ColumnId],
    condition: &Condition,
    sort: &[SortKey],
    (limit, offset): (u64, u64),
    lock: Lock,
) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    writer.read(entity, returning, condition, sort, limit, offset, lock);
    writer.finish()
}

/// How many rows.
pub fn count(entity: &Entity, condition: &Condition) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    writer.count(entity, condition);
    writer.finish()
}

/// Rows that an update or delete is about, locked: `columns` of them, in the order of the primary key, and one more than
/// `rows_max` at most, so that too many can be told.
pub fn lock_keys(entity: &Entity, columns: &[ColumnId], condition: &Condition, rows_max: u64) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    let at = writer.alias();
    writer.push("SELECT ");
    writer.answered(entity, at, columns, "1");
    writer.push(" FROM ");
    writer.table_as(entity, at);
    writer.filter(condition, entity, at);
    order_by_key(&mut writer, entity, at);
    writer.push(" LIMIT ");
    writer.bind_count(rows_max.saturating_add(1));
    writer.push(" FOR UPDATE");
    writer.finish()
}

/// Changes the rows of these keys.
pub fn update(entity: &Entity, set: &[(ColumnId, Assignment)], keys: &[Key]) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    writer.push("UPDATE ");
    writer.table(entity);
    writer.push(" SET ");
    list(&mut writer, set, |writer, (id, assignment)| {
        writer.column(entity, Qualifier::Bare, *id);
        writer.push(" = ");
        match assignment {
            Assignment::Value(value) => stored(writer, &entity.columns[*id], value),
            Assignment::Increment => {
                writer.column(entity, Qualifier::Bare, *id);
                writer.push(" + 1");
            }
        }
    });
    writer.push(" WHERE ");
    one_of_keys(&mut writer, entity, Qualifier::Bare, keys);
    writer.finish()
}

/// Removes the rows of these keys.
pub fn delete(entity: &Entity, keys: &[Key]) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    writer.push("DELETE FROM ");
    writer.table(entity);
    writer.push(" WHERE ");
    one_of_keys(&mut writer, entity, Qualifier::Bare, keys);
    writer.finish()
}

/// Rows of these keys as they are now, in the order of the primary key; one more column at the end where `must_hold` is
/// not `True`: whether it holds.
pub fn read_back(entity: &Entity, keys: &[Key], returning: &[ColumnId], must_hold: &Condition) -> Statement {
    let mut writer = SqlWriter::new(&Mysql);
    let at = writer.alias();
    writer.push("SELECT ");
    answer(&mut writer, entity, at, returning, must_hold);
    writer.push(" FROM ");
    writer.table_as(entity, at);
    writer.push(" WHERE ");
    one_of_keys(&mut writer, entity, at, keys);
    order_by_key(&mut writer, entity, at);
    writer.push(" FOR UPDATE");
    writer.finish()
}

fn list<T>(
    writer: &mut SqlWriter<'_>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut SqlWriter<'_>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            writer.push(", ");
        }
        each(writer, item);
    }
}

/// What a written row is answered with. Without columns there is still one, so that rows can be counted.
fn answer(
    writer: &mut SqlWriter<'_>,
    entity: &Entity,
    at: Qualifier,
    columns: &[ColumnId],
    must_hold: &Condition,
) {
    writer.answered(entity, at, columns, if *must_hold == Condition::True { "1" } else { "" });
    if *must_hold != Condition::True {
        writer.push(if columns.is_empty() { "" } else { ", " });
        writer.condition(must_hold, entity, at);
    }
}

fn order_by_key(writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier) {
    if !entity.primary_key.is_empty() {
        writer.push(" ORDER BY ");
        list(writer, &entity.primary_key, |writer, id| writer.column(entity, at, *id));
    }
}

fn one_of_keys(writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, keys: &[Key]) {
    if keys.is_empty() {
        return writer.push("1 = 0");
    }
    // The last key again and again: 33 and 60 keys are one prepared statement.
    let filled = keys.iter().chain(keys.last().into_iter().cycle()).take(keys.len().next_power_of_two());
    let parts = &entity.primary_key;
    let group = |writer: &mut SqlWriter<'_>, mark| {
        if parts.len() > 1 {
            writer.push(mark);
        }
    };
    group(writer, "(");
    list(writer, parts, |writer, id| writer.column(entity, at, *id));
    group(writer, ")");
    writer.push(" IN (");
    list(writer, filled, |writer, key| {
        group(writer, "(");
        list(writer, parts.iter().zip(key), |writer, (id, value)| {
            compared(writer, &entity.columns[*id], value)
        });
        group(writer, ")");
    });
    writer.push(")");
}

/// The place of a value that a column is compared with. A decimal in text form would be compared as a float.
fn compared(writer: &mut SqlWriter<'_>, column: &Column, value: &Value) {
    let decimal = match value {
        Value::Number(text) if column.column_type == ColumnType::Decimal => Some(&**text),
        Value::Text(text) if column.column_type == ColumnType::Decimal => Some(text.as_str()),
        _ => None,
    };
    match decimal {
        Some(text) => {
            writer.push("CAST(");
            writer.bind(value.clone(), ParameterKind::of(column));
            writer.push(" AS DECIMAL(65,");
            writer.number(scale(text));
            writer.push("))");
        }
        None => writer.bind(value.clone(), ParameterKind::of(column)),
    }
}

/// The place of a value that is stored in a column.
fn stored(writer: &mut SqlWriter<'_>, column: &Column, value: &Value) {
    let geometry = is_geometry(column);
    writer.push(if geometry { "ST_GeomFromText(" } else { "" });
    writer.bind(value.clone(), ParameterKind::of(column));
    writer.push(if geometry { ")" } else { "" });
}

/// Geometry goes in and out as text (WKT); its bytes mean nothing to a client.
fn is_geometry(column: &Column) -> bool {
    const GEOMETRIES: [&str; 9] = [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    ];
    column.column_type == ColumnType::Other && GEOMETRIES.contains(&&*column.native_type)
}

/// Digits after the point that a decimal needs, within what a DECIMAL can have.
fn scale(text: &str) -> usize {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.trim().len());
    let exponent: i64 = exponent.trim().parse().unwrap_or(0);
    let needed = i64::try_from(fraction).unwrap_or(30).saturating_sub(exponent);
    usize::try_from(needed.clamp(0, 30)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::batch::operation::PatternPart;

    #[rstest]
    #[case("10", 0)]
    #[case("10.50", 2)]
    #[case("1e3", 0)]
    #[case("1.25e1", 1)]
    #[case("1e-4", 4)]
    #[case("1e-99", 30)]
    fn a_decimal_is_compared_with_all_its_digits(#[case] text: &str, #[case] digits: usize) {
        assert_eq!(scale(text), digits);
    }

    #[test]
    fn wildcards_of_the_database_are_plain_text_in_a_pattern() {
        let pattern =
            Pattern(vec![PatternPart::Literal("100%|_\\".to_owned()), PatternPart::Any, PatternPart::One]);

        assert_eq!(like_text(&pattern, ESCAPE), "100|%|||_\\%_");
    }
}
