//! Processes, as far as a test can have them: a plant in a system and a runtime of its own, which may end like a crash.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use penstock::actors::engine::{Fault, FaultPoint, NoFaults};
use penstock::actors::sync_desk::{SyncDesk, SyncOrder};
use penstock::actors::warehouse_writer::Patience;
use penstock::clock::{BoxFuture, Clock, SharedClock, SystemClock};
use penstock::config::Config;
use penstock::plant::sync::{SyncSetup, WRITER, WarehouseMaker, WarehouseSettings, factory};
use penstock::plant::{Outside, Plant};
use penstock::store::disk::RealDisk;
use penstock::sync::{DeletePolicy, ObjectSettings, SyncProfile, SyncResult, SyncSettings};
use penstock::telemetry::Metrics;
use penstock::warehouse::WarehouseFactory;
use penstock::warehouse::spool::Spool;

use crate::haunted::Haunt;
use crate::org::Org;
use crate::plants::plant_when_free;

/// So much faster than the machine's does the clock of the plants run: a pause of a second costs a tenth.
const HASTE: u32 = 10;

/// Runs ahead of the machine's clock; so pauses before retries are short, and time limits still are hardly met.
struct Hasty(SharedClock);

impl Clock for Hasty {
    fn elapsed(&self) -> Duration {
        self.0.elapsed() * HASTE
    }

    fn wall(&self) -> jiff::Timestamp {
        self.0.wall()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at / HASTE)
    }
}

pub fn object(object: &str) -> ObjectSettings {
    ObjectSettings::new(object.parse().unwrap(), object.to_lowercase().parse().unwrap())
}

pub fn settings(objects: Vec<ObjectSettings>) -> SyncSettings {
    SyncSettings {
        org: "demo".parse().unwrap(),
        warehouse: "main".to_owned(),
        thresholds: SyncProfile::Seed.thresholds(),
        overlap: Duration::from_secs(300),
        objects_at_once: 2,
        deletes: DeletePolicy::Flag,
        hard_deletes_every: None,
        formulas_every: None,
        reconcile_every: Some(Duration::ZERO),
        describe_for: Duration::from_secs(600),
        max_rejects_per_million: 1_000,
        spool_bytes: 64 << 20,
        objects,
    }
}

/// Breaks off at the n-th of the points that a sync passes.
pub struct BreakAtNth {
    left: AtomicI64,
    struck: AtomicBool,
}

impl BreakAtNth {
    pub fn new(nth: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(nth as i64), struck: AtomicBool::new(false) })
    }
}

impl FaultPoint for BreakAtNth {
    fn strike(&self, actor: &'static str) -> Fault {
        if !actor.starts_with("sync_") || self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return Fault::None;
        }
        self.struck.store(true, Ordering::SeqCst);
        Fault::Hang
    }
}

/// How a life ends.
pub enum Death {
    /// When its work is done.
    Natural,
    /// At one of the points of a sync, or when the sync is over.
    AtPoint(u64),
    /// So long after the sync has begun, or when it is over.
    After(Duration),
}

/// One state folder, and what it syncs into what.
pub struct Household {
    pub folder: tempfile::TempDir,
    pub config: Config,
    pub settings: SyncSettings,
    pub warehouse: WarehouseSettings,
    pub haunt: Haunt,
}

impl Household {
    pub fn new(
        org: &Org,
        settings: SyncSettings,
        folder: tempfile::TempDir,
        warehouse: WarehouseSettings,
    ) -> Self {
        let text = format!(
            "[[org]]\nname = \"demo\"\nlogin_url = \"{}\"\nclient_id = \"orgsim-client\"\nclient_secret = \"orgsim-secret\"\n",
            org.server.url()
        );
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::load(Some(&path), std::iter::empty()).unwrap();
        config.state_dir = folder.path().join("state");
        config.output_dir = folder.path().join("output");
        Self { folder, config, settings, warehouse, haunt: Haunt::default() }
    }

