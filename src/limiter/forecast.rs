//! What a job will cost before it starts, beside what the org has left today.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Priority, QuotaSeen};

/// A job's calls beside today's room.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Calls that the job is expected to make.
    pub calls: u64,
    /// Calls that the org has left today, for everybody; `None` before the org has told.
    pub room: Option<u64>,
    /// Calls that are left to the job's priority before it stops at its share.
    pub share_room: Option<u64>,
    /// Who the job works for.
    pub priority: Priority,
}

impl Forecast {
    /// Sets a job's calls beside what the limiter knows.
    pub fn new(calls: u64, priority: Priority, usage: Option<QuotaSeen>, share_room: Option<u64>) -> Self {
        let room = usage.map(|seen| seen.limit.saturating_sub(seen.used));
        Self { calls, room, share_room, priority }
    }

    /// The calls as a share of today's room, in percent; `None` before the org has told, or when there is no room.
    pub fn percent_of_room(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "an allowance is far below 2^52 calls")]
        self.room.filter(|room| *room > 0).map(|room| self.calls as f64 * 100.0 / room as f64)
    }

    /// Whether the job gets through without waiting for the reset, as far as is known.
    pub fn fits(&self) -> bool {
        self.share_room.is_none_or(|room| self.calls <= room)
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.calls == 1 { "" } else { "s" };
        write!(f, "needs about {} call{plural}", self.calls)?;
        match (self.percent_of_room(), self.room) {
            (Some(percent), _) => write!(f, ", {percent:.1} % of today's room")?,
            (None, Some(_)) => f.write_str(", and nothing is left today")?,
            (None, None) => {}
        }
        if let Some(room) = self.share_room.filter(|_| !self.fits()) {
            let who = self.priority.as_str();
            write!(f, "; {room} are left to {who} work, so they are spread until the reset")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::fresh(165, Some((0, 15_000)), Some(10_500), "needs about 165 calls, 1.1 % of today's room")]
    #[case::unknown(165, None, None, "needs about 165 calls")]
    #[case::one(1, Some((100, 1_100)), Some(600), "needs about 1 call, 0.1 % of today's room")]
    #[case::too_much(
        165,
        Some((10_400, 15_000)),
        Some(100),
        "needs about 165 calls, 3.6 % of today's room; 100 are left to bulk work, so they are spread until the reset"
    )]
    #[case::nothing_left(
        5,
        Some((15_000, 15_000)),
        Some(0),
        "needs about 5 calls, and nothing is left today; 0 are left to bulk work, so they are spread until the reset"
    )]
    fn a_forecast_says_what_a_person_wants_to_know(
        #[case] calls: u64,
        #[case] usage: Option<(u64, u64)>,
        #[case] share_room: Option<u64>,
        #[case] says: &str,
    ) {
        let usage = usage.map(|(used, limit)| QuotaSeen { used, limit });
        assert_eq!(Forecast::new(calls, Priority::Bulk, usage, share_room).to_string(), says);
    }
}
