//! What PostgreSQL says of itself: tables, columns, keys, rights.
//!
//! Promises: read from `pg_catalog` in one snapshot; only what the login may read (in `database` mode: what a role that it
//! can take may read), nothing of the system's, nothing of ours; names of types are whole, so that they mean the same on
//! every search path, and without modifiers, so that a cast to them never shortens a value.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, Error};

use crate::batch::catalogue::{Column, ColumnFacts, ColumnType, ForeignKeyFacts, TableFacts};

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tables and views, by schema and name.
    pub(super) tables: Vec<TableFacts>,
    /// Schema and name of tables whose creates are not to be merged: numbers that fall or begin again, and policies.
    pub(super) unordered: HashSet<(String, String)>,
    /// Tables that the login owns, for `database` mode.
    pub(super) owned: Vec<String>,
}

/// A relation is read when the login may, or when `$2` and a role that it can take may.
const TABLES: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind IN ('v', 'm', 'f') AS view, \
  EXISTS (SELECT 1 FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgrelid = c.oid \
    OR (c.relkind = 'p' AND t.tgrelid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p)))) \
  OR EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') AS triggers, \
  EXISTS (SELECT 1 FROM pg_constraint k WHERE k.condeferrable AND (k.conrelid = c.oid OR k.confrelid = c.oid)) AS deferred, \
  c.relrowsecurity OR EXISTS (SELECT 1 FROM pg_sequence s WHERE (s.seqincrement <= 0 OR s.seqcycle) AND ( \
    EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid \
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')) \
    OR EXISTS (SELECT 1 FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid \
      AND d.refobjid = s.seqrelid WHERE f.adrelid = c.oid))) AS unordered, \
  pg_has_role(c.relowner, 'USAGE') AS owned \
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
  AND n.nspname = ANY($1) AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
  AND c.relname NOT LIKE 'penstock\\_%' \
  AND EXISTS (SELECT 1 FROM pg_roles r WHERE (r.rolname = current_user OR ($2 AND pg_has_role(r.oid, 'MEMBER'))) \
    AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_any_column_privilege(r.oid, c.oid, 'SELECT')) \
ORDER BY n.nspname, c.relname";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attname::text, b.oid, b.typtype::text, format_type(b.oid, -1), \
  CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE 0::oid END, \
  ARRAY(SELECT e.enumlabel::text FROM pg_enum e \
    WHERE e.enumtypid = CASE WHEN b.typtype = 'e' THEN b.oid ELSE b.typelem END ORDER BY e.enumsortorder), \
  a.attnotnull OR t.typnotnull, \
  a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
  a.attidentity <> '' OR coalesce(pg_get_expr(f.adbin, f.adrelid) ~ '^nextval\\(''[^'']+''::regclass\\)$', false), \
  a.attgenerated <> '' \
FROM pg_attribute a \
JOIN pg_class c ON c.oid = a.attrelid \
JOIN pg_type t ON t.oid = a.atttypid \
CROSS JOIN LATERAL (WITH RECURSIVE up AS ( \
    SELECT t.oid, t.typtype, t.typbasetype, t.typcategory, t.typelem \
    UNION ALL SELECT u.oid, u.typtype, u.typbasetype, u.typcategory, u.typelem \
    FROM up JOIN pg_type u ON up.typtype = 'd' AND u.oid = up.typbasetype) \
  SELECT * FROM up WHERE up.typtype <> 'd') b \
LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum \
WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped \
  AND EXISTS (SELECT 1 FROM pg_roles r WHERE (r.rolname = current_user OR ($2 AND pg_has_role(r.oid, 'MEMBER'))) \
    AND has_column_privilege(r.oid, a.attrelid, a.attnum, 'SELECT')) \
ORDER BY a.attrelid, a.attnum";

const KEYS: &str = "\
SELECT k.conrelid, k.contype::text, \
  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, place) \
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.place), \
  n.nspname::text, o.relname::text, \
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (num, place) \
    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.place) \
FROM pg_constraint k \
LEFT JOIN pg_class o ON o.oid = k.confrelid LEFT JOIN pg_namespace n ON n.oid = o.relnamespace \
WHERE k.conrelid = ANY($1) AND k.contype IN ('p', 'f') AND k.conparentid = 0 \
ORDER BY k.conrelid, k.conname";

/// Reads tables of these schemas; none given: of the schema in which the login creates.
pub(super) async fn read(client: &Client, schemas: &[String], of_roles: bool) -> Result<Found, Error> {
    let schemas = match schemas {
        [] => {
            let row = client.query_one("SELECT coalesce(current_schema(), 'public')::text", &[]).await?;
            vec![row.try_get::<_, String>(0)?]
        }
        schemas => schemas.to_vec(),
    };
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; \
             SET LOCAL statement_timeout = 30000",
        )
        .await?;
    let found = read_in_snapshot(client, &schemas, of_roles).await;
    client.batch_execute("ROLLBACK").await?;
    found
}

