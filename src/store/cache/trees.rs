//! The cache's two trees: the entries by key, and their ages, so that the oldest are found without reading the rest.
//!
//! Promises: both change in one transaction, so a crash leaves an entry in both or in neither. What the entries take is
//! known at any time, and right after opening from the ages alone, which are small. Dropping the oldest walks the ages
//! and holds one row at a time.

use sled::transaction::{TransactionError, Transactional};
use sled::{Db, IVec, Tree};

/// Holds the number of the last stored batch. No org's name begins so.
pub(super) const HEAD_KEY: &[u8] = b"~head";
/// The time an entry was stored stands in it behind this many bytes, in seconds, as little-endian `i64`.
pub(super) const STORED_AT: usize = 1;
const AGES: &str = "ages";
/// Shorter than any age, so that it is none; it stands once all entries have an age.
const COMPLETE_KEY: &[u8] = b"";
const SECONDS: usize = 8;

/// What some entries take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub entries: u64,
    /// Keys and values as they are stored; sled's own share comes on top.
    pub bytes: u64,
}

impl Held {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// See the module's promises.
pub(super) struct Trees {
    entries: Db,
    ages: Tree,
    held: Held,
}

impl Trees {
    /// Takes over an open database; one whose entries have no ages yet gets them.
    pub fn open(entries: Db) -> sled::Result<Self> {
        let ages = entries.open_tree(AGES)?;
        let mut trees = Self { entries, ages, held: Held::default() };
        if !trees.sum_up()? {
            trees.make_ages_anew()?;
        }
        Ok(trees)
    }

    /// Adds the ages up; false when they are incomplete or not ours.
    fn sum_up(&mut self) -> sled::Result<bool> {
        self.held = Held::default();
        if self.ages.get(COMPLETE_KEY)?.is_none() {
            return Ok(false);
        }
        for row in self.ages.iter() {
            let (age, size) = row?;
            if age.as_ref() == COMPLETE_KEY {
                continue;
            }
            let Some(bytes) = read_size(&size).filter(|_| age.len() > SECONDS) else { return Ok(false) };
            self.held.add(bytes);
        }
        Ok(true)
    }

    fn make_ages_anew(&mut self) -> sled::Result<()> {
        self.ages.clear()?;
        self.held = Held::default();
        for row in self.entries.iter() {
            let (key, value) = row?;
            if key.as_ref() != HEAD_KEY {
                let bytes = size_of(&key, &value);
                self.ages.insert(age_of(&key, &value), &bytes.to_be_bytes())?;
                self.held.add(bytes);
            }
        }
        // Last: whoever is stopped before this does it all again.
        self.ages.insert(COMPLETE_KEY, &[])?;
        Ok(())
    }

    /// What all entries take.
    pub fn held(&self) -> Held {
        self.held
    }

    /// The database below, for its head, its flushes and its size.
    pub fn database(&self) -> &Db {
        &self.entries
    }

    pub fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        self.entries.get(key)
    }

    /// Keys that start with `prefix`, in order.
    pub fn keys(&self, prefix: &[u8]) -> impl Iterator<Item = sled::Result<IVec>> + use<> {
        let keys = self.entries.scan_prefix(prefix).keys();
        keys.filter(|key| key.as_ref().map_or(true, |key| key.as_ref() != HEAD_KEY))
    }

