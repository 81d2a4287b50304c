//! Scans a text of a request for references, once, from left to right.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{PathStep, Reference, Template, TextPart};
use crate::batch::value::Value;

/// Characters of an id at most.
pub const ID_MAX: usize = 64;

const MARK: &str = "$ref:";

/// Why a text of a request has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// An unescaped `$ref:` that does not go on as a reference.
    #[error("`{written}` {why}")]
    Malformed {
        /// From the mark on, cut short.
        written: String,
        /// A sentence without its subject.
        why: &'static str,
    },
    /// Whoever looks up targets does not want any more.
    #[error("too many references")]
    Stopped,
}

/// What the parser needs to know of the batch that a text stands in.
pub trait Batch {
    /// The place of the operation that a reference names, and its id; `None` ends the scan.
    fn target(&mut self, id: &str) -> Option<(usize, Arc<str>)>;

    /// A name to keep; a batch has the same ones again and again.
    fn name(&mut self, name: &str) -> Arc<str> {
        Arc::from(name)
    }
}

impl<F: FnMut(&str) -> Option<(usize, Arc<str>)>> Batch for F {
    fn target(&mut self, id: &str) -> Option<(usize, Arc<str>)> {
        self(id)
    }
}

/// Whether this is a character of ids and of names outside quotes.
pub fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Parses references out of a text, and undoes its escapes.
pub fn parse_text(text: Cow<'_, str>, batch: &mut dyn Batch) -> Result<Template, TextFault> {
    if find_mark(&text).is_none() {
        return Ok(Template::Value(Value::Text(text.into_owned())));
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = &*text;
    while let Some(at) = find_mark(rest) {
        let dollars = 1 + rest[..at].bytes().rev().take_while(|&byte| byte == b'$').count();
        literal.push_str(&rest[..at + 1 - dollars]);
        literal.extend(std::iter::repeat_n('$', dollars / 2));
        let after = &rest[at + MARK.len()..];
        if dollars % 2 == 0 {
            literal.push_str(&MARK[1..]);
            rest = after;
            continue;
        }
        let found =
            path(after, batch).map_err(|why| TextFault::Malformed { written: cut(&rest[at..]), why })?;
        if !literal.is_empty() {
            parts.push(TextPart::Literal(std::mem::take(&mut literal)));
        }
        rest = &after[found.length..];
        let (place, target_id) = batch.target(found.id).ok_or(TextFault::Stopped)?;
        parts.push(TextPart::Reference(Reference {
            target: place,
            target_id,
            steps: found.steps,
            braced: found.braced,
            written: batch.name(found.written),
        }));
    }
    literal.push_str(rest);

    if literal.is_empty() && parts.len() == 1 {
        // One part that is not a literal.
        if let Some(TextPart::Reference(reference)) = parts.pop() {
            return Ok(Template::Reference(reference));
        }
    }
    if parts.is_empty() {
        return Ok(Template::Value(Value::Text(literal)));
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(literal));
    }
    let list = parts.iter().find_map(|part| match part {
        TextPart::Reference(reference) if reference.steps.contains(&PathStep::Every) => Some(reference),
        _ => None,
    });
    if let Some(reference) = list {
        return Err(TextFault::Malformed {
            written: cut(&reference.to_string()),
            why: "answers a list: with `*` it must be the whole text",
        });
    }
    Ok(Template::Text(parts))
}

/// The text that means `text` and nothing else: no part of it is a reference.
pub fn escape(text: &str) -> Cow<'_, str> {
    if find_mark(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = find_mark(rest) {
        let dollars = 1 + rest[..at].bytes().rev().take_while(|&byte| byte == b'$').count();
        escaped.push_str(&rest[..=at]);
        escaped.extend(std::iter::repeat_n('$', dollars));
        escaped.push_str(&MARK[1..]);
        rest = &rest[at + MARK.len()..];
    }
    escaped.push_str(rest);
    Cow::Owned(escaped)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        if self.braced {
            f.write_str("{")?;
        }
        f.write_str(&self.target_id)?;
        for step in &self.steps {
            match step {
                PathStep::Index(index) => write!(f, ".{index}")?,
                PathStep::Every => f.write_str(".*")?,
                PathStep::Name(name) if is_plain_name(name) => write!(f, ".{name}")?,
                PathStep::Name(name) => write!(f, ".\"{}\"", name.replace('"', "\"\""))?,
            }
        }
        if self.braced {
            f.write_str("}")?;
        }
        Ok(())
    }
}

