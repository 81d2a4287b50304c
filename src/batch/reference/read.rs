//! Reads what a path says from a result.

use std::borrow::Cow;
use std::sync::Arc;

use super::parse::step_starts;
use super::{BadReference, OperationResult, PathStep, Reference, Results, Unresolved, Warning};
use crate::batch::request::json;
use crate::batch::value::Value;

/// Levels of a document that a path may go through.
const DOCUMENT_DEPTH: usize = 128;
/// Reading this many bytes of a document costs as much as copying one: a path into a large document is charged for, so that
/// thousands of them cannot keep a thread busy.
const BYTES_READ_PER_BYTE: usize = 64;

/// What stands at the end of a path.
enum Found<'a> {
    Value(Cow<'a, Value>),
    Row(&'a OperationResult, usize),
    List(Vec<Found<'a>>),
}

/// Why nothing stands there.
enum Miss<'a> {
    /// The step at this place names what its holder does not have; the holder is there for trimming.
    NoProperty {
        step: usize,
        holder: Found<'a>,
        why: String,
    },
    Other(String),
    TooLarge,
}

/// The value of a whole reference, taken from `bytes_left` before it is copied.
pub(super) fn whole(
    reference: &Reference,
    result: &OperationResult,
    bytes_left: &mut usize,
) -> Result<Value, Unresolved> {
    let found = from_rows(result, &reference.steps, bytes_left).map_err(|miss| miss.told(reference))?;
    spend(bytes_left, found.bytes()).ok_or(Unresolved::TooLarge)?;
    Ok(found.into_value())
}

/// Appends a reference inside text.
pub(super) fn inside_text(
    reference: &Reference,
    results: &dyn Results,
    out: &mut String,
    warnings: &mut Vec<Warning>,
    bytes_left: &mut usize,
) -> Result<(), Unresolved> {
    let result = results.result(reference.target).ok_or_else(|| no_result(reference))?;
    match from_rows(result, &reference.steps, bytes_left) {
        Ok(found) => found.write_text(reference, out, bytes_left),
        Err(Miss::NoProperty { step, holder, why }) => {
            let trimmed = reference.may_be_trimmed().then(|| trim(reference, step, holder)).flatten();
            let Some((found, end)) = trimmed else { return Err(bad(reference, why).into()) };
            found.write_text(reference, out, bytes_left)?;
            let (read, left) = reference.written.split_at(end);
            out.push_str(left);
            warnings.push(Warning {
                code: "trimmed_reference",
                operation: None,
                detail: format!(
                    "`$ref:{}` was read as `$ref:{{{read}}}{left}`, because {why}; write it that way",
                    reference.written
                ),
            });
            Ok(())
        }
        Err(miss) => Err(miss.told(reference)),
    }
}

/// The longest of `names` that `written` begins with.
pub fn longest_leading<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .filter(|name| !name.is_empty() && written.starts_with(name))
        .max_by_key(|name| name.len())
}

/// The longest leading part of a path that is there, and where it ends in the path as written. The step at `step` is the
/// first that is not.
fn trim<'a>(reference: &Reference, step: usize, holder: Found<'a>) -> Option<(Found<'a>, usize)> {
    let PathStep::Name(name) = &reference.steps[step] else { return None };
    let before = step_starts(reference).nth(step)?;
    let names: Vec<&str> = match &holder {
        Found::Row(result, _) => match result.count {
            Some(_) => vec!["count"],
            None => {
                let columns = result.names.iter().map(|name| &**name);
                columns.chain(result.associations.iter().map(|(name, _)| &**name)).collect()
            }
        },
        Found::Value(value) => match &**value {
            Value::Object(fields) => fields.iter().map(|(key, _)| &**key).collect(),
            Value::Bool(_) | Value::Int(_) | Value::Number(_) | Value::Text(_) => {
                return Some((holder, before));
            }
            _ => return None,
        },
        Found::List(_) => return None,
    };
    let leading = longest_leading(name, names)?.to_owned();
    // One for the point before the name.
    let end = before + 1 + leading.len();
    Some((property(holder, &leading)?, end))
}

/// The first step chooses among the rows.
fn from_rows<'a>(
    result: &'a OperationResult,
    steps: &[PathStep],
    bytes_left: &mut usize,
) -> Result<Found<'a>, Miss<'a>> {
    let rows = match result.count {
        Some(_) => 1,
        None => result.rows.len(),
    };
    match steps.first() {
        Some(PathStep::Name(_)) => match rows {
            1 => descend(Found::Row(result, 0), steps, 0, bytes_left),
            0 => Err(Miss::Other(String::from("the operation returned no rows"))),
            many => Err(Miss::Other(format!("the operation returned {many} rows, use an index or `*`"))),
        },
        Some(PathStep::Index(index)) if *index < rows => {
            descend(Found::Row(result, *index), steps, 1, bytes_left)
        }
        Some(PathStep::Index(index)) => {
            let counted = match rows {
                0 => String::from("no rows"),
                1 => String::from("1 row"),
                many => format!("{many} rows"),
            };
            Err(Miss::Other(format!("the operation returned {counted}, there is no row {index}")))
        }
        Some(PathStep::Every) => (0..rows)
            .map(|row| descend(Found::Row(result, row), steps, 1, bytes_left))
            .collect::<Result<Vec<_>, _>>()
            .map(Found::List),
        None => Err(Miss::Other(String::from("the path is empty"))),
    }
}

