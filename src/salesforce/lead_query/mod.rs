//! Guards a person's query for leads: what passes is one SELECT of ids from Lead, and nothing else.
//!
//! Promises: the text is parsed by the grammar of SOQL, never searched for words, so a filter on `CreatedDate` passes and
//! `SELECT Id FROM Contact WHERE Title = 'lead'` does not. What is sent is written anew from what was understood: nothing
//! that was not understood gets through. A fault names the position and the remedy.
//!
//! What is not about which leads (other columns, child queries, grouping, locks) is left out or refused: a job reads what it
//! needs of each lead by itself.

mod tokens;

use tokens::{Kind, Token};

/// Longest text taken, in characters; the org takes 100,000 with what is put around.
const TEXT_CHARS_MAX: usize = 90_000;
/// Brackets and NOTs within each other.
const DEPTH_MAX: usize = 32;
/// Relationships on the way to a field.
const RELATIONS_MAX: usize = 5;

/// A query that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedQuery {
    /// The statement to send: ids of leads, at most as many as allowed.
    pub soql: String,
    /// How many leads its condition finds, without any limit: `SELECT COUNT() FROM Lead ..`.
    pub count_soql: String,
    /// The limit in [`GuardedQuery::soql`].
    pub limit: u64,
    /// The limit that the person wrote.
    pub limit_asked: Option<u64>,
    /// What the person wrote.
    pub original: String,
}

/// Why a query is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {position} of the query: {what}")]
pub struct QueryFault {
    /// Position of the character that it is about, from 1.
    pub position: usize,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl QueryFault {
    fn at(position: usize, what: impl Into<String>) -> Self {
        Self { position, what: what.into() }
    }
}

/// Lets a statement pass that reads ids of leads, with its limit lowered to `limit`. Text that does not begin with SELECT is
/// a condition, with or without WHERE; no text is any lead.
///
/// # Errors
/// See [`QueryFault`].
pub fn guard(text: &str, limit: u64) -> Result<GuardedQuery, QueryFault> {
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(QueryFault::at(
            TEXT_CHARS_MAX + 1,
            format!("longer than {TEXT_CHARS_MAX} characters; put a list of ids into a sheet"),
        ));
    }
    // A `;` at the very end is a habit, not a second statement.
    let trimmed = text.trim_end().strip_suffix(';').unwrap_or(text);
    let mut parser = Parser { tokens: tokens::tokens(trimmed)?, next: 0, depth: 0, alias: None };
    let from = parser.head()?;
    let tail = parser.tail()?;
    let limited = tail.limit.map_or(limit, |asked| asked.min(limit));
    let mut soql = format!("SELECT Id {from}{}", tail.condition);
    soql.push_str(&tail.order);
    soql.push_str(&format!(" LIMIT {limited}"));
    Ok(GuardedQuery {
        soql,
        count_soql: format!("SELECT COUNT() {from}{}", tail.condition),
        limit: limited,
        limit_asked: tail.limit,
        original: text.to_owned(),
    })
}

/// What follows the object.
#[derive(Default)]
struct Tail {
    /// With a blank and WHERE in front, or empty.
    condition: String,
    /// With a blank and ORDER BY in front, or empty.
    order: String,
    limit: Option<u64>,
}

/// Words that are no names.
const KEYWORDS: [&str; 17] = [
    "AND", "OR", "NOT", "LIKE", "IN", "INCLUDES", "EXCLUDES", "SELECT", "FROM", "WHERE", "ORDER", "GROUP",
    "HAVING", "LIMIT", "OFFSET", "NULL", "USING",
];

/// Clauses, and words taken for clauses, that do not pass, with the reason.
const REFUSED: [(&str, &str); 13] = [
    ("JOIN", "SOQL has no JOIN; reach parents by `Owner.Name`, children by `Id IN (SELECT LeadId FROM ..)`"),
    ("INNER", "SOQL has no JOIN; reach parents by `Owner.Name`, children by `Id IN (SELECT LeadId FROM ..)`"),
    ("LEFT", "SOQL has no JOIN; reach parents by `Owner.Name`, children by `Id IN (SELECT LeadId FROM ..)`"),
    ("UNION", "SOQL has no UNION; join conditions by OR"),
    ("GROUP", "grouped rows are no leads; take GROUP BY out"),
    ("HAVING", "grouped rows are no leads; take HAVING out"),
    ("WITH", "WITH does not pass; the permissions of the connected user hold anyway"),
    ("FOR", "FOR UPDATE, VIEW and REFERENCE change the lead; take it out"),
    ("UPDATE", "UPDATE TRACKING and VIEWSTAT change the org; take it out"),
    ("ALL", "ALL ROWS finds deleted leads, which cannot be assessed; take it out"),
    ("OFFSET", "a job reads all that the query finds; take OFFSET out, or narrow the condition"),
    ("USING", "USING SCOPE does not pass; write a condition such as `OwnerId = '005..'`"),
    ("SELECT", "one statement only"),
];

