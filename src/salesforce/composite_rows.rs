//! Five queries by one call: the first pages of many small queries, as an incremental run asks them.
//!
//! The org counts `/composite` as one call, and takes five queries in it. Each query has its own answer, its
//! own error and its own cursor: what has more rows than one page goes on as [`RowPages`] of its own.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::{Call, OrgClient};
use super::error::{OrgError, classify_parts};
use super::gate::Api;
use super::handover::HandoverError;
use super::query::{QueryError, RowPage, RowPages, Surface};
use super::rows::{Columns, Row};
use super::soql::Soql;
use super::transport::Method;

/// Most queries in one call.
pub const QUERIES_PER_CALL: usize = 5;

/// One of several queries.
#[derive(Debug, Clone)]
pub struct RowQuery {
    /// With or without deleted rows.
    pub surface: Surface,
    /// The statement.
    pub soql: Soql,
    /// Its columns.
    pub columns: Columns,
}

/// The first page of one query, handed over, and what is left of it.
#[derive(Debug)]
pub struct FirstPage {
    /// The page; its `total_size` is the count of the whole query.
    pub page: RowPage,
    /// Stands behind the page.
    pub rest: RowPages,
}

/// Takes rows with the place of their query in the list.
pub type ManyTaker<'t> = dyn FnMut(usize, &Row<'_>) -> Result<(), HandoverError> + Send + 't;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    all_or_none: bool,
    composite_request: Vec<SubRequest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubRequest {
    method: &'static str,
    url: String,
    reference_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    composite_response: Vec<SubAnswer<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubAnswer<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    http_status_code: u16,
    reference_id: String,
}

/// A query that waits for its first page.
struct Waiting {
    place: usize,
    pages: RowPages,
    /// Rows of the first page handed over.
    known: u64,
}

impl OrgClient {
    /// Asks many queries, [`QUERIES_PER_CALL`] by one call, and hands over the first page of each. The results
    /// stand in the order of the queries; one that fails fails alone. A passing fault of one query is asked
    /// for again beside the others of its kind, not alone.
    pub async fn query_many(
        &self,
        queries: &[RowQuery],
        taker: &mut ManyTaker<'_>,
    ) -> Vec<Result<FirstPage, QueryError>> {
        let mut results: Vec<Option<Result<FirstPage, QueryError>>> = Vec::new();
        results.resize_with(queries.len(), || None);
        let mut waiting: Vec<Waiting> = queries
            .iter()
            .enumerate()
            .map(|(place, query)| {
                let pages = self.query_rows(query.surface, &query.soql, query.columns.clone());
                Waiting { place, pages, known: 0 }
            })
            .collect();
        let attempts_max = self.caller().retry.attempts_max;
        let mut attempt = 1;
        while !waiting.is_empty() {
            let mut again: Vec<(Waiting, OrgError)> = Vec::new();
            let mut rest = waiting.into_iter();
            loop {
                let group: Vec<Waiting> = rest.by_ref().take(QUERIES_PER_CALL).collect();
                if group.is_empty() {
                    break;
                }
                self.ask_group(group, taker, &mut results, &mut again).await;
            }
            waiting = Vec::new();
            if !again.is_empty() {
                // A query that fails for good says nothing of the others.
                let passing = again.iter().map(|(_, error)| error).find(|error| error.is_transient());
                let goes_on = match passing {
                    Some(error) => self.caller().may_retry(error, attempt, attempts_max).await,
                    None => false,
                };
                attempt += 1;
                for (asked, error) in again {
                    if goes_on && error.is_transient() {
                        waiting.push(asked);
                    } else {
                        results[asked.place] = Some(Err(error.into()));
                    }
                }
            }
        }
        let no_answer = || {
            let (what, reason) = ("a query".to_owned(), "it was not asked".to_owned());
            Err(OrgError::Unreadable { what, reason, cut_off: false }.into())
        };
        results.into_iter().map(|result| result.unwrap_or_else(no_answer)).collect()
    }

