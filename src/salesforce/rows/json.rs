//! A scanner over JSON text that borrows and never builds a tree.
//!
//! Promises: strict JSON; nesting is bounded; every text is accepted or refused, never a panic. What ends
//! before its end is told apart from what is wrong.

use memchr::memchr2;

use super::row::write_json_text;
use super::value::canonical_decimal;

/// Deepest nesting, as in serde_json.
const DEPTH_MAX: usize = 128;

/// Why the text cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends here, but must not.
    CutOff,
    /// It is wrong here.
    Bad(&'static str),
}

/// A string that was passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct StringAt {
    /// Start and end of what stands between the quotes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// It has backslashes. Without them it holds nothing that JSON escapes.
    pub(super) escaped: bool,
}

/// A place in JSON text.
pub(super) struct Scanner<'t> {
    text: &'t str,
    pub(super) at: usize,
    /// The text has control characters, line ends for example: then every string is searched for them.
    has_controls: bool,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, has_controls: has_controls(text.as_bytes()) }
    }

    /// The text between two offsets that a scanner gave.
    pub(super) fn between(&self, start: usize, end: usize) -> &'t str {
        &self.text[start..end]
    }

    fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Result<u8, Fault> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Fault::CutOff),
            }
        }
    }

    /// Passes over `byte` if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, Fault> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    /// Passes over `byte`, which must come next.
    pub(super) fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), Fault> {
        if self.take(byte)? { Ok(()) } else { Err(Fault::Bad(problem)) }
    }

    /// Passes over these very bytes, if they come next: the short way to an expected key.
    pub(super) fn take_exactly(&mut self, bytes: &[u8]) -> bool {
        let found = self.bytes()[self.at..].starts_with(bytes);
        if found {
            self.at += bytes.len();
        }
        found
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(Fault::Bad("something follows the end")),
        }
    }

    /// Goes on after a member or an element: true when another follows, false at the closing byte.
    pub(super) fn another(&mut self, close: u8) -> Result<bool, Fault> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(Fault::Bad("a comma or an end is missing")),
        }
    }

    /// A member's name and the colon after it.
    pub(super) fn key(&mut self) -> Result<StringAt, Fault> {
        let key = self.string()?;
        self.expect(b':', "a colon is missing")?;
        Ok(key)
    }

    pub(super) fn string(&mut self) -> Result<StringAt, Fault> {
        self.expect(b'"', "a string is missing")?;
        let bytes = self.bytes();
        let (start, mut escaped) = (self.at, false);
        loop {
            let Some(found) = memchr2(b'"', b'\\', &bytes[self.at..]) else {
                self.at = bytes.len();
                return Err(Fault::CutOff);
            };
            self.at += found;
            if bytes[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.escape()?;
        }
        let end = self.at;
        self.at += 1;
        if self.has_controls && has_controls(&bytes[start..end]) {
            return Err(Fault::Bad("a control character stands in a string"));
        }
        Ok(StringAt { start, end, escaped })
    }

    /// Passes over a backslash and what belongs to it.
    fn escape(&mut self) -> Result<(), Fault> {
        let length = match self.bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = &self.bytes()[self.at + 2..];
                let digits = &digits[..digits.len().min(4)];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Fault::Bad("an escape has no four hex digits"));
                }
                2 + digits.len()
            }
            Some(_) => return Err(Fault::Bad("an unknown escape")),
            None => 1,
        };
        self.at += length;
        // The end in the middle of an escape shows as a missing closing quote.
        Ok(())
    }

    /// A number's text, checked by JSON's grammar.
    pub(super) fn number(&mut self) -> Result<&'t str, Fault> {
        self.peek()?;
        let start = self.at;
        self.at += usize::from(self.bytes().get(self.at) == Some(&b'-'));
        match self.bytes().get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(_) => return Err(Fault::Bad("not a value")),
            None => return Err(Fault::CutOff),
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes().get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        match self.bytes().get(self.at) {
            _ if self.at > start => Ok(()),
            Some(_) => Err(Fault::Bad("a number has no digit where it needs one")),
            None => Err(Fault::CutOff),
        }
    }

    /// `null`, `true` or `false`, which must come next.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let rest = &self.bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else if word.as_bytes().starts_with(rest) {
            self.at += rest.len();
            Err(Fault::CutOff)
        } else {
            Err(Fault::Bad("not a value"))
        }
    }

    /// Passes over any value.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), Fault> {
        let inner = depth.checked_sub(1).ok_or(Fault::Bad("it is nested too deeply"))?;
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'{' => {
                self.at += 1;
                let mut more = !self.take(b'}')?;
                while more {
                    self.key()?;
                    self.skip_within(inner)?;
                    more = self.another(b'}')?;
                }
                Ok(())
            }
            b'[' => {
                self.at += 1;
                let mut more = !self.take(b']')?;
                while more {
                    self.skip_within(inner)?;
                    more = self.another(b']')?;
                }
                Ok(())
            }
            _ => self.number().map(drop),
        }
    }

    /// Passes over any value and writes it in canonical form: compact, keys sorted, numbers plain, text
    /// escaped only where it must be and without NULs.
    pub(super) fn write_canonical(&mut self, out: &mut String) -> Result<(), Fault> {
        self.write_within(DEPTH_MAX, out)
    }

    fn write_within(&mut self, depth: usize, out: &mut String) -> Result<(), Fault> {
        let inner = depth.checked_sub(1).ok_or(Fault::Bad("it is nested too deeply"))?;
        match self.peek()? {
            b'"' => {
                let string = self.string()?;
                self.write_string(string, out);
            }
            b'n' => {
                self.word("null")?;
                out.push_str("null");
            }
            b't' => {
                self.word("true")?;
                out.push_str("true");
            }
            b'f' => {
                self.word("false")?;
                out.push_str("false");
            }
            b'{' => self.write_object(inner, out)?,
            b'[' => {
                self.at += 1;
                out.push('[');
                let mut more = !self.take(b']')?;
                while more {
                    self.write_within(inner, out)?;
                    more = self.another(b']')?;
                    out.push_str(if more { "," } else { "" });
                }
                out.push(']');
            }
            _ => {
                let number = self.number()?;
                // A number that cannot be unfolded stays as it is written.
                if canonical_decimal(number, out).is_err() {
                    out.push_str(number);
                }
            }
        }
        Ok(())
    }

    fn write_string(&self, string: StringAt, out: &mut String) {
        let raw = self.between(string.start, string.end);
        if string.escaped {
            let mut text = String::with_capacity(raw.len());
            unescape(raw, &mut text);
            let mut quoted = Vec::with_capacity(raw.len() + 2);
            write_json_text(&text, &mut quoted);
            out.push_str(&String::from_utf8_lossy(&quoted));
        } else {
            out.push('"');
            out.push_str(raw);
            out.push('"');
        }
    }

    fn write_object(&mut self, inner: usize, out: &mut String) -> Result<(), Fault> {
        self.at += 1;
        let start = out.len();
        // Each member's key and whole text, as ranges of `out`.
        let mut members = Vec::new();
        out.push('{');
        let mut more = !self.take(b'}')?;
        while more {
            let key_start = out.len();
            let key = self.key()?;
            self.write_string(key, out);
            let key_end = out.len();
            out.push(':');
            self.write_within(inner, out)?;
            members.push((key_start..key_end, key_start..out.len()));
            more = self.another(b'}')?;
            out.push_str(if more { "," } else { "" });
        }
        out.push('}');
        if !members.is_sorted_by(|a, b| out[a.0.clone()] <= out[b.0.clone()]) {
            // Stable: of two members with one name the order stays.
            members.sort_by(|a, b| out[a.0.clone()].cmp(&out[b.0.clone()]));
            let sorted: Vec<&str> = members.iter().map(|(_, whole)| &out[whole.clone()]).collect();
            let sorted = sorted.join(",");
            out.truncate(start + 1);
            out.push_str(&sorted);
            out.push('}');
        }
        Ok(())
    }
}

