//! SQLite's errors as ours. Its messages may hold values of rows or a user's own words; only names come out of them.

use rusqlite::ffi;

use crate::database::{DbError, DbErrorCode};

/// What an error of SQLite means.
pub(super) fn db_error(error: &rusqlite::Error) -> DbError {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            failure_of(failure.extended_code, message.as_deref())
        }
        rusqlite::Error::SqlInputError { error, .. } => failure_of(error.extended_code, None),
        rusqlite::Error::InvalidParameterCount(..) | rusqlite::Error::ToSqlConversionFailure(_) => {
            plain(DbErrorCode::TypeMismatch, "binding")
        }
        _ => plain(DbErrorCode::Other, "driver"),
    }
}

/// An error of ours, with a word for the log.
pub(super) fn plain(code: DbErrorCode, word: &str) -> DbError {
    DbError { code, column: None, constraint: None, native_code: word.to_owned() }
}

fn failure_of(extended: i32, message: Option<&str>) -> DbError {
    let code = match extended {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            DbErrorCode::UniqueViolation
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => DbErrorCode::NotNullViolation,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => DbErrorCode::ForeignKeyViolation,
        // A trigger that refuses is a check that the user wrote by hand.
        ffi::SQLITE_CONSTRAINT_CHECK | ffi::SQLITE_CONSTRAINT_TRIGGER => DbErrorCode::CheckViolation,
        ffi::SQLITE_CONSTRAINT_DATATYPE => DbErrorCode::TypeMismatch,
        _ => match extended & 0xff {
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => DbErrorCode::Busy,
            ffi::SQLITE_INTERRUPT => DbErrorCode::StatementTimeout,
            ffi::SQLITE_FULL => DbErrorCode::DiskFull,
            ffi::SQLITE_READONLY => DbErrorCode::ReadOnly,
            ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG => DbErrorCode::TypeMismatch,
            ffi::SQLITE_AUTH | ffi::SQLITE_PERM => DbErrorCode::ActionForbidden,
            _ => DbErrorCode::Other,
        },
    };
    let named =
        message.and_then(|message| message.split_once(" constraint failed: ")).map(|(_, named)| named);
    let (column, constraint) = match (code, named) {
        (DbErrorCode::UniqueViolation | DbErrorCode::NotNullViolation, Some(named)) => names_of(named),
        // Without a name of its own, SQLite says the whole expression of a check.
        (DbErrorCode::CheckViolation, Some(named)) if is_name(named) => (None, Some(named.to_owned())),
        _ => (None, None),
    };
    DbError { code, column, constraint, native_code: format!("sqlite {extended}") }
}

/// Column and constraint of `depot.name`, `depot.name, depot.city` or `index 'one_per_city'`.
fn names_of(named: &str) -> (Option<String>, Option<String>) {
    if let Some(index) = named.strip_prefix("index '").and_then(|rest| rest.strip_suffix('\'')) {
        return (None, Some(index.to_owned()));
    }
    let mut columns = named.split(", ");
    match (columns.next(), columns.next()) {
        (Some(one), None) => (one.split_once('.').map(|(_, column)| column.to_owned()), None),
        _ => (None, Some(named.replace(", ", ","))),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(2067, "UNIQUE constraint failed: depot.name", DbErrorCode::UniqueViolation, Some("name"), None)]
    #[case(2067, "UNIQUE constraint failed: a.b, a.c", DbErrorCode::UniqueViolation, None, Some("a.b,a.c"))]
    #[case(2067, "UNIQUE constraint failed: index 'one'", DbErrorCode::UniqueViolation, None, Some("one"))]
    #[case(1555, "UNIQUE constraint failed: depot.id", DbErrorCode::UniqueViolation, Some("id"), None)]
    #[case(1299, "NOT NULL constraint failed: depot.name", DbErrorCode::NotNullViolation, Some("name"), None)]
    #[case(
        275,
        "CHECK constraint failed: total_least",
        DbErrorCode::CheckViolation,
        None,
        Some("total_least")
    )]
    #[case(275, "CHECK constraint failed: total > 'secret'", DbErrorCode::CheckViolation, None, None)]
    #[case(787, "FOREIGN KEY constraint failed", DbErrorCode::ForeignKeyViolation, None, None)]
    #[case(1811, "no, Ada may not", DbErrorCode::CheckViolation, None, None)]
    #[case(3091, "cannot store TEXT value in INT column a.b", DbErrorCode::TypeMismatch, None, None)]
    #[case(517, "database is locked", DbErrorCode::Busy, None, None)]
    #[case(9, "interrupted", DbErrorCode::StatementTimeout, None, None)]
    #[case(13, "database or disk is full", DbErrorCode::DiskFull, None, None)]
    #[case(8, "attempt to write a readonly database", DbErrorCode::ReadOnly, None, None)]
    fn an_error_keeps_names_and_loses_words(
        #[case] extended: i32,
        #[case] message: &str,
        #[case] code: DbErrorCode,
        #[case] column: Option<&str>,
        #[case] constraint: Option<&str>,
    ) {
        let error = failure_of(extended, Some(message));
        assert_eq!(error.code, code);
        assert_eq!(error.column.as_deref(), column);
        assert_eq!(error.constraint.as_deref(), constraint);
        assert_eq!(error.native_code, format!("sqlite {extended}"));
    }
}
