//! A database in memory, for tests: tables with keys, unique names and foreign keys, one transaction at a time, and faults
//! where a test wants them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::compare;
use super::{BatchRun, Finished, Step};
use crate::batch::catalogue::{Catalogue, ColumnId, Entity, KeyRule, RelationKind};
use crate::batch::operation::{Assignment, BoundOperation, Condition, Test, Work};
use crate::batch::value::Value;
use crate::database::{Command, DbError, DbErrorCode, Reply, Rows, StoredAnswer};
use std::cmp::Ordering;
use std::time::Duration;

/// Rows by table, and keys.
#[derive(Clone, Default, PartialEq)]
pub struct Tables {
    pub rows: BTreeMap<Arc<str>, Vec<Vec<Value>>>,
    pub keys: BTreeMap<String, StoredAnswer>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (table, rows) in &self.rows {
            let rows: Vec<String> = rows.iter().map(|row| Value::Array(row.clone()).to_json()).collect();
            writeln!(f, "{table}: {}", rows.join(" "))?;
        }
        Ok(())
    }
}

/// What a fault does to a command.
#[derive(Clone, Debug)]
pub enum Fault {
    Reply(Reply),
    /// The connection breaks before the command is carried out.
    Lost,
    /// The connection breaks after the command was carried out.
    LostAfter,
}

/// Asked before each command, with its number.
pub type Faults = Box<dyn FnMut(usize, &Command) -> Option<Fault>>;

pub struct Fake {
    pub catalogue: Arc<Catalogue>,
    pub committed: Tables,
    /// What creates of the open transaction gave.
    handed: BTreeMap<u32, Value>,
    pub open: Option<Tables>,
    savepoint: Option<Tables>,
    /// Asked before each command, with its number.
    pub faults: Faults,
    pub commands: usize,
    /// Names of the commands of each flight.
    pub flights: Vec<Vec<&'static str>>,
    pub pauses: Vec<Duration>,
    pub elapsed: Duration,
    pub commits: usize,
    pub read_only: Vec<bool>,
}

