//! First pages of many objects by one call.

use super::{ExtractAsk, ExtractError};
use crate::salesforce::OrgClient;

/// The first page of one query, as chunks, and what is left of it.
#[derive(Debug)]
pub struct FirstRead {}

/// First pages of several extractions, five by one call. `None`: the extraction reads its first page itself.
pub async fn first_pages(
    client: &OrgClient,
    asks: &[&ExtractAsk],
) -> Vec<Option<Result<FirstRead, ExtractError>>> {
    let _ = client;
    asks.iter().map(|_| None).collect()
}
