//! The run of an extraction: which way the rows are read, and what happens when the org changes its mind.

use super::{ExtractAsk, ExtractError, ExtractState, Extracted, FirstRead, KeepCursor, PartSink};
use crate::salesforce::{OrgClient, OrgError};

/// Reads everything that is asked for, from where `state` stands, and puts it into `sink` part by part. `first` is the
/// first page, where one was read for several objects at once. When it returns, every part is durable.
///
/// # Errors
/// See [`ExtractError`]; what was kept of the state stands, and the same ask with it goes on there.
pub async fn extract(
    client: &OrgClient,
    ask: &ExtractAsk,
    state: ExtractState,
    first: Option<FirstRead>,
    sink: &dyn PartSink,
    keep: &dyn KeepCursor,
) -> Result<Extracted, ExtractError> {
    let _ = (client, ask, state, first, sink, keep);
    Err(ExtractError::BadPlan { load: ask.plan.id.clone(), why: "not built yet".to_owned() })
}

/// Deletes the bulk job of a load that is over, where it had one. One that is gone already is as good.
///
/// # Errors
/// Those of the call; the job then stays at the org for seven days.
pub async fn clean_up(client: &OrgClient, state: &ExtractState) -> Result<(), OrgError> {
    let _ = (client, state);
    Ok(())
}
