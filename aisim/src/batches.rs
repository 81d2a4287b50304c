//! The Batch API: a batch goes through its states as its clock says, and its questions are answered when they are due.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::batch_run::{Asked, check, complaint, run};
use crate::files::StoredFile;
use crate::site::Site;

/// A batch that is not done by then expires.
const DAY: Duration = Duration::from_secs(86_400);
/// From a cancellation to its effect.
const CANCELLING: Duration = Duration::from_millis(500);

/// How a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchEnd {
    /// Done.
    #[default]
    Complete,
    /// After so many percent of its questions it stands still, until its day is over.
    Expire(u8),
    /// Its file is not accepted.
    Fail,
}

impl FromStr for BatchEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, percent) = text.split_once('=').unwrap_or((text, "50"));
        match name {
            "complete" => Ok(Self::Complete),
            "fail" => Ok(Self::Fail),
            "expire" => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                percent.map(Self::Expire).ok_or_else(|| format!("`{text}`: percent are 0 to 100"))
            }
            _ => Err(format!("`{text}` is none of `complete`, `expire=PERCENT` and `fail`")),
        }
    }
}

/// How batches go that are made from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlan {
    /// Time in which the file is checked.
    pub validating: Duration,
    /// Time in which the questions are answered.
    pub running: Duration,
    /// How they end.
    pub end: BatchEnd,
}

impl Default for BatchPlan {
    fn default() -> Self {
        Self {
            validating: Duration::from_millis(200),
            running: Duration::from_millis(800),
            end: BatchEnd::Complete,
        }
    }
}

#[derive(Debug)]
struct Batch {
    id: String,
    input: StoredFile,
    endpoint: String,
    window: String,
    metadata: Value,
    created: Duration,
    plan: BatchPlan,
    cancelled: Option<Duration>,
    total: usize,
    /// Why the file is not accepted.
    complaints: Vec<Value>,
    over: Option<Over>,
}

#[derive(Debug)]
struct Over {
    at: Duration,
    output: Option<String>,
    errors: Option<String>,
    completed: usize,
    failed: usize,
    usage: (u64, u64),
}

/// Where a batch stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Validating,
    Failed { at: Duration },
    InProgress { done: usize },
    Completed { at: Duration },
    Expired { at: Duration, done: usize },
    Cancelling { done: usize },
    Cancelled { at: Duration, done: usize },
}

impl Batch {
    fn state(&self, now: Duration) -> State {
        let started = self.created + self.plan.validating;
        if let Some(cancelled) = self.cancelled {
            let done = self.done_at(cancelled);
            let at = cancelled + CANCELLING;
            return if now < at { State::Cancelling { done } } else { State::Cancelled { at, done } };
        }
        if now < started {
            return State::Validating;
        }
        if !self.complaints.is_empty() {
            return State::Failed { at: started };
        }
        let expires = self.created + DAY;
        let finished = started + self.plan.running;
        let stands_still = matches!(self.plan.end, BatchEnd::Expire(_));
        if now >= expires && (stands_still || finished > expires) {
            return State::Expired { at: expires, done: self.done_at(expires) };
        }
        if stands_still || now < finished {
            return State::InProgress { done: self.done_at(now) };
        }
        State::Completed { at: finished }
    }

    fn done_at(&self, now: Duration) -> usize {
        let passed = now.saturating_sub(self.created + self.plan.validating).as_secs_f64();
        let running = self.plan.running.as_secs_f64().max(1e-9);
        let most = match self.plan.end {
            BatchEnd::Expire(percent) => self.total * usize::from(percent) / 100,
            BatchEnd::Complete | BatchEnd::Fail => self.total,
        };
        (((passed / running).min(1.0) * self.total as f64) as usize).min(most)
    }

