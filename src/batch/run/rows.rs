//! Rows of one operation: into which order they are put, what is answered of them, and what references see.
//!
//! Promises: rows of a write stand in an order that does not depend on the database: those of a create as they were sent
//! where their keys tell, all others by primary key. Cells are written as JSON once, and moved, not copied, to where
//! references look for them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::catalogue::ColumnId;
use crate::batch::check::CheckedOperation;
use crate::batch::operation::{BoundOperation, Work};
use crate::batch::reference::OperationResult;
use crate::batch::request::{DataShape, Return};
use crate::batch::value::{Value, write_json_text};
use crate::database::Rows;

/// Associations of an operation: name, and one value for each row.
pub type Associations = Vec<(Arc<str>, Vec<Value>)>;

/// What a reply to an operation must look like, and how its rows are put in order.
pub struct Asked {
    /// Cells of a row; `None`: one number, for a count.
    width: Option<usize>,
    order: RowOrder,
}

enum RowOrder {
    /// As the database gave them.
    AsGiven,
    /// By the cells at these places.
    ByKey(Vec<usize>),
    /// By the place that a row with this key had in the create; the cells at the places are the key.
    AsSent(Vec<usize>, HashMap<Vec<String>, usize>),
}

impl Asked {
    /// Of an operation as it is sent.
    pub fn of(bound: &BoundOperation) -> Self {
        let width = match bound.work {
            Work::Count { .. } => None,
            _ => Some(bound.returning.len()),
        };
        Self { width, order: RowOrder::of(bound).unwrap_or(RowOrder::AsGiven) }
    }

    /// Whether a reply has the shape that was asked for; a carrier that mixes replies up must not make us panic.
    pub fn fits(&self, rows: &Rows) -> bool {
        match self.width {
            None => rows.width == 1 && rows.count == 1 && rows.cells.len() == 1,
            Some(_) if rows.count == 0 => rows.cells.is_empty(),
            Some(width) => rows.width == width && rows.count.checked_mul(width) == Some(rows.cells.len()),
        }
    }

    /// Puts rows of a write in an order that does not depend on the database.
    pub fn arrange(&self, rows: &mut Rows) {
        if rows.count < 2 {
            return;
        }
        let told = |row: usize, places: &[usize]| -> Vec<String> {
            places.iter().map(|place| rows.row(row)[*place].to_json()).collect()
        };
        let mut order: Vec<usize> = (0..rows.count).collect();
        let places = match &self.order {
            RowOrder::AsGiven => return,
            RowOrder::ByKey(places) => places,
            RowOrder::AsSent(places, sent) => {
                let found: Option<Vec<usize>> =
                    (0..rows.count).map(|row| sent.get(&told(row, places)).copied()).collect();
                if let Some(found) = found {
                    order.sort_by_key(|row| found[*row]);
                    return reorder(rows, &order);
                }
                places
            }
        };
        order.sort_by(|left, right| {
            let (left, right) = (rows.row(*left), rows.row(*right));
            let by_column = places.iter().map(|place| compare(&left[*place], &right[*place]));
            by_column.fold(Ordering::Equal, Ordering::then)
        });
        reorder(rows, &order);
    }
}

impl RowOrder {
    /// `None` when rows need no order, or cannot be told apart.
    fn of(bound: &BoundOperation) -> Option<Self> {
        if let Work::Create { rows, .. } = &bound.work
            && rows.len() < 2
        {
            return None;
        }
        if !matches!(bound.work, Work::Create { .. } | Work::Update { .. } | Work::Delete { .. }) {
            return None;
        }
        let key = &bound.entity.as_ref()?.primary_key;
        let at = |column: &ColumnId| bound.returning.iter().position(|known| known == column);
        let places: Vec<usize> = key.iter().map(at).collect::<Option<_>>()?;
        if places.is_empty() {
            return None;
        }
        let Work::Create { columns, rows, .. } = &bound.work else {
            return Some(Self::ByKey(places));
        };
        let stored: Option<Vec<usize>> =
            key.iter().map(|column| columns.iter().position(|stored| stored == column)).collect();
        Some(match stored {
            None => Self::ByKey(places),
            Some(stored) => {
                let told = |row: &Vec<Value>| stored.iter().map(|place| row[*place].to_json()).collect();
                Self::AsSent(places, rows.iter().enumerate().map(|(index, row)| (told(row), index)).collect())
            }
        })
    }
}

