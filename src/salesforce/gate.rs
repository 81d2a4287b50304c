//! The seam between the org client and the rate limiter.
//!
//! Promises: the client makes no call without a [`Permit`], and settles every permit with what the call
//! told. A permit that is dropped unsettled belongs to a call that was cancelled: its place is free
//! again, and nothing is known about its outcome.

use std::time::Duration;

use crate::clock::BoxFuture;
use crate::limiter::{self, CallOutcome, Priority, UsageSeen};
use crate::model::OrgName;

/// The part of the org's interface that a call goes to; the `api` label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Token requests. They are not charged to the daily allowance.
    Auth,
    /// Everything under `/services/data` that has no variant of its own.
    Rest,
    /// Tooling queries.
    Tooling,
    /// Several requests in one call.
    Composite,
    /// Limits and record counts.
    Limits,
    /// Bulk jobs.
    Bulk,
}

impl Api {
    /// Every value, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Auth, Self::Rest, Self::Tooling, Self::Composite, Self::Limits, Self::Bulk];

    /// Position in [`Api::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Rest => "rest",
            Self::Tooling => "tooling",
            Self::Composite => "composite",
            Self::Limits => "limits",
            Self::Bulk => "bulk",
        }
    }
}

/// A call that wants to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAsk {
    /// To this org.
    pub org: OrgName,
    /// To this part of it.
    pub api: Api,
    /// For whom.
    pub priority: Priority,
    /// Likely to run for 20 s or longer.
    pub expected_long: bool,
}

impl CallAsk {
    /// The ask in the limiter's terms.
    pub fn for_limiter(&self) -> limiter::CallAsk {
        limiter::CallAsk {
            priority: self.priority,
            expected_long: self.expected_long,
            free_of_quota: self.api == Api::Auth,
        }
    }
}

/// What a call told, for the limiter and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallReport {
    /// How it ended.
    pub outcome: CallOutcome,
    /// The org's usage, where the answer carried it.
    pub quota: Option<UsageSeen>,
    /// The wait that the org asked for.
    pub retry_after: Option<Duration>,
    /// From permit to the last byte of the answer.
    pub elapsed: Duration,
}

/// Why no permit was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The share of the daily allowance is used up.
    #[error("the daily allowance of `{org}` is used up for this priority; next try in {retry_after:.0?}")]
    QuotaSpent {
        /// The org.
        org: OrgName,
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The org failed call after call there, and is left alone for a while.
    #[error("the `{}` API of `{org}` fails call after call; next try in {retry_after:.0?}", api.as_str())]
    CircuitOpen {
        /// The org.
        org: OrgName,
        /// The part of it that fails.
        api: Api,
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The limiter is gone and does not come back; the process is ending.
    #[error("the rate limiter has stopped")]
    Stopped,
}

impl GateError {
    /// When asking again may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QuotaSpent { retry_after, .. } | Self::CircuitOpen { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Stopped => None,
        }
    }
}

/// Gives permits. While the org is paused it gives none, and the future stays pending.
pub trait Gate: Send + Sync {
    /// Resolves once the call may go.
    fn permit(&self, ask: CallAsk) -> BoxFuture<'_, Result<Box<dyn Permit>, GateError>>;
}

/// The right to make one call.
pub trait Permit: Send {
    /// The call is over.
    fn settle(self: Box<Self>, report: CallReport);
}

/// A gate that is always open, for tests and for calls that nobody meters.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn permit(&self, _ask: CallAsk) -> BoxFuture<'_, Result<Box<dyn Permit>, GateError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Permit>) })
    }
}

impl Permit for OpenGate {
    fn settle(self: Box<Self>, _report: CallReport) {}
}