    fn described(&self, now: Duration, site: &Site) -> Value {
        let secs = |at: Duration| site.clock.epoch_secs(at);
        let mut batch = json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "input_file_id": self.input.id,
            "completion_window": self.window, "created_at": secs(self.created),
            "expires_at": secs(self.created + DAY), "metadata": self.metadata,
        });
        if now >= self.created + self.plan.validating && self.complaints.is_empty() {
            batch["in_progress_at"] = json!(secs(self.created + self.plan.validating));
        }
        let (mut completed, mut failed) = (0, 0);
        let status = match self.state(now) {
            State::Validating => "validating",
            State::Failed { at } => {
                batch["failed_at"] = json!(secs(at));
                batch["errors"] = json!({ "object": "list", "data": self.complaints });
                "failed"
            }
            State::InProgress { done } => {
                completed = done;
                "in_progress"
            }
            State::Cancelling { done } => {
                completed = done;
                "cancelling"
            }
            State::Completed { at } => {
                batch["completed_at"] = json!(secs(at));
                "completed"
            }
            State::Expired { at, .. } => {
                batch["expired_at"] = json!(secs(at));
                "expired"
            }
            State::Cancelled { at, .. } => {
                batch["cancelled_at"] = json!(secs(at));
                "cancelled"
            }
        };
        batch["status"] = json!(status);
        if let Some(over) = &self.over {
            (completed, failed) = (over.completed, over.failed);
            if let Some(output) = &over.output {
                batch["output_file_id"] = json!(output);
            }
            if let Some(errors) = &over.errors {
                batch["error_file_id"] = json!(errors);
            }
            batch["usage"] = json!({
                "input_tokens": over.usage.0, "output_tokens": over.usage.1,
                "total_tokens": over.usage.0 + over.usage.1,
                "input_tokens_details": { "cached_tokens": 0 },
                "output_tokens_details": { "reasoning_tokens": 0 },
            });
        }
        let total = if self.complaints.is_empty() { self.total } else { 0 };
        batch["request_counts"] = json!({ "total": total, "completed": completed, "failed": failed });
        batch
    }
}

/// All files and batches.
#[derive(Debug)]
pub struct Batches {
    plan: BatchPlan,
    files: BTreeMap<u64, StoredFile>,
    batches: Vec<Batch>,
    made: u64,
}

