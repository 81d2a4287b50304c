//! `penstock run`: the daemon. Starts the plant, serves metrics, health and the control socket, runs the schema job on its
//! schedule, obeys signals, drains.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::one_shot::plant_failure;
use super::{FAILED, tell};
use crate::actors::engine::Drained;
use crate::actors::fetcher::chain;
use crate::actors::schema_job::SchemaJobError;
use crate::config::{Config, process_environment};
use crate::control;
use crate::desk;
use crate::http::api::BatchService;
use crate::http::api::leads::LeadSources;
use crate::http::{self, Check, Health, Sources};
use crate::messages::Lane;
use crate::model::OrgName;
use crate::plant::{Outside, Plant, batches};
use crate::sheets::OpenOptions;
use crate::signals::{self, Signal};
use crate::store::state_folder::leads_folder;
use crate::store::state_folder::store_bytes;
use crate::telemetry::{LogHandle, Metrics, logging};

const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Runs `work` in an actix system on a multi-thread runtime.
pub fn in_system<F: Future>(work: F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built at the start")
    });
    system.block_on(work)
}

/// Obeys signals for a plant. The future resolves when the plant has drained and its jobs have ended, as far as the
/// deadline lets them; LeaveNow leaves by itself.
pub fn obey_signals(plant: &Arc<Plant>) -> impl Future<Output = Drained> + use<> {
    obey_signals_with(plant, |_plant| {})
}

fn obey_signals_with<R>(plant: &Arc<Plant>, reload: R) -> impl Future<Output = Drained> + use<R>
where
    R: Fn(&Plant) + Send + 'static,
{
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listening = signals::listen(move |signal| {
        if let Signal::LeaveNow { exit_code } = signal {
            // At once: the journal has whatever was accepted.
            std::process::exit(exit_code);
        }
        told.send(signal).is_ok()
    });
    if let Err(error) = listening {
        tracing::error!(error = chain(&error), "signals are not obeyed");
    }
    let plant = Arc::clone(plant);
    async move {
        let deadline = plant.drain_deadline();
        while let Some(signal) = heard.recv().await {
            match signal {
                Signal::Pause => match plant.engine.pause().await {
                    Ok(()) => tracing::warn!("paused by signal"),
                    Err(error) => {
                        tracing::error!(error = chain(&error), "paused, but a restart will not know")
                    }
                },
                Signal::Resume => match plant.engine.resume().await {
                    Ok(()) => tracing::warn!("resumed by signal"),
                    Err(error) => tracing::error!(error = chain(&error), "still paused"),
                },
                Signal::Reload => reload(&plant),
                Signal::Dump => tracing::warn!(status = %desk::status(&plant), "asked for a dump"),
                Signal::Drain => {
                    tracing::warn!(?deadline, "draining");
                    let end = plant.outside.clock.elapsed() + deadline;
                    let drained = plant.engine.drain(deadline).await;
                    if drained == Drained::Dry {
                        tokio::select! {
                            () = desk::jobs_settled(&plant) => {}
                            () = plant.outside.clock.sleep_until(end) => {}
                        }
                    }
                    return drained;
                }
                Signal::LeaveNow { .. } => {}
            }
        }
        // Only a signal thread that could not start comes here: go on without.
        std::future::pending().await
    }
}

/// How an org is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OrgState {
    /// It has not been asked yet.
    Unknown,
    /// It lets us in.
    Ready,
    /// It does not, or its job failed, and why.
    Trouble(String),
}

/// How each org is, for `/readyz`.
#[derive(Debug, Default)]
struct OrgStates {
    states: DashMap<OrgName, OrgState>,
    /// Told by a reload: whoever was refused may knock once more.
    again: Notify,
}

impl OrgStates {
    fn set(&self, org: &OrgName, state: OrgState) {
        self.states.insert(org.clone(), state);
    }
}

/// What `/readyz` says of an org.
fn readiness_of(org: &OrgName, state: &OrgState, paused: bool) -> Check {
    let name = format!("org-{org}");
    match state {
        OrgState::Ready => Check::good(name),
        // A paused daemon asks nobody; that it is paused is no fault.
        OrgState::Unknown if paused => Check::good_with(name, "not asked while the line is paused"),
        OrgState::Unknown => Check::bad(name, "not asked yet"),
        OrgState::Trouble(why) => Check::bad(name, why.clone()),
    }
}

