//! Rows as pieces of an index range: a scan of millions is a few numbers.

/// Rows found: pieces of the index range, in order.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// Number of rows before the piece, its first index, the index after its last.
    parts: Vec<(u64, u64, u64)>,
    total: u64,
}

impl Spans {
    /// Appends the rows from the first up to but not including the second.
    pub(super) fn push(&mut self, from: u64, to: u64) {
        if from < to {
            self.parts.push((self.total, from, to));
            self.total += to - from;
        }
    }

    /// The rows `0..len`.
    #[must_use]
    pub fn all(len: u64) -> Self {
        let mut spans = Self::default();
        spans.push(0, len);
        spans
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The row at a place; `place` is below [`Spans::len`].
    pub fn at(&self, place: u64) -> u64 {
        let part = self.parts.partition_point(|(before, ..)| *before <= place).saturating_sub(1);
        self.parts.get(part).map_or(0, |(before, from, _)| from + (place - before))
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().flat_map(|(_, from, to)| *from..*to)
    }

    /// The places `from..to` of these.
    #[must_use]
    pub fn slice(&self, from: u64, to: u64) -> Self {
        let mut cut = Self::default();
        for (before, first, end) in &self.parts {
            let skip = from.saturating_sub(*before);
            let keep = to.saturating_sub(*before).min(end - first);
            cut.push(first + skip.min(end - first), first + keep);
        }
        cut
    }
}
