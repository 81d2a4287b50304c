//! What a person at the shell asks of pushes.

use serde_json::{Value, json};

use super::WRONG_USAGE;
use crate::actors::push_desk::PushDesk;
use crate::control::Reply;

/// Pushes, and tells what came of each.
pub async fn perform(desk: &PushDesk, names: &[String]) -> Result<Value, Reply> {
    match desk.push(names).await {
        Ok(results) => Ok(json!({ "results": results })),
        Err(error) => Err(Reply::Failed { message: error.to_string(), exit_code: WRONG_USAGE }),
    }
}
