//! SQLSTATE to the failures that the contract knows.

use tokio_postgres::Error;

use super::wire::Body;
use crate::database::{DbError, DbErrorCode};

/// Why a statement of a batch was not done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The server says so.
    Told(Told),
    /// The connection is gone, or none is to be had. Texts of sockets: none has a value of a row in it.
    Lost(String),
    /// It could not be asked, or its answer not be read.
    Ours(String),
    /// Not tried, because one before it had failed.
    NotTried,
}

/// What the server says of a failure. Its own words stay behind: they may hold values of rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Told {
    pub(super) state: String,
    routine: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl Told {
    /// Reads the body of an error's message.
    pub(super) fn read(body: &[u8]) -> Self {
        let (mut told, mut body) = (Self::default(), Body(body));
        while let Some(field @ 1..) = body.byte() {
            let Some(value) = body.text() else { break };
            let value = || String::from_utf8_lossy(value).into_owned();
            match field {
                b'C' => told.state = value(),
                b'R' => told.routine = Some(value()),
                b'c' => told.column = Some(value()),
                b'n' => told.constraint = Some(value()),
                _ => {}
            }
        }
        told
    }
}

impl Fault {
    pub(super) fn of_socket(error: &std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }

    /// For the log and the operator: SQLSTATE, or our own words.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Told(told) => told.state.clone(),
            Self::Lost(why) | Self::Ours(why) => why.clone(),
            Self::NotTried => "25P02".to_owned(),
        }
    }

    /// Whether the server itself has said it.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }

    /// What it means.
    pub(super) fn failure(&self) -> DbError {
        let code = match self {
            Self::Told(told) => code_of(&told.state, told.routine.as_deref()),
            Self::Lost(_) => DbErrorCode::ConnectionLost,
            Self::Ours(_) | Self::NotTried => DbErrorCode::Other,
        };
        let (column, constraint) = match self {
            Self::Told(told) => (told.column.clone(), told.constraint.clone()),
            _ => (None, None),
        };
        DbError { code, column, constraint, native_code: self.why() }
    }

    /// Whether prepared statements of the connection are worth nothing any more.
    pub(super) fn forgets_statements(&self) -> bool {
        matches!(self, Self::Told(told) if told.state == "26000"
            || told.state == "0A000" && told.routine.as_deref() == Some("RevalidateCachedQuery"))
    }
}

/// What a failed statement of the catalogue's connection means.
pub(super) fn failure(error: &Error) -> DbError {
    let Some(told) = error.as_db_error() else {
        let code =
            if error.is_closed() || is_io(error) { DbErrorCode::ConnectionLost } else { DbErrorCode::Other };
        // Texts of the library itself: of encoding, decoding and sockets; none has a value of a row in it.
        return DbError { code, column: None, constraint: None, native_code: error.to_string() };
    };
    let state = told.code().code();
    DbError {
        code: code_of(state, told.routine()),
        column: told.column().map(str::to_owned),
        constraint: told.constraint().map(str::to_owned),
        native_code: state.to_owned(),
    }
}

fn is_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The failure behind a SQLSTATE. `routine` is the place in PostgreSQL's source that found it, for states with two meanings.
fn code_of(state: &str, routine: Option<&str>) -> DbErrorCode {
    match state {
        "23505" => DbErrorCode::UniqueViolation,
        "23503" | "23001" => DbErrorCode::ForeignKeyViolation,
        "23502" => DbErrorCode::NotNullViolation,
        "23514" | "44000" => DbErrorCode::CheckViolation,
        "23P01" => DbErrorCode::ExclusionViolation,
        // A policy that refuses a new row has the state of a missing right.
        "42501" if routine == Some("ExecWithCheckOptions") => DbErrorCode::RowForbidden,
        "42501" => DbErrorCode::ActionForbidden,
        "40001" => DbErrorCode::SerializationFailure,
        "40P01" => DbErrorCode::Deadlock,
        // The table was altered, or a pooler forgot our statements: the same text works when it is prepared again.
        "0A000" if routine == Some("RevalidateCachedQuery") => DbErrorCode::SerializationFailure,
        "26000" => DbErrorCode::SerializationFailure,
        "55P03" => DbErrorCode::LockTimeout,
        "57014" => DbErrorCode::StatementTimeout,
        "25006" => DbErrorCode::ReadOnly,
        "53100" => DbErrorCode::DiskFull,
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" => DbErrorCode::ConnectionLost,
        // No such operator or function for these types; two types that do not go together; text that is no JSON.
        "42883" | "42804" | "42846" | "22P05" => DbErrorCode::TypeMismatch,
        state if state.starts_with("22") => DbErrorCode::TypeMismatch,
        state if state.starts_with("08") => DbErrorCode::ConnectionLost,
        _ => DbErrorCode::Other,
    }
}

/// Whether a COMMIT that failed so has ended its transaction for sure.
pub(super) fn ends_transaction(code: DbErrorCode) -> bool {
    matches!(
        code,
        DbErrorCode::UniqueViolation
            | DbErrorCode::ForeignKeyViolation
            | DbErrorCode::CheckViolation
            | DbErrorCode::ExclusionViolation
            | DbErrorCode::SerializationFailure
    )
}

/// Whether a statement for many rows that failed so is to be tried row by row, to find out which one it was. The other
/// failures are not about a row.
pub(super) fn blames_a_row(code: DbErrorCode) -> bool {
    match code {
        DbErrorCode::SerializationFailure
        | DbErrorCode::Deadlock
        | DbErrorCode::Busy
        | DbErrorCode::LockTimeout
        | DbErrorCode::StatementTimeout
        | DbErrorCode::KeyInFlight
        | DbErrorCode::ResultTooLarge
        | DbErrorCode::DiskFull
        | DbErrorCode::ConnectionLost => false,
        DbErrorCode::UniqueViolation
        | DbErrorCode::ForeignKeyViolation
        | DbErrorCode::NotNullViolation
        | DbErrorCode::CheckViolation
        | DbErrorCode::ExclusionViolation
        | DbErrorCode::RowForbidden
        | DbErrorCode::ActionForbidden
        | DbErrorCode::TooManyRows
        | DbErrorCode::TypeMismatch
        | DbErrorCode::ReadOnly
        | DbErrorCode::Other => true,
    }
}
