//! What the operator can see: log lines and metrics.
//!
//! Metric names stand in one catalogue, [`metrics`]; `docs/metrics.md` and the dashboards are held to it by
//! tests. Log lines go to stderr, are counted by level, and hold no secret and no row of data.

pub mod actor_metrics;
pub mod logging;
pub mod metrics;

pub use actor_metrics::{ActorMetrics, ActorState, Counted, MessageOutcome, RedeliveryReason, RestartReason};
pub use logging::{LogHandle, LoggingError};
pub use metrics::{Definition, Kind, Metrics};