/// Follows the steps from `at` on.
fn descend<'a>(
    mut here: Found<'a>,
    steps: &[PathStep],
    mut at: usize,
    bytes_left: &mut usize,
) -> Result<Found<'a>, Miss<'a>> {
    while let Some(step) = steps.get(at) {
        here = open(here, bytes_left)?;
        here = match (here, step) {
            (Found::Value(value), _) if value.is_null() => {
                return Err(Miss::Other(format!("{} is null, nothing is below it", before(steps, at))));
            }
            (Found::Value(value), PathStep::Index(index)) if matches!(*value, Value::Array(_)) => {
                element(value, *index).ok_or_else(|| {
                    Miss::Other(format!("the list at {} has no element {index}", before(steps, at)))
                })?
            }
            (Found::Value(value), PathStep::Every) if matches!(*value, Value::Array(_)) => {
                let below = elements(value).map(|element| descend(element, steps, at + 1, bytes_left));
                return below.collect::<Result<Vec<_>, _>>().map(Found::List);
            }
            (Found::Value(value), PathStep::Name(_)) if matches!(*value, Value::Array(_)) => {
                return Err(Miss::Other(format!("{} is a list, use an index or `*`", before(steps, at))));
            }
            (holder, PathStep::Name(name)) => match held(&holder, name) {
                true => {
                    property(holder, name).ok_or_else(|| Miss::Other(String::from("the path ends early")))?
                }
                false => {
                    let why = match &holder {
                        Found::Row(..) => format!("the result has no `{name}` that may be read"),
                        _ => format!("{} has no `{name}`", before(steps, at)),
                    };
                    return Err(Miss::NoProperty { step: at, holder, why });
                }
            },
            (holder, PathStep::Index(index)) => {
                let name = index.to_string();
                let below = matches!(holder, Found::Value(_)).then(|| property(holder, &name)).flatten();
                below.ok_or_else(|| {
                    Miss::Other(format!("{} is not a list, there is no element {index}", before(steps, at)))
                })?
            }
            (_, PathStep::Every) => {
                return Err(Miss::Other(format!("{} is not a list, `*` has no meaning", before(steps, at))));
            }
        };
        at += 1;
    }
    Ok(here)
}

/// A document, read so that a step can go into it; anything else as it is.
fn open<'a>(found: Found<'a>, bytes_left: &mut usize) -> Result<Found<'a>, Miss<'a>> {
    match found {
        Found::Value(value) => match &*value {
            Value::Json(text) => {
                spend(bytes_left, text.len() / BYTES_READ_PER_BYTE).ok_or(Miss::TooLarge)?;
                let document = json::read(text.as_bytes(), DOCUMENT_DEPTH)
                    .map_err(|_| Miss::Other(String::from("the document cannot be read")))?;
                Ok(Found::Value(Cow::Owned(document.root.into_value())))
            }
            _ => Ok(Found::Value(value)),
        },
        other => Ok(other),
    }
}

/// Whether it has a property of this name.
fn held(holder: &Found<'_>, name: &str) -> bool {
    match holder {
        Found::Row(result, _) => match result.count {
            Some(_) => name == "count",
            None => {
                result.names.iter().any(|known| &**known == name)
                    || result.associations.iter().any(|(known, _)| &**known == name)
            }
        },
        Found::Value(value) => match &**value {
            Value::Object(fields) => fields.iter().any(|(key, _)| &**key == name),
            _ => false,
        },
        Found::List(_) => false,
    }
}

/// A column, an association, or the value of a key.
fn property<'a>(holder: Found<'a>, name: &str) -> Option<Found<'a>> {
    match holder {
        Found::Row(result, row) => {
            if let Some(count) = result.count {
                return (name == "count").then(|| Found::Value(Cow::Owned(count_value(count))));
            }
            let value = match result.names.iter().position(|known| &**known == name) {
                Some(column) => result.rows.get(row)?.get(column)?,
                None => {
                    let (_, values) = result.associations.iter().find(|(known, _)| &**known == name)?;
                    values.get(row)?
                }
            };
            Some(Found::Value(Cow::Borrowed(value)))
        }
        Found::Value(Cow::Borrowed(Value::Object(fields))) => {
            let (_, value) = fields.iter().find(|(key, _)| &**key == name)?;
            Some(Found::Value(Cow::Borrowed(value)))
        }
        Found::Value(Cow::Owned(Value::Object(fields))) => {
            let (_, value) = fields.into_iter().find(|(key, _)| &**key == name)?;
            Some(Found::Value(Cow::Owned(value)))
        }
        _ => None,
    }
}

