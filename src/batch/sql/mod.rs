//! From an operation to a statement: text with places for values, and the values.
//!
//! Promises: the text of a statement is made of three things only: pieces that stand in this source, identifiers of the
//! catalogue (quoted, with embedded quotes doubled), and places for values. [`SqlWriter`] takes nothing else: there is
//! no way to append a text that came with a request. Every value is bound.
//!
//! What databases write differently is behind [`Dialect`]; what they have in common (conditions, column lists, order,
//! reads and counts) is written once, here.

pub mod mysql;
pub mod postgres;
pub mod sqlite;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::catalogue::{Column, ColumnId, ColumnType, Entity};
use super::operation::{Condition, Lock, Pattern, PatternPart, SortKey, Test};
use super::value::Value;

/// A statement and what is bound to its places, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// SQL text. Equal shapes have equal texts, so a cache of prepared statements is keyed by it.
    pub text: String,
    /// A value for each place.
    pub parameters: Vec<Parameter>,
}

/// A value and as what it is bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The value.
    pub value: Value,
    /// What it is compared with or stored in.
    pub kind: ParameterKind,
}

/// As what a value is bound.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterKind {
    /// A column's content.
    Column {
        /// What the column holds.
        column_type: ColumnType,
        /// The database's own name of the type.
        native_type: Arc<str>,
    },
    /// A list of a column's contents, as one value: [`Value::Array`]. Only dialects that ask for it get it.
    List {
        /// What the column holds.
        column_type: ColumnType,
        /// The database's own name of the type.
        native_type: Arc<str>,
    },
    /// A pattern or other text that the dialect made of a value.
    Text,
    /// A count: `LIMIT`, `OFFSET`.
    Count,
}

impl ParameterKind {
    /// For a value of this column.
    pub fn of(column: &Column) -> Self {
        Self::Column { column_type: column.column_type.clone(), native_type: Arc::clone(&column.native_type) }
    }

    /// For a list of values of this column, bound as one.
    pub fn list_of(column: &Column) -> Self {
        Self::List { column_type: column.column_type.clone(), native_type: Arc::clone(&column.native_type) }
    }
}

/// How columns of a table are named inside a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// By the column's name alone.
    Bare,
    /// By the table's own name: `"depot"."city"`.
    Table,
    /// By an alias: `t0."city"`. Made by [`SqlWriter::alias`].
    Alias(usize),
}

/// What databases write differently. All methods append to the writer, so that they cannot let text of a request in.
pub trait Dialect: Sync {
    /// Encloses identifiers.
    fn quote(&self) -> char;

    /// Writes the place of the value that was bound as number `number` (from 1).
    fn place(&self, writer: &mut SqlWriter<'_>, number: usize, kind: &ParameterKind);

    /// Writes a pattern test; `operand` writes the column.
    fn like(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        pattern: &Pattern,
    );

    /// Writes `column IN (values)`. The list is not empty.
    fn one_of(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        values: &[Value],
    ) {
        let about = &entity.columns[column];
        self.operand(writer, entity, at, column);
        writer.push(" IN (");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                writer.push(", ");
            }
            writer.bind(value.clone(), ParameterKind::of(about));
        }
        writer.push(")");
    }

    /// Writes a column where it is compared with a value.
    fn operand(&self, writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, column: ColumnId) {
        writer.column(entity, at, column);
    }

    /// Writes one comparison. Overridden where a type cannot be compared with a plain operator.
    fn compare(
        &self,
        writer: &mut SqlWriter<'_>,
        entity: &Entity,
        at: Qualifier,
        column: ColumnId,
        operator: Comparison,
        value: &Value,
    ) {
        self.operand(writer, entity, at, column);
        writer.push(operator.sql());
        writer.bind(value.clone(), ParameterKind::of(&entity.columns[column]));
    }

    /// Writes a column in the list of what is answered.
    fn answered(&self, writer: &mut SqlWriter<'_>, entity: &Entity, at: Qualifier, column: ColumnId) {
        writer.column(entity, at, column);
    }

    /// Writes what comes after an expression of `ORDER BY` whose nulls come last. `None`: the database cannot say it, and
    /// the expression is written twice: `x IS NULL, x DESC`.
    fn nulls_last(&self) -> Option<&'static str> {
        Some(" NULLS LAST")
    }

    /// What a read ends with to lock its rows.
    fn lock(&self, lock: Lock) -> &'static str {
        match lock {
            Lock::None => "",
            Lock::Share => " FOR SHARE",
            Lock::Update => " FOR UPDATE",
        }
    }
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Comparison {
    /// With a space on either side.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Eq => " = ",
            Self::Ne => " <> ",
            Self::Lt => " < ",
            Self::Le => " <= ",
            Self::Gt => " > ",
            Self::Ge => " >= ",
        }
    }
}

