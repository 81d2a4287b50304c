//! How a lead job begins: its source looked at, its sheet copied, its store made, the journal told.
//!
//! Promises: what is wrong with a source is said before anything is kept. Until the journal has the job there is nothing to
//! resume; from then on its folder holds all that it needs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::fetcher::chain;
use super::lead_intake::{ID_COLUMN_NOTE, SheetTask, of_text};
use super::lead_job::{LeadJobError, LeadJobs, SUMMARY};
use super::lead_report::report_name;
use super::lead_terms::LeadTerms;
use crate::http::api::lead_service::{LeadForecast, LeadProblem, StartLeads, StartSource};
use crate::leads::job::{LeadJobSpec, LeadSource, ReportFormat};
use crate::leads::settings::Price;
use crate::leads::{JobPhase, LeadCounts, LeadProgress, Money};
use crate::model::OrgName;
use crate::sheets::{OpenOptions, SheetError, SheetFormat, Workbook, find_ids};
use crate::store::lead_jobs::{FORECAST, IntakeRow, LeadJobStore, LeadStoreError};

/// Rows counted in one transaction of a forecast.
const CHUNK_ROWS: usize = 8_192;
/// Tries of an id that no other job has.
const NAMES: u32 = 1_000;

/// What was found in a sheet.
struct SheetFound {
    format: SheetFormat,
    sheet: Option<String>,
    id_column: String,
    place: usize,
}

/// What is done to a job before it is begun anew because somebody wants what failed tried again.
#[derive(Clone, Copy)]
struct Retry {
    /// Most that the job may spend from now on, what it has spent included; `None`: as before.
    max_cost: Option<Money>,
}

