//! The rows of ordinary objects as they are now: seeded rows, and laid over them what has been written since.
//!
//! Promises: memory grows with what was written, never with what was seeded; an object nobody wrote to is read
//! without a lock; a row keeps its index for ever, and its id follows from it. Indices of an object run
//! `0..live` (seeded), then the seeded rows that lie in the recycle bin, then what was appended.
//! What may be written, and by whom, is decided elsewhere ([`crate::dml`]).

pub use super::spans::Spans;

use crate::{
    ids,
    model::{OrgModel, SObject},
    rows_api::{RowSource, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

const DAY_MS: i64 = 86_400_000;
/// Days a deleted row stays in the recycle bin.
pub const BIN_DAYS: i64 = 15;
/// Seeded deletions are spread over so many days before the start.
const SEEDED_BIN_DAYS: i64 = 14;
/// Of the seeded deletions of a mergeable object every so many was a merge.
const MERGED_EVERY: u64 = 4;

/// Which rows a read sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// What `/query` sees.
    Live,
    /// What `/queryAll` sees: the recycle bin as well.
    All,
}

/// Whether a row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Seen by everyone.
    Live,
    /// In the recycle bin since this moment, in epoch milliseconds.
    Deleted {
        /// Epoch milliseconds.
        at_ms: i64,
    },
    /// Purged or never committed.
    Gone,
    /// Deleted for good: no query sees it, the list of deletions still knows it.
    Erased {
        /// Epoch milliseconds of the deletion.
        at_ms: i64,
    },
}

impl Fate {
    /// Nobody can read it any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Gone | Self::Erased { .. })
    }
}

/// A row somebody wrote to.
#[derive(Debug, Clone)]
pub struct WrittenRow {
    /// Values by position of the field. Over a seeded row the others are the seeded ones, else empty.
    pub values: BTreeMap<usize, Value>,
    /// Whether it is there.
    pub fate: Fate,
}

#[derive(Default)]
struct Written {
    rows: HashMap<u64, Arc<WrittenRow>>,
    appended: u64,
    /// First 15 characters of the id to index, of appended rows.
    by_id: HashMap<String, u64>,
    /// Rows that were live or appended and are so no longer.
    withdrawn: BTreeSet<u64>,
    /// Seeded rows of the recycle bin that came back.
    revived: BTreeSet<u64>,
    /// Seeded rows of the recycle bin that were written to and are not gone: they no longer age with the others.
    kept: BTreeSet<u64>,
    /// Rows nobody sees any more, or that the bin's own rule would show and must not.
    gone: BTreeSet<u64>,
    /// Written deletions by when they happened, to be purged in that order.
    bin: BTreeSet<(i64, u64)>,
    /// Rows deleted for good, of which the list of deletions knows.
    erased: BTreeSet<u64>,
    /// Rows written with this text (lower case) in this field; kept for fields records are found by.
    by_text: HashMap<(usize, String), BTreeSet<u64>>,
}

/// Positions of the fields this module knows by name.
struct Known {
    is_deleted: Option<usize>,
    stamp: Option<usize>,
    modified: Option<usize>,
    master: Option<usize>,
    looked_up: Vec<usize>,
    id: Option<usize>,
}

struct ObjectRows {
    live: u64,
    binned: u64,
    known: Known,
    touched: AtomicBool,
    written: RwLock<Written>,
}

impl ObjectRows {
    fn seeded(&self) -> u64 {
        self.live + self.binned
    }

    fn read(&self) -> RwLockReadGuard<'_, Written> {
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Written> {
        self.written.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }
}

/// Where in a transaction one began that may be rolled back on its own.
#[derive(Debug, Clone, Copy)]
pub struct Savepoint {
    outermost: bool,
    from: usize,
}

/// What a row was before a transaction changed it.
struct Undo {
    at: usize,
    row: u64,
    before: Option<Arc<WrittenRow>>,
}

/// All rows of ordinary objects. Objects are named by their position in the model.
pub struct Rows {
    source: Box<dyn RowSource>,
    objects: Vec<ObjectRows>,
    started_ms: AtomicI64,
    purged_before_ms: AtomicI64,
    revision: AtomicU64,
    writing: Mutex<()>,
    undo: Mutex<Option<Vec<Undo>>>,
}

