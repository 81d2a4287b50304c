//! Penstock's own tables in Snowflake: what was loaded, which tables are ours and what their columns are of.
//!
//! Promises: they are made where they are missing and never dropped; the watermark comes from them alone; a load is written
//! down once. Snowflake enforces no key, so that each insert that must not come twice looks first, in a transaction that no
//! other commit runs beside ([`Session::prove`]).

use jiff::Timestamp;

use super::names::{Home, Place, maybe_text, text};
use super::session::{OWNER_TABLE, Session, number, words};
use super::sql::is_as_made;
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, KnownColumn, LoadId, LoadPlan, Origin, TableColumn, TableLayout, TableState, Watermark,
};
use crate::warehouse::adbc::known::{ColumnChange, KnownTable, ORIGIN, kind_text, known_columns};
use crate::warehouse::{Cell, WarehouseError};

const LOADS: &str = "_PENSTOCK_LOADS";
const TABLES: &str = "_PENSTOCK_TABLES";
const COLUMNS: &str = "_PENSTOCK_COLUMNS";

/// Points in time are kept as texts of one length, whose order is that of time: the watermark is exact to the nanosecond and
/// the same whatever the session's time zone.
const MARK: &str = "%Y-%m-%dT%H:%M:%S.%9fZ";

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct Ledger {
    home: Home,
    loads: String,
    tables: String,
    columns: String,
}

/// A column as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineColumn {
    /// Its name, as Snowflake keeps it.
    pub name: String,
    data_type: String,
    scale: Option<u64>,
}

impl EngineColumn {
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), data_type: "NUMBER".to_owned(), scale: None }
    }

    /// Whether it is of a type as it was made.
    pub fn is_as_made(&self, column: &TableColumn) -> bool {
        is_as_made(column.kind, &self.data_type, self.scale)
    }
}

impl Ledger {
    /// The ledger at home.
    pub fn new(home: &Home) -> Self {
        let at = |name| home.own(name).full();
        Self { home: home.clone(), loads: at(LOADS), tables: at(TABLES), columns: at(COLUMNS) }
    }

