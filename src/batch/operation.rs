//! One operation with every value known, as a database is asked to do it. No text of a request is left in it: columns are
//! positions in the catalogue's entity, values are bound.

use std::sync::Arc;

use super::catalogue::{ColumnId, Entity, NamedStatement};
use super::value::Value;

/// Pairs of (column here, column there) that are equal along a relation.
pub type ColumnPairs = Vec<(ColumnId, ColumnId)>;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// New rows.
    Create,
    /// Rows as they are.
    Read,
    /// Rows changed.
    Update,
    /// Rows removed, or marked so.
    Delete,
}

impl Action {
    /// The name in requests, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Which rows. Columns are of the entity that the condition is about; values fit their columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Every row.
    True,
    /// No row.
    False,
    /// All of these hold; none given: true.
    All(Vec<Condition>),
    /// One of these holds; none given: false.
    Any(Vec<Condition>),
    /// This does not hold (SQL's three-valued logic).
    Not(Box<Condition>),
    /// A column passes a test.
    Column(ColumnId, Test),
    /// A row of the related entity exists that meets the condition: pairs of (column here, column there) are equal.
    Related {
        /// The other entity.
        entity: Arc<Entity>,
        /// Pairs of (column here, column there).
        columns: Vec<(ColumnId, ColumnId)>,
        /// About the other entity.
        condition: Box<Condition>,
    },
}

impl Condition {
    /// Both hold; `True` and `False` are folded away.
    pub fn and(self, other: Condition) -> Condition {
        match (self, other) {
            (Self::True, one) | (one, Self::True) => one,
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::All(mut left), Self::All(right)) => {
                left.extend(right);
                Self::All(left)
            }
            (Self::All(mut left), one) => {
                left.push(one);
                Self::All(left)
            }
            (one, Self::All(mut right)) => {
                right.insert(0, one);
                Self::All(right)
            }
            (left, right) => Self::All(vec![left, right]),
        }
    }
}

/// A test of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `=`
    Eq(Value),
    /// `<>`
    Ne(Value),
    /// `<`
    Lt(Value),
    /// `<=`
    Le(Value),
    /// `>`
    Gt(Value),
    /// `>=`
    Ge(Value),
    /// One of; none given: no row.
    In(Vec<Value>),
    /// None of; none given: every row whose column is not null.
    NotIn(Vec<Value>),
    /// Between, ends included.
    Between(Value, Value),
    /// Not between.
    NotBetween(Value, Value),
    /// Matches.
    Like(Pattern),
    /// Does not match.
    NotLike(Pattern),
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    NotNull,
}

/// A pattern of `like`; case-sensitive on every database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub Vec<PatternPart>);

/// A part of a pattern.
#[derive(Clone, PartialEq, Eq)]
pub enum PatternPart {
    /// This text, whatever characters it has.
    Literal(String),
    /// Any text (`*`).
    Any,
    /// One character (`?`).
    One,
}

impl std::fmt::Debug for PatternPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Literal(_) => "<text>",
            Self::Any => "*",
            Self::One => "?",
        })
    }
}

/// What an update stores in a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignment {
    /// This.
    Value(Value),
    /// One more than is there.
    Increment,
}

/// By what rows are ordered. Nulls come last in both directions, on every database.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// Column of the entity; or of the related entity when `through` is there.
    pub column: ColumnId,
    /// An `object` relation: the other entity and pairs of (column here, column there).
    pub through: Option<(Arc<Entity>, ColumnPairs)>,
    /// Largest first.
    pub descending: bool,
}

/// Row locks of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// None.
    None,
    /// `FOR SHARE`; nothing on SQLite.
    Share,
    /// `FOR UPDATE`; nothing on SQLite.
    Update,
}

/// What is asked of the database.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// New rows, all with the same columns.
    Create {
        /// Columns that are stored. Columns left out get the database's default.
        columns: Vec<ColumnId>,
        /// A value for each of them, row by row; at least one row.
        rows: Vec<Vec<Value>>,
        /// Must hold for every new row, else the reply is [`DbErrorCode::RowForbidden`](crate::database::DbErrorCode).
        must_hold: Condition,
    },
    /// Rows as they are.
    Read {
        /// Which.
        condition: Condition,
        /// In which order; the primary key is the last of it, where there is one.
        sort: Vec<SortKey>,
        /// At most so many; the caller adds one to see whether there are more.
        limit: u64,
        /// After skipping so many.
        offset: u64,
        /// Row locks.
        lock: Lock,
    },
    /// How many rows: answered as one row with one [`Value::Int`].
    Count {
        /// Which.
        condition: Condition,
    },
    /// Rows changed; also a soft delete.
    Update {
        /// Columns and what they get.
        set: Vec<(ColumnId, Assignment)>,
        /// Which rows, as they were.
        condition: Condition,
        /// Must hold for every row as it becomes.
        must_hold: Condition,
        /// More rows than this are too many.
        rows_max: u64,
    },
    /// Rows removed; answered as they were.
    Delete {
        /// Which.
        condition: Condition,
        /// More rows than this are too many.
        rows_max: u64,
    },
    /// A named statement of the config, in a read-only sub-transaction.
    Statement {
        /// Which.
        statement: Arc<NamedStatement>,
        /// Values in the order of its parameters.
        parameters: Vec<Value>,
        /// At most so many rows.
        limit: u64,
    },
}

/// One operation, ready for a database.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundOperation {
    /// Its place in the request's list.
    pub index: usize,
    /// About which entity; `None` for a named statement.
    pub entity: Option<Arc<Entity>>,
    /// What to do.
    pub work: Work,
    /// Columns that the answer of the database has, in this order. May be empty: rows are counted all the same.
    pub returning: Vec<ColumnId>,
    /// Values that do not come from here, or go where the next operations find them.
    pub handed: Handed,
}

/// Values that the database itself carries from one create of a transaction to the next; only PostgreSQL is asked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handed {
    /// Columns of the new row, of those that are returned, that others will ask for.
    pub gives: Vec<Handover>,
    /// Columns of the new row, beside those that have values, that get what an earlier create gave.
    pub takes: Vec<Handover>,
}

/// One such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    /// The column that it comes from, or goes into.
    pub column: ColumnId,
    /// Its number within the batch.
    pub name: u32,
}

impl PartialEq for Entity {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl PartialEq for NamedStatement {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
