//! Keeps the folder of lead jobs small: jobs that are old enough go, and so does what a killed process left behind.
//!
//! Promises: nothing of a job goes that runs, that the journal has, or that has found any row; whoever asks for a job that
//! goes is told that there is none, not half of it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fetcher::chain;
use super::lead_job::{LeadJobs, SUMMARY};
use crate::store::lead_jobs::LeadJobsFolder;

/// Longest time between two looks for jobs that are old enough to go.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3_600);
/// Shortest.
const LOOK_AT_MOST: Duration = Duration::from_millis(100);

/// Time between two looks: a job stays at most a tenth longer than it has to.
fn between_looks(keep: Duration) -> Duration {
    (keep / 10).clamp(LOOK_AT_MOST, LOOK_AT_LEAST)
}

impl LeadJobs {
    /// Looks for jobs that are old enough to go, for as long as anybody else holds these jobs.
    pub(super) fn keep_tidy(&self) {
        let (parts, known) = (Arc::downgrade(&self.parts), Arc::downgrade(&self.known));
        let (beginning, clock) = (Arc::clone(&self.beginning), self.parts.clock.clone());
        let every = between_looks(self.parts.settings.keep_jobs);
        tokio::spawn(async move {
            loop {
                clock.sleep(every).await;
                let (Some(parts), Some(known)) = (parts.upgrade(), known.upgrade()) else { return };
                if parts.engine.is_closed() {
                    return;
                }
                Self { parts, known, beginning: Arc::clone(&beginning) }.remove_old().await;
            }
        });
    }

    async fn remove_old(&self) {
        // Nobody begins again what goes.
        let _turn = self.beginning.lock().await;
        let is_over = |run: bool, phase: crate::leads::JobPhase| !run && phase.is_over();
        let over: Vec<String> = self
            .known
            .iter()
            .filter(|known| is_over(known.run.is_some(), known.last.phase))
            .map(|known| known.key().clone())
            .collect();
        let (folder, now) = (self.parts.folder.clone(), self.parts.clock.wall());
        let keep = self.parts.settings.keep_jobs;
        let look = move || {
            let is_old =
                |job: &String| age(&folder.join(job).join(SUMMARY), now).is_some_and(|age| age > keep);
            over.into_iter().filter(is_old).collect::<Vec<_>>()
        };
        let Ok(old) = tokio::task::spawn_blocking(look).await else { return };
        for job in old {
            self.known.remove(&job);
            let folder = LeadJobsFolder::new(self.parts.folder.clone());
            let gone = job.clone();
            match tokio::task::spawn_blocking(move || folder.remove(&gone)).await {
                Ok(Ok(())) => tracing::info!(job, "a lead job was old enough to go"),
                Ok(Err(error)) => {
                    tracing::warn!(job, error = chain(&error), "an old lead job could not be removed");
                }
                Err(_stopped) => return,
            }
        }
    }
}

/// How long ago a file was written; `None` when nobody can tell. One from the future is new.
pub(super) fn age(path: &Path, now: jiff::Timestamp) -> Option<Duration> {
    let written = std::fs::metadata(path).and_then(|data| data.modified()).ok()?;
    let written = jiff::Timestamp::try_from(written).ok()?;
    Some(Duration::try_from(now.duration_since(written)).unwrap_or_default())
}

/// Takes away what a process left that was killed before its job was in the journal. Only whoever holds the state folder may.
pub(super) fn sweep(folder: &Path, in_journal: &HashSet<String>) {
    let is_known = |job: &str| in_journal.contains(job) || folder.join(job).join(SUMMARY).exists();
    match LeadJobsFolder::new(folder.to_owned()).sweep(is_known) {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => tracing::info!(?swept, "what a killed process left among the lead jobs is gone"),
        Err(error) => tracing::warn!(error = chain(&error), "the folder of lead jobs could not be tidied"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_as_often_as_jobs_are_kept_short() {
        let secs = Duration::from_secs;
        assert_eq!(between_looks(secs(30 * 86_400)), secs(3_600));
        assert_eq!(between_looks(secs(600)), secs(60));
        assert_eq!(between_looks(secs(0)), LOOK_AT_MOST);
    }
}
