//! Rows that a soft delete has removed: which they are, and when a query asks for them all the same.

use crate::batch::bind::fit::fit_operand_text;
use crate::batch::catalogue::{ColumnId, DatabaseKind, Entity, SoftDelete};
use crate::batch::operation::{Condition, Test};
use crate::batch::value::Value;

/// The condition that hides removed rows, unless one of the tests names a hidden value of the column.
pub fn hides_removed<'a>(
    entity: &Entity,
    tests: impl IntoIterator<Item = (ColumnId, &'a Test)>,
    kind: DatabaseKind,
) -> Condition {
    let Some(soft_delete) = &entity.soft_delete else {
        return Condition::True;
    };
    let column = soft_delete.column();
    let hidden = hidden_values(entity, soft_delete, kind);
    if tests.into_iter().any(|(tested, test)| tested == column && names_hidden(soft_delete, &hidden, test)) {
        return Condition::True;
    }
    match soft_delete {
        SoftDelete::NullCheck { .. } => Condition::Column(column, Test::IsNull),
        SoftDelete::BooleanFlag { active_value, .. } => {
            Condition::Column(column, Test::Eq(Value::Bool(*active_value)))
        }
        // SQL's `NOT IN` drops rows with null; those were never removed.
        SoftDelete::ExcludeValues { .. } => Condition::Any(vec![
            Condition::Column(column, Test::NotIn(hidden)),
            Condition::Column(column, Test::IsNull),
        ]),
    }
}

/// What a delete stores in the column; `None`: the moment of the batch.
pub(super) fn removed_value(entity: &Entity, soft_delete: &SoftDelete, kind: DatabaseKind) -> Option<Value> {
    match soft_delete {
        SoftDelete::NullCheck { .. } => None,
        SoftDelete::BooleanFlag { active_value, .. } => Some(Value::Bool(!active_value)),
        SoftDelete::ExcludeValues { column, delete_value, .. } => {
            Some(as_column(entity, *column, delete_value, kind))
        }
    }
}

fn hidden_values(entity: &Entity, soft_delete: &SoftDelete, kind: DatabaseKind) -> Vec<Value> {
    match soft_delete {
        SoftDelete::ExcludeValues { column, values, .. } => {
            values.iter().map(|value| as_column(entity, *column, value, kind)).collect()
        }
        SoftDelete::NullCheck { .. } | SoftDelete::BooleanFlag { .. } => Vec::new(),
    }
}

/// The text of the config as the column holds it. That it fits was seen when the catalogue was built.
fn as_column(entity: &Entity, column: ColumnId, text: &str, kind: DatabaseKind) -> Value {
    let column_type = &entity.columns[column].column_type;
    fit_operand_text(text.to_owned(), column_type, kind).unwrap_or_else(|_| Value::Text(text.to_owned()))
}

/// Whether a test of the soft-delete column asks for a value that only removed rows have.
fn names_hidden(soft_delete: &SoftDelete, hidden: &[Value], test: &Test) -> bool {
    match soft_delete {
        // Every test but `IS NULL` can only be met by removed rows.
        SoftDelete::NullCheck { .. } => !matches!(test, Test::IsNull),
        SoftDelete::BooleanFlag { active_value, .. } => {
            let active = Value::Bool(*active_value);
            match test {
                Test::Eq(value) => *value != active,
                Test::Ne(value) => *value == active,
                Test::In(values) => values.iter().any(|value| *value != active),
                Test::NotIn(values) => values.contains(&active),
                Test::IsNull => true,
                _ => false,
            }
        }
        SoftDelete::ExcludeValues { .. } => match test {
            Test::Eq(value) => hidden.contains(value),
            Test::In(values) => values.iter().any(|value| hidden.contains(value)),
            _ => false,
        },
    }
}
