//! The index that finds duplicates and joins records to leads: sorted runs of packed ids on the disk.
//!
//! Promises: memory is bounded, whatever the number of ids; adding ids in any order costs the disk only writes in sequence
//! (random ids in one large tree would touch a page each); an id is in the index as soon as the transaction that brought
//! its row is committed.
//!
//! The newest ids are in memory only: their rows are on the disk, so they are read again from there at start
//! ([`KeyIndex::open`]). Once there are [`RECENT`] of them they become a run, and [`FAN`] runs of one size become one of the next.
//! A filter of fixed size tells most new ids from those on the disk without looking there.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{During, LeadStoreError};
use super::packed::{KEY_BYTES, Key};
use crate::leads::Ordinal;

/// Ids in memory before they become a run. Few in tests, so that a few hundred ids make runs of every level.
const RECENT: usize = if cfg!(test) { 20 } else { 32 * 1024 };
/// Runs of one size before they become one.
const FAN: usize = if cfg!(test) { 3 } else { 6 };
/// Ids in a block: with them it fills a page of the database.
const BLOCK_KEYS: usize = if cfg!(test) { 7 } else { 230 };
const ENTRY_BYTES: usize = KEY_BYTES + 8;

/// Where a lead stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPlace {
    /// Its place among the leads.
    pub ordinal: Ordinal,
    /// Its first row.
    pub row: u32,
}

/// See the module's promises.
#[derive(Debug)]
pub struct KeyIndex {
    recent: HashMap<Key, KeyPlace>,
    filter: Filter,
    runs: Vec<Run>,
    next_run: i64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    run: i64,
    level: u32,
    keys: u64,
}

impl KeyIndex {
    /// Opens the index; ids that are in no run yet are those with an ordinal from [`KeyIndex::in_runs`] on, and must be
    /// added ([`KeyIndex::remember`]) before it is used. `to_add`: more will come, so the filter is filled.
    pub fn open(connection: &Connection, path: &Path, to_add: bool) -> Result<Self, LeadStoreError> {
        let read = || {
            let mut select =
                connection.prepare_cached("SELECT run, level, keys FROM key_runs ORDER BY run")?;
            let runs = select
                .query_map([], |row| Ok(Run { run: row.get(0)?, level: row.get(1)?, keys: row.get(2)? }))?;
            runs.collect::<Result<Vec<_>, _>>()
        };
        let runs = read().during(READ, path)?;
        let next_run = runs.last().map_or(1, |last| last.run + 1);
        let filter = if to_add { Filter::new() } else { Filter::of_everything() };
        let mut index = Self { recent: HashMap::new(), filter, runs, next_run };
        if to_add {
            index.fill_filter(connection).during(READ, path)?;
        }
        Ok(index)
    }

    fn fill_filter(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut select = connection.prepare_cached("SELECT data FROM key_blocks")?;
        let mut blocks = select.query([])?;
        while let Some(block) = blocks.next()? {
            for (key, _) in entries(block.get_ref(0)?.as_blob()?) {
                self.filter.add(&key);
            }
        }
        Ok(())
    }

    /// Ids that are in runs: those with the lowest ordinals.
    pub fn in_runs(&self) -> u64 {
        self.runs.iter().map(|run| run.keys).sum()
    }

    /// Whether an id of this many could be on the disk, so that [`KeyIndex::find`] must be asked.
    pub fn may_be_on_disk(&self, key: &Key) -> bool {
        !self.runs.is_empty() && self.filter.may_have(key)
    }

    /// The place of an id that is in memory.
    pub fn recent(&self, key: &Key) -> Option<KeyPlace> {
        self.recent.get(key).copied()
    }

    /// Adds an id that is new.
    pub fn remember(&mut self, key: Key, place: KeyPlace) {
        self.recent.insert(key, place);
    }

    /// Places of ids, of which those that are on the disk; `keys` are sorted.
    pub fn find(
        &self,
        connection: &Connection,
        path: &Path,
        keys: &[Key],
    ) -> Result<HashMap<Key, KeyPlace>, LeadStoreError> {
        debug_assert!(keys.is_sorted());
        let mut found = HashMap::new();
        for run in &self.runs {
            find_in_run(connection, run.run, keys, &mut found).during(READ, path)?;
        }
        Ok(found)
    }

