//! Reads the hand-written tables in `orgsim/data/*.txt`, in which the org's own objects are designed.
//!
//! One line says one thing; `#` starts a comment line:
//!
//! ```text
//! % address                                   a pack: fields that several objects share
//! @ Lease "Lease/Leases" auto:LSE n=4200 shf +approval
//! > What the object is for.                   description
//! Unit ref! -> Unit__c ? The let space.       field: name, type, target, help text
//! Term num:3.0 "Term (Months)"                label and size
//! Kind pick ^Status = Office; Retail          controlling picklist and values
//! Annual fcur = Rent__c * 12                  formula; `r...` are roll-ups
//! ! Rule_Name | formula | message | Field__c  validation rule
//! * Retail | Shops and kiosks                 record type
//! ```
//!
//! `@` begins a custom object, `@mdt` a custom metadata type, `@set` a custom setting, `@evt` a platform
//! event, `@on` adds custom fields to a standard object, `@fix` corrects a standard object itself.
//! `s`, `h`, `f` give the object shares, history and a feed.

use std::collections::HashMap;

/// What a table entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Custom object.
    Custom,
    /// Custom metadata type.
    Metadata,
    /// Custom setting.
    Setting,
    /// Platform event.
    Event,
    /// Custom fields on a standard object.
    Extension,
    /// Corrections of a standard object.
    Correction,
}

/// An object as designed.
#[derive(Debug, Clone)]
pub struct ObjectSpec {
    /// What it makes.
    pub kind: Kind,
    /// Full API name.
    pub name: String,
    /// Label.
    pub label: Option<String>,
    /// Label, plural.
    pub plural: Option<String>,
    /// Prefix of auto-numbered names.
    pub auto_number: Option<String>,
    /// Records.
    pub records: Option<u64>,
    /// Has shares.
    pub share: bool,
    /// Has field history.
    pub history: bool,
    /// Has a feed.
    pub feed: bool,
    /// What it is for.
    pub description: Option<String>,
    /// Fields.
    pub fields: Vec<FieldSpec>,
    /// Validation rules.
    pub rules: Vec<RuleSpec>,
    /// Record types: label and description.
    pub record_types: Vec<(String, String)>,
    /// The table it stands in, which is the part of the app it belongs to.
    pub part: String,
}

/// A field as designed.
#[derive(Debug, Clone, Default)]
pub struct FieldSpec {
    /// API name; `__c` is added for custom fields.
    pub name: String,
    /// Type word of the table.
    pub kind: String,
    /// Length, or digits before and after the point.
    pub size: Option<(u32, u32)>,
    /// Must be filled.
    pub required: bool,
    /// Label.
    pub label: Option<String>,
    /// Reference targets.
    pub targets: Vec<String>,
    /// Controlling picklist.
    pub controller: Option<String>,
    /// Values of a picklist, or a formula.
    pub content: Option<String>,
    /// Help text.
    pub help: Option<String>,
}

