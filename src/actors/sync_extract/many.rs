//! First pages of many objects by one call: what an incremental run of many objects costs.
//!
//! Promises: five first pages cost one call; each object's page, error and cursor are its own; memory holds the first pages
//! that were asked for together, so ask for few at a time.

use super::parts::{PartMaker, columns_of};
use super::reject::Rejects;
use super::run::{query_error, statement, surface_of};
use super::{ExtractAsk, ExtractError};
use crate::salesforce::rows::Row;
use crate::salesforce::{OrgClient, RowPage, RowPages, RowQuery};

/// The first page of one query, as parts, and what is left of it.
pub struct FirstRead {
    pub(super) maker: PartMaker,
    pub(super) rejects: Rejects,
    pub(super) page: RowPage,
    pub(super) pages: RowPages,
}

/// Rows are people's data: a print shows their number.
impl std::fmt::Debug for FirstRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstRead").field("page", &self.page).finish_non_exhaustive()
    }
}

impl FirstRead {
    /// Rows of the whole query, as the org counts them.
    pub fn counted(&self) -> u64 {
        self.page.total_size
    }
}

/// First pages of extractions that have not begun, [`crate::salesforce::QUERIES_PER_CALL`] by one call; best asked for so
/// many at a time. `None`: the extraction reads its first page itself, for it begins with a job that is there, or its
/// statement is too long.
pub async fn first_pages(
    client: &OrgClient,
    asks: &[&ExtractAsk],
) -> Vec<Option<Result<FirstRead, ExtractError>>> {
    let mut results: Vec<Option<Result<FirstRead, ExtractError>>> = asks.iter().map(|_| None).collect();
    let (mut queries, mut makers, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, ask) in asks.iter().enumerate() {
        match query_of(client, ask) {
            Ok(Some((query, maker, rejects))) => {
                queries.push(query);
                makers.push((maker, rejects));
                places.push(place);
            }
            Ok(None) => {}
            Err(error) => results[place] = Some(Err(error)),
        }
    }
    let pages = client
        .query_many(&queries, &mut |place, row: &Row<'_>| {
            let (maker, rejects) = &mut makers[place];
            maker.take(row, rejects).map_err(Into::into)
        })
        .await;
    for ((place, page), (maker, rejects)) in places.into_iter().zip(pages).zip(makers) {
        let read = match page {
            Ok(first) => Ok(FirstRead { maker, rejects, page: first.page, pages: first.rest }),
            Err(error) => Err(query_error(asks[place], error)),
        };
        results[place] = Some(read);
    }
    results
}

type Asked = (RowQuery, PartMaker, Rejects);

fn query_of(client: &OrgClient, ask: &ExtractAsk) -> Result<Option<Asked>, ExtractError> {
    let columns = columns_of(ask)?;
    let (surface, soql) = (surface_of(ask), statement(ask, &columns)?);
    if ask.existing_job_id.is_some() || !client.fits_an_address(surface, &soql) {
        return Ok(None);
    }
    let mut maker = PartMaker::new(ask, &columns)?;
    maker.begin_page(0, 2_000);
    let rejects = Rejects::resume(ask, 0, 0)?;
    Ok(Some((RowQuery { surface, soql, columns }, maker, rejects)))
}
