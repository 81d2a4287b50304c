//! What a person at the shell asks of syncs.

use serde_json::{Value, json};

use super::{FAILED, LEFT_OVER, REFUSED, WRONG_USAGE};
use crate::actors::fetcher::chain;
use crate::actors::sync_desk::{SyncDesk, SyncOrder, SyncOverrides};
use crate::actors::sync_error::SyncError;
use crate::control::{self, Reply, SyncAsk};
use crate::messages::Lane;
use crate::model::ObjectName;
use crate::sync::{ErrorKind, SyncResult};

/// Performs what was asked at the shell.
pub async fn perform(desk: &SyncDesk, ask: SyncAsk) -> Result<Value, Reply> {
    match ask {
        SyncAsk::Run(order) => {
            let with = overrides(&order);
            sync(desk, SyncOrder { objects: order.objects, lane: Lane::Interactive, with }).await
        }
        SyncAsk::Explain(order) => {
            let with = overrides(&order);
            let mut objects = order.objects;
            if objects.is_empty() {
                objects = desk.settings().objects.iter().map(|object| object.object.clone()).collect();
            }
            let (mut explanations, mut failures) = (Vec::new(), Vec::new());
            for object in &objects {
                match explain(desk, object, &with).await {
                    Ok(mut explanation) => {
                        explanation["object"] = json!(object);
                        explanations.push(explanation);
                    }
                    Err(Reply::Failed { message, exit_code }) if objects.len() == 1 => {
                        return Err(Reply::Failed { message, exit_code });
                    }
                    Err(Reply::Failed { message, .. }) => {
                        failures.push(json!({ "object": object, "message": message }));
                    }
                    Err(other) => return Err(other),
                }
            }
            Ok(json!({ "explanations": explanations, "failures": failures }))
        }
    }
}

fn overrides(order: &control::SyncOrder) -> SyncOverrides {
    SyncOverrides {
        full: order.full,
        existing_job_id: order.existing_job_id.clone(),
        compare_ids: order.compare_ids,
        formulas: order.formulas,
        reconcile: order.reconcile,
        ..SyncOverrides::default()
    }
}

/// Syncs, and tells what came of each object. `exit_code` is what a command that waited for it ends with: that of the first
/// failure, and 0 when there is none.
pub async fn sync(desk: &SyncDesk, order: SyncOrder) -> Result<Value, Reply> {
    if let Some(unknown) = order.objects.iter().find(|object| desk.configured(object).is_none()) {
        let message = format!("`{unknown}` is not among the objects that are configured to be synced");
        return Err(Reply::Failed { message, exit_code: WRONG_USAGE });
    }
    let results = desk.sync(order).await;
    Ok(json!({ "exit_code": exit_code(&results), "results": results }))
}

/// Tells what a sync would do; `text` is for people.
pub async fn explain(desk: &SyncDesk, object: &ObjectName, with: &SyncOverrides) -> Result<Value, Reply> {
    match desk.explain(object, with).await {
        Ok(explanation) => Ok(json!({ "explanation": explanation, "text": explanation.to_string() })),
        Err(error) => Err(refused(&error)),
    }
}

/// How fresh every object is.
pub fn status(desk: &SyncDesk) -> Value {
    json!({ "warehouse": desk.settings().warehouse, "objects": desk.status() })
}

/// What a command ends with whose syncs came to this.
pub fn exit_code(results: &[SyncResult]) -> u8 {
    let failure = results.iter().find(|result| !result.success);
    failure.map_or(0, |failure| match failure.error_kind {
        Some(ErrorKind::Auth) => REFUSED,
        // Its load is kept, and the next sync goes on with it.
        Some(ErrorKind::Network) => LEFT_OVER,
        _ => FAILED,
    })
}

fn refused(error: &SyncError) -> Reply {
    let exit_code = match error.kind() {
        ErrorKind::Auth => REFUSED,
        ErrorKind::Network => LEFT_OVER,
        ErrorKind::Job | ErrorKind::Data => FAILED,
    };
    Reply::Failed { message: chain(error), exit_code }
}
