//! The statements of a commit, as texts.
//!
//! Promises: nothing here makes or changes a table, so that all of it can stand between BEGIN and COMMIT, where Snowflake would
//! end the transaction for a DDL; each statement tells how many rows it changed; columns that are not the load's keep their
//! values. MERGE is not used: the stand-in of the tests cannot run it in a transaction, and the statements here say apart what
//! was inserted, updated and deleted.

use super::names::{Place, quote};
use crate::sync::{ColumnType, DeletePolicy, LoadMode, LoadPlan, SPARED_FROM, TableColumn, TableLayout};
use crate::warehouse::spool::PLACE_COLUMN;

/// The column of the tables that keys are copied into.
pub const KEY_COLUMN: &str = "_KEY";

/// The type of a column. Lengths are never declared but that of ids; numbers have all digits there are, because Snowflake can
/// add digits only before the point.
pub fn type_name(kind: ColumnType) -> String {
    match kind {
        ColumnType::Id => "VARCHAR(18)".to_owned(),
        ColumnType::Text | ColumnType::Json => "VARCHAR".to_owned(),
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Int => "NUMBER(19, 0)".to_owned(),
        ColumnType::Decimal { scale, .. } => format!("NUMBER(38, {scale})"),
        ColumnType::Date => "DATE".to_owned(),
        ColumnType::Time => "TIME(3)".to_owned(),
        ColumnType::DateTime => "TIMESTAMP_TZ(3)".to_owned(),
    }
}

/// Whether the engine's column is as [`type_name`] makes it.
pub fn is_as_made(kind: ColumnType, data_type: &str, scale: Option<u64>) -> bool {
    match kind {
        ColumnType::Id | ColumnType::Text | ColumnType::Json => matches!(data_type, "TEXT" | "VARCHAR"),
        ColumnType::Boolean => data_type == "BOOLEAN",
        ColumnType::Int => data_type == "NUMBER" && scale == Some(0),
        ColumnType::Decimal { scale: made, .. } => data_type == "NUMBER" && scale == Some(made.into()),
        ColumnType::Date => data_type == "DATE",
        ColumnType::Time => data_type == "TIME",
        ColumnType::DateTime => data_type == "TIMESTAMP_TZ",
    }
}

/// Columns with their types.
pub fn column_list<'c>(columns: impl IntoIterator<Item = &'c TableColumn>) -> String {
    let columns =
        columns.into_iter().map(|column| format!("{} {}", quote(&column.name), type_name(column.kind)));
    columns.collect::<Vec<_>>().join(", ")
}

/// Makes the table that rows are copied into, empty, whatever a former attempt left. It is a transient one: what it has can be
/// copied again.
pub fn create_rows(rows: &Place, layout: &TableLayout) -> String {
    format!(
        "CREATE OR REPLACE TRANSIENT TABLE {} ({}, {} NUMBER(38, 0))",
        rows.full(),
        column_list(&layout.columns),
        quote(PLACE_COLUMN)
    )
}

/// As [`create_rows`], for keys.
pub fn create_keys(keys: &Place) -> String {
    let (table, key, place) = (keys.full(), quote(KEY_COLUMN), quote(PLACE_COLUMN));
    format!("CREATE OR REPLACE TRANSIENT TABLE {table} ({key} VARCHAR, {place} NUMBER(38, 0))")
}

/// Copies the files whose path begins so. Into a table that was just made, so that whatever it loaded before is forgotten.
pub fn copy(into: &Place, from: &str) -> String {
    // All columns by their order, because the stand-in of the tests cannot copy into a list of more than ten. Spool files
    // have everything in quotes but null.
    format!(
        "COPY INTO {} FROM {from} FILE_FORMAT = (TYPE = CSV COMPRESSION = GZIP SKIP_HEADER = 1 \
         FIELD_OPTIONALLY_ENCLOSED_BY = '\"' NULL_IF = ('') ESCAPE_UNENCLOSED_FIELD = NONE) \
         ON_ERROR = ABORT_STATEMENT FORCE = TRUE",
        into.full()
    )
}

