//! Conditions of SOQL, as they stand behind WHERE: parsed by the grammar and written anew.
//!
//! Promises: what is written consists of what was understood, so that nothing gets past a condition that is put in brackets:
//! no comment, no second clause, no bracket too many. A fault names the position and the remedy. Stands on the text alone;
//! whether fields exist is known to whoever has the describe.

pub mod tokens;

use tokens::{Kind, Token};

/// Brackets and NOTs within each other.
const DEPTH_MAX: usize = 32;
/// Relationships on the way to a field.
const RELATIONS_MAX: usize = 5;

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {position} of the query: {what}")]
pub struct SoqlFault {
    /// Position of the character that it is about, from 1.
    pub position: usize,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl SoqlFault {
    /// A fault at a character, counted from 1.
    pub fn at(position: usize, what: impl Into<String>) -> Self {
        Self { position, what: what.into() }
    }
}

/// Words that are no names.
const KEYWORDS: [&str; 17] = [
    "AND", "OR", "NOT", "LIKE", "IN", "INCLUDES", "EXCLUDES", "SELECT", "FROM", "WHERE", "ORDER", "GROUP",
    "HAVING", "LIMIT", "OFFSET", "NULL", "USING",
];

/// Words that begin a clause, or that other languages take for one: no aliases.
const CLAUSES: [&str; 13] = [
    "JOIN", "INNER", "LEFT", "UNION", "GROUP", "HAVING", "WITH", "FOR", "UPDATE", "ALL", "OFFSET", "USING",
    "SELECT",
];

/// Functions of one field that may stand in a condition.
const FUNCTIONS: [&str; 16] = [
    "CALENDAR_MONTH",
    "CALENDAR_QUARTER",
    "CALENDAR_YEAR",
    "DAY_IN_MONTH",
    "DAY_IN_WEEK",
    "DAY_IN_YEAR",
    "DAY_ONLY",
    "FISCAL_MONTH",
    "FISCAL_QUARTER",
    "FISCAL_YEAR",
    "HOUR_IN_DAY",
    "WEEK_IN_MONTH",
    "WEEK_IN_YEAR",
    "toLabel",
    "convertCurrency",
    "convertTimezone",
];

/// Spans of time by name.
const DATE_LITERALS: [&str; 23] = [
    "YESTERDAY",
    "TODAY",
    "TOMORROW",
    "LAST_WEEK",
    "THIS_WEEK",
    "NEXT_WEEK",
    "LAST_MONTH",
    "THIS_MONTH",
    "NEXT_MONTH",
    "LAST_90_DAYS",
    "NEXT_90_DAYS",
    "LAST_QUARTER",
    "THIS_QUARTER",
    "NEXT_QUARTER",
    "LAST_YEAR",
    "THIS_YEAR",
    "NEXT_YEAR",
    "LAST_FISCAL_QUARTER",
    "THIS_FISCAL_QUARTER",
    "NEXT_FISCAL_QUARTER",
    "LAST_FISCAL_YEAR",
    "THIS_FISCAL_YEAR",
    "NEXT_FISCAL_YEAR",
];
/// Units of spans that take a number: `LAST_N_DAYS:30`, `N_WEEKS_AGO:2`.
const DATE_UNITS: [&str; 7] =
    ["DAYS", "WEEKS", "MONTHS", "QUARTERS", "YEARS", "FISCAL_QUARTERS", "FISCAL_YEARS"];

/// A field in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldUse {
    /// As it is written: `Owner.Name`.
    pub path: String,
    /// Position of its first character, from 1.
    pub position: usize,
}

/// Reads a text from word to word.
pub struct ConditionParser<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
    depth: usize,
    /// What the object may be called beside its name.
    alias: Option<&'t str>,
    is_within_semi_join: bool,
    fields: Vec<FieldUse>,
    moves_with_time: bool,
}

impl<'t> ConditionParser<'t> {
    /// A reader at the start of a text.
    ///
    /// # Errors
    /// Where the text has characters that SOQL does not.
    pub fn new(text: &'t str) -> Result<Self, SoqlFault> {
        Ok(Self {
            tokens: tokens::tokens(text)?,
            next: 0,
            depth: 0,
            alias: None,
            is_within_semi_join: false,
            fields: Vec::new(),
            moves_with_time: false,
        })
    }

