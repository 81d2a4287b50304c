//! `penstock run`: the daemon. Starts the plant, serves metrics, health and the control socket, runs the schema job on its
//! schedule, obeys signals, drains.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use super::one_shot::plant_failure;
use super::{FAILED, tell};
use crate::actors::engine::Drained;
use crate::actors::fetcher::chain;
use crate::config::{Config, process_environment};
use crate::control;
use crate::desk;
use crate::http::{self, Check, Health, Sources};
use crate::messages::Lane;
use crate::model::OrgName;
use crate::plant::{Outside, Plant, limit_profile};
use crate::signals::{self, Signal};
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

/// Obeys signals for a plant. The future resolves when the plant has drained; LeaveNow leaves by itself.
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
                    return plant.engine.drain(deadline).await;
                }
                Signal::LeaveNow { .. } => {}
            }
        }
        // Only a signal thread that could not start comes here: go on without.
        std::future::pending().await
    }
}

/// How each org is, for `/readyz`.
#[derive(Debug, Default)]
struct OrgStates(DashMap<OrgName, Result<(), String>>);

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
        for org in self.orgs.0.iter() {
            let name = format!("org-{}", org.key());
            let check = match org.value() {
                Ok(()) => Check::good(name.clone()),
                Err(why) => Check::bad(name.clone(), why.clone()),
            };
            orgs.insert(name, check);
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
            orgs.0.insert(org.name.clone(), Err("not asked yet".to_owned()));
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
        if let Some(http) = &http {
            tracing::info!(address = %http.addr(), "metrics, health and status are served");
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
        let schedules = spawn_schedules(&config, &plant, &orgs);
        let reload = reloader(path, log, metrics.clone());
        let drained = obey_signals_with(&plant, reload);
        let mut exit = plant.engine.watch_exit();
        let code = tokio::select! {
            drained = drained => match drained {
                Drained::Dry => 0,
                Drained::LeftOver(items) => {
                    tracing::warn!(items, "left over at the deadline; the journal has their jobs");
                    desk::LEFT_OVER
                }
            },
            code = exit.wait_for(Option::is_some) => code.ok().and_then(|code| *code).unwrap_or(FAILED),
        };
        for schedule in schedules {
            schedule.abort();
        }
        let unfinished = !plant.schema.unfinished().is_empty();
        socket.abort();
        drop(std::fs::remove_file(plant.state().control_socket()));
        plant.engine.close();
        if let Some(http) = http {
            drop(tokio::task::spawn_blocking(move || http.stop()).await);
        }
        if code == 0 && unfinished { desk::LEFT_OVER } else { code }
    })
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

async fn follow_schedule(
    plant: &Plant,
    orgs: &OrgStates,
    org: &OrgName,
    every: Option<Duration>,
    at_start: bool,
) {
    let unfinished = plant.schema.unfinished().iter().any(|record| record.org == *org);
    if at_start || unfinished {
        if !run_until_done(plant, orgs, org).await {
            return;
        }
    } else if !log_in(plant, orgs, org).await {
        return;
    }
    while let Some(every) = every {
        plant.outside.clock.sleep(every).await;
        if !run_until_done(plant, orgs, org).await {
            return;
        }
    }
}

/// Asks whether the org lets us in, with growing pauses. False when it refuses for good.
async fn log_in(plant: &Plant, orgs: &OrgStates, org: &OrgName) -> bool {
    let Some(client) = plant.clients.get(org) else { return false };
    let mut pause = RETRY_FIRST;
    loop {
        match client.log_in().await {
            Ok(()) => {
                orgs.0.insert(org.clone(), Ok(()));
                return true;
            }
            Err(error) => {
                let refused = error.is_refused_login();
                orgs.0.insert(org.clone(), Err(chain(&error)));
                tracing::error!(org = %org, error = chain(&error), refused, retry_in = ?pause, "the org cannot be used");
                if refused {
                    return false;
                }
            }
        }
        plant.outside.clock.sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

/// Runs the schema job to its end, with growing pauses between tries. False when trying again makes no sense.
async fn run_until_done(plant: &Plant, orgs: &OrgStates, org: &OrgName) -> bool {
    let mut pause = RETRY_FIRST;
    loop {
        match desk::run_schema_job(plant, org, Lane::Bulk).await {
            Ok(report) => {
                orgs.0.insert(org.clone(), Ok(()));
                tracing::info!(
                    org = %org,
                    objects = report.objects_written,
                    failed = report.objects_failed.len(),
                    documents = report.documents,
                    calls = report.calls,
                    "schema job done"
                );
                return true;
            }
            Err(error) if error.may_pass() => {
                orgs.0.insert(org.clone(), Err(chain(&error)));
                tracing::error!(org = %org, error = chain(&error), retry_in = ?pause, "schema job waits");
                plant.outside.clock.sleep(pause).await;
                pause = (pause * 2).min(RETRY_LONGEST);
            }
            Err(error) => {
                orgs.0.insert(org.clone(), Err(chain(&error)));
                tracing::error!(org = %org, error = chain(&error), "schema job given up until the next start");
                return false;
            }
        }
    }
}

/// What SIGHUP does: checks the file, then takes over what can be changed while running: the log filter and the limits.
fn reloader(path: Option<PathBuf>, log: LogHandle, metrics: Metrics) -> impl Fn(&Plant) + Send + 'static {
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
            plant.book.set_profile(&org.name, limit_profile(org));
        }
        metrics.config_last_reload_successful.set(1);
        metrics
            .config_last_reload_success_timestamp_seconds
            .set(plant.outside.clock.wall().as_millisecond() as f64 / 1000.0);
        tracing::info!("log filter and limits reloaded; everything else waits for a restart");
    }
}