fn reorder(rows: &mut Rows, order: &[usize]) {
    let mut cells = Vec::with_capacity(rows.cells.len());
    for row in order {
        let start = row * rows.width;
        cells.extend(
            rows.cells[start..start + rows.width].iter_mut().map(|cell| std::mem::replace(cell, Value::Null)),
        );
    }
    rows.cells = cells;
}

/// The number that a count answered.
pub fn counted(rows: &Rows) -> u64 {
    match rows.cells.first() {
        Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        Some(Value::Number(number)) => number.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Keeps the first `page` rows; whether there were more.
pub fn cut(rows: &mut Rows, page: usize) -> bool {
    if rows.count <= page {
        return false;
    }
    rows.count = page;
    rows.cells.truncate(page * rows.width);
    true
}

/// Orders values of one column: numbers by size, text by its bytes, null last.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Int(_) | Value::Number(_), Value::Int(_) | Value::Number(_)) => {
            let (left, right) = (left.to_json(), right.to_json());
            compare_numbers(&left, &right)
        }
        _ => left.to_json().cmp(&right.to_json()),
    }
}

/// Orders decimal texts without rounding them.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    let (left, right) = (Decimal::read(left), Decimal::read(right));
    match (left.negative, right.negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => left.compare_size(&right),
        (true, true) => right.compare_size(&left),
    }
}

/// A decimal number as its digits without leading zeros, and the place of the point.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    whole: i64,
}

impl Decimal {
    fn read(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let point = (whole.len() as i64 - leading as i64).saturating_add(exponent);
        let zero = digits.is_empty();
        Self { negative: negative && !zero, whole: if zero { i64::MIN } else { point }, digits }
    }

    fn compare_size(&self, other: &Self) -> Ordering {
        self.whole.cmp(&other.whole).then_with(|| self.digits.cmp(&other.digits))
    }
}

/// Writes what an operation answers: `data` of its entry.
pub fn write_data(
    operation: &CheckedOperation,
    rows: &Rows,
    associations: &Associations,
    shape: DataShape,
) -> Vec<u8> {
    let mut data = Vec::with_capacity(rows.cells.len() * 24 + 2);
    if operation.is_count {
        data.extend_from_slice(b"{\"count\":");
        data.extend_from_slice(counted(rows).to_string().as_bytes());
        data.push(b'}');
        return data;
    }
    if operation.writes() && operation.returns == Return::None {
        data.extend_from_slice(b"null");
        return data;
    }
    let columns: Vec<(usize, &Arc<str>)> = operation.shown_columns().collect();
    let alone = shape == DataShape::Auto && rows.count == 1;
    if !alone {
        data.push(b'[');
    }
    for row in 0..rows.count {
        if row > 0 {
            data.push(b',');
        }
        let cells = rows.row(row);
        data.push(b'{');
        let fields = columns.iter().map(|(place, name)| (*name, cells.get(*place)));
        let loaded = associations.iter().map(|(name, values)| (name, values.get(row)));
        for (index, (name, value)) in fields.chain(loaded).enumerate() {
            if index > 0 {
                data.push(b',');
            }
            write_json_text(name, &mut data);
            data.push(b':');
            value.unwrap_or(&Value::Null).write_json(&mut data);
        }
        data.push(b'}');
    }
    if !alone {
        data.push(b']');
    }
    data
}

/// What references see of an operation's rows.
pub fn into_result(
    operation: &CheckedOperation,
    mut rows: Rows,
    associations: Associations,
) -> OperationResult {
    if operation.is_count {
        let count = Some(counted(&rows));
        return OperationResult { names: Arc::from([]), rows: Vec::new(), count, associations };
    }
    let columns: Vec<(usize, &Arc<str>)> = operation.reference_columns().collect();
    let names: Arc<[Arc<str>]> = columns.iter().map(|(_, name)| Arc::clone(name)).collect();
    let width = rows.width;
    let mut take = |row: usize| {
        let cells = &mut rows.cells[row * width..(row + 1) * width];
        columns
            .iter()
            .map(|(place, _)| {
                cells.get_mut(*place).map_or(Value::Null, |cell| std::mem::replace(cell, Value::Null))
            })
            .collect()
    };
    let moved = (0..rows.count).map(&mut take).collect();
    OperationResult { names, rows: moved, count: None, associations }
}

