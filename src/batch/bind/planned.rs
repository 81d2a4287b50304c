//! An operation between check and bind: columns are known, constants fit, references wait.

use std::sync::Arc;

use crate::batch::catalogue::{ColumnId, Entity};
use crate::batch::check::Operator;
use crate::batch::operation::{Condition, Lock, PatternPart, SortKey, Test};
use crate::batch::reference::{Reference, Template};
use crate::batch::value::Value;

/// What is to be done.
#[derive(Debug, Clone)]
pub enum PlannedWork {
    /// New rows.
    Create { columns: Vec<ColumnId>, rows: Vec<Vec<Cell>>, must_hold: Condition },
    /// Rows as they are.
    Read { selector: Selector, sort: Vec<SortKey>, limit: Amount, offset: Amount, lock: Lock },
    /// How many rows.
    Count { selector: Selector },
    /// Rows changed; also a soft delete.
    Update { set: Vec<(ColumnId, Change)>, selector: Selector, must_hold: Condition },
    /// Rows removed.
    Delete { selector: Selector },
    /// A named statement.
    Statement { parameters: Vec<Cell>, limit: Amount },
}

impl PlannedWork {
    /// Its selector, if it has one.
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Read { selector, .. }
            | Self::Count { selector }
            | Self::Update { selector, .. }
            | Self::Delete { selector } => Some(selector),
            Self::Create { .. } | Self::Statement { .. } => None,
        }
    }
}

/// A value to store.
#[derive(Debug, Clone)]
pub enum Cell {
    /// This; it fits.
    Known(Value),
    /// What the template gives.
    Later {
        /// With references.
        template: Template,
        /// Where it is in the request.
        pointer: String,
    },
    /// The moment of the batch.
    Now,
    /// The day of the batch, UTC.
    Today,
    /// A new UUID.
    NewUuid,
}

/// What an update stores.
#[derive(Debug, Clone)]
pub enum Change {
    /// A value.
    To(Cell),
    /// One more.
    Increment,
}

/// A number of rows.
#[derive(Debug, Clone)]
pub enum Amount {
    /// This many.
    Known(u64),
    /// What the template gives.
    Later {
        /// `limit` or `offset`.
        name: &'static str,
        /// With references.
        template: Template,
        /// Where it is in the request.
        pointer: String,
    },
}

/// Which rows.
#[derive(Debug, Clone)]
pub struct Selector {
    /// Tests of the entity's own columns, in the order of the request.
    pub tests: Vec<PlannedTest>,
    /// Tests of related entities.
    pub related: Vec<RelatedSelector>,
    /// After the row that a cursor names.
    pub after: Condition,
    /// Rows that the caller may touch.
    pub filter: Condition,
    /// Whether a list in place of one value is refused, as for an entity with a version.
    pub plain_only: bool,
}

impl Selector {
    /// Whether the column is tested by plain equality.
    pub fn names_plainly(&self, column: ColumnId) -> bool {
        self.tests.iter().any(|test| test.column == column && test.plain)
    }
}

/// A relation in a selector: a row must be there that meets all of its tests.
#[derive(Debug, Clone)]
pub struct RelatedSelector {
    /// Name of the relation.
    pub name: Arc<str>,
    /// The other entity.
    pub entity: Arc<Entity>,
    /// Pairs of (column here, column there).
    pub columns: Vec<(ColumnId, ColumnId)>,
    /// Tests of the other entity's columns.
    pub tests: Vec<PlannedTest>,
    /// Rows of the other entity that the caller may see.
    pub filter: Condition,
}

/// A test of one column.
#[derive(Debug, Clone)]
pub struct PlannedTest {
    /// Of the entity it is about.
    pub column: ColumnId,
    /// Whether it is plain equality.
    pub plain: bool,
    /// Where it is in the request; only where it can still fail.
    pub pointer: String,
    /// What.
    pub body: TestBody,
}

/// What a test compares with.
#[derive(Debug, Clone)]
pub enum TestBody {
    /// Nothing is to be filled in.
    Known(Test),
    /// A whole value that decides: null, a list, or one value.
    Plain(Template),
    /// An operator with its operands.
    Operator(Operator, Vec<Operand>),
    /// An operator with a list that a reference gives.
    WholeList(Operator, Template),
    /// A pattern; references in it are literal.
    Pattern {
        /// `not-like`.
        negated: bool,
        /// In order.
        pieces: Vec<PatternPiece>,
    },
}

/// An operand.
#[derive(Debug, Clone)]
pub enum Operand {
    /// This; it fits.
    Known(Value),
    /// What the template gives, with its type.
    Whole(Template),
    /// Text with references in it, read by the column's type.
    Text(Template),
}

/// A piece of a pattern.
#[derive(Debug, Clone)]
pub enum PatternPiece {
    /// As the client wrote it.
    Part(PatternPart),
    /// The value of a reference, literally.
    Reference(Reference),
}