    /// Puts ids on the disk when there are many in memory, or all of them when no more will come.
    pub fn keep(&mut self, connection: &Connection, path: &Path, is_end: bool) -> Result<(), LeadStoreError> {
        if self.recent.len() >= RECENT || (is_end && !self.recent.is_empty()) {
            self.write_recent(connection).during("keep ids of a lead job", path)?;
            self.merge(connection).during("merge ids of a lead job", path)?;
        }
        if is_end {
            self.filter = Filter::of_everything();
            self.recent = HashMap::new();
        }
        Ok(())
    }

    fn write_recent(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut sorted: Vec<_> = self.recent.drain().collect();
        sorted.sort_unstable();
        let mut run = RunWriter::new(connection, self.next_run, 0);
        for (key, place) in sorted {
            self.filter.add(&key);
            run.put(&key, place)?;
        }
        self.runs.push(run.end()?);
        self.next_run += 1;
        Ok(())
    }

    /// While the newest runs are [`FAN`] of one level, they become one of the next.
    fn merge(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        loop {
            let level = self.runs.last().map_or(0, |last| last.level);
            let from = self.runs.iter().rposition(|run| run.level != level).map_or(0, |other| other + 1);
            if self.runs.len() - from < FAN {
                return Ok(());
            }
            let old = self.runs.split_off(from);
            let mut merged = RunWriter::new(connection, self.next_run, level + 1);
            self.next_run += 1;
            let mut readers: Vec<_> = old.iter().map(|run| RunReader::new(connection, run.run)).collect();
            let mut heads = BinaryHeap::new();
            for (at, reader) in readers.iter_mut().enumerate() {
                heads.extend(reader.next()?.map(|entry| Reverse((entry, at))));
            }
            while let Some(Reverse(((key, place), at))) = heads.pop() {
                merged.put(&key, place)?;
                heads.extend(readers[at].next()?.map(|entry| Reverse((entry, at))));
            }
            self.runs.push(merged.end()?);
            for run in old {
                connection.execute("DELETE FROM key_blocks WHERE run = ?1", [run.run])?;
                connection.execute("DELETE FROM key_runs WHERE run = ?1", [run.run])?;
            }
        }
    }
}

const READ: &str = "read ids of a lead job";

/// One more id and its place.
type Entry = (Key, KeyPlace);

fn entries(block: &[u8]) -> impl Iterator<Item = Entry> {
    block.chunks_exact(ENTRY_BYTES).map(entry)
}

fn entry(bytes: &[u8]) -> Entry {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&bytes[..KEY_BYTES]);
    let number = |at: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(four)
    };
    (key, KeyPlace { ordinal: number(KEY_BYTES), row: number(KEY_BYTES + 4) })
}

/// Looks the sorted `keys` up in one run: a block is read once for all keys that it may hold.
fn find_in_run(
    connection: &Connection,
    run: i64,
    keys: &[Key],
    found: &mut HashMap<Key, KeyPlace>,
) -> Result<(), rusqlite::Error> {
    let mut select = connection.prepare_cached(
        "SELECT data FROM key_blocks WHERE run = ?1 AND first_key <= ?2 ORDER BY first_key DESC LIMIT 1",
    )?;
    let mut block: Vec<Entry> = Vec::new();
    for key in keys {
        if block.last().is_none_or(|(last, _)| last < key) {
            block.clear();
            let mut rows = select.query(params![run, key.as_slice()])?;
            let Some(row) = rows.next()? else { continue };
            block.extend(entries(row.get_ref(0)?.as_blob()?));
        }
        if let Ok(at) = block.binary_search_by(|(other, _)| other.cmp(key)) {
            found.insert(*key, block[at].1);
        }
    }
    Ok(())
}

struct RunWriter<'c> {
    connection: &'c Connection,
    run: Run,
    block: Vec<u8>,
}

