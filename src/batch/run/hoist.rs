//! Which operations may run ahead of their place in the order (contract, section 14.4).
//!
//! Promises: an operation that runs ahead leaves the answer and the tables as they would be in order. Two things see to it.
//! [`may_pass`] decides before anything runs, from what both operations are. What it cannot know then, the keys of new rows,
//! is checked by [`collides`] once the operation that was passed has its values: a row that it would not have met in order
//! means that the batch is run again without hoisting. Failures are the caller's: a batch that fails after something ran
//! ahead is run again in order too, so that the right operation gets the blame.

use std::collections::HashSet;
use std::sync::Arc;

use crate::batch::catalogue::{ColumnId, Entity, RelationKind};
use crate::batch::operation::{Action, BoundOperation, Condition, Test, Work};
use crate::batch::value::Value;

/// What an operation touches, as far as it is known before its references have values.
#[derive(Debug, Clone, Copy)]
pub struct Footprint<'a> {
    /// What it does.
    pub action: Action,
    /// To what; `None`: a named statement, which may read anything.
    pub entity: Option<&'a Entity>,
    /// Whether it selects by plain equality on every column of the primary key.
    pub by_full_primary_key: bool,
    /// Whether it looks at other entities too: selectors, sorting or associations through a relation.
    pub follows_relations: bool,
}

/// Whether `later` may run before `earlier`, which stands before it in the order and does not depend on it, nor the other
/// way round.
pub fn may_pass(later: &Footprint<'_>, earlier: &Footprint<'_>) -> bool {
    if later.action == Action::Read && earlier.action == Action::Read {
        return true;
    }
    let (Action::Create, Some(new), Some(other)) = (later.action, later.entity, earlier.entity) else {
        return false;
    };
    // A trigger or a view touches tables that nobody told us of.
    if new.has_triggers || other.has_triggers || new.view || other.view {
        return false;
    }
    let same = new.name == other.name;
    let linked = other.linked.contains(&new.name) || new.linked.contains(&other.name);
    match earlier.action {
        // Two creates of one entity draw on the same numbers.
        Action::Create => !same && (!linked || link_is_known(new, other)),
        Action::Read if earlier.follows_relations => false,
        Action::Read => !same || earlier.by_full_primary_key,
        // Across a foreign key, a delete may take the new row with it and an update may point to it.
        Action::Update | Action::Delete => {
            !linked && (!same || earlier.by_full_primary_key) && !earlier.follows_relations
        }
    }
}

/// Whether the foreign key between two entities is among their relations, so that [`collides`] can see its columns.
fn link_is_known(new: &Entity, other: &Entity) -> bool {
    let points = |from: &Entity, to: &Entity| {
        from.relations
            .iter()
            .any(|relation| relation.entity == to.name && relation.kind == RelationKind::Object)
    };
    points(other, new) || points(new, other)
}

