//! The answers of a batch on their way down, line by line: a file may have 200 MB, and a line a few thousand bytes.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use reqwest::{Method, Response};
use serde::Deserialize;

use super::answer::{self, ChatAnswer, lenient};
use super::batches::segment;
use super::error::{ChatError, tidy};
use super::wire::Wire;
use super::{ANSWER_BYTES_MAX, ChatClient};
use crate::limiter::model::RatesSeen;

/// Longest wait for the next bytes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

impl ChatClient {
    /// The answers in an output or error file, line by line.
    ///
    /// # Errors
    /// Those of the endpoint.
    pub async fn batch_lines(&self, file_id: &str) -> Result<BatchLines, ChatError> {
        let path = format!("files/{}/content", segment(file_id));
        // No bound for the whole: a file of 200 MB may take long. What is bounded is silence.
        let request = self.wire.request(Method::GET, &path);
        let opened = tokio::time::timeout(STALL_TIMEOUT, self.wire.open(request));
        let (response, _) =
            opened.await.map_err(|_| ChatError::Timeout { host: self.wire.host().to_owned() })??;
        let wire = self.wire.clone();
        Ok(BatchLines { wire, response, buffer: BytesMut::new(), searched: 0, is_over: false, unreadable: 0 })
    }
}

/// One answer of a batch.
#[derive(Debug)]
pub struct BatchLine {
    /// As it was given with the question.
    pub custom_id: String,
    /// What came of it, as if it had been asked by itself.
    pub result: Result<ChatAnswer, ChatError>,
}

/// The answers in a file that is coming down.
pub struct BatchLines {
    wire: Wire,
    response: Response,
    buffer: BytesMut,
    /// So much of the buffer holds no line end.
    searched: usize,
    is_over: bool,
    unreadable: u64,
}

impl std::fmt::Debug for BatchLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchLines").field("unreadable", &self.unreadable).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct WireLine {
    custom_id: String,
    #[serde(default)]
    response: Option<WireResponse>,
    #[serde(default)]
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireResponse {
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    body: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default, deserialize_with = "lenient")]
    code: String,
    #[serde(default, deserialize_with = "lenient")]
    message: String,
}

impl BatchLines {
    /// The next answer; `None` after the last.
    ///
    /// # Errors
    /// When the file does not come down whole: then it is to be read again from its beginning.
    pub async fn next(&mut self) -> Result<Option<BatchLine>, ChatError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if let Some(line) = self.read(&line) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.is_over {
                let line = self.buffer.split();
                self.searched = 0;
                return Ok(self.read(&line));
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(ChatError::Request {
                    why: "a line of the batch's answers is too long".to_owned(),
                });
            }
            let piece = tokio::time::timeout(STALL_TIMEOUT, self.wire.piece(&mut self.response)).await;
            let silent = || ChatError::Timeout { host: self.wire.host().to_owned() };
            match piece.map_err(|_| silent())?? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => self.is_over = true,
            }
        }
    }

    /// Lines so far that were no answers; their questions count as not answered.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn read(&mut self, line: &[u8]) -> Option<BatchLine> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        match serde_json::from_slice::<WireLine>(line) {
            Ok(read) => Some(BatchLine { result: result_of(&self.wire, &read), custom_id: read.custom_id }),
            Err(_) => {
                self.unreadable += 1;
                None
            }
        }
    }
}

fn result_of(wire: &Wire, line: &WireLine) -> Result<ChatAnswer, ChatError> {
    const NOT_RUN: [&str; 2] = ["batch_expired", "batch_cancelled"];
    let rates = RatesSeen::default();
    if let Some(response) = line.response.as_ref().filter(|response| response.status_code > 0) {
        let body = response.body.as_ref().map_or("", |body| body.get()).as_bytes();
        return match response.status_code {
            200..=299 => answer::read(body, rates),
            status => Err(wire.refusal(status, body, rates)),
        };
    }
    let error = line.error.as_ref();
    let code = error.map_or("no reason given", |error| &error.code);
    if NOT_RUN.contains(&code) {
        return Err(ChatError::NotRun { code: code.to_owned() });
    }
    let message = error.map_or(code, |error| &error.message);
    Err(ChatError::Failing { status: 0, message: tidy(message, None), rates: Box::default() })
}
