//! Parts of loads on their way into the warehouse.
//!
//! A part names its load by the waybill's job; the rows go with it in memory only. A part that was given up is kept as its
//! number alone, for rows are people's data and the org still has them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use crate::sync::{LoadId, PartNumber};
use crate::warehouse::PartSource;

/// Asks the warehouse writer to make a part of a load durable.
#[derive(Clone, Serialize, Deserialize)]
pub struct SyncPart {
    /// The load.
    pub load: LoadId,
    /// Which part of it.
    pub part: PartNumber,
    /// Its rows or keys, where this is the process that read them.
    #[serde(skip)]
    pub source: Option<Arc<PartSource>>,
}

impl SyncPart {
    /// A part with its rows.
    pub fn new(load: LoadId, part: PartNumber, source: PartSource) -> Self {
        Self { load, part, source: Some(Arc::new(source)) }
    }
}

impl fmt::Debug for SyncPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncPart({} of {})", self.part.0, self.load)
    }
}

impl Item for SyncPart {
    fn bytes(&self) -> u32 {
        const ITSELF: usize = 128;
        let rows = match self.source.as_deref() {
            Some(PartSource::Rows(chunk) | PartSource::Keys(chunk)) => chunk.bytes(),
            // On the disk, where the spool's own bound counts it.
            Some(PartSource::File(_)) | None => 0,
        };
        u32::try_from(ITSELF + rows).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::{Cell, RowChunk};

    fn part() -> SyncPart {
        let mut rows = RowChunk::new(1);
        rows.push([Cell::Text("somebody's name")]);
        SyncPart::new(LoadId::new(1, 2), PartNumber(7), PartSource::Rows(Arc::new(rows)))
    }

    #[test]
    fn a_part_counts_for_its_rows_in_the_mailbox() {
        let part = part();
        assert!(part.bytes() > SyncPart { source: None, ..part.clone() }.bytes());
    }

    #[test]
    fn a_part_that_is_kept_or_printed_holds_no_row() {
        let part = part();
        let kept = serde_json::to_string(&part).unwrap();
        assert!(!kept.contains("name") && !format!("{part:?}").contains("name"), "{kept}");
        let again: SyncPart = serde_json::from_str(&kept).unwrap();
        assert!(again.source.is_none() && again.part == PartNumber(7));
    }
}
