//! One operation against catalogue and caller, before anything runs (contract, sections 6, 7, 11 and 13.3).
//!
//! Promises: what comes out of here names only columns that the caller may use in that way, in the entities of the
//! catalogue; row filters and hidden rows of every entity it touches are in it; constants fit their columns. Everything that
//! can be known without the database is refused here, so that a batch with such a fault needs no transaction. What is left
//! for [`bind`](super::bind) is to fill in references.

mod error;
mod metadata;
mod operators;
mod properties;
mod references;
mod removed;
mod selector;
mod statement;
mod store;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

pub use error::OperationError;
use error::shortened;
pub(in crate::batch) use metadata::{as_amount, not_an_amount, too_many};
pub(in crate::batch) use operators::Operator;
pub(in crate::batch) use removed::hides_removed;
pub(in crate::batch) use selector::comparison;
pub(in crate::batch) use store::version_required;

use super::access::Caller;
use super::access::exact::exact;
use super::access::narrow::narrow;
use super::access::rules::{Grant, Right};
use super::bind::planned::PlannedWork;
use super::catalogue::{Catalogue, Column, ColumnId, DatabaseKind, Entity, NamedStatement, RelationKind};
use super::operation::{Action, Condition};
use super::request::{Expect, Limits, OperationRequest, Options, Return};

/// What an operation is checked against.
#[derive(Clone, Copy)]
pub struct CheckContext<'a> {
    /// Entities and statements.
    pub catalogue: &'a Catalogue,
    /// Whoever asks.
    pub caller: &'a Caller,
    /// Limits of section 13.
    pub limits: &'a Limits,
    /// Options of the batch.
    pub options: &'a Options,
}

/// An operation that may be done, once its references have values.
#[derive(Debug, Clone)]
pub struct CheckedOperation {
    /// Its place in the request's list.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    /// What it does.
    pub action: Action,
    /// About which entity; `None` for a named statement.
    pub entity: Option<Arc<Entity>>,
    /// The named statement, if it is one.
    pub statement: Option<Arc<NamedStatement>>,
    /// Columns that `data` shows, in this order. Empty for a count, and with `return: none`.
    pub answer_columns: Vec<ColumnId>,
    /// Columns asked of the database, ascending: those of the answer, and what references, associations and the next
    /// cursor need. It is `returning` of what is bound.
    pub fetch_columns: Vec<ColumnId>,
    /// Whether the caller may read each column of the entity: what references may see of [`Self::fetch_columns`].
    pub readable: Vec<bool>,
    /// How many rows it must touch or return; `min 1` for update and delete that do not say.
    pub expect: Expect,
    /// Whether the request says so: then a fault is `expectation_failed`, otherwise `no_rows`.
    pub expect_stated: bool,
    /// Associations to load for its rows.
    pub associations: Vec<AssociationPlan>,
    /// Whether it answers `{"count": n}`.
    pub is_count: bool,
    /// Whether a read said how many rows it wants: what is left is then not called truncated.
    pub limit_stated: bool,
    /// How much of each written row is answered.
    pub returns: Return,
    pub(in crate::batch) kind: DatabaseKind,
    pub(in crate::batch) work: PlannedWork,
}

impl CheckedOperation {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        self.action != Action::Read
    }

    /// Columns of its entity or statement.
    pub fn columns(&self) -> &[Column] {
        match (&self.entity, &self.statement) {
            (Some(entity), _) => &entity.columns,
            (None, Some(statement)) => &statement.columns,
            (None, None) => &[],
        }
    }

    /// What references see of each row: place in [`Self::fetch_columns`] and name.
    pub fn reference_columns(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        let visible = |column: ColumnId| self.readable.get(column).copied().unwrap_or(false);
        let fetched = self.fetch_columns.iter().enumerate();
        fetched
            .filter(move |(_, column)| visible(**column))
            .map(|(at, column)| (at, &self.columns()[*column].name))
    }

    /// What `data` shows of each row: place in [`Self::fetch_columns`] and name.
    pub fn shown_columns(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.answer_columns.iter().filter_map(|column| {
            let at = self.fetch_columns.binary_search(column).ok()?;
            Some((at, &self.columns()[*column].name))
        })
    }
}

