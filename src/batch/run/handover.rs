//! Values that go from one create to the next within the database, so that no answer has to be waited for in between
//! (contract, section 14.2).
//!
//! PostgreSQL keeps such a value for the rest of the transaction: the create that makes the row puts it there, the create
//! that refers to it reads it.
//!
//! Promises: a value is handed over only where it is the one that the answer would have brought: of a create of one row that
//! no trigger, rule or view turns into another number of rows, from a column that is never null and that the caller may read, a
//! whole number or a UUID, into a column of the same kind that holds as much. A value that is not there after all is read as
//! nothing or as an empty text, which neither of these kinds takes for a value: the create fails, and is the caller's to run
//! again without. Operations stay in the order of the plan, and rows that shared a statement still do.

use std::sync::Arc;

use crate::batch::bind::planned::{Cell, PlannedWork};
use crate::batch::catalogue::{Column, ColumnId, ColumnType};
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::Handover;
use crate::batch::plan::Plan;
use crate::batch::reference::{PathStep, Reference, Template};
use crate::batch::request::{BatchRequest, OperationRequest};

/// With more creates than this that others refer to, values come by way of the answer: such creates would share a statement
/// then, which spares more than a wait costs.
const GIVERS_MAX: usize = 8;
/// From so many neighbours on, creates share a statement.
const NEIGHBOURS: usize = 4;

/// Who can hand what to whom.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    operations: Vec<Side>,
}

#[derive(Debug, Clone, Default)]
struct Side {
    gives: Vec<Handover>,
    takes: Vec<(usize, Handover)>,
}

/// A value that a create could take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    column: ColumnId,
    from: usize,
    there: ColumnId,
}

impl Handovers {
    /// Of a batch; of one that hands nothing over when nothing is spared by it.
    pub fn of(
        request: &BatchRequest,
        plan: &Plan,
        checked: &[Result<CheckedOperation, OperationError>],
        targets: &[Vec<usize>],
    ) -> Self {
        let mut found = Self { operations: vec![Side::default(); request.operations.len()] };
        let mut names = 0;
        // Behind one that has to wait for an answer, nothing is handed over.
        let wishes = plan.order.iter().map_while(|operation| match targets[*operation].is_empty() {
            true => Some(Vec::new()),
            false => wishes(&request.operations[*operation], checked),
        });
        let wishes: Vec<Vec<Wish>> = wishes.collect();
        let order = &plan.order[..wishes.len()];
        let mut start = 0;
        while start < order.len() {
            let alike = |next: &&usize| are_alike(&checked[order[start]], &checked[**next]);
            let end = start + 1 + order[start + 1..].iter().take_while(alike).count();
            let mut pieces = wishes[start..end].chunk_by(|one, other| one == other);
            if end - start >= NEIGHBOURS && pieces.any(|piece| piece.len() < NEIGHBOURS) {
                break;
            }
            for (taker, wishes) in order[start..end].iter().zip(&wishes[start..end]) {
                wishes.iter().for_each(|wish| found.grant(*taker, wish, &mut names));
            }
            start = end;
        }
        let givers = found.operations.iter().filter(|side| !side.gives.is_empty()).count();
        if givers > GIVERS_MAX { Self::default() } else { found }
    }

    fn grant(&mut self, taker: usize, wish: &Wish, names: &mut u32) {
        let gives = &mut self.operations[wish.from].gives;
        let known = gives.iter().find(|given| given.column == wish.there).copied();
        let given = known.unwrap_or_else(|| {
            *names += 1;
            let given = Handover { column: wish.there, name: *names };
            gives.push(given);
            given
        });
        self.operations[taker].takes.push((wish.from, Handover { column: wish.column, ..given }));
    }

    /// What an operation puts where others find it.
    pub fn gives(&self, operation: usize) -> &[Handover] {
        self.operations.get(operation).map_or(&[], |side| &side.gives)
    }

    /// What an operation reads there while the answers of `missing` are not known; `None` when it has to wait for one of them.
    pub fn takes(&self, operation: usize, missing: &[usize]) -> Option<Vec<Handover>> {
        let side = self.operations.get(operation)?;
        let has = |missing: &usize| side.takes.iter().any(|(from, _)| from == missing);
        let takes = side.takes.iter().filter(|(from, _)| missing.contains(from));
        missing.iter().all(has).then(|| takes.map(|(_, handover)| *handover).collect())
    }
}

/// What an operation that refers to others would take over of them; `None` when it needs an answer of one of them.
fn wishes(
    operation: &OperationRequest,
    checked: &[Result<CheckedOperation, OperationError>],
) -> Option<Vec<Wish>> {
    let mut others = operation.query_params.iter().chain(&operation.metadata_params);
    if others.any(|(_, template)| template.references().next().is_some()) {
        return None;
    }
    let (create, columns, cells) = one_row(checked[operation.index].as_ref().ok()?)?;
    let wish = |(column, cell): (&ColumnId, &Cell)| match cell {
        Cell::Later { template, .. } => {
            let found = giver(template, &create.columns()[*column], checked);
            Some(found.map(|(from, there)| Wish { column: *column, from, there }))
        }
        _ => None,
    };
    columns.iter().zip(cells).filter_map(wish).collect()
}

/// Whether neighbours could share a statement.
fn are_alike(
    one: &Result<CheckedOperation, OperationError>,
    other: &Result<CheckedOperation, OperationError>,
) -> bool {
    let (Ok(one), Ok(other)) = (one, other) else { return false };
    match (&one.work, &other.work) {
        (PlannedWork::Create { columns, .. }, PlannedWork::Create { columns: others, .. }) => {
            let is_same = match (&one.entity, &other.entity) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
                _ => false,
            };
            is_same && columns == others && one.fetch_columns == other.fetch_columns
        }
        _ => false,
    }
}

/// The columns and cells of a create of one row.
fn one_row(checked: &CheckedOperation) -> Option<(&CheckedOperation, &[ColumnId], &[Cell])> {
    match &checked.work {
        PlannedWork::Create { columns, rows, .. } => match rows.as_slice() {
            [row] => Some((checked, columns, row)),
            _ => None,
        },
        _ => None,
    }
}

/// The create that makes the value of a template, and the column that has it, if the value can be handed over.
fn giver(
    template: &Template,
    into: &Column,
    checked: &[Result<CheckedOperation, OperationError>],
) -> Option<(usize, ColumnId)> {
    let Template::Reference(Reference { target, steps, .. }) = template else { return None };
    let name = match steps.as_slice() {
        [PathStep::Name(name)] | [PathStep::Index(0), PathStep::Name(name)] => name,
        _ => return None,
    };
    let (create, ..) = one_row(checked.get(*target)?.as_ref().ok()?)?;
    let entity = create.entity.as_ref()?;
    if entity.has_triggers || entity.view || !create.associations.is_empty() {
        return None;
    }
    let (place, _) = create.reference_columns().find(|(_, known)| *known == name)?;
    let column = *create.fetch_columns.get(place)?;
    fits_as_it_is(&create.columns()[column], into).then_some((*target, column))
}

fn fits_as_it_is(from: &Column, into: &Column) -> bool {
    let alike = match (&from.column_type, &into.column_type) {
        (
            ColumnType::Int { bits, unsigned },
            ColumnType::Int { bits: into_bits, unsigned: into_unsigned },
        ) => bits <= into_bits && unsigned == into_unsigned,
        (ColumnType::Uuid, ColumnType::Uuid) => true,
        _ => false,
    };
    alike && !from.nullable
}
