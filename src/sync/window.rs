//! Which rows an increment reads: those whose stamp lies in a window of the org's own time.
//!
//! Promises: no row falls between two windows. The lower end is within the window and the upper end is not, so that rows of
//! one stamp are never torn apart; each window reaches back behind the watermark, because transactions commit later than
//! they stamp; both ends are by the org's clock, never by ours. A window is never upside down, and a clock that went back
//! further than windows overlap makes the next sync read everything.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Serialize};

use super::load::Watermark;
use super::told::span;
use crate::model::ObjectDescribe;

/// The field that says when a row last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the name of a field")]
pub enum CursorField {
    SystemModstamp,
    LastModifiedDate,
    CreatedDate,
    LoginTime,
}

impl CursorField {
    /// Best first: `LastModifiedDate` misses what the system itself changes, the others know no changes at all.
    pub const ALL: [Self; 4] =
        [Self::SystemModstamp, Self::LastModifiedDate, Self::CreatedDate, Self::LoginTime];

    /// The field's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SystemModstamp => "SystemModstamp",
            Self::LastModifiedDate => "LastModifiedDate",
            Self::CreatedDate => "CreatedDate",
            Self::LoginTime => "LoginTime",
        }
    }

    /// What an increment by this field cannot see, where there is something.
    pub fn blind_to(self) -> Option<&'static str> {
        match self {
            Self::SystemModstamp => None,
            Self::LastModifiedDate => Some("changes that only the system made"),
            Self::CreatedDate | Self::LoginTime => {
                Some("changes of rows that are there already; a full sync from time to time brings them")
            }
        }
    }
}

/// The field that increments of an object go by; `None`: it has none, and every sync reads everything.
pub fn cursor_field(describe: &ObjectDescribe) -> Option<CursorField> {
    let has = |cursor: &CursorField| {
        describe.fields.iter().any(|field| {
            field.field_type == "datetime" && field.name.as_str().eq_ignore_ascii_case(cursor.as_str())
        })
    };
    CursorField::ALL.into_iter().find(has)
}

/// The rows that one load reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// What it is measured by.
    pub cursor: CursorField,
    /// The first moment within, the overlap taken off; `None`: from the beginning, and without an end.
    pub from: Option<Timestamp>,
    /// The first moment behind it: the watermark, once the load is committed.
    pub to: Timestamp,
    /// What a person should know of it.
    pub note: Option<String>,
}

impl Window {
    /// Whether it holds every row.
    pub fn is_full(&self) -> bool {
        self.from.is_none()
    }

    /// The window as a condition that has no end: everything since it began.
    pub fn condition_without_end(&self) -> Option<String> {
        Some(format!("{} >= {}", self.cursor.as_str(), literal(self.from?)))
    }

    /// The condition, or nothing for every row. A full load has no upper end: a row that changes while it is read would
    /// else be missing, and a row that is missing from a full load leaves the target.
    pub fn condition(&self) -> Option<String> {
        let (cursor, from) = (self.cursor.as_str(), self.from?);
        Some(format!("{cursor} >= {} AND {cursor} < {}", literal(from), literal(self.to)))
    }
}

/// The window from `watermark` to the org's clock. Without a watermark it holds every row.
pub fn window(
    cursor: CursorField,
    watermark: Option<Watermark>,
    org_now: Timestamp,
    overlap: Duration,
) -> Window {
    let now = whole_milliseconds(org_now);
    let Some(Watermark { at }) = watermark else { return Window { cursor, from: None, to: now, note: None } };
    let at = whole_milliseconds(at);
    let back = at.duration_since(now).unsigned_abs();
    if at > now && back > overlap {
        // Rows may have been stamped anywhere: another org, or one that was restored.
        let note = format!(
            "the org's clock is {} behind the watermark, more than windows overlap: everything is read again",
            span(back)
        );
        return Window { cursor, from: None, to: now, note: Some(note) };
    }
    let note = (at > now)
        .then(|| format!("the org's clock is {} behind the watermark, which stays where it is", span(back)));
    let overlap = SignedDuration::try_from(overlap).unwrap_or(SignedDuration::MAX);
    let from = at.min(now).checked_sub(overlap).unwrap_or(Timestamp::MIN);
    Window { cursor, from: Some(from), to: at.max(now), note }
}

