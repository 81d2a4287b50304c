//! The text of a row filter: a small part of SQL's conditions, read left to right into a tree.
//!
//! ```text
//! filter     = and { OR and }            and   = not { AND not }          not = { NOT } one
//! one        = "(" filter ")" | TRUE | FALSE | comparison
//! comparison = column ( "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ) operand
//!            | column [ NOT ] IN ( claim | "(" operand { "," operand } ")" )
//!            | column [ NOT ] BETWEEN operand AND operand
//!            | column [ NOT ] LIKE 'text'            % any text, _ one character, \ takes the next as it is
//!            | column IS [ NOT ] NULL
//! operand    = 'text' | number | TRUE | FALSE | claim          claim = ${claims.a.b}
//! column     = name | "name"
//! ```

use super::{Check, Comparator, Content, FilterFault, Named, Node, Operand};
use crate::batch::operation::{Pattern, PatternPart};
use crate::batch::value::Value;

/// A filter is written by hand; what is longer is a mistake, or a list that belongs into a table.
const TEXT_MAX: usize = 16 * 1024;
/// Parentheses and NOTs inside one another.
const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    QuotedName(String),
    Text(String),
    Number(String),
    Claim(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn shown(&self) -> String {
        match self {
            Self::Word(text) => format!("`{text}`"),
            Self::QuotedName(text) => format!("`\"{text}\"`"),
            Self::Text(_) => "a text".to_owned(),
            Self::Number(text) => format!("`{text}`"),
            Self::Claim(name) => format!("`${{claims.{name}}}`"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Reads a filter's text.
pub(super) fn parse(text: &str) -> Result<Node<Named>, FilterFault> {
    if text.len() > TEXT_MAX {
        return fault(1, format!("the filter has {} bytes; at most {TEXT_MAX} are taken", text.len()));
    }
    let tokens = Scanner { chars: text.chars().collect(), next: 0 }.tokens()?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let root = parser.any()?;
    let (token, at) = parser.peek();
    match token {
        Token::End => Ok(root),
        token => fault(at, format!("expected AND, OR or the end, found {}", token.shown())),
    }
}

fn fault<T>(at: usize, why: impl Into<String>) -> Result<T, FilterFault> {
    Err(FilterFault { at, why: why.into() })
}

struct Scanner {
    chars: Vec<char>,
    next: usize,
}

impl Scanner {
    fn tokens(mut self) -> Result<Vec<(Token, usize)>, FilterFault> {
        let mut tokens = Vec::new();
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.next += 1;
            }
            let at = self.next + 1;
            let token = self.token(at)?;
            let is_end = token == Token::End;
            tokens.push((token, at));
            if is_end {
                return Ok(tokens);
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn token(&mut self, at: usize) -> Result<Token, FilterFault> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        let second = self.chars.get(self.next + 1).copied();
        let two = match (first, second) {
            ('<', Some('=')) => Some("<="),
            ('<', Some('>')) => Some("<>"),
            ('>', Some('=')) => Some(">="),
            ('!', Some('=')) => Some("!="),
            _ => None,
        };
        let one = match first {
            '=' => Some("="),
            '<' => Some("<"),
            '>' => Some(">"),
            '(' => Some("("),
            ')' => Some(")"),
            ',' => Some(","),
            _ => None,
        };
        if let Some(sign) = two.or(one) {
            self.next += sign.len();
            return Ok(Token::Sign(sign));
        }
        match first {
            '\'' => self.text(at),
            '"' => {
                let name = self.quoted('"', at, "the quoted name")?;
                if name.is_empty() { fault(at, "a name is empty") } else { Ok(Token::QuotedName(name)) }
            }
            '$' => self.claim(at),
            c if c.is_ascii_digit() || c == '-' || c == '.' => self.number(at),
            c if c.is_alphabetic() || c == '_' => {
                let name = self.run(|c| c.is_alphanumeric() || c == '_');
                if self.peek() == Some('.') {
                    let why =
                        format!("`{name}.` names another table; a filter is about the columns of one entity");
                    return fault(at, why);
                }
                Ok(Token::Word(name))
            }
            other => fault(at, format!("`{other}` has no meaning here")),
        }
    }

    fn run(&mut self, takes: impl Fn(char) -> bool) -> String {
        let start = self.next;
        while self.peek().is_some_and(&takes) {
            self.next += 1;
        }
        self.chars[start..self.next].iter().collect()
    }

    fn quoted(&mut self, quote: char, at: usize, what: &str) -> Result<String, FilterFault> {
        self.next += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else { return fault(at, format!("{what} is not closed")) };
            self.next += 1;
            match c {
                c if c != quote => text.push(c),
                _ if self.peek() == Some(quote) => {
                    self.next += 1;
                    text.push(quote);
                }
                _ => return Ok(text),
            }
        }
    }

    fn text(&mut self, at: usize) -> Result<Token, FilterFault> {
        let text = self.quoted('\'', at, "the text")?;
        if text.contains("${claims.") {
            // Nothing is ever filled into text, so this would compare with these very characters.
            return fault(at, "a claim inside quotes would be plain text; write it without the quotes");
        }
        Ok(Token::Text(text))
    }

    fn claim(&mut self, at: usize) -> Result<Token, FilterFault> {
        const WANTED: &str = "a claim is written `${claims.NAME}`";
        if self.chars.get(self.next + 1) != Some(&'{') {
            return fault(at, WANTED);
        }
        self.next += 2;
        let inside = self.run(|c| c != '}');
        if self.peek().is_none() {
            return fault(at, "the claim is not closed with `}`");
        }
        self.next += 1;
        let name = inside.strip_prefix("claims.").unwrap_or_default();
        let clean = |c: char| c.is_alphanumeric() || "_-:/.".contains(c);
        match name.is_empty() || !name.chars().all(clean) {
            true => fault(at, WANTED),
            false => Ok(Token::Claim(name.to_owned())),
        }
    }

    fn number(&mut self, at: usize) -> Result<Token, FilterFault> {
        let start = self.next;
        self.next += usize::from(self.peek() == Some('-'));
        let whole = self.run(|c| c.is_ascii_digit());
        let mut good = !whole.is_empty() && (whole.len() == 1 || !whole.starts_with('0'));
        if self.peek() == Some('.') {
            self.next += 1;
            good &= !self.run(|c| c.is_ascii_digit()).is_empty();
        }
        // `1a` and `1.2.3` are no numbers followed by something.
        good &= self.run(|c| c.is_alphanumeric() || c == '_' || c == '.').is_empty();
        let text: String = self.chars[start..self.next].iter().collect();
        if good { Ok(Token::Number(text)) } else { fault(at, format!("`{text}` is not a number")) }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
}

impl Parser {
    /// The next token; the last one, the end, is never passed.
    fn peek(&self) -> (Token, usize) {
        self.tokens[self.next.min(self.tokens.len() - 1)].clone()
    }

    fn take(&mut self) -> (Token, usize) {
        let taken = self.peek();
        self.next += 1;
        taken
    }

    fn skips_word(&mut self, word: &str) -> bool {
        let found = self.peek().0.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn skips_sign(&mut self, sign: &'static str) -> bool {
        let found = self.peek().0 == Token::Sign(sign);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Node<Named>, FilterFault> {
        let mut parts = vec![self.all()?];
        while self.skips_word("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Node::Any))
    }

    fn all(&mut self) -> Result<Node<Named>, FilterFault> {
        let mut parts = vec![self.not()?];
        while self.skips_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Node::All))
    }

    fn not(&mut self) -> Result<Node<Named>, FilterFault> {
        let (_, at) = self.peek();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return fault(at, format!("more than {DEPTH_MAX} parentheses and NOTs inside one another"));
        }
        let node = if self.skips_word("not") { Node::Not(Box::new(self.not()?)) } else { self.one()? };
        self.depth -= 1;
        Ok(node)
    }

    fn one(&mut self) -> Result<Node<Named>, FilterFault> {
        if self.skips_sign("(") {
            let inner = self.any()?;
            let (token, at) = self.take();
            return match token {
                Token::Sign(")") => Ok(inner),
                token => fault(at, format!("expected AND, OR or `)`, found {}", token.shown())),
            };
        }
        let (token, at) = self.take();
        let name = match token {
            Token::QuotedName(name) => name,
            Token::Word(word) if word.eq_ignore_ascii_case("true") => return Ok(Node::Constant(true)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => return Ok(Node::Constant(false)),
            Token::Word(word) if is_reserved(&word) => {
                return fault(at, format!("expected a column, found `{word}`"));
            }
            Token::Word(word) => word,
            token @ (Token::Text(_) | Token::Number(_) | Token::Claim(_)) => {
                let why = format!(
                    "expected a column, found {}; a comparison starts with its column",
                    token.shown()
                );
                return fault(at, why);
            }
            token => return fault(at, format!("expected a column, found {}", token.shown())),
        };
        let check = self.check(&name)?;
        Ok(Node::Check(Named { name, at }, check))
    }

    fn check(&mut self, name: &str) -> Result<Check, FilterFault> {
        let (token, at) = self.take();
        if let Token::Sign(sign) = token {
            let comparator = match sign {
                "=" => Comparator::Eq,
                "<>" | "!=" => Comparator::Ne,
                "<" => Comparator::Lt,
                "<=" => Comparator::Le,
                ">" => Comparator::Gt,
                ">=" => Comparator::Ge,
                _ => return fault(at, format!("expected a comparison of `{name}`, found `{sign}`")),
            };
            return Ok(Check::Compare(comparator, self.operand()?));
        }
        if token.is_word("is") {
            let negated = self.skips_word("not");
            let (token, at) = self.take();
            return match token.is_word("null") {
                true => Ok(Check::Null { negated }),
                false => fault(at, format!("expected NULL after IS, found {}", token.shown())),
            };
        }
        let negated = token.is_word("not");
        let (token, at) = if negated { self.take() } else { (token, at) };
        if token.is_word("in") {
            return Ok(Check::In { list: self.list()?, negated });
        }
        if token.is_word("between") {
            let from = self.operand()?;
            let (word, at) = self.take();
            if !word.is_word("and") {
                return fault(at, format!("expected AND between the two ends, found {}", word.shown()));
            }
            return Ok(Check::Between { from, to: self.operand()?, negated });
        }
        if token.is_word("like") {
            let (token, at) = self.take();
            return match token {
                Token::Text(text) => Ok(Check::Like { pattern: pattern(&text), at, negated }),
                token => fault(at, format!("expected a text in quotes after LIKE, found {}", token.shown())),
            };
        }
        let wanted =
            if negated { "IN, BETWEEN or LIKE" } else { "=, <>, <, <=, >, >=, IN, BETWEEN, LIKE, IS or NOT" };
        let hint = match negated || !(token == Token::End || token.is_word("and") || token.is_word("or")) {
            true => String::new(),
            false => format!("; a column alone is no condition, write `{name} = true`"),
        };
        fault(at, format!("expected {wanted} after `{name}`, found {}{hint}", token.shown()))
    }

    fn list(&mut self) -> Result<Vec<Operand>, FilterFault> {
        if let (Token::Claim(_), _) = self.peek() {
            return Ok(vec![self.operand()?]);
        }
        let (token, at) = self.take();
        if token != Token::Sign("(") {
            return fault(at, format!("expected `(` or a claim after IN, found {}", token.shown()));
        }
        let mut list = vec![self.operand()?];
        loop {
            let (token, at) = self.take();
            match token {
                Token::Sign(",") => list.push(self.operand()?),
                Token::Sign(")") => return Ok(list),
                token => return fault(at, format!("expected `,` or `)`, found {}", token.shown())),
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, FilterFault> {
        let (token, at) = self.take();
        let content = match token {
            Token::Text(text) => Content::Value(Value::Text(text)),
            Token::Number(text) => Content::Value(match text.parse() {
                Ok(whole) => Value::Int(whole),
                Err(_) => Value::Number(text.into()),
            }),
            Token::Claim(name) => Content::Claim(name.into()),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Content::Value(Value::Bool(true)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Content::Value(Value::Bool(false)),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => {
                return fault(at, "nothing equals NULL; write IS NULL or IS NOT NULL");
            }
            token @ (Token::Word(_) | Token::QuotedName(_)) => {
                let why = format!(
                    "expected a value, found {}; a text stands in single quotes, and two columns cannot be compared",
                    token.shown()
                );
                return fault(at, why);
            }
            token => return fault(at, format!("expected a value, found {}", token.shown())),
        };
        Ok(Operand { at, content })
    }
}

fn one_or(mut parts: Vec<Node<Named>>, many: impl FnOnce(Vec<Node<Named>>) -> Node<Named>) -> Node<Named> {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

fn is_reserved(word: &str) -> bool {
    ["and", "or", "not", "in", "between", "like", "is", "null"]
        .iter()
        .any(|reserved| word.eq_ignore_ascii_case(reserved))
}

fn pattern(text: &str) -> Pattern {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let wildcard = match c {
            '%' => PatternPart::Any,
            '_' => PatternPart::One,
            '\\' => {
                literal.push(chars.next().unwrap_or('\\'));
                continue;
            }
            c => {
                literal.push(c);
                continue;
            }
        };
        if !literal.is_empty() {
            parts.push(PatternPart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(wildcard);
    }
    if !literal.is_empty() {
        parts.push(PatternPart::Literal(literal));
    }
    Pattern(parts)
}