    /// Whether nothing was taken yet.
    pub fn is_at_start(&self) -> bool {
        self.next == 0
    }

    /// The object's other name, where it was given one.
    pub fn alias(&self) -> Option<&'t str> {
        self.alias
    }

    /// Fields of the object that were compared so far, those of semi-joins apart.
    pub fn fields(&self) -> &[FieldUse] {
        &self.fields
    }

    /// Whether something was compared with a span of days that moves as time goes by, such as `LAST_N_DAYS:30`.
    pub fn moves_with_time(&self) -> bool {
        self.moves_with_time
    }

    /// The next word, left where it is.
    pub fn peek(&self) -> Token<'t> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    /// The next word.
    pub fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.next += 1;
        token
    }

    /// Takes the next word if it is this keyword.
    pub fn take_if(&mut self, keyword: &str) -> bool {
        let hit = self.peek().is(keyword);
        self.next += usize::from(hit);
        hit
    }

    /// Takes the next word if it is this symbol.
    pub fn take_symbol(&mut self, symbol: &str) -> bool {
        let hit = self.peek().is_symbol(symbol);
        self.next += usize::from(hit);
        hit
    }

    /// The fault of having found something else.
    ///
    /// # Errors
    /// Always.
    pub fn expected<T>(&self, what: &str) -> Result<T, SoqlFault> {
        let token = self.peek();
        Err(SoqlFault::at(token.position, format!("expected {what}, found {}", token.shown())))
    }

    /// Takes this keyword.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn need(&mut self, keyword: &str) -> Result<(), SoqlFault> {
        if self.take_if(keyword) { Ok(()) } else { self.expected(keyword) }
    }

    /// Takes this symbol.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn need_symbol(&mut self, symbol: &str) -> Result<(), SoqlFault> {
        if self.take_symbol(symbol) { Ok(()) } else { self.expected(&format!("`{symbol}`")) }
    }

    /// Takes an alias, where there is one; paths may begin with it from then on.
    ///
    /// # Errors
    /// When AS stands there without one.
    pub fn take_alias(&mut self) -> Result<(), SoqlFault> {
        let has_as = self.take_if("AS");
        let token = self.peek();
        let is_clause =
            KEYWORDS.iter().any(|word| token.is(word)) || CLAUSES.iter().any(|word| token.is(word));
        if token.kind != Kind::Word || is_clause {
            return if has_as { self.expected("an alias") } else { Ok(()) };
        }
        self.alias = Some(self.take().text);
        Ok(())
    }

    /// Takes conditions joined by AND, or by OR; gives them written anew.
    ///
    /// # Errors
    /// Where something does not belong there.
    pub fn condition(&mut self) -> Result<String, SoqlFault> {
        let mut condition = self.term()?;
        // Beside AND and OR the org takes a NOT in brackets only.
        let in_brackets = |term: String| if term.starts_with("NOT ") { format!("({term})") } else { term };
        let mut joined_by = None;
        loop {
            let token = self.peek();
            let Some(word) = ["AND", "OR"].into_iter().find(|word| token.is(word)) else {
                return Ok(condition);
            };
            if joined_by.is_some_and(|before| before != word) {
                let what = "AND and OR side by side: say by brackets which comes first";
                return Err(SoqlFault::at(token.position, what));
            }
            if joined_by.is_none() {
                condition = in_brackets(condition);
            }
            joined_by = Some(word);
            self.next += 1;
            condition.push_str(&format!(" {word} {}", in_brackets(self.term()?)));
        }
    }

    /// A condition in brackets, a negated one, or a comparison.
    fn term(&mut self) -> Result<String, SoqlFault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} brackets within each other");
            return Err(SoqlFault::at(self.peek().position, what));
        }
        let term = if self.take_if("NOT") {
            format!("NOT {}", self.term()?)
        } else if self.take_symbol("(") {
            let condition = self.condition()?;
            self.need_symbol(")")?;
            format!("({condition})")
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self) -> Result<String, SoqlFault> {
        let operand = self.operand()?;
        let operator = self.take();
        let is_word = |word: &str| operator.is(word);
        if operator.kind == Kind::Symbol {
            let symbol = match operator.text {
                "<>" => "!=",
                symbol @ ("=" | "!=" | "<" | ">" | "<=" | ">=") => symbol,
                _ => return Err(self.no_operator(operator)),
            };
            let value = self.value()?;
            if value.eq_ignore_ascii_case("null") && !matches!(symbol, "=" | "!=") {
                return Err(SoqlFault::at(operator.position, "null is compared by `=` or `!=` only"));
            }
            return Ok(format!("{operand} {symbol} {value}"));
        }
        if is_word("LIKE") {
            if self.peek().kind != Kind::Text {
                return self.expected("a text in single quotes after LIKE");
            }
            return Ok(format!("{operand} LIKE {}", self.take().text));
        }
        if is_word("INCLUDES") || is_word("EXCLUDES") {
            let values = self.list()?;
            return Ok(format!("{operand} {} ({values})", operator.text.to_uppercase()));
        }
        let is_negated = is_word("NOT");
        if is_negated {
            self.need("IN")?;
        } else if !is_word("IN") {
            return Err(self.no_operator(operator));
        }
        let word = if is_negated { "NOT IN" } else { "IN" };
        let starts_query = self.tokens.get(self.next + 1).is_some_and(|token| token.is("SELECT"));
        let values = if starts_query { self.semi_join()? } else { self.list()? };
        Ok(format!("{operand} {word} ({values})"))
    }

    fn no_operator(&self, found: Token<'_>) -> SoqlFault {
        let what = match found.is_symbol(":") || found.is_symbol("(") {
            true => "a function that may not stand here".to_owned(),
            false => format!(
                "expected a comparison (=, !=, <, >, <=, >=, LIKE, IN, INCLUDES), found {}",
                found.shown()
            ),
        };
        SoqlFault::at(found.position, what)
    }

    /// `(SELECT LeadId FROM CampaignMember WHERE ..)`, without the brackets.
    fn semi_join(&mut self) -> Result<String, SoqlFault> {
        self.need_symbol("(")?;
        let start = self.peek();
        if self.is_within_semi_join {
            return Err(SoqlFault::at(start.position, "a query within a query within a query is not SOQL"));
        }
        self.need("SELECT")?;
        let outer = self.alias.take();
        self.is_within_semi_join = true;
        let field = self.path("the field that holds the id")?;
        self.need("FROM")?;
        let object = self.name("an object")?;
        self.take_alias()?;
        let alias = self.alias.map(|alias| format!(" {alias}")).unwrap_or_default();
        let condition =
            if self.take_if("WHERE") { format!(" WHERE {}", self.condition()?) } else { String::new() };
        if !self.take_symbol(")") {
            return self.expected("WHERE or `)`");
        }
        self.alias = outer;
        self.is_within_semi_join = false;
        Ok(format!("SELECT {} FROM {object}{alias}{condition}", field.text()))
    }

    /// Takes a field, or one function of a field.
    ///
    /// # Errors
    /// Where something else stands there.
    pub fn operand(&mut self) -> Result<String, SoqlFault> {
        let path = self.path("a field")?;
        if !self.take_symbol("(") {
            self.check_path(&path)?;
            if !self.is_within_semi_join {
                self.fields.push(FieldUse { path: path.text(), position: path.position });
            }
            return Ok(path.text());
        }
        let name = path.text();
        let Some(function) = FUNCTIONS.into_iter().find(|known| known.eq_ignore_ascii_case(&name)) else {
            let what = format!("`{name}()` does not pass in a condition; compare the field itself");
            return Err(SoqlFault::at(path.position, what));
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SoqlFault::at(path.position, "functions within functions"));
        }
        let argument = self.operand()?;
        self.depth -= 1;
        self.need_symbol(")")?;
        Ok(format!("{function}({argument})"))
    }

    /// Holds a path to the length that the org takes.
    ///
    /// # Errors
    /// When it is longer.
    pub fn check_path(&self, path: &Path<'_>) -> Result<(), SoqlFault> {
        if path.names.len() > RELATIONS_MAX + 1 {
            let what = format!("more than {RELATIONS_MAX} relationships to a field");
            return Err(SoqlFault::at(path.position, what));
        }
        Ok(())
    }

    /// Takes names with dots between.
    ///
    /// # Errors
    /// When no name stands there.
    pub fn path(&mut self, wanted: &str) -> Result<Path<'t>, SoqlFault> {
        let position = self.peek().position;
        let mut names = vec![self.name(wanted)?];
        while self.take_symbol(".") {
            names.push(self.name("a field after `.`")?);
        }
        Ok(Path { names, position })
    }

    /// Takes a name.
    ///
    /// # Errors
    /// When none stands there.
    pub fn name(&mut self, wanted: &str) -> Result<&'t str, SoqlFault> {
        let token = self.peek();
        if token.is_symbol(":") {
            return Err(SoqlFault::at(token.position, "a bound variable; write the value itself"));
        }
        if token.kind != Kind::Word || token.text.len() > 80 || KEYWORDS.iter().any(|word| token.is(word)) {
            return self.expected(wanted);
        }
        Ok(self.take().text)
    }

    fn list(&mut self) -> Result<String, SoqlFault> {
        self.need_symbol("(")?;
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if !self.take_symbol(",") {
                break;
            }
        }
        self.need_symbol(")")?;
        Ok(values.join(", "))
    }

    fn value(&mut self) -> Result<String, SoqlFault> {
        let token = self.peek();
        match token.kind {
            Kind::Text | Kind::Number | Kind::Date | Kind::DateTime => {
                self.next += 1;
                Ok(token.text.to_owned())
            }
            Kind::Word => self.word_value(token),
            _ if token.is_symbol(":") => {
                Err(SoqlFault::at(token.position, "a bound variable; write the value itself"))
            }
            _ => self.expected("a value"),
        }
    }

    /// `true`, `null`, `LAST_N_DAYS:30`, `EUR5000`.
    fn word_value(&mut self, token: Token<'t>) -> Result<String, SoqlFault> {
        let upper = token.text.to_ascii_uppercase();
        if matches!(upper.as_str(), "TRUE" | "FALSE" | "NULL") {
            self.next += 1;
            return Ok(upper.to_ascii_lowercase());
        }
        if DATE_LITERALS.contains(&upper.as_str()) {
            self.next += 1;
            self.moves_with_time = true;
            return Ok(upper);
        }
        let unit = ["LAST_N_", "NEXT_N_"].iter().find_map(|start| upper.strip_prefix(start));
        let unit = unit.or_else(|| upper.strip_prefix("N_")?.strip_suffix("_AGO"));
        if unit.is_some_and(|unit| DATE_UNITS.contains(&unit)) {
            self.next += 1;
            self.moves_with_time = true;
            self.need_symbol(":")?;
            let number = self.take();
            let is_count =
                number.kind == Kind::Number && number.text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_count {
                let what = format!("expected a number as in `{upper}:30`, found {}", number.shown());
                return Err(SoqlFault::at(number.position, what));
            }
            return Ok(format!("{upper}:{}", number.text));
        }
        let is_amount = upper.len() > 3
            && upper.as_bytes()[..3].iter().all(u8::is_ascii_alphabetic)
            && upper.as_bytes()[3..].iter().all(u8::is_ascii_digit);
        if is_amount {
            self.next += 1;
            return Ok(upper);
        }
        let what = format!("`{}` is no value; a text stands in single quotes: '{}'", token.text, token.text);
        Err(SoqlFault::at(token.position, what))
    }
}

/// Names joined by dots.
pub struct Path<'t> {
    /// The names.
    pub names: Vec<&'t str>,
    /// Position of the first character, from 1.
    pub position: usize,
}

impl Path<'_> {
    /// As it is written, without gaps.
    pub fn text(&self) -> String {
        self.names.join(".")
    }
}

#[cfg(test)]
mod tests;
