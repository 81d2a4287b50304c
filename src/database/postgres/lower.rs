//! From commands to what is sent, piece by piece, and where a wait is needed in between.
//!
//! Promises: whatever ends a transaction or forgets a savepoint is not sent before everything is judged that PostgreSQL
//! itself does not fail for: a row that may not be there, too many rows, a key that is taken.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::merge::{self, Merged};
use crate::batch::catalogue::{ColumnType, Entity};
use crate::batch::operation::{BoundOperation, Condition, Test, Work};
use crate::batch::sql::postgres::{has_verdict, statements};
use crate::batch::sql::{Parameter, ParameterKind, Statement};
use crate::batch::value::Value;
use crate::database::{Command, Identity, Isolation, StoredAnswer, TransactionSettings};

/// What the database is like, for every connection to it.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Whether creates are merged and flights pipelined.
    pub(super) merge: bool,
    /// The table of idempotency keys, quoted; or why there is none.
    pub(super) key_table: Result<Arc<str>, Arc<str>>,
    /// Schema and table of those whose numbers need not rise: their creates are not merged.
    pub(super) unordered: Arc<HashSet<(String, String)>>,
}

impl About {
    pub(super) fn is_ordered(&self, entity: &Entity) -> bool {
        let schema = entity.schema.as_deref().unwrap_or_default().to_owned();
        !self.unordered.contains(&(schema, entity.table.to_string()))
    }
}

/// Something that is sent.
#[derive(Debug)]
pub(super) enum Part {
    /// Text of this source, without parameters and without rows: statements divided by `; `.
    Text(String),
    /// A statement whose rows are read: their types, and whether a verdict comes last.
    Query(Query),
}

/// A statement whose rows are read.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) statement: Statement,
    pub(super) answered: Vec<ColumnType>,
    pub(super) verdict: bool,
    pub(super) rows_max: u64,
}

/// What a piece is, for whoever reads its answers.
#[derive(Debug)]
pub(super) enum Kind {
    Begin,
    /// Nothing is read.
    Plain,
    Commit,
    Rollback,
    /// An operation's rows, `width` cells each.
    Rows {
        width: usize,
    },
    Merged(Merged),
    TakeKey,
    /// It cannot be done, and why.
    Refused(Arc<str>),
}

/// One command, or several as one statement.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) commands: Range<usize>,
    pub(super) parts: Vec<Part>,
    pub(super) kind: Kind,
    /// A wait comes before it.
    pub(super) waits: bool,
}

/// What a connection knows of its transaction when a flight begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) open: bool,
    pub(super) identity: Option<Identity>,
    /// The session's own time limits, where it has some: of a statement, a lock, and idleness.
    pub(super) timeouts: Option<[Duration; 3]>,
}

/// Pieces of a flight, from command `from` on. `standing` is what it will be when all of it succeeds.
pub(super) fn pieces(
    commands: &[Command],
    from: usize,
    merges: bool,
    about: &About,
    standing: &mut Standing,
) -> Vec<Piece> {
    let mut groups = match merges {
        true => merge::merged(commands, &|entity| about.is_ordered(entity)),
        false => Vec::new(),
    }
    .into_iter()
    .filter(|group| group.commands.start >= from)
    .peekable();
    // A flight that opens its transaction can be repeated from the start; any other goes back to a savepoint.
    let opens = matches!(commands.first(), Some(Command::Begin(_))) && from == 0;
    let mut pieces = Vec::with_capacity(commands.len() - from);
    // Something of the flight is judged by us, or is merged and may have to be taken back.
    let mut unjudged = false;
    let mut at = from;
    while at < commands.len() {
        let piece = match groups.next_if(|group| group.commands.start == at) {
            Some(group) => {
                let verdict = verdict_of(&commands[at]);
                unjudged |= verdict || !opens || group.is_unsure;
                merged_piece(group, verdict, opens)
            }
            None => {
                let command = &commands[at];
                let seals =
                    matches!(command, Command::Commit | Command::Savepoint | Command::ReleaseSavepoint);
                let waits = !about.merge || (seals && unjudged);
                if waits {
                    unjudged = false;
                }
                unjudged |= judged_by_us(command);
                let (kind, parts) = lower(command, about, standing);
                Piece { commands: at..at + 1, parts, kind, waits }
            }
        };
        at = piece.commands.end;
        pieces.push(piece);
    }
    pieces
}

