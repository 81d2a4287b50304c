//! Keys of records that were deleted for good, as the org remembers them.

use jiff::{SignedDuration, Timestamp};

use super::{ExtractAsk, ExtractError, KEYS_FROM, PartSink};
use crate::salesforce::replication::DELETED_FOR;
use crate::salesforce::{HandoverError, OrgClient};
use crate::sync::PartNumber;
use crate::warehouse::{Cell, PartSource, RowChunk};

/// The org takes no shorter window.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);
/// Kept off the end of the org's memory, which moves on while we ask.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

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

/// Puts the ids that were deleted from `since` to `until` as parts of keys, from [`KEYS_FROM`] on. A window shorter than a
/// minute is left for the next look.
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
    let layout = &ask.plan.layout;
    if !layout.columns.get(layout.key).is_some_and(|key| key.field.eq_ignore_ascii_case("Id")) {
        let why =
            "the org tells deletes by `Id`, which is not what identifies its rows: compare all keys instead";
        return Err(ExtractError::BadPlan { load: ask.plan.id.clone(), why: why.to_owned() });
    }
    let remembered = until.checked_sub(DELETED_FOR - MARGIN).unwrap_or(until);
    let from = since.max(remembered);
    if until.duration_since(from) < SHORTEST {
        return Ok(HardDeletes { keys: 0, covered_until: since, has_gap: false });
    }
    let deleted = client.deleted(&ask.plan.object, from, until).await;
    let deleted = deleted.map_err(|error| ExtractError::of_org(&ask.plan.object, error))?;
    let handover = |source: HandoverError| ExtractError::Handover { load: ask.plan.id.clone(), source };
    for (number, records) in (KEYS_FROM..).zip(deleted.records.chunks(ask.part_rows.max(1))) {
        let mut chunk = RowChunk::with_room(1, records.len(), 18 * records.len());
        for record in records {
            chunk.push([Cell::Text(&record.id)]);
        }
        sink.put(PartNumber(number), PartSource::Keys(chunk.into())).await.map_err(handover)?;
    }
    sink.all_staged().await.map_err(handover)?;
    Ok(HardDeletes {
        keys: deleted.records.len() as u64,
        covered_until: deleted.covered_until,
        has_gap: deleted.has_gap || from > since,
    })
}
