//! Records by their ids: 2,000 a call, several calls under way, answers in the order asked.
//!
//! The ids travel in the body (`POST /composite/sobjects/Lead`), so no address grows too long; the call only
//! reads, so it is repeated as freely as a GET. An id that the org does not know, or does not show us, is
//! told as missing at its place.

use std::cell::RefCell;
use std::ops::ControlFlow;

use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::handover::{HandoverError, unreadable_rows};
use super::rows::{Columns, RestRows, Row};
use super::transport::Method;
use crate::model::ObjectName;

/// Most ids in one call.
pub const IDS_PER_CALL: usize = 2_000;
/// Calls under way at once.
pub const CALLS_AT_ONCE: usize = 5;

/// Takes what became of each id, in the order asked: its row, or `None` where there is none for us.
pub type RecordTaker<'t> = dyn FnMut(&str, Option<&Row<'_>>) -> Result<(), HandoverError> + Send + 't;

/// What a retrieval came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retrieved {
    /// Ids with a row.
    pub found: u64,
    /// Ids without one: unknown, deleted, or not to be seen by us.
    pub missing: u64,
}

/// Why a retrieval ended early. What was handed over before stands.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// A call, or the answer to it.
    #[error(transparent)]
    Org(#[from] OrgError),
    /// Whoever takes the records could not take them.
    #[error("take over the records of `{object}`")]
    Handover {
        /// Of this object.
        object: ObjectName,
        /// Why.
        source: HandoverError,
    },
}

#[derive(Serialize)]
struct Ids<'a> {
    ids: &'a [String],
    fields: Vec<&'a str>,
}

/// What one answer has given so far.
struct Tally<'a, 't> {
    ids: &'a [String],
    taker: &'a mut RecordTaker<'t>,
    /// Ids answered by this reading of the answer.
    at: usize,
    /// Ids handed on, by all readings of it.
    known: usize,
    found: u64,
    refused: Option<HandoverError>,
}

impl Tally<'_, '_> {
    fn take(&mut self, row: Option<&Row<'_>>) -> ControlFlow<()> {
        let at = self.at;
        self.at += 1;
        if at < self.known {
            return ControlFlow::Continue(());
        }
        // More answers than ids are told once the list has ended.
        let Some(id) = self.ids.get(at) else { return ControlFlow::Continue(()) };
        match (self.taker)(id, row) {
            Ok(()) => {
                self.known = self.at;
                self.found += u64::from(row.is_some());
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.refused = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl OrgClient {
    /// Retrieves records by id: [`IDS_PER_CALL`] by one call, [`CALLS_AT_ONCE`] calls under way. Memory holds
    /// the answers under way and no more, however many ids come. Columns are fields of the object itself;
    /// this interface knows no parents.
    ///
    /// # Errors
    /// See [`RetrieveError`]. A column that the object does not have fails the first call.
    pub async fn retrieve(
        &self,
        object: &ObjectName,
        columns: &Columns,
        ids: impl Stream<Item = String> + Send,
        taker: &mut RecordTaker<'_>,
    ) -> Result<Retrieved, RetrieveError> {
        let asked = ids.chunks(IDS_PER_CALL).map(|ids| async move {
            let call = self.retrieve_call(object, columns, &ids)?;
            let body = self.respond(&call).await?.body;
            Ok::<_, OrgError>((ids, call, body))
        });
        let mut answers = std::pin::pin!(asked.buffered(CALLS_AT_ONCE));
        let mut retrieved = Retrieved::default();
        while let Some(answer) = answers.next().await {
            let (ids, call, body) = answer?;
            let found = self.take_records(object, columns, &ids, &call, body, taker).await?;
            retrieved.found += found;
            retrieved.missing += ids.len() as u64 - found;
        }
        Ok(retrieved)
    }

    /// As [`OrgClient::retrieve`], of ids that are at hand.
    ///
    /// # Errors
    /// See [`RetrieveError`].
    pub async fn retrieve_all(
        &self,
        object: &ObjectName,
        columns: &Columns,
        ids: Vec<String>,
        taker: &mut RecordTaker<'_>,
    ) -> Result<Retrieved, RetrieveError> {
        self.retrieve(object, columns, stream::iter(ids), taker).await
    }

    fn retrieve_call(
        &self,
        object: &ObjectName,
        columns: &Columns,
        ids: &[String],
    ) -> Result<Call, OrgError> {
        let fields = columns.as_slice().iter().map(|column| column.name.as_str()).collect();
        let path = self.data_path(&format!("/composite/sobjects/{object}"));
        let what = format!("{} records of `{object}`", ids.len());
        Call::json(Method::Post, Api::Composite, path, &Ids { ids, fields }, what)
    }

    /// Hands on what one answer says; one that broke off is asked for again. Returns the rows found.
    async fn take_records(
        &self,
        object: &ObjectName,
        columns: &Columns,
        ids: &[String],
        call: &Call,
        mut body: Vec<u8>,
        taker: &mut RecordTaker<'_>,
    ) -> Result<u64, RetrieveError> {
        let attempts_max = self.caller().retry.attempts_max;
        let (mut attempt, mut known, mut found) = (1, 0, 0);
        loop {
            let error = {
                let tally =
                    RefCell::new(Tally { ids, taker: &mut *taker, at: 0, known, found, refused: None });
                let mut stopped = false;
                let read = RestRows::new(columns.clone(), 0).read_list(
                    &body,
                    &mut |row| tally.borrow_mut().take(Some(row)),
                    &mut |_| stopped |= tally.borrow_mut().take(None).is_break(),
                );
                let tally = tally.into_inner();
                (known, found) = (tally.known, tally.found);
                if let Some(source) = tally.refused {
                    return Err(RetrieveError::Handover { object: object.clone(), source });
                }
                match read {
                    Ok(length) if length == ids.len() => return Ok(found),
                    Ok(length) => {
                        let reason = format!("it answers {length} of {} ids", ids.len());
                        OrgError::Unreadable { what: call.what.clone(), reason, cut_off: false }
                    }
                    Err(error) => unreadable_rows(&call.what, &error),
                }
            };
            if !self.caller().may_retry(&error, attempt, attempts_max).await {
                return Err(error.into());
            }
            attempt += 1;
            body = self.respond(call).await?.body;
        }
    }
}
