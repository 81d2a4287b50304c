//! The configuration before it has types: TOML and environment in one tree, each value with its origin.
//!
//! Values of the file have `${VAR}` and `${VAR:-default}` replaced (`$${` stands for `${`, and
//! `${claims.NAME}` of a row filter stays); values of the environment are taken as they are, and become
//! whatever type their key has.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, TableLike, Value as TomlValue};

use super::problems::{Origin, Problems, join};

/// Prefix of the variables that override a key.
const OVERRIDE_PREFIX: &str = "PENSTOCK__";
/// `${claims.sub}` of a row filter is the caller's claim and no variable: no name of a variable has a dot.
const CLAIM: &str = "claims.";
/// Variables with names of their own: a short one, and those of the lead analyser that penstock replaces.
const NAMED_VARIABLES: [(&str, &[&str]); 7] = [
    ("PENSTOCK_LOG", &["log", "filter"]),
    ("BATCH_SIZE_SALESFORCE", &["leads", "read_batch"]),
    ("BATCH_SIZE_VALIDATION", &["leads", "validation_batch"]),
    ("BATCH_SIZE_AI", &["leads", "assess_batch"]),
    ("LARGE_DATASET_THRESHOLD", &["leads", "large_dataset_threshold"]),
    ("BATCH_DELAY_MS", &["leads", "read_pause_ms"]),
    ("AI_BATCH_DELAY_MS", &["leads", "assess_pause_ms"]),
];

pub(super) type Environment = BTreeMap<String, String>;
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub origin: Origin,
    pub content: Content,
}

/// A value by its form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Text(String),
    /// Text of the environment, which has no types.
    Untyped(String),
    Whole(i64),
    Fraction(f64),
    Switch(bool),
    Moment,
    List(Vec<Node>),
    Table(Table),
}

impl Content {
    /// What a person calls this form.
    pub fn form(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Untyped(_) => "text",
            Self::Whole(_) => "a whole number",
            Self::Fraction(_) => "a fraction",
            Self::Switch(_) => "true or false",
            Self::Moment => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
        }
    }
}

/// Reads the file's text; a syntax error is one problem and an empty tree.
pub(super) fn read_toml(text: &str, environment: &Environment, problems: &mut Problems) -> Table {
    match Document::parse(text) {
        Ok(document) => Reader { text, environment, problems }.table(document.as_table(), ""),
        Err(error) => {
            let line = error.span().map(|span| Origin::Line(line_of(text, span.start)));
            problems.add_at(line, "", error.message().trim().replace('\n', ", "));
            Table::new()
        }
    }
}

/// Lays the environment's overrides over the tree.
pub(super) fn lay_over(tree: &mut Table, environment: &Environment, problems: &mut Problems) {
    for (variable, value) in environment {
        let path: Vec<String> = match variable.strip_prefix(OVERRIDE_PREFIX) {
            Some(path) => path.split("__").map(str::to_lowercase).collect(),
            None => match NAMED_VARIABLES.iter().find(|(name, _)| name == variable) {
                Some((_, path)) => path.iter().map(|&part| part.to_owned()).collect(),
                None => continue,
            },
        };
        let origin = Origin::Variable(variable.clone());
        if let Err(why) = set(tree, &path, value, &origin) {
            problems.add_at(Some(origin), &path.join("."), why);
        }
    }
}

fn set(table: &mut Table, path: &[String], value: &str, origin: &Origin) -> Result<(), String> {
    let [name, rest @ ..] = path else { return Ok(()) };
    if name.is_empty() {
        return Err("has an empty part; write PENSTOCK__SECTION__KEY".to_owned());
    }
    if rest.is_empty() {
        let content = Content::Untyped(value.to_owned());
        table.insert(name.clone(), Node { origin: origin.clone(), content });
        return Ok(());
    }
    let node = table
        .entry(name.clone())
        .or_insert_with(|| Node { origin: origin.clone(), content: Content::Table(Table::new()) });
    match &mut node.content {
        Content::Table(inner) => set(inner, rest, value, origin),
        Content::List(elements) => set_in_list(elements, rest, value, origin),
        _ => Err(format!("`{name}` is a value, not a section")),
    }
}

/// `PENSTOCK__ORG__0__KEY` by position, `PENSTOCK__ORG__DEMO__KEY` by the element's name.
fn set_in_list(elements: &mut [Node], path: &[String], value: &str, origin: &Origin) -> Result<(), String> {
    let [which, rest @ ..] = path else { return Ok(()) };
    let position = which
        .parse::<usize>()
        .ok()
        .or_else(|| elements.iter().position(|element| is_named(element, which)))
        .filter(|position| *position < elements.len());
    let Some(position) = position else {
        return Err(format!("no element `{which}`; there are {}, counted from 0", elements.len()));
    };
    match &mut elements[position].content {
        Content::Table(inner) => set(inner, rest, value, origin),
        _ => Err(format!("element `{which}` is a value, not a section")),
    }
}