/// Whether a name needs no quotes: not empty, characters of ids, not to be taken for an index.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_id_byte) && index(name).is_none()
}

struct Path<'t> {
    id: &'t str,
    steps: Vec<PathStep>,
    braced: bool,
    written: &'t str,
    /// Bytes of the text after the mark that it takes.
    length: usize,
}

/// What stands after a mark.
fn path<'t>(text: &'t str, batch: &mut dyn Batch) -> Result<Path<'t>, &'static str> {
    let braced = text.starts_with('{');
    let start = usize::from(braced);
    let id = id_run(&text[start..]);
    if id.is_empty() {
        return Err("names no operation: write `$ref:<id>.<column>`, or `$$ref:` for the text itself");
    }
    if id.len() > ID_MAX {
        return Err("names an operation by more than 64 characters");
    }
    let mut at = start + id.len();
    let mut steps = Vec::new();
    while let Some((step, length)) = step(&text[at..], braced, &mut |name| batch.name(name))? {
        steps.push(step);
        at += length;
    }
    if steps.is_empty() {
        return Err(if text[at..].starts_with('-') {
            "does not go on with `.`: ids have letters, digits and `_` only"
        } else {
            "has no path: write `$ref:<id>.<column>`, or `$$ref:` for the text itself"
        });
    }
    let written = &text[start..at];
    if braced {
        if !text[at..].starts_with('}') {
            return Err("has no `}` after its path");
        }
        at += 1;
    }
    Ok(Path { id, steps, braced, written, length: at })
}

/// The next step and its length; `None` where the path ends.
fn step(
    text: &str,
    braced: bool,
    keep: &mut dyn FnMut(&str) -> Arc<str>,
) -> Result<Option<(PathStep, usize)>, &'static str> {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'.') => {}
        Some(b'[') => {
            let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
            let closed = bytes.get(1 + digits) == Some(&b']');
            return Ok(closed
                .then(|| index(&text[1..=digits]))
                .flatten()
                .map(|index| (PathStep::Index(index), digits + 2)));
        }
        _ => return Ok(None),
    }
    match bytes.get(1) {
        Some(b'*') => return Ok(Some((PathStep::Every, 2))),
        Some(b'"') if braced => {
            let (name, length) = quoted(&text[2..])?;
            return Ok(Some((PathStep::Name(name), length + 2)));
        }
        _ => {}
    }
    let run = id_run(&text[1..]);
    if run.is_empty() {
        return Ok(None);
    }
    let step = index(run).map_or_else(|| PathStep::Name(keep(run)), PathStep::Index);
    Ok(Some((step, run.len() + 1)))
}

/// Where each step of a bare reference begins in the path as written.
pub(super) fn step_starts(reference: &Reference) -> impl Iterator<Item = usize> {
    let written = &*reference.written;
    let mut at = id_run(written).len();
    std::iter::from_fn(move || {
        let start = at;
        let (_, length) = step(written.get(at..)?, false, &mut |name| Arc::from(name)).ok()??;
        at += length;
        Some(start)
    })
}

/// A name after its opening quote, and the bytes up to and with the closing one.
fn quoted(text: &str) -> Result<(Arc<str>, usize), &'static str> {
    let mut name = String::new();
    let mut at = 0;
    loop {
        let quote = text[at..].find('"').ok_or("has a quoted name without its second quote")?;
        name.push_str(&text[at..at + quote]);
        at += quote + 1;
        if !text[at..].starts_with('"') {
            return Ok((Arc::from(name), at));
        }
        name.push('"');
        at += 1;
    }
}

/// An index as it must be written: no leading zeros. One that no list can have is the largest there is.
fn index(digits: &str) -> Option<usize> {
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits == "0" || !digits.starts_with('0');
    (whole && plain).then(|| digits.parse().unwrap_or(usize::MAX))
}

fn id_run(text: &str) -> &str {
    &text[..text.bytes().take_while(|&byte| is_id_byte(byte)).count()]
}

/// Where the next mark is. Nearly no text has a `$` at all, so it is looked for first.
fn find_mark(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|&byte| byte == b'$')?;
        if bytes[at..].starts_with(MARK.as_bytes()) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// For a message: not longer than a line.
fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String =
        characters.by_ref().take(60).filter(|character| !character.is_control()).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}
