//! The folder of all lead jobs: which there are, which are old enough to go, what they take on the disk.
//!
//! Promises: a job is looked at without reading its rows. One that goes is renamed first, so that a process killed meanwhile
//! leaves no half job; one that is damaged is put aside and never deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::LeadStoreError;
use super::{JOB_FILE, schema};
use crate::clock::SharedClock;
use crate::leads::{JobPhase, LeadCounts, LeadJobSpec};

/// In front of the name of a folder in which the ids of a list are only counted.
pub const FORECAST: &str = ".forecast-";
/// In front of the name of every job.
const JOB: &str = "leads-";
/// In front of the name of a job that goes.
const GOING: &str = ".going-";
/// In the name of a job that was put aside.
const ASIDE: &str = ".quarantine-";

/// The folder of all lead jobs.
#[derive(Debug, Clone)]
pub struct LeadJobsFolder {
    path: PathBuf,
}

/// A job as it lies in the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadJobSummary {
    /// What was asked for.
    pub spec: LeadJobSpec,
    /// Where it is.
    pub phase: JobPhase,
    /// Why it failed.
    pub error: Option<String>,
    /// Its counts.
    pub counts: LeadCounts,
}

/// A folder that should hold a job.
#[derive(Debug)]
pub struct FoundLeadJob {
    /// It.
    pub folder: PathBuf,
    /// The job, or why it cannot be read: [`LeadStoreError::Missing`] where a process was killed before the job began.
    pub job: Result<LeadJobSummary, LeadStoreError>,
}

impl LeadJobsFolder {
    /// This folder, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder of one job.
    pub fn job(&self, job: &str) -> PathBuf {
        self.path.join(job)
    }

    /// Every job, by name, which is by age. What was put aside, or was going when a process was killed, is none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn jobs(&self) -> io::Result<Vec<FoundLeadJob>> {
        let mut folders = self.folders(|name| !name.starts_with('.') && !name.contains(ASIDE))?;
        folders.sort();
        Ok(folders.into_iter().map(|folder| FoundLeadJob { job: look(&folder), folder }).collect())
    }

    fn folders(&self, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() && wanted(&entry.file_name().to_string_lossy()) {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// Removes jobs that have been over for longer than `keep`, and what an earlier removal has left. Answers the names of
    /// the jobs; a job that cannot be read stays.
    ///
    /// # Errors
    /// The first of the operating system; the rest stays for the next time.
    pub fn remove_old(&self, keep: Duration, clock: &SharedClock) -> io::Result<Vec<String>> {
        for left in self.folders(|name| name.starts_with(GOING))? {
            fs::remove_dir_all(left)?;
        }
        let now = clock.wall();
        let mut removed = Vec::new();
        for found in self.jobs()? {
            let is_over = found.job.is_ok_and(|job| job.phase.is_over());
            if is_over && age(&found.folder, now)? > keep {
                removed.extend(self.remove_folder(&found.folder)?);
            }
        }
        Ok(removed)
    }

    /// Removes what a killed process left: counts of lists, jobs on their way out, and folders of jobs that nobody knows and
    /// that have not found a row. A job that has, or that cannot be read, stays. Answers their names.
    ///
    /// # Errors
    /// The first of the operating system; the rest stays for the next time.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut swept = Vec::new();
        for left in self.folders(|name| name.starts_with(FORECAST) || name.starts_with(GOING))? {
            fs::remove_dir_all(&left)?;
            swept.extend(name_of(&left));
        }
        let is_job = |name: &str| name.starts_with(JOB) && !name.contains(ASIDE);
        for folder in self.folders(|name| is_job(name) && !is_known(name))? {
            match look(&folder) {
                Err(LeadStoreError::Missing(_)) => {}
                Ok(job) if job.counts == LeadCounts::default() => {}
                Ok(_) | Err(_) => continue,
            }
            swept.extend(self.remove_folder(&folder)?);
        }
        Ok(swept)
    }

    /// Removes a job with all that is in its folder. One that is not there is no error.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove(&self, job: &str) -> io::Result<()> {
        self.remove_folder(&self.job(job)).map(|_name| ())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<Option<String>> {
        let Some(name) = name_of(folder) else { return Ok(None) };
        let going = self.path.join(format!("{GOING}{name}"));
        match fs::rename(folder, &going) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        fs::remove_dir_all(going)?;
        Ok(Some(name))
    }

    /// Puts a damaged job aside with all that is in its folder. Answers where it is now.
    ///
    /// # Errors
    /// Those of the rename.
    pub fn put_aside(&self, folder: &Path, clock: &SharedClock) -> io::Result<PathBuf> {
        let stamp = clock.wall().strftime("%Y%m%dT%H%M%S%3f");
        let name = name_of(folder).unwrap_or_default();
        let aside = self.path.join(format!("{name}{ASIDE}{stamp}"));
        fs::rename(folder, &aside)?;
        Ok(aside)
    }

    /// Bytes that all jobs take on the disk. Reads folders: not for a thread that must not block.
    pub fn disk_bytes(&self) -> u64 {
        bytes_below(&self.path)
    }
}

