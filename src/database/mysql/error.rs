//! Codes of the server -> ours.
//!
//! Promises: what a server says of a value never leaves this file; names of columns and constraints are taken out of the
//! server's sentence by its fixed words, and left out where the sentence is not the known one.

use crate::database::{DbError, DbErrorCode};

/// What went wrong with one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The server refused it; the connection lives.
    Statement(DbError),
    /// The connection is of no more use.
    Lost,
}

/// An error of the driver as ours.
pub fn failure(error: &mysql_async::Error) -> Failure {
    match error {
        mysql_async::Error::Server(server) => {
            let error = db_error(server.code, &server.state, &server.message);
            match error.code {
                DbErrorCode::ConnectionLost => Failure::Lost,
                _ => Failure::Statement(error),
            }
        }
        // Our own statements are the only ones sent: a wrong count of parameters is of a named statement.
        // Too many of them are never sent.
        mysql_async::Error::Driver(
            mysql_async::DriverError::StmtParamsMismatch { .. }
            | mysql_async::DriverError::StmtParamsNumberExceedsLimit { .. },
        ) => Failure::Statement(plain(DbErrorCode::Other, "parameters")),
        _ => Failure::Lost,
    }
}

/// A failure that is ours, not the server's.
pub fn plain(code: DbErrorCode, native_code: &str) -> DbError {
    DbError { code, column: None, constraint: None, native_code: native_code.to_owned() }
}

/// Whether the server has undone the whole transaction by itself. MariaDB does for rows that changed since the snapshot, too;
/// where it did not, a transaction that is of no more use is rolled back a little later.
pub fn undoes_transaction(code: DbErrorCode) -> bool {
    matches!(code, DbErrorCode::Deadlock | DbErrorCode::SerializationFailure)
}

fn db_error(code: u16, state: &str, message: &str) -> DbError {
    let kind = kind(code, state);
    let (column, constraint) = match code {
        1048 | 1364 | 1406 | 1264 | 1366 | 1265 | 1292 | 1411 | 3105 => (column_named(message), None),
        1062 | 1586 => (None, key_named(message)),
        1451 | 1452 => {
            let constraint = between(message, "CONSTRAINT `", "`");
            // The columns of the key are the child's: not the ones that a delete of the parent names.
            let column = (code == 1452).then(|| between(message, "FOREIGN KEY (`", "`)")).flatten();
            (column.filter(|name| !name.contains("`, `")), constraint)
        }
        4025 => {
            let constraint = between(message, "CONSTRAINT `", "` failed for");
            // A check without a name of its own goes by table and column.
            let column = constraint
                .as_deref()
                .and_then(|name| name.split_once('.'))
                .map(|(_, column)| column.to_owned());
            (column, constraint)
        }
        3819 => (None, between(message, "Check constraint '", "' is violated")),
        _ => (None, None),
    };
    DbError { code: kind, column, constraint, native_code: format!("{code} {state}") }
}

fn kind(code: u16, state: &str) -> DbErrorCode {
    match code {
        1062 | 1169 | 1557 | 1586 | 1859 => DbErrorCode::UniqueViolation,
        1216 | 1217 | 1451 | 1452 | 1761 | 1762 => DbErrorCode::ForeignKeyViolation,
        1048 | 1263 | 1364 | 1566 => DbErrorCode::NotNullViolation,
        // 1644: a trigger refused by SIGNAL; 1369: WITH CHECK OPTION of a view.
        1369 | 1644 | 3819 | 4025 => DbErrorCode::CheckViolation,
        1213 | 1614 | 3101 => DbErrorCode::Deadlock,
        1020 | 4098 => DbErrorCode::SerializationFailure,
        1205 | 3572 | 1689 => DbErrorCode::LockTimeout,
        1317 | 1969 | 3024 => DbErrorCode::StatementTimeout,
        1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1426 | 1441 | 1690 | 3140 | 3141 | 3156 | 4078
        | 4079 => DbErrorCode::TypeMismatch,
        1044 | 1045 | 1142 | 1143 | 1227 | 1345 | 1370 => DbErrorCode::ActionForbidden,
        1290 | 1792 | 1836 | 1874 => DbErrorCode::ReadOnly,
        1021 | 1114 => DbErrorCode::DiskFull,
        1053 | 1077 | 1078 | 1079 | 1152..=1161 | 1184 | 1927 | 2006 | 2013 | 3169 | 4031 => {
            DbErrorCode::ConnectionLost
        }
        // The class of a code that this list does not know.
        _ => match state.get(..2) {
            Some("22") => DbErrorCode::TypeMismatch,
            Some("25") => DbErrorCode::ReadOnly,
            Some("40") => DbErrorCode::SerializationFailure,
            Some("08") => DbErrorCode::ConnectionLost,
            _ => DbErrorCode::Other,
        },
    }
}

/// `... for key 'table.name'`: the name is the last of it, as the value before it may hold anything.
fn key_named(message: &str) -> Option<String> {
    let (_, name) = message.rsplit_once("for key '")?;
    let name = name.strip_suffix('\'')?;
    let name = name.rsplit_once('.').map_or(name, |(_, name)| name);
    Some(name.to_owned())
}

