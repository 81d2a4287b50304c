//! Documents: what a person reads, what is embedded, what search finds.

use serde::{Deserialize, Serialize};

use super::name::{ObjectName, OrgName};

/// The part of an object that a document tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// What the object is and may do.
    Overview,
    /// Whom it points at and who points at it.
    Relationships,
    /// Its fields, in batches of 50.
    Fields,
    /// One field.
    Field,
    /// Flows, triggers, validation rules, workflow rules.
    Automation,
    /// Who may do what, as read from the org.
    Security,
    /// Record counts and record types.
    Usage,
}

impl Section {
    /// The name used in ids, files and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Relationships => "relationships",
            Self::Fields => "fields",
            Self::Field => "field",
            Self::Automation => "automation",
            Self::Security => "security",
            Self::Usage => "usage",
        }
    }
}

/// One document about one object of one org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// `Object:section`, with `_part2` or `:Field` behind it where there are several. Unique within the org.
    pub id: String,
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// What it tells of.
    pub section: Section,
    /// What a reader sees and the embedder reads.
    pub text: String,
    /// What filters and readers need besides the text: `apiName`, `label`, `custom`, `part`, ...
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Text that ranks and is embedded in place of `text`, where the full text would drown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_text: Option<String>,
    /// SHA-256 over everything above, in hex: equal hashes mean nothing to embed or write.
    pub content_hash: String,
}

/// A document with its vector; `None` means the store already holds this very content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddedDocument {
    /// The document.
    pub document: Document,
    /// Unit-length vector of the model's dimensions.
    pub vector: Option<Vec<f32>>,
}
