//! A plant with its org, sheets of ids, and reports read back.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use penstock::actors::engine::{FaultPoint, NoFaults};
use penstock::clock::SystemClock;
use penstock::config::Config;
use penstock::http::api::lead_service::{LeadJobView, LeadService, StartLeads, StartSource};
use penstock::leads::job::ReportFormat;
use penstock::leads::{JobPhase, LeadCounts};
use penstock::plant::{Outside, Plant};
use penstock::salesforce::soql::{Comparison, Condition, Literal};
use penstock::salesforce::{FieldPath, OrgClient, Select, Source};
use penstock::store::disk::{RealDisk, SharedDisk};
use penstock::telemetry::Metrics;

use crate::plants::plant_when_free;

pub fn in_system<F: Future>(work: F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(work)
}

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub config: Config,
    pub faults: Arc<dyn FaultPoint>,
    pub disk: SharedDisk,
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, std::iter::empty()).unwrap();
        config.state_dir = folder.path().join("state");
        config.output_dir = folder.path().join("output");
        Self { folder, config, faults: Arc::new(NoFaults), disk: Arc::new(RealDisk) }
    }

    /// With these sections of a configuration.
    pub fn with_config(mut self, text: &str) -> Self {
        let path = self.folder.path().join("config.toml");
        std::fs::write(&path, format!("{text}[[org]]\nname = \"demo\"\nsimulated = true\n")).unwrap();
        let Config { leads, .. } = Config::load(Some(&path), std::iter::empty()).unwrap();
        self.config.leads = leads;
        self
    }

    /// The same state folder with an org outside, which outlives the plant.
    pub fn with_org(mut self, server: &orgsim::Server) -> Self {
        let text = format!(
            "[[org]]\nname = \"demo\"\nlogin_url = \"{}\"\nclient_id = \"orgsim-client\"\nclient_secret = \"orgsim-secret\"\n",
            server.url()
        );
        let path = self.folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let read = Config::load(Some(&path), std::iter::empty()).unwrap();
        self.config.org = read.org;
        self
    }

    pub async fn plant(&self) -> Arc<Plant> {
        let outside = Outside {
            clock: SystemClock::shared(),
            disk: Arc::clone(&self.disk),
            faults: Arc::clone(&self.faults),
            seed: 7,
        };
        plant_when_free(async || Plant::build(&self.config, outside.clone(), Metrics::new()).await).await
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub fn service(plant: &Plant) -> Arc<dyn LeadService> {
    plant.lead_service().expect("there is an org")
}

pub fn client(plant: &Plant) -> OrgClient {
    plant.clients.values().next().unwrap().clone()
}

/// The plant lets go of its folder's lock and stores.
pub async fn close(plant: Arc<Plant>) {
    plant.engine.close();
    drop(plant);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

pub fn sheet(path: &Path) -> StartLeads {
    StartLeads {
        org: None,
        source: StartSource::Sheet {
            path: path.to_owned(),
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            sheet: None,
            id_column: None,
            is_ours: false,
        },
        ask_model: false,
        read_batch: None,
        assess_batch: None,
        max_cost: None,
        reports: vec![ReportFormat::Csv],
        take_up: false,
    }
}

/// Waits until a job is over.
pub async fn over(plant: &Plant, job: &str) -> LeadJobView {
    let service = service(plant);
    let patience = 24_000;
    for _ in 0..patience {
        let view = service.job(job).expect("the job is known");
        if view.progress.phase.is_over() && service.watch(job).is_none() {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", service.job(job));
}

pub async fn run(plant: &Plant, start: StartLeads) -> LeadJobView {
    let spec = service(plant).start(start).await.unwrap();
    over(plant, &spec.job).await
}

pub async fn done(plant: &Plant, start: StartLeads) -> LeadJobView {
    let view = run(plant, start).await;
    assert_eq!(view.progress.phase, JobPhase::Done, "{:?}", view.progress.error);
    adds_up(&view.progress.counts);
    view
}

/// The sums that the counts promise.
pub fn adds_up(counts: &LeadCounts) {
    let LeadCounts {
        rows, blank, invalid, leads, duplicates, assessed, failed, no_record, unread, open, ..
    } = *counts;
    assert_eq!(rows, blank + invalid + leads + duplicates, "{counts:?}");
    assert_eq!(leads, assessed + failed + no_record + unread + open, "{counts:?}");
    assert_eq!(no_record, counts.merged + counts.deleted + counts.not_visible, "{counts:?}");
    assert_eq!(open, 0, "{counts:?}");
}

/// The rows of a report in delimited text, by column.
pub async fn csv_report(plant: &Plant, job: &str) -> Vec<BTreeMap<String, String>> {
    let path = service(plant).report(job, ReportFormat::Csv).await.unwrap();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path).unwrap();
    let heads: Vec<String> =
        reader.headers().unwrap().iter().map(|head| head.trim_start_matches('\u{feff}').to_owned()).collect();
    reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            heads.iter().cloned().zip(record.iter().map(str::to_owned)).collect()
        })
        .collect()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Known {
    pub id: String,
    #[serde(default)]
    pub is_converted: bool,
    #[serde(default)]
    pub master_record_id: Option<String>,
}

/// Leads of the org: `deleted` ones, or live ones.
pub async fn known(client: &OrgClient, deleted: bool, limit: u32) -> Vec<Known> {
    let fields = ["Id", "IsConverted", "MasterRecordId"].map(|name| FieldPath::read(name).unwrap());
    let is_deleted = FieldPath::literal("IsDeleted");
    let statement = Select::new(fields, Source::literal("Lead"))
        .filter(Condition::Compare(is_deleted, Comparison::Equal, Literal::Bool(deleted)))
        .limit(limit)
        .build()
        .unwrap();
    client.query_all(&statement).await.unwrap()
}

/// An id that no lead of the org has: well formed, and far behind the last.
pub fn nobody() -> String {
    penstock::leads::LeadId::read("00Q5g00000zZzZz").unwrap().id.as_str().to_owned()
}
