//! Turns names into columns: every path of a statement is resolved once, before the first row is looked at.

use crate::{
    org::OrgData,
    rows_api::Value,
    soql::{SoqlError, ast::FieldPath},
    tables::{ColumnRef, Hop, Kind, Table},
};

/// Deepest chain of parents a path may climb.
const MOST_PARENTS: usize = 5;

/// A resolved field path.
#[derive(Clone)]
pub struct Path {
    hops: Vec<Hop>,
    pub column: ColumnRef,
    pub kind: Kind,
    /// The parts in their own spelling.
    pub names: Vec<String>,
}

impl Path {
    /// The value for one row of `table`; null when a parent is missing.
    pub fn value(&self, org: &OrgData, table: Table, row: u64) -> Value {
        let (mut table, mut row) = (table, row);
        for hop in &self.hops {
            match hop.follow(org, table, row) {
                Some(parent) => (table, row) = (hop.target, parent),
                None => return Value::Null,
            }
        }
        table.value(org, row, self.column)
    }

    /// The field's last name, as error messages give it.
    pub fn label(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// Whether [`Path::value`] would be null, without making the value up where the source can tell.
    pub fn is_null(&self, org: &OrgData, table: Table, row: u64) -> bool {
        match (table, self.column) {
            (Table::Object(at), ColumnRef::Field(field)) if self.is_own() => {
                org.rows.is_null(at, &org.model.objects[at], row, field)
            }
            _ => self.value(org, table, row) == Value::Null,
        }
    }

    /// No row of `table` lacks a value, so counting values is counting rows.
    pub fn is_never_null(&self, org: &OrgData, table: Table) -> bool {
        match (table, self.column) {
            (Table::Object(at), ColumnRef::Field(field)) => {
                self.is_own() && org.model.objects[at].fields[field].field_type == "id"
            }
            _ => false,
        }
    }

    /// The path belongs to the row itself, not to a parent.
    pub fn is_own(&self) -> bool {
        self.hops.is_empty()
    }
}

/// Resolves paths of one FROM.
pub struct Resolver<'a> {
    pub org: &'a OrgData,
    pub text: &'a str,
    pub table: Table,
    pub alias: Option<&'a str>,
}

impl Resolver<'_> {
    /// Resolves a path as written.
    ///
    /// # Errors
    /// `INVALID_FIELD` in the org's words.
    pub fn path(&self, path: &FieldPath) -> Result<Path, SoqlError> {
        let mut parts = path.parts.as_slice();
        let from = self.table.name(self.org);
        let prefixed = |first: &str| {
            self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(first))
                || first.eq_ignore_ascii_case(from)
        };
        if parts.len() > 1 && prefixed(&parts[0]) {
            parts = &parts[1..];
        }
        if parts.len() > MOST_PARENTS + 1 {
            let message =
                format!("SELECT statement cannot traverse more than {MOST_PARENTS} levels of parents");
            return Err(SoqlError::located("MALFORMED_QUERY", self.text, path.at, &message));
        }
        self.climb(self.table, parts)
            .map_err(|message| SoqlError::located("INVALID_FIELD", self.text, path.at, &message))
    }

    fn climb(&self, table: Table, parts: &[String]) -> Result<Path, String> {
        let on = table.name(self.org);
        let [first, rest @ ..] = parts else { return Err(no_column("", on)) };
        if rest.is_empty() {
            let (column, kind, name) = table.column(self.org, first).ok_or_else(|| no_column(first, on))?;
            return Ok(Path { hops: Vec::new(), column, kind, names: vec![name.to_owned()] });
        }
        let parents = table.parents(self.org, first);
        if parents.is_empty() {
            return Err(format!(
                "Didn't understand relationship '{first}' in field path. If you are attempting to use a custom \
                 relationship, be sure to append the '__r' after the custom relationship name. Please reference \
                 your WSDL or the describe call for the appropriate names."
            ));
        }
        let mut refused = String::new();
        for (hop, spelling) in parents {
            match self.climb(hop.target, rest) {
                Ok(mut path) => {
                    path.hops.insert(0, hop);
                    path.names.insert(0, spelling.to_owned());
                    return Ok(path);
                }
                // A polymorphic parent is asked target by target; the first target's words are shown.
                Err(message) if refused.is_empty() => refused = message,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

fn no_column(name: &str, entity: &str) -> String {
    format!(
        "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append \
         the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
    )
}

/// What one record of the answer holds, in SELECT order; parents become objects of their own.
pub enum Output {
    Leaf { name: String, column: ColumnRef, kind: Kind },
    Parent { name: String, hop: Hop, outputs: Vec<Output> },
}

/// Adds a path to a record's outputs; the same column twice is written once.
pub fn add_output(outputs: &mut Vec<Output>, path: &Path) {
    add(outputs, &path.hops, path);
}

fn add(outputs: &mut Vec<Output>, hops: &[Hop], path: &Path) {
    let name = &path.names[path.names.len() - 1 - hops.len()];
    let Some((hop, rest)) = hops.split_first() else {
        let known =
            outputs.iter().any(|output| matches!(output, Output::Leaf { name: leaf, .. } if leaf == name));
        if !known {
            outputs.push(Output::Leaf { name: name.clone(), column: path.column, kind: path.kind });
        }
        return;
    };
    let known = outputs.iter_mut().find_map(|output| match output {
        Output::Parent { name: parent, outputs, .. } if parent == name => Some(outputs),
        _ => None,
    });
    if let Some(inner) = known {
        return add(inner, rest, path);
    }
    let mut inner = Vec::new();
    add(&mut inner, rest, path);
    outputs.push(Output::Parent { name: name.clone(), hop: *hop, outputs: inner });
}
