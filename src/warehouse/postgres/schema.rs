//! Tables as they are, and steps to what they are to be.

use super::faults::Fault;
use super::ledger::OwnTables;
use super::names::{Place, catalogue_type, kind_of, kind_text, quote, sql_type, widened};
use super::session::Session;
use crate::model::{ObjectName, OrgName};
use crate::sync::{ColumnType, KnownColumn, Origin, SchemaChange, TableColumn, TableLayout, TableState};
use crate::warehouse::WarehouseError;

/// What the engine says of a column.
struct Found {
    name: String,
    type_name: String,
    /// No length, no precision.
    is_plain: bool,
}

/// What the engine has under a name.
enum Relation {
    Nothing,
    Table,
    /// A view, say.
    Other(&'static str),
}

/// Columns and their place, as `_penstock_columns` has them; without a field: the one for deleted rows.
struct Known {
    name: String,
    field: Option<String>,
    kind: ColumnType,
    is_active: bool,
}

/// See [`crate::warehouse::Warehouse::table`].
pub(super) fn table(
    session: &Session,
    tables: &OwnTables,
    place: &Place,
) -> Result<TableState, WarehouseError> {
    let about = |fault: Fault| fault.about(&place.told());
    let exists = match relation(session, place).map_err(about)? {
        Relation::Nothing => false,
        Relation::Table => true,
        Relation::Other(what) => return Err(no_table(place, what)),
    };
    let KnownTable { schema_version, key, origin } = known_table(session, tables, place).map_err(about)?;
    if !exists {
        return Ok(TableState { schema_version, ..TableState::default() });
    }
    let known = known(session, tables, place).map_err(about)?;
    let found = found(session, place).map_err(about)?;
    let foreign = found.iter().filter(|found| !known.iter().any(|known| known.name == found.name));
    let altered = known.iter().filter(|known| !is_as_made(&found, &known.name, known.kind));
    Ok(TableState {
        exists,
        foreign: foreign.map(|found| found.name.clone()).collect(),
        altered: altered.map(|known| known.name.clone()).collect(),
        columns: known.into_iter().filter_map(KnownColumn::of).collect(),
        schema_version,
        key,
        origin,
    })
}

impl KnownColumn {
    fn of(known: Known) -> Option<Self> {
        let column = TableColumn { field: known.field?, name: known.name, kind: known.kind };
        Some(Self { column, is_active: known.is_active })
    }
}

fn no_table(place: &Place, what: &str) -> WarehouseError {
    let what = format!("it is a {what}; give the object another table");
    WarehouseError::Altered { table: place.told(), what }
}

fn is_as_made(found: &[Found], name: &str, kind: ColumnType) -> bool {
    found.iter().any(|found| found.name == name && found.type_name == catalogue_type(kind) && found.is_plain)
}

fn relation(session: &Session, place: &Place) -> Result<Relation, Fault> {
    let sql = "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2";
    let rows = session.rows(sql, &[&place.schema, &place.name])?;
    let kind = rows.first().map(|row| row.try_get::<_, String>(0)).transpose()?;
    Ok(match kind.as_deref() {
        None => Relation::Nothing,
        Some("r" | "p") => Relation::Table,
        Some("v") => Relation::Other("view"),
        Some("m") => Relation::Other("materialized view"),
        Some("f") => Relation::Other("foreign table"),
        Some(_) => Relation::Other("thing that is no table"),
    })
}

fn found(session: &Session, place: &Place) -> Result<Vec<Found>, Fault> {
    let sql = "SELECT a.attname::text, t.typname::text, a.atttypmod = -1
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
               WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
               ORDER BY a.attnum";
    let rows = session.rows(sql, &[&place.schema, &place.name])?;
    let found = rows.iter().map(|row| {
        Ok(Found { name: row.try_get(0)?, type_name: row.try_get(1)?, is_plain: row.try_get(2)? })
    });
    found.collect()
}

fn known(session: &Session, tables: &OwnTables, place: &Place) -> Result<Vec<Known>, Fault> {
    let sql = format!(
        "SELECT column_name, field, type, is_active FROM {} WHERE target_table = $1 ORDER BY position",
        tables.columns
    );
    let rows = session.rows(&sql, &[&place.told()])?;
    let known = rows.iter().map(|row| {
        let kind: String = row.try_get(2)?;
        let kind = kind_of(&kind).ok_or_else(|| {
            Fault::Ours(format!("`_penstock_columns` has a type `{kind}` that is not known"))
        })?;
        Ok(Known { name: row.try_get(0)?, field: row.try_get(1)?, kind, is_active: row.try_get(3)? })
    });
    known.collect()
}

/// What is written down of a table beside its columns.
#[derive(Default)]
struct KnownTable {
    schema_version: u64,
    key: Option<String>,
    origin: Origin,
}

fn known_table(session: &Session, tables: &OwnTables, place: &Place) -> Result<KnownTable, Fault> {
    let sql = format!(
        "SELECT schema_version, key_column, object, organization, chosen_by FROM {} WHERE target_table = $1",
        tables.tables
    );
    let rows = session.rows(&sql, &[&place.told()])?;
    let Some(row) = rows.first() else { return Ok(KnownTable::default()) };
    let origin =
        Origin { object: row.try_get(2)?, organization: row.try_get(3)?, chosen_by: row.try_get(4)? };
    let schema_version = row.try_get::<_, i64>(0)?.max(0) as u64;
    Ok(KnownTable { schema_version, key: row.try_get(1)?, origin })
}

pub(super) fn version(session: &Session, tables: &OwnTables, place: &Place) -> Result<u64, Fault> {
    known_table(session, tables, place).map(|known| known.schema_version)
}

/// Makes sure, before rows are moved, that the columns of a load are in the table as they were made.
pub(super) fn check(session: &Session, place: &Place, layout: &TableLayout) -> Result<(), WarehouseError> {
    let found = found(session, place).map_err(|fault| fault.about(&place.told()))?;
    let altered = |what: String| Err(WarehouseError::Altered { table: place.told(), what });
    for column in &layout.columns {
        let (name, kind) = (&column.name, sql_type(column.kind));
        if is_as_made(&found, name, column.kind) {
            continue;
        }
        return altered(match found.iter().find(|found| found.name == *name) {
            None => format!("column `{name}` is gone; add it again as `{kind}`"),
            Some(found) => format!("column `{name}` is now `{}`; make it `{kind}` again", found.type_name),
        });
    }
    if !is_as_made(&found, &layout.deleted_column, ColumnType::Boolean) {
        return altered(format!(
            "column `{}`, which flags deleted rows, is gone or no boolean; add it again as `boolean`",
            layout.deleted_column
        ));
    }
    Ok(())
}

/// Makes a log table, or the columns that it lacks. Nothing is locked where nothing is missing: people read logs.
pub(super) fn make_log(session: &Session, place: &Place, layout: &TableLayout) -> Result<(), Fault> {
    let found = found(session, place)?;
    let missing = layout.columns.iter().filter(|column| !found.iter().any(|found| found.name == column.name));
    let missing: Vec<String> =
        missing.map(|column| format!("{} {}", quote(&column.name), sql_type(column.kind))).collect();
    let table = place.quoted();
    if found.is_empty() {
        let columns = missing.iter().fold(String::new(), |all, column| format!("{all}, {column}"));
        return session.batch(&format!(
            "CREATE TABLE {table} (_load text NOT NULL, _part bigint NOT NULL{columns});
             CREATE INDEX ON {table} (_load, _part)"
        ));
    }
    if missing.is_empty() {
        return Ok(());
    }
    session.batch(&format!("ALTER TABLE {table} ADD COLUMN {}", missing.join(", ADD COLUMN ")))
}

/// Where steps are carried out.
pub(super) struct Steps<'a> {
    pub(super) session: &'a Session,
    pub(super) tables: &'a OwnTables,
    pub(super) place: &'a Place,
    pub(super) org: &'a OrgName,
    pub(super) object: &'a ObjectName,
}