    /// Makes one call. What may be asked for again goes to `again`, the rest to `results`.
    async fn ask_group(
        &self,
        group: Vec<Waiting>,
        taker: &mut ManyTaker<'_>,
        results: &mut [Option<Result<FirstPage, QueryError>>],
        again: &mut Vec<(Waiting, OrgError)>,
    ) {
        let asked = |asked: &Waiting| SubRequest {
            method: "GET",
            url: asked.pages.checkpoint().next.clone().unwrap_or_default(),
            reference_id: format!("q{}", asked.place),
        };
        let request = Request { all_or_none: false, composite_request: group.iter().map(asked).collect() };
        let what = format!("{} queries at once", group.len());
        let path = self.data_path("/composite");
        let call = Call::json(Method::Post, Api::Composite, path, &request, what);
        let response = match call {
            Ok(call) => self.call_once(&call).await,
            Err(error) => Err(error),
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return again.extend(group.into_iter().map(|asked| (asked, error.clone()))),
        };
        let answer: Answer<'_> = match serde_json::from_slice(&response.body) {
            Ok(answer) => answer,
            Err(error) => {
                let error = OrgError::unreadable("several queries at once", &error);
                return again.extend(group.into_iter().map(|asked| (asked, error.clone())));
            }
        };
        let parts: HashMap<&str, &SubAnswer<'_>> =
            answer.composite_response.iter().map(|part| (part.reference_id.as_str(), part)).collect();
        for mut asked in group {
            let place = asked.place;
            let Some(part) = parts.get(format!("q{place}").as_str()) else {
                let (what, reason) = ("a query".to_owned(), "the answer leaves it out".to_owned());
                again.push((asked, OrgError::Unreadable { what, reason, cut_off: true }));
                continue;
            };
            let body = part.body.map_or("null", RawValue::get).as_bytes();
            if !(200..300).contains(&part.http_status_code) {
                again.push((asked, classify_parts(part.http_status_code, body, None)));
                continue;
            }
            let mut of_this = |row: &Row<'_>| taker(place, row);
            match asked.pages.take_page(body, &mut asked.known, &mut of_this) {
                Ok(page) => results[place] = Some(Ok(FirstPage { page, rest: asked.pages })),
                Err(QueryError::Org(error)) => again.push((asked, error)),
                Err(error) => results[place] = Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::rows::{Column, ColumnKind};
    use crate::salesforce::test_support::*;
    use crate::salesforce::{FieldPath, Select, Source};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_passing_fault_is_asked_for_again_also_behind_one_that_stays() {
        let asked = AtomicUsize::new(0);
        let bench = Bench::new(move |_| {
            let part = |place: usize, status: u16, body: &str| {
                format!(
                    r#"{{"body":{body},"httpHeaders":{{}},"httpStatusCode":{status},"referenceId":"q{place}"}}"#
                )
            };
            let page = r#"{"totalSize":1,"done":true,"records":[{"Id":"a"}]}"#;
            let parts = match asked.fetch_add(1, Ordering::SeqCst) {
                0 => [
                    part(0, 400, r#"[{"errorCode":"INVALID_TYPE","message":"no such object"}]"#),
                    part(1, 503, r#"[{"errorCode":"SERVER_UNAVAILABLE","message":"busy"}]"#),
                ]
                .join(","),
                _ => part(1, 200, page),
            };
            json(200, &format!(r#"{{"compositeResponse":[{parts}]}}"#))
        });
        let query = RowQuery {
            surface: Surface::Data,
            soql: Select::new([FieldPath::literal("Id")], Source::literal("Lead")).build().unwrap(),
            columns: Columns::new(vec![Column::new("Id", ColumnKind::Text)]).unwrap(),
        };
        let pages = bench.client.query_many(&[query.clone(), query], &mut |_, _| Ok(())).await;
        assert!(pages[0].is_err());
        assert_eq!(pages[1].as_ref().unwrap().page.rows, 1);
        assert_eq!(bench.count("/composite"), 2);
    }
}
