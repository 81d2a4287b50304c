//! What a failed command of the database means: for one operation, and for the whole batch.
//!
//! Promises: sentences are ours. Of what the database says, only the kind, and the names of a column of the entity and of a
//! constraint, reach the client.

use std::sync::Arc;

use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::problem::FaultKind;
use crate::batch::request::{OperationRequest, StoreParams};
use crate::database::{DbError, DbErrorCode};

/// Why trying again may help; `None`: it does not.
pub fn retry_reason(code: DbErrorCode) -> Option<&'static str> {
    match code {
        DbErrorCode::SerializationFailure => Some("serialization_failure"),
        DbErrorCode::Deadlock => Some("deadlock"),
        DbErrorCode::Busy => Some("busy"),
        _ => None,
    }
}

/// A failure that names nothing.
pub fn bare(code: DbErrorCode) -> DbError {
    DbError { code, column: None, constraint: None, native_code: String::new() }
}

/// What a failed command means for the operation that asked for it.
pub fn of_operation(
    error: &DbError,
    request: &OperationRequest,
    operation: Option<&CheckedOperation>,
) -> OperationError {
    let entity = &request.entity;
    let action = request.action.as_str();
    let column = column_of(error, request, operation);
    let named = |with: &str, without: &str| match &column {
        Some(column) => with.replace("{column}", column),
        None => without.to_owned(),
    };
    let (status, code, sentence) = match error.code {
        DbErrorCode::UniqueViolation => (409, "unique_violation", {
            let what = named("this value of `{column}`", "one of these values, which must be unique");
            format!("`{entity}` already has a row with {what}; read it first, or send another value")
        }),
        DbErrorCode::ForeignKeyViolation => (409, "foreign_key_violation", {
            let what = named(
                "the row that `{column}` points to is not there",
                "a row that it points to is not there",
            );
            format!("{what}, or another row still points to this one in `{entity}`")
        }),
        DbErrorCode::NotNullViolation => (409, "not_null_violation", {
            let what = named("column `{column}`", "a column");
            format!("{what} of `{entity}` needs a value")
        }),
        DbErrorCode::CheckViolation => (409, "check_violation", {
            let what = named("column `{column}`", "the row");
            format!("{what} does not meet a check of `{entity}`")
        }),
        DbErrorCode::ExclusionViolation => {
            (409, "exclusion_violation", format!("the row overlaps with another one of `{entity}`"))
        }
        DbErrorCode::TooManyRows => (
            409,
            "too_many_rows",
            format!("the {action} would touch too many rows of `{entity}`; select fewer"),
        ),
        DbErrorCode::RowForbidden => {
            (403, "row_forbidden", format!("you may not {action} a row of `{entity}` with these values"))
        }
        DbErrorCode::ActionForbidden | DbErrorCode::ReadOnly => (
            403,
            "action_forbidden",
            format!("you may not {action} `{entity}`: the database does not allow it"),
        ),
        DbErrorCode::TypeMismatch => (400, "type_mismatch", {
            let what = named("column `{column}`", "a column");
            format!("a value does not fit {what} of `{entity}`")
        }),
        DbErrorCode::ResultTooLarge => (413, "result_too_large", too_large()),
        DbErrorCode::SerializationFailure => (
            503,
            "serialization_failure",
            "other transactions changed the same rows, again and again; send it again".into(),
        ),
        DbErrorCode::Deadlock => {
            (503, "deadlock", "other transactions held each other up, again and again; send it again".into())
        }
        DbErrorCode::LockTimeout | DbErrorCode::Busy => (503, "lock_timeout", {
            format!("`{entity}` was locked by another transaction for too long; send it again")
        }),
        DbErrorCode::StatementTimeout => {
            (504, "statement_timeout", format!("the {action} of `{entity}` took too long; select fewer rows"))
        }
        DbErrorCode::DiskFull => (500, "database_error", "the database has no room left".into()),
        DbErrorCode::KeyInFlight | DbErrorCode::ConnectionLost | DbErrorCode::Other => {
            (500, "database_error", format!("the database could not {action} `{entity}`; the log says more"))
        }
    };
    let pointer = column.as_ref().and_then(|column| pointer_to(column, request));
    let constraint = error.constraint.as_deref().map(Arc::from);
    OperationError { column, constraint, pointer, ..OperationError::new(status, code, sentence) }
}

/// Whether a failure may be that of handing a value over: the value is not there, or this login may not keep settings.
pub fn is_of_handing_over(code: &str) -> bool {
    matches!(code, "database_error" | "type_mismatch" | "action_forbidden")
}

/// Of results that are too large as a whole.
pub fn result_too_large() -> OperationError {
    OperationError::new(413, "result_too_large", too_large())
}

fn too_large() -> String {
    "the results of this batch are larger than a batch may answer; select fewer rows or columns".into()
}

