//! Queries with cursors: pages are read one by one, as fast as whoever reads them wants.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::soql::{Soql, percent_encode};

/// Which of the two query interfaces knows the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Records and most metadata views.
    Data,
    /// Tooling objects.
    Tooling,
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
    rows: PhantomData<fn() -> T>,
}

impl OrgClient {
    /// The pages of a query; nothing is asked until [`Pages::next`].
    pub fn query_pages<T: DeserializeOwned>(&self, surface: Surface, soql: &Soql) -> Pages<T> {
        let (api, resource) = match surface {
            Surface::Data => (Api::Rest, "/query"),
            Surface::Tooling => (Api::Tooling, "/tooling/query"),
        };
        Pages {
            client: self.clone(),
            api,
            what: format!("a query of `{}`", soql.source()),
            next: Some(format!("{}?q={}", self.data_path(resource), percent_encode(soql.as_str()))),
            rows_read: 0,
            rows: PhantomData,
        }
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
            Some(next) if !wire.done => Some(self.checked_cursor(path, next)?),
            None if !wire.done => return Err(self.bad_cursor("there are more rows, but no cursor to them")),
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

    /// A cursor must stay on the org's API, because the token travels with it, and must move on.
    fn checked_cursor(&self, current: &str, next: String) -> Result<String, OrgError> {
        if !next.starts_with("/services/data/") {
            return Err(self.bad_cursor("the cursor leads away from the org's API"));
        }
        if next == current {
            return Err(self.bad_cursor("the cursor leads back to the same page"));
        }
        Ok(next)
    }

    fn bad_cursor(&self, reason: &str) -> OrgError {
        OrgError::Unreadable { what: self.what.clone(), reason: reason.to_owned(), cut_off: false }
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
