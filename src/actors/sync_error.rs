//! Why a sync of an object came to no good end, and what that means for its load.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Closed, JournalError};
use super::fetcher::pause_of;
use super::sync_extract::ExtractError;
use crate::model::OrgName;
use crate::salesforce::OrgError;
use crate::sync::ErrorKind;
use crate::sync::evolve::EvolveError;
use crate::sync::shape::ShapeError;
use crate::warehouse::WarehouseError;

/// Why a sync did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No such org in the config.
    #[error("no org is named `{0}`")]
    UnknownOrg(OrgName),
    /// The org could not be asked.
    #[error(transparent)]
    Org(#[from] OrgError),
    /// Rows could not be read.
    #[error(transparent)]
    Extract(ExtractError),
    /// The warehouse.
    #[error(transparent)]
    Warehouse(Arc<WarehouseError>),
    /// The object cannot be synced as it is configured.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The table cannot take the rows.
    #[error("table `{table}`: {why}")]
    Evolve {
        /// As configured.
        table: String,
        /// Why; told with the table, and no source that would be told once more.
        why: EvolveError,
    },
    /// The journal.
    #[error("note the load in the journal")]
    Journal(#[from] JournalError),
    /// In words that a person can do something with.
    #[error("{1}")]
    Said(ErrorKind, String),
    /// The engine is leaving; the journal has the load, and the next start goes on with it.
    #[error("the daemon is leaving; the load goes on at the next start")]
    Interrupted,
}

impl From<Closed> for SyncError {
    fn from(_closed: Closed) -> Self {
        Self::Interrupted
    }
}

impl From<WarehouseError> for SyncError {
    fn from(error: WarehouseError) -> Self {
        Self::Warehouse(Arc::new(error))
    }
}

impl From<ExtractError> for SyncError {
    /// What the line said about a part, in the line's own words.
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Handover { load, source } => match source.downcast::<LineError>() {
                Ok(line) => (*line).into(),
                Err(source) => Self::Extract(ExtractError::Handover { load, source }),
            },
            ExtractError::Keep { load, source } => match source.downcast::<JournalError>() {
                Ok(journal) => Self::Journal(*journal),
                Err(source) => Self::Extract(ExtractError::Keep { load, source }),
            },
            error => Self::Extract(error),
        }
    }
}

/// Why the line took no part, or lost one.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("the daemon is leaving")]
    Leaving,
    #[error(transparent)]
    Warehouse(Arc<WarehouseError>),
    #[error("a part was given up: {0}")]
    GivenUp(String),
}

impl From<LineError> for SyncError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Leaving => Self::Interrupted,
            LineError::Warehouse(error) => Self::Warehouse(error),
            error @ LineError::GivenUp(_) => Self::Said(ErrorKind::Data, error.to_string()),
        }
    }
}

impl SyncError {
    /// Whose trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownOrg(_) | Self::Interrupted => ErrorKind::Job,
            Self::Org(error) => kind_of_org(error),
            Self::Extract(error) => error.kind(),
            Self::Warehouse(error) => kind_of_warehouse(error),
            Self::Shape(_) => ErrorKind::Job,
            Self::Evolve { .. } => ErrorKind::Data,
            Self::Journal(_) => ErrorKind::Job,
            Self::Said(kind, _) => *kind,
        }
    }

    /// The load that met it is of no more use: it is let go of, and the next sync plans anew. Otherwise it stays where it is,
    /// and the next sync of its object goes on there.
    pub fn spoils_load(&self) -> bool {
        match self {
            Self::Extract(error) => !error.is_transient() && error.kind() != ErrorKind::Auth,
            Self::Warehouse(error) => matches!(
                **error,
                WarehouseError::Altered { .. }
                    | WarehouseError::OtherCount { .. }
                    | WarehouseError::BadValue { .. }
                    | WarehouseError::NoStage(_)
                    | WarehouseError::Engine(_)
            ),
            Self::Said(..) | Self::Shape(_) | Self::Evolve { .. } => true,
            Self::Org(_) | Self::UnknownOrg(_) | Self::Journal(_) | Self::Interrupted => false,
        }
    }

    /// How long to wait before going on, where somebody said "not now".
    pub(super) fn pause(&self) -> Option<Duration> {
        self.org_error().and_then(pause_of)
    }

    /// Trying again a little later may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Extract(error) => error.is_transient(),
            Self::Org(error) => error.is_transient(),
            Self::Warehouse(error) => error.is_transient(),
            Self::Journal(error) => matches!(error, JournalError::DiskFull),
            _ => false,
        }
    }

    fn org_error(&self) -> Option<&OrgError> {
        match self {
            Self::Org(error) | Self::Extract(ExtractError::Org(error)) => Some(error),
            Self::Extract(ExtractError::Bulk(error)) => error.org_error(),
            Self::Extract(ExtractError::Query(error)) => error.org_error(),
            _ => None,
        }
    }
}

