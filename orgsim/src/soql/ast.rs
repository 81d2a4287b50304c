//! What a SOQL statement says, as data; printing it gives SOQL again.

use std::fmt;

/// A whole SELECT.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is selected, in order.
    pub select: Vec<SelectItem>,
    /// The object named in FROM, as written.
    pub from: Name,
    /// `FROM Account a`: the `a`.
    pub alias: Option<String>,
    /// WHERE.
    pub filter: Option<Condition>,
    /// `WITH SECURITY_ENFORCED`, `USER_MODE`, `SYSTEM_MODE`.
    pub with: Option<String>,
    /// GROUP BY.
    pub group_by: Vec<FieldPath>,
    /// HAVING.
    pub having: Option<Condition>,
    /// ORDER BY, most significant first.
    pub order_by: Vec<OrderBy>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// OFFSET.
    pub offset: Option<u64>,
}

/// A name and where it stood; two names are equal when they are spelt the same.
#[derive(Debug, Clone)]
pub struct Name {
    /// As written.
    pub text: String,
    /// Byte offset in the statement.
    pub at: usize,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A field, perhaps of a parent: `Name`, `Owner.Profile.Name`.
#[derive(Debug, Clone)]
pub struct FieldPath {
    /// The dotted parts; at least one.
    pub parts: Vec<String>,
    /// Byte offset in the statement, for error messages; no part of equality.
    pub at: usize,
}

impl PartialEq for FieldPath {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

/// One entry of the SELECT list.
#[derive(Debug, Clone, PartialEq)]
pub enum SelectItem {
    /// A field; an alias is legal in grouped queries only.
    Field { path: FieldPath, alias: Option<String> },
    /// `COUNT()`.
    CountRows,
    /// `COUNT(f)`, `SUM(f)`, ...
    Aggregate { call: AggregateCall, alias: Option<String> },
    /// `FIELDS(ALL)` and its kin.
    Fields(FieldsKind),
    /// `(SELECT .. FROM Children)`.
    SubQuery(Box<Query>),
}

/// An aggregate function over a field.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall {
    /// Which function.
    pub function: Aggregate,
    /// Its argument.
    pub path: FieldPath,
}

/// The aggregate functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the functions' own names")]
pub enum Aggregate {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

impl Aggregate {
    /// Every function with its SOQL name.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Count, "COUNT"),
        (Self::CountDistinct, "COUNT_DISTINCT"),
        (Self::Sum, "SUM"),
        (Self::Avg, "AVG"),
        (Self::Min, "MIN"),
        (Self::Max, "MAX"),
    ];
}

/// What `FIELDS()` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the arguments' own names")]
pub enum FieldsKind {
    All,
    Standard,
    Custom,
}

/// A WHERE or HAVING condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All hold; at least two.
    And(Vec<Condition>),
    /// One holds; at least two.
    Or(Vec<Condition>),
    /// Does not hold.
    Not(Box<Condition>),
    /// `f = 1`.
    Compare { operand: Operand, op: Comparison, literal: Literal },
    /// `f IN (..)`.
    In { path: FieldPath, negated: bool, list: Vec<Literal> },
    /// `f IN (SELECT ..)`.
    SemiJoin { path: FieldPath, negated: bool, query: Box<Query> },
    /// `f INCLUDES ('a;b', 'c')`: one of the entries has all its parts among the field's values.
    Includes { path: FieldPath, excludes: bool, values: Vec<String> },
}

/// The left side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A field.
    Field(FieldPath),
    /// An aggregate, legal in HAVING.
    Aggregate(AggregateCall),
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operators' own names")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

/// A value written in the statement.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "see the comment of each form")]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(f64),
    Text(String),
    /// `2026-01-02`.
    Date(String),
    /// Milliseconds since 1970 UTC.
    DateTime(i64),
    /// `TODAY`, `LAST_N_DAYS:30`; the name in upper case.
    Relative {
        name: String,
        count: Option<u32>,
    },
}