/// A point in time as SOQL has it: UTC, milliseconds, no quotes.
pub fn literal(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Stamps have milliseconds. Downwards: an upper end that is rounded up would be in the future.
fn whole_milliseconds(at: Timestamp) -> Timestamp {
    let down = TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Floor);
    at.round(down).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const OVERLAP: Duration = Duration::from_secs(300);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn mark(text: &str) -> Option<Watermark> {
        Some(Watermark { at: at(text) })
    }

    fn describe(fields: &[(&str, &str)]) -> ObjectDescribe {
        let fields: Vec<_> =
            fields.iter().map(|(name, kind)| serde_json::json!({"name": name, "type": kind})).collect();
        serde_json::from_value(serde_json::json!({"name": "Lead", "fields": fields})).unwrap()
    }

    #[rstest]
    #[case::all(&[("CreatedDate", "datetime"), ("LastModifiedDate", "datetime"), ("SystemModstamp", "datetime")], Some(CursorField::SystemModstamp))]
    #[case::no_stamp(&[("CreatedDate", "datetime"), ("LastModifiedDate", "datetime")], Some(CursorField::LastModifiedDate))]
    #[case::history(&[("CreatedDate", "datetime")], Some(CursorField::CreatedDate))]
    #[case::logins(&[("LoginTime", "datetime")], Some(CursorField::LoginTime))]
    #[case::another_type(&[("CreatedDate", "date")], None)]
    #[case::none(&[("Id", "id")], None)]
    fn the_best_stamp_that_an_object_has_is_taken(
        #[case] fields: &[(&str, &str)],
        #[case] expected: Option<CursorField>,
    ) {
        assert_eq!(cursor_field(&describe(fields)), expected);
    }

    #[test]
    fn a_first_window_holds_every_row_and_has_no_end() {
        let first = window(CursorField::SystemModstamp, None, at("2026-11-23T10:00:00.1234567Z"), OVERLAP);
        assert_eq!((first.from, first.to), (None, at("2026-11-23T10:00:00.123Z")));
        assert_eq!(first.condition(), None);
    }

    #[test]
    fn a_later_window_reaches_back_by_the_overlap() {
        let next = window(
            CursorField::LastModifiedDate,
            mark("2026-11-23T09:00:00Z"),
            at("2026-11-23T10:00:00Z"),
            OVERLAP,
        );
        assert_eq!(
            next.condition().unwrap(),
            "LastModifiedDate >= 2026-11-23T08:55:00.000Z AND LastModifiedDate < 2026-11-23T10:00:00.000Z"
        );
        assert_eq!(next.note, None);
    }

    #[test]
    fn a_clock_that_is_a_little_behind_moves_no_watermark_back() {
        let next = window(
            CursorField::SystemModstamp,
            mark("2026-11-23T10:00:02Z"),
            at("2026-11-23T10:00:00Z"),
            OVERLAP,
        );
        assert_eq!((next.from, next.to), (Some(at("2026-11-23T09:55:00Z")), at("2026-11-23T10:00:02Z")));
        assert!(next.note.unwrap().contains("2 s behind"));
    }

    #[test]
    fn a_clock_that_is_far_behind_makes_everything_be_read() {
        let next = window(
            CursorField::SystemModstamp,
            mark("2026-11-23T13:00:00Z"),
            at("2026-11-23T10:00:00Z"),
            OVERLAP,
        );
        assert!(next.is_full());
        assert_eq!(next.to, at("2026-11-23T10:00:00Z"));
        assert!(next.note.unwrap().contains("3 h behind"));
    }

    #[test]
    fn an_overlap_without_bounds_reads_from_the_beginning_of_time() {
        let all = window(
            CursorField::SystemModstamp,
            mark("2026-11-23T09:00:00Z"),
            at("2026-11-23T10:00:00Z"),
            Duration::MAX,
        );
        assert_eq!(all.from, Some(Timestamp::MIN));
    }

    proptest! {
        /// Clocks of servers differ by seconds; rows are stamped by one, the windows by another, and commit late.
        #[test]
        fn every_row_is_in_a_window_once_it_can_be_seen(
            steps in prop::collection::vec((1i64..4_000, -20_000i64..20_000), 2..12),
            stamp_ms in 0i64..20_000_000,
            late_ms in 0i64..200_000,
        ) {
            let start = at("2026-11-23T10:00:00Z");
            let stamped = start + SignedDuration::from_millis(stamp_ms);
            let visible = stamped + SignedDuration::from_millis(late_ms);
            let (mut mark, mut real, mut seen) = (None, start, false);
            let mut last_read = start;
            for (seconds, skew) in steps {
                real += SignedDuration::from_secs(seconds);
                let now = real + SignedDuration::from_millis(skew);
                let window = window(CursorField::SystemModstamp, mark, now, OVERLAP);
                prop_assert!(window.from.is_none_or(|from| from < window.to));
                let holds = window.from.is_none_or(|from| stamped >= from && stamped < window.to);
                seen |= holds && visible <= real;
                last_read = real;
                mark = Some(Watermark { at: window.to });
            }
            // Behind the last window lie only rows that a later one will hold.
            let is_due = visible + SignedDuration::from_secs(40) < last_read;
            prop_assert!(seen || !is_due, "{stamped} was not seen by {last_read}");
        }

        #[test]
        fn windows_meet_whatever_the_clock_says(
            before in 0i64..4_000_000_000_000, now in 0i64..4_000_000_000_000, overlap in 0u64..100_000,
        ) {
            let (before, now) = (Timestamp::from_millisecond(before).unwrap(), Timestamp::from_millisecond(now).unwrap());
            let next = window(CursorField::SystemModstamp, Some(Watermark { at: before }), now, Duration::from_millis(overlap));
            prop_assert!(next.from.is_none_or(|from| from <= before && from <= next.to));
            prop_assert!(next.is_full() || next.to >= before);
        }
    }
}