struct DaemonHealth {
    plant: Arc<Plant>,
    orgs: Arc<OrgStates>,
}

impl Health for DaemonHealth {
    fn liveness(&self) -> Vec<Check> {
        let turning = self.plant.engine.supervisor_silence() < Duration::from_secs(30);
        vec![if turning {
            Check::good("supervisor")
        } else {
            Check::bad("supervisor", "no heartbeat for 30 s")
        }]
    }

    fn readiness(&self) -> Vec<Check> {
        let run = self.plant.engine.run_state();
        let line = match (run.draining, run.degraded, run.paused) {
            (true, ..) => Check::bad("line", "draining"),
            (_, true, _) => Check::bad("line", "degraded: the restart budget was overrun"),
            (_, _, true) => Check::good_with("line", "paused by the operator"),
            _ => Check::good("line"),
        };
        let mut orgs: BTreeMap<String, Check> = BTreeMap::new();
        for org in self.orgs.states.iter() {
            orgs.insert(org.key().to_string(), readiness_of(org.key(), org.value(), run.paused));
        }
        std::iter::once(line).chain(orgs.into_values()).collect()
    }
}

/// Runs the daemon until it is told to leave.
pub fn run(config: Config, path: Option<PathBuf>) -> u8 {
    let metrics = Metrics::new();
    let log = match logging::init(config.log.format, config.log.filter.as_str(), &metrics) {
        Ok(log) => log,
        Err(error) => return tell(&error),
    };
    in_system(async {
        let plant = match Plant::build(&config, Outside::real(), metrics.clone()).await {
            Ok(plant) => Arc::new(plant),
            Err(error) => return plant_failure(&error),
        };
        metrics.config_last_reload_successful.set(1);
        let now = plant.outside.clock.wall().as_millisecond() as f64 / 1000.0;
        metrics.config_last_reload_success_timestamp_seconds.set(now);
        let orgs = Arc::new(OrgStates::default());
        for org in &config.org {
            orgs.set(&org.name, OrgState::Unknown);
        }
        let (of_status, of_socket) = (Arc::clone(&plant), Arc::clone(&plant));
        let http = config.http.listen.map(|listen| {
            let health = Arc::new(DaemonHealth { plant: Arc::clone(&plant), orgs: Arc::clone(&orgs) });
            let status = Arc::new(move || desk::status(&of_status));
            http::start(listen, Sources { metrics: metrics.clone(), health, status })
        });
        let http = match http.transpose() {
            Ok(http) => http,
            Err(error) => {
                plant.engine.close();
                return tell(&error);
            }
        };
        let api = match start_api(&config, &plant) {
            Ok(api) => api,
            Err(error) => {
                plant.engine.close();
                return tell(&*error);
            }
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            state = %config.state_dir.display(),
            orgs = config.org.len(),
            paused = plant.engine.run_state().paused,
            "penstock starts"
        );
        if let Some(http) = &http {
            tracing::info!(address = %http.addr(), "metrics, health and status are served");
        }
        if let Some(api) = &api {
            tracing::info!(address = %api.addr(), "batches and leads are served");
        }
        let socket = control::listen(&plant.state().control_socket(), move |command| {
            let plant = Arc::clone(&of_socket);
            async move { desk::perform(&plant, command).await }
        });
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                plant.engine.close();
                return tell(&error);
            }
        };
        plant.leads.jobs_behind().resume();
        if let Some(sync) = &plant.sync {
            sync.resume();
            sync.run_schedules();
        }
        if let Some(push) = &plant.push {
            push.run_schedules();
        }
        let schedules = spawn_schedules(&config, &plant, &orgs);
        let sizes = tokio::spawn(follow_store_sizes(Arc::clone(&plant), config.state_dir.clone()));
        let reload = reloader(path, log, metrics.clone(), Arc::clone(&orgs));
        let drained = obey_signals_with(&plant, move |plant| {
            reload(plant);
            if let Some(batches) = plant.batches.clone() {
                tokio::spawn(async move { batches.reload().await });
            }
        });
        let mut exit = plant.engine.watch_exit();
        let code = tokio::select! {
            drained = drained => match drained {
                Drained::Dry => 0,
                Drained::LeftOver(items) => {
                    tracing::warn!(items, "items are left over; the journal has their jobs");
                    desk::LEFT_OVER
                }
            },
            code = exit.wait_for(Option::is_some) => code.ok().and_then(|code| *code).unwrap_or(FAILED),
        };
        for task in schedules.into_iter().chain([sizes]) {
            task.abort();
        }
        let left_jobs = [plant.schema.unfinished(), plant.leads.jobs_behind().unfinished()];
        let unfinished = left_jobs.iter().any(|jobs| !jobs.is_empty());
        socket.abort();
        drop(std::fs::remove_file(plant.state().control_socket()));
        plant.leave().await;
        for server in [api, http].into_iter().flatten() {
            drop(tokio::task::spawn_blocking(move || server.stop()).await);
        }
        if code == 0 && unfinished { desk::LEFT_OVER } else { code }
    })
}

