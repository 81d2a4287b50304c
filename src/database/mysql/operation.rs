//! One operation as the statements that it takes.
//!
//! Promises: the rows of a reply are the server's own, read after the write (or, for a delete, before it) under the locks
//! of the write; a row that must not be is told as [`DbErrorCode::RowForbidden`], and whatever cannot be told for want of a
//! primary key is refused before anything is written.

use mysql_async::Value as Wire;

use super::connection::{Connection, Done, count_of, refused};
use super::error::Failure;
use super::value::decode;
use crate::batch::catalogue::{ColumnId, ColumnType, Entity, KeyRule};
use crate::batch::operation::{Assignment, BoundOperation, Condition, Work};
use crate::batch::sql::Statement;
use crate::batch::sql::mysql::{self as sql, Flavor, Key};
use crate::batch::value::Value;
use crate::database::{Command, DbErrorCode, Rows};

/// Values of one statement: the protocol has room for 65,535.
const PARAMETERS: usize = 60_000;

/// Rows of creates that become one statement.
const MERGED_ROWS: usize = 1_000;

/// The creates at the start of these commands that can be one statement: same entity, same columns, same answer, nothing
/// that has to be judged for each.
pub(super) fn alike_creates(commands: &[Command]) -> Vec<&BoundOperation> {
    let mut alike: Vec<&BoundOperation> = Vec::new();
    let mut values = 0;
    let mut rows_so_far = 0;
    for command in commands {
        let Command::Run(operation) = command else { break };
        let Some(entity) = &operation.entity else { break };
        let Work::Create { columns, rows, must_hold: Condition::True } = &operation.work else { break };
        values += columns.len() * rows.len();
        rows_so_far += rows.len();
        let like_the_first = alike.first().is_none_or(|first| {
            let Work::Create { columns: others, .. } = &first.work else { return false };
            first.entity == operation.entity && others == columns && first.returning == operation.returning
        });
        if entity.has_triggers || !like_the_first || values > PARAMETERS || rows_so_far > MERGED_ROWS {
            break;
        }
        alike.push(operation);
    }
    alike
}

impl Connection {
    /// Creates that are alike, as one statement. It fails as a whole, and has changed nothing then.
    pub(super) async fn create_together(&mut self, alike: &[&BoundOperation]) -> Done<Vec<Rows>> {
        let rows_of = |operation: &BoundOperation| match &operation.work {
            Work::Create { rows, .. } => rows.len(),
            _ => 0,
        };
        let rows: Vec<&[Value]> = alike
            .iter()
            .filter_map(|operation| match &operation.work {
                Work::Create { rows, .. } => Some(rows.iter().map(Vec::as_slice)),
                _ => None,
            })
            .flatten()
            .collect();
        let (Some(first), count) = (alike.first(), rows.len()) else { return Ok(Vec::new()) };
        let (Some(entity), Work::Create { columns, .. }) = (first.entity.as_deref(), &first.work) else {
            return Err(refused(DbErrorCode::Other, "no entity"));
        };
        let statement =
            sql::create(Flavor::MariaDb, entity, columns, &rows, &first.returning, &Condition::True);
        let all = self.answer(&statement, entity, &first.returning).await?;
        if all.count != count {
            // Nothing that is known swallows a row without a trigger. Whose row it was could not be told.
            return Err(Failure::Lost);
        }
        let mut cells = all.cells.into_iter();
        let part = |operation: &&BoundOperation| {
            let own = rows_of(operation);
            Rows {
                width: all.width,
                count: own,
                cells: cells.by_ref().take(own * all.width).collect(),
                merged: count - own,
            }
        };
        Ok(alike.iter().map(part).collect())
    }

