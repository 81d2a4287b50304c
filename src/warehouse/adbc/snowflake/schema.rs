//! Tables and columns of the targets.
//!
//! Promises: each step can be carried out again, wherever it was cut off; what somebody else made is not taken; no value is
//! lost. A table is written down before it is made, so that one that is there without being written down is somebody else's; a
//! column is made before it is written down.

use super::errors::is_there_already;
use super::ledger::{EngineColumn, Ledger};
use super::names::{Place, fold, quote};
use super::session::Session;
use super::sql::{column_list, type_name};
use crate::model::{ObjectName, OrgName};
use crate::sync::{ColumnType, KnownColumn, SchemaChange, TableColumn, TableLayout};
use crate::warehouse::WarehouseError;
use crate::warehouse::adbc::known::ColumnChange;

/// Carries out the steps; the schema version.
///
/// # Errors
/// What Snowflake says, and [`WarehouseError::Altered`] when the table is not as a step needs it.
pub fn apply(
    session: &mut Session,
    ledger: &Ledger,
    whose: (&OrgName, &ObjectName),
    target: &Place,
    changes: &[SchemaChange],
) -> Result<u64, WarehouseError> {
    for change in changes {
        match change {
            SchemaChange::CreateTable { layout } => create(session, ledger, whose, target, layout)?,
            SchemaChange::AddColumn { column, beside } => {
                add(session, ledger, target, column, beside.as_deref())?;
            }
            SchemaChange::Widen { name, to, .. } => widen(session, ledger, target, name, *to)?,
            SchemaChange::Retire { name } => {
                set_active(session, ledger, target, name, ColumnChange::Retired)?;
            }
            SchemaChange::Revive { name } => {
                set_active(session, ledger, target, name, ColumnChange::Revived)?;
            }
        }
    }
    Ok(ledger.known(session, target)?.map_or(0, |known| known.schema_version))
}

fn altered(target: &Place, what: String) -> WarehouseError {
    WarehouseError::Altered { table: target.key(), what }
}

fn create(
    session: &mut Session,
    ledger: &Ledger,
    whose: (&OrgName, &ObjectName),
    target: &Place,
    layout: &TableLayout,
) -> Result<(), WarehouseError> {
    let foreign = || {
        altered(target, "it is there and not penstock's: name another table, or rename that one".to_owned())
    };
    let known = ledger.known(session, target)?;
    match (&known, ledger.engine_columns(session, target)?.is_empty()) {
        (Some(_), false) => return Ok(()),
        (None, false) => return Err(foreign()),
        (_, true) => {}
    }
    let version = known.map_or(0, |known| known.schema_version) + 1;
    ledger.write_table(session, whose, target, layout, version)?;
    let mut columns = column_list(&layout.columns);
    let flag = fold(&layout.deleted_column);
    if layout.columns.iter().all(|column| fold(&column.name) != flag) {
        columns += &format!(", {} {}", quote(&flag), type_name(ColumnType::Boolean));
    }
    match session.execute(&format!("CREATE TABLE {} ({columns})", target.full())) {
        Err(error) if is_there_already(&error) => {
            // A driver that lost the answer asks again; or somebody was faster.
            let there = ledger.engine_columns(session, target)?;
            let is_ours = |column: &TableColumn| {
                there.iter().any(|engine| engine.name == fold(&column.name) && engine.is_as_made(column))
            };
            if layout.columns.iter().all(is_ours) { Ok(()) } else { Err(foreign()) }
        }
        done => done.map(drop),
    }
}

fn known_column(
    session: &mut Session,
    ledger: &Ledger,
    target: &Place,
    name: &str,
) -> Result<Option<KnownColumn>, WarehouseError> {
    let columns = ledger.columns(session, target)?;
    Ok(columns.into_iter().find(|known| known.column.name == name))
}

fn add(
    session: &mut Session,
    ledger: &Ledger,
    target: &Place,
    column: &TableColumn,
    beside: Option<&str>,
) -> Result<(), WarehouseError> {
    if known_column(session, ledger, target, &column.name)?.is_some() {
        return Ok(());
    }
    let there = ledger.engine_columns(session, target)?;
    match there.iter().find(|engine| engine.name == fold(&column.name)) {
        // Made by us before a crash; or by somebody else, who means the same.
        Some(engine) if engine.is_as_made(column) => {}
        Some(_) => {
            return Err(altered(
                target,
                format!(
                    "it has a column `{}` of another type that is not penstock's: rename it",
                    column.name
                ),
            ));
        }
        None => {
            session.execute(&format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                target.full(),
                quote(&column.name),
                type_name(column.kind)
            ))?;
        }
    }
    ledger.add_column(session, target, column, beside)
}

