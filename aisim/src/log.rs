//! What the endpoint was asked, and what it answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// One question, by itself or in a batch, or one request about files and batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its place, from 0.
    pub seq: usize,
    /// Milliseconds from the start of the server to its arrival.
    pub at_ms: u64,
    /// Verb and path, such as `POST /v1/chat/completions`; a question in a batch has that of its own.
    pub request: String,
    /// The first Salesforce lead id in it.
    pub lead: Option<String>,
    /// The batch that it came in.
    pub batch: Option<String>,
    /// Fingerprint of the messages: the same question has the same.
    pub question: Option<String>,
    /// Status of the answer; 0: none was given.
    pub status: u16,
    /// The fault that struck it.
    pub fault: Option<String>,
    /// Tokens of the question, where it was answered.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// The answer left to its last byte.
    pub sent_whole: bool,
    /// Milliseconds from the start of the server to the last byte of the answer.
    pub ended_ms: Option<u64>,
}

/// The log in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Questions.
    pub questions: u64,
    /// Of these, answered with 200.
    pub answered: u64,
    /// Of these, answered with 429.
    pub throttled: u64,
    /// Different leads in the questions that were answered with 200.
    pub leads: u64,
    /// Good answers that were sent whole, of a lead that had had such an answer before.
    pub answered_again: u64,
    /// Tokens of questions answered with 200.
    pub prompt_tokens: u64,
    /// Tokens of these answers.
    pub completion_tokens: u64,
}

/// All entries.
#[derive(Debug, Default)]
pub struct Log(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    entries: Vec<LogEntry>,
    /// Entries that were forgotten; numbers go on.
    forgotten: usize,
}

impl Log {
    /// Writes an entry; its place is filled in.
    pub fn push(&self, mut entry: LogEntry) -> usize {
        let mut log = self.lock();
        entry.seq = log.forgotten + log.entries.len();
        let seq = entry.seq;
        log.entries.push(entry);
        seq
    }

    /// Changes an entry, unless it has been forgotten.
    pub fn change(&self, seq: usize, change: impl FnOnce(&mut LogEntry)) {
        let mut log = self.lock();
        let at = seq.checked_sub(log.forgotten);
        if let Some(entry) = at.and_then(|at| log.entries.get_mut(at)) {
            change(entry);
        }
    }

    /// A copy.
    pub fn snapshot(&self) -> Vec<LogEntry> {
        self.lock().entries.clone()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut log = self.lock();
        log.forgotten += log.entries.len();
        log.entries.clear();
    }

    /// In figures.
    pub fn stats(&self) -> Stats {
        let log = self.lock();
        let mut stats = Stats::default();
        let mut leads: HashMap<&str, u64> = HashMap::new();
        for entry in log.entries.iter().filter(|entry| entry.question.is_some()) {
            stats.questions += 1;
            match entry.status {
                200 => {
                    stats.answered += 1;
                    stats.prompt_tokens += entry.prompt_tokens;
                    stats.completion_tokens += entry.completion_tokens;
                    if let Some(lead) = &entry.lead {
                        let is_good = entry.sent_whole && entry.fault.is_none();
                        *leads.entry(lead).or_default() += u64::from(is_good);
                    }
                }
                429 => stats.throttled += 1,
                _ => {}
            }
        }
        stats.leads = leads.len() as u64;
        stats.answered_again = leads.values().map(|times| times.saturating_sub(1)).sum();
        stats
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
