//! The Batch API of an endpoint: a file of questions goes up, is answered within a day at a lower price, and its answers come
//! down by line in any order.
//!
//! Promises: [`ChatClient::submit`] pays once. It looks for what an earlier process may have left at the endpoint, a batch or
//! only its file, by a tag that goes with both, before it sends anything; so a process that was killed between submitting and
//! noting the id, and any answer that was lost on the way, costs nothing twice. Files go up from the disk and come down by
//! line: nothing here grows with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Body, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ChatClient;
use super::answer::{Usage, lenient};
use super::batch_file::BatchFile;
use super::error::{ChatError, tidy};
use super::upload::pieces;

/// Time for a request about a batch.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// Slowest upload that is waited for, in bytes a second.
const SLOWEST_UPLOAD: u64 = 50_000;
/// Longest answer about batches and files, in bytes.
const LIST_BYTES_MAX: usize = 16 << 20;
/// Most pages of a list that are read.
const PAGES_MAX: usize = 200;
/// The endpoint's clock may be so many seconds behind ours.
const CLOCKS_APART_SECS: u64 = 86_400;

/// Marks a batch and its file as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchTag {
    /// The job.
    pub job: String,
    /// Which of the job's batches; a batch that repeats what another left undone has a number of its own.
    pub part: u32,
    /// When the job was made, in seconds since 1970: nothing older is looked at.
    pub since: u64,
}

impl BatchTag {
    fn file_name(&self, file: &BatchFile) -> String {
        let tame = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let job: String = self.job.chars().map(tame).take(100).collect();
        let digest = file.digest.get(..16).unwrap_or(&file.digest);
        format!("penstock-{job}-{}-{digest}.jsonl", self.part)
    }

    fn metadata(&self, file: &BatchFile) -> Value {
        // Values are texts of at most 512 characters.
        let job: String = self.job.chars().take(200).collect();
        json!({
            "penstock_job": job, "penstock_part": self.part.to_string(), "penstock_digest": file.digest,
        })
    }

    fn is_of(&self, batch: &BatchState, file: &BatchFile) -> bool {
        let metadata = self.metadata(file);
        let keys = ["penstock_job", "penstock_part", "penstock_digest"];
        keys.iter().all(|key| batch.metadata.get(*key).map(String::as_str) == metadata[*key].as_str())
    }
}

/// A file at the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileSeen {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub filename: String,
    /// Its size.
    #[serde(default, deserialize_with = "lenient")]
    pub bytes: u64,
    #[serde(default, deserialize_with = "lenient")]
    created_at: u64,
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Its file is being checked.
    Validating,
    /// Its file was not accepted; nothing was asked.
    Failed,
    /// Questions are being answered.
    InProgress,
    /// Answers are being written.
    Finalizing,
    /// Done.
    Completed,
    /// Its day is over; what was answered by then is there.
    Expired,
    /// It is being cancelled.
    Cancelling,
    /// It was cancelled; what was answered by then is there.
    Cancelled,
    /// A word that is not known here; it is not over.
    #[default]
    #[serde(other)]
    Unknown,
}

impl BatchStatus {
    /// Nothing more will come.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }
}

/// Requests of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct BatchCounts {
    /// All.
    #[serde(deserialize_with = "lenient")]
    pub total: u64,
    /// Answered.
    #[serde(deserialize_with = "lenient")]
    pub completed: u64,
    /// Answered with an error.
    #[serde(deserialize_with = "lenient")]
    pub failed: u64,
}

/// A batch as the endpoint describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchState {
    /// Its id: to be noted before anything else is done.
    pub id: String,
    /// Where it stands.
    pub status: BatchStatus,
    /// The file of its questions.
    pub input_file_id: String,
    /// The file of its answers; `None` while there is none.
    pub output_file_id: Option<String>,
    /// The file of the questions that met an error, were not asked, or expired.
    pub error_file_id: Option<String>,
    /// How far it is.
    pub counts: BatchCounts,
    /// Why it failed, in the endpoint's words.
    pub errors: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// What was attached to it.
    pub metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WireBatch {
    id: String,
    #[serde(default)]
    status: BatchStatus,
    #[serde(default, deserialize_with = "lenient")]
    input_file_id: String,
    #[serde(default, deserialize_with = "lenient")]
    output_file_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    error_file_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    request_counts: BatchCounts,
    #[serde(default)]
    errors: Value,
    #[serde(default, deserialize_with = "lenient")]
    created_at: u64,
    #[serde(default, deserialize_with = "lenient")]
    metadata: BTreeMap<String, String>,
}