/// Text of a column that holds JSON: in canonical form if it is an object or an array, else as a JSON string.
/// So `"1"` is text and stays text however often it is read.
pub(super) fn write_canonical_json(text: &str, out: &mut String) {
    let start = out.len();
    let mut scanner = Scanner::new(text);
    let is_structure = matches!(scanner.peek(), Ok(b'{' | b'['));
    if !is_structure || scanner.write_canonical(out).and_then(|()| scanner.end()).is_err() {
        out.truncate(start);
        let mut quoted = Vec::with_capacity(text.len() + 2);
        write_json_text(text, &mut quoted);
        out.push_str(&String::from_utf8_lossy(&quoted));
    }
}

/// Resolves the escapes of a string that a [`Scanner`] has passed over. NULs are left out, as they are from
/// CSV. Half a surrogate pair, which the org's cutting of long text can leave, becomes U+FFFD.
pub(super) fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied();
        let mut length = 2;
        match escape {
            Some(b'n') => out.push('\n'),
            Some(b'r') => out.push('\r'),
            Some(b't') => out.push('\t'),
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'u') => {
                let high = hex(rest, at);
                length = 6;
                let mut c = char::from_u32(high);
                if (0xD800..0xDC00).contains(&high) && rest.as_bytes().get(at + 6..at + 8) == Some(b"\\u") {
                    let low = hex(rest, at + 6);
                    if (0xDC00..0xE000).contains(&low) {
                        c = char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                        length = 12;
                    }
                }
                if c != Some('\0') {
                    out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
            Some(other) => out.push(char::from(other)),
            None => {}
        }
        rest = rest.get(at + length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The four hex digits of the escape at `at`, which the scanner has checked.
fn hex(text: &str, at: usize) -> u32 {
    text.get(at + 2..at + 6).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xFFFD)
}

fn has_controls(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<16>();
    blocks.iter().any(|block| block.iter().fold(false, |found, byte| found | (*byte < 0x20)))
        || rest.iter().any(|byte| *byte < 0x20)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#" { "b" : [ 1.50 , -0 , 1e2 ] , "a" : { } } "#, r#"{"a":{},"b":[1.5,0,100]}"#)]
    #[case(r#"{"city":"Ulm","street":"1 Rd\nLine"}"#, r#"{"city":"Ulm","street":"1 Rd\nLine"}"#)]
    #[case(r#""\u00e9\ud834\udd1e\/\u0000\u001f""#, "\"é𝄞/\\u001f\"")]
    #[case(r#""\ud834 \udd1e\ud834""#, "\"\u{fffd} \u{fffd}\u{fffd}\"")]
    #[case("1e999999", "1e999999")]
    #[case("[]", "[]")]
    fn json_has_one_form(#[case] text: &str, #[case] expected: &str) {
        let mut out = String::new();
        Scanner::new(text).write_canonical(&mut out).unwrap();
        assert_eq!(out, expected);
    }

    #[rstest]
    #[case("{\"b\":1.0,\"a\":[ ]}", "{\"a\":[],\"b\":1}")]
    #[case("1", "\"1\"")]
    #[case("\"1\"", "\"\\\"1\\\"\"")]
    #[case("[1,", "\"[1,\"")]
    #[case("{} {}", "\"{} {}\"")]
    fn text_is_a_structure_or_stays_text(#[case] text: &str, #[case] expected: &str) {
        let mut out = String::new();
        write_canonical_json(text, &mut out);
        assert_eq!(out, expected);
    }

    #[rstest]
    #[case("")]
    #[case("[1")]
    #[case("{\"a\"")]
    #[case("\"abc")]
    #[case("\"abc\\")]
    #[case("\"abc\\u12")]
    #[case("tru")]
    #[case("-")]
    #[case("1.")]
    #[case("1e+")]
    fn an_early_end_is_no_mistake(#[case] text: &str) {
        assert_eq!(Scanner::new(text).skip(), Err(Fault::CutOff));
    }

    #[rstest]
    #[case("[1 2]")]
    #[case("{1:2}")]
    #[case("\"a\nb\"")]
    #[case("\"\\x\"")]
    #[case("\"\\u12g4\"")]
    #[case("trap")]
    #[case("1.x")]
    #[case("[1,]")]
    #[case(&"[".repeat(200))]
    fn what_is_no_json_is_refused(#[case] text: &str) {
        assert!(matches!(Scanner::new(text).skip(), Err(Fault::Bad(_))));
    }

    proptest! {
        #[test]
        fn the_scanner_takes_what_serde_json_takes(text in r#"[\[\]{}:,"\\ntrue0-9.eE\-+ u]{0,24}"#) {
            let mut scanner = Scanner::new(&text);
            let ours = scanner.skip().and_then(|()| scanner.end());
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        }

        #[test]
        fn strings_come_back_as_they_were(text in any::<String>()) {
            let expected = text.replace('\0', "");
            for quoted in [serde_json::to_string(&text).unwrap(), all_escaped(&text)] {
                let mut scanner = Scanner::new(&quoted);
                let string = scanner.string().unwrap();
                let mut back = String::new();
                unescape(scanner.between(string.start, string.end), &mut back);
                prop_assert_eq!(&back, &expected);
            }
        }
    }

    fn all_escaped(text: &str) -> String {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    }
}