#[cfg(test)]
mod tests {
    use super::super::tests::shop;
    use super::*;
    use crate::batch::operation::Condition;
    use crate::batch::operation::Handed;
    use proptest::prelude::*;
    use rstest::rstest;

    fn created(keys_sent: Option<&[i64]>, keys_returned: &[i64]) -> Vec<Value> {
        let entity = Arc::clone(&shop().entities["customer"]);
        let columns = if keys_sent.is_some() { vec![0] } else { Vec::new() };
        let sent = match keys_sent {
            Some(keys) => keys.iter().map(|key| vec![Value::Int(*key)]).collect(),
            None => vec![Vec::new(); keys_returned.len()],
        };
        let work = Work::Create { columns, rows: sent, must_hold: Condition::True };
        let bound = BoundOperation {
            index: 0,
            entity: Some(entity),
            work,
            returning: vec![0],
            handed: Handed::default(),
        };
        let cells = keys_returned.iter().map(|key| Value::Int(*key)).collect();
        let mut rows = Rows { width: 1, count: keys_returned.len(), cells, merged: 0 };
        Asked::of(&bound).arrange(&mut rows);
        rows.cells
    }

    fn keys(values: &[i64]) -> Vec<Value> {
        values.iter().map(|key| Value::Int(*key)).collect()
    }

    #[test]
    fn rows_of_a_create_with_keys_stand_as_they_were_sent() {
        assert_eq!(created(Some(&[7, 3, 5]), &[3, 5, 7]), keys(&[7, 3, 5]));
    }

    #[test]
    fn rows_of_a_create_that_the_database_numbered_stand_by_number() {
        assert_eq!(created(None, &[3, 1, 2]), keys(&[1, 2, 3]));
    }

    #[test]
    fn rows_whose_keys_a_trigger_changed_stand_by_key() {
        assert_eq!(created(Some(&[7, 3]), &[9, 8]), keys(&[8, 9]));
    }

    #[rstest]
    #[case("9007199254740993", "9007199254740992", Ordering::Greater)]
    #[case("18446744073709551615", "18446744073709551614", Ordering::Greater)]
    #[case("1.50", "1.5", Ordering::Equal)]
    #[case("-1", "0.5", Ordering::Less)]
    #[case("-2", "-10", Ordering::Greater)]
    #[case("0.001", "0.01", Ordering::Less)]
    #[case("1e3", "999", Ordering::Greater)]
    #[case("0", "-0.0", Ordering::Equal)]
    fn numbers_are_compared_without_rounding(
        #[case] left: &str,
        #[case] right: &str,
        #[case] expected: Ordering,
    ) {
        assert_eq!(compare_numbers(left, right), expected);
    }

    proptest! {
        #[test]
        fn numbers_of_two_places_are_ordered_as_their_hundredths(left in -100_000i64..100_000, right in -100_000i64..100_000) {
            let written = |number: i64| {
                let sign = if number < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", number.abs() / 100, number.abs() % 100)
            };
            prop_assert_eq!(compare_numbers(&written(left), &written(right)), left.cmp(&right));
        }
    }

    #[test]
    fn a_reply_of_another_shape_is_not_taken() {
        let entity = Some(Arc::clone(&shop().entities["customer"]));
        let work = Work::Delete { condition: Condition::True, rows_max: 1 };
        let bound = BoundOperation {
            index: 0,
            entity: entity.clone(),
            work,
            returning: vec![0, 1],
            handed: Handed::default(),
        };
        let rows = |width, count, cells| Rows { width, count, cells: vec![Value::Null; cells], merged: 0 };
        assert!(Asked::of(&bound).fits(&rows(2, 3, 6)));
        assert!(Asked::of(&bound).fits(&rows(0, 0, 0)));
        assert!(!Asked::of(&bound).fits(&rows(2, 3, 5)));
        assert!(!Asked::of(&bound).fits(&rows(3, 2, 6)));
        let count = BoundOperation {
            index: 0,
            entity,
            work: Work::Count { condition: Condition::True },
            returning: vec![],
            handed: Handed::default(),
        };
        assert!(Asked::of(&count).fits(&rows(1, 1, 1)));
        assert!(!Asked::of(&count).fits(&rows(1, 0, 0)));
    }
}
