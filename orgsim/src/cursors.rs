//! Results kept for their next pages. A result holds positions: which rows were found is decided when the
//! statement runs, what they hold when a page is rendered, as in the real org. As long as nothing is written, the
//! same statement is the same cursor and a rendered page can be sent again.

use crate::{
    body::Prepared,
    catalog::random::mix,
    ids, json,
    org::OrgData,
    query::{
        Content, Found, Picked,
        render::{self, UrlBase},
    },
    tables::Kind,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

/// Results kept at most; the oldest gives way and its locator is then invalid.
const MOST_CURSORS: usize = 20_000;
/// Positions all kept results may hold together: 128 MB.
const MOST_POSITIONS: u64 = 16_000_000;
/// How long a locator is good for.
const LIFETIME_MS: i64 = 2 * 86_400_000;
/// Bytes of rendered pages kept at most, deflated.
const MOST_PAGE_BYTES: usize = 24 << 20;
/// Largest page when two or more custom long-text fields are selected.
const PAGE_WITH_LONG_TEXTS: u64 = 200;

/// Default and largest page, in rows.
pub const LARGEST_PAGE: u64 = 2_000;
/// Smallest page a client may ask for, in rows.
pub const SMALLEST_PAGE: u64 = 200;

/// A result with its page size.
pub struct Cursor {
    pub found: Found,
    base: UrlBase,
    page_rows: u64,
    /// Of so many percent of the pages only a part is sent.
    short_percent: u64,
    locator: String,
    /// When it was last asked for from the start, in epoch milliseconds.
    asked_ms: AtomicI64,
}

/// All results, by locator.
#[derive(Default)]
pub struct Cursors {
    inner: Mutex<Inner>,
}

/// Locator, first row, and the revision of the rows it was rendered from.
type PageKey = (String, u64, u64);

#[derive(Default)]
struct Inner {
    by_locator: HashMap<String, Arc<Cursor>>,
    oldest_first: VecDeque<String>,
    positions: u64,
    pages: HashMap<PageKey, Arc<Prepared>>,
    page_bytes: usize,
}

impl Cursors {
    /// The locator of a statement asked in this way.
    pub fn locator(base: UrlBase, page_rows: u64, text: &str, today: &str) -> String {
        let name = format!("{base:?}/{page_rows}/{today}/{text}");
        format!("0r8xx{}{}", ids::base62(ids::stable_hash(&name)), ids::base62(ids::stable_hash(text)))
    }

    /// The result of a locator, unless it is too old.
    pub fn get(&self, locator: &str, now_ms: i64) -> Option<Arc<Cursor>> {
        let cursor = self.lock().by_locator.get(locator).cloned()?;
        (now_ms - cursor.asked_ms.load(Ordering::Relaxed) < LIFETIME_MS).then_some(cursor)
    }

    /// The result of a statement asked again: its locator is as good as new.
    pub fn again(&self, locator: &str, now_ms: i64) -> Option<Arc<Cursor>> {
        let cursor = self.get(locator, now_ms)?;
        cursor.asked_ms.store(now_ms, Ordering::Relaxed);
        Some(cursor)
    }

    /// Keeps a result.
    pub fn keep(
        &self,
        locator: String,
        found: Found,
        base: UrlBase,
        (page_rows, short_percent): (u64, u64),
        now_ms: i64,
    ) -> Arc<Cursor> {
        let long_texts = |shown: &&crate::query::ColumnShown| {
            shown.kind == Some(Kind::LongText) && shown.names.last().is_some_and(|name| name.ends_with("__c"))
        };
        let narrow = found.columns.iter().filter(long_texts).count() >= 2;
        let page_rows = if narrow { page_rows.min(PAGE_WITH_LONG_TEXTS) } else { page_rows };
        let cursor = Arc::new(Cursor {
            found,
            base,
            page_rows,
            short_percent,
            locator: locator.clone(),
            asked_ms: AtomicI64::new(now_ms),
        });
        let mut inner = self.lock();
        inner.positions += cursor.positions();
        match inner.by_locator.insert(locator.clone(), cursor.clone()) {
            Some(before) => inner.positions -= before.positions(),
            None => inner.oldest_first.push_back(locator),
        }
        while inner.oldest_first.len() > MOST_CURSORS
            || (inner.positions > MOST_POSITIONS && inner.oldest_first.len() > 1)
        {
            let oldest = inner.oldest_first.pop_front();
            if let Some(gone) = oldest.and_then(|oldest| inner.by_locator.remove(&oldest)) {
                inner.positions -= gone.positions();
            }
        }
        cursor
    }

    /// The page that starts at row `from`; `None` beyond the end.
    pub fn page(&self, org: &OrgData, cursor: &Cursor, from: u64) -> Option<Arc<Prepared>> {
        let key = (cursor.locator.clone(), from, org.rows.revision());
        if let Some(page) = self.lock().pages.get(&key) {
            return Some(page.clone());
        }
        let page = Arc::new(Prepared::new(&cursor.render(org, from)?));
        let mut inner = self.lock();
        if inner.page_bytes + page.held() > MOST_PAGE_BYTES {
            inner.pages.clear();
            inner.page_bytes = 0;
        }
        inner.page_bytes += page.held();
        inner.pages.insert(key, page.clone());
        Some(page)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cursor {
    /// Positions it holds in memory.
    fn positions(&self) -> u64 {
        match &self.found.content {
            Content::Rows { picked: Picked::Rows(rows), .. } => rows.len() as u64,
            _ => 0,
        }
    }

    /// Rows of the page that starts at `from`: fewer than asked for when the org feels like it.
    fn rows_of_page(&self, from: u64) -> u64 {
        let dice = mix(ids::stable_hash(&self.locator) ^ mix(from + 1));
        let short = dice % 100 < self.short_percent;
        if short { (self.page_rows * (20 + (dice >> 8) % 75) / 100).max(1) } else { self.page_rows }
    }

    fn render(&self, org: &OrgData, from: u64) -> Option<Vec<u8>> {
        let total = match &self.found.content {
            Content::Count(rows) => *rows,
            Content::Groups(groups) => groups.len() as u64,
            Content::Rows { picked, .. } => picked.len(),
        };
        if from > 0 && from >= total {
            return None;
        }
        let to = match &self.found.content {
            Content::Rows { .. } => from.saturating_add(self.rows_of_page(from)).min(total),
            Content::Count(_) | Content::Groups(_) => total,
        };
        let mut out = b"{".to_vec();
        if self.base.api == crate::tables::Api::Tooling {
            json::field(&mut out, "size", &(to - from));
        }
        json::field(&mut out, "totalSize", &total);
        json::field(&mut out, "done", &(to == total));
        if to < total {
            json::field(
                &mut out,
                "nextRecordsUrl",
                &format!("{}/query/{}-{to}", self.base.path(), self.locator),
            );
        }
        if self.base.api == crate::tables::Api::Tooling {
            json::field(&mut out, "queryLocator", &(to < total).then(|| format!("{}-{to}", self.locator)));
            json::field(&mut out, "entityTypeName", &self.found.object);
        }
        json::key(&mut out, "records");
        out.push(b'[');
        match &self.found.content {
            Content::Count(_) => {}
            Content::Groups(groups) => out.extend_from_slice(&groups.join(&b',')),
            Content::Rows { table, outputs, picked } => {
                for place in from..to {
                    let row = picked.at(place);
                    // Deleted since the statement ran: the page is shorter then, the total is not.
                    if !table.sees(org, row, self.found.scope) {
                        continue;
                    }
                    if out.last() != Some(&b'[') {
                        out.push(b',');
                    }
                    render::record(&mut out, org, self.base, *table, row, outputs);
                }
            }
        }
        out.extend_from_slice(b"]}");
        Some(out)
    }
}
