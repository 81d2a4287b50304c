//! Leads on their way: what is to be read, what is to be assessed, what came of it.
//!
//! Every item names its leads by their place in the job, so that an item that is delivered twice changes nothing. What a
//! job needs besides (its columns, its store) is found by the job's id.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use crate::leads::{Lead, LeadId, LeadResult, Ordinal};
use crate::model::OrgName;

/// Asks the lead intake to read a job's source; which job, says the waybill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntakeAsk {
    /// The org, where the source is a query.
    pub org: OrgName,
}

impl Item for IntakeAsk {
    fn bytes(&self) -> u32 {
        256
    }
}

/// How leads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadRead {
    /// Their records, by their ids.
    Records,
    /// What became of those without a record.
    Absent,
}

/// Asks the fetcher for leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeadAsk {
    /// The org to ask.
    pub org: OrgName,
    /// How.
    pub read: LeadRead,
    /// Which ones.
    pub leads: Vec<(Ordinal, LeadId)>,
}

impl LeadAsk {
    /// Memory that it stands for, in bytes: the answer more than the ask.
    pub fn bytes(&self) -> u32 {
        const EACH: u32 = 24;
        64 + self.leads.len() as u32 * EACH
    }
}

/// A lead that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadLead {
    /// Its place in the job.
    pub ordinal: Ordinal,
    /// Its id.
    pub id: LeadId,
    /// Why, for a person.
    pub reason: String,
}

/// Leads as the org has them, to be assessed; and those that could not be read, to be kept as such.
#[derive(Clone, Serialize, Deserialize)]
pub struct AssessAsk {
    /// The leads.
    pub leads: Vec<(Ordinal, Lead)>,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<UnreadLead>,
}

impl fmt::Debug for AssessAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssessAsk({} leads, {} unread)", self.leads.len(), self.unread.len())
    }
}

impl Item for AssessAsk {
    fn bytes(&self) -> u32 {
        let leads: usize = self.leads.iter().map(|(_, lead)| lead.bytes()).sum();
        let unread: usize = self.unread.iter().map(|one| 48 + one.reason.len()).sum();
        u32::try_from(64 + leads + unread).unwrap_or(u32::MAX)
    }
}

/// What became of leads, to be written into their job's store.
#[derive(Clone, Serialize, Deserialize)]
pub struct LeadResults {
    /// One a lead.
    pub results: Vec<LeadResult>,
}

impl fmt::Debug for LeadResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeadResults({})", self.results.len())
    }
}

impl LeadResults {
    /// Memory that they stand for, in bytes.
    pub fn bytes(&self) -> u32 {
        const VERDICT: usize = 200;
        let all: usize = self.results.iter().map(|result| VERDICT + result.lead.bytes()).sum();
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}