    /// Does it.
    pub(super) async fn operation(&mut self, operation: &BoundOperation) -> Done<Rows> {
        if let Work::Statement { statement, parameters, limit } = &operation.work {
            return self.named_statement(statement, parameters, *limit, &operation.returning).await;
        }
        let Some(entity) = operation.entity.as_deref() else {
            return Err(refused(DbErrorCode::Other, "no entity"));
        };
        let returning = &operation.returning;
        match &operation.work {
            Work::Create { columns, rows, must_hold } => {
                let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
                self.create(entity, columns, &rows, returning, must_hold).await
            }
            Work::Read { condition, sort, limit, offset, lock } => {
                let statement = sql::read(entity, returning, condition, sort, (*limit, *offset), *lock);
                self.answer(&statement, entity, returning).await
            }
            Work::Count { condition } => {
                let rows = self.rows(&sql::count(entity, condition), 1).await?;
                let count = rows.into_iter().flatten().next().map_or(0, count_of);
                let count = Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
                Ok(Rows { width: 1, count: 1, cells: vec![count], merged: 0 })
            }
            Work::Update { set, condition, must_hold, rows_max } => {
                self.update(entity, set, condition, must_hold, *rows_max, returning).await
            }
            Work::Delete { condition, rows_max } => {
                self.delete(entity, condition, *rows_max, returning).await
            }
            Work::Statement { .. } => Err(refused(DbErrorCode::Other, "statement")),
        }
    }

    /// New rows with the same columns, in their order.
    pub(super) async fn create(
        &mut self,
        entity: &Entity,
        columns: &[ColumnId],
        rows: &[&[Value]],
        returning: &[ColumnId],
        must_hold: &Condition,
    ) -> Done<Rows> {
        match self.server.flavor {
            Flavor::MariaDb => {
                let mut all = Rows { width: returning.len(), ..Rows::default() };
                for part in rows.chunks((PARAMETERS / columns.len().max(1)).max(1)) {
                    let statement = sql::create(Flavor::MariaDb, entity, columns, part, returning, must_hold);
                    let written = self.written(&statement, entity, returning, must_hold).await?;
                    all.count += written.count;
                    all.cells.extend(written.cells);
                }
                Ok(all)
            }
            Flavor::Mysql => {
                let mut all = Rows { width: returning.len(), ..Rows::default() };
                for row in rows {
                    let one = self.create_and_read_back(entity, columns, row, returning, must_hold).await?;
                    all.count += one.count;
                    all.cells.extend(one.cells);
                }
                Ok(all)
            }
        }
    }

    async fn create_and_read_back(
        &mut self,
        entity: &Entity,
        columns: &[ColumnId],
        row: &[Value],
        returning: &[ColumnId],
        must_hold: &Condition,
    ) -> Done<Rows> {
        let findable = key_of_new_row(entity, columns, row, Some(0)).is_some();
        if !findable && *must_hold != Condition::True {
            // Whether the caller may have such a row could not be told.
            return Err(refused(DbErrorCode::RowForbidden, "no key to read back by"));
        }
        let (created, number) =
            self.execute(&sql::create(Flavor::Mysql, entity, columns, &[row], returning, must_hold)).await?;
        match key_of_new_row(entity, columns, row, number) {
            Some(key) if created > 0 => {
                self.written(
                    &sql::read_back(entity, &[key], returning, must_hold),
                    entity,
                    returning,
                    must_hold,
                )
                .await
            }
            _ => Ok(Rows { width: returning.len(), ..Rows::default() }),
        }
    }

    async fn update(
        &mut self,
        entity: &Entity,
        set: &[(ColumnId, Assignment)],
        condition: &Condition,
        must_hold: &Condition,
        rows_max: u64,
        returning: &[ColumnId],
    ) -> Done<Rows> {
        let keys = self.locked(entity, &entity.primary_key, condition, rows_max).await?;
        let keys = keys_of(keys, entity, 0);
        if keys.is_empty() {
            return Ok(Rows { width: returning.len(), ..Rows::default() });
        }
        self.execute(&sql::update(entity, set, &keys)).await?;
        if returning.is_empty() && *must_hold == Condition::True {
            return Ok(Rows { count: keys.len(), ..Rows::default() });
        }
        let keys = keys_after(entity, set, keys);
        let statement = sql::read_back(entity, &keys, returning, must_hold);
        let rows = self.written(&statement, entity, returning, must_hold).await?;
        if *must_hold != Condition::True && rows.count != keys.len() {
            // A trigger moved a row to another key, and whether the caller may have it there could not be told.
            return Err(refused(DbErrorCode::RowForbidden, "row not found again"));
        }
        Ok(rows)
    }

    async fn delete(
        &mut self,
        entity: &Entity,
        condition: &Condition,
        rows_max: u64,
        returning: &[ColumnId],
    ) -> Done<Rows> {
        let columns: Vec<ColumnId> = returning.iter().chain(&entity.primary_key).copied().collect();
        let mut rows = self.locked(entity, &columns, condition, rows_max).await?;
        if !rows.is_empty() {
            let keys = rows.iter_mut().map(|row| row.split_off(returning.len())).collect();
            self.execute(&sql::delete(entity, &keys_of(keys, entity, 0))).await?;
        }
        Ok(decoded(rows, entity, returning))
    }