/// Columns of `new` that [`collides`] compares with `passed`: what a hoisted create must bring back.
pub fn columns_to_compare(new: &Entity, passed: &[&Entity]) -> Vec<ColumnId> {
    let mut columns = new.primary_key.clone();
    for other in passed {
        let relations = other.relations.iter();
        let pointing = relations.filter(|it| it.entity == new.name && it.kind == RelationKind::Object);
        columns.extend(pointing.flat_map(|relation| relation.columns.iter().map(|(_, there)| *there)));
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Rows of a create that ran ahead.
#[derive(Clone)]
pub struct HoistedRows {
    /// Of which entity.
    pub entity: Arc<Entity>,
    /// Columns that are known.
    pub columns: Vec<ColumnId>,
    /// A cell for each of them, row by row.
    pub rows: Vec<Vec<Value>>,
}

impl HoistedRows {
    fn place(&self, column: ColumnId) -> Option<usize> {
        self.columns.iter().position(|known| *known == column)
    }
}

/// Whether an operation that was passed meets one of the rows that ran ahead of it, which it would not have met in order. In
/// doubt it does.
pub fn collides(passed: &BoundOperation, hoisted: &HoistedRows) -> bool {
    let Some(entity) = passed.entity.as_deref() else {
        return true;
    };
    let meets = match &passed.work {
        Work::Create { columns, rows, .. } => return points_at(entity, columns, rows, hoisted),
        Work::Read { condition, .. }
        | Work::Count { condition }
        | Work::Update { condition, .. }
        | Work::Delete { condition, .. } => condition,
        Work::Statement { .. } => return true,
    };
    if entity.name != hoisted.entity.name {
        return looks_elsewhere(meets);
    }
    if looks_elsewhere(meets) || entity.primary_key.is_empty() {
        return true;
    }
    let mut key = Vec::with_capacity(entity.primary_key.len());
    for column in &entity.primary_key {
        let (Some(at), Some(value)) = (hoisted.place(*column), equality(meets, *column)) else {
            return true;
        };
        key.push((at, value));
    }
    hoisted.rows.iter().any(|row| key.iter().all(|(at, value)| may_be_equal(&row[*at], value)))
}

/// Whether new rows point at one of the rows that ran ahead, through any foreign key that is known.
fn points_at(entity: &Entity, columns: &[ColumnId], rows: &[Vec<Value>], hoisted: &HoistedRows) -> bool {
    let relations = entity.relations.iter();
    let mut pointing =
        relations.filter(|it| it.entity == hoisted.entity.name && it.kind == RelationKind::Object);
    pointing.any(|relation| {
        let mut pairs = Vec::with_capacity(relation.columns.len());
        for (here, there) in &relation.columns {
            // A column that is not stored gets a default, which no client can aim at a new row.
            let Some(here) = columns.iter().position(|stored| stored == here) else {
                return false;
            };
            let Some(there) = hoisted.place(*there) else {
                return true;
            };
            pairs.push((here, there));
        }
        let keys: HashSet<Vec<String>> = hoisted
            .rows
            .iter()
            .map(|row| pairs.iter().map(|(_, there)| folded(&row[*there])).collect())
            .collect();
        rows.iter()
            .any(|row| keys.contains(&pairs.iter().map(|(here, _)| folded(&row[*here])).collect::<Vec<_>>()))
    })
}

/// Whether a condition looks at rows of other entities.
fn looks_elsewhere(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().any(looks_elsewhere),
        Condition::Not(part) => looks_elsewhere(part),
        Condition::Related { .. } => true,
        Condition::True | Condition::False | Condition::Column(..) => false,
    }
}

/// The value that a column must have for the condition to hold.
fn equality(condition: &Condition, column: ColumnId) -> Option<&Value> {
    match condition {
        Condition::Column(tested, Test::Eq(value)) if *tested == column => Some(value),
        Condition::All(parts) => parts.iter().find_map(|part| equality(part, column)),
        _ => None,
    }
}

fn may_be_equal(left: &Value, right: &Value) -> bool {
    left == right || folded(left) == folded(right)
}

/// A form in which values that some database takes for equal are equal: `1` and `"1"`, `A` and `a`, trailing blanks.
fn folded(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.to_lowercase(),
        other => other.to_json(),
    };
    let text = text.trim_end();
    if text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-')) {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::shop;
    use super::*;
    use crate::batch::operation::Handed;
    use rstest::rstest;

    fn footprint<'a>(action: Action, entity: &'a Entity) -> Footprint<'a> {
        Footprint { action, entity: Some(entity), by_full_primary_key: false, follows_relations: false }
    }

    #[rstest]
    #[case::another_entity_without_a_link(Action::Create, "note", true)]
    #[case::never_past_a_create_of_the_same(Action::Create, "customer", false)]
    #[case::past_a_create_that_points_here(Action::Create, "invoice", true)]
    #[case::a_read_of_the_same(Action::Read, "customer", false)]
    #[case::a_read_of_a_linked_one_sees_only_its_own_rows(Action::Read, "invoice", true)]
    #[case::an_update_of_a_linked_one(Action::Update, "invoice", false)]
    #[case::a_delete_of_a_linked_one(Action::Delete, "invoice", false)]
    #[case::an_update_of_a_stranger(Action::Update, "note", true)]
    #[case::a_table_with_triggers(Action::Update, "audited", false)]
    fn a_create_of_a_customer_passes(#[case] action: Action, #[case] entity: &str, #[case] expected: bool) {
        let catalogue = shop();
        let customer = footprint(Action::Create, &catalogue.entities["customer"]);
        let earlier = footprint(action, &catalogue.entities[entity]);
        assert_eq!(may_pass(&customer, &earlier), expected);
    }

    #[test]
    fn a_create_passes_a_read_of_the_same_entity_only_by_its_full_key() {
        let catalogue = shop();
        let customer = footprint(Action::Create, &catalogue.entities["customer"]);
        let mut read = footprint(Action::Read, &catalogue.entities["customer"]);
        read.by_full_primary_key = true;
        assert!(may_pass(&customer, &read));
        read.follows_relations = true;
        assert!(!may_pass(&customer, &read));
    }

    #[rstest]
    #[case(Action::Read)]
    #[case(Action::Update)]
    #[case(Action::Delete)]
    fn nothing_but_a_create_passes_a_write(#[case] action: Action) {
        let catalogue = shop();
        let later = footprint(action, &catalogue.entities["note"]);
        let earlier = footprint(Action::Create, &catalogue.entities["customer"]);
        assert!(!may_pass(&later, &earlier));
    }

    #[test]
    fn reads_pass_reads() {
        let catalogue = shop();
        let read = footprint(Action::Read, &catalogue.entities["customer"]);
        let statement = Footprint { entity: None, ..read };
        assert!(may_pass(&read, &statement));
        let create = footprint(Action::Create, &catalogue.entities["note"]);
        assert!(!may_pass(&create, &statement), "a statement may read any table");
    }

    fn hoisted(key: i64) -> HoistedRows {
        let customer = Arc::clone(&shop().entities["customer"]);
        HoistedRows { entity: customer, columns: vec![0], rows: vec![vec![Value::Int(key)]] }
    }

    #[rstest]
    #[case(7, true)]
    #[case(8, false)]
    fn a_read_collides_with_the_row_that_it_selects(#[case] key: i64, #[case] expected: bool) {
        let work = Work::Count { condition: Condition::Column(0, Test::Eq(Value::Int(key))) };
        let entity = Some(Arc::clone(&shop().entities["customer"]));
        let passed =
            BoundOperation { index: 0, entity, work, returning: Vec::new(), handed: Handed::default() };
        assert_eq!(collides(&passed, &hoisted(7)), expected);
    }

    #[rstest]
    #[case(7, true)]
    #[case(8, false)]
    fn a_create_collides_with_the_row_that_it_points_at(#[case] key: i64, #[case] expected: bool) {
        let entity = Arc::clone(&shop().entities["invoice"]);
        let customer = entity.column_id("customer_id").expect("a column");
        let work = Work::Create {
            columns: vec![customer],
            rows: vec![vec![Value::Int(key)]],
            must_hold: Condition::True,
        };
        let passed = BoundOperation {
            index: 0,
            entity: Some(entity),
            work,
            returning: Vec::new(),
            handed: Handed::default(),
        };
        assert_eq!(collides(&passed, &hoisted(7)), expected);
    }

    #[rstest]
    #[case(Value::Int(1), Value::Text("1".into()), true)]
    #[case(Value::Number("1.00".into()), Value::Int(1), true)]
    #[case(Value::Text("Ada ".into()), Value::Text("ada".into()), true)]
    #[case(Value::Number("1.50".into()), Value::Number("1.5".into()), true)]
    #[case(Value::Number("1.05".into()), Value::Int(1), false)]
    #[case(Value::Int(10), Value::Int(1), false)]
    #[case(Value::Text("a".into()), Value::Text("b".into()), false)]
    fn values_that_some_database_takes_for_equal_are(
        #[case] left: Value,
        #[case] right: Value,
        #[case] equal: bool,
    ) {
        assert_eq!(may_be_equal(&left, &right), equal);
    }
}