fn verdict_of(command: &Command) -> bool {
    matches!(command, Command::Run(operation) if has_verdict(operation))
}

fn merged_piece(group: Merged, verdict: bool, opens: bool) -> Piece {
    let query = Part::Query(Query {
        statement: group.statement.clone(),
        answered: group.answered.clone(),
        verdict,
        rows_max: u64::MAX,
    });
    let parts = if opens {
        vec![query]
    } else {
        vec![text("SAVEPOINT penstock_merge"), query, text("RELEASE SAVEPOINT penstock_merge")]
    };
    Piece { commands: group.commands.clone(), parts, kind: Kind::Merged(group), waits: false }
}

/// Whether the command can fail without a failure of PostgreSQL.
fn judged_by_us(command: &Command) -> bool {
    match command {
        Command::TakeKey { .. } => true,
        Command::Run(operation) => {
            let many = match (&operation.work, &operation.entity) {
                (Work::Update { condition, .. } | Work::Delete { condition, .. }, Some(entity)) => {
                    !is_one_row(condition, entity)
                }
                _ => false,
            };
            many || has_verdict(operation)
        }
        _ => false,
    }
}

/// Whether the condition names the whole primary key by plain equality.
fn is_one_row(condition: &Condition, entity: &Entity) -> bool {
    let names = |key: &usize| match condition {
        Condition::Column(column, Test::Eq(_)) => column == key,
        Condition::All(parts) => {
            parts.iter().any(|part| matches!(part, Condition::Column(column, Test::Eq(_)) if column == key))
        }
        _ => false,
    };
    *condition == Condition::False || (!entity.primary_key.is_empty() && entity.primary_key.iter().all(names))
}

fn text(sql: &str) -> Part {
    Part::Text(sql.to_owned())
}

fn lower(command: &Command, about: &About, standing: &mut Standing) -> (Kind, Vec<Part>) {
    match command {
        Command::Begin(settings) => (Kind::Begin, begin(settings, standing)),
        Command::Commit => {
            standing.open = false;
            (Kind::Commit, vec![text("COMMIT")])
        }
        Command::Rollback => {
            standing.open = false;
            (Kind::Rollback, vec![text("ROLLBACK")])
        }
        Command::Savepoint => (Kind::Plain, vec![text("SAVEPOINT penstock")]),
        Command::RollbackToSavepoint => (Kind::Plain, vec![text("ROLLBACK TO SAVEPOINT penstock")]),
        Command::ReleaseSavepoint => (Kind::Plain, vec![text("RELEASE SAVEPOINT penstock")]),
        Command::CheckConstraints => (Kind::Plain, vec![text("SET CONSTRAINTS ALL IMMEDIATE")]),
        Command::Run(operation) => run(operation),
        Command::TakeKey { .. } | Command::KeepAnswer { .. } | Command::DropKey { .. } => {
            let table = match &about.key_table {
                Ok(table) => table,
                Err(why) => return (Kind::Refused(Arc::clone(why)), Vec::new()),
            };
            let (kind, query) = match command {
                Command::TakeKey { scope, fingerprint } => {
                    (Kind::TakeKey, take_key(table, scope, fingerprint))
                }
                Command::KeepAnswer { scope, answer } => (Kind::Plain, keep_answer(table, scope, answer)),
                Command::DropKey { scope } => (Kind::Plain, drop_key(table, scope)),
                _ => return (Kind::Plain, Vec::new()),
            };
            // Keys are the daemon's own: not of the role that the caller was given.
            let parts = match &standing.identity {
                None => vec![Part::Query(query)],
                Some(identity) => {
                    vec![text("SET LOCAL ROLE NONE"), Part::Query(query), Part::Query(take_role(identity))]
                }
            };
            (kind, parts)
        }
    }
}

