//! Why an extraction failed, and whose trouble that is.

use std::path::PathBuf;

use crate::model::ObjectName;
use crate::salesforce::{BulkError, HandoverError, OrgError, QueryError};
use crate::sync::{ErrorKind, LoadId};
use crate::warehouse::WarehouseError;

/// Why an extraction failed.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// A field that was planned is not there, or no longer to be read: describe again, plan again.
    #[error("`{object}` has no field `{field}` any more that this login may read")]
    FieldGone {
        /// The object.
        object: ObjectName,
        /// The field as the org names it.
        field: String,
    },
    /// There is no such object for this login.
    #[error("the org has no object `{object}` that this login may read: {message}")]
    NoObject {
        /// The object.
        object: ObjectName,
        /// The org's own words.
        message: String,
    },
    /// A call, or the answer to it.
    #[error(transparent)]
    Org(#[from] OrgError),
    /// The bulk job.
    #[error(transparent)]
    Bulk(BulkError),
    /// A query over REST.
    #[error(transparent)]
    Query(QueryError),
    /// The job that was to be taken cannot be.
    #[error(
        "bulk job `{job}` cannot be taken for `{object}`: {why}; take `existing_job_id` out to read by a job of its own"
    )]
    OtherJob {
        /// Its id.
        job: String,
        /// The object.
        object: ObjectName,
        /// What does not fit.
        why: String,
    },
    /// A part was not taken.
    #[error("hand a part of load `{load}` on")]
    Handover {
        /// The load.
        load: LoadId,
        /// Why.
        source: HandoverError,
    },
    /// Where it stands was not kept.
    #[error("keep where load `{load}` stands")]
    Keep {
        /// The load.
        load: LoadId,
        /// Why.
        source: HandoverError,
    },
    /// A spool file cannot be written.
    #[error("spool the rows of load `{load}`")]
    Spool {
        /// The load.
        load: LoadId,
        /// Why.
        source: WarehouseError,
    },
    /// The reject file cannot be written.
    #[error("write rejected rows to `{path}`")]
    RejectFile {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// More rows were rejected than the configuration allows.
    #[error(
        "{rejected} rows of `{object}` do not fit their columns, {allowed} of {rows} may: {examples}; they are in `{file}`, and `sync.max_reject_share` says how many may be left out"
    )]
    TooManyRejects {
        /// The object.
        object: ObjectName,
        /// Rows rejected so far.
        rejected: u64,
        /// How many may be.
        allowed: u64,
        /// Rows of the whole load.
        rows: u64,
        /// The first of them, without their values.
        examples: String,
        /// The reject file.
        file: PathBuf,
    },
    /// Pages gave another number of rows than the org counts, each time they were read.
    #[error("the org counts {counted} rows of `{object}`, its pages gave {read}")]
    OtherCount {
        /// The object.
        object: ObjectName,
        /// Rows as the org counts them.
        counted: u64,
        /// Rows read.
        read: u64,
    },
    /// The plan cannot be read with: a mistake of ours or of a journal that somebody changed.
    #[error("load `{load}` cannot be read: {why}")]
    BadPlan {
        /// The load.
        load: LoadId,
        /// What does not fit.
        why: String,
    },
}

impl ExtractError {
    /// An error of a call, told apart by what the org says of the object and its fields.
    pub(super) fn of_org(object: &ObjectName, error: OrgError) -> Self {
        let OrgError::Rejected { code, message, .. } = &error else { return Self::Org(error) };
        let object = object.clone();
        match (code.as_str(), field_in(message)) {
            (_, Some(field)) => Self::FieldGone { object, field },
            ("INVALID_TYPE", _) => Self::NoObject { object, message: message.clone() },
            _ => Self::Org(error),
        }
    }

    pub(super) fn of_query(object: &ObjectName, error: QueryError) -> Self {
        match error {
            QueryError::Org(error) => Self::of_org(object, error),
            error => Self::Query(error),
        }
    }

    pub(super) fn of_bulk(object: &ObjectName, error: BulkError) -> Self {
        match error {
            BulkError::Org(error) => Self::of_org(object, error),
            BulkError::Failed { job, message } => match field_in(&message) {
                Some(field) => Self::FieldGone { object: object.clone(), field },
                None => Self::Bulk(BulkError::Failed { job, message }),
            },
            error => Self::Bulk(error),
        }
    }

    fn org_error(&self) -> Option<&OrgError> {
        match self {
            Self::Org(error) => Some(error),
            Self::Bulk(error) => error.org_error(),
            Self::Query(error) => error.org_error(),
            _ => None,
        }
    }

    /// The same may work later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Bulk(error) if error.calls_for_a_new_job() => true,
            Self::Query(error) if error.calls_for_a_new_query() => true,
            Self::OtherCount { .. } => true,
            error => error.org_error().is_some_and(OrgError::is_transient),
        }
    }

    /// Whose trouble it is.
    pub fn kind(&self) -> ErrorKind {
        if let Some(error) = self.org_error() {
            let denied = matches!(error, OrgError::Rejected { code, .. } if code.starts_with("INSUFFICIENT_ACCESS") || code == "API_DISABLED_FOR_ORG");
            return match error {
                error if error.is_refused_login() || denied => ErrorKind::Auth,
                OrgError::Login(inner) if inner.is_refused_login() => ErrorKind::Auth,
                OrgError::Unauthorized { .. } => ErrorKind::Auth,
                error if error.is_transient() => ErrorKind::Network,
                OrgError::Network(_) | OrgError::Gate(_) => ErrorKind::Network,
                OrgError::Unreadable { .. } => ErrorKind::Data,
                _ => ErrorKind::Job,
            };
        }
        match self {
            Self::TooManyRejects { .. } | Self::OtherCount { .. } => ErrorKind::Data,
            _ => ErrorKind::Job,
        }
    }
}

/// The field of `No such column 'Foo__c' on entity 'Lead'.`
fn field_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("No such column '")?;
    let (field, _) = rest.split_once('\'')?;
    (!field.is_empty() && field.len() <= 200).then(|| field.to_owned())
}
