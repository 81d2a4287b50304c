//! An org, a state folder and an SQLite file, for stories that are told one by one.

use penstock::actors::sync_desk::{SyncOrder, SyncOverrides};
use penstock::sync::{DeletePolicy, ObjectSettings, SyncResult, Thresholds};
use serde_json::Value;

use crate::compare::{Expected, differences, shown};
use crate::lives::{Death, Household, settings};
use crate::org::Org;
use crate::target::{Engine, Target};

pub struct Bench {
    pub org: Org,
    pub home: Household,
    pub target: Target,
}

impl Bench {
    /// So many Leads, and jobs from 1,000 rows on with pages of 400.
    pub fn new(leads: u64, objects: Vec<ObjectSettings>) -> Self {
        Self::with(leads, objects, |_| {})
    }

    pub fn with(leads: u64, objects: Vec<ObjectSettings>, set: impl FnOnce(&mut orgsim::Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::make(Engine::Sqlite, folder.path()).unwrap();
        let mut options = orgsim::Options::default();
        for (object, rows) in [("Lead", leads), ("Contact", 120), ("Account", 60)] {
            options.data.records.insert(object.to_owned(), rows);
        }
        options.bulk.page_rows = 400;
        set(&mut options);
        let org = Org::start(options);
        let home = Household::new(&org, settings(objects), folder, target.settings());
        Self { org, home, target }
    }

    /// Everything over REST.
    pub fn without_jobs(mut self) -> Self {
        self.home.settings.thresholds = Thresholds { bulk: 1_000_000, stage: 50_000_000 };
        self
    }

    pub fn order(&self, with: SyncOverrides) -> Vec<SyncResult> {
        let order = SyncOrder { with, ..SyncOrder::all() };
        self.home.sync(order, &Death::Natural).unwrap()
    }

    /// The first object's result, good or bad.
    pub fn sync(&self) -> SyncResult {
        self.order(SyncOverrides::default()).remove(0)
    }

    pub fn synced(&self) -> SyncResult {
        let mut results = self.order(SyncOverrides::default());
        assert!(results.iter().all(|result| result.success), "{results:#?}");
        results.remove(0)
    }

    pub fn dies_at(&self, point: u64) {
        assert!(self.home.sync(SyncOrder::all(), &Death::AtPoint(point)).is_none(), "it came to its end");
    }

    pub fn change(&self, change: &Value) {
        self.org.change(change);
    }

    #[track_caller]
    pub fn is_equal(&self, object: &str) {
        let expected = Expected { object, deletes: DeletePolicy::Flag, filter: &|_| true };
        let told = differences(&self.org, &self.target, &expected);
        assert!(told.is_empty(), "{}", shown(&told));
    }

    /// Bulk query jobs that the org made, and deleted.
    pub fn jobs(&self) -> (usize, usize) {
        let made = self.org.calls("POST", |path| path.ends_with("/jobs/query"));
        (made, self.org.calls("DELETE", |path| path.contains("/jobs/query/")))
    }
}
