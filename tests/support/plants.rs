//! Plants in this process, one after the other in the same folder.
//!
//! The threads of a plant that was closed let go of its folder in their own time, and on a busy machine that is a long one:
//! who opens it next waits for them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use penstock::plant::{Plant, PlantError};
use penstock::store::state_folder::StateFolderError;

/// Long, because builders share machines.
const PATIENCE: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(20);

/// Builds a plant once the last one in its folder has let go.
///
/// # Panics
/// When it cannot be built for another cause, or is not let go.
pub async fn plant_when_free(build: impl AsyncFnMut() -> Result<Plant, PlantError>) -> Arc<Plant> {
    let held = |error: &PlantError| match error {
        PlantError::StateFolder(StateFolderError::Locked { .. }) => true,
        PlantError::Store { source, .. } => is_held(source),
        _ => false,
    };
    Arc::new(when_free(held, build).await)
}

/// Opens a store once the last who had it has let go.
///
/// # Panics
/// As [`plant_when_free`].
pub async fn store_when_free<T>(mut open: impl FnMut() -> io::Result<T>) -> T {
    when_free(is_held, async || open()).await
}

fn is_held(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

async fn when_free<T, E: std::fmt::Debug>(
    is_held: impl Fn(&E) -> bool,
    mut open: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut waited = Duration::ZERO;
    loop {
        match open().await {
            Ok(opened) => return opened,
            Err(error) if is_held(&error) && waited < PATIENCE => {
                tokio::time::sleep(STEP).await;
                waited += STEP;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
