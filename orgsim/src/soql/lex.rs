//! Cuts a statement into words, literals and signs, each with its place.

use super::{SoqlError, dates};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Word(String),
    Text(String),
    Int(i64),
    Decimal(f64),
    Date(String),
    DateTime(i64),
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub at: usize,
}

/// Longest statement the org takes, in characters.
pub(super) const LONGEST_STATEMENT: usize = 100_000;
const LONGEST_TEXT: usize = 4_000;
const SIGNS: [&str; 13] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", ":", "*"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SoqlError> {
    if text.len() > LONGEST_STATEMENT && text.chars().count() > LONGEST_STATEMENT {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            "SOQL statements cannot be longer than 100000 characters.",
        ));
    }
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'\'' => {
                let (value, end) = string_literal(text, at)?;
                at = end;
                Kind::Text(value)
            }
            b'0'..=b'9' => {
                at = end_of(bytes, at, |b| b.is_ascii_alphanumeric() || b":+-.".contains(&b));
                numeric(text, start, &text[start..at])?
            }
            b'-' | b'+' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                at = end_of(bytes, at + 1, |b| b.is_ascii_alphanumeric() || b == b'.');
                numeric(text, start, &text[start..at])?
            }
            b if b.is_ascii_alphabetic() || b == b'_' => {
                at = end_of(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_');
                Kind::Word(text[start..at].to_owned())
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| text[at..].starts_with(sign));
                let Some(sign) = sign else {
                    let odd = text[at..].chars().next().unwrap_or(' ');
                    return Err(unexpected(
                        text,
                        at,
                        &format!("line 1:{at} no viable alternative at character '{odd}'"),
                    ));
                };
                at += sign.len();
                Kind::Sign(if sign == "<>" { "!=" } else { sign })
            }
        };
        found.push(Token { kind, at: start });
    }
    found.push(Token { kind: Kind::End, at: text.len() });
    Ok(found)
}

pub(super) fn unexpected(text: &str, at: usize, message: &str) -> SoqlError {
    SoqlError::located("MALFORMED_QUERY", text, at, message)
}

fn end_of(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|&byte| !belongs(byte)).map_or(bytes.len(), |length| from + length)
}

fn string_literal(text: &str, start: usize) -> Result<(String, usize), SoqlError> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\'' => {
                if value.chars().count() > LONGEST_TEXT {
                    return Err(unexpected(text, start, "string literal is longer than 4000 characters"));
                }
                return Ok((value, start + 1 + offset + 1));
            }
            '\\' => {
                let Some((_, escaped)) = chars.next() else { break };
                value.push(match escaped {
                    'n' | 'N' => '\n',
                    'r' | 'R' => '\r',
                    't' | 'T' => '\t',
                    'b' | 'B' => '\u{8}',
                    'f' | 'F' => '\u{c}',
                    '\'' | '"' | '\\' | '%' | '_' => escaped,
                    other => {
                        let message = format!("Illegal escape sequence '\\{other}' in string literal.");
                        return Err(unexpected(text, start + 1 + offset, &message));
                    }
                });
            }
            other => value.push(other),
        }
    }
    Err(unexpected(text, start, "line 1: mismatched character '<EOF>' expecting '''"))
}

fn numeric(text: &str, at: usize, word: &str) -> Result<Kind, SoqlError> {
    let number = word.strip_prefix('+').unwrap_or(word);
    if let Ok(whole) = number.parse() {
        return Ok(Kind::Int(whole));
    }
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) && !number.ends_with('.');
    if plain && let Ok(decimal) = number.parse::<f64>() {
        return Ok(Kind::Decimal(decimal));
    }
    if dates::parse_date(word).is_some() {
        return Ok(Kind::Date(word.to_owned()));
    }
    let moment = word.contains('T').then(|| dates::parse_datetime(word)).flatten();
    moment.map(Kind::DateTime).ok_or_else(|| unexpected(text, at, &format!("unexpected token: '{word}'")))
}