/// Opens the endpoint of batches and leads, where there is a database or an org behind it.
fn start_api(
    config: &Config,
    plant: &Plant,
) -> Result<Option<http::HttpHandle>, Box<dyn std::error::Error + Send + Sync>> {
    let Some(listen) = config.api.listen else { return Ok(None) };
    let service =
        plant.batches.as_ref().map(|batches| Arc::new(batches.front.clone()) as Arc<dyn BatchService>);
    let folder = leads_folder(&config.state_dir);
    let leads = plant.lead_service().map(|service| LeadSources {
        service,
        uploads: folder.join("uploads"),
        sheets: OpenOptions::new(folder.join("spill")),
        roles: config.leads.roles.clone(),
    });
    if service.is_none() && leads.is_none() {
        return Ok(None);
    }
    let door = batches::door(config, &plant.outside.clock)?;
    let sources = http::api::ApiSources { service, door: Arc::new(door), leads };
    Ok(Some(http::api::start(listen, sources)?))
}

/// Keeps the gauges of what the stores take on disk.
async fn follow_store_sizes(plant: Arc<Plant>, state_dir: PathBuf) {
    const EVERY: Duration = Duration::from_secs(5);
    loop {
        let folder = state_dir.clone();
        if let Ok(sizes) = tokio::task::spawn_blocking(move || store_bytes(&folder)).await {
            for (store, bytes) in sizes {
                let gauge = plant.metrics.store_bytes.with_label_values(&[store]);
                gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        plant.outside.clock.sleep(EVERY).await;
    }
}

/// One task an org, so that one org's trouble never stops another.
fn spawn_schedules(
    config: &Config,
    plant: &Arc<Plant>,
    orgs: &Arc<OrgStates>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let every = config.schema.every.map(|every| every.duration());
    let at_start = config.schema.at_start;
    let names: Vec<OrgName> = config.org.iter().map(|org| org.name.clone()).collect();
    names
        .into_iter()
        .map(|org| {
            let (plant, orgs) = (Arc::clone(plant), Arc::clone(orgs));
            tokio::spawn(async move { follow_schedule(&plant, &orgs, &org, every, at_start).await })
        })
        .collect()
}

/// How a round with an org ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// As it should.
    Done,
    /// The org refuses us: nothing to do until somebody has mended that.
    Refused,
    /// The job failed in a way that trying again at once would not mend.
    Failed,
    /// The process is leaving.
    Leaving,
}

async fn follow_schedule(
    plant: &Plant,
    orgs: &OrgStates,
    org: &OrgName,
    every: Option<Duration>,
    at_start: bool,
) {
    let unfinished = plant.schema.unfinished().iter().any(|record| record.org == *org);
    let mut wants_job = at_start || unfinished;
    loop {
        let mut round = log_in(plant, orgs, org).await;
        if round == Round::Done && wants_job {
            round = run_until_done(plant, orgs, org).await;
        }
        match round {
            Round::Leaving => return,
            Round::Refused => {
                orgs.again.notified().await;
                if let Some(client) = plant.clients.get(org) {
                    client.forget_refused_login().await;
                }
            }
            Round::Done | Round::Failed => {
                let Some(every) = every else { return };
                plant.outside.clock.sleep(every).await;
                wants_job = true;
            }
        }
    }
}

/// Asks whether the org lets us in, with growing pauses, until it does or refuses for good.
async fn log_in(plant: &Plant, orgs: &OrgStates, org: &OrgName) -> Round {
    let Some(client) = plant.clients.get(org) else { return Round::Leaving };
    let mut pause = RETRY_FIRST;
    loop {
        let error = match client.log_in().await {
            Ok(()) => {
                orgs.set(org, OrgState::Ready);
                return Round::Done;
            }
            Err(error) => error,
        };
        orgs.set(org, OrgState::Trouble(chain(&error)));
        if error.is_refused_login() {
            refused(org, &error);
            return Round::Refused;
        }
        tracing::error!(org = %org, error = chain(&error), retry_in = ?pause, "the org cannot be used");
        plant.outside.clock.sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

fn refused(org: &OrgName, error: &dyn std::error::Error) {
    tracing::error!(
        org = %org,
        error = chain(error),
        "the org refuses the login; it is left alone until SIGHUP or a restart"
    );
}

/// Runs the schema job to its end, with growing pauses between tries.
async fn run_until_done(plant: &Plant, orgs: &OrgStates, org: &OrgName) -> Round {
    let mut pause = RETRY_FIRST;
    loop {
        if desk::is_running(plant, org) {
            // Somebody asked for it by hand: one job of an org has one driver.
            plant.outside.clock.sleep(RETRY_FIRST).await;
            continue;
        }
        let error = match desk::run_schema_job(plant, org, Lane::Bulk).await {
            Ok(report) => {
                orgs.set(org, OrgState::Ready);
                tracing::info!(
                    org = %org,
                    objects = report.objects_written,
                    failed = report.objects_failed.len(),
                    documents = report.documents,
                    calls = report.calls,
                    calls_forecast = report.calls_forecast,
                    "schema job done"
                );
                return Round::Done;
            }
            Err(SchemaJobError::Interrupted) => return Round::Leaving,
            Err(error) => error,
        };
        orgs.set(org, OrgState::Trouble(chain(&error)));
        if error.is_refused_login() {
            refused(org, &error);
            return Round::Refused;
        }
        if !error.may_pass() {
            tracing::error!(org = %org, error = chain(&error), "schema job failed; it goes on at the next run");
            return Round::Failed;
        }
        tracing::error!(org = %org, error = chain(&error), retry_in = ?pause, "schema job waits");
        plant.outside.clock.sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

/// What SIGHUP does: checks the file, then takes over what can be changed while running: the log filter and the limits.
/// Orgs that refused the login are asked once more.
fn reloader(
    path: Option<PathBuf>,
    log: LogHandle,
    metrics: Metrics,
    orgs: Arc<OrgStates>,
) -> impl Fn(&Plant) + Send + 'static {
    let log = Mutex::new(log);
    move |plant: &Plant| {
        let config = match Config::load(path.as_deref(), process_environment()) {
            Ok(config) => config,
            Err(problems) => {
                metrics.config_last_reload_successful.set(0);
                tracing::error!(%problems, "the configuration was refused, the old one stays");
                return;
            }
        };
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.set_filter(config.log.filter.as_str()) {
            tracing::error!(error = chain(&error), "the log filter stays as it was");
        }
        for org in &config.org {
            plant.book.set_profile(&org.name, org.limits.resolve(org.edition));
        }
        orgs.again.notify_waiters();
        metrics.config_last_reload_successful.set(1);
        metrics
            .config_last_reload_success_timestamp_seconds
            .set(plant.outside.clock.wall().as_millisecond() as f64 / 1000.0);
        tracing::info!("log filter and limits reloaded; everything else waits for a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::ready(OrgState::Ready, false, Check::good("org-demo"))]
    #[case::ready_and_paused(OrgState::Ready, true, Check::good("org-demo"))]
    #[case::starting(OrgState::Unknown, false, Check::bad("org-demo", "not asked yet"))]
    #[case::started_paused(
        OrgState::Unknown,
        true,
        Check::good_with("org-demo", "not asked while the line is paused")
    )]
    #[case::trouble(OrgState::Trouble("refused".to_owned()), true, Check::bad("org-demo", "refused"))]
    fn an_org_is_ready_when_it_lets_us_in_or_need_not_yet(
        #[case] state: OrgState,
        #[case] paused: bool,
        #[case] expected: Check,
    ) {
        let org = "demo".parse().unwrap();
        assert_eq!(readiness_of(&org, &state, paused), expected);
    }
}
