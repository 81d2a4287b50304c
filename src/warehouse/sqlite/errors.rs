//! SQLite's errors as ours. Its messages may hold values of rows; only those of statements that a person wrote come out.

use rusqlite::ffi;

use crate::warehouse::WarehouseError;

/// What an error of SQLite means. `what` is the table or the file.
pub(super) fn of(what: &str, error: &rusqlite::Error) -> WarehouseError {
    let Some(extended) = code(error) else {
        return WarehouseError::Engine(format!("`{what}`: {}", driver_words(error)));
    };
    let words = ffi::code_to_str(extended).to_owned();
    match extended & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            WarehouseError::Locked { what: what.to_owned(), message: words }
        }
        ffi::SQLITE_FULL => WarehouseError::Full(format!("`{what}`: {words}")),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => {
            WarehouseError::Denied(format!("`{what}`: {words}"))
        }
        ffi::SQLITE_CANTOPEN => WarehouseError::Unreachable(format!("`{what}`: {words}")),
        ffi::SQLITE_INTERRUPT => WarehouseError::Engine("it was told to stop".to_owned()),
        ffi::SQLITE_TOOBIG => {
            WarehouseError::BadValue { column: what.to_owned(), message: "a value is too long".to_owned() }
        }
        ffi::SQLITE_CONSTRAINT => WarehouseError::Altered {
            table: what.to_owned(),
            what: format!("{words}: take away the constraint or the trigger that is not penstock's"),
        },
        _ => WarehouseError::Engine(format!("`{what}`: {words} (sqlite {extended})")),
    }
}

/// As [`of`], for a statement of ours that names a table and its columns: where it does not fit, they have changed.
pub(super) fn of_table(table: &str, error: &rusqlite::Error) -> WarehouseError {
    match (error, code(error)) {
        (
            rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg)),
            Some(ffi::SQLITE_ERROR),
        ) => WarehouseError::Altered {
            table: table.to_owned(),
            what: format!("{msg}: somebody has changed it"),
        },
        _ => of(table, error),
    }
}

/// As [`of`], at COMMIT: when the disk fails there, nobody knows how far it came.
pub(super) fn of_commit(what: &str, error: &rusqlite::Error) -> WarehouseError {
    match code(error) {
        Some(extended) if extended & 0xff == ffi::SQLITE_IOERR => {
            WarehouseError::Unsure(format!("`{what}`: {}", ffi::code_to_str(extended)))
        }
        _ => of(what, error),
    }
}

/// As [`of`], of a query that a person wrote.
pub(super) fn of_query(what: &str, error: &rusqlite::Error) -> WarehouseError {
    match (error, code(error)) {
        (rusqlite::Error::SqlInputError { msg, .. }, _) => WarehouseError::BadQuery(msg.clone()),
        (rusqlite::Error::SqliteFailure(_, Some(msg)), Some(extended))
            if matches!(
                extended & 0xff,
                ffi::SQLITE_ERROR | ffi::SQLITE_READONLY | ffi::SQLITE_AUTH | ffi::SQLITE_MISMATCH
            ) =>
        {
            WarehouseError::BadQuery(msg.clone())
        }
        _ => of(what, error),
    }
}

fn code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => None,
    }
}

/// The driver's own errors, of which some hold values.
fn driver_words(error: &rusqlite::Error) -> &'static str {
    match error {
        rusqlite::Error::QueryReturnedNoRows => "a row is missing",
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => "a value is of another type than penstock wrote",
        _ => "the driver fails",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failure(extended: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended), Some("Ada's row".to_owned()))
    }

    #[rstest]
    #[case::busy(ffi::SQLITE_BUSY, |e: &_| matches!(e, WarehouseError::Locked { .. }))]
    #[case::busy_snapshot(ffi::SQLITE_BUSY_SNAPSHOT, |e: &_| matches!(e, WarehouseError::Locked { .. }))]
    #[case::full(ffi::SQLITE_FULL, |e: &_| matches!(e, WarehouseError::Full(_)))]
    #[case::read_only(ffi::SQLITE_READONLY, |e: &_| matches!(e, WarehouseError::Denied(_)))]
    #[case::cannot_open(ffi::SQLITE_CANTOPEN, |e: &_| matches!(e, WarehouseError::Unreachable(_)))]
    #[case::interrupt(ffi::SQLITE_INTERRUPT, |e: &_| matches!(e, WarehouseError::Engine(_)))]
    #[case::constraint(ffi::SQLITE_CONSTRAINT_NOTNULL, |e: &_| matches!(e, WarehouseError::Altered { .. }))]
    #[case::corrupt(ffi::SQLITE_CORRUPT, |e: &_| matches!(e, WarehouseError::Engine(_)))]
    fn an_error_keeps_its_sense_and_loses_its_words(
        #[case] extended: i32,
        #[case] is_right: fn(&WarehouseError) -> bool,
    ) {
        let error = of("lead", &failure(extended));
        assert!(is_right(&error), "{error:?}");
        assert!(!error.to_string().contains("Ada"), "{error}");
    }

    #[test]
    fn a_disk_that_fails_at_commit_leaves_us_unsure() {
        assert!(matches!(of_commit("w.db", &failure(ffi::SQLITE_IOERR_FSYNC)), WarehouseError::Unsure(_)));
        assert!(matches!(of_commit("w.db", &failure(ffi::SQLITE_FULL)), WarehouseError::Full(_)));
    }

    #[test]
    fn a_disk_without_room_for_staged_rows_is_full() {
        let told = |code| {
            crate::warehouse::staged::of_file(
                "rows cannot be staged",
                &std::io::Error::from_raw_os_error(code),
            )
        };
        assert!(matches!(told(libc::ENOSPC), WarehouseError::Full(_)));
        assert!(matches!(told(libc::EDQUOT), WarehouseError::Full(_)));
        assert!(matches!(told(libc::EACCES), WarehouseError::Denied(_)));
        assert!(matches!(told(libc::EIO), WarehouseError::Engine(_)));
    }
}
