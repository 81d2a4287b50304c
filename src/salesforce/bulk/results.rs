//! The pages of a bulk query's result.
//!
//! Which page comes next is said by each page itself, in its header `Sforce-Locator`. The org's list of pages
//! (`resultPages`) only tells which ones can be asked for ahead: their answers wait in small bounded channels,
//! so that several connections fill while one page is read, and rows still come in order. Where the list
//! and a page disagree, the page is right and the list is dropped.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{BulkError, BulkQuery, RESULT_PAGES_SINCE};
use crate::clock::BoxFuture;
use crate::salesforce::client::{Call, OrgClient};
use crate::salesforce::error::OrgError;
use crate::salesforce::gate::Api;
use crate::salesforce::handover::HandoverError;
use crate::salesforce::soql::percent_encode;
use crate::salesforce::stream::OpenAnswer;

/// Pieces of a page that wait unread; the network's pieces are some 8 to 64 KiB.
const PIECES_AHEAD: usize = 32;

/// Parts of the list of pages that are looked through for the page at a checkpoint.
const LISTS_MAX: u32 = 1_000;

/// Why a page was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what they should be; cut off ones are asked for again.
    #[error(transparent)]
    Page(#[from] OrgError),
    /// The rows could not be handed on.
    #[error("hand on the rows")]
    Handover(#[source] HandoverError),
}

/// Reads the bytes of result pages, each a CSV file with its own header.
pub trait PageReader: Send {
    /// A page starts, from its first byte. Its first `rows_known` rows have been handed on by an earlier
    /// reading that broke off: they are read and counted, and not handed on again.
    fn begin(&mut self, rows_known: u64) -> Result<(), ReadError>;

    /// More of the page, unpacked.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError>;

    /// Room for whoever hands rows on and has to wait for it; called between two pieces.
    fn pass_on(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The page is whole; returns its rows, those known before included.
    fn end(&mut self) -> Result<u64, ReadError>;

    /// Rows of this page handed on so far, by this reading and those before it.
    fn rows_known(&self) -> u64;
}

/// A page that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageDone {
    /// Its rows.
    pub rows: u64,
    /// Bytes as unpacked.
    pub bytes: u64,
}

/// Pages that the org has listed and that were not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Plan {
    is_asked_for: bool,
    /// The first page, where reading starts with it: the org may have cut other pages than we would.
    first: Option<String>,
    urls: VecDeque<String>,
    /// The next part of the list.
    more: Option<String>,
    /// Ends when the page asked for ahead last has its answer, or has been given up.
    asked_last: Option<oneshot::Receiver<()>>,
}

/// Names in lower case, and values.
type Headers = Vec<(String, String)>;