fn set_active(
    session: &mut Session,
    ledger: &Ledger,
    target: &Place,
    name: &str,
    change: ColumnChange,
) -> Result<(), WarehouseError> {
    match known_column(session, ledger, target, name)? {
        Some(known) if known.is_active != (change == ColumnChange::Revived) => {
            ledger.change_column(session, target, name, change)
        }
        _ => Ok(()),
    }
}

fn widen(
    session: &mut Session,
    ledger: &Ledger,
    target: &Place,
    name: &str,
    to: ColumnType,
) -> Result<(), WarehouseError> {
    let known = known_column(session, ledger, target, name)?;
    let from = known
        .map(|known| known.column.kind)
        .ok_or_else(|| altered(target, format!("there is no column `{name}`")))?;
    if from == to {
        return Ok(());
    }
    if type_name(from) != type_name(to) {
        for step in widening(name, to, &ledger.engine_columns(session, target)?) {
            session.execute(&step.replace(TARGET, &target.full()))?;
        }
    }
    ledger.change_column(session, target, name, ColumnChange::Kind(to))
}

/// Stands for the table in the steps of [`widening`].
const TARGET: &str = "{target}";

/// The steps that make a column's type wider. Snowflake adds digits before the point and characters, but none behind the
/// point: then the values are copied to a column of the new type, which takes the old one's name. The steps are told by the
/// columns that are there, so that they go on where they were cut off.
fn widening(name: &str, to: ColumnType, there: &[EngineColumn]) -> Vec<String> {
    let (wide, narrow) = (format!("{name}__WIDE"), format!("{name}__NARROW"));
    let has = |name: &str| there.iter().any(|column| column.name == fold(name));
    let (column, kind) = (quote(name), type_name(to));
    if matches!(to, ColumnType::Text | ColumnType::Id) {
        return vec![format!("ALTER TABLE {TARGET} ALTER COLUMN {column} SET DATA TYPE {kind}")];
    }
    let [wide_name, narrow_name] = [&wide, &narrow].map(|name| quote(name));
    let mut steps = Vec::new();
    if has(name) && !has(&narrow) {
        if !has(&wide) {
            steps.push(format!("ALTER TABLE {TARGET} ADD COLUMN {wide_name} {kind}"));
        }
        steps.push(format!("UPDATE {TARGET} SET {wide_name} = CAST({column} AS {kind})"));
        steps.push(format!("ALTER TABLE {TARGET} RENAME COLUMN {column} TO {narrow_name}"));
    }
    if !has(name) || !has(&narrow) {
        steps.push(format!("ALTER TABLE {TARGET} RENAME COLUMN {wide_name} TO {column}"));
    }
    steps.push(format!("ALTER TABLE {TARGET} DROP COLUMN {narrow_name}"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carry_out(steps: &[String], columns: &mut Vec<String>) {
        for step in steps {
            let words: Vec<String> = step.split_whitespace().map(|word| word.replace('"', "")).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let position = |name: &str, columns: &[String]| columns.iter().position(|column| column == name);
            match words[3..] {
                ["ADD", "COLUMN", name, ..] => columns.push(name.to_owned()),
                ["RENAME", "COLUMN", from, "TO", to] => {
                    let at = position(from, columns).expect("there is a column to rename");
                    columns[at] = to.to_owned();
                }
                ["DROP", "COLUMN", name] => {
                    columns.remove(position(name, columns).expect("there is a column to drop"));
                }
                _ => assert_eq!(words[0], "UPDATE", "{step}"),
            }
        }
    }

    #[test]
    fn widening_goes_on_where_it_was_cut_off() {
        let to = ColumnType::Decimal { precision: 30, scale: 4 };
        let engine = |columns: &[String]| -> Vec<EngineColumn> {
            columns.iter().map(|name| EngineColumn::named(name)).collect()
        };
        let start = vec!["ID".to_owned(), "TOTAL".to_owned()];
        let steps = widening("Total", to, &engine(&start));
        for cut in 0..=steps.len() {
            let mut columns = start.clone();
            carry_out(&steps[..cut], &mut columns);
            if cut < steps.len() {
                let rest = widening("Total", to, &engine(&columns));
                carry_out(&rest, &mut columns);
            }
            assert_eq!(columns, ["ID", "TOTAL"], "cut after {cut} steps");
        }
    }

    #[test]
    fn longer_text_needs_one_step() {
        let steps = widening("Ref", ColumnType::Text, &[]);
        assert_eq!(steps, ["ALTER TABLE {target} ALTER COLUMN \"REF\" SET DATA TYPE VARCHAR"]);
    }
}