/// A validation rule as designed.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// API name.
    pub name: String,
    /// Error condition.
    pub formula: String,
    /// What the user reads.
    pub message: String,
    /// Field the message stands at.
    pub field: Option<String>,
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("table `{table}`, line {line}: {what}")]
pub struct TableError {
    /// File name.
    pub table: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Reads all tables; packs may be used in any table, wherever they are defined.
///
/// # Errors
/// The first line that has no meaning.
pub fn read(tables: &[(&str, &str)]) -> Result<Vec<ObjectSpec>, TableError> {
    let mut packs: HashMap<&str, Vec<FieldSpec>> = HashMap::new();
    let mut objects: Vec<(ObjectSpec, Vec<String>, TableError)> = Vec::new();
    for &(table, text) in tables {
        let mut pack: Option<&str> = None;
        for (at, line) in text.lines().enumerate() {
            let fail =
                |what: &str| TableError { table: table.to_owned(), line: at + 1, what: what.to_owned() };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("% ") {
                pack = Some(name);
                packs.insert(name, Vec::new());
            } else if line.starts_with('@') {
                pack = None;
                let (mut object, used) = object_line(line).map_err(|what| fail(&what))?;
                object.part = table.to_owned();
                objects.push((object, used, fail("unknown pack")));
            } else if let Some(name) = pack {
                let field = field_line(line).map_err(|what| fail(&what))?;
                packs.entry(name).or_default().push(field);
            } else {
                let Some((object, ..)) = objects.last_mut() else {
                    return Err(fail("no object begun"));
                };
                body_line(object, line).map_err(|what| fail(&what))?;
            }
        }
    }
    objects
        .into_iter()
        .map(|(mut object, used, unknown)| {
            for name in used {
                let Some(fields) = packs.get(name.as_str()) else { return Err(unknown) };
                object.fields.extend(fields.iter().cloned());
            }
            Ok(object)
        })
        .collect()
}

/// The object and the packs it uses.
fn object_line(line: &str) -> Result<(ObjectSpec, Vec<String>), String> {
    let (line, label) = take_quoted(line)?;
    let mut words = line.split_whitespace();
    let (kind, suffix) = match words.next() {
        Some("@") => (Kind::Custom, "__c"),
        Some("@mdt") => (Kind::Metadata, "__mdt"),
        Some("@set") => (Kind::Setting, "__c"),
        Some("@evt") => (Kind::Event, "__e"),
        Some("@on") => (Kind::Extension, ""),
        Some("@fix") => (Kind::Correction, ""),
        other => return Err(format!("unknown kind of object {other:?}")),
    };
    let name = words.next().ok_or("an object needs a name")?;
    let (label, plural) = match label.as_deref().and_then(|label| label.split_once('/')) {
        Some((one, many)) => (Some(one.to_owned()), Some(many.to_owned())),
        None => (label, None),
    };
    let mut object = ObjectSpec {
        kind,
        name: format!("{name}{suffix}"),
        label,
        plural,
        auto_number: None,
        records: None,
        share: false,
        history: false,
        feed: false,
        description: None,
        fields: Vec::new(),
        rules: Vec::new(),
        record_types: Vec::new(),
        part: String::new(),
    };
    let mut packs = Vec::new();
    let rest_start = line.find(name).map_or(line.len(), |at| at + name.len());
    let original = &line[rest_start..];
    for word in original.split_whitespace() {
        if let Some(prefix) = word.strip_prefix("auto:") {
            object.auto_number = Some(prefix.to_owned());
        } else if let Some(count) = word.strip_prefix("n=") {
            object.records = Some(count.parse().map_err(|_| format!("`{count}` is no count"))?);
        } else if let Some(pack) = word.strip_prefix('+') {
            packs.push(pack.to_owned());
        } else if word.chars().all(|letter| "shf".contains(letter)) {
            object.share = word.contains('s');
            object.history = word.contains('h');
            object.feed = word.contains('f');
        } else {
            return Err(format!("`{word}` has no meaning in an object line"));
        }
    }
    Ok((object, packs))
}

fn body_line(object: &mut ObjectSpec, line: &str) -> Result<(), String> {
    if let Some(text) = line.strip_prefix("> ") {
        object.description = Some(text.to_owned());
    } else if let Some(rule) = line.strip_prefix("! ") {
        let parts: Vec<&str> = rule.split(" | ").map(str::trim).collect();
        let [name, formula, message, rest @ ..] = parts.as_slice() else {
            return Err("a rule needs a name, a formula and a message".to_owned());
        };
        object.rules.push(RuleSpec {
            name: (*name).to_owned(),
            formula: (*formula).to_owned(),
            message: (*message).to_owned(),
            field: rest.first().map(|field| (*field).to_owned()),
        });
    } else if let Some(record_type) = line.strip_prefix("* ") {
        let (label, description) =
            record_type.split_once(" | ").ok_or("a record type needs a description")?;
        object.record_types.push((label.to_owned(), description.to_owned()));
    } else {
        object.fields.push(field_line(line)?);
    }
    Ok(())
}

fn field_line(line: &str) -> Result<FieldSpec, String> {
    let (line, help) = match line.split_once(" ? ") {
        Some((line, help)) => (line, Some(help.trim().to_owned())),
        None => (line, None),
    };
    let (line, content) = match line.split_once(" = ") {
        Some((line, content)) => (line, Some(content.trim().to_owned())),
        None => (line, None),
    };
    let (line, label) = take_quoted(line)?;
    let mut words = line.split_whitespace();
    let name = words.next().ok_or("a field needs a name")?.to_owned();
    let kind = words.next().ok_or_else(|| format!("field `{name}` needs a type"))?;
    let (kind, required) = match kind.strip_suffix('!') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let (kind, size) = match kind.split_once(':') {
        Some((kind, size)) => (kind, Some(read_size(size)?)),
        None => (kind, None),
    };
    let mut field = FieldSpec {
        name,
        kind: kind.to_owned(),
        size,
        required,
        label,
        content,
        help,
        ..FieldSpec::default()
    };
    while let Some(word) = words.next() {
        if word == "->" {
            let targets = words.next().ok_or("an arrow needs a target")?;
            field.targets = targets.split(',').map(str::to_owned).collect();
        } else if let Some(controller) = word.strip_prefix('^') {
            field.controller = Some(controller.to_owned());
        } else {
            return Err(format!("`{word}` has no meaning in a field line"));
        }
    }
    Ok(field)
}

fn read_size(size: &str) -> Result<(u32, u32), String> {
    let (whole, fraction) = size.split_once('.').unwrap_or((size, "0"));
    let number = |digits: &str| digits.parse().map_err(|_| format!("`{size}` is no size"));
    Ok((number(whole)?, number(fraction)?))
}

/// Cuts the first "quoted" part out of a line.
fn take_quoted(line: &str) -> Result<(String, Option<String>), String> {
    let Some((before, rest)) = line.split_once('"') else { return Ok((line.to_owned(), None)) };
    let (quoted, after) = rest.split_once('"').ok_or("a quote is not closed")?;
    Ok((format!("{before}{after}"), Some(quoted.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_with_everything_it_has() {
        let text = "% approval\nApproved_On date\n@ Lease \"Lease/Leases\" auto:LSE n=42 sh +approval\n\
                    > A let space.\nTerm num:3.0! \"Term (Months)\" ? How long.\nKind pick ^Status = A; B\n\
                    ! Late | A > B | Too late. | A__c\n* Retail | Shops";
        let objects = read(&[("t", text)]).unwrap();
        let lease = &objects[0];
        assert_eq!((lease.name.as_str(), lease.records), ("Lease__c", Some(42)));
        assert!(lease.share && lease.history && !lease.feed);
        assert_eq!(lease.fields[0].size, Some((3, 0)));
        assert!(lease.fields[0].required);
        assert_eq!(lease.fields[0].help.as_deref(), Some("How long."));
        assert_eq!(lease.fields[1].controller.as_deref(), Some("Status"));
        assert_eq!(lease.fields[2].name, "Approved_On");
        assert_eq!(lease.rules[0].field.as_deref(), Some("A__c"));
        assert_eq!(lease.record_types[0].0, "Retail");
    }

    #[test]
    fn a_bad_line_is_named_with_its_place() {
        let error = read(&[("leasing", "@ Lease\nTerm num:x")]).unwrap_err();
        assert_eq!(error.to_string(), "table `leasing`, line 2: `x` is no size");
    }
}
