//! One description of each key: its type, default and bounds, from which the reader, the list of known
//! keys and the dump all follow, so that they cannot drift apart.
//!
//! [`section!`] declares a section; [`Value`] is what a single key can hold.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::problems::{Problems, join};
use super::tree::{Content, Node, Table};
use crate::model::{ApiVersion, OrgName};

/// A key as `penstock config` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// The key in full; elements of a list of sections are `org[0].name`.
    pub key: String,
    /// Its value as TOML; a secret is `""`.
    pub value: String,
}

/// Something a key can hold.
pub(super) trait Value: Sized {
    /// Reads it, or says what was expected.
    fn parse(content: &Content) -> Result<Self, String>;
    /// Writes it as TOML.
    fn to_toml(&self) -> String;
}

/// A value or a whole section: what a field of a section can be.
pub(super) trait Part: Sized {
    /// Takes what the tree says, and keeps `self` where the tree is silent or wrong.
    fn read(self, node: Option<&Node>, key: &str, problems: &mut Problems) -> Self;
    /// Lists the keys below `key` with their values.
    fn describe(&self, key: &str, out: &mut Vec<KeyLine>);
}

impl<V: Value> Part for V {
    fn read(self, node: Option<&Node>, key: &str, problems: &mut Problems) -> Self {
        let Some(node) = node else { return self };
        problems.saw(key, &node.origin);
        V::parse(&node.content).unwrap_or_else(|why| {
            problems.add(key, why);
            self
        })
    }

    fn describe(&self, key: &str, out: &mut Vec<KeyLine>) {
        out.push(KeyLine { key: key.to_owned(), value: self.to_toml() });
    }
}

/// Reads a list of sections (`[[org]]`), each starting from `T::default()`.
pub(super) fn read_list<T: Part + Default>(
    kept: Vec<T>,
    node: Option<&Node>,
    key: &str,
    problems: &mut Problems,
) -> Vec<T> {
    let Some(node) = node else { return kept };
    problems.saw(key, &node.origin);
    let Content::List(elements) = &node.content else {
        problems.add(key, format!("expected sections written `[[{key}]]`, found {}", node.content.form()));
        return kept;
    };
    let one = |(index, element)| T::default().read(Some(element), &format!("{key}[{index}]"), problems);
    elements.iter().enumerate().map(one).collect()
}

/// The section's table, with unknown keys reported; `None` when the section is not there or no section.
pub(super) fn open_section<'a>(
    node: Option<&'a Node>,
    key: &str,
    known: &[&str],
    problems: &mut Problems,
) -> Option<&'a Table> {
    let node = node?;
    problems.saw(key, &node.origin);
    let Content::Table(table) = &node.content else {
        problems.add(key, format!("expected a section, found {}", node.content.form()));
        return None;
    };
    for (name, child) in table {
        if !known.contains(&name.as_str()) {
            problems.add_unknown(&child.origin, key, name, known);
        }
    }
    Some(table)
}

/// The key of a field: a field named like a word of Rust (`r#where`) has the word alone.
pub(super) fn key_of(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Declares a section: fields `name: Type = default;` or `name: Type = default, lowest..=highest;`.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $type:ty = $default:expr $(, $range:expr)? ; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::config::spec::Part for $name {
            fn read(
                mut self,
                node: Option<&$crate::config::tree::Node>,
                key: &str,
                problems: &mut $crate::config::problems::Problems,
            ) -> Self {
                use $crate::config::{problems::join, spec};
                let known = [$( spec::key_of(stringify!($field)) ),*];
                let Some(table) = spec::open_section(node, key, &known, problems) else { return self };
                $(
                    let name = spec::key_of(stringify!($field));
                    let child = join(key, name);
                    let read = self.$field.clone().read(table.get(name), &child, problems);
                    $( let read = spec::within($range, read, &self.$field, &child, problems); )?
                    self.$field = read;
                )*
                self
            }

            fn describe(&self, key: &str, out: &mut Vec<$crate::config::spec::KeyLine>) {
                use $crate::config::{problems::join, spec};
                $( self.$field.describe(&join(key, spec::key_of(stringify!($field))), out); )*
            }
        }
    };
}
pub(super) use section;

/// A number, or perhaps none, that has bounds.
pub(super) trait Bounded<T> {
    fn given(&self) -> Option<T>;
}

macro_rules! number {
    ($($type:ty, $wanted:literal, $convert:path;)*) => { $(
        impl Bounded<$type> for $type {
            fn given(&self) -> Option<$type> { Some(*self) }
        }
        impl Bounded<$type> for Option<$type> {
            fn given(&self) -> Option<$type> { *self }
        }
        impl Value for $type {
            fn parse(content: &Content) -> Result<Self, String> {
                let (parsed, found): (Option<$type>, String) = match content {
                    Content::Untyped(text) => (text.trim().parse().ok(), format!("`{text}`")),
                    Content::Whole(number) => ($convert(content), number.to_string()),
                    other => ($convert(content), other.form().to_owned()),
                };
                parsed.ok_or_else(|| format!(concat!("expected ", $wanted, ", found {}"), found))
            }
            fn to_toml(&self) -> String { format!("{self:?}") }
        }
    )* };
}
number! {
    u32, "a whole number from 0", whole;
    u64, "a whole number from 0", whole;
    i32, "a whole number", whole;
    f64, "a number", fraction;
}

