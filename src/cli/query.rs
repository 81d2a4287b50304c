//! `penstock query`: the rows of one query as JSON lines, on stdout or into a file that survives kill -9.
//!
//! Promises for `--out FILE`: rows go to `FILE.part`; after each page the part is synced, and only then does
//! `FILE.part.json` say how far it reaches, so that the same command, run again, goes on behind the last page
//! with the same job or cursor and every row is there once. `FILE` itself is seen whole, old or new. A job at
//! the org is deleted at the end, whatever the end is, save one that can be resumed.
//!
//! One window stays open: killed after the org has created the job and before `FILE.part.json` names it, a
//! query leaves a job behind that the next run cannot know, because a job carries nothing of ours to tell it
//! by. The next run then creates a job of its own; no row is lost or doubled, and the org removes the other
//! one after seven days.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::{Deserialize, Serialize};

use super::{CONFIG, FAILED, USAGE, one_shot};
use crate::actors::fetcher::chain;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::desk::LEFT_OVER;
use crate::model::{ObjectDescribe, ObjectName, OrgName};
use crate::plant::Plant;
use crate::salesforce::rows::{Columns, Row};
use crate::salesforce::statement::{ColumnTypes, Statement, columns_of, targets};
use crate::salesforce::{
    BulkCheckpoint, BulkError, BulkOptions, BulkQuery, CursorCheckpoint, HandoverError, OrgClient, OrgError,
    QueryError, RowReader, Surface,
};
use crate::store::atomic_file::AtomicFile;

/// From so many rows on a bulk job costs fewer calls than pages of 2,000.
const BULK_FROM_ROWS: u64 = 10_000;
/// A statement longer than this does not fit an address with its headers; a bulk job takes it in its body.
const STATEMENT_BYTES_BY_REST: usize = 10_000;
/// The exit code for credentials that the org refuses.
const REFUSED_LOGIN: u8 = 77;
/// Told to end, a query whose rows went to stdout deletes its job: two calls, and what the network makes of them.
const TO_TIDY_UP: Duration = Duration::from_secs(15);
const BETWEEN_NUMBERS: Duration = Duration::from_secs(2);
/// Bytes of lines gathered before they are written.
const GATHERED: usize = 256 * 1024;

/// Which interface reads the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum QueryApi {
    /// REST for few rows, a bulk job for many.
    Auto,
    /// Pages of 2,000 rows.
    Rest,
    /// A bulk job.
    Bulk,
}

/// What was asked for.
#[derive(Debug)]
pub struct Ask {
    /// The statement.
    pub statement: String,
    /// The org; `None` takes the first of the configuration.
    pub org: Option<OrgName>,
    /// Deleted and archived rows too.
    pub all: bool,
    /// By which interface.
    pub api: QueryApi,
    /// Into this file; `None` writes to stdout.
    pub out: Option<PathBuf>,
}

/// Runs a query; returns the exit code.
pub fn query(config: &Config, ask: Ask) -> u8 {
    let statement = match Statement::read(&ask.statement) {
        Ok(statement) => statement,
        Err(error) => {
            eprintln!("penstock: {}", chain(&error));
            return USAGE;
        }
    };
    let Some(org) = ask.org.clone().or_else(|| config.org.first().map(|org| org.name.clone())) else {
        eprintln!("penstock: the configuration names no org");
        return CONFIG;
    };
    let done = one_shot::with_plant_and_farewell(config, false, TO_TIDY_UP, async move |plant| {
        let Some(client) = plant.clients.get(&org).cloned() else {
            return Err(Trouble::Usage(format!("the configuration names no org `{org}`")));
        };
        let run = Run { plant: Arc::clone(plant), client, org, ask, statement };
        run.perform().await
    });
    match done {
        Ok(Ok(told)) => {
            eprintln!("{told}");
            0
        }
        Ok(Err(trouble)) => {
            if let Some(text) = trouble.text() {
                eprintln!("penstock: {text}");
            }
            trouble.exit_code()
        }
        Err(code) => code,
    }
}

/// Why there are no rows, or not all of them.
#[derive(Debug)]
enum Trouble {
    Usage(String),
    /// The org, for a reason that goes on after the same command is run again.
    Passing(String),
    Failed(String),
    Refused(String),
    /// Asked to end; what can be resumed is kept.
    Ended(String),
    /// Nobody reads stdout any more, which is no mistake.
    NoReader,
}