fn name_of(folder: &Path) -> Option<String> {
    folder.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Reads a job without its rows.
fn look(folder: &Path) -> Result<LeadJobSummary, LeadStoreError> {
    let path = folder.join(JOB_FILE);
    let connection = schema::open_to_read(&path)?;
    let schema::JobRow { spec, phase, error, counts, .. } = schema::job_row(&connection, &path)?;
    Ok(LeadJobSummary { spec, phase, error, counts })
}

/// Time since anything was last written to a job's file.
fn age(folder: &Path, now: jiff::Timestamp) -> io::Result<Duration> {
    let wal = folder.join(format!("{JOB_FILE}-wal"));
    let mut written = fs::metadata(folder.join(JOB_FILE))?.modified()?;
    // Its log is there only while somebody has it open, or after a kill.
    if let Ok(wal) = fs::metadata(wal).and_then(|wal| wal.modified()) {
        written = written.max(wal);
    }
    let written = jiff::Timestamp::try_from(written).map_err(io::Error::other)?;
    // A file from the future is new.
    Ok(Duration::try_from(now.duration_since(written)).unwrap_or_default())
}

fn bytes_below(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::read_dir(path)
            .map_or(0, |entries| entries.flatten().map(|entry| bytes_below(&entry.path())).sum()),
        Ok(found) => found.len(),
        // What goes while it is counted counts nothing.
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::leads::LeadJobSpec;
    use crate::store::lead_jobs::tests::spec;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A job that nobody has open.
    fn make(folder: &LeadJobsFolder, job: &str, phase: JobPhase, clock: &Arc<ManualClock>) {
        let path = folder.job(job).join(JOB_FILE);
        fs::create_dir_all(folder.job(job)).unwrap();
        let connection = schema::create(&path, &LeadJobSpec { job: job.to_owned(), ..spec() }).unwrap();
        let row = schema::JobRow { phase, ..schema::job_row(&connection, &path).unwrap() };
        schema::keep_job_row(&connection, &path, &row).unwrap();
        drop(connection);
        fs::write(folder.job(job).join("report.csv"), b"report").unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(clock.wall().into()).unwrap();
    }

    fn names(folder: &LeadJobsFolder) -> Vec<String> {
        let jobs = folder.jobs().unwrap().into_iter();
        jobs.map(|found| found.folder.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn jobs_are_found_by_age_and_what_is_none_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = LeadJobsFolder::new(root.path().join("leads"));
        assert!(folder.jobs().unwrap().is_empty());
        assert_eq!(folder.disk_bytes(), 0);
        let clock = ManualClock::new();
        make(&folder, "leads-20260102", JobPhase::Assessing, &clock);
        make(&folder, "leads-20260101", JobPhase::Done, &clock);
        fs::create_dir(folder.job("leads-20260103")).unwrap();
        fs::create_dir(folder.job("leads-20260104")).unwrap();
        fs::write(folder.job("leads-20260104").join(JOB_FILE), [b'x'; 4096]).unwrap();
        fs::write(folder.job("assessments.sqlite"), b"").unwrap();
        let jobs = folder.jobs().unwrap();
        assert_eq!(names(&folder), ["leads-20260101", "leads-20260102", "leads-20260103", "leads-20260104"]);
        let phases: Vec<_> = jobs.iter().take(2).map(|found| found.job.as_ref().unwrap().phase).collect();
        assert_eq!(phases, [JobPhase::Done, JobPhase::Assessing]);
        let path = folder.job("leads-20260103").join(JOB_FILE);
        assert_eq!(jobs[2].job, Err(LeadStoreError::Missing(path)));
        assert!(jobs[3].job.as_ref().unwrap_err().is_damage());
        let shared: SharedClock = clock;
        let aside = folder.put_aside(&jobs[3].folder, &shared).unwrap();
        assert!(aside.join(JOB_FILE).exists());
        assert_eq!(names(&folder).len(), 3);
        assert!(folder.disk_bytes() > 12_000);
    }

    #[test]
    fn what_a_killed_process_left_goes_and_no_job_that_anybody_knows_or_that_has_rows() {
        let root = tempfile::tempdir().unwrap();
        let folder = LeadJobsFolder::new(root.path().to_owned());
        let clock = ManualClock::new();
        make(&folder, "leads-1-known", JobPhase::Intake, &clock);
        make(&folder, "leads-2-unknown", JobPhase::Intake, &clock);
        make(&folder, "leads-3-with-rows", JobPhase::Assessing, &clock);
        let path = folder.job("leads-3-with-rows").join(JOB_FILE);
        let connection = rusqlite::Connection::open(&path).unwrap();
        let mut row = schema::job_row(&connection, &path).unwrap();
        row.counts.rows = 1;
        schema::keep_job_row(&connection, &path, &row).unwrap();
        drop(connection);
        for empty in ["leads-4-empty", "leads-5-damaged", "uploads", ".forecast-x", ".going-leads-0"] {
            fs::create_dir(folder.job(empty)).unwrap();
        }
        fs::write(folder.job("leads-5-damaged").join(JOB_FILE), [b'x'; 4096]).unwrap();
        fs::write(folder.job(".forecast-x").join(JOB_FILE), b"").unwrap();
        let mut swept = folder.sweep(|job| job == "leads-1-known").unwrap();
        swept.sort();
        assert_eq!(swept, [".forecast-x", ".going-leads-0", "leads-2-unknown", "leads-4-empty"]);
        assert_eq!(
            names(&folder),
            ["leads-1-known", "leads-3-with-rows", "leads-5-damaged", "uploads"],
            "what could be somebody's stays"
        );
    }

    #[test]
    fn old_jobs_go_and_unfinished_ones_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = LeadJobsFolder::new(root.path().to_owned());
        let clock = ManualClock::new();
        make(&folder, "leads-1", JobPhase::Done, &clock);
        make(&folder, "leads-2", JobPhase::Assessing, &clock);
        clock.advance(Duration::from_secs(3_600));
        make(&folder, "leads-3", JobPhase::Failed, &clock);
        // A removal that was killed.
        fs::create_dir_all(folder.job(".going-leads-0")).unwrap();
        let shared: SharedClock = clock.clone();
        assert!(folder.remove_old(DAY, &shared).unwrap().is_empty());
        assert!(!folder.job(".going-leads-0").exists());
        clock.advance(DAY - Duration::from_secs(60));
        assert_eq!(folder.remove_old(DAY, &shared).unwrap(), ["leads-1"]);
        assert_eq!(names(&folder), ["leads-2", "leads-3"]);
        clock.advance(DAY);
        assert_eq!(folder.remove_old(DAY, &shared).unwrap(), ["leads-3"]);
        folder.remove("leads-2").unwrap();
        folder.remove("leads-2").unwrap();
        assert!(names(&folder).is_empty());
    }
}