    /// Makes the tables that are missing. Those that are there are not touched: a login may have no right to make any.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn make(&self, session: &mut Session) -> Result<(), WarehouseError> {
        let own = [
            (
                LOADS,
                "LOAD_ID VARCHAR PRIMARY KEY, ORG VARCHAR, OBJECT VARCHAR, TARGET_TABLE VARCHAR, MODE VARCHAR, \
                 FROM_MARK VARCHAR, TO_MARK VARCHAR, ROWS_STAGED NUMBER(38, 0), INSERTED NUMBER(38, 0), \
                 UPDATED NUMBER(38, 0), UNCHANGED NUMBER(38, 0), DELETED NUMBER(38, 0), SCHEMA_VERSION NUMBER(38, 0), \
                 FINISHED_AT TIMESTAMP_TZ(3)",
            ),
            (
                TABLES,
                "TARGET_TABLE VARCHAR PRIMARY KEY, ORG VARCHAR, OBJECT VARCHAR, DELETED_COLUMN VARCHAR, \
                 KEY_COLUMN VARCHAR, SCHEMA_VERSION NUMBER(38, 0), ORGANIZATION VARCHAR, CHOSEN_BY VARCHAR",
            ),
            (
                COLUMNS,
                "TARGET_TABLE VARCHAR, COLUMN_NAME VARCHAR, FIELD VARCHAR, TYPE VARCHAR, IS_ACTIVE BOOLEAN, \
                 ADDED_AT TIMESTAMP_TZ(3), RETIRED_AT TIMESTAMP_TZ(3), POSITION NUMBER(38, 0)",
            ),
            (OWNER_TABLE, "OWNER VARCHAR, SESSION VARCHAR, EXPIRES_AT TIMESTAMP_TZ(3)"),
        ];
        let home = &self.home;
        let schema = home.own(LOADS).schema;
        let (_, there) = session.rows(&format!(
            "SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = {}",
            super::names::quote(&home.database),
            text(&schema)
        ))?;
        for (name, columns) in own {
            if !there.iter().any(|row| words(row.cell(0)) == name) {
                session
                    .execute(&format!("CREATE TABLE IF NOT EXISTS {} ({columns})", home.own(name).full()))?;
            }
        }
        // Of a warehouse made before: where they are there, nothing is altered, for which a login may have no right.
        let there = self.engine_columns(session, &home.own(TABLES))?;
        for column in ORIGIN.map(str::to_uppercase) {
            if !there.iter().any(|there| there.name == column) {
                session.execute(&format!("ALTER TABLE {} ADD COLUMN {column} VARCHAR", self.tables))?;
            }
        }
        Ok(())
    }

    /// What a load did, if it is in its target.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn receipt(
        &self,
        session: &mut Session,
        load: &LoadId,
    ) -> Result<Option<CommitReceipt>, WarehouseError> {
        let (_, rows) = session.rows(&format!(
            "SELECT ROWS_STAGED, INSERTED, UPDATED, UNCHANGED, DELETED, TO_MARK FROM {} WHERE LOAD_ID = {}",
            self.loads,
            text(load.as_str())
        ))?;
        Ok(rows.row(0).map(|row| {
            let count = |column| number(row.cell(column)).unwrap_or(0);
            CommitReceipt {
                staged: count(0),
                inserted: count(1),
                updated: count(2),
                unchanged: count(3),
                deleted: count(4),
                watermark: mark(row.cell(5)),
            }
        }))
    }

    /// Writes a load down; false when it is there already.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn write(
        &self,
        session: &mut Session,
        load: &LoadPlan,
        target: &Place,
        receipt: &CommitReceipt,
    ) -> Result<bool, WarehouseError> {
        let id = text(load.id.as_str());
        let mode = serde_json::to_value(load.mode).ok();
        let told = |at: Option<Timestamp>| maybe_text(at.map(|at| at.strftime(MARK).to_string()).as_deref());
        let values = [
            id.clone(),
            text(load.org.as_str()),
            text(load.object.as_str()),
            text(&target.key()),
            text(mode.as_ref().and_then(|mode| mode.as_str()).unwrap_or_default()),
            told(load.from),
            told(receipt.watermark.map(|mark| mark.at)),
            receipt.staged.to_string(),
            receipt.inserted.to_string(),
            receipt.updated.to_string(),
            receipt.unchanged.to_string(),
            receipt.deleted.to_string(),
            load.schema_version.to_string(),
        ];
        let written = session.change(&format!(
            "INSERT INTO {0} (LOAD_ID, ORG, OBJECT, TARGET_TABLE, MODE, FROM_MARK, TO_MARK, ROWS_STAGED, INSERTED, UPDATED, \
             UNCHANGED, DELETED, SCHEMA_VERSION, FINISHED_AT) SELECT {1}, CURRENT_TIMESTAMP() \
             WHERE NOT EXISTS (SELECT 1 FROM {0} WHERE LOAD_ID = {id})",
            self.loads,
            values.join(", ")
        ))?;
        Ok(written > 0)
    }

    /// Up to where a table has an object.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn watermark(
        &self,
        session: &mut Session,
        org: &OrgName,
        object: &ObjectName,
        target: &Place,
    ) -> Result<Option<Watermark>, WarehouseError> {
        let (_, rows) = session.rows(&format!(
            "SELECT MAX(TO_MARK) FROM {} WHERE ORG = {} AND OBJECT = {} AND TARGET_TABLE = {}",
            self.loads,
            text(org.as_str()),
            text(object.as_str()),
            text(&target.key())
        ))?;
        Ok(rows.row(0).and_then(|row| mark(row.cell(0))))
    }

    /// What is known of a table; `None` when it is not ours.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn known(&self, session: &mut Session, target: &Place) -> Result<Option<KnownTable>, WarehouseError> {
        let (_, rows) = session.rows(&format!(
            "SELECT SCHEMA_VERSION, DELETED_COLUMN, KEY_COLUMN, OBJECT, ORGANIZATION, CHOSEN_BY FROM {} \
             WHERE TARGET_TABLE = {}",
            self.tables,
            text(&target.key())
        ))?;
        Ok(rows.row(0).map(KnownTable::read))
    }

    /// The columns of a table that are ours, in the order they were made.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn columns(&self, session: &mut Session, target: &Place) -> Result<Vec<KnownColumn>, WarehouseError> {
        let (_, rows) = session.rows(&format!(
            "SELECT COLUMN_NAME, FIELD, TYPE, IS_ACTIVE FROM {} WHERE TARGET_TABLE = {} ORDER BY POSITION",
            self.columns,
            text(&target.key())
        ))?;
        known_columns(&rows, &target.key())
    }

    /// The columns of a table as the engine has them; none when there is no such table.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn engine_columns(
        &self,
        session: &mut Session,
        target: &Place,
    ) -> Result<Vec<EngineColumn>, WarehouseError> {
        let (_, rows) = session.rows(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, NUMERIC_SCALE FROM {}.INFORMATION_SCHEMA.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            super::names::quote(&target.database),
            text(&target.schema),
            text(&target.name)
        ))?;
        let column = |row: crate::warehouse::ChunkRow<'_>| EngineColumn {
            name: words(row.cell(0)).to_owned(),
            data_type: words(row.cell(1)).to_owned(),
            scale: number(row.cell(2)),
        };
        Ok(rows.iter().map(column).collect())
    }

    /// What is known of a table, and what the engine says of it.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn state(&self, session: &mut Session, target: &Place) -> Result<TableState, WarehouseError> {
        let engine = self.engine_columns(session, target)?;
        let known = self.known(session, target)?;
        let schema_version = known.as_ref().map_or(0, |known| known.schema_version);
        let key = known.as_ref().map(|known| known.key_column.clone()).filter(|key| !key.is_empty());
        let origin = known.as_ref().map(|known| known.origin.clone()).unwrap_or_default();
        if engine.is_empty() {
            // Ours or not, its rows are gone.
            return Ok(TableState { schema_version, ..TableState::default() });
        }
        let columns = if known.is_some() { self.columns(session, target)? } else { Vec::new() };
        let find = |name: &str| engine.iter().find(|column| column.name == super::names::fold(name));
        let mut altered: Vec<String> = columns
            .iter()
            .filter(|known| !find(&known.column.name).is_some_and(|engine| engine.is_as_made(&known.column)))
            .map(|known| known.column.name.clone())
            .collect();
        let flag = known.map(|known| known.deleted_column).filter(|flag| !flag.is_empty());
        if let Some(flag) = flag.as_ref().filter(|flag| find(flag).is_none() && !altered.contains(flag)) {
            altered.push(flag.clone());
        }
        let is_ours = |name: &str| {
            columns
                .iter()
                .map(|known| &known.column.name)
                .chain(&flag)
                .any(|own| super::names::fold(own) == name)
        };
        let foreign =
            engine.iter().filter(|column| !is_ours(&column.name)).map(|column| column.name.clone()).collect();
        Ok(TableState { exists: true, columns, foreign, altered, schema_version, key, origin })
    }

    /// Writes a new table down, with its columns. What was loaded into a former table of that name counts no more.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn write_table(
        &self,
        session: &mut Session,
        (org, object): (&OrgName, &ObjectName),
        target: &Place,
        layout: &TableLayout,
        schema_version: u64,
    ) -> Result<(), WarehouseError> {
        let key = text(&target.key());
        session.transaction(|session| {
            session.change(&format!("DELETE FROM {} WHERE TARGET_TABLE = {key}", self.tables))?;
            session.change(&format!("DELETE FROM {} WHERE TARGET_TABLE = {key}", self.columns))?;
            session.change(&format!(
                "UPDATE {} SET FROM_MARK = NULL, TO_MARK = NULL WHERE TARGET_TABLE = {key}",
                self.loads
            ))?;
            session.change(&format!(
                "INSERT INTO {} (TARGET_TABLE, ORG, OBJECT, DELETED_COLUMN, KEY_COLUMN, SCHEMA_VERSION) \
                 VALUES ({key}, {}, {}, {}, {}, {schema_version})",
                self.tables,
                text(org.as_str()),
                text(object.as_str()),
                text(&layout.deleted_column),
                text(layout.columns.get(layout.key).map_or("", |column| column.name.as_str()))
            ))?;
            let columns: Vec<_> = layout.columns.iter().enumerate().collect();
            self.insert_columns(session, target, &columns)
        })
    }

    /// Writes down whose rows a table has; what is not known stays as it was.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn write_origin(
        &self,
        session: &mut Session,
        org: &OrgName,
        target: &Place,
        origin: &Origin,
    ) -> Result<(), WarehouseError> {
        session.change(&set_origin(&self.tables, org, &target.key(), origin)).map(drop)
    }

    fn insert_columns(
        &self,
        session: &mut Session,
        target: &Place,
        columns: &[(usize, &TableColumn)],
    ) -> Result<(), WarehouseError> {
        let key = text(&target.key());
        let values: Vec<String> = columns
            .iter()
            .map(|(position, column)| {
                let kind = kind_text(column.kind);
                let (name, field) = (text(&column.name), text(&column.field));
                format!("({key}, {name}, {field}, {}, TRUE, CURRENT_TIMESTAMP(), {position})", text(&kind))
            })
            .collect();
        // Some hundred columns are one statement, not as many.
        session
            .change(&format!(
                "INSERT INTO {} (TARGET_TABLE, COLUMN_NAME, FIELD, TYPE, IS_ACTIVE, ADDED_AT, POSITION) VALUES {}",
                self.columns,
                values.join(", ")
            ))
            .map(drop)
    }

    /// Writes a column more down, and that another one is written no more where it stands beside it.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn add_column(
        &self,
        session: &mut Session,
        target: &Place,
        column: &TableColumn,
        beside: Option<&str>,
    ) -> Result<(), WarehouseError> {
        let key = text(&target.key());
        session.transaction(|session| {
            let position = session.number(&format!(
                "SELECT COALESCE(MAX(POSITION), 0) + 1 FROM {} WHERE TARGET_TABLE = {key}",
                self.columns
            ))?;
            self.insert_columns(session, target, &[(position as usize, column)])?;
            if let Some(beside) = beside {
                self.set_column(session, &key, beside, ColumnChange::Retired)?;
            }
            self.next_version(session, &key)
        })
    }

    /// Changes what is known of a column.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn change_column(
        &self,
        session: &mut Session,
        target: &Place,
        name: &str,
        change: ColumnChange,
    ) -> Result<(), WarehouseError> {
        let key = text(&target.key());
        session.transaction(|session| {
            self.set_column(session, &key, name, change)?;
            self.next_version(session, &key)
        })
    }

    fn set_column(
        &self,
        session: &mut Session,
        key: &str,
        name: &str,
        change: ColumnChange,
    ) -> Result<(), WarehouseError> {
        let set = match change {
            ColumnChange::Kind(kind) => {
                format!("TYPE = {}", text(&kind_text(kind)))
            }
            ColumnChange::Retired => "IS_ACTIVE = FALSE, RETIRED_AT = CURRENT_TIMESTAMP()".to_owned(),
            ColumnChange::Revived => "IS_ACTIVE = TRUE, RETIRED_AT = NULL".to_owned(),
        };
        let sql = format!(
            "UPDATE {} SET {set} WHERE TARGET_TABLE = {key} AND COLUMN_NAME = {}",
            self.columns,
            text(name)
        );
        session.change(&sql).map(drop)
    }

    fn next_version(&self, session: &mut Session, key: &str) -> Result<(), WarehouseError> {
        let sql = format!(
            "UPDATE {} SET SCHEMA_VERSION = SCHEMA_VERSION + 1 WHERE TARGET_TABLE = {key}",
            self.tables
        );
        session.change(&sql).map(drop)
    }
}