async fn read_in_snapshot(client: &Client, schemas: &[String], of_roles: bool) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for row in client.query(TABLES, &[&schemas, &of_roles]).await? {
        let (schema, table): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        if row.try_get(6)? {
            found.unordered.insert((schema.clone(), table.clone()));
        }
        if row.try_get(7)? {
            found.owned.push(format!("{schema}.{table}"));
        }
        places.insert(row.try_get(0)?, found.tables.len());
        found.tables.push(TableFacts {
            schema: Some(schema),
            table,
            view: row.try_get(3)?,
            columns: Vec::new(),
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            has_triggers: row.try_get(4)?,
            has_deferred_constraints: row.try_get(5)?,
        });
    }
    let relations: Vec<u32> = places.keys().copied().collect();
    for row in client.query(COLUMNS, &[&relations, &of_roles]).await? {
        let Some(place) = places.get(&row.try_get::<_, u32>(0)?) else { continue };
        let (native, kind): (u32, String) = (row.try_get(2)?, row.try_get(3)?);
        let (element, labels): (u32, Vec<String>) = (row.try_get(5)?, row.try_get(6)?);
        found.tables[*place].columns.push(ColumnFacts {
            name: row.try_get(1)?,
            column_type: column_type(native, &kind, element, labels),
            native_type: row.try_get(4)?,
            nullable: !row.try_get::<_, bool>(7)?,
            has_default: row.try_get(8)?,
            auto_increment: row.try_get(9)?,
            generated: row.try_get(10)?,
        });
    }
    for row in client.query(KEYS, &[&relations]).await? {
        let Some(place) = places.get(&row.try_get::<_, u32>(0)?) else { continue };
        let facts = &mut found.tables[*place];
        let columns: Vec<String> = row.try_get(2)?;
        // A key of which the login may not read every column is none for us.
        let all_there = columns.iter().all(|name| facts.columns.iter().any(|column| column.name == *name));
        if !all_there {
            continue;
        }
        match row.try_get::<_, String>(1)?.as_str() {
            "p" => facts.primary_key = columns,
            _ => facts.foreign_keys.push(ForeignKeyFacts {
                columns,
                schema: row.try_get(3)?,
                table: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
                referenced: row.try_get(5)?,
            }),
        }
    }
    Ok(found)
}

/// What a column of this type holds. `element` is the type of an array's elements, or 0; `labels` are those of the enum,
/// or of the enum that the elements are.
fn column_type(native: u32, kind: &str, element: u32, labels: Vec<String>) -> ColumnType {
    let is_enum = !labels.is_empty();
    let labels = || ColumnType::Enum(labels.into_iter().map(String::into_boxed_str).collect());
    match (kind, element) {
        ("e", _) => labels(),
        (_, 0) => plain_type(native),
        (_, _) if is_enum => ColumnType::Array(Box::new(labels())),
        (_, element) => ColumnType::Array(Box::new(plain_type(element))),
    }
}

/// Types that every PostgreSQL has, by their number.
fn plain_type(native: u32) -> ColumnType {
    let int = |bits| ColumnType::Int { bits, unsigned: false };
    match Type::from_oid(native) {
        Some(Type::BOOL) => ColumnType::Boolean,
        Some(Type::INT2) => int(16),
        Some(Type::INT4) => int(32),
        Some(Type::INT8) => int(64),
        Some(Type::NUMERIC) => ColumnType::Decimal,
        Some(Type::FLOAT4) => ColumnType::Float { bits: 32 },
        Some(Type::FLOAT8) => ColumnType::Float { bits: 64 },
        Some(Type::TEXT | Type::VARCHAR | Type::BPCHAR) => ColumnType::Text,
        Some(Type::UUID) => ColumnType::Uuid,
        Some(Type::DATE) => ColumnType::Date,
        Some(Type::TIME) => ColumnType::Time,
        Some(Type::TIMESTAMP) => ColumnType::Timestamp,
        Some(Type::TIMESTAMPTZ) => ColumnType::TimestampTz,
        Some(Type::BYTEA) => ColumnType::Bytes,
        Some(Type::JSON | Type::JSONB) => ColumnType::Json,
        _ => ColumnType::Other,
    }
}

/// Columns of a prepared statement of the config.
pub(super) fn statement_columns(statement: &tokio_postgres::Statement) -> Vec<Column> {
    let columns = statement.columns().iter().map(|column| Column {
        name: column.name().into(),
        column_type: prepared_type(column.type_()),
        native_type: "".into(),
        nullable: true,
        has_default: false,
        generated: false,
        key: None,
        injection: None,
    });
    columns.collect()
}

fn prepared_type(native: &Type) -> ColumnType {
    match native.kind() {
        Kind::Enum(labels) => ColumnType::Enum(labels.iter().map(|label| label.as_str().into()).collect()),
        Kind::Array(element) => ColumnType::Array(Box::new(prepared_type(element))),
        Kind::Domain(base) => prepared_type(base),
        _ => plain_type(native.oid()),
    }
}