/// Names have hyphens, variables cannot: `MY_ORG` finds `my-org`.
fn is_named(element: &Node, which: &str) -> bool {
    let Content::Table(table) = &element.content else { return false };
    let name = table.get("name").map(|node| &node.content);
    matches!(name, Some(Content::Text(name)) if name.replace('-', "_") == *which)
}

struct Reader<'a> {
    text: &'a str,
    environment: &'a Environment,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn table(&mut self, table: &dyn TableLike, section: &str) -> Table {
        let mut read = Table::new();
        for (name, item) in table.iter() {
            let key = join(section, name);
            let span = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
            let origin = Origin::Line(span.map_or(1, |span| line_of(self.text, span.start)));
            let content = match item {
                Item::None => continue,
                Item::Value(value) => self.value(value, &key, &origin),
                Item::Table(inner) => Content::Table(self.table(inner, &key)),
                Item::ArrayOfTables(elements) => {
                    let nodes = elements.iter().enumerate().map(|(index, element)| {
                        let start = element.span().map_or(0, |span| span.start);
                        let content = Content::Table(self.table(element, &format!("{key}[{index}]")));
                        Node { origin: Origin::Line(line_of(self.text, start)), content }
                    });
                    Content::List(nodes.collect())
                }
            };
            read.insert(name.to_owned(), Node { origin, content });
        }
        read
    }

    fn value(&mut self, value: &TomlValue, key: &str, origin: &Origin) -> Content {
        match value {
            TomlValue::String(text) => Content::Text(self.expanded(text.value(), key, origin)),
            TomlValue::Integer(number) => Content::Whole(*number.value()),
            TomlValue::Float(number) => Content::Fraction(*number.value()),
            TomlValue::Boolean(switch) => Content::Switch(*switch.value()),
            TomlValue::Datetime(_) => Content::Moment,
            TomlValue::Array(elements) => {
                let nodes = elements.iter().map(|element| {
                    let line = element.span().map(|span| Origin::Line(line_of(self.text, span.start)));
                    let origin = line.unwrap_or_else(|| origin.clone());
                    let content = self.value(element, key, &origin);
                    Node { origin, content }
                });
                Content::List(nodes.collect())
            }
            TomlValue::InlineTable(inner) => Content::Table(self.table(inner, key)),
        }
    }

    fn expanded(&mut self, text: &str, key: &str, origin: &Origin) -> String {
        let (expanded, unset) = expand(text, self.environment);
        for name in unset {
            let text =
                format!("environment variable `{name}` is not set; `${{{name}:-default}}` gives a default");
            self.problems.add_at(Some(origin.clone()), key, text);
        }
        expanded
    }
}

/// Replaces `${VAR}` and `${VAR:-default}`; the second part names the variables that are not set.
fn expand(text: &str, environment: &Environment) -> (String, Vec<String>) {
    let (mut out, mut unset) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some(end) = after.find('}') else { break };
        out.push_str(before);
        if after.starts_with(CLAIM) {
            out.push_str(&rest[at..at + 2 + end + 1]);
            rest = &after[end + 1..];
            continue;
        }
        let (name, default) = match after[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&after[..end], None),
        };
        match (environment.get(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => out.push_str(value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => unset.push(name.to_owned()),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    (out, unset)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("a${HOME_ORG}b", "aprodb", &[])]
    #[case::default("${NOWHERE:-x}", "x", &[])]
    #[case::an_empty_variable_takes_the_default("${EMPTY:-x}", "x", &[])]
    #[case::unset("a${NOWHERE}b", "ab", &["NOWHERE"])]
    #[case::escaped("a$${HOME_ORG}", "a${HOME_ORG}", &[])]
    #[case::not_closed("a${HOME_ORG", "a${HOME_ORG", &[])]
    #[case::a_claim_is_no_variable("a = ${claims.sub} ${HOME_ORG}", "a = ${claims.sub} prod", &[])]
    #[case::a_lone_dollar("5$", "5$", &[])]
    fn variables_are_expanded(#[case] text: &str, #[case] expected: &str, #[case] unset: &[&str]) {
        let environment =
            [("HOME_ORG", "prod"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let (out, missing) = expand(text, &environment);
        assert_eq!((out.as_str(), missing), (expected, unset.iter().map(|s| (*s).to_owned()).collect()));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_expansion(text in "[a-z$\\{\\}:\\-é]{0,24}") {
            let (out, _) = expand(&text, &Environment::new());
            let has_variable = text.contains("${");
            prop_assert!(has_variable || out == text);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[a-z=\\[\\]\"{}\n .0-9#]{0,60}") {
            read_toml(&text, &Environment::new(), &mut Problems::default());
        }
    }
}
