//! What `$ref:` means: the parser of references, and what a path reads from a result (contract, section 5).
//!
//! Promises: a text is scanned once, from left to right, when the request is read; a value that came from a reference is
//! data and is never scanned again. A whole value keeps its type and its digits. An error names the path as the client
//! wrote it and never a value of a row.

pub mod parse;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::value::Value;

pub use read::longest_leading;

/// A JSON value of a request, its references parsed out and its escapes undone.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No reference inside.
    Value(Value),
    /// The entire text is this reference: the value is copied with its type.
    Reference(Reference),
    /// Text with at least one reference in it.
    Text(Vec<TextPart>),
    /// A list with a reference somewhere inside.
    Array(Vec<Template>),
    /// An object with a reference somewhere inside; keys are never scanned.
    Object(Vec<(Arc<str>, Template)>),
}

/// A part of a text.
#[derive(Clone, PartialEq)]
pub enum TextPart {
    /// As the client wrote it, escapes undone.
    Literal(String),
    /// The value goes here.
    Reference(Reference),
}

impl fmt::Debug for TextPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Text of a request does not reach a log.
            Self::Literal(text) => write!(f, "<{} bytes>", text.len()),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

/// A reference to what an operation answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Place of the operation in the request's list.
    pub target: usize,
    /// Id of the operation.
    pub target_id: Arc<str>,
    /// At least one.
    pub steps: Vec<PathStep>,
    /// Written in braces: exact, never trimmed.
    pub braced: bool,
    /// Id and path as the client wrote them, without `$ref:` and braces: `c.depot_id`.
    pub written: Arc<str>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// A column, an association, or a key of a document.
    Name(Arc<str>),
    /// A row, or an element of a list, counted from 0.
    Index(usize),
    /// Every row, or every element.
    Every,
}

/// What an operation answered, as references see it: every column that the caller may read, whatever of it the answer shows.
#[derive(Clone, PartialEq)]
pub struct OperationResult {
    /// Names of the columns.
    pub names: Arc<[Arc<str>]>,
    /// Cells, row by row, in the order of the names.
    pub rows: Vec<Vec<Value>>,
    /// The answer of a `count`; rows do not matter then.
    pub count: Option<u64>,
    /// Associations that were loaded: name, and one value for each row: an object, null, or a list of objects.
    pub associations: Vec<(Arc<str>, Vec<Value>)>,
}

impl fmt::Debug for OperationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationResult").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

/// Results by place in the request's list.
pub trait Results {
    /// What that operation answered; `None` while it has not completed.
    fn result(&self, operation: usize) -> Option<&OperationResult>;
}

impl Results for Vec<Option<OperationResult>> {
    fn result(&self, operation: usize) -> Option<&OperationResult> {
        self.get(operation)?.as_ref()
    }
}

/// Something that worked, and that the client should know of all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Which kind: `trimmed_reference`.
    pub code: &'static str,
    /// Id of the operation; filled in by whoever knows it.
    pub operation: Option<Arc<str>>,
    /// What, and what to write instead.
    pub detail: String,
}

/// Why a reference has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reference `{written}`: {why}")]
pub struct BadReference {
    /// Id and path as the client wrote them.
    pub written: Arc<str>,
    /// A sentence without values of rows.
    pub why: String,
}

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A reference has none.
    #[error(transparent)]
    Bad(#[from] BadReference),
    /// It would be larger than was left.
    #[error("the values are larger than a batch may have once its references are filled in")]
    TooLarge,
}

impl Template {
    /// Every reference in it, in the order of the text.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let mut found = Vec::new();
        self.collect_references(&mut found);
        found.into_iter()
    }

    /// The value, when no reference is in it.
    pub fn constant(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    fn collect_references<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Self::Value(_) => {}
            Self::Reference(reference) => found.push(reference),
            Self::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                TextPart::Literal(_) => None,
                TextPart::Reference(reference) => Some(reference),
            })),
            Self::Array(items) => items.iter().for_each(|item| item.collect_references(found)),
            Self::Object(fields) => fields.iter().for_each(|(_, value)| value.collect_references(found)),
        }
    }
}

