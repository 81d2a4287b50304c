//! One table on a ground, and short words for what the promises do with it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;

use super::Ground;
use crate::sync::{
    ColumnType, CommitReceipt, DeletePolicy, LoadId, LoadMode, LoadPlan, PartNumber, QueryColumn,
    SchemaChange, StagedCount, TableColumn, TableLayout, TableName, TableState,
};
use crate::warehouse::chunk::{TextRoom, date, date_time, time};
use crate::warehouse::{Cell, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError};

/// Who all connections of the promises are.
pub const OWNER: &str = "the contract";

/// `2026-01-01T00:00:00Z` and some milliseconds.
pub const fn at(ms: i64) -> Cell<'static> {
    Cell::DateTime(1_767_225_600_000 + ms)
}

/// A point in time for watermarks.
pub fn mark(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// A column whose field has its name.
pub fn column(name: &str, kind: ColumnType) -> TableColumn {
    TableColumn { field: name.to_owned(), name: name.to_owned(), kind }
}

/// `Id`, `Name`, `SystemModstamp`, `IsDeleted`: what most promises need.
pub fn small_layout() -> TableLayout {
    TableLayout {
        columns: vec![
            column("Id", ColumnType::Id),
            column("Name", ColumnType::Text),
            column("SystemModstamp", ColumnType::DateTime),
            column("IsDeleted", ColumnType::Boolean),
        ],
        key: 0,
        stamp: Some(2),
        deleted: Some(3),
        deleted_column: "IsDeleted".to_owned(),
    }
}

/// A row of [`small_layout`] that is not deleted.
pub fn row<'a>(id: &'a str, name: &'a str, ms: i64) -> Vec<Cell<'a>> {
    vec![Cell::Text(id), Cell::Text(name), at(ms), Cell::Boolean(false)]
}

/// A row of [`small_layout`] that is deleted.
pub fn gone<'a>(id: &'a str, name: &'a str, ms: i64) -> Vec<Cell<'a>> {
    vec![Cell::Text(id), Cell::Text(name), at(ms), Cell::Boolean(true)]
}

/// Rows in memory.
pub fn chunk(columns: usize, rows: &[Vec<Cell<'_>>]) -> RowChunk {
    let mut chunk = RowChunk::new(columns);
    for row in rows {
        chunk.push(row.iter().copied());
    }
    chunk
}

/// Keys alone.
pub fn keys(keys: &[&str]) -> PartSource {
    let mut chunk = RowChunk::new(1);
    for key in keys {
        chunk.push([Cell::Text(key)]);
    }
    PartSource::Keys(Arc::new(chunk))
}

/// A cell as every engine must tell it.
pub fn told(cell: Cell<'_>) -> String {
    let mut room = TextRoom::default();
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Unreadable => "unreadable".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Decimal(text) | Cell::Text(text) | Cell::Json(text) => text.to_owned(),
        Cell::Date(days) => date(days, &mut room).to_owned(),
        Cell::DateTime(epoch_ms) => date_time(epoch_ms, &mut room).to_owned(),
        Cell::Time(ms) => time(ms, &mut room).to_owned(),
    }
}

/// Keeps what a query gives.
#[derive(Debug, Default)]
pub struct Kept {
    /// The columns.
    pub columns: Vec<QueryColumn>,
    /// The rows, each cell as [`told`].
    pub rows: Vec<Vec<String>>,
}

impl QuerySink for Kept {
    fn head(&mut self, columns: &[QueryColumn]) -> Result<(), WarehouseError> {
        assert!(self.columns.is_empty(), "the columns are told once");
        self.columns = columns.to_vec();
        Ok(())
    }

    fn rows(&mut self, chunk: RowChunk) -> Result<(), WarehouseError> {
        assert!(!self.columns.is_empty(), "the columns are told before the rows");
        assert_eq!(chunk.columns(), self.columns.len());
        self.rows.extend(chunk.iter().map(|row| row.cells().map(told).collect()));
        Ok(())
    }
}

/// One table on a ground, empty and with [`small_layout`] if not made otherwise.
pub struct Bench<'g> {
    /// The ground.
    pub ground: &'g mut dyn Ground,
    /// A connection that is open.
    pub warehouse: Box<dyn Warehouse>,
    /// The table.
    pub table: TableName,
    /// What is loaded if nothing else is said.
    pub layout: TableLayout,
    /// The policy of loads.
    pub deletes: DeletePolicy,
    /// Whether loads are of a filter's rows.
    pub is_filtered: bool,
    /// Keys that are staged of loads.
    keys: BTreeMap<(LoadId, PartNumber), u64>,
    loads: u64,
    version: u64,
}

impl<'g> Bench<'g> {
    /// A table of the small layout.
    pub fn new(ground: &'g mut dyn Ground, table: &str) -> Self {
        Self::with(ground, table, small_layout())
    }

    /// A table of that layout.
    pub fn with(ground: &'g mut dyn Ground, table: &str, layout: TableLayout) -> Self {
        let mut bench = Self::bare(ground, table, layout.clone());
        bench.change(&[SchemaChange::CreateTable { layout }]).unwrap();
        bench
    }

    /// A table that is not made yet.
    pub fn bare(ground: &'g mut dyn Ground, table: &str, layout: TableLayout) -> Self {
        let mut warehouse = ground.connect();
        warehouse.open(OWNER).unwrap();
        let table = TableName::new(Vec::new(), table);
        Self {
            ground,
            warehouse,
            table,
            layout,
            deletes: DeletePolicy::Flag,
            is_filtered: false,
            keys: BTreeMap::new(),
            loads: 0,
            version: 0,
        }
    }