impl Fake {
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let rows = catalogue.entities.keys().map(|name| (name.clone(), Vec::new())).collect();
        Self {
            catalogue,
            committed: Tables { rows, keys: BTreeMap::new() },
            handed: BTreeMap::new(),
            open: None,
            savepoint: None,
            faults: Box::new(|_, _| None),
            commands: 0,
            flights: Vec::new(),
            pauses: Vec::new(),
            elapsed: Duration::from_millis(1),
            commits: 0,
            read_only: Vec::new(),
        }
    }

    /// Carries a run to its end.
    pub fn carry(&mut self, mut run: BatchRun) -> Finished {
        for _ in 0..10_000 {
            match run.next(self.elapsed) {
                Step::Finished => return run.into_finished().expect("a finished run has an end"),
                Step::Wait(pause) => {
                    assert!(self.open.is_none(), "a pause inside a transaction");
                    self.pauses.push(pause);
                    self.elapsed += pause;
                }
                Step::Flight(commands) => match self.flight(commands) {
                    Ok(replies) => run.accept(replies, self.elapsed),
                    Err(during_commit) => {
                        self.open = None;
                        run.lost(during_commit);
                    }
                },
            }
        }
        panic!("a run without an end");
    }

    fn flight(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, bool> {
        assert!(!commands.is_empty(), "a flight of nothing");
        self.flights.push(commands.iter().map(name).collect());
        let mut replies = Vec::new();
        let mut failed = false;
        let commits = commands.iter().any(|command| matches!(command, Command::Commit));
        for command in commands {
            if failed {
                replies.push(Reply::NotRun);
                continue;
            }
            self.commands += 1;
            let reply = match (self.faults)(self.commands, &command) {
                None => self.command(&command),
                Some(Fault::Reply(reply)) => {
                    let ends = match &reply {
                        Reply::Failed(error) if error.code == DbErrorCode::ConnectionLost => true,
                        Reply::Failed(_) => matches!(command, Command::Commit | Command::Rollback),
                        _ => matches!(command, Command::Rollback),
                    };
                    match &reply {
                        _ if ends => self.open = None,
                        Reply::Failed(_) | Reply::NotRun => {}
                        // It was carried out; the reply is that of something else.
                        _ => drop(self.command(&command)),
                    }
                    reply
                }
                // In a pipeline, COMMIT was sent with the rest.
                Some(Fault::Lost) => return Err(commits),
                Some(Fault::LostAfter) => {
                    self.command(&command);
                    return Err(commits);
                }
            };
            failed = matches!(reply, Reply::Failed(_) | Reply::NotRun);
            replies.push(reply);
        }
        Ok(replies)
    }

    fn command(&mut self, command: &Command) -> Reply {
        match command {
            Command::Begin(settings) => {
                assert!(self.open.is_none(), "a transaction inside a transaction");
                self.read_only.push(settings.read_only);
                self.open = Some(self.committed.clone());
                self.savepoint = None;
                self.handed.clear();
                return Reply::Done;
            }
            Command::Commit => {
                self.committed = self.open.take().expect("a commit ends a transaction");
                self.commits += 1;
                return Reply::Done;
            }
            Command::Rollback => {
                self.open.take().expect("a rollback ends a transaction");
                return Reply::Done;
            }
            _ => {}
        }
        let tables = self.open.as_mut().expect("a command runs in a transaction");
        match command {
            Command::TakeKey { scope, fingerprint } => {
                if let Some(stored) = tables.keys.get(scope) {
                    return Reply::Key(stored.clone());
                }
                let taken = StoredAnswer { fingerprint: *fingerprint, status: None, body: Vec::new() };
                tables.keys.insert(scope.clone(), taken);
            }
            Command::KeepAnswer { scope, answer } => {
                tables.keys.insert(scope.clone(), answer.clone());
            }
            Command::DropKey { scope } => {
                tables.keys.remove(scope);
            }
            Command::Savepoint => self.savepoint = Some(tables.clone()),
            Command::RollbackToSavepoint => *tables = self.savepoint.clone().expect("a place to go back to"),
            Command::ReleaseSavepoint => {
                self.savepoint = Some(self.savepoint.take().expect("a place to forget"))
            }
            Command::Run(operation) => {
                let operation = &taking(operation, &self.handed);
                return match apply(tables, &self.catalogue, operation) {
                    Ok(rows) => {
                        for given in &operation.handed.gives {
                            let at = operation.returning.iter().position(|column| *column == given.column);
                            let at = at.expect("what is given is returned");
                            self.handed.insert(given.name, rows.row(0)[at].clone());
                        }
                        Reply::Rows(rows)
                    }
                    Err(code) => Reply::Failed(failed(code)),
                };
            }
            Command::CheckConstraints | Command::Begin(_) | Command::Commit | Command::Rollback => {}
        }
        Reply::Done
    }
}

/// A create with what it takes over among its values.
fn taking(operation: &BoundOperation, handed: &BTreeMap<u32, Value>) -> BoundOperation {
    let mut operation = operation.clone();
    if let Work::Create { columns, rows, .. } = &mut operation.work {
        for taken in &operation.handed.takes {
            assert_eq!(rows.len(), 1);
            columns.push(taken.column);
            rows[0].push(handed[&taken.name].clone());
        }
    }
    operation
}

pub fn failed(code: DbErrorCode) -> DbError {
    DbError { code, column: None, constraint: None, native_code: "secret of the database".into() }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Begin(_) => "begin",
        Command::TakeKey { .. } => "take",
        Command::KeepAnswer { .. } => "keep",
        Command::DropKey { .. } => "drop",
        Command::Run(_) => "run",
        Command::Savepoint => "savepoint",
        Command::RollbackToSavepoint => "back",
        Command::ReleaseSavepoint => "release",
        Command::CheckConstraints => "check",
        Command::Commit => "commit",
        Command::Rollback => "rollback",
    }
}

