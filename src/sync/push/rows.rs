//! Which row of the query a row of a batch is, and which row a result of the org is of.
//!
//! Promises: the org tells results in an order of its own; they are joined by what it tells back of the row, by the match
//! field where there is one and by the whole row where there is none. A result is joined with one row and a row with one
//! result; what is left over on either side is told, never guessed.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Numbers of the query's rows in a batch, from 1 and ascending, as runs: rows that were refused before are gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowNumbers(Vec<(u64, u64)>);

impl RowNumbers {
    /// Adds a number, larger than those before.
    pub fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => self.0.push((number, 1)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(first, count)| *first..first + count)
    }
}

impl FromIterator<u64> for RowNumbers {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut rows = Self::default();
        numbers.into_iter().for_each(|number| rows.push(number));
        rows
    }
}

/// What rows of a batch are known by; holds no value.
type RowKey = [u8; 16];

/// Rows of a batch that wait for their result.
#[derive(Debug, Clone)]
pub struct ResultJoin {
    /// The cell that identifies a row; `None`: all of them together do.
    match_cell: Option<usize>,
    /// Rows that are alike stand for each other: which of them has which result makes no difference.
    waiting: HashMap<RowKey, VecDeque<u64>>,
}

impl ResultJoin {
    /// A join by one cell of each row, or by all of them.
    pub fn new(match_cell: Option<usize>) -> Self {
        Self { match_cell, waiting: HashMap::new() }
    }

    /// A row that was sent, with its cells as they stand in the upload.
    pub fn sent<'c>(&mut self, number: u64, cells: impl IntoIterator<Item = &'c str>) {
        let key = self.key(cells);
        self.waiting.entry(key).or_default().push_back(number);
    }

    /// The number of the row that a result is of, given the cells that the org tells back; `None` for a row that was not sent,
    /// or has its result.
    pub fn take<'c>(&mut self, cells: impl IntoIterator<Item = &'c str>) -> Option<u64> {
        let key = self.key(cells);
        let numbers = self.waiting.get_mut(&key)?;
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.waiting.remove(&key);
        }
        number
    }

    /// Rows without a result, in order.
    pub fn rest(self) -> Vec<u64> {
        let mut rest: Vec<u64> = self.waiting.into_values().flatten().collect();
        rest.sort_unstable();
        rest
    }

    fn key<'c>(&self, cells: impl IntoIterator<Item = &'c str>) -> RowKey {
        let mut digest = Sha256::new();
        for (at, cell) in cells.into_iter().enumerate() {
            if self.match_cell.is_none_or(|wanted| wanted == at) {
                // An empty cell and one that clears are told back alike by some releases; line ends may be cut.
                let cell = if cell == "#N/A" { "" } else { cell };
                digest.update(cell.replace("\r\n", "\n"));
                digest.update([0]);
            }
        }
        let mut key = RowKey::default();
        key.copy_from_slice(&digest.finalize()[..16]);
        key
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_kept_as_runs() {
        let numbers: RowNumbers = [1, 2, 3, 7, 8, 20].into_iter().collect();
        assert_eq!(serde_json::to_string(&numbers).unwrap(), "[[1,3],[7,2],[20,1]]");
        assert_eq!((numbers.len(), numbers.is_empty()), (6, false));
    }

    #[test]
    fn results_find_their_rows_by_the_match_field() {
        let mut join = ResultJoin::new(Some(1));
        join.sent(1, ["Ada", "k1"]);
        join.sent(2, ["Ada", "k2"]);
        join.sent(4, ["Ada", "k3"]);
        assert_eq!(join.take(["whatever the org made of it", "k2"]), Some(2));
        assert_eq!(join.take(["Ada", "k2"]), None, "a result comes once");
        assert_eq!(join.take(["Ada", "k9"]), None, "of a row that was not sent");
        assert_eq!(join.rest(), [1, 4]);
    }

    #[test]
    fn rows_without_a_match_field_are_found_by_all_they_are() {
        let mut join = ResultJoin::new(None);
        join.sent(1, ["Ada", "x"]);
        join.sent(2, ["Ad", "ax"]);
        join.sent(3, ["Ada", "x"]);
        join.sent(4, ["two\r\nlines", "#N/A"]);
        assert_eq!(join.take(["Ad", "ax"]), Some(2));
        assert_eq!(join.take(["two\nlines", ""]), Some(4));
        assert_eq!((join.take(["Ada", "x"]), join.take(["Ada", "x"])), (Some(1), Some(3)));
        assert_eq!(join.take(["Ada", "x"]), None);
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers: BTreeSet<u16>) {
            let numbers: Vec<u64> = numbers.into_iter().map(u64::from).collect();
            let kept: RowNumbers = numbers.iter().copied().collect();
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), numbers.clone());
            prop_assert_eq!(kept.len(), numbers.len() as u64);
        }

        #[test]
        fn every_row_is_told_once_whatever_the_order(
            cells in prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..40), told in 0usize..40, by_cell: bool,
        ) {
            let mut join = ResultJoin::new(by_cell.then_some(0));
            for (at, (one, two)) in cells.iter().enumerate() {
                join.sent(at as u64 + 1, [one.as_str(), two.as_str()]);
            }
            let told = told.min(cells.len());
            let mut seen: Vec<u64> = Vec::new();
            for (one, two) in cells.iter().rev().take(told) {
                seen.push(join.take([one.as_str(), two.as_str()]).unwrap());
            }
            let rest = join.rest();
            prop_assert_eq!(rest.len(), cells.len() - told);
            seen.extend(rest);
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=cells.len() as u64).collect::<Vec<_>>());
        }
    }
}