    /// Columns of the rows that a write is about, which are locked by that.
    async fn locked(
        &mut self,
        entity: &Entity,
        columns: &[ColumnId],
        condition: &Condition,
        rows_max: u64,
    ) -> Done<Vec<Vec<Wire>>> {
        if entity.primary_key.is_empty() {
            return Err(refused(DbErrorCode::Other, "no primary key"));
        }
        let rows = self.rows(&sql::lock_keys(entity, columns, condition, rows_max), usize::MAX).await?;
        if u64::try_from(rows.len()).unwrap_or(u64::MAX) > rows_max {
            return Err(refused(DbErrorCode::TooManyRows, "rows_max"));
        }
        Ok(rows)
    }

    async fn answer(&mut self, statement: &Statement, entity: &Entity, returning: &[ColumnId]) -> Done<Rows> {
        Ok(decoded(self.rows(statement, usize::MAX).await?, entity, returning))
    }

    /// Rows that were written, each of which must hold.
    async fn written(
        &mut self,
        statement: &Statement,
        entity: &Entity,
        returning: &[ColumnId],
        must_hold: &Condition,
    ) -> Done<Rows> {
        let mut rows = self.rows(statement, usize::MAX).await?;
        if *must_hold != Condition::True {
            for row in &mut rows {
                let holds = row.pop().map_or(0, count_of);
                if holds != 1 {
                    return Err(refused(DbErrorCode::RowForbidden, "row filter"));
                }
            }
        }
        Ok(decoded(rows, entity, returning))
    }
}

fn decoded(rows: Vec<Vec<Wire>>, entity: &Entity, returning: &[ColumnId]) -> Rows {
    let mut cells = Vec::with_capacity(rows.len() * returning.len());
    let count = rows.len();
    for row in rows {
        // A row of no columns has one all the same, which zip drops.
        cells.extend(
            row.into_iter().zip(returning).map(|(wire, id)| decode(wire, &entity.columns[*id].column_type)),
        );
    }
    Rows { width: returning.len(), count, cells, merged: 0 }
}

/// Keys, from rows that have them from a place on.
fn keys_of(rows: Vec<Vec<Wire>>, entity: &Entity, from: usize) -> Vec<Key> {
    let key = |row: Vec<Wire>| {
        let cells = row.into_iter().skip(from).zip(&entity.primary_key);
        cells.map(|(wire, id)| decode(wire, &entity.columns[*id].column_type)).collect()
    };
    rows.into_iter().map(key).collect()
}

/// Keys of the rows once `set` is stored.
fn keys_after(entity: &Entity, set: &[(ColumnId, Assignment)], mut keys: Vec<Key>) -> Vec<Key> {
    for (place, column) in entity.primary_key.iter().enumerate() {
        for (_, assignment) in set.iter().filter(|(id, _)| id == column) {
            for key in &mut keys {
                match (assignment, &key[place]) {
                    (Assignment::Value(value), _) => key[place] = value.clone(),
                    (Assignment::Increment, Value::Int(number)) => {
                        key[place] = Value::Int(number.saturating_add(1))
                    }
                    (Assignment::Increment, _) => {}
                }
            }
        }
    }
    keys
}

/// The key of a new row; `None` when the database made it in a way that it does not tell.
fn key_of_new_row(entity: &Entity, columns: &[ColumnId], row: &[Value], number: Option<u64>) -> Option<Key> {
    if entity.primary_key.is_empty() {
        return None;
    }
    let part = |id: &ColumnId| {
        let column = &entity.columns[*id];
        let sent = columns.iter().position(|sent| sent == id).map(|place| row[place].clone());
        match sent {
            Some(value) if !value.is_null() => Some(value),
            _ if matches!(column.column_type, ColumnType::Int { .. })
                && column.key == Some(KeyRule::Auto) =>
            {
                number.map(|number| {
                    i64::try_from(number)
                        .map_or_else(|_| Value::Number(number.to_string().into()), Value::Int)
                })
            }
            _ => None,
        }
    };
    entity.primary_key.iter().map(part).collect()
}
