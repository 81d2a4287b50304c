//! The words of a query: names, literals, symbols, each with its place.

use super::SoqlFault;

/// A piece of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'t> {
    /// What sort of piece.
    pub kind: Kind,
    /// As it is written.
    pub text: &'t str,
    /// Position of its first character, from 1.
    pub position: usize,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Word,
    /// Text in single quotes, quotes included.
    Text,
    /// A number.
    Number,
    /// `2026-11-23`.
    Date,
    /// `2026-11-23T10:00:00Z`.
    DateTime,
    /// `,`, `(`, `)`, `.`, `:` or a comparison.
    Symbol,
    /// Behind the last character.
    End,
}

impl Token<'_> {
    /// Whether it is this keyword, in whatever case.
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this symbol.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// For a message: what stands there.
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::End => "the end of the query".to_owned(),
            Kind::Text => "a text".to_owned(),
            _ => format!("`{}`", self.text),
        }
    }
}

const SYMBOLS: [&str; 12] = ["!=", "<>", "<=", ">=", "=", "<", ">", ",", "(", ")", ".", ":"];

/// Takes a text apart; the last token is [`Kind::End`].
///
/// # Errors
/// At a character that SOQL does not have.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, SoqlFault> {
    let mut tokens = Vec::new();
    let (mut at, mut position) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_gap = first.is_whitespace() || first == '\u{feff}' || first == '\u{200b}';
        let (kind, length) = if is_gap {
            at += first.len_utf8();
            position += 1;
            continue;
        } else if first == '\'' {
            (Kind::Text, text_length(rest, position)?)
        } else if first.is_ascii_alphabetic() {
            (Kind::Word, length_of(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        } else if starts_number(rest) {
            number_or_date(rest, position)?
        } else if rest.starts_with("--") || rest.starts_with("/*") || rest.starts_with("//") {
            return Err(SoqlFault::at(position, "SOQL has no comments; take it out"));
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            (Kind::Symbol, symbol.len())
        } else {
            return Err(SoqlFault::at(position, strange(first)));
        };
        tokens.push(Token { kind, text: &rest[..length], position });
        position += rest[..length].chars().count();
        at += length;
    }
    tokens.push(Token { kind: Kind::End, text: "", position });
    Ok(tokens)
}

fn strange(character: char) -> String {
    match character {
        '"' | '`' | '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
            format!("a text stands in single quotes ('), not in {character}")
        }
        ';' => "one statement only; take the `;` and what follows out".to_owned(),
        '*' => "SOQL has no `*`; select `Id`".to_owned(),
        '_' | '#' | '@' | '$' | '[' => format!("a name begins with a letter, not with `{character}`"),
        character if character.is_control() => "a control character; take it out".to_owned(),
        character => format!("`{character}` means nothing in SOQL"),
    }
}

fn length_of(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_part(*byte)).count()
}

fn starts_number(rest: &str) -> bool {
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    digits.starts_with(|c: char| c.is_ascii_digit())
}

/// Length of a text in quotes, its escapes checked.
fn text_length(rest: &str, position: usize) -> Result<usize, SoqlFault> {
    let mut characters = rest.char_indices().skip(1);
    let mut count = 0;
    while let Some((at, character)) = characters.next() {
        count += 1;
        match character {
            '\'' => return Ok(at + 1),
            '\\' => {
                let escaped = characters.next().map(|(_, escaped)| escaped);
                count += 1;
                let is_hex = |text: Option<&str>| {
                    text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
                };
                match escaped {
                    Some(
                        'n' | 'N' | 'r' | 'R' | 't' | 'T' | 'b' | 'B' | 'f' | 'F' | '"' | '\'' | '\\' | '_'
                        | '%',
                    ) => {}
                    Some('u' | 'U') if is_hex(rest.get(at + 2..at + 6)) => {}
                    _ => {
                        let what = "SOQL has no such escape; a backslash itself is written `\\\\`";
                        return Err(SoqlFault::at(position + count - 1, what));
                    }
                }
            }
            '\n' | '\r' => {
                return Err(SoqlFault::at(
                    position + count,
                    "a line break within a text; write `\\n`, or close the quote",
                ));
            }
            _ => {}
        }
    }
    Err(SoqlFault::at(position, "the text that begins here has no closing quote"))
}

fn number_or_date(rest: &str, position: usize) -> Result<(Kind, usize), SoqlFault> {
    let length =
        length_of(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b':' | b'.'));
    let written = &rest[..length];
    let bytes = written.as_bytes();
    let is_date = |part: &str| part.parse::<jiff::civil::Date>().is_ok() && part.len() == 10;
    if bytes.get(4) == Some(&b'-') && bytes[..4].iter().all(u8::is_ascii_digit) {
        if is_date(written) {
            return Ok((Kind::Date, length));
        }
        // A zone is not left out: without one the org refuses the time.
        if written.get(10..11) == Some("T") && written.parse::<jiff::Timestamp>().is_ok() {
            return Ok((Kind::DateTime, length));
        }
        let what = "no date: write `2026-11-23` or, with the zone, `2026-11-23T10:00:00Z`";
        return Err(SoqlFault::at(position, what));
    }
    let number = written.strip_prefix(['-', '+']).unwrap_or(written);
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && number.matches('.').count() <= 1
        && !number.ends_with('.')
        && number.len() <= 40;
    if is_number {
        Ok((Kind::Number, length))
    } else {
        Err(SoqlFault::at(position, format!("`{written}` is no number")))
    }
}