/// A row with what was written over it, read once so that its values belong together.
pub struct Opened<'a> {
    rows: &'a Rows,
    at: usize,
    row: u64,
    written: Option<Arc<WrittenRow>>,
}

impl Opened<'_> {
    /// The value of the field at a position.
    pub fn value(&self, object: &SObject, field: usize) -> Value {
        self.rows.value_over(self.at, object, self.row, field, self.written.as_deref())
    }
}

impl Rows {
    /// Rows of `model` over a source.
    pub fn new(source: Box<dyn RowSource>, model: &OrgModel) -> Self {
        let one = |object: &SObject| {
            let position = |name: &str| object.fields.iter().position(|field| field.name == name);
            let looked_up =
                object.fields.iter().enumerate().filter(|(_, field)| field.external_id || field.unique);
            ObjectRows {
                live: source.count(object),
                binned: source.deleted(object),
                known: Known {
                    is_deleted: position("IsDeleted"),
                    stamp: position("SystemModstamp"),
                    modified: position("LastModifiedDate"),
                    master: position("MasterRecordId"),
                    looked_up: looked_up.map(|(at, _)| at).collect(),
                    id: position("Id"),
                },
                touched: AtomicBool::new(false),
                written: RwLock::default(),
            }
        };
        let objects = model.objects.iter().map(one).collect();
        Self {
            source,
            objects,
            started_ms: AtomicI64::new(0),
            purged_before_ms: AtomicI64::new(i64::MIN),
            revision: AtomicU64::new(0),
            writing: Mutex::new(()),
            undo: Mutex::new(None),
        }
    }

    /// Says what time it is when the org opens: seeded deletions happened in the two weeks before.
    pub fn open_at(&self, now_ms: i64) {
        self.started_ms.store(now_ms, Ordering::Relaxed);
        self.purged_before_ms.store(i64::MIN, Ordering::Relaxed);
    }

