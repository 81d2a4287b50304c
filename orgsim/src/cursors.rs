//! Results kept for their next pages. The rows never change, so the same statement is the same cursor, its
//! locator comes from the statement, and a rendered page can be sent again.

use crate::{
    body::Prepared,
    ids, json,
    org::OrgData,
    query::{
        Content, Found,
        render::{self, UrlBase},
    },
    tables::Kind,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Results kept at most; the oldest gives way and its locator is then invalid.
const MOST_CURSORS: usize = 1_000;
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
    locator: String,
}

/// All results, by locator.
#[derive(Default)]
pub struct Cursors {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_locator: HashMap<String, Arc<Cursor>>,
    oldest_first: VecDeque<String>,
    pages: HashMap<(String, u64), Arc<Prepared>>,
    page_bytes: usize,
}

impl Cursors {
    /// The locator of a statement asked in this way.
    pub fn locator(base: UrlBase, page_rows: u64, text: &str, today: &str) -> String {
        let name = format!("{base:?}/{page_rows}/{today}/{text}");
        format!("0r8xx{}{}", ids::base62(ids::stable_hash(&name)), ids::base62(ids::stable_hash(text)))
    }

    /// The result of a locator.
    pub fn get(&self, locator: &str) -> Option<Arc<Cursor>> {
        self.lock().by_locator.get(locator).cloned()
    }

    /// Keeps a result.
    pub fn keep(&self, locator: String, found: Found, base: UrlBase, page_rows: u64) -> Arc<Cursor> {
        let long_texts = |shown: &&crate::query::ColumnShown| {
            shown.kind == Some(Kind::LongText) && shown.names.last().is_some_and(|name| name.ends_with("__c"))
        };
        let narrow = found.columns.iter().filter(long_texts).count() >= 2;
        let page_rows = if narrow { page_rows.min(PAGE_WITH_LONG_TEXTS) } else { page_rows };
        let cursor = Arc::new(Cursor { found, base, page_rows, locator: locator.clone() });
        let mut inner = self.lock();
        if inner.by_locator.insert(locator.clone(), cursor.clone()).is_none() {
            inner.oldest_first.push_back(locator);
        }
        while inner.oldest_first.len() > MOST_CURSORS {
            if let Some(oldest) = inner.oldest_first.pop_front() {
                inner.by_locator.remove(&oldest);
            }
        }
        cursor
    }

    /// The page that starts at row `from`; `None` beyond the end.
    pub fn page(&self, org: &OrgData, cursor: &Cursor, from: u64) -> Option<Arc<Prepared>> {
        let key = (cursor.locator.clone(), from);
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
            Content::Rows { .. } => from.saturating_add(self.page_rows).min(total),
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
                    if place > from {
                        out.push(b',');
                    }
                    render::record(&mut out, org, self.base, *table, picked.at(place), outputs);
                }
            }
        }
        out.extend_from_slice(b"]}");
        Some(out)
    }
}