impl Trouble {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Passing(_) | Self::Failed(_) => FAILED,
            Self::Refused(_) => REFUSED_LOGIN,
            Self::Ended(_) => LEFT_OVER,
            Self::NoReader => 0,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Usage(text)
            | Self::Passing(text)
            | Self::Failed(text)
            | Self::Refused(text)
            | Self::Ended(text) => Some(text),
            Self::NoReader => None,
        }
    }

    fn of(error: &(dyn std::error::Error + 'static), org: Option<&OrgError>) -> Self {
        let hint = org.and_then(OrgError::hint).map(|hint| format!(" ({hint})")).unwrap_or_default();
        let text = format!("{}{hint}", chain(error));
        match org {
            Some(org) if org.is_refused_login() => Self::Refused(text),
            Some(org) if org.is_transient() => Self::Passing(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<OrgError> for Trouble {
    fn from(error: OrgError) -> Self {
        Self::of(&error, Some(&error))
    }
}

/// Where the rows stand at the org.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    Cursor(CursorCheckpoint),
    Job(BulkCheckpoint),
}

impl At {
    fn rows_done(&self) -> u64 {
        match self {
            Self::Cursor(at) => at.rows_done,
            Self::Job(at) => at.rows_done,
        }
    }

    /// Every row has been handed over.
    fn is_whole(&self) -> bool {
        match self {
            Self::Cursor(at) => at.next.is_none(),
            Self::Job(at) => at.is_complete,
        }
    }
}

/// What `FILE.part.json` holds. Of another version it is worth nothing: the query starts over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    version: u32,
    org: OrgName,
    statement: String,
    all: bool,
    columns: ColumnTypes,
    /// Bytes of `FILE.part` that hold the rows handed over.
    bytes: u64,
    /// `FILE` holds all rows; only the job is left to delete.
    is_renamed: bool,
    at: At,
}

const CHECKPOINT_VERSION: u32 = 1;

struct Run {
    plant: Arc<Plant>,
    client: OrgClient,
    org: OrgName,
    ask: Ask,
    statement: Statement,
}

/// How a reading ended that did not fail.
enum Ending {
    Done {
        rows: u64,
        by: String,
    },
    /// The rows handed over so far are worth nothing: ask again from the start.
    StartOver(String),
    /// The org takes no bulk job of it.
    NotByBulk(String),
}

impl Run {
    async fn perform(self) -> Result<String, Trouble> {
        let mut run_state = self.plant.engine.watch_run_state();
        let mut sink = Sink::open(self.ask.out.as_deref()).map_err(|error| self.output_error(&error))?;
        let outcome = {
            let mut work = std::pin::pin!(self.read(&mut sink));
            tokio::select! {
                outcome = &mut work => outcome,
                _ = run_state.wait_for(|state| state.draining) => {
                    let text = match &self.ask.out {
                        Some(_) => "stopped; the same command goes on from here",
                        None => "stopped; the rows on stdout are not all",
                    };
                    Err(Trouble::Ended(text.to_owned()))
                }
            }
        };
        if self.ask.out.is_none()
            && outcome.is_err()
            && let Some(job) = sink.job.take()
        {
            // Nobody can resume what went to stdout.
            self.client.resume_bulk_query(job, BulkOptions::default()).abandon().await;
        }
        sink.tidy();
        outcome
    }

    fn output_error(&self, error: &io::Error) -> Trouble {
        let to = self.ask.out.as_ref().map_or("stdout".into(), |path| format!("`{}`", path.display()));
        Trouble::Failed(format!("write to {to}: {error}"))
    }

    async fn read(&self, sink: &mut Sink) -> Result<String, Trouble> {
        let mut resumed = self.resumed(sink).await?;
        if let Some(Checkpoint { is_renamed: true, at, .. }) = &resumed {
            let rows = at.rows_done();
            match at {
                At::Job(job) => self.delete_job(sink, job.clone()).await,
                At::Cursor(_) => sink.forget().map_err(|error| self.output_error(&error))?,
            }
            return Ok(self.told(rows, "an earlier run"));
        }
        let mut started_over = false;
        let mut by_bulk = self.ask.api;
        loop {
            let checkpoint = match resumed.take() {
                Some(checkpoint) => checkpoint,
                None => self.begin(sink, by_bulk).await?,
            };
            let columns = columns_of(&checkpoint.columns).map_err(|error| Trouble::of(&error, None))?;
            let ending = match checkpoint.at.clone() {
                At::Cursor(at) => self.read_pages(sink, checkpoint, at, columns, by_bulk).await?,
                At::Job(job) => self.read_job(sink, checkpoint, job, columns).await?,
            };
            match ending {
                Ending::Done { rows, by } => return Ok(self.told(rows, &by)),
                Ending::NotByBulk(why) if self.ask.api == QueryApi::Auto => {
                    eprintln!("{why}; going on over REST");
                    by_bulk = QueryApi::Rest;
                }
                Ending::NotByBulk(why) => return Err(Trouble::Failed(why)),
                Ending::StartOver(why) if started_over || !sink.can_start_over() => {
                    return Err(Trouble::Failed(why));
                }
                Ending::StartOver(why) => {
                    eprintln!("{why}; starting over");
                    started_over = true;
                }
            }
            sink.start_over().map_err(|error| self.output_error(&error))?;
        }
    }

    fn told(&self, rows: u64, by: &str) -> String {
        match &self.ask.out {
            Some(path) => format!("{rows} rows by {by} in `{}`", path.display()),
            None => format!("{rows} rows by {by}"),
        }
    }

    /// What an earlier run of this very command left behind.
    async fn resumed(&self, sink: &mut Sink) -> Result<Option<Checkpoint>, Trouble> {
        let Some(mut found) = sink.checkpoint() else {
            // A part without a checkpoint: nobody knows what is in it.
            sink.start_over().map_err(|error| self.output_error(&error))?;
            return Ok(None);
        };
        let is_ours = found.version == CHECKPOINT_VERSION
            && found.org == self.org
            && found.statement == self.ask.statement
            && found.all == self.ask.all;
        // Killed between the rename and the word about it.
        found.is_renamed = found.is_renamed || (found.at.is_whole() && sink.file_has(found.bytes));
        if is_ours && found.is_renamed {
            return Ok(Some(found));
        }
        if is_ours && sink.cut_to(found.bytes).is_ok() {
            eprintln!("going on behind {} rows", found.at.rows_done());
            return Ok(Some(found));
        }
        eprintln!("what an earlier query left is of no use to this one; starting over");
        if let At::Job(job) = found.at
            && found.org == self.org
        {
            self.client.resume_bulk_query(job, BulkOptions::default()).abandon().await;
        }
        sink.start_over().map_err(|error| self.output_error(&error))?;
        Ok(None)
    }

    /// Finds out the columns, and starts a job or a cursor.
    async fn begin(&self, sink: &mut Sink, api: QueryApi) -> Result<Checkpoint, Trouble> {
        if self.statement.counts_rows() {
            return Err(Trouble::Usage("COUNT() gives no rows; use COUNT(Id)".to_owned()));
        }
        let types = self.column_types().await?;
        columns_of(&types).map_err(|error| Trouble::Usage(chain(&error)))?;
        let soql = self.statement.soql().map_err(|error| Trouble::Usage(chain(&error)))?;
        let too_long_for_rest = soql.as_str().len() > STATEMENT_BYTES_BY_REST;
        let cursor = |at| Checkpoint {
            version: CHECKPOINT_VERSION,
            org: self.org.clone(),
            statement: self.ask.statement.clone(),
            all: self.ask.all,
            columns: types.clone(),
            bytes: 0,
            is_renamed: false,
            at,
        };
        let by_job = api == QueryApi::Bulk
            || (api == QueryApi::Auto && too_long_for_rest && self.statement.rest_only().is_none());
        if by_job {
            match self.client.bulk_query(&soql, self.ask.all, BulkOptions::default()).await {
                Ok(job) => {
                    let checkpoint = cursor(At::Job(job.checkpoint().clone()));
                    sink.keep(&checkpoint).map_err(|error| self.output_error(&error))?;
                    return Ok(checkpoint);
                }
                Err(error) if error.is_refused() && self.ask.api == QueryApi::Auto => {
                    eprintln!("{}; going on over REST", chain(&error));
                }
                Err(error) => return Err(Trouble::of(&error, error.org_error())),
            }
        }
        let columns = columns_of(&types).map_err(|error| Trouble::of(&error, None))?;
        let pages = self.client.query_rows(self.surface(), &soql, columns);
        Ok(cursor(At::Cursor(pages.checkpoint().clone())))
    }

    fn surface(&self) -> Surface {
        if self.ask.all { Surface::DataAndDeleted } else { Surface::Data }
    }

    /// 1 call for the object's own columns, and 1 for each step of references that columns walk over.
    async fn column_types(&self) -> Result<ColumnTypes, Trouble> {
        let mut describes: BTreeMap<ObjectName, ObjectDescribe> = BTreeMap::new();
        self.describe(&mut describes, vec![self.statement.object().clone()]).await?;
        let walks = self.statement.references();
        let deepest = walks.iter().map(Vec::len).max().unwrap_or(0);
        for depth in 1..=deepest {
            let mut wanted = Vec::new();
            for walk in walks.iter().filter(|walk| walk.len() >= depth) {
                let mut objects = vec![self.statement.object().clone()];
                for step in &walk[..depth] {
                    objects = targets(&objects, step, &describes);
                }
                wanted.extend(objects);
            }
            self.describe(&mut describes, wanted).await?;
        }
        self.statement.column_types(&describes).map_err(|error| Trouble::Usage(chain(&error)))
    }

    async fn describe(
        &self,
        describes: &mut BTreeMap<ObjectName, ObjectDescribe>,
        mut wanted: Vec<ObjectName>,
    ) -> Result<(), Trouble> {
        wanted.retain(|name| !describes.contains_key(name));
        let is_own = wanted.first() == Some(self.statement.object());
        for (name, answer) in self.client.describe_group(&wanted).await {
            match answer {
                Ok(describe) => {
                    describes.insert(name, describe);
                }
                // What a reference leads to may be hidden from us; its columns are then text.
                Err(error) if !is_own && !error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn read_pages(
        &self,
        sink: &mut Sink,
        mut checkpoint: Checkpoint,
        at: CursorCheckpoint,
        columns: Columns,
        api: QueryApi,
    ) -> Result<Ending, Trouble> {
        let soql = self.statement.soql().map_err(|error| Trouble::Usage(chain(&error)))?;
        let mut pages = self.client.resume_query_rows(self.surface(), &soql, columns, at);
        let mut progress = Progress::new(&self.plant.outside.clock);
        loop {
            let is_first = pages.checkpoint().total_size.is_none();
            let mut lines = Vec::new();
            let mut taker = |row: &Row<'_>| -> Result<(), HandoverError> {
                row.write_json_line(&mut lines);
                Ok(())
            };
            let page = match pages.next(&mut taker).await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.calls_for_a_new_query() => return Ok(Ending::StartOver(chain(&error))),
                Err(error) => return Err(self.query_trouble(&error)),
            };
            let pays = page.total_size >= BULK_FROM_ROWS && self.statement.rest_only().is_none();
            if is_first && pays && api == QueryApi::Auto {
                // The first page was the count; its rows come again with the job's.
                return self.change_to_job(sink, checkpoint).await;
            }
            sink.write(&lines).map_err(|error| self.sink_trouble(error.into()))?;
            checkpoint.at = At::Cursor(pages.checkpoint().clone());
            if !page.is_last {
                sink.keep_behind(&mut checkpoint).map_err(|error| self.output_error(&error))?;
            }
            progress.show(pages.checkpoint().rows_done, Some(page.total_size));
        }
        drop(progress);
        let rows = pages.checkpoint().rows_done;
        sink.finish(&mut checkpoint).map_err(|error| self.output_error(&error))?;
        sink.forget().map_err(|error| self.output_error(&error))?;
        Ok(Ending::Done { rows, by: "REST".to_owned() })
    }

    async fn change_to_job(&self, sink: &mut Sink, mut checkpoint: Checkpoint) -> Result<Ending, Trouble> {
        let soql = self.statement.soql().map_err(|error| Trouble::Usage(chain(&error)))?;
        let columns = columns_of(&checkpoint.columns).map_err(|error| Trouble::of(&error, None))?;
        match self.client.bulk_query(&soql, self.ask.all, BulkOptions::default()).await {
            Ok(job) => {
                checkpoint.at = At::Job(job.checkpoint().clone());
                sink.keep(&checkpoint).map_err(|error| self.output_error(&error))?;
                let job = job.checkpoint().clone();
                self.read_job(sink, checkpoint, job, columns).await
            }
            Err(error) if error.is_refused() => Ok(Ending::NotByBulk(chain(&error))),
            Err(error) => Err(Trouble::of(&error, error.org_error())),
        }
    }

    async fn read_job(
        &self,
        sink: &mut Sink,
        mut checkpoint: Checkpoint,
        job: BulkCheckpoint,
        columns: Columns,
    ) -> Result<Ending, Trouble> {
        sink.job = Some(job.clone());
        let rows_before = job.rows_done;
        let mut query = self.client.resume_bulk_query(job, BulkOptions::default());
        let mut progress = Progress::new(&self.plant.outside.clock);
        if let Err(error) = query.wait().await {
            return self.job_ended(sink, &query, &error).await;
        }
        let total = query.checkpoint().rows_total;
        let mut rows = rows_before;
        loop {
            let mut taker = |row: &Row<'_>| -> Result<(), HandoverError> {
                sink.take(row)?;
                rows += 1;
                progress.show(rows, total);
                Ok(())
            };
            let mut reader = RowReader::new(columns.clone(), query.checkpoint().rows_done, &mut taker);
            match query.next_page(&mut reader).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(BulkError::Handover { source, .. }) => return Err(self.sink_trouble(source)),
                Err(error) => return self.job_ended(sink, &query, &error).await,
            }
            checkpoint.at = At::Job(query.checkpoint().clone());
            sink.keep_behind(&mut checkpoint).map_err(|error| self.output_error(&error))?;
        }
        drop(progress);
        let job = query.checkpoint().clone();
        let (rows, by) = (job.rows_done, format!("bulk job {}", job.job_id));
        checkpoint.at = At::Job(job.clone());
        sink.finish(&mut checkpoint).map_err(|error| self.output_error(&error))?;
        self.delete_job(sink, job).await;
        Ok(Ending::Done { rows, by })
    }

    /// Deletes the job of rows that are all there; while that fails its checkpoint stays, and the next run of
    /// the command tries again.
    async fn delete_job(&self, sink: &mut Sink, job: BulkCheckpoint) {
        let id = job.job_id.clone();
        sink.job = None;
        let deleted = self.client.resume_bulk_query(job, BulkOptions::default()).delete().await;
        match deleted.map_err(|error| chain(&error)).and_then(|()| sink.forget().map_err(|e| e.to_string())) {
            Ok(()) => {}
            Err(why) => eprintln!("penstock: bulk job `{id}` was left at the org: {why}"),
        }
    }

    /// What becomes of a job that gave an error.
    async fn job_ended(
        &self,
        sink: &mut Sink,
        query: &BulkQuery,
        error: &BulkError,
    ) -> Result<Ending, Trouble> {
        if error.calls_for_a_new_job() {
            sink.job = None;
            query.abandon().await;
            return Ok(Ending::StartOver(chain(error)));
        }
        let trouble = Trouble::of(error, error.org_error());
        if let Trouble::Passing(text) = trouble {
            let on = if self.ask.out.is_some() { "; the same command goes on from here" } else { "" };
            return Err(Trouble::Passing(format!("{text}{on}")));
        }
        if !matches!(trouble, Trouble::Refused(_)) {
            // It would fail again in the same way: nothing is left to resume.
            sink.job = None;
            query.abandon().await;
            drop(sink.start_over());
        }
        Err(trouble)
    }

    fn query_trouble(&self, error: &QueryError) -> Trouble {
        match Trouble::of(error, error.org_error()) {
            Trouble::Passing(text) if self.ask.out.is_some() => {
                Trouble::Passing(format!("{text}; the same command goes on from here"))
            }
            trouble => trouble,
        }
    }

    fn sink_trouble(&self, error: HandoverError) -> Trouble {
        match error.downcast::<io::Error>() {
            Ok(error) if error.kind() == io::ErrorKind::BrokenPipe => Trouble::NoReader,
            Ok(error) => self.output_error(&error),
            Err(error) => Trouble::Failed(error.to_string()),
        }
    }
}

/// Where the lines go.
struct Sink {
    to: To,
    lines: Vec<u8>,
    /// Bytes written since the start, those of earlier runs included.
    bytes: u64,
    /// The job that this output is of.
    job: Option<BulkCheckpoint>,
}

enum To {
    Stdout(io::Stdout),
    Part { part: BufWriter<File>, file: PathBuf },
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Sink {
    fn open(out: Option<&Path>) -> io::Result<Self> {
        let to = match out {
            None => To::Stdout(io::stdout()),
            Some(file) => {
                let part = beside(file, ".part");
                let part = File::options().create(true).truncate(false).read(true).write(true).open(part)?;
                To::Part { part: BufWriter::with_capacity(GATHERED, part), file: file.to_owned() }
            }
        };
        Ok(Self { to, lines: Vec::new(), bytes: 0, job: None })
    }

    fn checkpoint_path(&self) -> Option<PathBuf> {
        match &self.to {
            To::Stdout(_) => None,
            To::Part { file, .. } => Some(beside(file, ".part.json")),
        }
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        let text = std::fs::read(self.checkpoint_path()?).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether the finished file stands there with so many bytes, and no part beside it.
    fn file_has(&self, bytes: u64) -> bool {
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        match &self.to {
            To::Stdout(_) => false,
            To::Part { file, .. } => bytes > 0 && len(&beside(file, ".part")) == 0 && len(file) == bytes,
        }
    }

    /// Removes a part that nothing was written to and nothing points at.
    fn tidy(&self) {
        if let To::Part { file, .. } = &self.to {
            let (part, checkpoint) = (beside(file, ".part"), beside(file, ".part.json"));
            if !checkpoint.exists() && std::fs::metadata(&part).is_ok_and(|found| found.len() == 0) {
                drop(std::fs::remove_file(part));
            }
        }
    }

    /// Cuts the part to what a checkpoint vouches for.
    fn cut_to(&mut self, bytes: u64) -> io::Result<()> {
        self.lines.clear();
        if let To::Part { part, .. } = &mut self.to {
            part.flush()?;
            let file = part.get_mut();
            if file.metadata()?.len() < bytes {
                return Err(io::Error::other("the part is shorter than its checkpoint says"));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
        }
        self.bytes = bytes;
        Ok(())
    }

    fn can_start_over(&self) -> bool {
        self.bytes == 0 || matches!(self.to, To::Part { .. })
    }

    fn start_over(&mut self) -> io::Result<()> {
        self.cut_to(0)?;
        self.forget()
    }

    fn take(&mut self, row: &Row<'_>) -> io::Result<()> {
        row.write_json_line(&mut self.lines);
        if self.lines.len() >= GATHERED {
            return self.write(&[]);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        for lines in [&self.lines[..], lines] {
            match &mut self.to {
                To::Stdout(stdout) => stdout.write_all(lines)?,
                To::Part { part, .. } => part.write_all(lines)?,
            }
            self.bytes += lines.len() as u64;
        }
        self.lines.clear();
        Ok(())
    }

    /// Makes sure that what was written stays, then keeps the checkpoint.
    fn keep_behind(&mut self, checkpoint: &mut Checkpoint) -> io::Result<()> {
        self.write(&[])?;
        match &mut self.to {
            To::Stdout(stdout) => stdout.flush()?,
            To::Part { part, .. } => {
                part.flush()?;
                part.get_ref().sync_data()?;
            }
        }
        checkpoint.bytes = self.bytes;
        if let At::Job(job) = &checkpoint.at {
            self.job = Some(job.clone());
        }
        self.keep(checkpoint)
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        if let At::Job(job) = &checkpoint.at {
            self.job = Some(job.clone());
        }
        let Some(path) = self.checkpoint_path() else { return Ok(()) };
        let text = serde_json::to_string(checkpoint)?;
        let written = AtomicFile::create(&path).and_then(|mut file| {
            file.write_str(&text)?;
            file.commit()
        });
        written.map_err(|error| error.source)
    }

    /// All rows are there: the part becomes the file.
    fn finish(&mut self, checkpoint: &mut Checkpoint) -> io::Result<()> {
        self.keep_behind(checkpoint)?;
        if let To::Part { file, .. } = &self.to {
            std::fs::rename(beside(file, ".part"), file)?;
            checkpoint.is_renamed = true;
            self.keep(checkpoint)?;
        }
        Ok(())
    }

    /// Removes the checkpoint.
    fn forget(&mut self) -> io::Result<()> {
        match self.checkpoint_path().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Rows so far on stderr: a bar on a terminal, a line now and then elsewhere.
struct Progress {
    clock: SharedClock,
    quiet_until: Duration,
    rows_shown: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(clock: &SharedClock) -> Self {
        let bar = io::stderr()
            .is_terminal()
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        let quiet_until = clock.elapsed() + BETWEEN_NUMBERS;
        Self { clock: SharedClock::clone(clock), quiet_until, rows_shown: 0, bar }
    }

    fn show(&mut self, rows: u64, total: Option<u64>) {
        // A clock is dear beside a row.
        if rows < self.rows_shown + 1_000 {
            return;
        }
        self.rows_shown = rows;
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(rows));
            bar.set_position(rows);
            return;
        }
        let now = self.clock.elapsed();
        if now >= self.quiet_until {
            match total {
                Some(total) => eprintln!("{rows} of {total} rows"),
                None => eprintln!("{rows} rows"),
            }
            self.quiet_until = now + BETWEEN_NUMBERS;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