/// The value of a template. Whole values keep their type, values inside text become text.
pub fn resolve(
    template: &Template,
    results: &dyn Results,
    warnings: &mut Vec<Warning>,
) -> Result<Value, BadReference> {
    let mut bytes_left = usize::MAX;
    resolve_within(template, results, warnings, &mut bytes_left).map_err(Unresolved::unlimited)
}

/// As [`resolve`], but takes the bytes of what references copy from `bytes_left` before it copies them.
pub fn resolve_within(
    template: &Template,
    results: &dyn Results,
    warnings: &mut Vec<Warning>,
    bytes_left: &mut usize,
) -> Result<Value, Unresolved> {
    let value = match template {
        Template::Value(value) => value.clone(),
        Template::Reference(reference) => {
            let result = results.result(reference.target).ok_or_else(|| read::no_result(reference))?;
            read::whole(reference, result, bytes_left)?
        }
        Template::Text(parts) => {
            let mut text = String::new();
            for part in parts {
                match part {
                    TextPart::Literal(literal) => text.push_str(literal),
                    TextPart::Reference(reference) => {
                        read::inside_text(reference, results, &mut text, warnings, bytes_left)?;
                    }
                }
            }
            Value::Text(text)
        }
        Template::Array(items) => {
            let values = items.iter().map(|item| resolve_within(item, results, warnings, bytes_left));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Template::Object(fields) => {
            let values = fields.iter().map(|(key, value)| {
                Ok((Arc::clone(key), resolve_within(value, results, warnings, bytes_left)?))
            });
            Value::Object(values.collect::<Result<_, Unresolved>>()?)
        }
    };
    Ok(value)
}

/// What a path reads, exactly: nothing is trimmed.
pub fn walk(reference: &Reference, result: &OperationResult) -> Result<Value, BadReference> {
    let mut bytes_left = usize::MAX;
    read::whole(reference, result, &mut bytes_left).map_err(Unresolved::unlimited)
}

/// Appends the value of a reference inside text: numbers with their digits, text without quotes. A bare one is trimmed to
/// the longest property there is, with a warning; what is left over of it is appended as it was written.
pub fn render(
    reference: &Reference,
    results: &dyn Results,
    out: &mut String,
    warnings: &mut Vec<Warning>,
) -> Result<(), BadReference> {
    let mut bytes_left = usize::MAX;
    read::inside_text(reference, results, out, warnings, &mut bytes_left).map_err(Unresolved::unlimited)
}

/// As [`render`], but takes the bytes from `bytes_left` before it copies them.
pub fn render_within(
    reference: &Reference,
    results: &dyn Results,
    out: &mut String,
    warnings: &mut Vec<Warning>,
    bytes_left: &mut usize,
) -> Result<(), Unresolved> {
    read::inside_text(reference, results, out, warnings, bytes_left)
}

impl Reference {
    /// The column or association that it reads: the name after the choice of rows. `None`: whole rows.
    pub fn property(&self) -> Option<&Arc<str>> {
        let name = match self.steps.first()? {
            PathStep::Name(_) => self.steps.first(),
            PathStep::Index(_) | PathStep::Every => self.steps.get(1),
        };
        match name {
            Some(PathStep::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it is trimmed to what there is, where it stands inside text: bare, with a name as its last step.
    pub fn may_be_trimmed(&self) -> bool {
        !self.braced && matches!(self.steps.last(), Some(PathStep::Name(_)))
    }
}

impl Unresolved {
    /// Of a call that had all the bytes there are.
    fn unlimited(self) -> BadReference {
        match self {
            Self::Bad(bad) => bad,
            Self::TooLarge => BadReference { written: Arc::from(""), why: self.to_string() },
        }
    }
}
