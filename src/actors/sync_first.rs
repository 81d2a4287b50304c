//! First pages of objects that are synced side by side, gathered into one call where that saves some.
//!
//! Promises: nobody waits longer than a moment for others; whoever is alone, or whose page failed with the others', reads it
//! by a call of its own; each page goes to the object that asked for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::sync_extract::{ExtractAsk, FirstRead, first_pages};
use crate::clock::SharedClock;
use crate::salesforce::{OrgClient, QUERIES_PER_CALL};

/// How long the first who asks waits for others.
const MOMENT: Duration = Duration::from_millis(30);

struct Waiting {
    ask: ExtractAsk,
    tell: oneshot::Sender<Option<FirstRead>>,
}

/// See the module's promises.
#[derive(Default)]
pub(super) struct FirstPages(Mutex<Vec<Waiting>>);

impl FirstPages {
    /// The first page of an extraction that has not begun, read together with those of others; `None`: it reads its own.
    pub async fn ask(&self, client: &OrgClient, clock: &SharedClock, ask: &ExtractAsk) -> Option<FirstRead> {
        let (tell, told) = oneshot::channel();
        let is_first = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(Waiting { ask: ask.clone(), tell });
            waiting.len() % QUERIES_PER_CALL == 1
        };
        // The first of each group gathers it. One that is dropped while it waits leaves its group to the next.
        if is_first {
            clock.sleep(MOMENT).await;
            self.read(client).await;
        }
        tokio::select! {
            first = told => first.ok().flatten(),
            // Whoever was to gather is gone.
            () = clock.sleep(MOMENT * 100) => None,
        }
    }

    async fn read(&self, client: &OrgClient) {
        let group: Vec<Waiting> = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|one| !one.tell.is_closed());
            let size = waiting.len().min(QUERIES_PER_CALL);
            waiting.drain(..size).collect()
        };
        // One alone saves nothing.
        if group.len() < 2 {
            return;
        }
        let asks: Vec<&ExtractAsk> = group.iter().map(|one| &one.ask).collect();
        let pages = first_pages(client, &asks).await;
        for (Waiting { tell, .. }, page) in group.into_iter().zip(pages) {
            let page = match page {
                Some(Ok(page)) => Some(page),
                Some(Err(error)) => {
                    // Asked for alone it fails in its own words, or not at all.
                    tracing::debug!(%error, "a first page among several failed");
                    None
                }
                None => None,
            };
            drop(tell.send(page));
        }
    }
}
