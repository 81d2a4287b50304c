//! Counts rows at the org without reading one.

use super::client::OrgClient;
use super::error::OrgError;
use super::query::Surface;
use super::soql::{Soql, Source};
use crate::model::ObjectName;

impl OrgClient {
    /// Rows of an object that a condition lets through; an empty one lets all. The condition was taken apart and printed
    /// anew by [`crate::sync`], never text as a person wrote it. 1 call.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn count_rows(
        &self,
        surface: Surface,
        object: &ObjectName,
        condition: &str,
    ) -> Result<u64, OrgError> {
        let unreadable = |reason: String| OrgError::Unreadable {
            what: format!("the count of `{object}`"),
            reason,
            cut_off: false,
        };
        let bound = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
        let soql = Soql::of_a_person(format!("SELECT COUNT() FROM {object}{bound}"), Source::from(object));
        let soql = soql.map_err(|error| unreadable(error.to_string()))?;
        let page = self.query_pages::<serde::de::IgnoredAny>(surface, &soql).next().await?;
        page.map(|page| page.total_size).ok_or_else(|| unreadable("there is no answer".to_owned()))
    }
}
