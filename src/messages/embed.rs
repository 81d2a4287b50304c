//! Documents on their way to the embedder.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use crate::model::{Document, ObjectName, OrgName};

/// All documents of one object.
#[derive(Clone, Serialize, Deserialize)]
pub struct ObjectDocuments {
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// Its documents, sorted by id.
    pub documents: Vec<Document>,
}

impl fmt::Debug for ObjectDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectDocuments({}/{}, {} documents)", self.org, self.object, self.documents.len())
    }
}

impl Item for ObjectDocuments {
    fn bytes(&self) -> u32 {
        const EACH: usize = 400;
        let text = |document: &Document| {
            EACH + document.text.len() + document.embedding_text.as_ref().map_or(0, String::len)
        };
        u32::try_from(self.documents.iter().map(text).sum::<usize>()).unwrap_or(u32::MAX)
    }
}

/// The documents of several objects of one org, to be embedded together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SealedTexts {
    /// The objects.
    pub objects: Vec<ObjectDocuments>,
}

impl Item for SealedTexts {
    fn bytes(&self) -> u32 {
        self.objects.iter().map(Item::bytes).fold(0, u32::saturating_add)
    }
}
