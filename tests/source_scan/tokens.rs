//! Rust source as tokens with line numbers: comments, whitespace, numbers and character literals gone, strings kept apart.

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword; `r#type` is `type`.
    Name(String),
    /// The content of a string literal, escapes as written.
    Text(String),
    /// `::`
    Colons,
    /// Any other character.
    Sign(char),
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Line it starts on, from 1.
    pub line: usize,
}

impl Token {
    /// Whether it is this name.
    pub fn is_name(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Name(own) if own == name)
    }

    /// Whether it is this character.
    pub fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

/// Cuts a source text into tokens. Text that is no Rust gives some tokens, never a panic.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { chars: source.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(here) = reader.peek(0) {
        let line = reader.line;
        let kind = match here {
            '/' if reader.peek(1) == Some('/') => {
                reader.skip_while(|c| c != '\n');
                None
            }
            '/' if reader.peek(1) == Some('*') => {
                reader.skip_block_comment();
                None
            }
            '"' => Some(Kind::Text(reader.string())),
            '\'' => {
                reader.character_or_lifetime();
                None
            }
            ':' if reader.peek(1) == Some(':') => {
                reader.skip(2);
                Some(Kind::Colons)
            }
            c if c.is_ascii_digit() => {
                reader.skip_while(|c| c.is_alphanumeric() || c == '_');
                None
            }
            c if c.is_alphabetic() || c == '_' => Some(reader.name_or_prefixed_string()),
            c if c.is_whitespace() => {
                reader.skip(1);
                None
            }
            c => {
                reader.skip(1);
                Some(Kind::Sign(c))
            }
        };
        found.extend(kind.map(|kind| Token { kind, line }));
    }
    found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let here = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(here == '\n');
        Some(here)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn skip_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&holds) {
            self.next();
        }
    }

    /// Block comments nest in Rust.
    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while let Some(here) = self.peek(0) {
            match (here, self.peek(1)) {
                ('/', Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    fn string(&mut self) -> String {
        self.skip(1);
        let mut text = String::new();
        while let Some(here) = self.next() {
            match here {
                '"' => break,
                '\\' => {
                    text.push(here);
                    text.extend(self.next());
                }
                _ => text.push(here),
            }
        }
        text
    }

    fn raw_string(&mut self, hashes: usize) -> String {
        self.skip(hashes + 1);
        let mut text = String::new();
        while let Some(here) = self.next() {
            if here == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.skip(hashes);
                break;
            }
            text.push(here);
        }
        text
    }

    /// `'a'` and `'\n'` are characters, `'a` is a lifetime.
    fn character_or_lifetime(&mut self) {
        self.skip(1);
        if self.peek(0) == Some('\\') {
            self.skip(2);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(1) == Some('\'') {
            self.skip(2);
        } else {
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
        }
    }

    fn name_or_prefixed_string(&mut self) -> Kind {
        let mut name = String::new();
        while let Some(here) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
            name.push(here);
            self.next();
        }
        let hashes = (0..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        let quoted = self.peek(hashes) == Some('"');
        match name.as_str() {
            "r" | "br" | "cr" if quoted => Kind::Text(self.raw_string(hashes)),
            "b" | "c" if quoted && hashes == 0 => Kind::Text(self.string()),
            "b" if self.peek(0) == Some('\'') => {
                self.character_or_lifetime();
                Kind::Text(String::new())
            }
            "r" if hashes == 1 => {
                self.skip(1);
                self.name_or_prefixed_string()
            }
            _ => Kind::Name(name),
        }
    }
}