fn begin(settings: &TransactionSettings, standing: &mut Standing) -> Vec<Part> {
    let mut parts = Vec::new();
    if standing.open {
        parts.push(text("ROLLBACK"));
    }
    let mut sql = "BEGIN".to_owned();
    sql.push_str(match settings.isolation {
        None => "",
        Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
        Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
        Some(Isolation::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
    });
    // Said each time: outside of a transaction the session only reads.
    sql.push_str(if settings.read_only { " READ ONLY" } else { " READ WRITE" });
    let timeouts = [settings.statement_timeout, settings.lock_timeout, settings.idle_timeout];
    if standing.timeouts != Some(timeouts) {
        // In one text with BEGIN: what cannot be set leaves no transaction that would take what follows. And for this
        // transaction only, so that the next one on the connection does not inherit it.
        let [statement, lock, idle] = timeouts.map(milliseconds);
        // Writing to memory cannot fail.
        let _ = write!(
            sql,
            "; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}"
        );
    }
    parts.push(Part::Text(sql));
    if let Some(identity) = &settings.identity {
        parts.push(Part::Query(take_identity(identity)));
    }
    standing.open = true;
    standing.identity.clone_from(&settings.identity);
    parts
}

/// A time limit as PostgreSQL takes it. Zero would be no limit.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_millis().clamp(1, i32::MAX as u128)
}

/// What a session is told before it is given batches. What is sent after a BEGIN without a wait for its answer must not be
/// kept statement by statement if that BEGIN failed (stopped by a limit, or cancelled): the server does not try it, and
/// should it ever, the session only reads, and every transaction that writes says so.
pub(super) fn set_up_for_batches(timeouts: [Duration; 3]) -> String {
    let [statement, lock, idle] = timeouts.map(milliseconds);
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {idle}; SET default_transaction_read_only = on"
    )
}

fn of_text(value: &str) -> Parameter {
    Parameter { value: Value::Text(value.to_owned()), kind: ParameterKind::Text }
}

fn of_bytes(value: &[u8]) -> Parameter {
    let kind = ParameterKind::Column { column_type: ColumnType::Bytes, native_type: "bytea".into() };
    Parameter { value: Value::Text(BASE64.encode(value)), kind }
}

fn of_int(value: i64) -> Parameter {
    Parameter { value: Value::Int(value), kind: ParameterKind::Count }
}

fn own(sql: String, parameters: Vec<Parameter>, answered: Vec<ColumnType>) -> Query {
    Query { statement: Statement { text: sql, parameters }, answered, verdict: false, rows_max: u64::MAX }
}

fn take_identity(identity: &Identity) -> Query {
    own(
        "SELECT set_config('request.jwt.claims', $1::text, true), set_config('role', $2::text, true)"
            .to_owned(),
        vec![of_text(&identity.claims), of_text(&identity.role)],
        vec![ColumnType::Text; 2],
    )
}

fn take_role(identity: &Identity) -> Query {
    own(
        "SELECT set_config('role', $1::text, true)".to_owned(),
        vec![of_text(&identity.role)],
        vec![ColumnType::Text],
    )
}

/// The number of a key's advisory lock.
fn lock_number(scope: &str) -> i64 {
    // The scope is a hash in hex; anything else is folded.
    let folded = scope.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i64::from_ne_bytes(folded.to_ne_bytes())
}

fn take_key(table: &str, scope: &str, fingerprint: &[u8; 32]) -> Query {
    // In one statement, so that nothing waits for a row that another transaction has inserted: who does not get the lock
    // does not touch the table.
    let sql = format!(
        "WITH held AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1::bigint) AS mine), \
         added AS (INSERT INTO {table} (scope, fingerprint, body) \
         SELECT $2::text, $3::bytea, ''::bytea FROM held WHERE held.mine \
         ON CONFLICT (scope) DO NOTHING RETURNING 1) \
         SELECT held.mine, EXISTS (SELECT 1 FROM added), k.fingerprint, k.status, k.body \
         FROM held LEFT JOIN {table} AS k ON k.scope = $2::text"
    );
    let answered = vec![
        ColumnType::Boolean,
        ColumnType::Boolean,
        ColumnType::Bytes,
        ColumnType::Int { bits: 16, unsigned: false },
        ColumnType::Bytes,
    ];
    own(sql, vec![of_int(lock_number(scope)), of_text(scope), of_bytes(fingerprint)], answered)
}

