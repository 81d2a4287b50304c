//! Reads JSON text into a tree that borrows from it.
//!
//! Promises: one pass, in time linear in the text; numbers keep their digits; an object keeps the order of its keys and
//! every repeated key is reported; nothing nests deeper than was allowed. Our own reader, because a general one either puts
//! numbers through a float or reads each level of the text again, and none tells where a key is repeated.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::batch::value::Value;

/// Deeper than this is never read, whatever the limit says: each level takes a piece of the stack.
const DEPTH_CEILING: usize = 128;
/// Repeated keys that are reported at most.
const REPEATED_MAX: usize = 50;
/// Up to so many keys are compared one with another; more go through a set.
const FEW_KEYS: usize = 16;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::batch) enum Node<'a> {
    Null,
    Bool(bool),
    /// Its digits.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// In order; repeated keys are all there.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// A text that was read.
#[derive(Debug)]
pub(in crate::batch) struct Document<'a> {
    pub root: Node<'a>,
    /// Pointers of keys that were there before, in the order of the text; not more than [`REPEATED_MAX`].
    pub repeated: Vec<String>,
}

/// Why a text was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::batch) enum Unreadable {
    #[error("byte {at} is not UTF-8")]
    NotUtf8 { at: usize },
    #[error("line {line}, column {column}: {why}")]
    Syntax { line: usize, column: usize, why: &'static str },
    #[error("lists and objects nest deeper than {limit} levels")]
    TooDeep { limit: usize },
}

/// Reads one value that takes the whole text.
pub(in crate::batch) fn read(text: &[u8], depth_max: usize) -> Result<Document<'_>, Unreadable> {
    let text = std::str::from_utf8(text).map_err(|error| Unreadable::NotUtf8 { at: error.valid_up_to() })?;
    let depth_max = depth_max.min(DEPTH_CEILING);
    let mut reader =
        Reader { text, bytes: text.as_bytes(), at: 0, depth_max, path: Vec::new(), repeated: Vec::new() };
    reader.space();
    let root = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.wrong("nothing may follow the value"));
    }
    Ok(Document { root, repeated: reader.repeated })
}

/// A pointer is as long as the keys on its way, and every fault below a long key would repeat it: it is cut here.
const POINTER_BYTES_MAX: usize = 1_024;

/// Appends one step of an RFC 6901 pointer, as far as there is room.
pub(in crate::batch) fn push_pointer_step(pointer: &mut String, step: &str) {
    if pointer.len() >= POINTER_BYTES_MAX {
        return;
    }
    pointer.push('/');
    for character in step.chars() {
        if pointer.len() >= POINTER_BYTES_MAX {
            return pointer.push('…');
        }
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

impl Node<'_> {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// The same as a value of its own. Of repeated keys the last one holds, as in every JSON reader.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Number(digits) => number(digits),
            Self::Text(text) => Value::Text(text.into_owned()),
            Self::Array(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Self::Object(fields) => {
                let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(fields.len());
                let repeats = repeats(&fields).next().is_some();
                for (key, value) in fields {
                    let value = value.into_value();
                    let earlier =
                        repeats.then(|| kept.iter_mut().find(|(known, _)| **known == *key)).flatten();
                    match earlier {
                        Some((_, place)) => *place = value,
                        None => kept.push((Arc::from(&*key), value)),
                    }
                }
                Value::Object(kept)
            }
        }
    }
}

/// A number as a value: whole ones that fit as such, any other by its digits.
pub(in crate::batch) fn number(digits: &str) -> Value {
    match digits.parse::<i64>() {
        Ok(whole) => Value::Int(whole),
        Err(_) => Value::Number(digits.into()),
    }
}

/// Places of fields whose key was there before.
fn repeats<'n>(fields: &'n [(Cow<'_, str>, Node<'_>)]) -> Box<dyn Iterator<Item = usize> + 'n> {
    if fields.len() <= FEW_KEYS {
        let repeated = |&at: &usize| fields[..at].iter().any(|(earlier, _)| *earlier == fields[at].0);
        Box::new((1..fields.len()).filter(repeated))
    } else {
        let mut known = HashSet::with_capacity(fields.len());
        Box::new((0..fields.len()).filter(move |&at| !known.insert(&*fields[at].0)))
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth_max: usize,
    /// Where we are, for pointers: steps of lists and objects that are open.
    path: Vec<Step<'a>>,
    repeated: Vec<String>,
}

enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Node<'a>, Unreadable> {
        match self.bytes.get(self.at) {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.digits(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) => Err(self.wrong("a value must stand here")),
            None => Err(self.wrong("the text ends where a value must stand")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, Unreadable> {
        self.enter(depth)?;
        let mut fields = Vec::new();
        if self.closes(b'}') {
            return Ok(Node::Object(fields));
        }
        loop {
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.wrong("a key in quotes must stand here"));
            }
            let key = self.string()?;
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return Err(self.wrong("a `:` must stand here"));
            }
            self.at += 1;
            self.space();
            let value = if matches!(self.bytes.get(self.at), Some(b'{' | b'[')) {
                self.path.push(Step::Key(key.clone()));
                let value = self.value(depth)?;
                self.path.pop();
                value
            } else {
                self.value(depth)?
            };
            fields.push((key, value));
            if !self.goes_on(b'}', "a `,` or `}` must stand here")? {
                break;
            }
        }
        if fields.len() > 1 && self.repeated.len() < REPEATED_MAX {
            let left = REPEATED_MAX - self.repeated.len();
            for at in repeats(&fields).take(left) {
                let pointer = self.pointer(&fields[at].0);
                self.repeated.push(pointer);
            }
        }
        Ok(Node::Object(fields))
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, Unreadable> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.closes(b']') {
            return Ok(Node::Array(items));
        }
        loop {
            let item = if matches!(self.bytes.get(self.at), Some(b'{' | b'[')) {
                self.path.push(Step::Index(items.len()));
                let item = self.value(depth)?;
                self.path.pop();
                item
            } else {
                self.value(depth)?
            };
            items.push(item);
            if !self.goes_on(b']', "a `,` or `]` must stand here")? {
                return Ok(Node::Array(items));
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Unreadable> {
        if depth > self.depth_max {
            return Err(Unreadable::TooDeep { limit: self.depth_max });
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn closes(&mut self, close: u8) -> bool {
        let closed = self.bytes.get(self.at) == Some(&close);
        self.at += usize::from(closed);
        closed
    }

    /// After an element: past the comma, or past the end.
    fn goes_on(&mut self, close: u8, why: &'static str) -> Result<bool, Unreadable> {
        self.space();
        if self.closes(close) {
            return Ok(false);
        }
        if self.bytes.get(self.at) != Some(&b',') {
            return Err(self.wrong(why));
        }
        self.at += 1;
        self.space();
        Ok(true)
    }

    fn word(&mut self, word: &'static str, node: Node<'a>) -> Result<Node<'a>, Unreadable> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong("a value must stand here"));
        }
        self.at += word.len();
        Ok(node)
    }

    fn digits(&mut self) -> Result<Node<'a>, Unreadable> {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.wrong("a digit must stand here")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(Node::Number(&self.text[start..self.at]))
    }

    fn some_digits(&mut self) -> Result<(), Unreadable> {
        if !matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            return Err(self.wrong("a digit must stand here"));
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// A text in quotes; borrowed unless it has an escape.
    fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        self.at += 1;
        let start = self.at;
        self.plain_characters();
        if self.bytes.get(self.at) == Some(&b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::from(&self.text[start..self.at]);
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    text.push(character);
                }
                Some(_) => return Err(self.wrong("a control character in a text must be escaped")),
                None => return Err(self.wrong("the text ends inside quotes")),
            }
            let start = self.at;
            self.plain_characters();
            text.push_str(&self.text[start..self.at]);
        }
    }

    fn plain_characters(&mut self) {
        let rest = &self.bytes[self.at..];
        let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        self.at += plain.unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<char, Unreadable> {
        let character = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.wrong("there is no such escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, Unreadable> {
        const LONELY: &str = "half of a surrogate pair stands alone";
        let first = self.four_digits()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.wrong(LONELY));
        }
        if first >= 0xDC00 || !self.bytes[self.at..].starts_with(b"\\u") {
            return Err(self.wrong(LONELY));
        }
        self.at += 2;
        let second = self.four_digits()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(self.wrong(LONELY));
        }
        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        char::from_u32(joined).ok_or_else(|| self.wrong(LONELY))
    }

    fn four_digits(&mut self) -> Result<u32, Unreadable> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let code =
            digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?));
        match code {
            Some(code) if digits.len() == 4 => {
                self.at += 4;
                Ok(code)
            }
            _ => Err(self.wrong("four hexadecimal digits must stand here")),
        }
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn pointer(&self, key: &str) -> String {
        let mut pointer = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => push_pointer_step(&mut pointer, key),
                // Writing to memory cannot fail.
                Step::Index(index) => drop(write!(pointer, "/{index}")),
            }
        }
        push_pointer_step(&mut pointer, key);
        pointer
    }

    fn wrong(&self, why: &'static str) -> Unreadable {
        let before = &self.bytes[..self.at.min(self.bytes.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        Unreadable::Syntax { line, column, why }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// The same tree by serde_json: numbers by their digits are compared apart.
    fn same(node: &Node, other: &serde_json::Value) -> bool {
        match (node, other) {
            (Node::Null, serde_json::Value::Null) => true,
            (Node::Bool(left), serde_json::Value::Bool(right)) => left == right,
            (Node::Number(digits), serde_json::Value::Number(number)) => {
                let (ours, theirs): (f64, f64) =
                    (digits.parse().expect("digits"), number.as_f64().expect("a float"));
                // serde_json's floats may be off in the last place.
                (ours - theirs).abs() <= ours.abs() * 1e-12
            }
            (Node::Text(left), serde_json::Value::String(right)) => left == right,
            (Node::Array(left), serde_json::Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
            }
            (Node::Object(left), serde_json::Value::Object(right)) => {
                left.iter().enumerate().all(|(at, (key, value))| {
                    left[at + 1..].iter().any(|(later, _)| later == key)
                        || right.get(&**key).is_some_and(|right| same(value, right))
                })
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_reads_and_refuses_what_serde_refuses(
            text in r#"([\[\]{}:, ]|"[a-c]{0,2}"|"\\[nu"\\x]"|"\\ud83d\\ude00"|"\\ud83d"|-?[0-9]{1,3}|[0-9]\.[0-9]?|[1-9][eE][+-]?[0-9]{0,2}|true|null|é|\n){0,12}"#
        ) {
            let ours = read(text.as_bytes(), 128);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (&ours, &theirs) {
                (Ok(document), Ok(value)) => prop_assert!(same(&document.root, value), "{text}"),
                (Err(_), Err(_)) => {}
                // `1E310` has its digits here, and no place in a float there.
                (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => {}
                _ => prop_assert!(false, "{text:?}: {ours:?} but {theirs:?}"),
            }
        }

        #[test]
        fn what_serde_writes_comes_back(text in any::<String>(), number in any::<i64>(), float in any::<f64>(), flag: bool) {
            let float = if float.is_finite() { float } else { 0.5 };
            let value = serde_json::json!({"a": [text, number, {"b": flag}], text.clone(): float});
            let written = value.to_string();
            let document = read(written.as_bytes(), 32).expect("serde writes JSON");
            prop_assert!(same(&document.root, &value), "{written}");
            prop_assert_eq!(document.root.into_value().to_json(), written);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes, 8);
        }
    }

    #[rstest]
    #[case::empty("", 1, 1)]
    #[case::space(" \n ", 2, 2)]
    #[case::comma("[1,]", 1, 4)]
    #[case::colon("{\"a\" 1}", 1, 6)]
    #[case::key("{a:1}", 1, 2)]
    #[case::two("{} {}", 1, 4)]
    #[case::leading_zero("01", 1, 2)]
    #[case::plus("+1", 1, 1)]
    #[case::point(".5", 1, 1)]
    #[case::bare_exponent("1e", 1, 3)]
    #[case::open("\"abc", 1, 5)]
    #[case::tab("\"a\tb\"", 1, 3)]
    #[case::infinity("Infinity", 1, 1)]
    #[case::comment("{} // x", 1, 4)]
    #[case::mark("\u{feff}{}", 1, 1)]
    fn a_fault_of_syntax_is_told_with_its_place(
        #[case] text: &str,
        #[case] line: usize,
        #[case] column: usize,
    ) {
        match read(text.as_bytes(), 32) {
            Err(Unreadable::Syntax { line: at_line, column: at_column, .. }) => {
                assert_eq!((at_line, at_column), (line, column));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = "[100.00,1e3,18446744073709551615,-0,9223372036854775807,0.10000000000000000000000001]";
        let value = read(text.as_bytes(), 4).expect("JSON").root.into_value();
        assert_eq!(
            value.to_json(),
            "[100.00,1e3,18446744073709551615,0,9223372036854775807,0.10000000000000000000000001]"
        );
    }

    #[test]
    fn every_repeated_key_is_reported_with_its_pointer() {
        let text = r#"{"a":1,"b":[{"x/y":1,"~":2,"x/y":3},{"~":1,"\u007e":2}],"a":2,"a":3}"#;
        assert_eq!(read(text.as_bytes(), 4).expect("JSON").repeated, ["/b/0/x~1y", "/b/1/~0", "/a", "/a"]);
    }

    #[test]
    fn a_repeated_key_is_found_among_many() {
        let mut text = String::from("{");
        for key in 0..50_000 {
            write!(text, "\"k{key}\":0,").expect("memory");
        }
        text.push_str("\"k49\":1}");
        assert_eq!(read(text.as_bytes(), 4).expect("JSON").repeated, ["/k49"]);
    }

    #[rstest]
    #[case::at_the_limit(32, true)]
    #[case::one_more(33, false)]
    #[case::a_mebibyte(512 * 1024, false)]
    fn nesting_has_a_limit(#[case] levels: usize, #[case] good: bool) {
        let text = "[".repeat(levels) + &"]".repeat(levels);
        match read(text.as_bytes(), 32) {
            Ok(_) => assert!(good),
            Err(error) => {
                assert!(!good);
                assert_eq!(error, Unreadable::TooDeep { limit: 32 });
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_told_with_their_place() {
        assert_eq!(read(b"[\"\xff\"]", 4).expect_err("not UTF-8"), Unreadable::NotUtf8 { at: 2 });
    }
}