    /// Another connection, open.
    pub fn another(&mut self) -> Box<dyn Warehouse> {
        let mut warehouse = self.ground.connect();
        warehouse.open(OWNER).unwrap();
        warehouse
    }

    /// Changes the table's schema.
    pub fn change(&mut self, changes: &[SchemaChange]) -> Result<u64, WarehouseError> {
        let (org, object) = ("acme".parse().unwrap(), "Lead".parse().unwrap());
        let version = self.warehouse.apply_schema(&org, &object, &self.table, changes)?;
        self.version = version;
        Ok(version)
    }

    /// What is known of the table.
    pub fn state(&mut self) -> TableState {
        self.warehouse.table(&self.table).unwrap()
    }

    /// A load more, of this bench's layout, from nowhere to the second of its number.
    pub fn plan(&mut self, mode: LoadMode) -> LoadPlan {
        self.loads += 1;
        let mut hasher = DefaultHasher::new();
        self.table.hash(&mut hasher);
        LoadPlan {
            id: LoadId::new(1_767_225_600_000 + self.loads, hasher.finish().into()),
            org: "acme".parse().unwrap(),
            object: "Lead".parse().unwrap(),
            table: self.table.clone(),
            mode,
            layout: self.layout.clone(),
            deletes: self.deletes,
            from: None,
            to: Some(mark(self.loads as i64)),
            schema_version: self.version,
            stage: None,
            is_filtered: self.is_filtered,
            origin: None,
            ousts: false,
        }
    }

    /// Stages rows of the load's layout.
    pub fn stage(&mut self, plan: &LoadPlan, part: u32, rows: &[Vec<Cell<'_>>]) {
        let source = PartSource::Rows(Arc::new(chunk(plan.layout.columns.len(), rows)));
        let receipt = self.warehouse.stage(plan, PartNumber(part), &source).unwrap();
        assert_eq!((receipt.part, receipt.rows), (PartNumber(part), rows.len() as u64));
    }

    /// Stages keys alone.
    pub fn stage_keys(&mut self, plan: &LoadPlan, part: u32, ids: &[&str]) {
        let receipt = self.warehouse.stage(plan, PartNumber(part), &keys(ids)).unwrap();
        self.keys.insert((plan.id.clone(), receipt.part), receipt.rows);
        assert_eq!((receipt.part, receipt.rows), (PartNumber(part), ids.len() as u64));
    }

    /// What the parts of a load of so many rows add up to, with the keys that were staged here.
    pub fn expected(&self, plan: &LoadPlan, rows: usize) -> StagedCount {
        let keys = self.keys.iter().filter(|((load, _), _)| *load == plan.id).map(|(_, keys)| keys).sum();
        StagedCount { rows: rows as u64, keys }
    }

    /// Commits a load.
    pub fn commit(&mut self, plan: &LoadPlan, rows: usize) -> CommitReceipt {
        let expected = self.expected(plan, rows);
        let receipt = self.warehouse.commit(plan, expected).unwrap();
        assert_eq!(receipt.staged, rows as u64, "rows that were staged");
        receipt
    }

    /// A whole load of one part.
    pub fn load(&mut self, mode: LoadMode, rows: &[Vec<Cell<'_>>]) -> CommitReceipt {
        let plan = self.plan(mode);
        self.stage(&plan, 0, rows);
        self.commit(&plan, rows.len())
    }

    /// A whole load of keys alone.
    pub fn load_keys(&mut self, mode: LoadMode, ids: &[&str]) -> CommitReceipt {
        let plan = self.plan(mode);
        self.stage_keys(&plan, 1_000_000_000, ids);
        self.commit(&plan, 0)
    }

    /// What a query gives.
    pub fn ask(&mut self, sql: &str) -> Result<Kept, WarehouseError> {
        let mut kept = Kept::default();
        self.warehouse.query(sql, &mut kept)?;
        Ok(kept)
    }

    /// The statement that reads some columns by key.
    pub fn select(&self, columns: &[&str]) -> String {
        let columns: Vec<String> = columns.iter().map(|name| self.ground.column(name)).collect();
        let key = self.ground.column(&self.layout.columns[self.layout.key].name);
        format!("SELECT {} FROM {} ORDER BY {key}", columns.join(", "), self.ground.table(&self.table))
    }

    /// Rows of some columns by key.
    pub fn read(&mut self, columns: &[&str]) -> Vec<Vec<String>> {
        let sql = self.select(columns);
        self.ask(&sql).unwrap().rows
    }

    /// `Id=Name` of each row by id, with `!` behind those that are flagged as deleted.
    pub fn names(&mut self) -> Vec<String> {
        let rows = self.read(&["Id", "Name", "IsDeleted"]);
        let flag = |flag: &str| if flag == "true" { "!" } else { "" };
        rows.iter().map(|row| format!("{}={}{}", row[0], row[1], flag(&row[2]))).collect()
    }

    /// A statement of somebody else, with `{t}` for the table.
    pub fn meddle(&mut self, sql: &str) {
        let sql = sql.replace("{t}", &self.ground.table(&self.table));
        self.ground.execute(&sql);
    }
}

/// Inserted, updated, unchanged, deleted.
pub fn counts(receipt: &CommitReceipt) -> [u64; 4] {
    [receipt.inserted, receipt.updated, receipt.unchanged, receipt.deleted]
}
