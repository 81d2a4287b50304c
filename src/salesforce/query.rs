//! Queries with cursors: pages are read one by one, as fast as whoever reads them wants.
//!
//! [`Pages`] gives rows as types of ours, for metadata and small things; [`RowPages`] gives the rows of a
//! query in their canonical form without building trees, and can be put down and taken up again at a
//! [`CursorCheckpoint`]. Either way a cursor stays on the org's API, because our token travels with it, and
//! never leads back to a page that was read.

use std::collections::HashSet;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::handover::{HandoverError, Once, RowTaker, unreadable_rows};
use super::rows::{Columns, RestPage, RestRows};
use super::soql::{Soql, URI_BYTES_MAX, URI_BYTES_RESERVED, percent_encode};

/// Which of the two query interfaces knows the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Records and most metadata views.
    Data,
    /// Records, those deleted or archived included.
    DataAndDeleted,
    /// Tooling objects.
    Tooling,
}

impl Surface {
    fn api(self) -> Api {
        match self {
            Self::Data | Self::DataAndDeleted => Api::Rest,
            Self::Tooling => Api::Tooling,
        }
    }

    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Data => "/query",
            Self::DataAndDeleted => "/queryAll",
            Self::Tooling => "/tooling/query",
        }
    }
}

/// One page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Rows in the org's order.
    pub rows: Vec<T>,
    /// Rows of the whole query, as the org counts them.
    pub total_size: u64,
}

/// The pages of one query that have not been read yet.
#[derive(Debug)]
pub struct Pages<T> {
    client: OrgClient,
    api: Api,
    what: String,
    next: Option<String>,
    rows_read: u64,
    cursors_seen: HashSet<String>,
    rows: PhantomData<fn() -> T>,
}

impl OrgClient {
    /// The pages of a query; nothing is asked until [`Pages::next`].
    pub fn query_pages<T: DeserializeOwned>(&self, surface: Surface, soql: &Soql) -> Pages<T> {
        Pages {
            client: self.clone(),
            api: surface.api(),
            what: format!("a query of `{}`", soql.source()),
            next: Some(self.query_path(surface, soql)),
            rows_read: 0,
            cursors_seen: HashSet::new(),
            rows: PhantomData,
        }
    }

    pub(super) fn query_path(&self, surface: Surface, soql: &Soql) -> String {
        format!("{}?q={}", self.data_path(surface.resource()), percent_encode(soql.as_str()))
    }

    /// Whether a statement fits into an address; one that does not can be read in parts ([`OrgClient::query_wide`]) or by a
    /// bulk job, where it travels in a body.
    pub fn fits_an_address(&self, surface: Surface, soql: &Soql) -> bool {
        self.query_path(surface, soql).len() <= URI_BYTES_MAX - URI_BYTES_RESERVED
    }

    /// The rows of a query in their canonical form; nothing is asked until [`RowPages::next`].
    pub fn query_rows(&self, surface: Surface, soql: &Soql, columns: Columns) -> RowPages {
        let checkpoint =
            CursorCheckpoint { next: Some(self.query_path(surface, soql)), rows_done: 0, total_size: None };
        self.resume_query_rows(surface, soql, columns, checkpoint)
    }

    /// Takes a query up again where its checkpoint says: a cursor lives for two days.
    pub fn resume_query_rows(
        &self,
        surface: Surface,
        soql: &Soql,
        columns: Columns,
        checkpoint: CursorCheckpoint,
    ) -> RowPages {
        RowPages {
            client: self.clone(),
            api: surface.api(),
            what: format!("a query of `{}`", soql.source()),
            columns,
            checkpoint,
            cursors_seen: HashSet::new(),
        }
    }

    /// Every row of a query, deleted and archived ones included; select `IsDeleted` to tell them.
    pub async fn query_all<T: DeserializeOwned>(&self, soql: &Soql) -> Result<Vec<T>, OrgError> {
        self.query_pages(Surface::DataAndDeleted, soql).collect().await
    }

    /// Every row of a query.
    pub async fn query<T: DeserializeOwned>(&self, soql: &Soql) -> Result<Vec<T>, OrgError> {
        self.query_pages(Surface::Data, soql).collect().await
    }

    /// Every row of a Tooling query.
    pub async fn tooling_query<T: DeserializeOwned>(&self, soql: &Soql) -> Result<Vec<T>, OrgError> {
        self.query_pages(Surface::Tooling, soql).collect().await
    }
}

