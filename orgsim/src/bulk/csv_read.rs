//! Reads the CSV that clients upload. Pure: bytes in, rows of texts out, byte for byte what stood there.
//!
//! Values may be quoted or not, as clients differ; within quotes everything is allowed and `""` is a quote.

use super::csv::{Dialect, LineEnding};
use std::borrow::Cow;

/// Why an upload cannot be read, in the org's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadCsv {
    /// The text a client sees.
    pub message: String,
}

/// The rows of an upload, the header row first.
pub struct Rows<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

impl<'a> Rows<'a> {
    /// The rows of `text`.
    pub fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), dialect }
    }

    fn cell(&mut self) -> Result<(Cow<'a, str>, bool), BadCsv> {
        let delimiter = self.dialect.delimiter.byte();
        let (raw, rest): (Cow<'a, [u8]>, &'a [u8]) = match self.rest.strip_prefix(b"\"") {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let ends = |byte: &u8| *byte == delimiter || *byte == b'\n';
                let mut end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                let rest = &self.rest[end..];
                // The carriage return belongs to the line ending; whether it should be there is looked at below.
                if rest.first() != Some(&delimiter) && self.rest[..end].ends_with(b"\r") {
                    end -= 1;
                }
                (Cow::Borrowed(&self.rest[..end]), &self.rest[end..])
            }
        };
        let text = match raw {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| ()),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ()),
        };
        let text = text.map_err(|()| bad("The file is not valid UTF-8"))?;
        let ending = self.dialect.line_ending;
        let more = match rest {
            [] => (false, rest),
            [first, rest @ ..] if *first == delimiter => (true, rest),
            [b'\n', rest @ ..] if ending == LineEnding::Lf => (false, rest),
            [b'\r', b'\n', rest @ ..] if ending == LineEnding::CrLf => (false, rest),
            [b'\n' | b'\r', ..] => {
                let name = ending.name();
                return Err(bad(&format!(
                    "LineEnding is invalid on user data. Current LineEnding setting is {name}"
                )));
            }
            _ => return Err(bad("A quoted value is followed by neither a delimiter nor a line ending")),
        };
        self.rest = more.1;
        Ok((text, more.0))
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Vec<Cow<'a, str>>, BadCsv>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut row = Vec::new();
        loop {
            match self.cell() {
                Ok((cell, more)) => {
                    row.push(cell);
                    if !more {
                        return Some(Ok(row));
                    }
                }
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

fn bad(message: &str) -> BadCsv {
    BadCsv { message: message.to_owned() }
}

/// What stands before the closing quote, and what follows it.
fn unquoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), BadCsv> {
    let mut plain: Option<Vec<u8>> = None;
    let mut from = 0;
    loop {
        let Some(quote) = text[from..].iter().position(|byte| *byte == b'"') else {
            return Err(bad("A quoted value has no closing quote"));
        };
        let (part, rest) = (&text[from..from + quote], &text[from + quote + 1..]);
        if rest.first() != Some(&b'"') {
            let whole = match plain {
                None => Cow::Borrowed(part),
                Some(mut plain) => {
                    plain.extend_from_slice(part);
                    Cow::Owned(plain)
                }
            };
            return Ok((whole, rest));
        }
        let plain = plain.get_or_insert_default();
        plain.extend_from_slice(part);
        plain.push(b'"');
        from += quote + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::csv::{self, Delimiter};
    use proptest::prelude::*;
    use rstest::rstest;

    fn read(text: &str, dialect: Dialect) -> Result<Vec<Vec<String>>, BadCsv> {
        let own = |row: Vec<Cow<'_, str>>| row.into_iter().map(Cow::into_owned).collect();
        Rows::new(text.as_bytes(), dialect).map(|row| row.map(own)).collect()
    }

    #[rstest]
    #[case::plain("a,b\n1,2\n", vec![vec!["a", "b"], vec!["1", "2"]])]
    #[case::without_a_last_line_ending("a,b\n1,", vec![vec!["a", "b"], vec!["1", ""]])]
    #[case::quoted("\"a\",\"b\"\n\"x\"\"y\",\"1\n2,3\"\n", vec![vec!["a", "b"], vec!["x\"y", "1\n2,3"]])]
    #[case::mixed("a,\"b\"\n\"1\",2\n", vec![vec!["a", "b"], vec!["1", "2"]])]
    #[case::with_a_mark("\u{feff}a\n1\n", vec![vec!["a"], vec!["1"]])]
    #[case::nothing("", vec![])]
    fn an_upload_is_read_as_it_stands(#[case] text: &str, #[case] expected: Vec<Vec<&str>>) {
        assert_eq!(read(text, Dialect::default()).unwrap(), expected);
    }

    #[rstest]
    #[case(
        "a,b\r\n1,2\r\n",
        LineEnding::Lf,
        "LineEnding is invalid on user data. Current LineEnding setting is LF"
    )]
    #[case(
        "\"a\"\r\n",
        LineEnding::Lf,
        "LineEnding is invalid on user data. Current LineEnding setting is LF"
    )]
    #[case(
        "a\n1\n",
        LineEnding::CrLf,
        "LineEnding is invalid on user data. Current LineEnding setting is CRLF"
    )]
    #[case("\"a", LineEnding::Lf, "A quoted value has no closing quote")]
    #[case("\"a\"b\n", LineEnding::Lf, "A quoted value is followed by neither a delimiter nor a line ending")]
    fn a_broken_upload_is_refused(#[case] text: &str, #[case] line_ending: LineEnding, #[case] says: &str) {
        let dialect = Dialect { line_ending, ..Dialect::default() };
        assert_eq!(read(text, dialect).unwrap_err().message, says);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in prop::collection::vec(prop::collection::vec("[a-z\",|\n\r;é]{0,6}", 3), 0..6),
            pipe: bool, crlf: bool,
        ) {
            let dialect = Dialect {
                delimiter: if pipe { Delimiter::Pipe } else { Delimiter::Comma },
                line_ending: if crlf { LineEnding::CrLf } else { LineEnding::Lf },
            };
            let mut text = Vec::new();
            rows.iter().for_each(|row| csv::push_row(&mut text, row.iter().map(String::as_str), dialect));
            prop_assert_eq!(read(std::str::from_utf8(&text).unwrap(), dialect).unwrap(), rows);
        }
    }
}