/// ``Column 'c'``, `Field 'c'`, ``for column `d`.`t`.`c` ``, `for column 'c'`.
fn column_named(message: &str) -> Option<String> {
    for start in ["Column '", "Field '"] {
        if let Some(rest) = message.strip_prefix(start) {
            return rest.split_once('\'').map(|(name, _)| name.to_owned());
        }
    }
    let (_, name) = message.rsplit_once("for column ")?;
    let name = name.rsplit_once(" at row").map_or(name, |(name, _)| name);
    let name = match name.strip_prefix('\'') {
        Some(name) => name.strip_suffix('\'')?,
        None => name.rsplit_once(".`").map_or(name, |(_, name)| name).trim_matches('`'),
    };
    Some(name.to_owned())
}

fn between(message: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = message.split_once(start)?;
    rest.split_once(end).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        1062,
        "23000",
        "Duplicate entry 'it's for key 'x'' for key 'person.email_unique'",
        DbErrorCode::UniqueViolation,
        None,
        Some("email_unique")
    )]
    #[case(
        1062,
        "23000",
        "Duplicate entry '1' for key 'PRIMARY'",
        DbErrorCode::UniqueViolation,
        None,
        Some("PRIMARY")
    )]
    #[case(
        1452,
        "23000",
        "Cannot add or update a child row: a foreign key constraint fails (`x`.`c`, CONSTRAINT `fk_c` FOREIGN KEY (`pid`) REFERENCES `p` (`id`))",
        DbErrorCode::ForeignKeyViolation,
        Some("pid"),
        Some("fk_c")
    )]
    #[case(
        1452,
        "23000",
        "Cannot add or update a child row: a foreign key constraint fails (`x`.`c`, CONSTRAINT `fk_c` FOREIGN KEY (`a`, `b`) REFERENCES `p` (`a`, `b`))",
        DbErrorCode::ForeignKeyViolation,
        None,
        Some("fk_c")
    )]
    #[case(
        1451,
        "23000",
        "Cannot delete or update a parent row: a foreign key constraint fails (`x`.`c`, CONSTRAINT `fk_c` FOREIGN KEY (`pid`) REFERENCES `p` (`id`))",
        DbErrorCode::ForeignKeyViolation,
        None,
        Some("fk_c")
    )]
    #[case(1048, "23000", "Column 'n' cannot be null", DbErrorCode::NotNullViolation, Some("n"), None)]
    #[case(
        1364,
        "HY000",
        "Field 'n' doesn't have a default value",
        DbErrorCode::NotNullViolation,
        Some("n"),
        None
    )]
    #[case(
        4025,
        "23000",
        "CONSTRAINT `p.ck` failed for `x`.`p`",
        DbErrorCode::CheckViolation,
        Some("ck"),
        Some("p.ck")
    )]
    #[case(
        4025,
        "23000",
        "CONSTRAINT `named` failed for `x`.`p`",
        DbErrorCode::CheckViolation,
        None,
        Some("named")
    )]
    #[case(
        3819,
        "HY000",
        "Check constraint 'named' is violated.",
        DbErrorCode::CheckViolation,
        None,
        Some("named")
    )]
    #[case(
        1406,
        "22001",
        "Data too long for column 'n' at row 1",
        DbErrorCode::TypeMismatch,
        Some("n"),
        None
    )]
    #[case(
        1366,
        "22007",
        "Incorrect integer value: 'abc' for column `x`.`p`.`u` at row 1",
        DbErrorCode::TypeMismatch,
        Some("u"),
        None
    )]
    #[case(
        1213,
        "40001",
        "Deadlock found when trying to get lock; try restarting transaction",
        DbErrorCode::Deadlock,
        None,
        None
    )]
    #[case(
        1205,
        "HY000",
        "Lock wait timeout exceeded; try restarting transaction",
        DbErrorCode::LockTimeout,
        None,
        None
    )]
    #[case(
        1969,
        "70100",
        "Query execution was interrupted (max_statement_time exceeded)",
        DbErrorCode::StatementTimeout,
        None,
        None
    )]
    #[case(
        3024,
        "HY000",
        "Query execution was interrupted, maximum statement execution time exceeded",
        DbErrorCode::StatementTimeout,
        None,
        None
    )]
    #[case(
        1020,
        "HY000",
        "Record has changed since last read in table 'p'",
        DbErrorCode::SerializationFailure,
        None,
        None
    )]
    #[case(
        1792,
        "25006",
        "Cannot execute statement in a READ ONLY transaction",
        DbErrorCode::ReadOnly,
        None,
        None
    )]
    #[case(9999, "22999", "something new", DbErrorCode::TypeMismatch, None, None)]
    #[case(9999, "HY000", "something new", DbErrorCode::Other, None, None)]
    fn a_code_of_the_server_has_one_of_ours(
        #[case] code: u16,
        #[case] state: &str,
        #[case] message: &str,
        #[case] kind: DbErrorCode,
        #[case] column: Option<&str>,
        #[case] constraint: Option<&str>,
    ) {
        let error = db_error(code, state, message);

        assert_eq!(error.code, kind);
        assert_eq!((error.column.as_deref(), error.constraint.as_deref()), (column, constraint));
        assert_eq!(error.native_code, format!("{code} {state}"));
    }
}
