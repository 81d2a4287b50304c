//! Guards a person's query for leads: what passes is one SELECT of ids from Lead, and nothing else.
//!
//! Promises: the text is parsed by the grammar of SOQL, never searched for words, so a filter on `CreatedDate` passes and
//! `SELECT Id FROM Contact WHERE Title = 'lead'` does not. What is sent is written anew from what was understood: nothing
//! that was not understood gets through. A fault names the position and the remedy.
//!
//! What is not about which leads (other columns, child queries, grouping, locks) is left out or refused: a job reads what it
//! needs of each lead by itself.

pub use crate::model::soql_condition::SoqlFault as QueryFault;
use crate::model::soql_condition::tokens::Kind;
use crate::model::soql_condition::{ConditionParser, Path};

/// Longest text taken, in characters; the org takes 100,000 with what is put around.
const TEXT_CHARS_MAX: usize = 90_000;

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
    let mut parser = Parser(ConditionParser::new(trimmed)?);
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

/// What a query for leads has around its condition.
struct Parser<'t>(ConditionParser<'t>);

impl<'t> Parser<'t> {
    /// `SELECT .. FROM Lead alias`, or nothing; gives `FROM Lead alias`.
    fn head(&mut self) -> Result<String, QueryFault> {
        let first = self.0.peek();
        // `UPDATE = 1` would be a condition on a field that no org can have.
        if NO_QUERIES.iter().any(|word| first.is(word)) {
            let what = format!("only a SELECT or a condition passes, no {}", first.text.to_uppercase());
            return Err(QueryFault::at(first.position, what));
        }
        if !self.0.take_if("SELECT") {
            return Ok("FROM Lead".to_owned());
        }
        let selected = self.select_list()?;
        self.0.need("FROM")?;
        let object = self.0.peek();
        let name = self.0.name("the object Lead")?;
        if !name.eq_ignore_ascii_case("Lead") {
            let what = format!("only leads are assessed: `FROM Lead`, not `FROM {name}`");
            return Err(QueryFault::at(object.position, what));
        }
        self.0.take_alias()?;
        if self.0.peek().is_symbol(",") {
            return Err(QueryFault::at(
                self.0.peek().position,
                "one object only; reach parents by `Owner.Name`",
            ));
        }
        for path in &selected {
            self.0.check_path(path)?;
        }
        if !selected.iter().any(|path| self.is_id(&path.names)) {
            return Err(QueryFault::at(
                first.position,
                "the ids of the leads are needed: `SELECT Id FROM Lead ..`",
            ));
        }
        Ok(match self.0.alias() {
            Some(alias) => format!("FROM Lead {alias}"),
            None => "FROM Lead".to_owned(),
        })
    }

    fn select_list(&mut self) -> Result<Vec<Path<'t>>, QueryFault> {
        let mut selected = Vec::new();
        loop {
            let token = self.0.peek();
            if token.is_symbol("(") {
                return Err(QueryFault::at(token.position, "a child query gives no leads; take it out"));
            }
            if token.is("TYPEOF") {
                return Err(QueryFault::at(token.position, "TYPEOF does not pass; select `Id`"));
            }
            let path = self.0.path("a field")?;
            if self.0.peek().is_symbol("(") {
                let what = format!("`{}()` does not pass; select `Id`, the rest is read anyway", path.text());
                return Err(QueryFault::at(path.position, what));
            }
            selected.push(path);
            if !self.0.take_symbol(",") {
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
        name.eq_ignore_ascii_case("Lead")
            || self.0.alias().is_some_and(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// WHERE, ORDER BY, LIMIT, and the end.
    fn tail(&mut self) -> Result<Tail, QueryFault> {
        let mut tail = Tail::default();
        let is_bare = self.0.is_at_start() && {
            let first = self.0.peek();
            !["WHERE", "ORDER", "LIMIT"].iter().any(|word| first.is(word)) && first.kind != Kind::End
        };
        if is_bare || self.0.take_if("WHERE") {
            tail.condition = format!(" WHERE {}", self.0.condition()?);
        }
        if self.0.take_if("ORDER") {
            self.0.need("BY")?;
            tail.order = format!(" ORDER BY {}", self.order()?);
        }
        if self.0.take_if("LIMIT") {
            let token = self.0.take();
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
        let token = self.0.peek();
        if token.kind == Kind::End {
            return Ok(tail);
        }
        match REFUSED.iter().find(|(word, _)| token.is(word)) {
            Some((_, why)) => Err(QueryFault::at(token.position, *why)),
            None => self.0.expected("AND, OR, ORDER BY, LIMIT or the end"),
        }
    }

    fn order(&mut self) -> Result<String, QueryFault> {
        let mut orders = Vec::new();
        loop {
            let mut order = self.0.operand()?;
            for direction in ["ASC", "DESC"] {
                if self.0.take_if(direction) {
                    order.push(' ');
                    order.push_str(direction);
                    break;
                }
            }
            if self.0.take_if("NULLS") {
                order.push_str(match (self.0.take_if("FIRST"), self.0.take_if("LAST")) {
                    (true, false) => " NULLS FIRST",
                    (false, true) => " NULLS LAST",
                    _ => return self.0.expected("FIRST or LAST"),
                });
            }
            orders.push(order);
            if !self.0.take_symbol(",") {
                return Ok(orders.join(", "));
            }
        }
    }
}

#[cfg(test)]
mod tests;