impl<T: DeserializeOwned> Pages<T> {
    /// The next page, or `None` after the last. After an error the same page is asked for again: a
    /// cursor lives for two days.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, OrgError> {
        let Some(path) = self.next.clone() else {
            return Ok(None);
        };
        let call = Call::get(self.api, path.clone(), self.what.as_str());
        let (page, next) = self.client.read_by(&call, |body| self.read_page(&path, body)).await?;
        self.rows_read += page.rows.len() as u64;
        self.cursors_seen.insert(path);
        self.next = next;
        Ok(Some(page))
    }

    /// The rows of a page and the path of the next one.
    fn read_page(&self, path: &str, body: &[u8]) -> Result<(Page<T>, Option<String>), OrgError> {
        let wire: PageOnTheWire =
            serde_json::from_slice(body).map_err(|error| OrgError::unreadable(self.what.as_str(), &error))?;
        let mut rows = Vec::with_capacity(wire.records.len());
        for (index, row) in (self.rows_read + 1..).zip(&wire.records) {
            let row = serde_json::from_str(row.get())
                .map_err(|error| OrgError::unreadable(format!("row {index} of {}", self.what), &error))?;
            rows.push(row);
        }
        let next = match wire.next_records_url {
            Some(next) if !wire.done => Some(checked_cursor(&self.what, path, &self.cursors_seen, next)?),
            None if !wire.done => {
                return Err(bad_cursor(&self.what, "there are more rows, but no cursor to them"));
            }
            _ => None,
        };
        Ok((Page { rows, total_size: wire.total_size }, next))
    }

    /// Rows given so far.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Every row that is left.
    pub async fn collect(mut self) -> Result<Vec<T>, OrgError> {
        let mut rows = Vec::new();
        while let Some(page) = self.next().await? {
            rows.extend(page.rows);
        }
        Ok(rows)
    }
}

/// A cursor must stay on the org's API, because the token travels with it, and must move on.
fn checked_cursor(
    what: &str,
    current: &str,
    seen: &HashSet<String>,
    next: String,
) -> Result<String, OrgError> {
    if !next.starts_with("/services/data/") {
        return Err(bad_cursor(what, "the cursor leads away from the org's API"));
    }
    if next == current || seen.contains(&next) {
        return Err(bad_cursor(what, "the cursor leads back to a page that was read already"));
    }
    Ok(next)
}

fn bad_cursor(what: &str, reason: &str) -> OrgError {
    OrgError::Unreadable { what: what.to_owned(), reason: reason.to_owned(), cut_off: false }
}

/// Where a query stands: all that is needed to go on after a restart. The first page's address holds the
/// statement, and with it whatever values stand in its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorCheckpoint {
    /// Path of the page to read next; `None` once all are read.
    pub next: Option<String>,
    /// Rows handed over.
    pub rows_done: u64,
    /// Rows of the whole query as the org counts them, once the first page is read.
    pub total_size: Option<u64>,
}

/// The canonical rows of one query, page by page.
#[derive(Debug)]
pub struct RowPages {
    client: OrgClient,
    api: Api,
    what: String,
    columns: Columns,
    checkpoint: CursorCheckpoint,
    cursors_seen: HashSet<String>,
}

/// Why a query gave no rows, or no more.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is too old, or was dropped by the org: the rows must be asked for from the start, because
    /// nobody knows which of them are missing.
    #[error("the cursor of {what} is gone after {rows_done} rows; they must be asked for again")]
    CursorGone {
        /// What was asked for.
        what: String,
        /// Rows handed over before.
        rows_done: u64,
    },
    /// A call, or the answer to it.
    #[error(transparent)]
    Org(#[from] OrgError),
    /// Whoever takes the rows could not take them.
    #[error("take over the rows of {what}")]
    Handover {
        /// What was asked for.
        what: String,
        /// Why.
        source: HandoverError,
    },
}

impl QueryError {
    /// Drop the rows handed over, and ask again from the start.
    pub fn calls_for_a_new_query(&self) -> bool {
        matches!(self, Self::CursorGone { .. })
    }

    /// The error of a call, where one is behind it.
    pub fn org_error(&self) -> Option<&OrgError> {
        match self {
            Self::Org(error) => Some(error),
            _ => None,
        }
    }
}

/// A page of rows that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPage {
    /// Its rows.
    pub rows: u64,
    /// Rows of the whole query, as the org counted them when it began.
    pub total_size: u64,
    /// Bytes of the page, unpacked.
    pub bytes: u64,
    /// There are no more.
    pub is_last: bool,
}

impl RowPages {
    /// Where it stands: behind the page that [`RowPages::next`] gave last.
    pub fn checkpoint(&self) -> &CursorCheckpoint {
        &self.checkpoint
    }

