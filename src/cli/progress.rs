//! Progress of a running job on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::actors::schema_run::DONE;
use crate::desk;
use crate::plant::Plant;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Elsewhere than on a terminal, where lines pile up.
const BETWEEN_NUMBERS: Duration = Duration::from_secs(2);

/// Follows the plant's runs until dropped.
#[derive(Debug)]
pub struct Progress {
    task: tokio::task::JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts following.
    pub fn follow(plant: &Arc<Plant>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg:<24} {wide_bar} {pos}/{len} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let (plant, drawn) = (Arc::clone(plant), bar.clone());
        let task = tokio::spawn(async move {
            let (mut said, mut said_phase) = (String::new(), String::new());
            let mut quiet_until = Duration::ZERO;
            let mut foretold = false;
            loop {
                let paused = plant.engine.run_state().paused;
                if let Some(run) = desk::progress(&plant).into_iter().next_back() {
                    if let (Some(forecast), false) = (run.forecast, foretold) {
                        foretold = true;
                        let line = format!("{}: {forecast}", run.org);
                        match &drawn {
                            Some(bar) => bar.println(line),
                            None => eprintln!("{line}"),
                        }
                    }
                    let phase = match &run.waits {
                        _ if paused => "paused",
                        Some(waits) => waits.as_str(),
                        None => run.phase,
                    };
                    match &drawn {
                        Some(bar) => {
                            bar.set_length(run.objects);
                            bar.set_position(run.written);
                            bar.set_message(format!("{}: {phase}", run.org));
                        }
                        None => {
                            let line =
                                format!("{}: {phase}, {} of {} objects", run.org, run.written, run.objects);
                            // A new phase is told at once, mere numbers now and then.
                            let now = plant.outside.clock.elapsed();
                            let is_due = phase != said_phase || now >= quiet_until;
                            if is_due && line != said && phase != DONE {
                                eprintln!("{line}");
                                (said, said_phase) = (line, phase.to_owned());
                                quiet_until = now + BETWEEN_NUMBERS;
                            }
                        }
                    }
                }
                plant.outside.clock.sleep(LOOK_EVERY).await;
            }
        });
        Self { task, bar }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