    /// Syncs everything in one life; `None`: it ended before the sync did.
    pub fn sync(&self, order: SyncOrder, death: &Death) -> Option<Vec<SyncResult>> {
        let breaks = match death {
            Death::AtPoint(nth) => Some(BreakAtNth::new(*nth)),
            _ => None,
        };
        let faults: Arc<dyn FaultPoint> = match &breaks {
            Some(breaks) => Arc::clone(breaks) as Arc<dyn FaultPoint>,
            None => Arc::new(NoFaults),
        };
        let after = match death {
            Death::After(after) => Some(*after),
            _ => None,
        };
        self.live(faults, |plant| async move {
            let desk = desk(&plant).clone();
            let fate = async {
                match (&breaks, after) {
                    (Some(breaks), _) => {
                        while !breaks.struck.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                    (None, Some(after)) => tokio::time::sleep(after).await,
                    (None, None) => std::future::pending().await,
                }
            };
            tokio::select! {
                results = desk.sync(order) => Some(results),
                () = fate => None,
                () = tokio::time::sleep(Duration::from_secs(120)) => {
                    panic!("a sync does not end: {:#?}", desk.status());
                }
            }
        })
    }

    /// Runs something on a plant. When it is over nothing of the plant is left: what was under way was dropped where it stood,
    /// as by a crash, but for what a database was at.
    pub fn live<T: Send, F: Future<Output = T>>(
        &self,
        faults: Arc<dyn FaultPoint>,
        work: impl FnOnce(Arc<Plant>) -> F + Send,
    ) -> T {
        // In the hands of each connection to the warehouse.
        let token = Arc::new(());
        let outcome = std::thread::scope(|scope| {
            let life = scope.spawn(|| {
                let system = actix_rt::System::with_tokio_rt(|| {
                    tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(2)
                        .enable_all()
                        .build()
                        .unwrap()
                });
                system.block_on(async {
                    let plant = self.plant(faults, &token).await;
                    let outcome = work(Arc::clone(&plant)).await;
                    plant.engine.close();
                    drop(plant);
                    actix_rt::System::current().stop();
                    // The arbiters hear of it.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    outcome
                })
            });
            life.join()
        });
        for _ in 0..5_000 {
            if Arc::strong_count(&token) == 1 {
                break;
            }
            pause(Duration::from_millis(2));
        }
        assert_eq!(Arc::strong_count(&token), 1, "a connection to the warehouse was left");
        match outcome {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn plant(&self, faults: Arc<dyn FaultPoint>, token: &Arc<()>) -> Arc<Plant> {
        let clock: SharedClock = Arc::new(Hasty(SystemClock::shared()));
        plant_when_free(async || {
            let setup = SyncSetup {
                settings: self.settings.clone(),
                thresholds_origin: "profile seed".to_owned(),
                warehouse: WarehouseMaker::Made(self.connections(&clock, token)),
                connections: 2,
                writer: WRITER,
                patience: Patience { pause: Duration::from_millis(100), longest: Duration::from_secs(60) },
            };
            let outside = Outside {
                clock: clock.clone(),
                disk: Arc::new(RealDisk),
                faults: Arc::clone(&faults),
                seed: 7,
            };
            Plant::build_with(&self.config, Some(setup), outside, Metrics::new()).await
        })
        .await
    }

    fn connections(&self, clock: &SharedClock, token: &Arc<()>) -> WarehouseFactory {
        let spool = Spool::open(&self.folder.path().join("spool"), 64 << 20, Arc::new(RealDisk)).unwrap();
        let owner = self.config.state_dir.display().to_string();
        let plain = factory(self.warehouse.clone(), owner, spool, clock.clone());
        let held = Arc::clone(token);
        let plain: WarehouseFactory = Arc::new(move || {
            let _in_hand = &held;
            plain()
        });
        self.haunt.over(plain)
    }
}

pub fn desk(plant: &Plant) -> &SyncDesk {
    plant.sync.as_ref().expect("there are syncs")
}

#[expect(clippy::disallowed_methods, reason = "the test waits for threads, whose time is the machine's")]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}