    /// Hands the rows of the next page over, or gives `None` after the last. An answer that breaks off is
    /// asked for again, and no row is handed over twice. A page that cannot be read leaves the checkpoint
    /// before it; rows of it that were handed over by then belong to nobody.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn next(&mut self, taker: &mut RowTaker<'_>) -> Result<Option<RowPage>, QueryError> {
        let Some(path) = self.checkpoint.next.clone() else {
            return Ok(None);
        };
        let call = Call::get(self.api, path, self.what.as_str());
        let attempts_max = self.client.caller().retry.attempts_max;
        let (mut attempt, mut known) = (1, 0);
        loop {
            let error = match self.client.call_once(&call).await {
                Ok(response) => {
                    let whole = self.check_whole(&response.body);
                    match whole.and_then(|()| self.take_page(&response.body, &mut known, taker)) {
                        Ok(page) => return Ok(Some(page)),
                        Err(QueryError::Org(error)) => error,
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => error,
            };
            if let OrgError::Rejected { code, .. } = &error
                && code == "INVALID_QUERY_LOCATOR"
            {
                let (what, rows_done) = (self.what.clone(), self.checkpoint.rows_done);
                return Err(QueryError::CursorGone { what, rows_done });
            }
            if !self.client.caller().may_retry(&error, attempt, attempts_max).await {
                return Err(error.into());
            }
            attempt += 1;
        }
    }

    /// A cursor gives the same rows whenever it is asked; a statement need not. So no row of a first page is
    /// handed over before the page is known to be whole: asked for again, it may hold other rows.
    fn check_whole(&self, body: &[u8]) -> Result<(), QueryError> {
        let is_first = self.checkpoint.total_size.is_none();
        if !is_first || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
            return Ok(());
        }
        // The reader of rows says better what is wrong.
        let mut reader = RestRows::new(self.columns.clone(), self.checkpoint.rows_done);
        match reader.read_page(body, &mut |_| std::ops::ControlFlow::Continue(())) {
            Ok(_) => Ok(()),
            Err(error) => Err(unreadable_rows(&self.what, &error).into()),
        }
    }

    /// Reads one page's body and moves the checkpoint behind it. `known` rows of it were handed over before.
    pub(super) fn take_page(
        &mut self,
        body: &[u8],
        known: &mut u64,
        taker: &mut RowTaker<'_>,
    ) -> Result<RowPage, QueryError> {
        let mut reader = RestRows::new(self.columns.clone(), self.checkpoint.rows_done);
        let mut taker = |row: &super::rows::Row<'_>| taker(row);
        let mut once = Once { taker: &mut taker, known: *known, seen: 0, refused: None };
        let page = reader.read_page(body, &mut |row| once.take(row));
        *known = once.known;
        if let Some(source) = once.refused {
            return Err(QueryError::Handover { what: self.what.clone(), source });
        }
        let RestPage { rows, total_size, done, next_records_url } =
            page.map_err(|error| unreadable_rows(&self.what, &error))?;
        if *known > rows {
            let reason = format!("a page has {rows} rows now, {known} came before");
            let what = self.what.clone();
            return Err(OrgError::Unreadable { what, reason, cut_off: false }.into());
        }
        let current = self.checkpoint.next.clone().unwrap_or_default();
        let next = match next_records_url {
            Some(next) if !done => Some(checked_cursor(&self.what, &current, &self.cursors_seen, next)?),
            None if !done => {
                return Err(bad_cursor(&self.what, "there are more rows, but no cursor to them").into());
            }
            _ => None,
        };
        self.cursors_seen.insert(current);
        let at = &mut self.checkpoint;
        at.rows_done += rows;
        at.total_size.get_or_insert(total_size);
        at.next = next;
        Ok(RowPage { rows, total_size, bytes: body.len() as u64, is_last: at.next.is_none() })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageOnTheWire<'a> {
    total_size: u64,
    done: bool,
    #[serde(default)]
    next_records_url: Option<String>,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::rows::{Column, ColumnKind, Row};
    use crate::salesforce::test_support::*;
    use crate::salesforce::{FieldPath, Select, Source};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn records(ids: &[&str]) -> String {
        let records = ids.iter().map(|id| format!(r#"{{"attributes":{{"type":"Lead"}},"Id":"{id}"}}"#));
        records.collect::<Vec<_>>().join(",")
    }

    #[tokio::test]
    async fn a_first_page_that_comes_again_in_another_order_gives_each_row_once() {
        let asked = AtomicUsize::new(0);
        let bench = Bench::new(move |_| {
            let head = r#"{"totalSize":3,"done":true,"records":["#;
            match asked.fetch_add(1, Ordering::SeqCst) {
                // Cut off behind its second row.
                0 => json(200, &format!("{head}{}", records(&["a", "b"]))),
                _ => json(200, &format!("{head}{}]}}", records(&["c", "b", "a"]))),
            }
        });
        let soql = Select::new([FieldPath::literal("Id")], Source::literal("Lead")).build().unwrap();
        let columns = Columns::new(vec![Column::new("Id", ColumnKind::Text)]).unwrap();
        let mut pages = bench.client.query_rows(Surface::Data, &soql, columns);
        let mut lines = Vec::new();
        let mut taker = |row: &Row<'_>| {
            row.write_json_line(&mut lines);
            Ok(())
        };
        while pages.next(&mut taker).await.unwrap().is_some() {}
        let ids = ["c", "b", "a"].map(|id| format!("{{\"Id\":\"{id}\"}}\n")).concat();
        assert_eq!(String::from_utf8(lines).unwrap(), ids);
    }
}