impl Steps<'_> {
    /// Carries out one step in a transaction of its own: PostgreSQL's tables and ours change together or not at all.
    pub(super) fn carry_out(&self, change: &SchemaChange) -> Result<u64, WarehouseError> {
        let Self { session, tables, place, .. } = self;
        let about = |fault: Fault| {
            match fault.state() {
            // A view uses the column.
            "0A000" | "2BP01" => WarehouseError::Altered {
                table: place.told(),
                what: "a view or a rule uses a column that has to change; drop it, and make it again after the sync"
                    .to_owned(),
            },
            _ => fault.about(&place.told()),
        }
        };
        session.batch("BEGIN").map_err(about)?;
        let stepped = self.step(change, &about).and_then(|is_new| {
            if is_new {
                let sql = format!(
                    "INSERT INTO {} AS known (target_table, org, object, schema_version) VALUES ($1, $2, $3, 1)
                     ON CONFLICT (target_table) DO UPDATE
                     SET org = $2, object = $3, schema_version = known.schema_version + 1",
                    tables.tables
                );
                let parameters: [super::session::Parameter<'_>; 3] =
                    [&place.told(), &self.org.as_str(), &self.object.as_str()];
                session.execute(&sql, &parameters).map_err(about)?;
            }
            let version = version(session, tables, place).map_err(about)?;
            session.batch("COMMIT").map_err(about)?;
            Ok(version)
        });
        if stepped.is_err() {
            // Of no use on a connection that broke, where the server does the same.
            let _ = session.batch("ROLLBACK");
        }
        stepped
    }

    /// Whether there was something to do.
    fn step(
        &self,
        change: &SchemaChange,
        about: &dyn Fn(Fault) -> WarehouseError,
    ) -> Result<bool, WarehouseError> {
        let Self { session, tables, place, .. } = self;
        let table = place.quoted();
        match change {
            SchemaChange::CreateTable { layout } => self.create(layout, about),
            SchemaChange::AddColumn { column, beside } => {
                let known = known(session, tables, place).map_err(about)?;
                if let Some(known) = known.iter().find(|known| known.name == column.name) {
                    // The one for deleted rows may have been there before its field was.
                    return if known.field.is_none() { self.adopt(column).map_err(about) } else { Ok(false) };
                }
                if found(session, place).map_err(about)?.iter().any(|found| found.name == column.name) {
                    return Err(WarehouseError::Altered {
                        table: place.told(),
                        what: format!(
                            "it has a column `{}` that is not penstock's; rename that",
                            column.name
                        ),
                    });
                }
                let sql = format!(
                    "ALTER TABLE {table} ADD COLUMN {} {}",
                    quote(&column.name),
                    sql_type(column.kind)
                );
                session.batch(&sql).map_err(about)?;
                self.remember(&column.name, Some(&column.field), column.kind).map_err(about)?;
                if let Some(former) = beside {
                    self.activate(former, false).map_err(about)?;
                }
                Ok(true)
            }
            SchemaChange::Widen { name, from, to } => {
                let known = known(session, tables, place).map_err(about)?;
                if known.iter().any(|known| known.name == *name && known.kind == *to) {
                    return Ok(false);
                }
                if sql_type(*from) != sql_type(*to) {
                    let sql = format!(
                        "ALTER TABLE {table} ALTER COLUMN {} TYPE {} USING {}",
                        quote(name),
                        sql_type(*to),
                        widened(name, *from, *to)
                    );
                    session.batch(&sql).map_err(about)?;
                }
                let sql = format!(
                    "UPDATE {} SET type = $3 WHERE target_table = $1 AND column_name = $2",
                    tables.columns
                );
                session.execute(&sql, &[&place.told(), name, &kind_text(*to)]).map_err(about)?;
                Ok(true)
            }
            SchemaChange::Retire { name } => self.activate(name, false).map_err(about),
            SchemaChange::Revive { name } => self.activate(name, true).map_err(about),
        }
    }

    fn create(
        &self,
        layout: &TableLayout,
        about: &dyn Fn(Fault) -> WarehouseError,
    ) -> Result<bool, WarehouseError> {
        let Self { session, tables, place, .. } = self;
        match relation(session, place).map_err(about)? {
            Relation::Nothing => {}
            Relation::Other(what) => return Err(no_table(place, what)),
            Relation::Table if known(session, tables, place).map_err(about)?.is_empty() => {
                return Err(WarehouseError::Altered {
                    table: place.told(),
                    what: "it is there and not penstock's; rename it, or give the object another table"
                        .to_owned(),
                });
            }
            Relation::Table => return Ok(false),
        }
        let flag = (!layout.columns.iter().any(|column| column.name == layout.deleted_column)).then_some((
            layout.deleted_column.as_str(),
            None,
            ColumnType::Boolean,
        ));
        let columns = layout.columns.iter();
        let columns = columns.map(|column| (column.name.as_str(), Some(column.field.as_str()), column.kind));
        let columns: Vec<_> = columns.chain(flag).collect();
        let mut made = Vec::with_capacity(columns.len());
        for (index, (name, _, kind)) in columns.iter().enumerate() {
            let more = match index {
                index if index == layout.key => " PRIMARY KEY",
                _ if *name == layout.deleted_column => " DEFAULT false",
                _ => "",
            };
            made.push(format!("{} {}{more}", quote(name), sql_type(*kind)));
        }
        let has_schema: bool = session
            .row("SELECT to_regnamespace($1) IS NOT NULL", &[&quote(&place.schema)])
            .and_then(|row| Ok(row.try_get(0)?))
            .map_err(about)?;
        if !has_schema {
            session.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&place.schema))).map_err(about)?;
        }
        session.batch(&format!("CREATE TABLE {} ({})", place.quoted(), made.join(", "))).map_err(about)?;
        // Of a table of this name that somebody dropped.
        let sql = format!("DELETE FROM {} WHERE target_table = $1", tables.columns);
        session.execute(&sql, &[&place.told()]).map_err(about)?;
        let sql = format!(
            "INSERT INTO {} AS known (target_table, org, object, schema_version, making, key_column)
             VALUES ($1, $2, $3, 0, 1, $4) ON CONFLICT (target_table) DO UPDATE
             SET making = known.making + 1, made_at = clock_timestamp(), key_column = $4, org = $2, object = $3,
                 organization = NULL, chosen_by = NULL",
            tables.tables
        );
        let key = layout.columns.get(layout.key).map(|column| column.name.as_str());
        let parameters: [super::session::Parameter<'_>; 4] =
            [&place.told(), &self.org.as_str(), &self.object.as_str(), &key];
        session.execute(&sql, &parameters).map_err(about)?;
        for (name, field, kind) in columns {
            self.remember(name, field, kind).map_err(about)?;
        }
        Ok(true)
    }

    fn remember(&self, name: &str, field: Option<&str>, kind: ColumnType) -> Result<(), Fault> {
        let columns = &self.tables.columns;
        let sql = format!(
            "INSERT INTO {columns} (target_table, column_name, field, type, is_active, position)
             SELECT $1, $2, $3, $4, true, coalesce(max(position) + 1, 0) FROM {columns} WHERE target_table = $1"
        );
        self.session.execute(&sql, &[&self.place.told(), &name, &field, &kind_text(kind)])?;
        Ok(())
    }

    fn adopt(&self, column: &TableColumn) -> Result<bool, Fault> {
        let sql = format!(
            "UPDATE {} SET field = $3 WHERE target_table = $1 AND column_name = $2",
            self.tables.columns
        );
        Ok(self.session.execute(&sql, &[&self.place.told(), &column.name, &column.field])? > 0)
    }

    fn activate(&self, name: &str, is_active: bool) -> Result<bool, Fault> {
        let sql = format!(
            "UPDATE {} SET is_active = $3, retired_at = CASE WHEN $3 THEN NULL ELSE clock_timestamp() END
             WHERE target_table = $1 AND column_name = $2 AND is_active <> $3",
            self.tables.columns
        );
        Ok(self.session.execute(&sql, &[&self.place.told(), &name, &is_active])? > 0)
    }
}