/// One entry of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderBy {
    /// What is compared.
    pub key: Operand,
    /// DESC.
    pub descending: bool,
    /// NULLS LAST; without it nulls come first, whichever the direction.
    pub nulls_last: bool,
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            Aggregate::ALL.iter().find(|(function, _)| *function == self.function).map_or("", |(_, n)| n);
        write!(f, "{name}({})", self.path)
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => path.fmt(f),
            Self::Aggregate(call) => call.fmt(f),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Like => "LIKE",
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Decimal(value) => write!(f, "{value:?}"),
            Self::Text(text) => quoted(f, text),
            Self::Date(date) => f.write_str(date),
            Self::DateTime(millis) => f.write_str(&super::dates::soql_datetime(*millis)),
            Self::Relative { name, count: None } => f.write_str(name),
            Self::Relative { name, count: Some(count) } => write!(f, "{name}:{count}"),
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("'")?;
    for c in text.chars() {
        match c {
            '\'' => f.write_str("\\'")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("'")
}

fn listed<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    one: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
    between: &str,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        one(f, item)?;
    }
    Ok(())
}

impl Condition {
    /// Prints it so that it can stand inside AND, OR and NOT.
    fn nested(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(_) | Self::Or(_) | Self::Not(_) => write!(f, "({self})"),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |negated: &bool| if *negated { "NOT IN" } else { "IN" };
        match self {
            Self::And(all) => listed(f, all, |f, one| one.nested(f), " AND "),
            Self::Or(any) => listed(f, any, |f, one| one.nested(f), " OR "),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                inner.nested(f)
            }
            Self::Compare { operand, op, literal } => write!(f, "{operand} {op} {literal}"),
            Self::In { path, negated, list } => {
                write!(f, "{path} {} (", verb(negated))?;
                listed(f, list, |f, one| write!(f, "{one}"), ", ")?;
                f.write_str(")")
            }
            Self::SemiJoin { path, negated, query } => write!(f, "{path} {} ({query})", verb(negated)),
            Self::Includes { path, excludes, values } => {
                write!(f, "{path} {} (", if *excludes { "EXCLUDES" } else { "INCLUDES" })?;
                listed(f, values, |f, one| quoted(f, one), ", ")?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for SelectItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alias = match self {
            Self::Field { path, alias } => {
                write!(f, "{path}")?;
                alias
            }
            Self::Aggregate { call, alias } => {
                write!(f, "{call}")?;
                alias
            }
            Self::CountRows => return f.write_str("COUNT()"),
            Self::Fields(FieldsKind::All) => return f.write_str("FIELDS(ALL)"),
            Self::Fields(FieldsKind::Standard) => return f.write_str("FIELDS(STANDARD)"),
            Self::Fields(FieldsKind::Custom) => return f.write_str("FIELDS(CUSTOM)"),
            Self::SubQuery(query) => return write!(f, "({query})"),
        };
        alias.as_ref().map_or(Ok(()), |alias| write!(f, " {alias}"))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        listed(f, &self.select, |f, one| write!(f, "{one}"), ", ")?;
        write!(f, " FROM {}", self.from.text)?;
        if let Some(alias) = &self.alias {
            write!(f, " {alias}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if let Some(with) = &self.with {
            write!(f, " WITH {with}")?;
        }
        if !self.group_by.is_empty() {
            f.write_str(" GROUP BY ")?;
            listed(f, &self.group_by, |f, one| write!(f, "{one}"), ", ")?;
        }
        if let Some(having) = &self.having {
            write!(f, " HAVING {having}")?;
        }
        if !self.order_by.is_empty() {
            f.write_str(" ORDER BY ")?;
            let one = |f: &mut fmt::Formatter<'_>, order: &OrderBy| {
                let direction = if order.descending { "DESC" } else { "ASC" };
                write!(
                    f,
                    "{} {direction} NULLS {}",
                    order.key,
                    if order.nulls_last { "LAST" } else { "FIRST" }
                )
            };
            listed(f, &self.order_by, one, ", ")?;
        }
        if let Some(limit) = self.limit {
            write!(f, " LIMIT {limit}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " OFFSET {offset}")?;
        }
        Ok(())
    }
}
