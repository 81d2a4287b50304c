//! Row filters: `courier = ${claims.sub} AND status IN ('new', 'sent')`.
//!
//! A filter is parsed once, when the catalogue is built, into a tree whose leaves are columns, values and claims; a
//! request's claims fill its leaves and can never add to it. What a filter cannot mean for a caller grants nothing: a
//! claim that is missing, that does not fit its column, or that is a list outside `IN`, makes the whole filter false.
//! Not only its own comparison: below `NOT` a false comparison would become true, and a caller without the claim would
//! see more rows than one with it.

mod syntax;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::Caller;
use super::claims::fit_scalar;
use crate::batch::catalogue::{Column, ColumnId, ColumnType};
use crate::batch::operation::{Condition, Pattern, Test};
use crate::batch::value::Value;

/// A filter's text that means nothing, or nothing for this entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {why}")]
pub struct FilterFault {
    /// Where in the text, in characters from one.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// A row filter as it was parsed at the start, its columns those of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFilter {
    root: Node<ColumnId>,
}

/// A filter by column names, not yet held to any table.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedFilter {
    root: Node<Named>,
}

/// A column as the text names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    at: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Node<C> {
    Constant(bool),
    All(Vec<Node<C>>),
    Any(Vec<Node<C>>),
    Not(Box<Node<C>>),
    Check(C, Check),
}

#[derive(Debug, Clone, PartialEq)]
enum Check {
    Compare(Comparator, Operand),
    In { list: Vec<Operand>, negated: bool },
    Between { from: Operand, to: Operand, negated: bool },
    Like { pattern: Pattern, at: usize, negated: bool },
    Null { negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug, Clone, PartialEq)]
struct Operand {
    at: usize,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Value(Value),
    Claim(Arc<str>),
}

impl ParsedFilter {
    /// Reads a filter's text.
    ///
    /// # Errors
    /// The first thing that is not understood, with its place.
    pub fn parse(text: &str) -> Result<Self, FilterFault> {
        syntax::parse(text).map(|root| Self { root })
    }

    /// Holds it to an entity's columns: names become positions, values take the form of their columns.
    ///
    /// # Errors
    /// The first unknown column, or value that no row could hold.
    pub fn resolve(self, columns: &[Column]) -> Result<RowFilter, FilterFault> {
        resolve(self.root, columns).map(|root| RowFilter { root })
    }
}

impl RowFilter {
    /// Parses and resolves in one.
    ///
    /// # Errors
    /// As its two parts.
    pub fn new(text: &str, columns: &[Column]) -> Result<Self, FilterFault> {
        ParsedFilter::parse(text)?.resolve(columns)
    }

    /// The filter for a caller, over columns that it was resolved with.
    pub fn for_caller(&self, caller: &Caller, columns: &[Column]) -> Condition {
        fill(&self.root, caller, columns).unwrap_or(Condition::False)
    }

