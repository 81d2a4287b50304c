//! Commands that build a plant of their own, do one thing and leave.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::daemon::{in_system, obey_signals};
use super::progress::Progress;
use super::{CONFIG, FAILED, STATE_FOLDER};
use crate::actors::engine::{Drained, RunState};
use crate::actors::fetcher::chain;
use crate::config::{Config, LogFormat};
use crate::control::{self, Command, Reply};
use crate::database::DatabaseOpenError;
use crate::desk;
use crate::plant::{Outside, Plant, PlantError};
use crate::telemetry::{Metrics, logging};

/// What a command whose jobs have ended may take to say so.
const TO_ANSWER: Duration = Duration::from_millis(200);

/// Exit code for a plant that could not be built.
pub fn plant_failure(error: &PlantError) -> u8 {
    eprintln!("penstock: {}", chain(error));
    match error {
        PlantError::StateFolder(_) => STATE_FOLDER,
        PlantError::Model(_) | PlantError::Issuer { .. } => CONFIG,
        // One that is away may come back; the others want a person with an editor.
        PlantError::Database(DatabaseOpenError::Away { .. }) => FAILED,
        PlantError::Database(DatabaseOpenError::InUse { .. }) => STATE_FOLDER,
        PlantError::Database(_) => CONFIG,
        _ => FAILED,
    }
}

/// Builds a plant and has it perform one command; used when no daemon holds the state folder.
pub fn command(config: &Config, command: Command) -> Result<Reply, u8> {
    let is_about_daemon = matches!(command, Command::Status | Command::Limits { .. });
    let reply = with_plant(config, false, async move |plant| desk::perform(plant, command).await)?;
    Ok(match reply {
        Reply::Done(Value::Object(mut status)) if is_about_daemon => {
            // Or a script would take this short-lived process for the daemon.
            status.insert("daemon".to_owned(), Value::Bool(false));
            Reply::Done(Value::Object(status))
        }
        reply => reply,
    })
}

/// As [`command`], without the databases of batches, which such a command has no use for.
pub fn at_the_org(config: &Config, asked: Command) -> Result<Reply, u8> {
    let mut without_databases = config.clone();
    without_databases.database.clear();
    with_plant(&without_databases, false, async move |plant| {
        let paused = when_paused(plant.engine.watch_run_state());
        let told = tokio::spawn(async move {
            if let Some(line) = paused.await {
                eprintln!("{line}");
            }
        });
        let reply = desk::perform(plant, asked).await;
        told.abort();
        reply
    })
}

/// What is said once the engine is paused, if it is before it ends. A pause outlives the process that was told to: without a word
/// a command that waits would only seem to hang.
async fn when_paused(mut state: watch::Receiver<RunState>) -> Option<&'static str> {
    state
        .wait_for(|state| state.paused)
        .await
        .is_ok()
        .then_some("penstock: paused; `penstock resume` goes on")
}

/// As [`command`], with progress.
pub fn schema(config: &Config, command: Command, json: bool) -> Result<Reply, u8> {
    with_plant(config, !json, async move |plant| desk::perform(plant, command).await)
}

/// Builds a plant and does `work` with it, while signals and a command that stops the engine are obeyed.
pub fn with_plant<R>(
    config: &Config,
    progress: bool,
    work: impl AsyncFnOnce(&Arc<Plant>) -> R,
) -> Result<R, u8> {
    with_plant_and_farewell(config, progress, TO_ANSWER, work)
}

/// As [`with_plant`]; told to end, `work` has so long to bring the org what it owes it.
pub fn with_plant_and_farewell<R>(
    config: &Config,
    progress: bool,
    farewell: Duration,
    work: impl AsyncFnOnce(&Arc<Plant>) -> R,
) -> Result<R, u8> {
    let metrics = Metrics::new();
    // One-shot commands speak through their output; the log keeps to what a person must know.
    let filter = if config.log.filter.as_str() == "info" { "warn" } else { config.log.filter.as_str() };
    let log = logging::init(LogFormat::Auto, filter, &metrics);
    if let Err(error) = &log {
        eprintln!("penstock: {}", chain(error));
        return Err(FAILED);
    }
    in_system(async {
        let plant = match Plant::build(config, Outside::real(), metrics).await {
            Ok(plant) => Arc::new(plant),
            Err(error) => return Err(plant_failure(&error)),
        };
        let signals = obey_signals(&plant);
        let of_socket = Arc::clone(&plant);
        let socket = control::listen(&plant.state().control_socket(), move |command| {
            let plant = Arc::clone(&of_socket);
            async move { desk::perform(&plant, command).await }
        });
        let shown = progress.then(|| Progress::follow(&plant));
        let mut exit = plant.engine.watch_exit();
        let mut work = std::pin::pin!(work(&plant));
        let outcome = tokio::select! {
            outcome = &mut work => Ok(outcome),
            code = exit.wait_for(Option::is_some) => Err(code.ok().and_then(|code| *code).unwrap_or(FAILED)),
            drained = signals => match drained {
                // The jobs have ended; the command has not said so yet.
                Drained::Dry => tokio::select! {
                    outcome = &mut work => Ok(outcome),
                    () = plant.outside.clock.sleep(farewell) => Err(desk::LEFT_OVER),
                },
                Drained::LeftOver(_) => Err(desk::LEFT_OVER),
            },
        };
        drop(shown);
        if let Ok(socket) = socket {
            socket.abort();
            drop(std::fs::remove_file(plant.state().control_socket()));
        }
        plant.leave().await;
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::FolderEmbedder;

    #[tokio::test]
    async fn a_command_that_waits_for_a_pause_says_so() {
        let paused = RunState { paused: true, ..RunState::default() };
        let (sender, state) = watch::channel(paused);
        assert!(when_paused(state.clone()).await.is_some_and(|line| line.contains("penstock resume")));
        sender.send_replace(RunState::default());
        drop(sender);
        assert_eq!(when_paused(state).await, None, "a line that runs says nothing");
    }

    #[test]
    fn a_model_that_cannot_be_loaded_at_the_start_is_a_mistake_of_the_configuration() {
        let error = FolderEmbedder::load(std::path::Path::new("nowhere")).unwrap_err();
        assert_eq!(plant_failure(&PlantError::Model(error)), 78);
    }
}