/// A request that is refused: status, message, parameter.
pub type Refused = (u16, String, Option<&'static str>);

#[derive(Deserialize)]
struct Create {
    input_file_id: Option<String>,
    endpoint: Option<String>,
    completion_window: Option<String>,
    #[serde(default)]
    metadata: Value,
}

impl Batches {
    /// None yet.
    pub fn new(plan: BatchPlan) -> Self {
        Self { plan, files: BTreeMap::new(), batches: Vec::new(), made: 0 }
    }

    /// How batches go that are made from now on.
    pub fn set_plan(&mut self, plan: BatchPlan) {
        self.plan = plan;
    }

    /// Keeps a file.
    pub fn store(&mut self, name: String, purpose: String, content: Bytes, created_at: u64) -> StoredFile {
        self.made += 1;
        let file = StoredFile { id: format!("file-sim{:06}", self.made), name, purpose, created_at, content };
        self.files.insert(self.made, file.clone());
        file
    }

    /// A file by its id.
    pub fn file(&self, id: &str) -> Option<&StoredFile> {
        self.files.values().find(|file| file.id == id)
    }

    /// Removes one.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.files.len();
        self.files.retain(|_, file| file.id != id);
        self.files.len() < before
    }

    /// A page of files.
    pub fn list_files(&self, purpose: Option<&str>, order: &str, after: Option<&str>, limit: usize) -> Value {
        let wanted = |file: &&StoredFile| purpose.is_none_or(|purpose| file.purpose == purpose);
        let mut all: Vec<&StoredFile> = self.files.values().filter(wanted).collect();
        if order != "asc" {
            all.reverse();
        }
        page(all.into_iter().map(StoredFile::described), after, limit)
    }

    /// A page of batches, the newest first.
    pub fn list_batches(&self, now: Duration, site: &Site, after: Option<&str>, limit: usize) -> Value {
        page(self.batches.iter().rev().map(|batch| batch.described(now, site)), after, limit)
    }

    /// Makes a batch.
    ///
    /// # Errors
    /// What such an endpoint refuses.
    pub fn create(&mut self, site: &Site, body: &[u8]) -> Result<Value, Refused> {
        let bad = |message: &str, param| (400, message.to_owned(), Some(param));
        let Ok(create) = serde_json::from_slice::<Create>(body) else {
            return Err((400, "We could not parse the JSON body of your request.".to_owned(), None));
        };
        let endpoint = create.endpoint.unwrap_or_default();
        if endpoint != "/v1/chat/completions" {
            return Err(bad(
                "Invalid 'endpoint': this simulated endpoint takes '/v1/chat/completions'",
                "endpoint",
            ));
        }
        let window = create.completion_window.unwrap_or_default();
        if window != "24h" {
            return Err(bad("Invalid 'completion_window': expected '24h'", "completion_window"));
        }
        let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() <= 512);
        let is_metadata = match &create.metadata {
            Value::Null => true,
            Value::Object(pairs) => {
                pairs.len() <= 16 && pairs.iter().all(|(key, value)| key.len() <= 64 && is_text(value))
            }
            _ => false,
        };
        if !is_metadata {
            return Err(bad("Invalid 'metadata': at most 16 texts of at most 512 characters", "metadata"));
        }
        let id = create.input_file_id.unwrap_or_default();
        let Some(input) = self.file(&id).cloned() else {
            return Err((404, format!("No such File object: {id}"), Some("input_file_id")));
        };
        self.made += 1;
        let (total, mut complaints) = check(&input.content, &endpoint);
        if self.plan.end == BatchEnd::Fail && complaints.is_empty() {
            complaints.push(complaint("server_error", "The batch could not be processed.", None));
        }
        let batch = Batch {
            id: format!("batch_sim{:06}", self.made),
            input,
            endpoint,
            window,
            metadata: create.metadata,
            created: site.clock.now(),
            plan: self.plan,
            cancelled: None,
            total,
            complaints,
            over: None,
        };
        let described = batch.described(batch.created, site);
        self.batches.push(batch);
        Ok(described)
    }

    /// A batch by its id.
    pub fn describe(&self, site: &Site, id: &str) -> Option<Value> {
        self.batches.iter().find(|batch| batch.id == id).map(|batch| batch.described(site.clock.now(), site))
    }

    /// Ends one early.
    ///
    /// # Errors
    /// When there is none, or it is over.
    pub fn cancel(&mut self, site: &Site, id: &str) -> Result<Value, Refused> {
        let now = site.clock.now();
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.id == id) else {
            return Err((404, format!("No batch found with id '{id}'."), None));
        };
        match batch.state(now) {
            State::Validating | State::InProgress { .. } => batch.cancelled = Some(now),
            State::Cancelling { .. } => {}
            _ => {
                return Err((409, format!("Cannot cancel batch '{id}': it is over."), None));
            }
        }
        Ok(batch.described(now, site))
    }

    /// Answers the questions of every batch that is over by now and not yet answered.
    pub fn settle(&mut self, site: &Site) {
        let now = site.clock.now();
        for at in 0..self.batches.len() {
            let batch = &self.batches[at];
            if batch.over.is_some() {
                continue;
            }
            let (ended, done, code) = match batch.state(now) {
                State::Completed { at } => (at, batch.total, "batch_expired"),
                State::Expired { at, done } => (at, done, "batch_expired"),
                State::Cancelled { at, done } => (at, done, "batch_cancelled"),
                _ => continue,
            };
            let asked = Asked {
                id: &batch.id,
                content: &batch.input.content,
                created_at: site.clock.epoch_secs(batch.created),
            };
            let run = run(site, &asked, done, code);
            let created_at = site.clock.epoch_secs(ended);
            let mut keep = |content: Vec<u8>, what: &str| {
                let name = format!("{}_{what}.jsonl", self.batches[at].id);
                (!content.is_empty()).then(|| {
                    self.made += 1;
                    let id = format!("file-sim{:06}", self.made);
                    let (purpose, content) = ("batch_output".to_owned(), Bytes::from(content));
                    let file = StoredFile { id: id.clone(), name, purpose, created_at, content };
                    self.files.insert(self.made, file);
                    id
                })
            };
            let (output, errors) = (keep(run.output, "output"), keep(run.errors, "error"));
            self.batches[at].over = Some(Over {
                at: ended,
                output,
                errors,
                completed: run.completed,
                failed: run.failed,
                usage: run.usage,
            });
        }
        debug_assert!(self.batches.iter().filter_map(|batch| batch.over.as_ref()).all(|over| over.at <= now));
    }
}

fn page(all: impl Iterator<Item = Value>, after: Option<&str>, limit: usize) -> Value {
    let all: Vec<Value> = all.collect();
    let from = match after {
        Some(after) => all.iter().position(|one| one["id"] == after).map_or(all.len(), |at| at + 1),
        None => 0,
    };
    let rest = &all[from..];
    let data = &rest[..rest.len().min(limit)];
    let id = |one: Option<&Value>| one.map_or(json!(""), |one| one["id"].clone());
    json!({
        "object": "list", "data": data, "first_id": id(data.first()), "last_id": id(data.last()),
        "has_more": rest.len() > data.len(),
    })
}
