//! A warehouse that fails when it is told to, before or after it has done what was asked.

use std::sync::{Arc, Mutex};

use penstock::model::{ObjectName, OrgName};
use penstock::sync::{
    CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount,
    TableLayout, TableName, TableState, Watermark,
};
use penstock::warehouse::{
    Cancel, Caps, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError, WarehouseFactory,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The connection breaks before anything is done.
    Down,
    /// The connection breaks when it is done: the answer is lost.
    AnswerLost,
    /// Somebody holds a lock.
    Locked,
    /// No room.
    Full,
    /// Somebody has changed the table.
    Altered,
}

/// At which step, what, and how often.
type Visit = (&'static str, Trouble, usize);

/// Which calls go wrong, how, and how often.
#[derive(Clone, Default)]
pub struct Haunt {
    visits: Arc<Mutex<Vec<Visit>>>,
    held: Arc<Mutex<Option<Held>>>,
}

/// The rows that came first under a part's number, which somebody's lock keeps out.
struct Held {
    part: PartNumber,
    first: Option<PartSource>,
    /// Other rows came under the number meanwhile.
    is_overtaken: bool,
    /// Refusals until it is let in; `None`: nobody counts yet.
    left: Option<usize>,
}

impl Held {
    fn refuses(&mut self, part: PartNumber, source: &PartSource) -> bool {
        let (true, PartSource::Rows(rows)) = (part == self.part, source) else { return false };
        let PartSource::Rows(first) = self.first.get_or_insert_with(|| source.clone()) else { return false };
        if !Arc::ptr_eq(first, rows) {
            self.is_overtaken = true;
            return false;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        !self.is_overtaken && self.left != Some(0)
    }
}

impl Haunt {
    pub fn at(&self, step: &'static str, trouble: Trouble, times: usize) {
        self.visits.lock().unwrap().push((step, trouble, times));
    }

    /// Keeps the rows that come first under a part's number out, until others have come under it.
    pub fn hold(&self, part: PartNumber) {
        *self.held.lock().unwrap() = Some(Held { part, first: None, is_overtaken: false, left: None });
    }

    /// They are refused so many times more, where no others come.
    pub fn hold_for(&self, refusals: usize) {
        self.held.lock().unwrap().as_mut().expect("a part is held").left = Some(refusals);
    }

    pub fn end(&self) {
        self.visits.lock().unwrap().clear();
    }

    pub fn is_over(&self) -> bool {
        self.visits.lock().unwrap().iter().all(|(_, _, left)| *left == 0)
    }

    fn next(&self, step: &str) -> Option<Trouble> {
        let mut haunts = self.visits.lock().unwrap();
        let (_, trouble, left) = haunts.iter_mut().find(|(of, _, left)| *of == step && *left > 0)?;
        *left -= 1;
        Some(*trouble)
    }

    /// The same connections, haunted.
    pub fn over(&self, factory: WarehouseFactory) -> WarehouseFactory {
        let haunt = self.clone();
        Arc::new(move || {
            if haunt.next("connect").is_some() {
                return Err(WarehouseError::Unreachable("nobody answers".to_owned()));
            }
            Ok(Box::new(Haunted { inner: factory()?, haunt: haunt.clone() }))
        })
    }
}

struct Haunted {
    inner: Box<dyn Warehouse>,
    haunt: Haunt,
}

impl Haunted {
    fn run<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce(&mut dyn Warehouse) -> Result<T, WarehouseError>,
    ) -> Result<T, WarehouseError> {
        match self.haunt.next(step) {
            None => work(&mut *self.inner),
            Some(Trouble::Down) => Err(WarehouseError::Unreachable("the line is cut".to_owned())),
            Some(Trouble::AnswerLost) => {
                work(&mut *self.inner)?;
                Err(WarehouseError::Unsure("the line is cut".to_owned()))
            }
            Some(Trouble::Locked) => {
                Err(WarehouseError::Locked { what: "lead".to_owned(), message: "busy".to_owned() })
            }
            Some(Trouble::Full) => Err(WarehouseError::Full("no room".to_owned())),
            Some(Trouble::Altered) => Err(WarehouseError::Altered {
                table: "lead".to_owned(),
                what: "column `Id` is gone".to_owned(),
            }),
        }
    }
}

impl Warehouse for Haunted {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn open(&mut self, owner: &str) -> Result<(), WarehouseError> {
        self.inner.open(owner)
    }

    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        self.run("table", |inner| inner.table(table))
    }

    fn apply_schema(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        self.run("schema", |inner| inner.apply_schema(org, object, table, changes))
    }

    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        self.run("state", |inner| inner.load_state(load))
    }

    fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        self.inner.watermark(org, object, table)
    }

    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        if self.haunt.held.lock().unwrap().as_mut().is_some_and(|held| held.refuses(part, source)) {
            return Err(WarehouseError::Locked { what: "lead".to_owned(), message: "busy".to_owned() });
        }
        self.run("stage", |inner| inner.stage(load, part, source))
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        self.run("commit", |inner| inner.commit(load, expected))
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        self.inner.abandon(load)
    }

    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError> {
        self.run("count", |inner| inner.count(table, layout))
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        self.inner.query(sql, sink)
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        self.inner.append_log(table, layout, load, part, rows)
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        self.inner.cancel_handle()
    }
}
