//! What every kind of job has: an id, an age, an end, and a place in a list that forgets it seven days after its end.

use super::BulkOptions;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const DAY_MS: i64 = 86_400_000;
/// Finished jobs are kept so long.
const KEPT_MS: i64 = 7 * DAY_MS;

/// A job in a [`Store`].
pub trait Job {
    /// Its id, 18 characters.
    fn id(&self) -> &str;
    /// When it ended, in epoch milliseconds; `None` while it has not.
    fn ended_ms(&self) -> Option<i64>;
}

/// The jobs of one kind, oldest first.
pub struct Store<J> {
    jobs: Mutex<Vec<Arc<J>>>,
}

impl<J> Default for Store<J> {
    fn default() -> Self {
        Self { jobs: Mutex::default() }
    }
}

impl<J: Job> Store<J> {
    /// Adds a job.
    pub fn add(&self, job: J) -> Arc<J> {
        let job = Arc::new(job);
        self.lock().push(job.clone());
        job
    }

    /// The job of this id (15 or 18 characters).
    pub fn get(&self, id: &str, now_ms: i64) -> Option<Arc<J>> {
        self.all(now_ms).into_iter().find(|job| crate::ids::key(job.id()) == crate::ids::key(id))
    }

    /// Every job that is still known, oldest first.
    pub fn all(&self, now_ms: i64) -> Vec<Arc<J>> {
        let mut jobs = self.lock();
        jobs.retain(|job| job.ended_ms().is_none_or(|ended| now_ms - ended < KEPT_MS));
        jobs.clone()
    }

    /// Forgets a job.
    pub fn remove(&self, id: &str) {
        self.lock().retain(|job| job.id() != id);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<J>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a job's work will go; settled when it is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Completes,
    /// With the message that the job shows, if it shows one.
    Fails(Option<String>),
    NeverEnds,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Complete,
    Failed(Option<String>),
    Aborted,
}

/// Where a job's work stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Accepted, not begun.
    Waiting,
    InProgress,
    Ended(End),
}

impl State {
    /// The name Bulk API 2.0 gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::Ended(End::Complete) => "JobComplete",
            Self::Ended(End::Failed(_)) => "Failed",
            Self::Ended(End::Aborted) => "Aborted",
        }
    }
}

/// Work that goes on by itself: status requests and the clock move it along.
#[derive(Debug)]
pub struct Work {
    begun_ms: i64,
    fate: Fate,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    polls: u32,
    ended: Option<(End, i64)>,
}

impl Work {
    /// Work that begins at `now_ms`.
    pub fn begin(now_ms: i64, fate: Fate) -> Self {
        Self { begun_ms: now_ms, fate, progress: Mutex::default() }
    }

    /// The state at `now_ms`. `polled`: this is a status request, which counts.
    pub fn state(&self, now_ms: i64, options: &BulkOptions, polled: bool) -> State {
        let mut progress = self.lock();
        if progress.ended.is_none() {
            let end = match &self.fate {
                Fate::Completes => Some(End::Complete),
                Fate::Fails(message) => Some(End::Failed(message.clone())),
                Fate::NeverEnds => None,
            };
            let due_ms = self.begun_ms.saturating_add(options.millis_until_done);
            let due = progress.polls >= options.polls_until_done && now_ms >= due_ms;
            if let (Some(end), true) = (end, due) {
                progress.ended = Some((end, due_ms));
            }
        }
        progress.polls += u32::from(polled);
        match &progress.ended {
            Some((end, _)) => State::Ended(end.clone()),
            None if progress.polls <= u32::from(polled) => State::Waiting,
            None => State::InProgress,
        }
    }

    /// Ends the work; false when it had ended before.
    pub fn abort(&self, now_ms: i64) -> bool {
        let mut progress = self.lock();
        let running = progress.ended.is_none();
        if running {
            progress.ended = Some((End::Aborted, now_ms));
        }
        running
    }

    /// When it ended.
    pub fn ended_ms(&self) -> Option<i64> {
        self.lock().ended.as_ref().map(|(_, at)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what was created in the last 24 hours.
#[derive(Debug, Default)]
pub struct JobsOfADay {
    created_ms: Mutex<VecDeque<i64>>,
}

impl JobsOfADay {
    /// Created in the 24 hours before `now_ms`.
    pub fn count(&self, now_ms: i64) -> u64 {
        let mut created = self.created_ms.lock().unwrap_or_else(PoisonError::into_inner);
        while created.front().is_some_and(|at| now_ms - at >= DAY_MS) {
            created.pop_front();
        }
        created.len() as u64
    }

    /// Counts one more.
    pub fn add(&self, now_ms: i64) {
        self.created_ms.lock().unwrap_or_else(PoisonError::into_inner).push_back(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::at_once(0, 0, &[(0, "JobComplete")])]
    #[case::by_polls(2, 0, &[(0, "UploadComplete"), (0, "InProgress"), (0, "JobComplete")])]
    #[case::by_time(0, 500, &[(0, "UploadComplete"), (499, "InProgress"), (500, "JobComplete")])]
    #[case::by_both(1, 500, &[(600, "UploadComplete"), (600, "JobComplete"), (600, "JobComplete")])]
    fn a_job_is_done_after_its_polls_and_its_time(
        #[case] polls_until_done: u32,
        #[case] millis_until_done: i64,
        #[case] expected: &[(i64, &str)],
    ) {
        let options = BulkOptions { polls_until_done, millis_until_done, ..BulkOptions::default() };
        let work = Work::begin(0, Fate::Completes);
        for (now_ms, name) in expected {
            assert_eq!(work.state(*now_ms, &options, true).name(), *name, "at {now_ms}");
        }
    }

    #[test]
    fn a_day_has_24_hours() {
        let jobs = JobsOfADay::default();
        [0, 1, 2].into_iter().for_each(|at| jobs.add(at));
        assert_eq!(jobs.count(DAY_MS - 1), 3);
        assert_eq!(jobs.count(DAY_MS + 1), 1);
    }
}