fn set_origin(tables: &str, org: &OrgName, table: &str, origin: &Origin) -> String {
    let known = [
        ("OBJECT", &origin.object),
        ("ORGANIZATION", &origin.organization),
        ("CHOSEN_BY", &origin.chosen_by),
    ];
    let known = known.into_iter().filter_map(|(column, value)| Some((column, value.as_deref()?)));
    let set = known.fold(format!("ORG = {}", text(org.as_str())), |set, (column, value)| {
        format!("{set}, {column} = {}", text(value))
    });
    format!("UPDATE {tables} SET {set} WHERE TARGET_TABLE = {}", text(table))
}

fn mark(cell: Cell<'_>) -> Option<Watermark> {
    words(cell).parse().ok().map(|at| Watermark { at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_known_of_a_table_stays_as_it_was() {
        let origin =
            Origin { object: Some("Lead".to_owned()), organization: None, chosen_by: Some("ab".to_owned()) };
        assert_eq!(
            set_origin("T", &"acme".parse().unwrap(), "LEAD", &origin),
            "UPDATE T SET ORG = 'acme', OBJECT = 'Lead', CHOSEN_BY = 'ab' WHERE TARGET_TABLE = 'LEAD'"
        );
    }

    proptest! {
        #[test]
        fn marks_have_the_order_of_time(
            one in 0i128..253_402_207_200_000_000_000, other in 0i128..253_402_207_200_000_000_000,
        ) {
            let [one, other] = [one, other].map(|at| Timestamp::from_nanosecond(at).unwrap());
            let [text, other_text] = [one, other].map(|at| at.strftime(MARK).to_string());
            prop_assert_eq!(text.cmp(&other_text), one.cmp(&other));
            prop_assert_eq!(mark(Cell::Text(&text)), Some(Watermark { at: one }));
        }
    }
}