/// An association of a read: rows of another entity beside each row.
#[derive(Debug, Clone)]
pub struct AssociationPlan {
    /// Name of the relation: the key in the answer.
    pub name: Arc<str>,
    /// One row or a list.
    pub kind: RelationKind,
    /// The other entity.
    pub entity: Arc<Entity>,
    /// Pairs of (column here, column there). Those here are in [`CheckedOperation::fetch_columns`].
    pub pairs: Vec<(ColumnId, ColumnId)>,
    /// Columns of the other entity that the answer shows, in this order.
    pub answer_columns: Vec<ColumnId>,
    /// Columns of the other entity that are asked of the database, ascending: those, and the key's.
    pub fetch_columns: Vec<ColumnId>,
    /// Rows of the other entity that the caller may see.
    pub(in crate::batch) condition: Condition,
}

/// Every operation of a batch, in the order of the list. A fault belongs to one operation and does not keep the others
/// from being checked.
pub fn check_all(
    operations: &[OperationRequest],
    cx: &CheckContext<'_>,
) -> Vec<Result<CheckedOperation, OperationError>> {
    check_all_at(operations, &Desk::new(*cx))
}

fn check_all_at(
    operations: &[OperationRequest],
    desk: &Desk<'_>,
) -> Vec<Result<CheckedOperation, OperationError>> {
    let mut patterns = properties::PatternsLeft::default();
    let mut checked: Vec<Result<CheckedOperation, OperationError>> = operations
        .iter()
        .map(|operation| patterns.take(operation).and_then(|()| check_alone(operation, desk)))
        .collect();
    references::check(operations, &mut checked);
    checked
}

/// One operation of a batch; the others are needed for what it refers to.
pub fn check(
    operation: &OperationRequest,
    all: &[OperationRequest],
    cx: &CheckContext<'_>,
) -> Result<CheckedOperation, OperationError> {
    check_all(all, cx).swap_remove(operation.index)
}

/// An entity, a right, and what the caller may do by it.
type Asked = (*const Entity, Right, Option<Rc<Grant>>);

/// What one check of a batch shares: who asks, and what that caller may do with each entity, asked once.
pub(in crate::batch) struct Desk<'a> {
    cx: CheckContext<'a>,
    grants: RefCell<Vec<Asked>>,
}

impl<'a> Desk<'a> {
    fn new(cx: CheckContext<'a>) -> Self {
        Self { cx, grants: RefCell::default() }
    }

    /// What the caller may do with an entity; `None`: nothing.
    fn grant(&self, entity: &Arc<Entity>, right: Right) -> Option<Rc<Grant>> {
        let key = Arc::as_ptr(entity);
        let known = self
            .grants
            .borrow()
            .iter()
            .find(|seen| seen.0 == key && seen.1 == right)
            .map(|seen| seen.2.clone());
        known.unwrap_or_else(|| {
            let mut grant = entity.grant(self.cx.caller, right);
            if let (DatabaseKind::Mysql, Some(grant)) = (self.kind(), &mut grant) {
                grant.filter = exact(std::mem::replace(&mut grant.filter, Condition::False), &entity.columns);
            }
            let grant = grant.map(Rc::new);
            self.grants.borrow_mut().push((key, right, grant.clone()));
            grant
        })
    }

    /// What the caller may do, without asking the entity's rules.
    #[cfg(test)]
    fn preset(&self, entity: &Arc<Entity>, right: Right, grant: Option<Grant>) {
        self.grants.borrow_mut().push((Arc::as_ptr(entity), right, grant.map(Rc::new)));
    }

    fn kind(&self) -> DatabaseKind {
        self.cx.catalogue.kind
    }
}

