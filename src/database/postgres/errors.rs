//! SQLSTATE to the failures that the contract knows.

use tokio_postgres::Error;

use crate::database::{DbError, DbErrorCode};

/// What a failed statement means.
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

/// Whether prepared statements of the connection are worth nothing any more.
pub(super) fn forgets_statements(error: &Error) -> bool {
    error.as_db_error().is_some_and(|told| {
        told.code().code() == "26000"
            || told.code().code() == "0A000" && told.routine() == Some("RevalidateCachedQuery")
    })
}

/// Whether the statement was not tried because one before it had failed.
pub(super) fn is_aborted_transaction(error: &Error) -> bool {
    error.code().is_some_and(|state| state.code() == "25P02")
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