impl<'c> RunWriter<'c> {
    fn new(connection: &'c Connection, run: i64, level: u32) -> Self {
        let block = Vec::with_capacity(BLOCK_KEYS * ENTRY_BYTES);
        Self { connection, run: Run { run, level, keys: 0 }, block }
    }

    fn put(&mut self, key: &Key, place: KeyPlace) -> Result<(), rusqlite::Error> {
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(&place.ordinal.to_le_bytes());
        self.block.extend_from_slice(&place.row.to_le_bytes());
        self.run.keys += 1;
        if self.block.len() >= BLOCK_KEYS * ENTRY_BYTES { self.write_block() } else { Ok(()) }
    }

    fn write_block(&mut self) -> Result<(), rusqlite::Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        let insert = "INSERT INTO key_blocks (run, first_key, data) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(insert)?.execute(params![
            self.run.run,
            &self.block[..KEY_BYTES],
            self.block
        ])?;
        self.block.clear();
        Ok(())
    }

    fn end(mut self) -> Result<Run, rusqlite::Error> {
        self.write_block()?;
        let insert = "INSERT INTO key_runs (run, level, keys) VALUES (?1, ?2, ?3)";
        let Run { run, level, keys } = self.run;
        self.connection.prepare_cached(insert)?.execute(params![run, level, keys])?;
        Ok(self.run)
    }
}

/// Reads a run in order, a block at a time.
struct RunReader<'c> {
    connection: &'c Connection,
    run: i64,
    block: std::vec::IntoIter<Entry>,
    last: Vec<u8>,
}

impl<'c> RunReader<'c> {
    fn new(connection: &'c Connection, run: i64) -> Self {
        Self { connection, run, block: Vec::new().into_iter(), last: Vec::new() }
    }

    fn next(&mut self) -> Result<Option<Entry>, rusqlite::Error> {
        if let Some(entry) = self.block.next() {
            return Ok(Some(entry));
        }
        let mut select = self.connection.prepare_cached(
            "SELECT first_key, data FROM key_blocks WHERE run = ?1 AND first_key > ?2 ORDER BY first_key LIMIT 1",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let block: Vec<Entry> = entries(row.get_ref(1)?.as_blob()?).collect();
            Ok((row.get(0)?, block))
        };
        let Some((first, block)) = select.query_row(params![self.run, self.last], read).optional()? else {
            return Ok(None);
        };
        self.last = first;
        self.block = block.into_iter();
        Ok(self.block.next())
    }
}

/// Tells which ids are surely not on the disk. Of fixed size: with more ids it errs more often, which costs a look at the
/// disk (about one id in a thousand at a million ids).
#[derive(Debug)]
struct Filter {
    /// Empty: everything may be there.
    words: Vec<u64>,
}

/// 2 MiB.
const FILTER_WORDS: usize = 1 << 18;
/// A key's bits lie in one cache line.
const LINE_WORDS: usize = 8;
const KEY_BITS: u32 = 7;

impl Filter {
    fn new() -> Self {
        // Zeroed memory is not touched before it is used: a small job never has all of it.
        Self { words: vec![0; FILTER_WORDS] }
    }

    fn of_everything() -> Self {
        Self { words: Vec::new() }
    }

    fn add(&mut self, key: &Key) {
        if !self.words.is_empty() {
            let (line, bits) = places(key);
            bits.for_each(|bit| self.words[line + bit / 64] |= 1 << (bit % 64));
        }
    }

    fn may_have(&self, key: &Key) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let (line, mut bits) = places(key);
        bits.all(|bit| self.words[line + bit / 64] & 1 << (bit % 64) != 0)
    }
}

/// The line of an id, and its bits there.
fn places(key: &Key) -> (usize, impl Iterator<Item = usize>) {
    let mut low = [0; 8];
    low.copy_from_slice(&key[1..]);
    let mixed = mix(u64::from_be_bytes(low) ^ mix(u64::from(key[0])));
    let line = (mixed as usize % (FILTER_WORDS / LINE_WORDS)) * LINE_WORDS;
    let spread = mix(mixed);
    (line, (0..KEY_BITS).map(move |at| (spread >> (at * 9)) as usize & 511))
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