/// What a failure at the end means: of COMMIT, of a deferred constraint, of keeping the answer.
pub fn at_commit(error: &DbError) -> OperationError {
    let (status, code, sentence) = match error.code {
        DbErrorCode::UniqueViolation => {
            (409, "unique_violation", "two rows have the same value, which must be unique")
        }
        DbErrorCode::ForeignKeyViolation => {
            (409, "foreign_key_violation", "a row points to one that is not there")
        }
        DbErrorCode::CheckViolation => (409, "check_violation", "a row does not meet a check"),
        DbErrorCode::ExclusionViolation => (409, "exclusion_violation", "a row overlaps with another one"),
        DbErrorCode::NotNullViolation => (409, "not_null_violation", "a column needs a value"),
        DbErrorCode::SerializationFailure => {
            (503, "serialization_failure", "other transactions changed the same rows")
        }
        DbErrorCode::Deadlock => (503, "deadlock", "other transactions held each other up"),
        DbErrorCode::Busy | DbErrorCode::LockTimeout => {
            (503, "lock_timeout", "the database was locked for too long")
        }
        DbErrorCode::StatementTimeout => (504, "statement_timeout", "committing took too long"),
        DbErrorCode::DiskFull => (500, "database_error", "the database has no room left"),
        _ => (500, "database_error", "the database could not commit; the log says more"),
    };
    OperationError {
        constraint: error.constraint.as_deref().map(Arc::from),
        ..OperationError::new(status, code, sentence)
    }
}

/// The kind of a batch that an error of this code stopped.
pub fn stop_kind(code: &str) -> FaultKind {
    match code {
        "serialization_failure" | "deadlock" | "lock_timeout" => FaultKind::Contention,
        code => FaultKind::of_stop(code),
    }
}

/// The column that the database names, if the client knows it: it sent it, or may read it.
fn column_of(
    error: &DbError,
    request: &OperationRequest,
    operation: Option<&CheckedOperation>,
) -> Option<Arc<str>> {
    let operation = operation?;
    let entity = operation.entity.as_ref()?;
    let column = entity.column_id(error.column.as_deref()?)?;
    let name = &entity.columns[column].name;
    let sent = match &request.store_params {
        StoreParams::None => false,
        StoreParams::One(fields) => fields.iter().any(|(key, _)| key == name),
        StoreParams::Many { keys, .. } => keys.contains(name),
    };
    (sent || operation.readable.get(column).copied().unwrap_or(false)).then(|| Arc::clone(name))
}

fn pointer_to(column: &Arc<str>, request: &OperationRequest) -> Option<String> {
    let StoreParams::One(fields) = &request.store_params else {
        return None;
    };
    fields.iter().any(|(key, _)| key == column).then(|| {
        let key = column.replace('~', "~0").replace('/', "~1");
        format!("/operations/{}/store_params/{key}", request.index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::operation::Action;
    use rstest::rstest;

    fn request() -> OperationRequest {
        OperationRequest {
            index: 3,
            id: Arc::from("bad"),
            entity: Arc::from("customer"),
            action: Action::Create,
            store_params: StoreParams::None,
            query_params: Vec::new(),
            metadata_params: Vec::new(),
            depends_on: Vec::new(),
            expect: None,
            claims: None,
        }
    }

    #[rstest]
    #[case(DbErrorCode::UniqueViolation, 409, "unique_violation")]
    #[case(DbErrorCode::ForeignKeyViolation, 409, "foreign_key_violation")]
    #[case(DbErrorCode::NotNullViolation, 409, "not_null_violation")]
    #[case(DbErrorCode::CheckViolation, 409, "check_violation")]
    #[case(DbErrorCode::ExclusionViolation, 409, "exclusion_violation")]
    #[case(DbErrorCode::TooManyRows, 409, "too_many_rows")]
    #[case(DbErrorCode::RowForbidden, 403, "row_forbidden")]
    #[case(DbErrorCode::ActionForbidden, 403, "action_forbidden")]
    #[case(DbErrorCode::ReadOnly, 403, "action_forbidden")]
    #[case(DbErrorCode::TypeMismatch, 400, "type_mismatch")]
    #[case(DbErrorCode::ResultTooLarge, 413, "result_too_large")]
    #[case(DbErrorCode::SerializationFailure, 503, "serialization_failure")]
    #[case(DbErrorCode::Deadlock, 503, "deadlock")]
    #[case(DbErrorCode::Busy, 503, "lock_timeout")]
    #[case(DbErrorCode::LockTimeout, 503, "lock_timeout")]
    #[case(DbErrorCode::StatementTimeout, 504, "statement_timeout")]
    #[case(DbErrorCode::Other, 500, "database_error")]
    fn every_kind_has_its_status_and_never_the_databases_words(
        #[case] code: DbErrorCode,
        #[case] status: u16,
        #[case] name: &str,
    ) {
        let error = DbError {
            code,
            column: Some("secret_column".into()),
            constraint: Some("customer_email_key".into()),
            native_code: "Key (email)=(ada@example.org) already exists".into(),
        };
        let told = of_operation(&error, &request(), None);
        assert_eq!((told.status, told.code), (status, name));
        assert_eq!(told.constraint.as_deref(), Some("customer_email_key"));
        assert!(!told.error.contains("ada@") && !told.error.contains("secret_column"), "{}", told.error);
    }
}
