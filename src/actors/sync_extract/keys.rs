//! Keys of records that were deleted for good.

use jiff::Timestamp;

use super::{ExtractAsk, ExtractError, PartSink};
use crate::salesforce::OrgClient;

/// What the org says of deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardDeletes {
    /// Keys that were put.
    pub keys: u64,
    /// The next look begins here.
    pub covered_until: Timestamp,
    /// The org's memory does not reach back to the last look: only a comparison of all ids finds every delete.
    pub has_gap: bool,
}

/// Puts the ids that were deleted from `since` to `until` as parts of keys, from [`super::KEYS_FROM`] on.
///
/// # Errors
/// Those of the calls and of the sink; [`ExtractError::BadPlan`] where the plan's key is not the record's id.
pub async fn hard_deletes(
    client: &OrgClient,
    ask: &ExtractAsk,
    since: Timestamp,
    until: Timestamp,
    sink: &dyn PartSink,
) -> Result<HardDeletes, ExtractError> {
    let _ = (client, ask, since, until, sink);
    Err(ExtractError::BadPlan { load: ask.plan.id.clone(), why: "not built yet".to_owned() })
}