/// Does one operation.
pub fn apply(
    tables: &mut Tables,
    catalogue: &Catalogue,
    operation: &BoundOperation,
) -> Result<Rows, DbErrorCode> {
    let entity = operation.entity.as_deref().expect("the fake has no statements");
    let before = tables.clone();
    let outcome = change(tables, catalogue, entity, operation);
    if outcome.is_err() {
        *tables = before;
    }
    let mut touched = outcome?;
    // No order is promised: a database may give rows as it likes.
    if matches!(operation.work, Work::Update { .. } | Work::Delete { .. } | Work::Create { .. }) {
        touched.reverse();
    }
    if let Work::Count { .. } = operation.work {
        return Ok(Rows { width: 1, count: 1, cells: vec![Value::Int(touched.len() as i64)], merged: 0 });
    }
    let cells = touched.iter().flat_map(|row| operation.returning.iter().map(|column| row[*column].clone()));
    let cells: Vec<Value> = cells.collect();
    Ok(Rows { width: operation.returning.len(), count: touched.len(), cells, merged: 0 })
}

fn change(
    tables: &mut Tables,
    catalogue: &Catalogue,
    entity: &Entity,
    operation: &BoundOperation,
) -> Result<Vec<Vec<Value>>, DbErrorCode> {
    let meets =
        |tables: &Tables, condition: &Condition, row: &[Value]| meets(tables, condition, row) == Some(true);
    let touched = match &operation.work {
        Work::Create { columns, rows, must_hold } => {
            let mut new = Vec::new();
            for row in rows {
                let stored = create(tables, entity, columns, row);
                tables.rows.get_mut(&entity.name).expect("a table").push(stored.clone());
                if !meets(tables, must_hold, &stored) {
                    return Err(DbErrorCode::RowForbidden);
                }
                new.push(stored);
            }
            new
        }
        Work::Read { condition, sort, limit, offset, .. } => {
            let mut found: Vec<Vec<Value>> = tables.rows[&entity.name]
                .iter()
                .filter(|row| meets(tables, condition, row))
                .cloned()
                .collect();
            found.sort_by(|left, right| {
                sort.iter().fold(Ordering::Equal, |order, key| {
                    let by = compare(&left[key.column], &right[key.column]);
                    order.then(if key.descending { by.reverse() } else { by })
                })
            });
            return Ok(found.into_iter().skip(*offset as usize).take(*limit as usize).collect());
        }
        Work::Count { condition } => {
            return Ok(tables.rows[&entity.name]
                .iter()
                .filter(|row| meets(tables, condition, row))
                .cloned()
                .collect());
        }
        Work::Update { set, condition, must_hold, rows_max } => {
            let found: Vec<bool> =
                tables.rows[&entity.name].iter().map(|row| meets(tables, condition, row)).collect();
            if found.iter().filter(|found| **found).count() as u64 > *rows_max {
                return Err(DbErrorCode::TooManyRows);
            }
            let mut changed = Vec::new();
            for (row, _) in tables
                .rows
                .get_mut(&entity.name)
                .expect("a table")
                .iter_mut()
                .zip(&found)
                .filter(|(_, found)| **found)
            {
                for (column, assignment) in set {
                    row[*column] = match (assignment, &row[*column]) {
                        (Assignment::Value(value), _) => value.clone(),
                        (Assignment::Increment, Value::Int(number)) => Value::Int(number + 1),
                        (Assignment::Increment, _) => Value::Int(1),
                    };
                }
                changed.push(row.clone());
            }
            if changed.iter().any(|row| !meets(tables, must_hold, row)) {
                return Err(DbErrorCode::RowForbidden);
            }
            changed
        }
        Work::Delete { condition, rows_max } => {
            let rows = tables.rows[&entity.name].clone();
            let (gone, kept): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| meets(tables, condition, row));
            if gone.len() as u64 > *rows_max {
                return Err(DbErrorCode::TooManyRows);
            }
            tables.rows.insert(entity.name.clone(), kept);
            gone
        }
        Work::Statement { .. } => unreachable!("the fake has no statements"),
    };
    judge_constraints(tables, catalogue)?;
    Ok(touched)
}

