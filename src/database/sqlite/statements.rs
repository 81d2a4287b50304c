//! Named statements of the config: what they answer, and that they only read.

use std::sync::Arc;

use rusqlite::Connection;

use super::introspect::column_type;
use crate::batch::catalogue::{Column, ColumnType, NamedStatement, StatementSettings};
use crate::database::DatabaseOpenError;

/// Prepares each.
pub(super) fn prepare_all(
    database: &Arc<str>,
    connection: &Connection,
    settings: &[StatementSettings],
) -> Result<Vec<NamedStatement>, DatabaseOpenError> {
    settings
        .iter()
        .map(|setting| {
            prepare(connection, setting).map_err(|why| DatabaseOpenError::Statement {
                database: Arc::clone(database),
                at: setting.at.clone(),
                why,
            })
        })
        .collect()
}

fn prepare(connection: &Connection, setting: &StatementSettings) -> Result<NamedStatement, String> {
    if !begins_as_a_question(&setting.sql) {
        return Err("only SELECT, WITH and VALUES are taken: a named statement reads".to_owned());
    }
    let prepared = connection.prepare(&setting.sql).map_err(|error| error.to_string())?;
    // A pragma or a BEGIN also counts as read-only, hence the look at the first word above.
    if !prepared.readonly() {
        return Err("it would write: a named statement reads".to_owned());
    }
    let mut unknown: Vec<_> = setting.parameters.iter().map(|(name, _)| format!(":{name}")).collect();
    for place in 1..=prepared.parameter_count() {
        let name = prepared.parameter_name(place).unwrap_or("?");
        if !setting.parameters.iter().any(|(known, _)| name.strip_prefix(':') == Some(known)) {
            return Err(format!("its parameter `{name}` has no type under `parameters`"));
        }
        unknown.retain(|known| known != name);
    }
    if let Some(name) = unknown.first() {
        return Err(format!("it has no parameter `{name}`, which `parameters` gives a type"));
    }
    let columns = prepared
        .columns()
        .map(|column| Column {
            name: column.name().into(),
            column_type: column.decl_type().map_or(ColumnType::Any, column_type),
            native_type: column.decl_type().unwrap_or_default().into(),
            nullable: true,
            has_default: false,
            generated: true,
            key: None,
            injection: None,
        })
        .collect();
    Ok(NamedStatement {
        name: Arc::clone(&setting.name),
        sql: Arc::clone(&setting.sql),
        parameters: setting.parameters.clone(),
        columns,
        roles: setting.roles.clone(),
    })
}

/// Whether the first word, after comments, is one that asks.
fn begins_as_a_question(sql: &str) -> bool {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            break;
        };
        rest = after.unwrap_or_default().trim_start();
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ["select", "with", "values"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("SELECT id, name FROM depot WHERE name = :name", None)]
    #[case("-- why\n/* and how */ with a as (select :name as b) select * from a", None)]
    #[case("SELECT 1", Some("it has no parameter `:name`"))]
    #[case("SELECT :name, :other", Some("`:other` has no type"))]
    #[case("SELECT ?1, :name", Some("`?1` has no type"))]
    #[case("DELETE FROM depot WHERE name = :name RETURNING id", Some("only SELECT"))]
    #[case("WITH a AS (SELECT 1) DELETE FROM depot WHERE name = :name RETURNING id", Some("it would write"))]
    #[case("PRAGMA query_only = OFF", Some("only SELECT"))]
    #[case("SELECT a FROM nowhere", Some("no such"))]
    fn a_named_statement_reads_or_is_refused(#[case] sql: &str, #[case] refused: Option<&str>) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE depot (id INTEGER PRIMARY KEY, name TEXT)").unwrap();
        let setting = StatementSettings {
            at: "database[0].statement[0]".to_owned(),
            name: "depots".into(),
            sql: sql.into(),
            parameters: vec![("name".into(), ColumnType::Text)],
            roles: Vec::new(),
        };
        let prepared = prepare(&connection, &setting);
        match refused {
            None => assert!(prepared.is_ok(), "{prepared:?}"),
            Some(words) => {
                let why = prepared.unwrap_err();
                assert!(why.contains(words), "{why}");
            }
        }
    }
}