impl From<WireBatch> for BatchState {
    fn from(batch: WireBatch) -> Self {
        let reason = |error: &Value| {
            let message = tidy(error.get("message")?.as_str()?, None);
            let line = error.get("line").and_then(Value::as_u64);
            Some(line.map_or(message.clone(), |line| format!("line {line}: {message}")))
        };
        let errors = batch.errors.get("data").and_then(Value::as_array);
        let some = |id: Option<String>| id.filter(|id| !id.is_empty());
        Self {
            id: batch.id,
            status: batch.status,
            input_file_id: batch.input_file_id,
            output_file_id: some(batch.output_file_id),
            error_file_id: some(batch.error_file_id),
            counts: batch.request_counts,
            errors: errors.map(|all| all.iter().filter_map(reason).take(10).collect()).unwrap_or_default(),
            created_at: batch.created_at,
            metadata: batch.metadata,
        }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default, deserialize_with = "lenient")]
    has_more: bool,
}

impl ChatClient {
    /// The batch of this file: the one that is at the endpoint already, or a new one. Repeating it costs nothing.
    ///
    /// The batch found may be over, and may have failed; what to do then is the caller's decision, under another
    /// [`BatchTag::part`].
    ///
    /// # Errors
    /// Those of the endpoint; then it is not known whether a batch was made, and asking again finds out.
    pub async fn submit(&self, file: &BatchFile, tag: &BatchTag) -> Result<BatchState, ChatError> {
        let uploaded = self.find_file(file, tag).await?;
        if let Some(batch) = self.find_batch(file, tag, uploaded.as_ref()).await? {
            return Ok(batch);
        }
        let uploaded = match uploaded {
            Some(uploaded) => uploaded,
            None => self.upload(file, &tag.file_name(file)).await?,
        };
        let body = json!({
            "input_file_id": uploaded.id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": tag.metadata(file),
        });
        let batch: WireBatch = self.post("batches", &body).await?;
        Ok(batch.into())
    }

    /// The batch of this file that is at the endpoint already; nothing is sent.
    ///
    /// # Errors
    /// Those of the endpoint.
    pub async fn submitted(&self, file: &BatchFile, tag: &BatchTag) -> Result<Option<BatchState>, ChatError> {
        let uploaded = self.find_file(file, tag).await?;
        self.find_batch(file, tag, uploaded.as_ref()).await
    }

    /// How a batch stands.
    ///
    /// # Errors
    /// Those of the endpoint; [`ChatError::NotThere`] for an id that it does not know.
    pub async fn batch(&self, id: &str) -> Result<BatchState, ChatError> {
        let batch: WireBatch = self.get(&format!("batches/{}", segment(id))).await?;
        Ok(batch.into())
    }

    /// Has a batch end early; what is answered by then is kept, and paid for.
    ///
    /// # Errors
    /// Those of the endpoint.
    pub async fn cancel_batch(&self, id: &str) -> Result<BatchState, ChatError> {
        // Without a body: the description of it knows none.
        let request = self.wire.request(Method::POST, &format!("batches/{}/cancel", segment(id)));
        let reply = self.wire.exchange(request.timeout(ASK_TIMEOUT), LIST_BYTES_MAX).await?;
        let batch: WireBatch = read_json(&reply.body)?;
        Ok(batch.into())
    }