/// Statements of other languages.
const NO_QUERIES: [&str; 11] = [
    "DELETE", "UPDATE", "INSERT", "UPSERT", "MERGE", "DROP", "ALTER", "CREATE", "TRUNCATE", "UNDELETE",
    "FIND",
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

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
    depth: usize,
    alias: Option<&'t str>,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn take_if(&mut self, keyword: &str) -> bool {
        let hit = self.peek().is(keyword);
        self.next += usize::from(hit);
        hit
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let hit = self.peek().is_symbol(symbol);
        self.next += usize::from(hit);
        hit
    }

    fn expected<T>(&self, what: &str) -> Result<T, QueryFault> {
        let token = self.peek();
        Err(QueryFault::at(token.position, format!("expected {what}, found {}", token.shown())))
    }

    fn need(&mut self, keyword: &str) -> Result<(), QueryFault> {
        if self.take_if(keyword) { Ok(()) } else { self.expected(keyword) }
    }

    fn need_symbol(&mut self, symbol: &str) -> Result<(), QueryFault> {
        if self.take_symbol(symbol) { Ok(()) } else { self.expected(&format!("`{symbol}`")) }
    }

    /// `SELECT .. FROM Lead alias`, or nothing; gives `FROM Lead alias`.
    fn head(&mut self) -> Result<String, QueryFault> {
        let first = self.peek();
        // `UPDATE = 1` would be a condition on a field that no org can have.
        if NO_QUERIES.iter().any(|word| first.is(word)) {
            let what = format!("only a SELECT or a condition passes, no {}", first.text.to_uppercase());
            return Err(QueryFault::at(first.position, what));
        }
        if !self.take_if("SELECT") {
            return Ok("FROM Lead".to_owned());
        }
        let selected = self.select_list()?;
        self.need("FROM")?;
        let object = self.peek();
        let name = self.name("the object Lead")?;
        if !name.eq_ignore_ascii_case("Lead") {
            let what = format!("only leads are assessed: `FROM Lead`, not `FROM {name}`");
            return Err(QueryFault::at(object.position, what));
        }
        self.alias = self.alias()?;
        if self.peek().is_symbol(",") {
            return Err(QueryFault::at(
                self.peek().position,
                "one object only; reach parents by `Owner.Name`",
            ));
        }
        for path in &selected {
            self.check_path(path)?;
        }
        if !selected.iter().any(|path| self.is_id(&path.names)) {
            return Err(QueryFault::at(
                first.position,
                "the ids of the leads are needed: `SELECT Id FROM Lead ..`",
            ));
        }
        Ok(match self.alias {
            Some(alias) => format!("FROM Lead {alias}"),
            None => "FROM Lead".to_owned(),
        })
    }

    fn alias(&mut self) -> Result<Option<&'t str>, QueryFault> {
        let has_as = self.take_if("AS");
        let token = self.peek();
        let is_clause =
            KEYWORDS.iter().any(|word| token.is(word)) || REFUSED.iter().any(|(word, _)| token.is(word));
        if token.kind != Kind::Word || is_clause {
            return if has_as { self.expected("an alias") } else { Ok(None) };
        }
        Ok(Some(self.take().text))
    }

    fn select_list(&mut self) -> Result<Vec<Path<'t>>, QueryFault> {
        let mut selected = Vec::new();
        loop {
            let token = self.peek();
            if token.is_symbol("(") {
                return Err(QueryFault::at(token.position, "a child query gives no leads; take it out"));
            }
            if token.is("TYPEOF") {
                return Err(QueryFault::at(token.position, "TYPEOF does not pass; select `Id`"));
            }
            let path = self.path("a field")?;
            if self.peek().is_symbol("(") {
                let what = format!("`{}()` does not pass; select `Id`, the rest is read anyway", path.text());
                return Err(QueryFault::at(path.position, what));
            }
            selected.push(path);
            if !self.take_symbol(",") {
                return Ok(selected);
            }
        }
    }

    fn is_id(&self, names: &[&str]) -> bool {
        match names {
            [field] => field.eq_ignore_ascii_case("Id"),
            [owner, field] => self.is_lead(owner) && field.eq_ignore_ascii_case("Id"),
            _ => false,
        }
    }

    fn is_lead(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case("Lead") || self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// WHERE, ORDER BY, LIMIT, and the end.
    fn tail(&mut self) -> Result<Tail, QueryFault> {
        let mut tail = Tail::default();
        let is_bare = self.next == 0 && {
            let first = self.peek();
            !["WHERE", "ORDER", "LIMIT"].iter().any(|word| first.is(word)) && first.kind != Kind::End
        };
        if is_bare || self.take_if("WHERE") {
            tail.condition = format!(" WHERE {}", self.condition(false)?);
        }
        if self.take_if("ORDER") {
            self.need("BY")?;
            tail.order = format!(" ORDER BY {}", self.order()?);
        }
        if self.take_if("LIMIT") {
            let token = self.take();
            let limit = token.text.parse().ok().filter(|_| token.kind == Kind::Number);
            tail.limit = match limit {
                Some(0) => return Err(QueryFault::at(token.position, "LIMIT 0 finds nothing")),
                Some(limit) => Some(limit),
                None => {
                    let what = format!("expected a whole number after LIMIT, found {}", token.shown());
                    return Err(QueryFault::at(token.position, what));
                }
            };
        }
        let token = self.peek();
        if token.kind == Kind::End {
            return Ok(tail);
        }
        match REFUSED.iter().find(|(word, _)| token.is(word)) {
            Some((_, why)) => Err(QueryFault::at(token.position, *why)),
            None => self.expected("AND, OR, ORDER BY, LIMIT or the end"),
        }
    }

    fn order(&mut self) -> Result<String, QueryFault> {
        let mut orders = Vec::new();
        loop {
            let mut order = self.operand()?;
            for direction in ["ASC", "DESC"] {
                if self.take_if(direction) {
                    order.push(' ');
                    order.push_str(direction);
                    break;
                }
            }
            if self.take_if("NULLS") {
                order.push_str(match (self.take_if("FIRST"), self.take_if("LAST")) {
                    (true, false) => " NULLS FIRST",
                    (false, true) => " NULLS LAST",
                    _ => return self.expected("FIRST or LAST"),
                });
            }
            orders.push(order);
            if !self.take_symbol(",") {
                return Ok(orders.join(", "));
            }
        }
    }

    /// Conditions joined by AND, or by OR.
    fn condition(&mut self, is_semi_join: bool) -> Result<String, QueryFault> {
        let mut condition = self.term(is_semi_join)?;
        let mut joined_by = None;
        loop {
            let token = self.peek();
            let Some(word) = ["AND", "OR"].into_iter().find(|word| token.is(word)) else {
                return Ok(condition);
            };
            if joined_by.is_some_and(|before| before != word) {
                let what = "AND and OR side by side: say by brackets which comes first";
                return Err(QueryFault::at(token.position, what));
            }
            joined_by = Some(word);
            self.next += 1;
            condition.push_str(&format!(" {word} {}", self.term(is_semi_join)?));
        }
    }

    /// A condition in brackets, a negated one, or a comparison.
    fn term(&mut self, is_semi_join: bool) -> Result<String, QueryFault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} brackets within each other");
            return Err(QueryFault::at(self.peek().position, what));
        }
        let term = if self.take_if("NOT") {
            format!("NOT {}", self.term(is_semi_join)?)
        } else if self.take_symbol("(") {
            let condition = self.condition(is_semi_join)?;
            self.need_symbol(")")?;
            format!("({condition})")
        } else {
            self.comparison(is_semi_join)?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self, is_semi_join: bool) -> Result<String, QueryFault> {
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
                return Err(QueryFault::at(operator.position, "null is compared by `=` or `!=` only"));
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
        let values = if starts_query { self.semi_join(is_semi_join)? } else { self.list()? };
        Ok(format!("{operand} {word} ({values})"))
    }

    fn no_operator(&self, found: Token<'_>) -> QueryFault {
        let what = match found.is_symbol(":") || found.is_symbol("(") {
            true => "a function that may not stand here".to_owned(),
            false => format!(
                "expected a comparison (=, !=, <, >, <=, >=, LIKE, IN, INCLUDES), found {}",
                found.shown()
            ),
        };
        QueryFault::at(found.position, what)
    }

    /// `(SELECT LeadId FROM CampaignMember WHERE ..)`, without the brackets.
    fn semi_join(&mut self, is_within_another: bool) -> Result<String, QueryFault> {
        self.need_symbol("(")?;
        let start = self.peek();
        if is_within_another {
            return Err(QueryFault::at(start.position, "a query within a query within a query is not SOQL"));
        }
        self.need("SELECT")?;
        let outer = self.alias.take();
        let field = self.path("the field that holds the lead's id")?;
        self.need("FROM")?;
        let object = self.name("an object")?;
        self.alias = self.alias()?;
        let alias = self.alias.map(|alias| format!(" {alias}")).unwrap_or_default();
        let condition =
            if self.take_if("WHERE") { format!(" WHERE {}", self.condition(true)?) } else { String::new() };
        if !self.take_symbol(")") {
            return self.expected("WHERE or `)`");
        }
        self.alias = outer;
        Ok(format!("SELECT {} FROM {object}{alias}{condition}", field.text()))
    }

    /// A field, or one function of a field.
    fn operand(&mut self) -> Result<String, QueryFault> {
        let path = self.path("a field")?;
        if !self.take_symbol("(") {
            self.check_path(&path)?;
            return Ok(path.text());
        }
        let name = path.text();
        let Some(function) = FUNCTIONS.into_iter().find(|known| known.eq_ignore_ascii_case(&name)) else {
            let what = format!("`{name}()` does not pass in a condition; compare the field itself");
            return Err(QueryFault::at(path.position, what));
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(QueryFault::at(path.position, "functions within functions"));
        }
        let argument = self.operand()?;
        self.depth -= 1;
        self.need_symbol(")")?;
        Ok(format!("{function}({argument})"))
    }

    fn check_path(&self, path: &Path<'_>) -> Result<(), QueryFault> {
        if path.names.len() > RELATIONS_MAX + 1 {
            let what = format!("more than {RELATIONS_MAX} relationships to a field");
            return Err(QueryFault::at(path.position, what));
        }
        Ok(())
    }

    fn path(&mut self, wanted: &str) -> Result<Path<'t>, QueryFault> {
        let position = self.peek().position;
        let mut names = vec![self.name(wanted)?];
        while self.take_symbol(".") {
            names.push(self.name("a field after `.`")?);
        }
        Ok(Path { names, position })
    }

    fn name(&mut self, wanted: &str) -> Result<&'t str, QueryFault> {
        let token = self.peek();
        if token.is_symbol(":") {
            return Err(QueryFault::at(token.position, "a bound variable; write the value itself"));
        }
        if token.kind != Kind::Word || token.text.len() > 80 || KEYWORDS.iter().any(|word| token.is(word)) {
            return self.expected(wanted);
        }
        Ok(self.take().text)
    }

    fn list(&mut self) -> Result<String, QueryFault> {
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

    fn value(&mut self) -> Result<String, QueryFault> {
        let token = self.peek();
        match token.kind {
            Kind::Text | Kind::Number | Kind::Date | Kind::DateTime => {
                self.next += 1;
                Ok(token.text.to_owned())
            }
            Kind::Word => self.word_value(token),
            _ if token.is_symbol(":") => {
                Err(QueryFault::at(token.position, "a bound variable; write the value itself"))
            }
            _ => self.expected("a value"),
        }
    }

    /// `true`, `null`, `LAST_N_DAYS:30`, `EUR5000`.
    fn word_value(&mut self, token: Token<'t>) -> Result<String, QueryFault> {
        let upper = token.text.to_ascii_uppercase();
        if matches!(upper.as_str(), "TRUE" | "FALSE" | "NULL") {
            self.next += 1;
            return Ok(upper.to_ascii_lowercase());
        }
        if DATE_LITERALS.contains(&upper.as_str()) {
            self.next += 1;
            return Ok(upper);
        }
        let unit = ["LAST_N_", "NEXT_N_"].iter().find_map(|start| upper.strip_prefix(start));
        let unit = unit.or_else(|| upper.strip_prefix("N_")?.strip_suffix("_AGO"));
        if unit.is_some_and(|unit| DATE_UNITS.contains(&unit)) {
            self.next += 1;
            self.need_symbol(":")?;
            let number = self.take();
            let is_count =
                number.kind == Kind::Number && number.text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_count {
                let what = format!("expected a number as in `{upper}:30`, found {}", number.shown());
                return Err(QueryFault::at(number.position, what));
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
        Err(QueryFault::at(token.position, what))
    }
}

/// Names joined by dots.
struct Path<'t> {
    names: Vec<&'t str>,
    position: usize,
}

impl Path<'_> {
    fn text(&self) -> String {
        self.names.join(".")
    }
}

#[cfg(test)]
mod tests;