    /// Columns that it looks at.
    pub fn columns(&self) -> Vec<ColumnId> {
        let mut found = Vec::new();
        gather(&self.root, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn gather(node: &Node<ColumnId>, out: &mut Vec<ColumnId>) {
    match node {
        Node::Constant(_) => {}
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| gather(node, out)),
        Node::Not(node) => gather(node, out),
        Node::Check(column, _) => out.push(*column),
    }
}

fn resolve(node: Node<Named>, columns: &[Column]) -> Result<Node<ColumnId>, FilterFault> {
    let every = |nodes: Vec<Node<Named>>| {
        nodes.into_iter().map(|node| resolve(node, columns)).collect::<Result<_, _>>()
    };
    Ok(match node {
        Node::Constant(constant) => Node::Constant(constant),
        Node::All(nodes) => Node::All(every(nodes)?),
        Node::Any(nodes) => Node::Any(every(nodes)?),
        Node::Not(node) => Node::Not(Box::new(resolve(*node, columns)?)),
        Node::Check(named, check) => {
            let found = columns.iter().position(|column| *column.name == *named.name);
            let id = found.ok_or_else(|| unknown_column(&named, columns))?;
            Node::Check(id, fit_check(check, &columns[id])?)
        }
    })
}

fn unknown_column(named: &Named, columns: &[Column]) -> FilterFault {
    let names = columns.iter().map(|column| &*column.name);
    let hint = crate::batch::catalogue::nearest::hint(&named.name, names);
    FilterFault { at: named.at, why: format!("there is no column `{}`{hint}", named.name) }
}

fn fit_check(check: Check, column: &Column) -> Result<Check, FilterFault> {
    let comparable =
        !matches!(column.column_type, ColumnType::Bytes | ColumnType::Json | ColumnType::Array(_));
    let fit = |operand: Operand| {
        let at = operand.at;
        let fault = |why: String| FilterFault { at, why };
        if !comparable {
            let why = format!(
                "column `{}` ({}) can only be tested for IS NULL and IS NOT NULL",
                column.name, column.native_type
            );
            return Err(fault(why));
        }
        match operand.content {
            Content::Claim(_) => Ok(operand),
            Content::Value(value) => match fit_scalar(&value, &column.column_type) {
                Some(value) => Ok(Operand { at, content: Content::Value(value) }),
                None => Err(fault(format!(
                    "this {} is not a value of column `{}` ({})",
                    value.kind(),
                    column.name,
                    column.native_type
                ))),
            },
        }
    };
    Ok(match check {
        Check::Compare(comparator, operand) => Check::Compare(comparator, fit(operand)?),
        Check::In { list, negated } => {
            Check::In { list: list.into_iter().map(fit).collect::<Result<_, _>>()?, negated }
        }
        Check::Between { from, to, negated } => Check::Between { from: fit(from)?, to: fit(to)?, negated },
        Check::Like { at, .. } if !is_text(&column.column_type) => {
            let why = format!("LIKE needs text; column `{}` is {}", column.name, column.native_type);
            return Err(FilterFault { at, why });
        }
        like_or_null => like_or_null,
    })
}

fn is_text(column_type: &ColumnType) -> bool {
    matches!(column_type, ColumnType::Text | ColumnType::Enum(_) | ColumnType::Other | ColumnType::Any)
}

/// The condition for a caller; `None` when a claim of it cannot be used, wherever in the filter it stands.
fn fill(node: &Node<ColumnId>, caller: &Caller, columns: &[Column]) -> Option<Condition> {
    let every = |nodes: &[Node<ColumnId>]| {
        nodes.iter().map(|node| fill(node, caller, columns)).collect::<Option<Vec<_>>>()
    };
    Some(match node {
        Node::Constant(true) => Condition::True,
        Node::Constant(false) => Condition::False,
        Node::All(nodes) => Condition::All(every(nodes)?),
        Node::Any(nodes) => Condition::Any(every(nodes)?),
        Node::Not(node) => Condition::Not(Box::new(fill(node, caller, columns)?)),
        Node::Check(id, check) => Condition::Column(*id, fill_check(check, caller, &columns[*id])?),
    })
}

fn fill_check(check: &Check, caller: &Caller, column: &Column) -> Option<Test> {
    let one = |operand: &Operand| match &operand.content {
        Content::Value(value) => Some(value.clone()),
        Content::Claim(name) => fit_scalar(&super::claim_value(caller.claim(name)?)?, &column.column_type),
    };
    Some(match check {
        Check::Compare(comparator, operand) => {
            let value = one(operand)?;
            match comparator {
                Comparator::Eq => Test::Eq(value),
                Comparator::Ne => Test::Ne(value),
                Comparator::Lt => Test::Lt(value),
                Comparator::Le => Test::Le(value),
                Comparator::Gt => Test::Gt(value),
                Comparator::Ge => Test::Ge(value),
            }
        }
        Check::In { list, negated } => {
            let mut values = Vec::with_capacity(list.len());
            for operand in list {
                match &operand.content {
                    Content::Claim(name) => match caller.claim(name)? {
                        serde_json::Value::Array(claims) => {
                            for claim in claims {
                                values.push(fit_scalar(&super::claim_value(claim)?, &column.column_type)?);
                            }
                        }
                        _ => values.push(one(operand)?),
                    },
                    Content::Value(_) => values.push(one(operand)?),
                }
            }
            if *negated { Test::NotIn(values) } else { Test::In(values) }
        }
        Check::Between { from, to, negated } => {
            let (from, to) = (one(from)?, one(to)?);
            if *negated { Test::NotBetween(from, to) } else { Test::Between(from, to) }
        }
        Check::Like { pattern, negated: false, .. } => Test::Like(pattern.clone()),
        Check::Like { pattern, negated: true, .. } => Test::NotLike(pattern.clone()),
        Check::Null { negated: false } => Test::IsNull,
        Check::Null { negated: true } => Test::NotNull,
    })
}