/// Everything but what other operations answer.
fn check_alone(operation: &OperationRequest, desk: &Desk<'_>) -> Result<CheckedOperation, OperationError> {
    if let Some(claims) = &operation.claims {
        let narrowed = narrow(desk.cx.caller, claims).map_err(|fault| {
            OperationError::forbidden("claims_widening", fault.why)
                .at(format!("/operations/{}/claims{}", operation.index, fault.pointer))
        })?;
        if desk.cx.catalogue.enforced_by_database && narrowed != *desk.cx.caller {
            // One identity is taken for the whole transaction, so the policies would judge what the caller may do at most.
            return Err(OperationError::bad(
                "claims_not_allowed",
                "the database judges this batch by its own policies, for all operations alike: leave `claims` out, or send a batch with a narrower token",
            )
            .at(format!("/operations/{}/claims", operation.index)));
        }
        let desk = Desk::new(CheckContext { caller: &narrowed, ..desk.cx });
        return check_as(operation, &desk);
    }
    check_as(operation, desk)
}

fn check_as(operation: &OperationRequest, desk: &Desk<'_>) -> Result<CheckedOperation, OperationError> {
    let name = &operation.entity;
    let Some(entity) = desk.cx.catalogue.entities.get(name) else {
        return match desk.cx.catalogue.statements.get(name) {
            Some(named) => statement::check(operation, named, desk),
            None => Err(OperationError::bad(
                "unknown_entity",
                format!("there is no entity `{}`", shortened(name)),
            )
            .at(format!("/operations/{}/entity", operation.index))),
        };
    };
    if entity.view && operation.action != Action::Read {
        return Err(action_forbidden(operation.action, entity, "it is a view, which can only be read"));
    }
    let right = match operation.action {
        Action::Read => Right::Read,
        Action::Create | Action::Update => Right::Write,
        Action::Delete => Right::Delete,
    };
    let Some(grant) = desk.grant(entity, right) else {
        return Err(action_forbidden(operation.action, entity, "no role of yours has the right"));
    };
    let read = desk.grant(entity, Right::Read);
    match operation.action {
        Action::Read => selector::check_read(operation, entity, &grant, desk),
        Action::Create => store::check_create(operation, entity, &grant, read.as_deref(), desk),
        Action::Update => store::check_update(operation, entity, &grant, read.as_deref(), desk),
        Action::Delete => store::check_delete(operation, entity, &grant, read.as_deref(), desk),
    }
}

fn action_forbidden(action: Action, entity: &Entity, why: &str) -> OperationError {
    OperationError::forbidden(
        "action_forbidden",
        format!("you may not {} `{}`: {why}", action.as_str(), entity.name),
    )
}

/// What an operation is, before its action fills in the rest.
fn base(
    operation: &OperationRequest,
    desk: &Desk<'_>,
    entity: Option<&Arc<Entity>>,
    readable: Vec<bool>,
    work: PlannedWork,
) -> CheckedOperation {
    let default_min = u64::from(matches!(operation.action, Action::Update | Action::Delete));
    CheckedOperation {
        index: operation.index,
        id: Arc::clone(&operation.id),
        action: operation.action,
        entity: entity.cloned(),
        statement: None,
        answer_columns: Vec::new(),
        fetch_columns: Vec::new(),
        readable,
        expect: operation.expect.unwrap_or(Expect { min: default_min, max: None }),
        expect_stated: operation.expect.is_some(),
        associations: Vec::new(),
        is_count: false,
        limit_stated: false,
        returns: desk.cx.options.returns,
        kind: desk.kind(),
        work,
    }
}

/// Adds a column to an ascending list of columns that has each once.
fn add_column(columns: &mut Vec<ColumnId>, column: ColumnId) {
    if let Err(at) = columns.binary_search(&column) {
        columns.insert(at, column);
    }
}

#[cfg(test)]
pub(in crate::batch) mod fixture;
#[cfg(test)]
mod tests;
