//! Rows of other entities beside the rows of a read: which keys to ask for, and which of what came belongs to which row.

use std::collections::HashMap;

use crate::batch::catalogue::{ColumnId, RelationKind};
use crate::batch::check::AssociationPlan;
use crate::batch::value::Value;
use crate::database::Rows;

/// For each row, its values of the association's columns here.
pub fn keys(plan: &AssociationPlan, rows: &Rows, fetch_columns: &[ColumnId]) -> Vec<Vec<Value>> {
    let places: Vec<Option<usize>> = plan.pairs.iter().map(|(here, _)| place(fetch_columns, *here)).collect();
    let cell = |row: usize, at: &Option<usize>| {
        at.and_then(|at| rows.row(row).get(at)).cloned().unwrap_or(Value::Null)
    };
    (0..rows.count).map(|row| places.iter().map(|at| cell(row, at)).collect()).collect()
}

/// One value for each key: for an `object` relation the row or null, for an `array` relation the list. `None` when they would
/// have more bytes than `bytes_max`: a thousand rows may all belong to the same large one, and each gets its copy.
pub fn stitch(
    plan: &AssociationPlan,
    keys: &[Vec<Value>],
    loaded: &Rows,
    bytes_max: usize,
) -> Option<Vec<Value>> {
    let places: Vec<Option<usize>> =
        plan.pairs.iter().map(|(_, there)| place(&plan.fetch_columns, *there)).collect();
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for row in 0..loaded.count {
        let cells = loaded.row(row);
        let key = places.iter().map(|at| at.and_then(|at| cells.get(at)).unwrap_or(&Value::Null));
        by_key.entry(joined(key)).or_default().push(row);
    }
    let mut bytes_left = bytes_max;
    let mut object = |row: usize| {
        let cells = loaded.row(row);
        let bytes: usize = cells.iter().map(Value::bytes).sum();
        bytes_left = bytes_left.checked_sub(bytes)?;
        let shown = plan.answer_columns.iter().map(|column| {
            let cell = place(&plan.fetch_columns, *column).and_then(|at| cells.get(at)).cloned();
            (plan.entity.columns[*column].name.clone(), cell.unwrap_or(Value::Null))
        });
        Some(Value::Object(shown.collect()))
    };
    let mut beside = |key: &Vec<Value>| {
        let found = match key.iter().any(Value::is_null) {
            true => None,
            false => by_key.get(&joined(key.iter())),
        };
        match (plan.kind, found) {
            (RelationKind::Object, None) => Some(Value::Null),
            (RelationKind::Object, Some(rows)) => rows.first().map_or(Some(Value::Null), |row| object(*row)),
            (RelationKind::Array, None) => Some(Value::Array(Vec::new())),
            (RelationKind::Array, Some(rows)) => {
                let objects: Option<Vec<Value>> = rows.iter().map(|row| object(*row)).collect();
                objects.map(Value::Array)
            }
        }
    };
    keys.iter().map(&mut beside).collect()
}

fn place(columns: &[ColumnId], column: ColumnId) -> Option<usize> {
    columns.iter().position(|known| *known == column)
}

/// A key as one text: the same for the same values, whatever number of digits a decimal has.
fn joined<'a>(key: impl Iterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for value in key {
        let json = value.to_json();
        match value {
            Value::Number(_) if json.contains('.') && !json.contains(['e', 'E']) => {
                text.push_str(json.trim_end_matches('0').trim_end_matches('.'));
            }
            _ => text.push_str(&json),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::shop;
    use super::*;
    use crate::batch::operation::Condition;
    use std::sync::Arc;

    fn plan(kind: RelationKind) -> AssociationPlan {
        AssociationPlan {
            name: Arc::from("other"),
            kind,
            entity: Arc::clone(&shop().entities["customer"]),
            pairs: vec![(1, 0)],
            answer_columns: vec![1],
            fetch_columns: vec![0, 1],
            condition: Condition::True,
        }
    }

    fn loaded(pairs: &[(i64, &str)]) -> Rows {
        let cells =
            pairs.iter().flat_map(|(key, name)| [Value::Int(*key), Value::Text((*name).into())]).collect();
        Rows { width: 2, count: pairs.len(), cells, merged: 0 }
    }

    fn told(values: &[Value]) -> String {
        Value::Array(values.to_vec()).to_json()
    }

    #[test]
    fn an_object_is_the_row_or_null() {
        let keys = vec![vec![Value::Int(2)], vec![Value::Null], vec![Value::Int(2)], vec![Value::Int(9)]];
        let beside =
            stitch(&plan(RelationKind::Object), &keys, &loaded(&[(1, "Ada"), (2, "Bo")]), 1_000).unwrap();
        assert_eq!(told(&beside), r#"[{"name":"Bo"},null,{"name":"Bo"},null]"#);
    }

    #[test]
    fn a_list_keeps_the_order_in_which_rows_came() {
        let keys = vec![vec![Value::Int(2)], vec![Value::Int(3)], vec![Value::Int(1)]];
        let beside =
            stitch(&plan(RelationKind::Array), &keys, &loaded(&[(2, "b"), (1, "x"), (2, "a")]), 1_000)
                .unwrap();
        assert_eq!(told(&beside), r#"[[{"name":"b"},{"name":"a"}],[],[{"name":"x"}]]"#);
    }

    #[test]
    fn a_large_row_is_not_copied_to_more_rows_than_an_answer_has_room_for() {
        let large = "x".repeat(1_000);
        let keys = vec![vec![Value::Int(1)]; 5];
        let rows = loaded(&[(1, &large)]);
        for kind in [RelationKind::Object, RelationKind::Array] {
            assert!(stitch(&plan(kind), &keys, &rows, 6_000).is_some());
            assert!(stitch(&plan(kind), &keys, &rows, 4_000).is_none());
        }
    }

    #[test]
    fn keys_are_read_from_the_columns_that_were_fetched() {
        let rows = Rows { width: 2, count: 1, cells: vec![Value::Int(5), Value::Int(6)], merged: 0 };
        assert_eq!(keys(&plan(RelationKind::Object), &rows, &[0, 1]), vec![vec![Value::Int(6)]]);
        assert_eq!(keys(&plan(RelationKind::Object), &rows, &[0, 2]), vec![vec![Value::Null]]);
    }
}
