//! What a SQLite file says of its tables.

use rusqlite::{Connection, params};

use crate::batch::catalogue::{ColumnFacts, ColumnType, ForeignKeyFacts, TableFacts};

/// A number that changes with every change of the schema.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA main.schema_version")?.query_row([], |row| row.get(0))
}

/// Every table and view of the user, in the order of their names.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<TableFacts>> {
    let mut list = connection.prepare(
        "SELECT name, type, wr FROM pragma_table_list
         WHERE schema = 'main' AND type IN ('table', 'view')
           AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'penstock\\_%' ESCAPE '\\'
         ORDER BY name",
    )?;
    let named: Vec<(String, bool, bool)> = list
        .query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)? == "view", row.get::<_, i64>(2)? != 0))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut tables = Vec::with_capacity(named.len());
    for (name, view, without_rowid) in named {
        tables.push(table(connection, name, view, without_rowid)?);
    }
    // A row that others refer to is judged at the end as much as the row that refers to it.
    let deferred: Vec<String> = tables
        .iter()
        .filter(|table| table.has_deferred_constraints)
        .flat_map(|table| table.foreign_keys.iter().map(|key| key.table.clone()))
        .collect();
    for table in &mut tables {
        table.has_deferred_constraints |= deferred.contains(&table.table);
    }
    Ok(tables)
}

fn table(
    connection: &Connection,
    name: String,
    view: bool,
    without_rowid: bool,
) -> rusqlite::Result<TableFacts> {
    let mut columns = Vec::new();
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut listed = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1)",
    )?;
    let mut rows = listed.query(params![name])?;
    while let Some(row) = rows.next()? {
        let column: String = row.get(0)?;
        let declared: Option<String> = row.get(1)?;
        let declared = declared.unwrap_or_default();
        let (place, hidden): (i64, i64) = (row.get(4)?, row.get(5)?);
        if hidden == 1 {
            continue;
        }
        if place > 0 {
            key.push((place, column.clone()));
        }
        columns.push(ColumnFacts {
            name: column,
            column_type: column_type(&declared),
            nullable: !(row.get::<_, bool>(2)? || without_rowid && place > 0),
            has_default: row.get(3)?,
            auto_increment: false,
            // 2 and 3: computed when read, computed when written.
            generated: hidden >= 2,
            native_type: declared,
        });
    }
    key.sort();
    let primary_key: Vec<String> = key.into_iter().map(|(_, column)| column).collect();

    // A single key declared INTEGER is the row's own number, and then needs no index of its own.
    if let [only] = primary_key.as_slice()
        && !without_rowid
        && connection
            .prepare_cached("SELECT count(*) FROM pragma_index_list(?1) WHERE origin = 'pk'")?
            .query_row(params![name], |row| row.get::<_, i64>(0))?
            == 0
        && let Some(column) = columns.iter_mut().find(|column| column.name == *only)
        && column.native_type.eq_ignore_ascii_case("integer")
    {
        column.auto_increment = true;
        column.nullable = false;
    }

    let foreign_keys = foreign_keys(connection, &name)?;
    let written: Option<String> = connection
        .prepare_cached("SELECT sql FROM main.sqlite_schema WHERE type IN ('table', 'view') AND name = ?1")?
        .query_row(params![name], |row| row.get(0))?;
    let has_triggers = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1)",
        )?
        .query_row(params![name], |row| row.get(0))?;
    Ok(TableFacts {
        schema: None,
        view,
        columns,
        primary_key,
        has_triggers,
        has_deferred_constraints: !foreign_keys.is_empty() && defers(&written.unwrap_or_default()),
        foreign_keys,
        table: name,
    })
}

fn foreign_keys(connection: &Connection, name: &str) -> rusqlite::Result<Vec<ForeignKeyFacts>> {
    let mut listed = connection.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut keys: Vec<(i64, ForeignKeyFacts)> = Vec::new();
    let mut rows = listed.query(params![name])?;
    while let Some(row) = rows.next()? {
        let (id, other, here): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let there: Option<String> = row.get(3)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let fresh =
                ForeignKeyFacts { columns: Vec::new(), schema: None, table: other, referenced: Vec::new() };
            keys.push((id, fresh));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(here);
            key.referenced.extend(there);
        }
    }
    let mut found = Vec::with_capacity(keys.len());
    for (_, mut key) in keys {
        if key.referenced.is_empty() {
            // `REFERENCES depot` without columns means its primary key.
            key.referenced = connection
                .prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?
                .query_map(params![key.table], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
        }
        if key.referenced.len() == key.columns.len() {
            found.push(key);
        }
    }
    // SQLite lists the last one first.
    found.reverse();
    Ok(found)
}

/// Whether a table's text has a constraint that is judged at COMMIT. Said too often it costs a little, never a row.
fn defers(written: &str) -> bool {
    let words: Vec<String> = written.split_whitespace().map(str::to_ascii_uppercase).collect();
    words.windows(2).any(|pair| pair[0].ends_with("INITIALLY") && pair[1].starts_with("DEFERRED"))
}