    /// Removes a file at the endpoint: questions hold people's data and need not stay there.
    ///
    /// # Errors
    /// Those of the endpoint; a file that is not there is no error.
    pub async fn delete_file(&self, file_id: &str) -> Result<(), ChatError> {
        let request = self.wire.request(Method::DELETE, &format!("files/{}", segment(file_id)));
        match self.wire.exchange(request.timeout(ASK_TIMEOUT), LIST_BYTES_MAX).await {
            Ok(_) | Err(ChatError::NotThere { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn find_file(&self, file: &BatchFile, tag: &BatchTag) -> Result<Option<FileSeen>, ChatError> {
        let name = tag.file_name(file);
        let found = |seen: &FileSeen| seen.filename == name && seen.bytes == file.bytes;
        let place = |seen: &FileSeen| (seen.id.clone(), seen.created_at);
        self.find("files?purpose=batch&order=desc&limit=1000", tag, found, place).await
    }

    async fn find_batch(
        &self,
        file: &BatchFile,
        tag: &BatchTag,
        uploaded: Option<&FileSeen>,
    ) -> Result<Option<BatchState>, ChatError> {
        // A server that keeps no metadata still keeps which file a batch is of.
        let found = |batch: &WireBatchState| {
            tag.is_of(&batch.0, file) || uploaded.is_some_and(|seen| seen.id == batch.0.input_file_id)
        };
        let key = |batch: &WireBatchState| (batch.0.id.clone(), batch.0.created_at);
        let found = self.find("batches?limit=100", tag, found, key).await?;
        Ok(found.map(|found| found.0))
    }

    /// Looks through a list, the newest first.
    async fn find<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        tag: &BatchTag,
        wanted: impl Fn(&T) -> bool,
        place: impl Fn(&T) -> (String, u64),
    ) -> Result<Option<T>, ChatError> {
        let oldest = tag.since.saturating_sub(CLOCKS_APART_SECS);
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.get(&format!("{path}{after}")).await?;
            let last = page.data.last().map(&place);
            if let Some(found) = page.data.into_iter().find(&wanted) {
                return Ok(Some(found));
            }
            match last {
                // A server that tells no time is looked through whole.
                Some((id, created_at)) if page.has_more && (created_at == 0 || created_at >= oldest) => {
                    after = format!("&after={}", segment(&id));
                }
                _ => return Ok(None),
            }
        }
        Err(ChatError::Request { why: format!("the endpoint lists more than {PAGES_MAX} pages of `{path}`") })
    }

    async fn upload(&self, file: &BatchFile, name: &str) -> Result<FileSeen, ChatError> {
        let failed = |source| ChatError::File { path: file.path.clone(), source: Arc::new(source) };
        let opened = File::open(&file.path).map_err(failed)?;
        // The digest makes it unlikely to be within the file, and JSON holds no line of this form.
        let boundary = format!("penstock-{}", file.digest);
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/jsonl\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = (head.len() + tail.len()) as u64 + file.bytes;
        let timeout = ASK_TIMEOUT + Duration::from_secs(file.bytes / SLOWEST_UPLOAD);
        let request = self
            .wire
            .request(Method::POST, "files")
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .header("content-length", length)
            .body(Body::wrap_stream(pieces(head, opened, file.bytes, tail)))
            .timeout(timeout);
        let reply = self.wire.exchange(request, LIST_BYTES_MAX).await?;
        read_json(&reply.body)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, ChatError> {
        let request = self.wire.request(Method::GET, path).timeout(ASK_TIMEOUT);
        read_json(&self.wire.exchange(request, LIST_BYTES_MAX).await?.body)
    }

    async fn post<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &Value) -> Result<T, ChatError> {
        let request = self.wire.request(Method::POST, path);
        let request = request.header("content-type", "application/json").body(body.to_string());
        read_json(&self.wire.exchange(request.timeout(ASK_TIMEOUT), LIST_BYTES_MAX).await?.body)
    }
}

/// A batch in a list, read as [`BatchState`].
struct WireBatchState(BatchState);

impl<'de> Deserialize<'de> for WireBatchState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireBatch::deserialize(deserializer).map(|batch| Self(batch.into()))
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ChatError> {
    serde_json::from_slice(body).map_err(|_| ChatError::BadAnswer {
        why: "the endpoint's answer about a batch is not what the Batch API promises".to_owned(),
        usage: Usage::default(),
        rates: Box::default(),
    })
}

/// An id as a part of an address.
pub(super) fn segment(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