    /// Counts what was written, so that what was computed from older rows can be told apart.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Something that reads depend on has changed.
    pub fn bump(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// Empties the recycle bin of what is too old. The bin is looked at once a day, as the real one is.
    pub fn purge(&self, now_ms: i64) {
        let started = self.started_ms.load(Ordering::Relaxed);
        let line = started + (now_ms - started).div_euclid(DAY_MS) * DAY_MS - BIN_DAYS * DAY_MS;
        if self.purged_before_ms.fetch_max(line, Ordering::AcqRel) >= line {
            return;
        }
        for (at, own) in self.objects.iter().enumerate().filter(|(_, own)| own.is_touched()) {
            let old: Vec<u64> =
                own.read().bin.iter().take_while(|(when, _)| *when < line).map(|(_, row)| *row).collect();
            for row in old {
                self.put(at, row, Some(WrittenRow { values: BTreeMap::new(), fate: Fate::Gone }));
            }
        }
        self.bump();
    }

    /// When the seeded deletion `row` happened.
    fn binned_ms(&self, own: &ObjectRows, row: u64) -> i64 {
        let nth = i128::from(row - own.live) + 1;
        let span = i128::from(SEEDED_BIN_DAYS * DAY_MS);
        let since = span * nth / (i128::from(own.binned) + 1);
        let at = self.started_ms.load(Ordering::Relaxed) - SEEDED_BIN_DAYS * DAY_MS + since as i64;
        at - at.rem_euclid(1_000)
    }

    /// Seeded deletions that were purged: the oldest, which come first.
    fn purged(&self, own: &ObjectRows) -> u64 {
        let line = self.purged_before_ms.load(Ordering::Acquire);
        let (mut low, mut high) = (0, own.binned);
        while low < high {
            let middle = (low + high) / 2;
            if self.binned_ms(own, own.live + middle) < line {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Number of live rows.
    pub fn count(&self, at: usize) -> u64 {
        let own = &self.objects[at];
        if !own.is_touched() {
            return own.live;
        }
        let written = own.read();
        own.live + written.appended + written.revived.len() as u64 - written.withdrawn.len() as u64
    }

    /// The rows a scan sees, in the order of their ids.
    pub fn spans(&self, at: usize, scope: Scope) -> Spans {
        let own = &self.objects[at];
        let mut spans = Spans::default();
        let purged = if scope == Scope::All { self.purged(own) } else { 0 };
        if !own.is_touched() {
            spans.push(0, own.live);
            if scope == Scope::All {
                spans.push(own.live + purged, own.seeded());
            }
            return spans;
        }
        let written = own.read();
        let end = own.seeded() + written.appended;
        let without = |spans: &mut Spans, from: u64, to: u64, not: &BTreeSet<u64>| {
            let mut next = from;
            for row in not.range(from..to) {
                spans.push(next, *row);
                next = row + 1;
            }
            spans.push(next, to);
        };
        match scope {
            Scope::Live => {
                without(&mut spans, 0, own.live, &written.withdrawn);
                written.revived.iter().for_each(|row| spans.push(*row, row + 1));
                without(&mut spans, own.seeded(), end, &written.withdrawn);
            }
            Scope::All => {
                without(&mut spans, 0, own.live, &written.gone);
                // What was written to is seen even when the bin it lay in has been emptied.
                written.kept.range(..own.live + purged).for_each(|row| spans.push(*row, row + 1));
                without(&mut spans, own.live + purged, own.seeded(), &written.gone);
                without(&mut spans, own.seeded(), end, &written.gone);
            }
        }
        spans
    }

    /// Rows that may lie in the recycle bin or have been deleted for good; ask [`Rows::fate`] which do.
    pub fn binned(&self, at: usize) -> Vec<u64> {
        let own = &self.objects[at];
        let mut rows: Vec<u64> = (own.live..own.seeded()).collect();
        let written = own.read();
        rows.extend(written.bin.iter().map(|(_, row)| *row));
        rows.extend(&written.erased);
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Whether a row is there; `None` for an index that never was.
    pub fn fate(&self, at: usize, row: u64) -> Option<Fate> {
        let own = &self.objects[at];
        if own.is_touched() {
            let written = own.read();
            if let Some(known) = written.rows.get(&row) {
                return Some(known.fate);
            }
        }
        if row < own.live {
            return Some(Fate::Live);
        }
        if row >= own.seeded() {
            return None;
        }
        let at_ms = self.binned_ms(own, row);
        let purged = at_ms < self.purged_before_ms.load(Ordering::Acquire);
        Some(if purged { Fate::Gone } else { Fate::Deleted { at_ms } })
    }

    /// Whether a scope sees a row.
    pub fn sees(&self, at: usize, row: u64, scope: Scope) -> bool {
        match self.fate(at, row) {
            Some(Fate::Live) => true,
            Some(Fate::Deleted { .. }) => scope == Scope::All,
            _ => false,
        }
    }

    /// The row with this id (15 or 18 characters), whatever has become of it.
    pub fn index_of(&self, at: usize, object: &SObject, id: &str) -> Option<u64> {
        if let Some(seeded) = self.source.index_of(object, id) {
            return Some(seeded);
        }
        let own = &self.objects[at];
        if !own.is_touched() || !ids::looks_like_id(id) {
            return None;
        }
        let found = own.read().by_id.get(ids::key(id)).copied();
        found.filter(|_| id.len() == 15 || ids::with_suffix(&id[..15]) == id)
    }

    /// The id of a row, 18 characters.
    pub fn id_of(&self, at: usize, object: &SObject, row: u64) -> Option<String> {
        let id = self.objects[at].known.id?;
        match self.source.value(object, row, &object.fields[id]) {
            Value::Text(id) => Some(id),
            _ => None,
        }
    }

    /// The row with what was written over it.
    pub fn open(&self, at: usize, row: u64) -> Opened<'_> {
        let own = &self.objects[at];
        let written = own.is_touched().then(|| own.read().rows.get(&row).cloned()).flatten();
        Opened { rows: self, at, row, written }
    }

    /// One value.
    pub fn value(&self, at: usize, object: &SObject, row: u64, field: usize) -> Value {
        let own = &self.objects[at];
        if own.is_touched() {
            let written = own.read();
            if let Some(known) = written.rows.get(&row) {
                return self.value_over(at, object, row, field, Some(known));
            }
        }
        self.value_over(at, object, row, field, None)
    }

    fn value_over(
        &self,
        at: usize,
        object: &SObject,
        row: u64,
        field: usize,
        written: Option<&WrittenRow>,
    ) -> Value {
        let own = &self.objects[at];
        if let Some(written) = written {
            if let Some(value) = written.values.get(&field) {
                return value.clone();
            }
            if row >= own.seeded() && own.known.id != Some(field) {
                return if object.fields[field].field_type == "boolean" {
                    Value::Bool(false)
                } else {
                    Value::Null
                };
            }
        }
        if row >= own.live && row < own.seeded() {
            if own.known.is_deleted == Some(field) {
                return Value::Bool(true);
            }
            if own.known.stamp == Some(field) || own.known.modified == Some(field) {
                return Value::DateTime(self.binned_ms(own, row));
            }
            if own.known.master == Some(field) {
                return self.merged_into(own, at, object, row);
            }
        }
        self.source.value(object, row, &object.fields[field])
    }

    /// The survivor of a seeded merge.
    fn merged_into(&self, own: &ObjectRows, at: usize, object: &SObject, row: u64) -> Value {
        let nth = row - own.live;
        if own.live == 0 || !nth.is_multiple_of(MERGED_EVERY) {
            return Value::Null;
        }
        let survivor = crate::catalog::random::mix(nth) % own.live;
        self.id_of(at, object, survivor).map_or(Value::Null, Value::Text)
    }

    /// Whether a value is null, without making it up where the source can tell.
    pub fn is_null(&self, at: usize, object: &SObject, row: u64, field: usize) -> bool {
        let own = &self.objects[at];
        if own.is_touched() || row >= own.live {
            return self.value(at, object, row, field) == Value::Null;
        }
        self.source.is_null(object, row, &object.fields[field])
    }

    /// Live rows that hold `text` (whatever the case) in a field; every row is looked at only when the source
    /// cannot tell otherwise.
    pub fn find(&self, at: usize, object: &SObject, field: usize, text: &str) -> Vec<u64> {
        let own = &self.objects[at];
        let wanted = text.to_lowercase();
        let holds = |row: &u64| {
            self.sees(at, *row, Scope::Live)
                && matches!(self.value(at, object, *row, field), Value::Text(found) if found.to_lowercase() == wanted)
        };
        let mut rows = match self.source.find(object, &object.fields[field], text) {
            Some(rows) => rows,
            None => (0..own.live).collect(),
        };
        if own.is_touched() {
            let written = own.read();
            if own.known.looked_up.contains(&field) {
                rows.extend(written.by_text.get(&(field, wanted.clone())).into_iter().flatten());
            } else {
                rows.extend(written.rows.keys());
            }
        }
        rows.sort_unstable();
        rows.dedup();
        rows.retain(holds);
        rows
    }

    /// One writer at a time: what a write checks still holds when it is made.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next index, and with it the id, of a new row. Call under [`Rows::lock`].
    pub fn append(&self, at: usize, object: &SObject) -> Option<(u64, String)> {
        let own = &self.objects[at];
        let mut written = own.write();
        let row = own.seeded() + written.appended;
        let id = self.id_of(at, object, row)?;
        written.appended += 1;
        written.by_id.insert(ids::key(&id).to_owned(), row);
        // Until it is put in place nobody sees it.
        written.withdrawn.insert(row);
        written.gone.insert(row);
        own.touched.store(true, Ordering::Release);
        Some((row, id))
    }

    /// What has been written over a row so far; a copy to change and [`Rows::put`] back.
    pub fn written(&self, at: usize, row: u64) -> WrittenRow {
        let own = &self.objects[at];
        let known = own.read().rows.get(&row).map(|known| WrittenRow::clone(known));
        known.unwrap_or_else(|| WrittenRow {
            values: BTreeMap::new(),
            fate: self.fate(at, row).unwrap_or(Fate::Gone),
        })
    }

    /// Puts a row in place. Call under [`Rows::lock`].
    pub fn put(&self, at: usize, row: u64, next: Option<WrittenRow>) {
        let before = self.replace(at, row, next.map(Arc::new));
        if let Some(undo) = self.undo.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            undo.push(Undo { at, row, before });
        }
        self.bump();
    }

    fn replace(&self, at: usize, row: u64, next: Option<Arc<WrittenRow>>) -> Option<Arc<WrittenRow>> {
        let own = &self.objects[at];
        let mut guard = own.write();
        let written = &mut *guard;
        let text_of = |known: &WrittenRow, field: usize| match known.values.get(&field) {
            Some(Value::Text(text)) => Some((field, text.to_lowercase())),
            _ => None,
        };
        let before = written.rows.remove(&row);
        if let Some(old) = &before {
            for key in own.known.looked_up.iter().filter_map(|field| text_of(old, *field)) {
                if let Some(rows) = written.by_text.get_mut(&key) {
                    rows.remove(&row);
                }
            }
            if let Fate::Deleted { at_ms } = old.fate {
                written.bin.remove(&(at_ms, row));
            }
        }
        let was_binned = (own.live..own.seeded()).contains(&row);
        // A row without anything written is as seeded; an appended one was never committed.
        let fate = match &next {
            Some(next) => next.fate,
            None if row >= own.seeded() => Fate::Gone,
            None if was_binned => Fate::Deleted { at_ms: self.binned_ms(own, row) },
            None => Fate::Live,
        };
        let place = |set: &mut BTreeSet<u64>, inside: bool| {
            if inside {
                set.insert(row);
            } else {
                set.remove(&row);
            }
        };
        place(&mut written.revived, was_binned && fate == Fate::Live);
        place(&mut written.kept, was_binned && next.is_some() && !fate.is_gone());
        place(&mut written.withdrawn, !was_binned && fate != Fate::Live);
        place(&mut written.gone, fate.is_gone());
        place(&mut written.erased, matches!(fate, Fate::Erased { .. }));
        if let Some(next) = next {
            for key in own.known.looked_up.iter().filter_map(|field| text_of(&next, *field)) {
                written.by_text.entry(key).or_default().insert(row);
            }
            if let Fate::Deleted { at_ms } = next.fate {
                written.bin.insert((at_ms, row));
            }
            written.rows.insert(row, next);
        }
        own.touched.store(true, Ordering::Release);
        before
    }

    /// From now on what changes is remembered, until [`Rows::finish`]. One that is not the outermost must lie
    /// within another.
    pub fn begin(&self, outermost: bool) -> Savepoint {
        let mut undo = self.undo.lock().unwrap_or_else(PoisonError::into_inner);
        if outermost {
            *undo = None;
        }
        Savepoint { outermost, from: undo.get_or_insert_default().len() }
    }

    /// Ends what [`Rows::begin`] began; without `keep` everything since is as it was before.
    pub fn finish(&self, savepoint: Savepoint, keep: bool) {
        let mut undo = self.undo.lock().unwrap_or_else(PoisonError::into_inner);
        if !keep {
            let since = undo.as_mut().map(|log| log.split_off(savepoint.from.min(log.len())));
            for Undo { at, row, before } in since.into_iter().flatten().rev() {
                self.replace(at, row, before);
            }
            self.bump();
        }
        if savepoint.outermost {
            *undo = None;
        }
    }

    /// What seeded rows come from.
    pub fn source(&self) -> &dyn RowSource {
        &*self.source
    }

    /// Whether anything was written to an object, so that its rows are no longer the source's alone.
    pub fn is_touched(&self, at: usize) -> bool {
        self.objects[at].is_touched()
    }

    /// Whether a row is live and nothing was written over it: the source alone can say what it holds.
    pub fn is_as_seeded(&self, at: usize, row: u64) -> bool {
        let own = &self.objects[at];
        row < own.live && (!own.is_touched() || !own.read().rows.contains_key(&row))
    }

    /// Number of seeded rows that are live: indices below it can be read from the source as long as the
    /// object is untouched.
    pub fn seeded_live(&self, at: usize) -> u64 {
        self.objects[at].live
    }
}

#[cfg(test)]
mod tests;