fn keep_answer(table: &str, scope: &str, answer: &StoredAnswer) -> Query {
    let sql = format!(
        "INSERT INTO {table} AS k (scope, fingerprint, status, body) \
         VALUES ($1::text, $2::bytea, $3::bigint, $4::bytea) \
         ON CONFLICT (scope) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, \
         body = excluded.body RETURNING 1"
    );
    let status = match answer.status {
        Some(status) => of_int(status.into()),
        None => Parameter { value: Value::Null, kind: ParameterKind::Count },
    };
    let parameters = vec![of_text(scope), of_bytes(&answer.fingerprint), status, of_bytes(&answer.body)];
    own(sql, parameters, vec![ColumnType::Int { bits: 32, unsigned: false }])
}

fn drop_key(table: &str, scope: &str) -> Query {
    let sql = format!("DELETE FROM {table} WHERE scope = $1::text RETURNING 1");
    own(sql, vec![of_text(scope)], vec![ColumnType::Int { bits: 32, unsigned: false }])
}

/// What a reply of `take_key` tells.
pub(super) enum KeyFound {
    Ours,
    There(StoredAnswer),
    InFlight,
}

/// Reads the one row of `take_key`.
pub(super) fn key_found(cells: &[Value]) -> KeyFound {
    let bytes = |value: &Value| match value {
        Value::Text(text) => BASE64.decode(text).ok(),
        _ => None,
    };
    match cells {
        [Value::Bool(true), Value::Bool(true), ..] => KeyFound::Ours,
        [Value::Bool(true), Value::Bool(false), fingerprint, status, body] => {
            let found = (|| {
                Some(StoredAnswer {
                    fingerprint: bytes(fingerprint)?.try_into().ok()?,
                    status: match status {
                        Value::Int(status) => Some(u16::try_from(*status).ok()?),
                        _ => None,
                    },
                    body: bytes(body)?,
                })
            })();
            // Inserted by a transaction that ended after this statement began: it is there the next time.
            found.map_or(KeyFound::InFlight, KeyFound::There)
        }
        _ => KeyFound::InFlight,
    }
}

fn run(operation: &BoundOperation) -> (Kind, Vec<Part>) {
    let answered: Vec<ColumnType> = match (&operation.work, &operation.entity) {
        (Work::Count { .. }, _) => vec![ColumnType::Int { bits: 64, unsigned: false }],
        (Work::Statement { statement, .. }, _) => {
            operation.returning.iter().map(|column| statement.columns[*column].column_type.clone()).collect()
        }
        (_, Some(entity)) => {
            operation.returning.iter().map(|column| entity.columns[*column].column_type.clone()).collect()
        }
        (_, None) => Vec::new(),
    };
    let width = answered.len();
    let rows_max = match &operation.work {
        Work::Update { rows_max, .. } | Work::Delete { rows_max, .. } => *rows_max,
        _ => u64::MAX,
    };
    let verdict = has_verdict(operation);
    let query = |statement| Part::Query(Query { statement, answered: answered.clone(), verdict, rows_max });
    let mut parts: Vec<Part> = statements(operation).into_iter().map(query).collect();
    if matches!(operation.work, Work::Statement { .. }) {
        // Read-only ends with the savepoint.
        parts.insert(0, text("SAVEPOINT penstock_read; SET TRANSACTION READ ONLY"));
        parts.push(text("RELEASE SAVEPOINT penstock_read"));
    }
    (Kind::Rows { width }, parts)
}

/// A name as an identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    // Writing to memory cannot fail.
    let _ = write!(out, "\"{}\"", name.replace('"', "\"\""));
    out
}