fn element<'a>(list: Cow<'a, Value>, index: usize) -> Option<Found<'a>> {
    match list {
        Cow::Borrowed(Value::Array(items)) => items.get(index).map(|item| Found::Value(Cow::Borrowed(item))),
        Cow::Owned(Value::Array(items)) => {
            items.into_iter().nth(index).map(|item| Found::Value(Cow::Owned(item)))
        }
        _ => None,
    }
}

fn elements<'a>(list: Cow<'a, Value>) -> Box<dyn Iterator<Item = Found<'a>> + 'a> {
    match list {
        Cow::Borrowed(Value::Array(items)) => {
            Box::new(items.iter().map(|item| Found::Value(Cow::Borrowed(item))))
        }
        Cow::Owned(Value::Array(items)) => {
            Box::new(items.into_iter().map(|item| Found::Value(Cow::Owned(item))))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn count_value(count: u64) -> Value {
    i64::try_from(count).map_or_else(|_| Value::Number(count.to_string().into()), Value::Int)
}

/// Words for what stands before the step at this place.
fn before(steps: &[PathStep], at: usize) -> String {
    match at.checked_sub(1).and_then(|last| steps.get(last)) {
        None => String::from("the result"),
        Some(PathStep::Name(name)) => format!("`{name}`"),
        Some(PathStep::Index(index)) => match at {
            1 => format!("row {index}"),
            _ => format!("element {index}"),
        },
        Some(PathStep::Every) => String::from("each of `*`"),
    }
}

impl Found<'_> {
    /// Bytes that a copy would have, near enough.
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.bytes(),
            Self::Row(result, row) => {
                let cells = result.rows.get(*row).map_or(8, |cells| cells.iter().map(Value::bytes).sum());
                let related = result.associations.iter().filter_map(|(_, values)| values.get(*row));
                let names = result.names.iter().map(|name| name.len() + 4).sum::<usize>();
                cells + names + related.map(Value::bytes).sum::<usize>() + 2
            }
            Self::List(items) => items.iter().map(|item| item.bytes() + 1).sum::<usize>() + 2,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value.into_owned(),
            Self::Row(result, row) => match result.count {
                Some(count) => Value::Object(vec![(Arc::from("count"), count_value(count))]),
                None => {
                    let cells = result.rows.get(row).map(Vec::as_slice).unwrap_or_default();
                    let columns = result.names.iter().cloned().zip(cells.iter().cloned());
                    let related = result
                        .associations
                        .iter()
                        .filter_map(|(name, values)| Some((Arc::clone(name), values.get(row)?.clone())));
                    Value::Object(columns.chain(related).collect())
                }
            },
            Self::List(items) => Value::Array(items.into_iter().map(Found::into_value).collect()),
        }
    }

    /// Appends a scalar as JSON has it, text without quotes; nothing else has a meaning inside text.
    fn write_text(
        &self,
        reference: &Reference,
        out: &mut String,
        bytes_left: &mut usize,
    ) -> Result<(), Unresolved> {
        spend(bytes_left, self.bytes()).ok_or(Unresolved::TooLarge)?;
        let kind = match self {
            Self::Row(..) => "a row",
            Self::List(_) => "a list",
            Self::Value(value) => match &**value {
                Value::Bool(flag) => {
                    out.push_str(if *flag { "true" } else { "false" });
                    return Ok(());
                }
                Value::Int(number) => {
                    use std::fmt::Write as _;
                    // Writing to memory cannot fail.
                    let _ = write!(out, "{number}");
                    return Ok(());
                }
                Value::Number(digits) => {
                    out.push_str(digits);
                    return Ok(());
                }
                Value::Text(text) => {
                    out.push_str(text);
                    return Ok(());
                }
                // A document without levels is a scalar.
                Value::Json(text) => match json::read(text.as_bytes(), 0) {
                    Ok(document) => {
                        let scalar = Found::Value(Cow::Owned(document.root.into_value()));
                        return scalar.write_text(reference, out, bytes_left);
                    }
                    Err(_) => "a document",
                },
                Value::Null => "null",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            },
        };
        Err(bad(reference, format!("the value is {kind}, which has no meaning inside text")).into())
    }
}

impl Miss<'_> {
    fn told(self, reference: &Reference) -> Unresolved {
        match self {
            Self::NoProperty { why, .. } | Self::Other(why) => bad(reference, why).into(),
            Self::TooLarge => Unresolved::TooLarge,
        }
    }
}

pub(super) fn no_result(reference: &Reference) -> BadReference {
    bad(reference, String::from("the operation has no result"))
}

fn bad(reference: &Reference, why: String) -> BadReference {
    BadReference { written: Arc::clone(&reference.written), why }
}

pub(super) fn spend(left: &mut usize, bytes: usize) -> Option<()> {
    *left = left.checked_sub(bytes)?;
    Some(())
}