/// A page that was asked for before its turn.
pub(super) struct Ahead {
    url: String,
    opened: Option<oneshot::Receiver<Result<Headers, OrgError>>>,
    /// `None` is the end, which a channel that closes without a word is not.
    pieces: mpsc::Receiver<Result<Option<Bytes>, OrgError>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A page under way.
enum Source {
    Here(OpenAnswer),
    Ahead(Ahead),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, OrgError> {
        match self {
            Self::Here(answer) => answer.next().await,
            Self::Ahead(ahead) => ahead.pieces.recv().await.unwrap_or_else(|| Err(lost(&ahead.url))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListOfPages {
    result_pages: Vec<ResultPage>,
    #[serde(default)]
    next_records_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultPage {
    result_url: String,
}

/// What the headers of a page say.
struct PageHead {
    /// `None`: it is the last.
    next_locator: Option<String>,
    rows: Option<u64>,
}

impl BulkQuery {
    /// Hands the next page over, or gives `None` after the last. [`BulkQuery::wait`] comes first. When it has
    /// returned, [`BulkQuery::checkpoint`] stands behind the page: what was handed over should be kept
    /// before the checkpoint is.
    ///
    /// A page that breaks off is asked for again at the same locator, and the reader is told how many rows it
    /// has already. A page that cannot be read leaves the checkpoint before it.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn next_page(&mut self, reader: &mut dyn PageReader) -> Result<Option<PageDone>, BulkError> {
        if self.checkpoint.is_complete {
            return Ok(None);
        }
        self.list_pages().await;
        let attempts_max = self.client.caller().retry.attempts_max;
        let mut attempt = 1;
        let mut rows_known = 0;
        // A page that cannot even be opened must find the reader at this page, not at the one before.
        self.begin(reader)?;
        let (head, done) = loop {
            let error = match self.read_page(reader, rows_known).await {
                Ok(done) => break done,
                Err(ReadError::Handover(source)) => {
                    return Err(BulkError::Handover { job: self.checkpoint.job_id.clone(), source });
                }
                Err(ReadError::Page(error)) => error,
            };
            rows_known = reader.rows_known();
            // Their permits could be what the next attempt waits for.
            self.ahead.clear();
            if let OrgError::Rejected { status: 404, .. } = error {
                return Err(self.gone());
            }
            if let (OrgError::Rejected { status: 409, .. }, true) = (&error, attempt == 1) {
                // The results are given to the job's own version only: ask the job which that is.
                if let Some(version) = self.look().await?.version() {
                    self.checkpoint.api_version = version;
                    self.plan = Plan { is_asked_for: true, ..Plan::default() };
                    attempt += 1;
                    continue;
                }
            }
            if !self.client.caller().may_retry(&error, attempt, attempts_max).await {
                let (job, page) = (self.checkpoint.job_id.clone(), self.checkpoint.pages_done + 1);
                return Err(BulkError::Page { job, page, source: error });
            }
            attempt += 1;
        };
        self.move_on(head, done)?;
        Ok(Some(done))
    }

    fn begin(&self, reader: &mut dyn PageReader) -> Result<(), BulkError> {
        let job = || self.checkpoint.job_id.clone();
        reader.begin(0).map_err(|error| match error {
            ReadError::Handover(source) => BulkError::Handover { job: job(), source },
            ReadError::Page(source) => {
                BulkError::Page { job: job(), page: self.checkpoint.pages_done + 1, source }
            }
        })
    }

    /// Puts the checkpoint behind a page.
    fn move_on(&mut self, head: PageHead, done: PageDone) -> Result<(), BulkError> {
        let at = &mut self.checkpoint;
        at.rows_done += done.rows;
        at.pages_done += 1;
        at.is_complete = head.next_locator.is_none();
        at.next_locator = head.next_locator;
        if let Some(locator) = &at.next_locator {
            self.locators_seen.insert(locator.clone());
        }
        let wrong = |rows_total: &u64| match at.is_complete {
            true => at.rows_done != *rows_total,
            // An org that leads in a long circle would else be followed for ever.
            false => at.rows_done > *rows_total,
        };
        if let Some(rows_total) = at.rows_total.filter(wrong) {
            let (job, rows_done) = (at.job_id.clone(), at.rows_done);
            return Err(BulkError::OtherCount { job, rows_total, rows_done });
        }
        Ok(())
    }

    async fn read_page(
        &mut self,
        reader: &mut dyn PageReader,
        rows_known: u64,
    ) -> Result<(PageHead, PageDone), ReadError> {
        let (mut source, headers) = self.open_page().await?;
        let head = self.read_head(&headers)?;
        self.ask_ahead(head.next_locator.as_deref());
        reader.begin(rows_known)?;
        let mut bytes = 0;
        while let Some(piece) = source.next().await? {
            bytes += piece.len() as u64;
            reader.feed(&piece)?;
            reader.pass_on().await?;
        }
        let rows = reader.end()?;
        reader.pass_on().await?;
        handed_on_too_many(&self.what(), reader, rows)?;
        if let Some(announced) = head.rows.filter(|announced| *announced != rows) {
            let reason = format!("{announced} rows were announced, {rows} came");
            // Most likely the rest got lost on the way, between two rows.
            return Err(OrgError::Unreadable { what: self.what(), reason, cut_off: true }.into());
        }
        Ok((head, PageDone { rows, bytes }))
    }

    /// The page at the checkpoint: from those asked for ahead, or asked for now.
    async fn open_page(&mut self) -> Result<(Source, Vec<(String, String)>), OrgError> {
        let wanted = self.checkpoint.next_locator.as_deref();
        if let Some(mut ahead) = self.ahead.pop_front() {
            if leads_to(&ahead.url, wanted) {
                let opened = ahead.opened.take();
                let headers = match opened {
                    Some(opened) => opened.await.unwrap_or_else(|_| Err(lost(&ahead.url)))?,
                    None => return Err(lost(&ahead.url)),
                };
                return Ok((Source::Ahead(ahead), headers));
            }
            self.ahead.clear();
            self.plan.urls.clear();
            self.plan.more = None;
        }
        let path = match (self.plan.urls.front(), &self.plan.first) {
            (_, Some(first)) if wanted.is_none() => first.clone(),
            (Some(url), _) if leads_to(url, wanted) => self.plan.urls.pop_front().unwrap_or_default(),
            _ => {
                let mut path = self.path("/results");
                path.push_str(&format!("?maxRecords={}", self.options.rows_per_page));
                if let Some(locator) = wanted {
                    path.push_str("&locator=");
                    path.push_str(&percent_encode(locator));
                }
                path
            }
        };
        let mut answer = self.client.open_once(&self.page_call(path)).await?;
        let headers = std::mem::take(&mut answer.headers);
        Ok((Source::Here(answer), headers))
    }

    fn page_call(&self, path: String) -> Call {
        let what = format!("page {} of {}", self.checkpoint.pages_done + 1, self.what());
        let call = Call::get(Api::Bulk, path, what).with_header("accept", "text/csv");
        Call { expected_long: true, ..call }
    }

    fn read_head(&self, headers: &[(String, String)]) -> Result<PageHead, OrgError> {
        let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        let bad = |reason: String, cut_off: bool| {
            let what = format!("page {} of {}", self.checkpoint.pages_done + 1, self.what());
            OrgError::Unreadable { what, reason, cut_off }
        };
        if let Some(kind) = value("content-type").filter(|kind| !kind.starts_with("text/csv")) {
            // A gateway's page, which may well be gone at the next attempt.
            return Err(bad(format!("it is `{}`, not CSV", crate::salesforce::error::shorten(kind)), true));
        }
        let rows = value("sforce-numberofrecords").and_then(|text| text.parse().ok());
        let next_locator = match value("sforce-locator") {
            Some("null" | "") => None,
            Some(locator) => Some(locator.to_owned()),
            // Some orgs leave it out where there is nothing more; the count tells.
            None => {
                let seen = self.checkpoint.rows_done + rows.unwrap_or(0);
                if self.checkpoint.rows_total.is_some_and(|total| seen < total) {
                    return Err(bad("there are more rows, but no locator to them".to_owned(), false));
                }
                None
            }
        };
        if let Some(locator) = &next_locator
            && (self.locators_seen.contains(locator))
        {
            return Err(bad("its locator leads back to a page that was read already".to_owned(), false));
        }
        Ok(PageHead { next_locator, rows })
    }

    /// Asks the org for its list of pages, once, where that pays: with more than two pages to come. Without a
    /// list the pages are read one after the other, so that no answer to this is an error.
    async fn list_pages(&mut self) {
        if self.options.pages_at_once < 2 {
            return;
        }
        if std::mem::replace(&mut self.plan.is_asked_for, true) {
            // Not while pages read ahead may hold the last places for calls: they wait to be read before they
            // give them back, and the list would wait for them.
            if self.ahead.is_empty() && self.plan.urls.len() < self.options.pages_at_once {
                self.list_more().await;
            }
            return;
        }
        let at = &self.checkpoint;
        let major = at.api_version.as_str().split('.').next().and_then(|text| text.parse::<u32>().ok());
        let rows_left = at.rows_total.unwrap_or(0).saturating_sub(at.rows_done);
        let pays = rows_left > 2 * u64::from(self.options.rows_per_page);
        if !pays || major.is_none_or(|major| major < RESULT_PAGES_SINCE) {
            return;
        }
        let wanted = at.next_locator.clone();
        self.plan.more = Some(self.path(&format!("/resultPages?maxRecords={}", self.options.rows_per_page)));
        for _ in 0..LISTS_MAX {
            self.list_more().await;
            if wanted.is_none() {
                self.plan.first = self.plan.urls.pop_front();
                return;
            }
            // After a restart the pages before the checkpoint are in the list too.
            let here = self.plan.urls.iter().position(|url| leads_to(url, wanted.as_deref()));
            self.plan.urls.drain(..here.unwrap_or(self.plan.urls.len()));
            if here.is_some() || self.plan.more.is_none() {
                return;
            }
        }
        self.plan.more = None;
    }

    async fn list_more(&mut self) {
        let Some(path) = self.plan.more.take() else { return };
        let call = Call::get(Api::Bulk, path, format!("the list of pages of {}", self.what()));
        match self.client.read::<ListOfPages>(call).await {
            Ok(list) => {
                let is_ours = |url: &String| url.starts_with("/services/data/");
                self.plan.more = list.next_records_url.filter(is_ours);
                let urls = list.result_pages.into_iter().map(|page| page.result_url).filter(is_ours);
                self.plan.urls.extend(urls);
            }
            Err(error) => tracing::debug!(error = %error, "the org lists no result pages"),
        }
    }

    /// Asks for the pages behind the one that is being read, as far as they are listed.
    fn ask_ahead(&mut self, next_locator: Option<&str>) {
        let Some(next) = next_locator else {
            self.ahead.clear();
            return;
        };
        let expected = self.ahead.front().map(|ahead| &ahead.url).or(self.plan.urls.front());
        if expected.is_some_and(|url| !leads_to(url, Some(next))) {
            self.ahead.clear();
            self.plan.urls.clear();
            self.plan.more = None;
        }
        while self.ahead.len() + 1 < self.options.pages_at_once {
            let Some(url) = self.plan.urls.pop_front() else { return };
            let call = self.page_call(url.clone());
            // One after the other: a page must not take the last place for a call from the page before it,
            // which is read first, for it gives the place back only once it is read itself.
            let (asked, asked_last) = oneshot::channel();
            let turn = self.plan.asked_last.replace(asked_last);
            self.ahead.push_back(Ahead::ask(self.client.clone(), call, url, turn, asked));
        }
    }
}

impl Ahead {
    /// Asks once `turn` has ended; `asked` ends with the answer's headers.
    fn ask(
        client: OrgClient,
        call: Call,
        url: String,
        turn: Option<oneshot::Receiver<()>>,
        asked: oneshot::Sender<()>,
    ) -> Self {
        let (tell, opened) = oneshot::channel();
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let task = tokio::spawn(async move {
            if let Some(turn) = turn {
                // A sender that is gone has given up: that, too, is our turn.
                drop(turn.await);
            }
            let answer = client.open_once(&call).await;
            drop(asked);
            let mut answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    drop(tell.send(Err(error)));
                    return;
                }
            };
            if tell.send(Ok(std::mem::take(&mut answer.headers))).is_err() {
                return;
            }
            loop {
                let piece = answer.next().await;
                let is_last = !matches!(piece, Ok(Some(_)));
                if send.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { url, opened: Some(opened), pieces, task }
    }
}

/// An earlier reading that broke off may have handed on more rows than the whole page has: they cannot be taken
/// back, so the page must not pass for whole.
pub(in crate::salesforce) fn handed_on_too_many(
    what: &str,
    reader: &dyn PageReader,
    rows: u64,
) -> Result<(), OrgError> {
    let known = reader.rows_known();
    if known <= rows {
        return Ok(());
    }
    let reason = format!("it has {rows} rows now, {known} came before");
    Err(OrgError::Unreadable { what: what.to_owned(), reason, cut_off: false })
}

/// A page that was asked for ahead and whose task ended without a word: it is asked for again.
fn lost(url: &str) -> OrgError {
    let what = format!("the page at `{}`", url.split('?').next().unwrap_or_default());
    OrgError::Unreadable { what, reason: "the connection ended".to_owned(), cut_off: true }
}

/// Whether a page's address is that of a locator.
fn leads_to(url: &str, locator: Option<&str>) -> bool {
    let in_url = url
        .split_once('?')
        .and_then(|(_, query)| query.split('&').find_map(|pair| pair.strip_prefix("locator=")));
    match (in_url, locator) {
        (Some(in_url), Some(locator)) => in_url == locator || in_url == percent_encode(locator),
        (None, None) => true,
        _ => false,
    }
}
