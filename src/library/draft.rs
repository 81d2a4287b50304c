//! A document on its way: text, metadata and what is embedded, before id and hash are fixed.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::ai::split_identifiers;
use crate::model::{Document, ObjectDescribe, OrgName, Section};

/// Longest text of one part of a section, in bytes; about 3,000 tokens.
const PART_BYTES_MAX: usize = 12_000;

/// What every document of one object shares.
pub(super) struct Subject<'a> {
    pub org: &'a OrgName,
    pub describe: &'a ObjectDescribe,
    /// Base metadata: API name, label, custom, namespace, companion.
    pub metadata: Map<String, Value>,
}

impl Subject<'_> {
    /// One document; `suffix` is what its id carries behind the section.
    pub fn document(
        &self,
        section: Section,
        suffix: &str,
        text: String,
        embedded: &str,
        extra: Map<String, Value>,
    ) -> Document {
        let mut metadata = self.metadata.clone();
        metadata.extend(extra);
        let mut document = Document {
            id: format!("{}:{}{suffix}", self.describe.name, section.as_str()),
            org: self.org.clone(),
            object: self.describe.name.clone(),
            section,
            text,
            metadata,
            embedding_text: Some(split_identifiers(embedded)),
            content_hash: String::new(),
        };
        document.content_hash = content_hash(&document);
        document
    }

    /// The documents of a section whose text may need several parts. `extra` goes to the first.
    pub fn parts(&self, section: Section, parts: Vec<Part>, extra: Map<String, Value>) -> Vec<Document> {
        let total = parts.len();
        let id = |at: usize| format!("{}:{}_part{}", self.describe.name, section.as_str(), at + 1);
        let mut extra = Some(extra);
        let build = |(at, part): (usize, Part)| {
            let mut metadata = part.metadata;
            metadata.extend(extra.take().unwrap_or_default());
            if total == 1 {
                return self.document(section, "", part.text, &part.embedded, metadata);
            }
            let siblings: Vec<String> = (0..total).filter(|&other| other != at).map(id).collect();
            metadata.insert("part".to_owned(), json!(at + 1));
            metadata.insert("totalParts".to_owned(), json!(total));
            metadata.insert("relatedChunks".to_owned(), json!(siblings));
            self.document(section, &format!("_part{}", at + 1), part.text, &part.embedded, metadata)
        };
        parts.into_iter().enumerate().map(build).collect()
    }
}

/// One part of a section.
#[derive(Default)]
pub(super) struct Part {
    pub text: String,
    pub embedded: String,
    pub metadata: Map<String, Value>,
}

/// Cuts lines into parts of at most [`PART_BYTES_MAX`]; a longer line stands alone.
pub(super) fn split_lines(lines: &[String], embedded: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in lines {
        let fits = |part: &Part| part.text.len() + line.len() < PART_BYTES_MAX;
        match parts.last_mut() {
            Some(part) if fits(part) => {
                part.text.push('\n');
                part.text.push_str(line);
            }
            _ => parts.push(Part { text: line.clone(), embedded: embedded.to_owned(), ..Part::default() }),
        }
    }
    parts
}

/// SHA-256 in hex over everything but the hash; each piece is preceded by its length, so that no two
/// documents can run together into the same bytes.
fn content_hash(document: &Document) -> String {
    let metadata = Value::Object(document.metadata.clone()).to_string();
    let pieces = [
        document.id.as_str(),
        document.org.as_str(),
        document.object.as_str(),
        document.section.as_str(),
        &document.text,
        &metadata,
        document.embedding_text.as_deref().unwrap_or_default(),
    ];
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update((piece.len() as u64).to_le_bytes());
        hasher.update(piece.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text from the org as one line that cannot break a Markdown table.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// `1 field`, `2 fields`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The words, each once, kept in order, up to `longest` bytes: what is embedded need not repeat.
pub(super) fn brief(texts: impl IntoIterator<Item = impl AsRef<str>>, longest: usize) -> String {
    let mut out = String::new();
    for text in texts {
        let text = text.as_ref().trim();
        if text.is_empty() {
            continue;
        }
        if out.len() + text.len() > longest {
            break;
        }
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(text);
    }
    out
}