/// What will become of the staged rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Staged rows without a key.
    pub keyless: u64,
    /// Keys that the target has.
    pub matched: u64,
    /// Rows to insert.
    pub new: u64,
    /// Rows that change but for their flag.
    pub updated: u64,
    /// Rows that are flagged as deleted now.
    pub flagged: u64,
    /// Rows that leave because the org has deleted them.
    pub removed: u64,
}

/// The statements of one load.
#[derive(Debug, Clone, Copy)]
pub struct Merge<'a> {
    /// Where the rows go.
    pub target: &'a Place,
    /// Where the rows are.
    pub rows: &'a Place,
    /// Where keys are that came alone, if any did.
    pub keys: Option<&'a Place>,
    /// The load.
    pub load: &'a LoadPlan,
}

impl Merge<'_> {
    fn layout(&self) -> &TableLayout {
        &self.load.layout
    }

    fn key_name(&self) -> String {
        self.layout().columns.get(self.layout().key).map(|column| quote(&column.name)).unwrap_or_default()
    }

    /// A column of the target.
    fn of_target(&self, quoted: &str) -> String {
        format!("{}.{quoted}", self.target.short())
    }

    /// One row of each key: the newest, and of the same age the last.
    fn newest(&self) -> String {
        let stamp = self.layout().stamp.and_then(|stamp| self.layout().columns.get(stamp));
        let stamp =
            stamp.map(|stamp| format!("{} DESC NULLS LAST, ", quote(&stamp.name))).unwrap_or_default();
        format!(
            "(SELECT * FROM {} QUALIFY ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {stamp}{} DESC) = 1) AS \"_D\"",
            self.rows.full(),
            self.key_name(),
            quote(PLACE_COLUMN)
        )
    }

    fn same_key(&self) -> String {
        let key = self.key_name();
        format!("{} = \"_D\".{key}", self.of_target(&key))
    }

    /// The target's row is newer: the staged one has lost.
    fn is_newer(&self) -> String {
        let stamp = self.layout().stamp.filter(|_| self.load.keeps_newer());
        let stamp = stamp.and_then(|stamp| self.layout().columns.get(stamp));
        stamp.map_or_else(
            || "FALSE".to_owned(),
            |stamp| {
                let stamp = quote(&stamp.name);
                format!("COALESCE({} > \"_D\".{stamp}, FALSE)", self.of_target(&stamp))
            },
        )
    }

    /// The staged row says that the org has deleted it.
    fn is_deleted(&self) -> String {
        let deleted = self.layout().deleted.and_then(|deleted| self.layout().columns.get(deleted));
        deleted.map_or_else(
            || "FALSE".to_owned(),
            |deleted| format!("COALESCE(\"_D\".{}, FALSE)", quote(&deleted.name)),
        )
    }

    /// The staged row is not to be in the target.
    fn is_gone(&self) -> String {
        match self.load.deletes {
            DeletePolicy::Remove => self.is_deleted(),
            DeletePolicy::Flag => "FALSE".to_owned(),
        }
    }

    fn target_flag(&self) -> String {
        self.of_target(&quote(&self.layout().deleted_column))
    }

    /// Columns that a row is written to, and what is written there: those of the load, and the flag, which is there even where
    /// the object has no such field.
    fn written(&self) -> Vec<(String, String)> {
        let flag = quote(&self.layout().deleted_column);
        let columns = self.layout().columns.iter().map(|column| quote(&column.name));
        let mut written: Vec<_> = columns
            .filter(|name| *name != flag || self.load.mode == LoadMode::Refresh)
            .map(|name| (name.clone(), format!("\"_D\".{name}")))
            .collect();
        if self.load.mode != LoadMode::Refresh {
            written.push((flag, self.is_deleted()));
        }
        written
    }

    fn differs(&self) -> String {
        let key = self.key_name();
        let terms: Vec<String> = self
            .written()
            .iter()
            .filter(|(name, _)| *name != key)
            .map(|(name, value)| format!("{} IS DISTINCT FROM {value}", self.of_target(name)))
            .collect();
        if terms.is_empty() { "FALSE".to_owned() } else { format!("({})", terms.join(" OR ")) }
    }

    /// Counts, in the order of [`Forecast`]'s fields.
    pub fn forecast(&self) -> String {
        let key = self.key_name();
        let (newer, gone, differs) = (self.is_newer(), self.is_gone(), self.differs());
        let (deleted, flag) = (self.is_deleted(), self.target_flag());
        let target_key = self.of_target(&key);
        let flips = if self.load.mode == LoadMode::Refresh {
            "FALSE".to_owned()
        } else {
            format!("({deleted} AND NOT COALESCE({flag}, FALSE))")
        };
        let wins = format!("{target_key} IS NOT NULL AND NOT {newer}");
        format!(
            "SELECT COUNT_IF(\"_D\".{key} IS NULL), COUNT({target_key}), \
             COUNT_IF({target_key} IS NULL AND NOT {gone}), \
             COUNT_IF({wins} AND NOT {gone} AND {differs} AND NOT {flips}), \
             COUNT_IF({wins} AND NOT {gone} AND {differs} AND {flips}), COUNT_IF({wins} AND {gone}) \
             FROM {} LEFT JOIN {} ON {}",
            self.newest(),
            self.target.full(),
            self.same_key()
        )
    }

    /// Takes out of the target what the load's mode says must leave because of what was not staged; `None` when nothing must.
    pub fn delete_absent(&self) -> Option<String> {
        let key = self.of_target(&self.key_name());
        let staged = format!("SELECT {0} FROM {1} WHERE {0} IS NOT NULL", self.key_name(), self.rows.full());
        let alone = self.keys.map(|keys| format!("SELECT {} FROM {}", quote(KEY_COLUMN), keys.full()));
        match (self.load.mode, alone) {
            (LoadMode::Replace, None) => Some(self.remove(&format!("{key} NOT IN ({staged})"))),
            (LoadMode::Replace, Some(spared)) => {
                Some(self.remove(&format!("{key} NOT IN ({staged}) AND {key} NOT IN ({spared})")))
            }
            (LoadMode::Upsert, Some(alone)) => Some(format!(
                "DELETE FROM {} WHERE {key} IN ({alone}) AND {key} NOT IN ({staged}) \
                 AND {key} NOT IN ({alone} WHERE {} >= {})",
                self.target.full(),
                quote(PLACE_COLUMN),
                u64::from(SPARED_FROM) << 32
            )),
            _ => None,
        }
    }

    /// Takes out rows that are not at the org any more, or flags them.
    fn remove(&self, those: &str) -> String {
        let (target, flag) = (self.target.full(), quote(&self.layout().deleted_column));
        match self.load.flags_absent() {
            false => format!("DELETE FROM {target} WHERE {those}"),
            true => format!(
                "UPDATE {target} SET {flag} = TRUE WHERE {those} AND NOT COALESCE({}, FALSE)",
                self.target_flag()
            ),
        }
    }

    /// Takes the rows out that the org has deleted.
    pub fn delete_gone(&self) -> String {
        format!(
            "DELETE FROM {} USING {} WHERE {} AND NOT {} AND {}",
            self.target.full(),
            self.newest(),
            self.same_key(),
            self.is_newer(),
            self.is_gone()
        )
    }

    /// Writes what is other than before.
    pub fn update(&self) -> String {
        let key = self.key_name();
        let set: Vec<String> = self
            .written()
            .iter()
            .filter(|(name, _)| *name != key)
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        format!(
            "UPDATE {} SET {} FROM {} WHERE {} AND NOT {} AND NOT {} AND {}",
            self.target.full(),
            set.join(", "),
            self.newest(),
            self.same_key(),
            self.is_newer(),
            self.is_gone(),
            self.differs()
        )
    }

    /// Writes what is new.
    pub fn insert(&self) -> String {
        let (names, values): (Vec<String>, Vec<String>) = self.written().into_iter().unzip();
        let key = self.of_target(&self.key_name());
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} WHERE NOT {} AND NOT EXISTS (SELECT 1 FROM {} WHERE {key} = \"_D\".{})",
            self.target.full(),
            names.join(", "),
            values.join(", "),
            self.newest(),
            self.is_gone(),
            self.target.full(),
            self.key_name()
        )
    }

    /// Deletes rows by keys alone: those that were staged, or all but those.
    pub fn delete_by_keys(&self, has_rows: bool) -> String {
        let mut staged = Vec::new();
        if let Some(keys) = self.keys {
            staged.push(format!("SELECT {} FROM {}", quote(KEY_COLUMN), keys.full()));
        }
        if has_rows {
            staged.push(format!("SELECT {} FROM {}", self.key_name(), self.rows.full()));
        }
        let key = self.of_target(&self.key_name());
        let mut is_meant = match (self.load.mode, staged.is_empty()) {
            (LoadMode::KeepKeys, true) => "TRUE".to_owned(),
            (_, true) => "FALSE".to_owned(),
            (LoadMode::KeepKeys, false) => format!("{key} NOT IN ({})", staged.join(" UNION ALL ")),
            (_, false) => format!("{key} IN ({})", staged.join(" UNION ALL ")),
        };
        if self.load.spares_flagged() {
            is_meant = format!("{is_meant} AND NOT COALESCE({}, FALSE)", self.target_flag());
        }
        self.remove(&is_meant)
    }

    /// How many staged keys are null.
    pub fn null_keys(&self) -> Option<String> {
        let keys = self.keys?;
        Some(format!("SELECT COUNT(*) FROM {} WHERE {} IS NULL", keys.full(), quote(KEY_COLUMN)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::sync::LoadId;

    fn place(name: &str) -> Place {
        Place { database: "RAW".to_owned(), schema: "CRM".to_owned(), name: name.to_owned() }
    }

    fn column(name: &str, kind: ColumnType) -> TableColumn {
        TableColumn { field: name.to_owned(), name: name.to_owned(), kind }
    }

    fn load(mode: LoadMode, deletes: DeletePolicy) -> LoadPlan {
        LoadPlan {
            id: LoadId::new(1, 1),
            org: "acme".parse().unwrap(),
            object: "Lead".parse().unwrap(),
            table: "lead".parse().unwrap(),
            mode,
            layout: TableLayout {
                columns: vec![
                    column("Id", ColumnType::Id),
                    column("SystemModstamp", ColumnType::DateTime),
                    column("IsDeleted", ColumnType::Boolean),
                ],
                key: 0,
                stamp: Some(1),
                deleted: Some(2),
                deleted_column: "IsDeleted".to_owned(),
            },
            deletes,
            from: None,
            to: None,
            schema_version: 1,
            stage: None,
            is_filtered: false,
            origin: None,
            ousts: false,
        }
    }

    #[rstest]
    fn nothing_in_a_transaction_would_end_it(
        #[values(
            LoadMode::Upsert,
            LoadMode::Replace,
            LoadMode::Refresh,
            LoadMode::DeleteKeys,
            LoadMode::KeepKeys
        )]
        mode: LoadMode,
        #[values(DeletePolicy::Flag, DeletePolicy::Remove)] deletes: DeletePolicy,
        #[values(false, true)] has_keys: bool,
    ) {
        let (target, rows, keys) = (place("LEAD"), place("_STG_LEAD"), place("_STG_LEAD_KEYS"));
        let load = load(mode, deletes);
        let merge = Merge { target: &target, rows: &rows, keys: has_keys.then_some(&keys), load: &load };
        let mut statements = vec![
            merge.forecast(),
            merge.delete_gone(),
            merge.update(),
            merge.insert(),
            merge.delete_by_keys(true),
            merge.delete_by_keys(false),
        ];
        statements.extend(merge.delete_absent());
        statements.extend(merge.null_keys());
        for statement in statements {
            let first = statement.split(' ').next().unwrap();
            assert!(["SELECT", "INSERT", "UPDATE", "DELETE"].contains(&first), "{statement}");
            assert!(!statement.contains(';'), "{statement}");
        }
    }

    #[test]
    fn a_whole_number_of_64_bits_fits() {
        assert_eq!(type_name(ColumnType::Int), "NUMBER(19, 0)");
        assert_eq!(i64::MIN.unsigned_abs().to_string().len(), 19);
    }

    #[test]
    fn keys_that_were_not_staged_are_nobodys_reason_to_delete() {
        let (target, rows) = (place("LEAD"), place("_STG_LEAD"));
        let load = load(LoadMode::DeleteKeys, DeletePolicy::Remove);
        let merge = Merge { target: &target, rows: &rows, keys: None, load: &load };
        assert!(merge.delete_by_keys(false).ends_with("WHERE FALSE"));
    }
}