fn create(tables: &Tables, entity: &Entity, columns: &[ColumnId], row: &[Value]) -> Vec<Value> {
    let mut stored = vec![Value::Null; entity.columns.len()];
    for (column, value) in columns.iter().zip(row) {
        stored[*column] = value.clone();
    }
    for column in &entity.primary_key {
        if entity.columns[*column].key == Some(KeyRule::Auto) {
            let numbers = tables.rows[&entity.name].iter().filter_map(|row| match row[*column] {
                Value::Int(number) => Some(number),
                _ => None,
            });
            stored[*column] = Value::Int(numbers.max().unwrap_or(0) + 1);
        }
    }
    stored
}

/// Not null, keys, the unique column `name`, and foreign keys, all of all tables.
fn judge_constraints(tables: &Tables, catalogue: &Catalogue) -> Result<(), DbErrorCode> {
    for (name, rows) in &tables.rows {
        let entity = &catalogue.entities[name];
        let unique = entity.column_id("name").map(|column| vec![column]);
        let mut keys = vec![entity.primary_key.clone()];
        keys.extend(unique);
        for key in keys {
            let mut seen = std::collections::HashSet::new();
            for row in rows {
                if !seen.insert(key.iter().map(|column| row[*column].to_json()).collect::<Vec<_>>()) {
                    return Err(DbErrorCode::UniqueViolation);
                }
            }
        }
        for row in rows {
            if entity.columns.iter().zip(row).any(|(column, value)| !column.nullable && value.is_null()) {
                return Err(DbErrorCode::NotNullViolation);
            }
            for relation in entity.relations.iter().filter(|relation| relation.kind == RelationKind::Object) {
                let points = |other: &&Vec<Value>| {
                    relation.columns.iter().all(|(here, there)| row[*here] == other[*there])
                };
                let free = relation.columns.iter().any(|(here, _)| row[*here].is_null());
                if !free && !tables.rows[&relation.entity].iter().any(|other| points(&other)) {
                    return Err(DbErrorCode::ForeignKeyViolation);
                }
            }
        }
    }
    Ok(())
}

/// SQL's three-valued logic: `None` is unknown.
fn meets(tables: &Tables, condition: &Condition, row: &[Value]) -> Option<bool> {
    match condition {
        Condition::True => Some(true),
        Condition::False => Some(false),
        Condition::All(parts) => {
            parts.iter().try_fold(true, |all, part| Some(all & meets(tables, part, row)?))
        }
        Condition::Any(parts) => Some(parts.iter().any(|part| meets(tables, part, row) == Some(true))),
        Condition::Not(part) => meets(tables, part, row).map(|met| !met),
        Condition::Column(column, test) => passes(&row[*column], test),
        Condition::Related { entity, columns, condition } => {
            Some(tables.rows[&entity.name].iter().any(|other| {
                columns.iter().all(|(here, there)| row[*here] == other[*there])
                    && meets(tables, condition, other) == Some(true)
            }))
        }
    }
}

fn passes(value: &Value, test: &Test) -> Option<bool> {
    let by = |other: &Value| (!value.is_null() && !other.is_null()).then(|| compare(value, other));
    match test {
        Test::Eq(other) => by(other).map(Ordering::is_eq),
        Test::Ne(other) => by(other).map(Ordering::is_ne),
        Test::Lt(other) => by(other).map(Ordering::is_lt),
        Test::Le(other) => by(other).map(Ordering::is_le),
        Test::Gt(other) => by(other).map(Ordering::is_gt),
        Test::Ge(other) => by(other).map(Ordering::is_ge),
        Test::In(others) => Some(others.iter().any(|other| by(other) == Some(Ordering::Equal))),
        Test::NotIn(others) => Some(others.iter().all(|other| by(other).is_some_and(Ordering::is_ne))),
        Test::Between(low, high) => Some(by(low)?.is_ge() && by(high)?.is_le()),
        Test::NotBetween(low, high) => Some(by(low)?.is_lt() || by(high)?.is_gt()),
        Test::IsNull => Some(value.is_null()),
        Test::NotNull => Some(!value.is_null()),
        Test::Like(_) | Test::NotLike(_) => unreachable!("the fake has no patterns"),
    }
}