/// What a declared type means to us. SQLite takes any words; those of other databases are known.
pub(super) fn column_type(declared: &str) -> ColumnType {
    let declared = declared.to_ascii_uppercase();
    let bare = declared.split('(').next().unwrap_or_default().trim();
    let has = |words: &[&str]| words.iter().any(|word| bare.contains(word));
    match bare {
        "" | "ANY" => ColumnType::Any,
        _ if has(&["BOOL"]) => ColumnType::Boolean,
        _ if has(&["JSON"]) => ColumnType::Json,
        _ if has(&["UUID", "GUID", "UNIQUEIDENTIFIER"]) => ColumnType::Uuid,
        _ if has(&["TIMESTAMPTZ"]) || declared.contains("WITH TIME ZONE") => ColumnType::TimestampTz,
        _ if has(&["DATETIME", "TIMESTAMP"]) => ColumnType::Timestamp,
        _ if bare.starts_with("DATE") => ColumnType::Date,
        _ if bare.starts_with("TIME") => ColumnType::Time,
        // From here as SQLite itself chooses how to store.
        _ if has(&["INT"]) => ColumnType::Int { bits: 64, unsigned: false },
        _ if has(&["CHAR", "CLOB", "TEXT"]) => ColumnType::Text,
        _ if has(&["BLOB", "BINARY", "BYTEA"]) => ColumnType::Bytes,
        _ if has(&["REAL", "FLOA", "DOUB"]) => ColumnType::Float { bits: 64 },
        _ if has(&["DEC", "NUM", "MONEY"]) => ColumnType::Decimal,
        _ => ColumnType::Other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const WHOLE: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

    #[rstest]
    #[case("", ColumnType::Any)]
    #[case("integer", WHOLE)]
    #[case("BIGINT", WHOLE)]
    #[case("varchar(40)", ColumnType::Text)]
    #[case("numeric(10, 2)", ColumnType::Decimal)]
    #[case("DECIMAL", ColumnType::Decimal)]
    #[case("double precision", ColumnType::Float { bits: 64 })]
    #[case("boolean", ColumnType::Boolean)]
    #[case("BOOL", ColumnType::Boolean)]
    #[case("date", ColumnType::Date)]
    #[case("datetime", ColumnType::Timestamp)]
    #[case("timestamp with time zone", ColumnType::TimestampTz)]
    #[case("timestamp(3) with time zone", ColumnType::TimestampTz)]
    #[case("time", ColumnType::Time)]
    #[case("json", ColumnType::Json)]
    #[case("uuid", ColumnType::Uuid)]
    #[case("blob", ColumnType::Bytes)]
    #[case("geometry", ColumnType::Other)]
    fn a_declared_type_is_understood(#[case] declared: &str, #[case] meant: ColumnType) {
        assert_eq!(column_type(declared), meant);
    }

    #[test]
    fn a_schema_is_read_with_its_keys_and_quirks() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE depot (depot_id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x', \"o\"\"dd\" TEXT);
                 CREATE TABLE \"select\" (a INT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID;
                 CREATE TABLE crate (
                     id INTEGER PRIMARY KEY DESC, depot INT REFERENCES depot DEFERRABLE INITIALLY DEFERRED, w NUMERIC,
                     twice NUMERIC AS (w * 2));
                 CREATE VIEW heavy AS SELECT id, w FROM crate;
                 CREATE TABLE penstock_batch_key (scope TEXT);
                 CREATE TABLE penstocks (scope TEXT);
                 CREATE TRIGGER after_depot AFTER INSERT ON depot BEGIN SELECT 1; END;",
            )
            .unwrap();
        let facts = tables(&connection).unwrap();
        let names: Vec<_> = facts.iter().map(|table| table.table.as_str()).collect();
        assert_eq!(names, ["crate", "depot", "heavy", "penstocks", "select"]);
        let [crate_, depot, heavy, _, select] = facts.as_slice() else { panic!() };

        assert!(depot.columns[0].auto_increment && depot.has_triggers && depot.has_deferred_constraints);
        assert!(!depot.columns[1].nullable && depot.columns[1].has_default);
        assert_eq!(depot.columns[2].name, "o\"dd");

        // The one quirk of SQLite: DESC makes it an ordinary column.
        assert!(!crate_.columns[0].auto_increment && crate_.has_deferred_constraints);
        assert!(crate_.columns[3].generated && !crate_.columns[2].generated);
        let depot_key = &crate_.foreign_keys[0];
        assert_eq!(
            (depot_key.columns.as_slice(), depot_key.referenced.as_slice()),
            (["depot".to_owned()].as_slice(), ["depot_id".to_owned()].as_slice())
        );

        assert!(heavy.view && heavy.primary_key.is_empty());
        assert_eq!(select.primary_key, ["b", "a"]);
        assert!(!select.columns[0].nullable);
    }
}