    /// Stores an entry, or stores it anew: then it is as young as it says.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) -> sled::Result<()> {
        let (age, bytes, value) = (age_of(key, &value), size_of(key, &value), IVec::from(value));
        let replaced = atomically((&*self.entries, &self.ages).transaction(|(entries, ages)| {
            let replaced = entries.insert(key, value.clone())?;
            if let Some(replaced) = &replaced {
                ages.remove(age_of(key, replaced))?;
            }
            ages.insert(age.clone(), &bytes.to_be_bytes())?;
            Ok(replaced)
        }))?;
        if let Some(replaced) = replaced {
            self.held.subtract(size_of(key, &replaced));
        }
        self.held.add(bytes);
        Ok(())
    }

    /// Removes an entry, if it is there.
    fn remove(&mut self, key: &[u8]) -> sled::Result<()> {
        let removed = atomically((&*self.entries, &self.ages).transaction(|(entries, ages)| {
            let removed = entries.remove(key)?;
            if let Some(removed) = &removed {
                ages.remove(age_of(key, removed))?;
            }
            Ok(removed)
        }))?;
        if let Some(removed) = removed {
            self.held.subtract(size_of(key, &removed));
        }
        Ok(())
    }

    /// Removes the entries whose key starts with `prefix`; returns how many.
    pub fn clear(&mut self, prefix: &[u8]) -> sled::Result<u64> {
        let mut removed = 0;
        for key in self.keys(prefix) {
            self.remove(&key?)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Drops the oldest entries until the others take no more than `bytes`; returns what went. Entries of one second
    /// go in the order of their keys.
    pub fn drop_oldest(&mut self, bytes: u64) -> sled::Result<Held> {
        let before = self.held;
        for row in self.ages.iter() {
            if self.held.bytes <= bytes {
                break;
            }
            let (age, _size) = row?;
            if let Some(key) = age.get(SECONDS..) {
                self.remove(key)?;
            }
        }
        Ok(Held { entries: before.entries - self.held.entries, bytes: before.bytes - self.held.bytes })
    }
}

fn atomically<T>(outcome: Result<T, TransactionError<std::convert::Infallible>>) -> sled::Result<T> {
    outcome.map_err(|error| match error {
        TransactionError::Storage(error) => error,
        TransactionError::Abort(never) => match never {},
    })
}

fn size_of(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn read_size(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

/// When the entry was stored, so that rows sort by time, then its key. It follows from the entry alone, so that the row
/// of an entry that is replaced can be found. What is too short to hold a time counts as the oldest.
fn age_of(key: &[u8], value: &[u8]) -> Vec<u8> {
    let seconds = value.get(STORED_AT..STORED_AT + SECONDS).and_then(|bytes| bytes.try_into().ok());
    let seconds = seconds.map_or(i64::MIN, i64::from_le_bytes);
    // The sign turned over: times before 1970 sort before those after.
    let sorting = (seconds as u64) ^ (1 << 63);
    let mut row = Vec::with_capacity(SECONDS + key.len());
    row.extend_from_slice(&sorting.to_be_bytes());
    row.extend_from_slice(key);
    row
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// sled lets go of its lock a moment after the last handle is gone.
    fn open(folder: &Path) -> Trees {
        for _ in 0..500 {
            match sled::Config::new().path(folder).cache_capacity(4 << 20).open() {
                Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                    std::thread::park_timeout(std::time::Duration::from_millis(10));
                }
                opened => return Trees::open(opened.unwrap()).unwrap(),
            }
        }
        panic!("the lock of `{}` is still held", folder.display());
    }

    fn entry(stored: i64, bytes: usize) -> Vec<u8> {
        let mut entry = vec![1];
        entry.extend_from_slice(&stored.to_le_bytes());
        entry.resize(entry.len() + bytes, 7);
        entry
    }

    /// Both trees agree with each other and with what is said to be held.
    fn check_whole(trees: &Trees) {
        let mut ages = BTreeMap::new();
        let mut held = Held::default();
        for row in trees.entries.iter().map(Result::unwrap).filter(|(key, _)| key != HEAD_KEY) {
            held.add(size_of(&row.0, &row.1));
            ages.insert(age_of(&row.0, &row.1), size_of(&row.0, &row.1));
        }
        let found = trees.ages.iter().map(Result::unwrap).filter(|(age, _)| !age.is_empty());
        let found: BTreeMap<_, _> =
            found.map(|(age, size)| (age.to_vec(), read_size(&size).unwrap())).collect();
        assert_eq!(found, ages);
        assert_eq!(trees.held(), held);
    }

    #[test]
    fn times_sort_as_they_passed() {
        let rows =
            [i64::MIN, -5, -1, 0, 1, 1_700_000_000, i64::MAX].map(|stored| age_of(b"k", &entry(stored, 0)));
        assert!(rows.is_sorted());
        assert_eq!(age_of(b"k", b"short"), rows[0]);
    }

    #[test]
    fn the_oldest_go_first_and_what_was_stored_anew_is_young() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = open(folder.path());
        for second in 0..10 {
            // Names run against the ages, or the order of keys would pass for theirs.
            trees.put(format!("entry-{}", 9 - second).as_bytes(), entry(second, 91)).unwrap();
        }
        trees.put(b"entry-9", entry(10, 91)).unwrap();
        check_whole(&trees);
        let all = trees.held();
        assert_eq!(all.entries, 10);
        let gone = trees.drop_oldest(all.bytes / 2).unwrap();
        assert_eq!((gone.entries, gone.bytes), (5, all.bytes / 2));
        let left: Vec<_> =
            trees.keys(b"").map(|key| String::from_utf8(key.unwrap().to_vec()).unwrap()).collect();
        assert_eq!(left, ["entry-0", "entry-1", "entry-2", "entry-3", "entry-9"]);
        check_whole(&trees);
    }

    #[test]
    fn entries_of_a_cache_without_ages_get_them() {
        let folder = tempfile::tempdir().unwrap();
        {
            let db = sled::open(folder.path()).unwrap();
            db.insert(HEAD_KEY, &7_u64.to_le_bytes()).unwrap();
            for second in 0..5 {
                db.insert(format!("e{second}"), entry(second, 10)).unwrap();
            }
            // Stopped in the middle of it, the last time.
            db.open_tree(AGES).unwrap().insert(age_of(b"e0", &entry(0, 10)), &1_u64.to_be_bytes()).unwrap();
        }
        let trees = open(folder.path());
        assert_eq!(trees.held().entries, 5);
        check_whole(&trees);
        assert!(trees.get(HEAD_KEY).unwrap().is_some());
    }

    /// What a killed process leaves: the bytes its files held at that moment.
    fn crash_image(of: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for item in std::fs::read_dir(of).unwrap().map(Result::unwrap) {
            let target = to.join(item.file_name());
            if item.file_type().unwrap().is_dir() {
                crash_image(&item.path(), &target);
            } else {
                std::fs::copy(item.path(), target).unwrap();
            }
        }
    }

    fn name(second: i64) -> String {
        format!("entry-{:03}", (second * 7) % 400)
    }

    #[test]
    fn durable_a_crash_while_the_oldest_go_loses_none_of_the_young() {
        let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut trees = open(folder.path());
        for second in 0..400 {
            trees.put(name(second).as_bytes(), entry(second, 3_000)).unwrap();
        }
        trees.database().flush().unwrap();
        let limit = trees.held().bytes / 2;
        let mut crashes = 0;
        while trees.held().bytes > limit {
            // Flushed or not: sled also writes its log by itself.
            trees.drop_oldest(trees.held().bytes.saturating_sub(45_000).max(limit)).unwrap();
            if crashes % 3 == 0 {
                trees.database().flush().unwrap();
            }
            let image = images.path().join(crashes.to_string());
            crash_image(folder.path(), &image);
            crashes += 1;
            let mut after = open(&image);
            check_whole(&after);
            assert!(after.held().bytes >= trees.held().bytes, "nothing but the dropped was lost");
            after.drop_oldest(limit).unwrap();
            for young in 200..400 {
                let found = after.get(name(young).as_bytes()).unwrap();
                assert_eq!(found.as_deref(), Some(&*entry(young, 3_000)), "{young}");
            }
        }
        assert!(crashes >= 10, "{crashes}");
    }

    #[test]
    fn durable_wherever_the_log_was_cut_off_both_trees_hold_the_same() {
        let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        {
            let mut trees = open(folder.path());
            for second in 0..120 {
                trees.put(name(second % 60).as_bytes(), entry(second, 200)).unwrap();
                if second % 10 == 9 {
                    trees.drop_oldest(trees.held().bytes * 9 / 10).unwrap();
                }
            }
            trees.database().flush().unwrap();
        }
        let log = std::fs::read(folder.path().join("db")).unwrap();
        let end = log.iter().rposition(|byte| *byte != 0).unwrap();
        let mut states = std::collections::BTreeSet::new();
        for cut in 1..=160 {
            let image = images.path().join(cut.to_string());
            crash_image(folder.path(), &image);
            let mut torn = log.clone();
            // An odd step: no record is of its length.
            torn[end.saturating_sub(cut * 131)..].fill(0);
            std::fs::write(image.join("db"), torn).unwrap();
            let after = open(&image);
            check_whole(&after);
            states.insert(after.ages.iter().keys().map(Result::unwrap).collect::<Vec<_>>());
        }
        assert!(states.len() >= 10, "the cuts fell into {} different steps", states.len());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, i64, usize),
        Clear(u8),
        DropTo(u64),
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..12_u8, 0..50_i64, 0..400_usize).prop_map(|(name, stored, bytes)| Step::Put(name, stored, bytes)),
            1 => (0..12_u8).prop_map(Step::Clear),
            2 => (0..2_000_u64).prop_map(Step::DropTo),
            1 => Just(Step::Reopen),
        ];
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_happens_both_trees_and_the_sum_agree_and_nothing_young_goes_before_the_old(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let mut trees = open(folder.path());
            for step in steps {
                match step {
                    Step::Put(name, stored, bytes) => {
                        trees.put(format!("n{name}").as_bytes(), entry(stored, bytes)).unwrap();
                    }
                    Step::Clear(name) => drop(trees.clear(format!("n{name}").as_bytes()).unwrap()),
                    Step::DropTo(bytes) => {
                        let before: Vec<_> = trees.ages.iter().skip(1).map(|row| row.unwrap().0).collect();
                        let gone = trees.drop_oldest(bytes).unwrap();
                        let after: Vec<_> = trees.ages.iter().skip(1).map(|row| row.unwrap().0).collect();
                        prop_assert_eq!(&before[gone.entries as usize..], &after[..]);
                        prop_assert!(trees.held().bytes <= bytes);
                    }
                    Step::Reopen => {
                        let held = trees.held();
                        drop(trees);
                        trees = open(folder.path());
                        prop_assert_eq!(trees.held(), held);
                    }
                }
                check_whole(&trees);
            }
        }
    }
}
