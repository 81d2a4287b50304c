//! Effects on their way to the sync-writer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use super::leads::LeadResults;
use crate::model::{EmbeddedDocument, ObjectName, OrgName};

/// One object's documents with their vectors.
#[derive(Clone, Serialize, Deserialize)]
pub struct EmbeddedObject {
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// Its documents, sorted by id; those the store holds already have no vector.
    pub documents: Vec<EmbeddedDocument>,
}

/// Objects to be written in one transaction.
#[derive(Clone, Serialize, Deserialize)]
pub struct ObjectBatch {
    /// The objects.
    pub objects: Vec<EmbeddedObject>,
}

impl fmt::Debug for ObjectBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBatch({} objects)", self.objects.len())
    }
}

/// What is to be written in one transaction, by where it belongs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WriteBatch {
    /// Into the library.
    Objects(ObjectBatch),
    /// Into the store of their job.
    Leads(LeadResults),
}

impl Item for WriteBatch {
    fn bytes(&self) -> u32 {
        match self {
            Self::Objects(batch) => batch.bytes(),
            Self::Leads(results) => results.bytes(),
        }
    }
}

impl ObjectBatch {
    fn bytes(&self) -> u32 {
        const EACH: usize = 400;
        let one = |embedded: &EmbeddedDocument| {
            let document = &embedded.document;
            EACH + document.text.len() + embedded.vector.as_ref().map_or(0, |vector| vector.len() * 4)
        };
        let documents = self.objects.iter().flat_map(|object| &object.documents);
        u32::try_from(documents.map(one).sum::<usize>()).unwrap_or(u32::MAX)
    }
}