fn whole<T: TryFrom<i64>>(content: &Content) -> Option<T> {
    match content {
        Content::Whole(number) => T::try_from(*number).ok(),
        _ => None,
    }
}

fn fraction(content: &Content) -> Option<f64> {
    match content {
        Content::Whole(number) => Some(*number as f64),
        Content::Fraction(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}

/// The value when it is within bounds; else a problem and the value from before, so that nothing follows from it.
pub(super) fn within<T: PartialOrd + Display, B: Bounded<T> + Clone>(
    range: RangeInclusive<T>,
    read: B,
    before: &B,
    key: &str,
    problems: &mut Problems,
) -> B {
    match read.given().filter(|number| !range.contains(number)) {
        Some(number) => {
            problems.add(key, format!("{number} is not within {} to {}", range.start(), range.end()));
            before.clone()
        }
        None => read,
    }
}

impl Value for bool {
    fn parse(content: &Content) -> Result<Self, String> {
        match content {
            Content::Switch(switch) => Ok(*switch),
            Content::Untyped(text) => match text.trim() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(format!("expected true or false, found `{other}`")),
            },
            other => Err(format!("expected true or false, found {}", other.form())),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// The text of a key that holds text.
pub(super) fn text_of(content: &Content) -> Result<&str, String> {
    match content {
        Content::Text(text) | Content::Untyped(text) => Ok(text),
        other => Err(format!("expected text, found {}", other.form())),
    }
}

/// Text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    TomlString(text).to_string()
}

struct TomlString<'a>(&'a str);

impl Display for TomlString<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        write!(f, "\"")
    }
}

impl Value for String {
    fn parse(content: &Content) -> Result<Self, String> {
        text_of(content).map(str::to_owned)
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for PathBuf {
    fn parse(content: &Content) -> Result<Self, String> {
        match text_of(content)? {
            "" => Err("expected a path, found empty text".to_owned()),
            text => Ok(text.into()),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// Types that read themselves from text, with an error that says what they want.
pub(super) fn parse_text<T: FromStr>(content: &Content) -> Result<T, String>
where
    T::Err: Display,
{
    text_of(content)?.parse().map_err(|error: T::Err| error.to_string())
}

macro_rules! text_value {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn parse(content: &Content) -> Result<Self, String> { parse_text(content) }
            fn to_toml(&self) -> String { quoted(&self.to_string()) }
        }
    )* };
}
text_value!(OrgName, ApiVersion);
pub(super) use text_value;

impl Value for SocketAddr {
    fn parse(content: &Content) -> Result<Self, String> {
        let text = text_of(content)?;
        text.parse().map_err(|_| format!("`{text}` is not an address and port such as `127.0.0.1:9187`"))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Empty text is "none": a key can be shown, and switched off, without leaving it out.
impl<V: Value> Value for Option<V> {
    fn parse(content: &Content) -> Result<Self, String> {
        match content {
            Content::Text(text) | Content::Untyped(text) if text.is_empty() => Ok(None),
            content => V::parse(content).map(Some),
        }
    }

    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), V::to_toml)
    }
}

/// All elements, or what is wrong with each of the bad ones.
fn all<V>(elements: impl Iterator<Item = Result<V, String>>) -> Result<Vec<V>, String> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for element in elements {
        match element {
            Ok(element) => good.push(element),
            Err(why) => bad.push(why),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad.join("; ")) }
}

/// In a variable of the environment, the elements stand between commas.
impl<V: Value> Value for Vec<V> {
    fn parse(content: &Content) -> Result<Self, String> {
        match content {
            Content::List(elements) => all(elements.iter().map(|element| V::parse(&element.content))),
            Content::Untyped(text) if text.trim().is_empty() => Ok(Vec::new()),
            Content::Untyped(text) => {
                all(text.split(',').map(|part| V::parse(&Content::Untyped(part.trim().to_owned()))))
            }
            other => Err(format!("expected a list, found {}", other.form())),
        }
    }

    fn to_toml(&self) -> String {
        let elements: Vec<_> = self.iter().map(V::to_toml).collect();
        format!("[{}]", elements.join(", "))
    }
}

/// Reads a closed set of words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$word_meta:meta])* $variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$word_meta])* $variant ),* }

        impl $name {
            /// The word the config uses.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),* }
            }
        }

        impl $crate::config::spec::Value for $name {
            fn parse(content: &$crate::config::tree::Content) -> Result<Self, String> {
                match $crate::config::spec::text_of(content)? {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(format!("`{other}` is none of: {}", [$( $word ),*].join(", "))),
                }
            }

            fn to_toml(&self) -> String {
                $crate::config::spec::quoted(self.as_str())
            }
        }
    };
}
pub(super) use words;

/// Every key below `part`, with its value.
pub(super) fn key_lines(part: &impl Part) -> Vec<KeyLine> {
    let mut lines = Vec::new();
    part.describe("", &mut lines);
    lines
}

/// The keys of a list of sections, whose elements are described one by one.
pub(super) fn describe_list<T: Part>(elements: &[T], key: &str, out: &mut Vec<KeyLine>) {
    for (index, element) in elements.iter().enumerate() {
        element.describe(&join("", &format!("{key}[{index}]")), out);
    }
}