impl LeadJobs {
    /// Begins a job. When this returns it is in the journal.
    ///
    /// # Errors
    /// See [`LeadProblem`].
    pub(super) async fn start(&self, start: StartLeads) -> Result<Arc<LeadJobSpec>, LeadProblem> {
        let state = self.parts.engine.run_state();
        if state.draining || self.parts.engine.is_closed() {
            return Err(LeadProblem::Busy("the daemon is leaving; try again once it is back".to_owned()));
        }
        self.check_bound(start.max_cost, start.ask_model)?;
        let org = self.org(start.org.as_ref())?;
        let (source, place, format) = self.look_at(&start.source).await?;
        let settings = &self.parts.settings;
        let has_model = self.parts.asker.is_some();
        let spec = LeadJobSpec {
            job: String::new(),
            org,
            source,
            ask_model: start.ask_model && has_model,
            read_batch: start.read_batch.unwrap_or(settings.read_batch).max(1),
            assess_batch: start.assess_batch.unwrap_or(settings.assess_batch).max(1),
            max_cost: start.max_cost.or(settings.model.as_ref().and_then(|model| model.max_cost)),
            reports: if start.reports.is_empty() { vec![format] } else { start.reports.clone() },
        };
        let _turn = self.beginning.lock().await;
        if start.take_up
            && let Some(known) = self.same_job(&spec, &start.source).await
        {
            return self.take_up(&known).await;
        }
        let (folder, spec) = self.new_folder(spec).await?;
        let made = self.furnish(&folder, &spec, start.source, place).await;
        if let Err(problem) = made {
            // Nothing has been promised yet.
            drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await);
            return Err(problem);
        }
        let spec = Arc::new(spec);
        let last = not_begun(&spec);
        self.accept(Arc::clone(&spec), last).await.map_err(|error| problem(&error))?;
        self.launch(&spec.job).await;
        Ok(spec)
    }

    /// The org of a request: the one it names, or that of the settings, or the first.
    pub(super) fn org(&self, named: Option<&OrgName>) -> Result<OrgName, LeadProblem> {
        let org = named.or(self.parts.settings.org.as_ref()).or(self.parts.default_org.as_ref());
        let org = org.ok_or_else(|| LeadProblem::Wrong("the config has no [[org]]".to_owned()))?;
        if !self.parts.clients.contains_key(org) {
            return Err(LeadProblem::Wrong(format!("no org is named `{org}`; see [[org]] in the config")));
        }
        Ok(org.clone())
    }

    /// Looks at a source; tells it in the words of a job, the place of its ids, and the form of its report.
    async fn look_at(
        &self,
        source: &StartSource,
    ) -> Result<(LeadSource, Option<usize>, ReportFormat), LeadProblem> {
        match source {
            StartSource::Query { soql } => {
                Ok((LeadSource::Query { soql: soql.clone() }, None, ReportFormat::Jsonl))
            }
            StartSource::Ids { ids } => Ok((LeadSource::Ids { ids: ids.clone() }, None, ReportFormat::Jsonl)),
            StartSource::Sheet { path, name, sheet, id_column, .. } => {
                let spill = self.parts.folder.clone();
                let (path, called) = (path.clone(), name.clone());
                let (sheet, id_column) = (sheet.clone(), id_column.clone());
                let look = move || {
                    std::fs::create_dir_all(&spill).map_err(|source| SheetError::Io {
                        action: "make the folder of lead jobs",
                        source,
                    })?;
                    let options = OpenOptions::new(spill);
                    look_into(&path, &called, sheet.as_deref(), id_column.as_deref(), &options)
                };
                let found = blocking(look).await?.map_err(|error| LeadProblem::Wrong(chain(&error)))?;
                let format = match found.format {
                    SheetFormat::Xlsx | SheetFormat::Xls => ReportFormat::Xlsx,
                    SheetFormat::Csv | SheetFormat::Tsv => ReportFormat::Csv,
                };
                let source = LeadSource::Sheet {
                    file: format!("source.{}", found.format.as_str()),
                    name: name.clone(),
                    sheet: found.sheet,
                    id_column: found.id_column,
                };
                Ok((source, Some(found.place), format))
            }
        }
    }

    /// Makes a folder that no job has.
    async fn new_folder(&self, mut spec: LeadJobSpec) -> Result<(PathBuf, LeadJobSpec), LeadProblem> {
        let stamp = self.parts.clock.wall().strftime("%Y%m%dT%H%M%S%3f").to_string();
        let parent = self.parts.folder.clone();
        let made = blocking(move || {
            std::fs::create_dir_all(&parent)?;
            for nth in 0..NAMES {
                let job = if nth == 0 { format!("leads-{stamp}") } else { format!("leads-{stamp}-{nth}") };
                match std::fs::create_dir(parent.join(&job)) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    made => return made.map(|()| job),
                }
            }
            Err(io::Error::other("too many jobs at once"))
        });
        spec.job = made.await?.map_err(|error| {
            LeadProblem::Failed(format!(
                "make a folder for the job in `{}`: {error}",
                self.parts.folder.display()
            ))
        })?;
        Ok((self.folder(&spec.job), spec))
    }

    /// Puts into the folder what the job needs.
    async fn furnish(
        &self,
        folder: &Path,
        spec: &LeadJobSpec,
        source: StartSource,
        place: Option<usize>,
    ) -> Result<(), LeadProblem> {
        let (disk, into, of_store) = (Arc::clone(&self.parts.disk), folder.to_owned(), spec.clone());
        let copied = match (&spec.source, source) {
            (LeadSource::Sheet { file, .. }, StartSource::Sheet { path, is_ours, .. }) => {
                Some((path, is_ours, folder.join(file)))
            }
            _ => None,
        };
        let work = move || -> Result<LeadJobStore, LeadJobError> {
            if let Some((from, is_ours, to)) = copied {
                take_over(&from, is_ours, &to).map_err(|error| {
                    LeadJobError::Said(format!("copy `{}` into the job's folder: {error}", from.display()))
                })?;
            }
            Ok(LeadJobStore::create(&into, &of_store, disk)?)
        };
        let store = blocking(work).await?.map_err(|error| problem(&error))?;
        if let Some(place) = place {
            store.note(ID_COLUMN_NOTE, &place.to_string()).await.map_err(|error| problem(&error.into()))?;
        }
        Ok(())
    }

    /// A job that is not done, with the same source and options. Of a query one that is under way: what an ended one has
    /// found is as old as the job, and whoever asks again asks for what there is now.
    async fn same_job(&self, spec: &LeadJobSpec, source: &StartSource) -> Option<String> {
        let is_same = |known: &LeadJobSpec| {
            let job = known.job.clone();
            *known == LeadJobSpec { job, ..spec.clone() }
        };
        let is_query = matches!(spec.source, LeadSource::Query { .. });
        let is_left = |phase: JobPhase| if is_query { !phase.is_over() } else { phase != JobPhase::Done };
        let mut same: Vec<String> = self
            .known
            .iter()
            .filter(|known| known.run.is_some() || is_left(known.last.phase))
            .filter(|known| is_same(&known.spec))
            .map(|known| known.key().clone())
            .collect();
        same.sort_unstable();
        while let Some(job) = same.pop() {
            let (LeadSource::Sheet { file, .. }, StartSource::Sheet { path, .. }) = (&spec.source, source)
            else {
                return Some(job);
            };
            let (copy, path) = (self.folder(&job).join(file), path.clone());
            if blocking(move || is_same_file(&copy, &path)).await.is_ok_and(|same| same.unwrap_or(false)) {
                return Some(job);
            }
        }
        None
    }

    async fn take_up(&self, job: &str) -> Result<Arc<LeadJobSpec>, LeadProblem> {
        let Some(known) = self.known.get(job).map(|known| known.clone()) else {
            return Err(no_such_job(job));
        };
        if known.run.is_none() {
            self.begin_again(job, None).await?;
        }
        Ok(known.spec)
    }

    /// Tries again what failed; with `max_cost` the job may spend so much in all from now on.
    ///
    /// # Errors
    /// When there is no such job, or it runs.
    pub(super) async fn retry(
        &self,
        job: &str,
        max_cost: Option<Money>,
    ) -> Result<Arc<LeadJobSpec>, LeadProblem> {
        let begun = self.known.get(job).map(|known| known.begun).ok_or_else(|| no_such_job(job))?;
        let _turn = self.beginning.lock().await;
        let known = self.known.get(job).map(|known| known.clone()).ok_or_else(|| no_such_job(job))?;
        if known.run.is_some() || known.begun != begun {
            return Err(LeadProblem::NotYet(format!(
                "{job} runs; what fails in it can be tried again once it is over"
            )));
        }
        self.check_bound(max_cost, known.spec.ask_model)?;
        self.begin_again(job, Some(Retry { max_cost })).await?;
        Ok(self.known.get(job).map_or(known.spec, |known| Arc::clone(&known.spec)))
    }

    /// A bound that nothing is counted against would be none.
    fn check_bound(&self, max_cost: Option<Money>, ask_model: bool) -> Result<(), LeadProblem> {
        let price = self.parts.settings.model.as_ref().filter(|_| ask_model).map(|model| model.price);
        let is_free = |price: Price| price.prompt_per_million.0 == 0 && price.completion_per_million.0 == 0;
        if max_cost.is_some() && price.is_some_and(is_free) {
            return Err(LeadProblem::Wrong(
                "`max_cost` can never be reached: give `leads.model.prompt_price` and \
                 `leads.model.completion_price` in the config"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Begins a job anew that does not run. Whoever calls it holds `beginning`.
    async fn begin_again(&self, job: &str, retry: Option<Retry>) -> Result<(), LeadProblem> {
        let found = async {
            let store = self.store_of(job).await?;
            if let Some(Retry { max_cost }) = retry {
                if max_cost.is_some() {
                    store.set_max_cost(max_cost).await?;
                }
                store.reopen_failed().await?;
            }
            let ended = store.intake().await?.ended;
            let phase = if ended { JobPhase::Assessing } else { JobPhase::Intake };
            store.set_phase(phase, None).await?;
            Ok::<_, LeadJobError>((phase, store.counts().await?))
        };
        let (phase, counts) = found.await.map_err(|error| problem(&error))?;
        let mut spec =
            self.known.get(job).map(|known| Arc::clone(&known.spec)).ok_or_else(|| no_such_job(job))?;
        if let Some(Retry { max_cost: max_cost @ Some(_) }) = retry {
            spec = Arc::new(LeadJobSpec { max_cost, ..(*spec).clone() });
        }
        // In the journal before its summary goes: a job that neither knows would be swept away.
        let last = LeadProgress { phase, counts, ..not_begun(&spec) };
        self.accept(spec, last).await.map_err(|error| problem(&error))?;
        // Its reports tell of before.
        let (folder, formats) =
            (self.folder(job), [ReportFormat::Xlsx, ReportFormat::Csv, ReportFormat::Jsonl]);
        blocking(move || {
            for name in formats.map(report_name).into_iter().chain([SUMMARY.to_owned()]) {
                drop(std::fs::remove_file(folder.join(name)));
            }
        })
        .await?;
        self.launch(job).await;
        Ok(())
    }

    /// Counts the ids of a source as a job would, and says what the job would take.
    ///
    /// # Errors
    /// What is wrong with the source.
    pub(super) async fn forecast(&self, start: StartLeads) -> Result<LeadForecast, LeadProblem> {
        self.check_bound(start.max_cost, start.ask_model)?;
        let org = self.org(start.org.as_ref())?;
        let (source, place, format) = self.look_at(&start.source).await?;
        let settings = &self.parts.settings;
        let spec = LeadJobSpec {
            job: "forecast".to_owned(),
            org,
            source,
            ask_model: start.ask_model,
            read_batch: start.read_batch.unwrap_or(settings.read_batch).max(1),
            assess_batch: start.assess_batch.unwrap_or(settings.assess_batch).max(1),
            max_cost: start.max_cost,
            reports: vec![format],
        };
        let counts = self.count(&spec, start.source, place).await.map_err(|error| problem(&error))?;
        let asker = self.parts.asker.as_deref().filter(|_| start.ask_model);
        let terms = LeadTerms::new(settings, asker, &[]);
        Ok(super::lead_forecast::of(counts, &spec, settings, terms.prompt.as_ref()))
    }

    /// The counts of a source, by a store that goes with them.
    async fn count(
        &self,
        spec: &LeadJobSpec,
        source: StartSource,
        place: Option<usize>,
    ) -> Result<LeadCounts, LeadJobError> {
        let parent = self.parts.folder.clone();
        let io = |error: io::Error| LeadJobError::Said(format!("make a folder for a forecast: {error}"));
        let (disk, of_store) = (Arc::clone(&self.parts.disk), spec.clone());
        let made = tokio::task::spawn_blocking(move || -> Result<_, LeadJobError> {
            std::fs::create_dir_all(&parent).map_err(io)?;
            let folder = tempfile::Builder::new().prefix(FORECAST).tempdir_in(&parent).map_err(io)?;
            let store = LeadJobStore::create(folder.path(), &of_store, disk)?;
            Ok((folder, store))
        });
        let (folder, store) = made.await.map_err(|error| LeadJobError::Said(error.to_string()))??;
        match (&spec.source, source) {
            (LeadSource::Sheet { sheet, id_column, .. }, StartSource::Sheet { path, name, .. }) => {
                let task = SheetTask {
                    path,
                    name,
                    sheet: sheet.clone(),
                    id_column: id_column.clone(),
                    place,
                    options: OpenOptions::new(folder.path()),
                    from: 0,
                };
                let (chunks, mut read) = mpsc::channel::<Vec<IntakeRow>>(1);
                let reading = tokio::task::spawn_blocking(move || task.read(&chunks));
                while let Some(rows) = read.recv().await {
                    store.add_rows(rows).await?;
                }
                reading.await.map_err(|error| LeadJobError::Said(error.to_string()))??;
            }
            (LeadSource::Ids { ids }, _) => {
                let rows: Vec<IntakeRow> =
                    (1..).zip(ids).map(|(row, written)| IntakeRow { row, id: of_text(written) }).collect();
                for chunk in rows.chunks(CHUNK_ROWS) {
                    store.add_rows(chunk.to_vec()).await?;
                }
            }
            _ => {
                return Err(LeadJobError::Said(
                    "what a query finds is only known once it is sent; a preview of it says how many"
                        .to_owned(),
                ));
            }
        }
        let counts = store.end_intake().await?;
        drop(store);
        drop(tokio::task::spawn_blocking(move || folder.close()).await);
        Ok(counts)
    }
}

fn not_begun(spec: &LeadJobSpec) -> LeadProgress {
    LeadProgress {
        job: spec.job.clone(),
        phase: JobPhase::Intake,
        counts: LeadCounts::default(),
        org_calls: 0,
        elapsed_secs: 0.0,
        leads_per_sec: 0.0,
        seconds_left: None,
        waits: None,
        error: None,
    }
}

pub(super) fn no_such_job(job: &str) -> LeadProblem {
    LeadProblem::NotFound(format!("there is no lead job `{job}`; `penstock leads list` shows them"))
}

/// An error in the words of whoever asked.
pub(super) fn problem(error: &LeadJobError) -> LeadProblem {
    match error {
        LeadJobError::Sheet(_) | LeadJobError::UnknownOrg(_) | LeadJobError::Columns(_) => {
            LeadProblem::Wrong(chain(error))
        }
        LeadJobError::Store(LeadStoreError::DiskFull) => LeadProblem::Busy(chain(error)),
        LeadJobError::Interrupted => LeadProblem::Busy(chain(error)),
        _ => LeadProblem::Failed(chain(error)),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LeadProblem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LeadProblem::Failed(error.to_string()))
}

/// Finds the sheet and the column with the ids.
fn look_into(
    path: &Path,
    name: &str,
    sheet: Option<&str>,
    id_column: Option<&str>,
    options: &OpenOptions,
) -> Result<SheetFound, SheetError> {
    let mut workbook = Workbook::open(path, name, options)?;
    let format = workbook.format();
    let is_text = matches!(format, SheetFormat::Csv | SheetFormat::Tsv);
    let (sheet, column) = find_ids(&mut workbook, sheet, id_column)?;
    let sheet = (!is_text).then_some(sheet);
    Ok(SheetFound { format, sheet, id_column: column.header, place: column.index })
}

/// Puts a copy of a sheet into its job's folder; one that is ours already moves there.
fn take_over(from: &Path, is_ours: bool, to: &Path) -> io::Result<()> {
    if !is_ours || std::fs::rename(from, to).is_err() {
        std::fs::copy(from, to)?;
        if is_ours {
            drop(std::fs::remove_file(from));
        }
    }
    File::open(to)?.sync_all()
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = one.read(&mut a)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut b[..read])?;
        if a[..read] != b[..read] {
            return Ok(false);
        }
    }
}
