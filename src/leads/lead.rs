//! One lead as the org has it.

use serde::{Deserialize, Serialize};

use super::field::LeadField;
use super::id::LeadId;

/// What the org says of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is there.
    Found,
    /// It is there, and has become a contact.
    Converted,
    /// It was merged into another lead and deleted.
    Merged {
        /// Into this one.
        into: LeadId,
    },
    /// It is in the recycle bin.
    Deleted,
    /// The org does not know it, or does not show it to us: it cannot be told which.
    NotVisible,
}

impl Presence {
    /// Whether there is a record to assess.
    pub fn has_record(self) -> bool {
        matches!(self, Self::Found | Self::Converted)
    }

    /// The name used in files, answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Converted => "converted",
            Self::Merged { .. } => "merged",
            Self::Deleted => "deleted",
            Self::NotVisible => "not_visible",
        }
    }
}

/// A lead and what is known of it. Empty text and null are one, as they are to the org. Its values are one text, because a
/// list has a million of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Its id.
    pub id: LeadId,
    /// What the org says of it.
    pub presence: Presence,
    /// The values one after another, in the order of [`LeadField::ALL`].
    text: String,
    /// Where each value ends.
    ends: Vec<u32>,
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A person's data reaches no log.
        f.debug_struct("Lead").field("id", &self.id).field("presence", &self.presence).finish_non_exhaustive()
    }
}

impl Lead {
    /// A lead with these values.
    pub fn new<'v>(
        id: LeadId,
        presence: Presence,
        mut value: impl FnMut(LeadField) -> Option<&'v str>,
    ) -> Self {
        let mut text = String::with_capacity(200);
        let ends = LeadField::ALL.map(|field| {
            text.push_str(value(field).unwrap_or_default());
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        Self { id, presence, text, ends: ends.to_vec() }
    }

    /// A lead of which nothing is known.
    pub fn without_values(id: LeadId, presence: Presence) -> Self {
        Self { id, presence, text: String::new(), ends: Vec::new() }
    }

    /// A lead from what [`Lead::text_and_ends`] gave; values of fields that this penstock does not know are kept and ignored.
    pub fn from_text_and_ends(id: LeadId, presence: Presence, text: String, ends: Vec<u32>) -> Self {
        Self { id, presence, text, ends }
    }

    /// All values one after another, and where each ends: for who keeps a million leads.
    pub fn text_and_ends(&self) -> (&str, &[u32]) {
        (&self.text, &self.ends)
    }

    /// A value; `None` when the org has none.
    pub fn get(&self, field: LeadField) -> Option<&str> {
        let end = *self.ends.get(field.index())? as usize;
        let start = match field.index() {
            0 => 0,
            index => *self.ends.get(index - 1)? as usize,
        };
        self.text.get(start..end).filter(|value| !value.is_empty())
    }

    /// Memory that it stands for, in bytes.
    pub fn bytes(&self) -> usize {
        160 + self.text.len()
    }

    /// Domain of its e-mail address, in lower case.
    pub fn email_domain(&self) -> Option<String> {
        let (_, domain) = self.get(LeadField::Email)?.rsplit_once('@')?;
        let domain = domain.trim().to_lowercase();
        (!domain.is_empty()).then_some(domain)
    }

    /// Employees according to the enrichment; what is no number counts as 0, as does nothing.
    pub fn employees(&self) -> i64 {
        let Some(text) = self.get(LeadField::EnrichedEmployees) else { return 0 };
        let text = text.trim();
        text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_where_they_were_put() {
        let id = LeadId::read("00Q5g00000AbCdE").unwrap().id;
        let lead = Lead::new(id, Presence::Found, |field| match field {
            LeadField::FirstName => Some("Ada"),
            LeadField::Email => Some("ada@Example.ORG "),
            LeadField::EnrichedEmployees => Some("1,200"),
            LeadField::EnrichedCountry => Some("Österreich"),
            LeadField::Phone => Some(""),
            _ => None,
        });
        assert_eq!(lead.get(LeadField::FirstName), Some("Ada"));
        assert_eq!(lead.get(LeadField::EnrichedCountry), Some("Österreich"));
        assert_eq!((lead.get(LeadField::Phone), lead.get(LeadField::LastName)), (None, None));
        assert_eq!(lead.email_domain().as_deref(), Some("example.org"));
        assert_eq!(lead.employees(), 0);
        let nothing = Lead::without_values(id, Presence::Deleted);
        assert!(LeadField::ALL.iter().all(|field| nothing.get(*field).is_none()));
    }
}
