//! Asks to the org, and what came of them.

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use super::leads::{AssessAsk, LeadAsk};
use crate::model::{Family, ObjectDescribe, ObjectName, OrgName};

/// Asks for the describe of one object; the batcher makes groups of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeAsk {
    /// The org to ask.
    pub org: OrgName,
    /// The object to describe.
    pub object: ObjectName,
}

impl Item for DescribeAsk {
    fn bytes(&self) -> u32 {
        64 + self.object.as_str().len() as u32
    }
}

/// What the fetcher does in one go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchAsk {
    /// Describes, at most 25, by one call.
    Describes {
        /// The org to ask.
        org: OrgName,
        /// The objects to describe.
        objects: Vec<ObjectName>,
    },
    /// One metadata family, whole.
    Family {
        /// The org to ask.
        org: OrgName,
        /// Which one; not the field permissions, which come in parts.
        family: Family,
    },
    /// Field permissions of a group of objects.
    FieldPermissions {
        /// The org to ask.
        org: OrgName,
        /// The group.
        objects: Vec<ObjectName>,
        /// Its place among the groups.
        part: usize,
    },
    /// Leads of a job.
    Leads(LeadAsk),
}

impl FetchAsk {
    /// The org to ask.
    pub fn org(&self) -> &OrgName {
        match self {
            Self::Describes { org, .. }
            | Self::Family { org, .. }
            | Self::FieldPermissions { org, .. }
            | Self::Leads(LeadAsk { org, .. }) => org,
        }
    }
}

impl Item for FetchAsk {
    fn bytes(&self) -> u32 {
        let names = match self {
            Self::Describes { objects, .. } | Self::FieldPermissions { objects, .. } => objects.as_slice(),
            Self::Family { .. } => &[],
            Self::Leads(leads) => return leads.bytes(),
        };
        64 + names.iter().map(|name| 32 + name.as_str().len() as u32).sum::<u32>()
    }
}

/// One object's describe, or why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribedObject {
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// Its describe; the error is in the org's words and names the object.
    pub outcome: Result<ObjectDescribe, String>,
}

impl Item for DescribedObject {
    /// An estimate: counting exactly would mean serialising.
    fn bytes(&self) -> u32 {
        const FIELD: usize = 500;
        const PICKLIST_VALUE: usize = 80;
        const CHILD: usize = 120;
        let Ok(describe) = &self.outcome else { return 256 };
        let values: usize = describe.fields.iter().map(|field| field.picklist_values.len()).sum();
        let bytes = 512
            + describe.fields.len() * FIELD
            + values * PICKLIST_VALUE
            + describe.child_relationships.len() * CHILD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What the fetcher brings, by who goes on with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetched {
    /// For the composer.
    Described(Box<DescribedObject>),
    /// For the assessor.
    Leads(AssessAsk),
}

impl Item for Fetched {
    fn bytes(&self) -> u32 {
        match self {
            Self::Described(object) => object.bytes(),
            Self::Leads(leads) => leads.bytes(),
        }
    }
}
