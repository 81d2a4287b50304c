//! Reads a statement by recursive descent. Keywords and names keep their spelling but not their case.

use super::{
    SoqlError,
    ast::{
        Aggregate, AggregateCall, Comparison, Condition, FieldPath, FieldsKind, Literal, Name, Operand,
        OrderBy, Query, SelectItem,
    },
    dates,
    lex::{Kind, Token, tokens, unexpected},
};

/// Deepest nesting of parentheses; a statement of 100,000 brackets must not exhaust the stack.
const DEEPEST: usize = 60;
const CLAUSES: [&str; 12] =
    ["WHERE", "WITH", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR", "ALL", "USING", "UPDATE", "FROM"];

/// Reads one statement.
///
/// # Errors
/// `MALFORMED_QUERY` with the place of the first thing that makes no sense.
pub fn parse(text: &str) -> Result<Query, SoqlError> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, depth: 0 };
    let query = parser.query()?;
    match parser.peek() {
        Kind::End => Ok(query),
        _ => Err(parser.surprise()),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        &self.tokens[self.next].kind
    }

    fn peek_after(&self) -> &Kind {
        &self.tokens[(self.next + 1).min(self.tokens.len() - 1)].kind
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn advance(&mut self) -> Kind {
        let kind = self.tokens[self.next].kind.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        kind
    }

    fn fail<T>(&self, message: &str) -> Result<T, SoqlError> {
        Err(unexpected(self.text, self.at(), message))
    }

    fn surprise(&self) -> SoqlError {
        let message = match self.peek() {
            Kind::End => "unexpected token: '<EOF>'".to_owned(),
            _ => {
                let end = self.tokens.get(self.next + 1).map_or(self.text.len(), |token| token.at);
                format!("unexpected token: '{}'", self.text[self.at()..end].trim())
            }
        };
        unexpected(self.text, self.at(), &message)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SoqlError> {
        if self.eat_word(word) { Ok(()) } else { Err(self.surprise()) }
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Kind::Sign(found) if *found == sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), SoqlError> {
        if self.eat(sign) { Ok(()) } else { Err(self.surprise()) }
    }

    fn word(&mut self) -> Result<Name, SoqlError> {
        let at = self.at();
        match self.peek() {
            Kind::Word(_) => match self.advance() {
                Kind::Word(text) => Ok(Name { text, at }),
                _ => Err(self.surprise()),
            },
            _ => Err(self.surprise()),
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, SoqlError>) -> Result<T, SoqlError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.fail("query is too complicated");
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn query(&mut self) -> Result<Query, SoqlError> {
        self.expect_word("SELECT")?;
        let mut select = vec![self.select_item()?];
        while self.eat(",") {
            select.push(self.select_item()?);
        }
        self.expect_word("FROM")?;
        let from = self.name_after_from()?;
        let alias = self.alias();
        if self.eat_word("USING") {
            self.expect_word("SCOPE")?;
            self.word()?;
        }
        let filter = if self.eat_word("WHERE") { Some(self.condition()?) } else { None };
        let with = if self.eat_word("WITH") { Some(self.with_mode()?) } else { None };
        let mut group_by = Vec::new();
        let mut having = None;
        if self.eat_word("GROUP") {
            self.expect_word("BY")?;
            group_by.push(self.path()?);
            while self.eat(",") {
                group_by.push(self.path()?);
            }
            if self.eat_word("HAVING") {
                having = Some(self.condition()?);
            }
        }
        let mut order_by = Vec::new();
        if self.eat_word("ORDER") {
            self.expect_word("BY")?;
            order_by.push(self.order_by()?);
            while self.eat(",") {
                order_by.push(self.order_by()?);
            }
        }
        let limit = if self.eat_word("LIMIT") { Some(self.row_count()?) } else { None };
        let offset = if self.eat_word("OFFSET") { Some(self.row_count()?) } else { None };
        if self.eat_word("FOR") && !(self.eat_word("VIEW") || self.eat_word("REFERENCE")) {
            return Err(self.surprise());
        }
        Ok(Query { select, from, alias, filter, with, group_by, having, order_by, limit, offset })
    }

    /// A child relationship or an object; sub-queries may write `Account.Contacts`.
    fn name_after_from(&mut self) -> Result<Name, SoqlError> {
        let mut name = self.word()?;
        while self.eat(".") {
            name = self.word()?;
        }
        Ok(name)
    }

    fn alias(&mut self) -> Option<String> {
        self.eat_word("AS");
        match self.peek() {
            Kind::Word(word) if !CLAUSES.iter().any(|clause| clause.eq_ignore_ascii_case(word)) => {
                let alias = word.clone();
                self.advance();
                Some(alias)
            }
            _ => None,
        }
    }

    fn with_mode(&mut self) -> Result<String, SoqlError> {
        let at = self.at();
        let mode = self.word()?.text.to_ascii_uppercase();
        if ["SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE"].contains(&mode.as_str()) {
            return Ok(mode);
        }
        Err(unexpected(self.text, at, &format!("unexpected token: '{mode}'")))
    }

    fn select_item(&mut self) -> Result<SelectItem, SoqlError> {
        if self.eat("(") {
            let query = self.deeper(Self::query)?;
            self.expect(")")?;
            return Ok(SelectItem::SubQuery(Box::new(query)));
        }
        if matches!(self.peek_after(), Kind::Sign("(")) {
            if self.eat_word("FIELDS") {
                return self.fields_function();
            }
            if self.is_word("COUNT")
                && matches!(self.tokens.get(self.next + 2), Some(token) if token.kind == Kind::Sign(")"))
            {
                self.next += 3;
                return Ok(SelectItem::CountRows);
            }
            // Display functions change how a value is written, not which value it is.
            if self.eat_word("toLabel") || self.eat_word("FORMAT") || self.eat_word("convertCurrency") {
                self.expect("(")?;
                let path = self.path()?;
                self.expect(")")?;
                let alias = self.alias();
                return Ok(SelectItem::Field { path, alias });
            }
            let call = self.aggregate_call()?;
            let alias = self.alias();
            return Ok(SelectItem::Aggregate { call, alias });
        }
        let path = self.path()?;
        let alias = self.alias();
        Ok(SelectItem::Field { path, alias })
    }

    fn fields_function(&mut self) -> Result<SelectItem, SoqlError> {
        self.expect("(")?;
        let at = self.at();
        let which = self.word()?.text.to_ascii_uppercase();
        let kind = match which.as_str() {
            "ALL" => FieldsKind::All,
            "STANDARD" => FieldsKind::Standard,
            "CUSTOM" => FieldsKind::Custom,
            _ => return Err(unexpected(self.text, at, &format!("unexpected token: '{which}'"))),
        };
        self.expect(")")?;
        Ok(SelectItem::Fields(kind))
    }

    fn aggregate_call(&mut self) -> Result<AggregateCall, SoqlError> {
        let name = self.word()?;
        let function = Aggregate::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(&name.text));
        let Some((function, _)) = function else {
            return Err(unexpected(self.text, name.at, "Unknown function"));
        };
        self.expect("(")?;
        let path = self.path()?;
        self.expect(")")?;
        Ok(AggregateCall { function: *function, path })
    }

    fn path(&mut self) -> Result<FieldPath, SoqlError> {
        let first = self.word()?;
        let mut parts = vec![first.text];
        while self.eat(".") {
            parts.push(self.word()?.text);
        }
        Ok(FieldPath { parts, at: first.at })
    }

    fn order_by(&mut self) -> Result<OrderBy, SoqlError> {
        let key = self.operand()?;
        let descending = !self.eat_word("ASC") && self.eat_word("DESC");
        let mut nulls_last = false;
        if self.eat_word("NULLS") {
            nulls_last = self.eat_word("LAST");
            if !nulls_last {
                self.expect_word("FIRST")?;
            }
        }
        Ok(OrderBy { key, descending, nulls_last })
    }

    fn row_count(&mut self) -> Result<u64, SoqlError> {
        match self.peek() {
            Kind::Int(count) if *count >= 0 => {
                let count = count.unsigned_abs();
                self.advance();
                Ok(count)
            }
            _ => Err(self.surprise()),
        }
    }

    /// AND and OR may not be mixed without parentheses: the org refuses to guess.
    fn condition(&mut self) -> Result<Condition, SoqlError> {
        let first = self.unary()?;
        let joined = ["AND", "OR"].into_iter().find(|word| self.is_word(word));
        let Some(word) = joined else { return Ok(first) };
        let mut parts = vec![first];
        while self.eat_word(word) {
            parts.push(self.unary()?);
        }
        if self.is_word("AND") || self.is_word("OR") {
            return Err(self.surprise());
        }
        Ok(if word == "AND" { Condition::And(parts) } else { Condition::Or(parts) })
    }

    fn unary(&mut self) -> Result<Condition, SoqlError> {
        if self.eat_word("NOT") {
            let inner = self.deeper(Self::unary)?;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.eat("(") {
            let inner = self.deeper(Self::condition)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn operand(&mut self) -> Result<Operand, SoqlError> {
        if matches!(self.peek_after(), Kind::Sign("(")) {
            return self.aggregate_call().map(Operand::Aggregate);
        }
        self.path().map(Operand::Field)
    }

    fn comparison(&mut self) -> Result<Condition, SoqlError> {
        let operand = self.operand()?;
        let negated = self.is_word("NOT");
        if negated {
            self.advance();
        }
        if self.eat_word("IN") {
            return self.membership(operand, negated);
        }
        if negated {
            return Err(self.surprise());
        }
        let excludes = self.is_word("EXCLUDES");
        if excludes || self.is_word("INCLUDES") {
            self.advance();
            return self.includes(operand, excludes);
        }
        let op = match self.peek() {
            Kind::Sign("=") => Comparison::Equal,
            Kind::Sign("!=") => Comparison::NotEqual,
            Kind::Sign("<") => Comparison::Less,
            Kind::Sign("<=") => Comparison::LessOrEqual,
            Kind::Sign(">") => Comparison::Greater,
            Kind::Sign(">=") => Comparison::GreaterOrEqual,
            Kind::Word(word) if word.eq_ignore_ascii_case("LIKE") => Comparison::Like,
            _ => return Err(self.surprise()),
        };
        self.advance();
        let literal = self.literal()?;
        Ok(Condition::Compare { operand, op, literal })
    }

    fn field_of(&self, operand: Operand) -> Result<FieldPath, SoqlError> {
        match operand {
            Operand::Field(path) => Ok(path),
            Operand::Aggregate(_) => Err(self.surprise()),
        }
    }

    fn membership(&mut self, operand: Operand, negated: bool) -> Result<Condition, SoqlError> {
        let path = self.field_of(operand)?;
        self.expect("(")?;
        if self.is_word("SELECT") {
            let query = Box::new(self.deeper(Self::query)?);
            self.expect(")")?;
            return Ok(Condition::SemiJoin { path, negated, query });
        }
        let mut list = vec![self.literal()?];
        while self.eat(",") {
            list.push(self.literal()?);
        }
        self.expect(")")?;
        Ok(Condition::In { path, negated, list })
    }

    fn includes(&mut self, operand: Operand, excludes: bool) -> Result<Condition, SoqlError> {
        let path = self.field_of(operand)?;
        self.expect("(")?;
        let mut values = Vec::new();
        loop {
            match self.literal()? {
                Literal::Text(text) => values.push(text),
                _ => return Err(self.surprise()),
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(Condition::Includes { path, excludes, values })
    }

    fn literal(&mut self) -> Result<Literal, SoqlError> {
        let literal = match self.peek() {
            Kind::Text(text) => Literal::Text(text.clone()),
            Kind::Int(value) => Literal::Int(*value),
            Kind::Decimal(value) => Literal::Decimal(*value),
            Kind::Date(date) => Literal::Date(date.clone()),
            Kind::DateTime(millis) => Literal::DateTime(*millis),
            Kind::Word(word) => match word.to_ascii_uppercase().as_str() {
                "NULL" => Literal::Null,
                "TRUE" => Literal::Bool(true),
                "FALSE" => Literal::Bool(false),
                name => return self.relative(name.to_owned()),
            },
            _ => return Err(self.surprise()),
        };
        self.advance();
        Ok(literal)
    }

    fn relative(&mut self, name: String) -> Result<Literal, SoqlError> {
        let Some(counted) = dates::is_literal(&name) else {
            return self.fail("Bind variables only allowed in Apex code");
        };
        self.advance();
        if !counted {
            return Ok(Literal::Relative { name, count: None });
        }
        self.expect(":")?;
        match self.peek() {
            Kind::Int(count) => {
                let Ok(count) = u32::try_from(*count) else { return Err(self.surprise()) };
                self.advance();
                Ok(Literal::Relative { name, count: Some(count) })
            }
            _ => Err(self.surprise()),
        }
    }
}