/// Parts that are written side by side. A database reads `a OR b OR c` as a tree that gets one level deeper with each, and
/// SQLite takes no more than a thousand.
const JOINED_MAX: usize = 64;

/// Writes one statement.
pub struct SqlWriter<'d> {
    dialect: &'d dyn Dialect,
    text: String,
    parameters: Vec<Parameter>,
    aliases: usize,
}

impl<'d> SqlWriter<'d> {
    /// An empty statement.
    pub fn new(dialect: &'d dyn Dialect) -> Self {
        Self { dialect, text: String::with_capacity(128), parameters: Vec::new(), aliases: 0 }
    }

    /// The statement as it stands.
    pub fn finish(self) -> Statement {
        Statement { text: self.text, parameters: self.parameters }
    }

    /// Appends a piece of the source.
    pub fn push(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// Appends a number that this code counted itself: of a place, of a column.
    pub fn number(&mut self, number: usize) {
        use std::fmt::Write as _;
        // Writing to memory cannot fail.
        let _ = write!(self.text, "{number}");
    }

    /// Appends a name of the catalogue, quoted. Never a name that a request brought.
    pub fn identifier(&mut self, name: &str) {
        let quote = self.dialect.quote();
        self.text.push(quote);
        for character in name.chars() {
            if character == quote {
                self.text.push(quote);
            }
            self.text.push(character);
        }
        self.text.push(quote);
    }

    /// Appends the SQL text of a named statement of the config, or a name of its types: words of whoever runs the daemon.
    pub fn configured(&mut self, text: &Arc<str>) {
        self.text.push_str(text);
    }

    /// Binds a value and appends its place.
    pub fn bind(&mut self, value: Value, kind: ParameterKind) {
        let dialect = self.dialect;
        let number = self.parameters.len() + 1;
        dialect.place(self, number, &kind);
        self.parameters.push(Parameter { value, kind });
    }

    /// Binds a count and appends its place.
    pub fn bind_count(&mut self, count: u64) {
        self.bind(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)), ParameterKind::Count);
    }

    /// A fresh alias.
    pub fn alias(&mut self) -> Qualifier {
        let alias = self.aliases;
        self.aliases += 1;
        Qualifier::Alias(alias)
    }

    /// Appends the table's name, with its schema where it has one.
    pub fn table(&mut self, entity: &Entity) {
        if let Some(schema) = &entity.schema {
            self.identifier(schema);
            self.push(".");
        }
        self.identifier(&entity.table);
    }

    /// Appends the table's name and, for an alias, ` AS t0`.
    pub fn table_as(&mut self, entity: &Entity, at: Qualifier) {
        self.table(entity);
        if let Qualifier::Alias(number) = at {
            self.push(" AS t");
            self.number(number);
        }
    }

    /// Appends a column's name.
    pub fn column(&mut self, entity: &Entity, at: Qualifier, column: ColumnId) {
        match at {
            Qualifier::Bare => {}
            Qualifier::Table => {
                self.identifier(&entity.table);
                self.push(".");
            }
            Qualifier::Alias(number) => {
                self.push("t");
                self.number(number);
                self.push(".");
            }
        }
        self.identifier(&entity.columns[column].name);
    }

    /// Appends the columns that are answered, divided by commas. `none` stands in for an empty list.
    pub fn answered(&mut self, entity: &Entity, at: Qualifier, columns: &[ColumnId], none: &'static str) {
        let dialect = self.dialect;
        if columns.is_empty() {
            self.push(none);
        }
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            dialect.answered(self, entity, at, *column);
        }
    }

    /// Appends a condition about `entity`, whose columns are named by `at`. It is a closed expression: a test, or in
    /// parentheses.
    pub fn condition(&mut self, condition: &Condition, entity: &Entity, at: Qualifier) {
        match condition {
            // Every database has these; not all have TRUE and FALSE.
            Condition::True => self.push("(1 = 1)"),
            Condition::False => self.push("(1 = 0)"),
            Condition::All(parts) => self.joined(parts, " AND ", &Condition::True, entity, at),
            Condition::Any(parts) => self.joined(parts, " OR ", &Condition::False, entity, at),
            Condition::Not(inner) => {
                self.push("(NOT ");
                self.condition(inner, entity, at);
                self.push(")");
            }
            Condition::Column(column, test) => {
                self.push("(");
                self.test(test, entity, at, *column);
                self.push(")");
            }
            Condition::Related { entity: other, columns, condition } => {
                let there = self.alias();
                self.push("(EXISTS (SELECT 1 FROM ");
                self.table_as(other, there);
                self.push(" WHERE ");
                for (here_column, there_column) in columns {
                    self.column(other, there, *there_column);
                    self.push(" = ");
                    self.column(entity, at, *here_column);
                    self.push(" AND ");
                }
                self.condition(condition, other, there);
                self.push("))");
            }
        }
    }

    /// Appends ` WHERE condition`, or nothing when every row meets it.
    pub fn filter(&mut self, condition: &Condition, entity: &Entity, at: Qualifier) {
        if *condition != Condition::True {
            self.push(" WHERE ");
            self.condition(condition, entity, at);
        }
    }

    fn joined(
        &mut self,
        parts: &[Condition],
        word: &'static str,
        none: &Condition,
        entity: &Entity,
        at: Qualifier,
    ) {
        match parts {
            [] => self.condition(none, entity, at),
            [one] => self.condition(one, entity, at),
            parts if parts.len() > JOINED_MAX => {
                let (first, second) = parts.split_at(parts.len() / 2);
                self.push("(");
                self.joined(first, word, none, entity, at);
                self.push(word);
                self.joined(second, word, none, entity, at);
                self.push(")");
            }
            parts => {
                self.push("(");
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        self.push(word);
                    }
                    self.condition(part, entity, at);
                }
                self.push(")");
            }
        }
    }

    fn test(&mut self, test: &Test, entity: &Entity, at: Qualifier, column: ColumnId) {
        let dialect = self.dialect;
        let compare = |writer: &mut Self, operator, value: &Value| {
            dialect.compare(writer, entity, at, column, operator, value);
        };
        match test {
            Test::Eq(value) => compare(self, Comparison::Eq, value),
            Test::Ne(value) => compare(self, Comparison::Ne, value),
            Test::Lt(value) => compare(self, Comparison::Lt, value),
            Test::Le(value) => compare(self, Comparison::Le, value),
            Test::Gt(value) => compare(self, Comparison::Gt, value),
            Test::Ge(value) => compare(self, Comparison::Ge, value),
            Test::In(values) if values.is_empty() => self.push("1 = 0"),
            Test::In(values) => dialect.one_of(self, entity, at, column, values),
            Test::NotIn(values) if values.is_empty() => {
                self.column(entity, at, column);
                self.push(" IS NOT NULL");
            }
            Test::NotIn(values) => {
                self.push("NOT (");
                dialect.one_of(self, entity, at, column, values);
                self.push(")");
            }
            // Two comparisons rather than BETWEEN: one form for every dialect to know.
            Test::Between(least, most) => {
                compare(self, Comparison::Ge, least);
                self.push(" AND ");
                compare(self, Comparison::Le, most);
            }
            Test::NotBetween(least, most) => {
                compare(self, Comparison::Lt, least);
                self.push(" OR ");
                compare(self, Comparison::Gt, most);
            }
            Test::Like(pattern) => dialect.like(self, entity, at, column, pattern),
            Test::NotLike(pattern) => {
                self.push("NOT (");
                dialect.like(self, entity, at, column, pattern);
                self.push(")");
            }
            Test::IsNull => {
                self.column(entity, at, column);
                self.push(" IS NULL");
            }
            Test::NotNull => {
                self.column(entity, at, column);
                self.push(" IS NOT NULL");
            }
        }
    }

    /// Appends ` ORDER BY ...`, nulls last, or nothing when there is no order.
    pub fn order(&mut self, sort: &[SortKey], entity: &Entity, at: Qualifier) {
        let nulls_last = self.dialect.nulls_last();
        for (index, key) in sort.iter().enumerate() {
            self.push(if index == 0 { " ORDER BY " } else { ", " });
            // A column that takes no null needs no word about them, and an index serves the plain form.
            let may_be_null = key.through.is_some() || entity.columns[key.column].nullable;
            if may_be_null && nulls_last.is_none() {
                self.sort_key(key, entity, at);
                self.push(" IS NULL, ");
            }
            self.sort_key(key, entity, at);
            if key.descending {
                self.push(" DESC");
            }
            if may_be_null && let Some(words) = nulls_last {
                self.push(words);
            }
        }
    }

    fn sort_key(&mut self, key: &SortKey, entity: &Entity, at: Qualifier) {
        let Some((other, columns)) = &key.through else {
            return self.column(entity, at, key.column);
        };
        let there = self.alias();
        self.push("(SELECT ");
        self.column(other, there, key.column);
        self.push(" FROM ");
        self.table_as(other, there);
        for (index, (here_column, there_column)) in columns.iter().enumerate() {
            self.push(if index == 0 { " WHERE " } else { " AND " });
            self.column(other, there, *there_column);
            self.push(" = ");
            self.column(entity, at, *here_column);
        }
        self.push(" LIMIT 1)");
    }

    /// Appends a whole read. A read of no columns answers rows of one constant.
    #[expect(clippy::too_many_arguments, reason = "the parts of a SELECT, each once")]
    pub fn read(
        &mut self,
        entity: &Entity,
        returning: &[ColumnId],
        condition: &Condition,
        sort: &[SortKey],
        limit: u64,
        offset: u64,
        lock: Lock,
    ) {
        let at = self.alias();
        self.push("SELECT ");
        self.answered(entity, at, returning, "1");
        self.push(" FROM ");
        self.table_as(entity, at);
        self.filter(condition, entity, at);
        self.order(sort, entity, at);
        self.push(" LIMIT ");
        self.bind_count(limit);
        if offset > 0 {
            self.push(" OFFSET ");
            self.bind_count(offset);
        }
        let words = self.dialect.lock(lock);
        self.push(words);
    }

    /// Appends a whole count.
    pub fn count(&mut self, entity: &Entity, condition: &Condition) {
        let at = self.alias();
        self.push("SELECT count(*) FROM ");
        self.table_as(entity, at);
        self.filter(condition, entity, at);
    }
}

/// A pattern for `LIKE ... ESCAPE escape`: `%` and `_` for the two wildcards, `escape` before what would be one.
pub fn like_text(pattern: &Pattern, escape: char) -> String {
    let mut text = String::new();
    for part in &pattern.0 {
        match part {
            PatternPart::Any => text.push('%'),
            PatternPart::One => text.push('_'),
            PatternPart::Literal(literal) => {
                for character in literal.chars() {
                    if matches!(character, '%' | '_') || character == escape {
                        text.push(escape);
                    }
                    text.push(character);
                }
            }
        }
    }
    text
}
