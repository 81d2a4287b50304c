//! Items that were given up, kept with their error so that a person can look, mend the cause and admit them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::journal::{Journal, JournalError, JournalWrite, Table};
use crate::messages::Header;

/// One item that was given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its running number, by which `penstock dead` names it.
    pub number: u64,
    /// The actor that gave up.
    pub actor: String,
    /// The item's header as it was.
    pub header: Header,
    /// Failed attempts.
    pub attempts: u32,
    /// Why, in the handler's words.
    pub error: String,
    /// When, UTC.
    pub at: jiff::Timestamp,
    /// The item itself.
    pub item: serde_json::Value,
}

/// The dead letters of one journal.
pub struct DeadLetters {
    journal: Arc<dyn Journal>,
    next: AtomicU64,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// Opens the journal's dead letters.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        let last =
            journal.rows(Table::DeadLetters).iter().filter_map(|(key, _)| key.parse::<u64>().ok()).max();
        Self { journal, next: AtomicU64::new(last.map_or(1, |last| last + 1)) }
    }

    /// Keeps a letter; its number is set here and returned.
    ///
    /// # Errors
    /// Those of the journal: the letter is then not kept.
    pub async fn keep(&self, mut letter: DeadLetter) -> Result<u64, JournalError> {
        letter.number = self.next.fetch_add(1, Ordering::Relaxed);
        let value = serde_json::to_vec(&letter).map_err(|error| JournalError::Failed(error.to_string()))?;
        let key = key(letter.number);
        self.journal.commit(vec![JournalWrite::Put { table: Table::DeadLetters, key, value }]).await?;
        Ok(letter.number)
    }

    /// Every letter, oldest first. A row that cannot be read is left out and logged.
    pub fn list(&self) -> Vec<DeadLetter> {
        let rows = self.journal.rows(Table::DeadLetters);
        rows.iter()
            .filter_map(|(key, value)| match serde_json::from_slice(value) {
                Ok(letter) => Some(letter),
                Err(error) => {
                    tracing::warn!(key, %error, "dead letter cannot be read");
                    None
                }
            })
            .collect()
    }

    /// One letter.
    pub fn get(&self, number: u64) -> Option<DeadLetter> {
        self.list().into_iter().find(|letter| letter.number == number)
    }

    /// Removes a letter.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn remove(&self, number: u64) -> Result<(), JournalError> {
        self.journal.commit(vec![JournalWrite::Delete { table: Table::DeadLetters, key: key(number) }]).await
    }
}

/// Keys sort as the numbers do.
fn key(number: u64) -> String {
    format!("{number:020}")
}
