//! Values that go from one create to the next within the database, so that no answer has to be waited for in between
//! (contract, section 14.2).
//!
//! PostgreSQL keeps such a value for the rest of the transaction: the create that makes the row puts it there, the create
//! that refers to it reads it.
//!
//! Promises: a value is handed over only where it is the one that the answer would have brought: of a create of one row, from
//! a column that is never null and that the caller may read, a whole number or a UUID, into a column of the same kind that
//! holds as much. Operations stay in the order of the plan. What fails after a value was handed over is the caller's to run
//! again without.

use crate::batch::bind::planned::{Cell, PlannedWork};
use crate::batch::catalogue::{Column, ColumnId, ColumnType};
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::Handover;
use crate::batch::reference::{PathStep, Reference, Template};
use crate::batch::request::BatchRequest;

/// More creates than this give their values by way of the answer: creates of one entity share a statement then, which spares
/// more than a wait costs.
const GIVERS_MAX: usize = 8;

/// Who can hand what to whom.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    operations: Vec<Side>,
}

#[derive(Debug, Default)]
struct Side {
    gives: Vec<Handover>,
    takes: Vec<Take>,
    /// Operations whose answer it needs, whatever is handed over.
    needs: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Take {
    from: usize,
    handover: Handover,
}

impl Handovers {
    /// Of a batch; of one that hands nothing over when there is nothing to spare by it.
    pub fn of(request: &BatchRequest, checked: &[Result<CheckedOperation, OperationError>]) -> Self {
        let mut operations: Vec<Side> = request.operations.iter().map(|_| Side::default()).collect();
        let mut names = 0;
        for (taker, operation) in request.operations.iter().enumerate() {
            let others = operation.query_params.iter().chain(&operation.metadata_params);
            let mut needs: Vec<usize> = others
                .flat_map(|(_, template)| template.references())
                .map(|reference| reference.target)
                .collect();
            let row = checked[taker].as_ref().ok().and_then(one_row);
            let Some((create, columns, cells)) = row else {
                operations[taker].needs = super::state::reference_targets(operation);
                continue;
            };
            for (column, cell) in columns.iter().zip(cells) {
                let Cell::Later { template, .. } = cell else { continue };
                let into = &create.columns()[*column];
                let Some((from, there)) = giver(template, into, checked) else {
                    needs.extend(template.references().map(|reference| reference.target));
                    continue;
                };
                let known = operations[from].gives.iter().find(|given| given.column == there).copied();
                let given = known.unwrap_or_else(|| {
                    names += 1;
                    let given = Handover { column: there, name: names };
                    operations[from].gives.push(given);
                    given
                });
                operations[taker].takes.push(Take { from, handover: Handover { column: *column, ..given } });
            }
            operations[taker].needs = needs;
        }
        let givers = operations.iter().filter(|side| !side.gives.is_empty()).count();
        if givers > GIVERS_MAX { Self::default() } else { Self { operations } }
    }

    /// What an operation puts where others find it.
    pub fn gives(&self, operation: usize) -> &[Handover] {
        self.operations.get(operation).map_or(&[], |side| &side.gives)
    }

    /// What an operation reads there while the answers of `missing` are not known; `None` when it needs one of those answers.
    pub fn takes(&self, operation: usize, missing: &[usize]) -> Option<Vec<Handover>> {
        let side = self.operations.get(operation)?;
        if side.needs.iter().any(|needed| missing.contains(needed)) {
            return None;
        }
        let takes = side.takes.iter().filter(|take| missing.contains(&take.from));
        Some(takes.map(|take| take.handover).collect())
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
    if !create.associations.is_empty() {
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