fn kind_of_org(error: &OrgError) -> ErrorKind {
    match error {
        error if error.is_refused_login() => ErrorKind::Auth,
        OrgError::Unauthorized { .. } | OrgError::SessionUnusable { .. } => ErrorKind::Auth,
        OrgError::Rejected { .. } => ErrorKind::Job,
        OrgError::Unreadable { cut_off: false, .. } => ErrorKind::Data,
        _ => ErrorKind::Network,
    }
}

fn kind_of_warehouse(error: &WarehouseError) -> ErrorKind {
    match error {
        WarehouseError::Denied(_) => ErrorKind::Auth,
        WarehouseError::Unreachable(_)
        | WarehouseError::Unsure(_)
        | WarehouseError::Locked { .. }
        | WarehouseError::Full(_)
        | WarehouseError::Closed => ErrorKind::Network,
        WarehouseError::InUse(_)
        | WarehouseError::Driver { .. }
        | WarehouseError::NoStage(_)
        | WarehouseError::BadQuery(_) => ErrorKind::Job,
        WarehouseError::Altered { .. }
        | WarehouseError::OtherCount { .. }
        | WarehouseError::BadValue { .. }
        | WarehouseError::Engine(_) => ErrorKind::Data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::gate::GateError;
    use crate::sync::LoadId;
    use rstest::rstest;

    #[rstest]
    #[case::down(WarehouseError::Unreachable(String::new()), ErrorKind::Network, false)]
    #[case::full(WarehouseError::Full(String::new()), ErrorKind::Network, false)]
    #[case::denied(WarehouseError::Denied(String::new()), ErrorKind::Auth, false)]
    #[case::other_daemon(WarehouseError::InUse(String::new()), ErrorKind::Job, false)]
    #[case::altered(WarehouseError::Altered { table: String::new(), what: String::new() }, ErrorKind::Data, true)]
    #[case::stage(WarehouseError::NoStage(String::new()), ErrorKind::Job, true)]
    fn a_load_stays_where_it_is_when_somebody_can_mend_what_stopped_it(
        #[case] error: WarehouseError,
        #[case] kind: ErrorKind,
        #[case] spoils: bool,
    ) {
        let error = SyncError::from(error);
        assert_eq!((error.kind(), error.spoils_load()), (kind, spoils));
    }

    #[test]
    fn what_the_line_says_of_a_part_is_told_in_its_own_words() {
        let load = LoadId::new(1, 1);
        let leaving = ExtractError::Handover { load: load.clone(), source: Box::new(LineError::Leaving) };
        assert!(matches!(SyncError::from(leaving), SyncError::Interrupted));
        let full = Arc::new(WarehouseError::Full("no room".to_owned()));
        let full = ExtractError::Handover { load, source: Box::new(LineError::Warehouse(full)) };
        assert_eq!(SyncError::from(full).to_string(), "the warehouse has no room: no room");
    }

    #[test]
    fn why_a_table_takes_no_rows_is_told_once() {
        let why = EvolveError::NotOurs(vec!["City".to_owned()]);
        let told = super::super::fetcher::chain(&SyncError::Evolve { table: "lead".to_owned(), why });
        assert_eq!(told.matches("was not made by penstock").count(), 1, "{told}");
    }

    #[test]
    fn a_gate_that_is_closed_for_hours_is_waited_for() {
        let spent = OrgError::Gate(GateError::QuotaSpent {
            org: "demo".parse().unwrap(),
            retry_after: Duration::from_secs(7_200),
        });
        assert_eq!(SyncError::from(spent).pause(), Some(Duration::from_secs(7_200)));
    }
}
