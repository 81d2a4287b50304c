//! Starts syncs when they are due.
//!
//! Promises: an object whose sync still runs when it is due again is not started twice; times that the process slept through,
//! or that passed while the line was paused, count as one. An object with an interval that was never synced is due at once;
//! one that was is due that long after its last sync, whatever restarts there were between.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::sync_desk::{SyncDesk, SyncOrder};
use crate::model::ObjectName;
use crate::sync::ObjectSettings;
use crate::sync::schedule::Schedule;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(500);

/// When an object is synced by itself, in words.
pub(super) fn in_words(settings: &ObjectSettings) -> Option<String> {
    Some(schedule_of(settings)?.to_string())
}

/// A schedule that the configuration's check has let through.
fn schedule_of(settings: &ObjectSettings) -> Option<Schedule> {
    match Schedule::of(settings.every, settings.cron.as_deref()) {
        Ok(schedule) => schedule,
        Err(error) => {
            tracing::error!(object = %settings.object, %error, "an object is not synced by itself");
            None
        }
    }
}

/// When an object is due first, after a start at `now`.
fn first_run(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    match (schedule, last) {
        (Schedule::Every(_), None) => Some(now),
        (Schedule::Every(_), Some(last)) => schedule.next(last.min(now)).map(|next| next.max(now)),
        (Schedule::Cron(_), _) => schedule.next(now),
    }
}

impl SyncDesk {
    /// Runs the schedules until the engine ends. Called once, by a daemon; a command that syncs once has no use for it.
    pub fn run_schedules(&self) {
        let schedules: HashMap<ObjectName, Schedule> = self
            .settings()
            .objects
            .iter()
            .filter_map(|settings| Some((settings.object.clone(), schedule_of(settings)?)))
            .collect();
        if schedules.is_empty() {
            return;
        }
        let now = self.parts.clock.wall();
        for (object, schedule) in &schedules {
            let last = self.records.facts(object).last.map(|last| last.sync_timestamp);
            self.set_next(object, first_run(schedule, last, now));
        }
        let desk = self.clone();
        tokio::spawn(async move {
            while !desk.parts.engine.is_closed() {
                desk.start_what_is_due(&schedules);
                desk.parts.clock.sleep(TICK).await;
            }
        });
    }

    fn start_what_is_due(&self, schedules: &HashMap<ObjectName, Schedule>) {
        // While the line is paused nothing becomes due; it is when it goes on.
        if !self.parts.engine.run_state().admits() {
            return;
        }
        let now = self.parts.clock.wall();
        let is_due = |object: &&ObjectName| self.next_runs.get(*object).is_some_and(|next| *next <= now);
        // In the order of the settings, which a person chose.
        let due = self.settings().objects.iter().map(|settings| &settings.object).filter(is_due);
        let mut start = Vec::new();
        for object in due {
            self.set_next(object, schedules.get(object).and_then(|schedule| schedule.next(now)));
            if !self.is_running(object) {
                start.push(object.clone());
            }
        }
        if !start.is_empty() {
            let desk = self.clone();
            tokio::spawn(async move { drop(desk.sync(SyncOrder::of(start)).await) });
        }
    }

    fn set_next(&self, object: &ObjectName, next: Option<Timestamp>) {
        match next {
            Some(next) => drop(self.next_runs.insert(object.clone(), next)),
            None => drop(self.next_runs.remove(object)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-23T{text}Z").parse().unwrap()
    }

    #[rstest]
    #[case::never_synced(None, "12:00:00")]
    #[case::synced_lately(Some("11:50:00"), "12:50:00")]
    #[case::slept_through(Some("02:00:00"), "12:00:00")]
    #[case::clock_went_back(Some("13:00:00"), "13:00:00")]
    fn an_interval_goes_on_from_the_last_sync(#[case] last: Option<&str>, #[case] expected: &str) {
        let hourly = Schedule::Every(Duration::from_secs(3_600));
        assert_eq!(first_run(&hourly, last.map(at), at("12:00:00")), Some(at(expected)));
    }

    #[test]
    fn a_cron_schedule_waits_for_its_time() {
        let daily = Schedule::of(None, Some("30 4 * * *")).unwrap().unwrap();
        let first = first_run(&daily, None, at("12:00:00")).unwrap();
        assert_eq!(first.to_string(), "2026-11-24T04:30:00Z");
    }
}
