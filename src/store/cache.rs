//! What the org has answered, kept so that it is not asked again: sled with zstd, in a folder of its own.
//!
//! Promises: an entry that was acknowledged is flushed and survives kill -9. A key holds the org and the API version, so
//! two orgs never share an entry. Past its size the oldest entries go. Losing or clearing the cache costs calls, never
//! work: the journal lies elsewhere.

mod trees;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::trees::{HEAD_KEY, STORED_AT, Trees};
use super::disk::{SharedDisk, is_full};
use super::high_water::{self, HighWater};
use super::journal::{is_locked, quarantine};
use super::writer::{Asked, StoreThread};
use crate::clock::SharedClock;
use crate::model::{ApiVersion, OrgName};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 4 + 4;
/// sled's log takes up to three times what is in it (measured with 1 to 64 entries a flush, of 0.3 to 300 kB), and gives
/// no room back to the disk, only to later entries. So the size on disk is kept by what is put in.
const DISK_PER_ENTRY_BYTE: u64 = 3;
const QUEUE: usize = 256;
const TOGETHER: usize = 64;

/// Names one cached answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    text: String,
}

impl CacheKey {
    /// The key of `name` among the answers of one kind (`describe`, `family`, `objects`).
    pub fn new(org: &OrgName, version: &ApiVersion, kind: &str, name: &str) -> Self {
        Self { text: format!("{org}/{version}/{kind}/{name}") }
    }

    /// The key as text: `org/version/kind/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// How a cache behaves.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// Entries older than this are misses.
    pub ttl: Duration,
    /// About what the cache may take on disk: past a third of it, the oldest entries go until a tenth of that is free.
    pub bytes_max: u64,
    /// Bytes of sled's pages in memory.
    pub memory_bytes: u64,
    /// zstd level, 1 (fast) to 19 (small).
    pub zstd_level: i32,
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The answer.
    Hit(Vec<u8>),
    /// Nothing.
    Miss,
    /// Something, but too old.
    Expired,
}

/// What is in the cache.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CacheStats {
    /// Entries, old ones included.
    pub entries: u64,
    /// Bytes of the entries, compressed.
    pub entry_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Why the cache would not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// No room on the disk.
    #[error("the state folder's disk is full")]
    DiskFull,
    /// The cache's thread is gone.
    #[error("the cache is closed")]
    Closed,
    /// Anything else.
    #[error("the cache failed: {0}")]
    Failed(String),
}

enum Request {
    Lookup(Vec<CacheKey>),
    Store(Vec<(CacheKey, Vec<u8>)>),
    Keys(String),
    Stats,
    DiskBytes,
    Clear(String),
}

enum Answer {
    Found(Vec<Found>),
    Stored,
    Keys(Vec<String>),
    Stats(CacheStats),
    Count(u64),
    Failed(CacheError),
}

/// A handle to the cache's thread.
#[derive(Debug, Clone)]
pub struct CacheStore {
    thread: StoreThread<Request, Answer>,
}

impl CacheStore {
    /// Opens the cache in `folder`; a damaged one is moved aside (its new place and the reason are returned) and an empty
    /// one made.
    ///
    /// # Errors
    /// When even an empty one cannot be made.
    pub fn open(
        folder: &Path,
        options: CacheOptions,
        disk: SharedDisk,
        clock: SharedClock,
    ) -> std::io::Result<(Self, Option<(PathBuf, String)>)> {
        let mut quarantined = None;
        let (trees, head) = match open_trees(folder, options.memory_bytes) {
            Ok(opened) => opened,
            Err(why) if is_locked(&why) => {
                return Err(std::io::Error::new(std::io::ErrorKind::WouldBlock, why));
            }
            Err(why) => {
                quarantined = Some((quarantine(folder, &clock)?, why));
                open_trees(folder, options.memory_bytes).map_err(std::io::Error::other)?
            }
        };
        let mark = HighWater::open(folder)?;
        let mut keeper = Keeper { trees, head, mark, folder: folder.to_owned(), options, disk, clock };
        let thread = StoreThread::start("cache", QUEUE, TOGETHER, move |batch| keeper.serve(batch))?;
        Ok((Self { thread }, quarantined))
    }

    async fn ask(&self, request: Request) -> Result<Answer, CacheError> {
        match self.thread.ask(request).await {
            Ok(Answer::Failed(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_closed) => Err(CacheError::Closed),
        }
    }

    /// Looks several keys up, in order.
    ///
    /// # Errors
    /// Those of the store; a damaged entry is a miss.
    pub async fn lookup(&self, keys: Vec<CacheKey>) -> Result<Vec<Found>, CacheError> {
        match self.ask(Request::Lookup(keys)).await? {
            Answer::Found(found) => Ok(found),
            _ => Err(CacheError::Closed),
        }
    }

    /// Stores several entries; when this returns they are flushed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn store(&self, entries: Vec<(CacheKey, Vec<u8>)>) -> Result<(), CacheError> {
        self.ask(Request::Store(entries)).await.map(drop)
    }

    /// Keys that start with `prefix`, sorted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, CacheError> {
        match self.ask(Request::Keys(prefix.to_owned())).await? {
            Answer::Keys(keys) => Ok(keys),
            _ => Err(CacheError::Closed),
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stats(&self) -> Result<CacheStats, CacheError> {
        match self.ask(Request::Stats).await? {
            Answer::Stats(stats) => Ok(stats),
            _ => Err(CacheError::Closed),
        }
    }

    /// Bytes on disk; cheaper than [`CacheStore::stats`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn disk_bytes(&self) -> Result<u64, CacheError> {
        match self.ask(Request::DiskBytes).await? {
            Answer::Count(bytes) => Ok(bytes),
            _ => Err(CacheError::Closed),
        }
    }

    /// Removes the entries whose key starts with `prefix`; returns how many.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clear(&self, prefix: &str) -> Result<u64, CacheError> {
        match self.ask(Request::Clear(prefix.to_owned())).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(CacheError::Closed),
        }
    }
}

/// The trees and the number of the last batch. After a power cut the log may lack a batch that the mark names, for it is
/// flushed and not synced: the cache is then put aside too, which costs calls and no work.
fn open_trees(folder: &Path, memory_bytes: u64) -> Result<(Trees, u64), String> {
    let open = AssertUnwindSafe(|| -> Result<_, String> {
        let db = sled::Config::new().path(folder).cache_capacity(memory_bytes).open();
        let db = db.map_err(|error| error.to_string())?;
        let head = db.get(HEAD_KEY).map_err(|error| error.to_string())?;
        let head = head.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?)));
        high_water::check(folder, head)?;
        let trees = Trees::open(db).map_err(|error| error.to_string())?;
        Ok((trees, head.unwrap_or(0)))
    });
    match catch_unwind(open) {
        Ok(opened) => opened,
        Err(_panic) => Err("sled panicked over the folder".to_owned()),
    }
}

struct Keeper {
    trees: Trees,
    head: u64,
    mark: HighWater,
    folder: PathBuf,
    options: CacheOptions,
    disk: SharedDisk,
    clock: SharedClock,
}

impl Keeper {
    fn serve(&mut self, batch: Vec<Asked<Request, Answer>>) {
        let mut unflushed = Vec::new();
        for asked in batch {
            match &asked.request {
                Request::Store(entries) => match self.insert(entries) {
                    Ok(()) => unflushed.push(asked),
                    Err(error) => asked.answer(Answer::Failed(error)),
                },
                Request::Lookup(keys) => {
                    let found = keys.iter().map(|key| self.find(key)).collect();
                    asked.answer(Answer::Found(found));
                }
                Request::Keys(prefix) => {
                    let keys = self.trees.keys(prefix.as_bytes()).filter_map(Result::ok);
                    let keys = keys.map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
                    asked.answer(Answer::Keys(keys));
                }
                Request::Stats => {
                    let answer = self.stats().map_or_else(Answer::Failed, Answer::Stats);
                    asked.answer(answer);
                }
                Request::DiskBytes => {
                    asked.answer(self.disk_bytes().map_or_else(Answer::Failed, Answer::Count));
                }
                Request::Clear(prefix) => {
                    let answer = self.clear(prefix).map_or_else(Answer::Failed, Answer::Count);
                    asked.answer(answer);
                }
            }
        }
        if unflushed.is_empty() {
            return;
        }
        // One flush acknowledges every store of the batch.
        let flushed = self.flush_stored();
        for asked in unflushed {
            asked.answer(flushed.clone().map_or_else(Answer::Failed, |()| Answer::Stored));
        }
        self.keep_to_size();
    }

    /// Drops the oldest entries once there are too many. Not flushed: after a crash some may be back, and go again.
    fn keep_to_size(&mut self) {
        let bytes_max = self.options.bytes_max / DISK_PER_ENTRY_BYTE;
        if self.trees.held().bytes <= bytes_max {
            return;
        }
        // A tenth more than needed, so that this does not happen with every store from here on.
        match self.trees.drop_oldest(bytes_max / 10 * 9) {
            Ok(dropped) => tracing::warn!(
                entries = dropped.entries,
                bytes = dropped.bytes,
                entries_left = self.trees.held().entries,
                bytes_max,
                "the cache is past its size: its oldest entries were dropped"
            ),
            Err(error) => {
                tracing::warn!(%error, "the cache is past its size and its oldest entries cannot be dropped")
            }
        }
    }

    fn flush_stored(&mut self) -> Result<(), CacheError> {
        let db = self.trees.database();
        self.head += 1;
        db.insert(HEAD_KEY, &self.head.to_le_bytes()).map_err(failed)?;
        db.flush().map_err(failed)?;
        if let Err(error) = self.mark.raise(self.head) {
            tracing::warn!(%error, "the cache's mark could not be raised");
        }
        Ok(())
    }

    fn insert(&mut self, entries: &[(CacheKey, Vec<u8>)]) -> Result<(), CacheError> {
        if is_full(&*self.disk, &self.folder) {
            return Err(CacheError::DiskFull);
        }
        let now = self.clock.wall().as_second();
        for (key, value) in entries {
            let packed = zstd::bulk::compress(value, self.options.zstd_level)
                .map_err(|error| CacheError::Failed(error.to_string()))?;
            let mut framed = Vec::with_capacity(HEADER + packed.len());
            framed.push(VERSION);
            debug_assert_eq!(framed.len(), STORED_AT, "the ages are read from there");
            framed.extend_from_slice(&now.to_le_bytes());
            framed.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
            framed.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
            framed.extend_from_slice(&packed);
            self.trees.put(key.as_str().as_bytes(), framed).map_err(failed)?;
        }
        Ok(())
    }

    /// An entry that cannot be read is a miss: the org has the truth.
    fn find(&self, key: &CacheKey) -> Found {
        let Ok(Some(framed)) = self.trees.get(key.as_str().as_bytes()) else { return Found::Miss };
        let Some((stored, value)) = unframe(&framed) else { return Found::Miss };
        let age = self.clock.wall().as_second().saturating_sub(stored);
        if age >= 0 && age.unsigned_abs() < self.options.ttl.as_secs() {
            Found::Hit(value)
        } else {
            Found::Expired
        }
    }

    fn disk_bytes(&self) -> Result<u64, CacheError> {
        self.trees.database().size_on_disk().map_err(failed)
    }

    fn stats(&self) -> Result<CacheStats, CacheError> {
        let held = self.trees.held();
        Ok(CacheStats { entries: held.entries, entry_bytes: held.bytes, disk_bytes: self.disk_bytes()? })
    }

    fn clear(&mut self, prefix: &str) -> Result<u64, CacheError> {
        let removed = self.trees.clear(prefix.as_bytes()).map_err(failed)?;
        self.trees.database().flush().map_err(failed)?;
        Ok(removed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn failed(error: sled::Error) -> CacheError {
    CacheError::Failed(error.to_string())
}

fn unframe(framed: &[u8]) -> Option<(i64, Vec<u8>)> {
    let (header, packed) = framed.split_at_checked(HEADER)?;
    let stored = i64::from_le_bytes(header[STORED_AT..STORED_AT + 8].try_into().ok()?);
    let crc = u32::from_le_bytes(header[9..13].try_into().ok()?);
    let length = u32::from_le_bytes(header[13..17].try_into().ok()?);
    if header[0] != VERSION || crc != crc32fast::hash(packed) {
        return None;
    }
    let value = zstd::bulk::decompress(packed, length as usize).ok()?;
    Some((stored, value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::disk::RealDisk;

    fn key(org: &str, name: &str) -> CacheKey {
        CacheKey::new(&org.parse().unwrap(), &"62.0".parse().unwrap(), "describe", name)
    }

    const OPTIONS: CacheOptions = CacheOptions {
        ttl: Duration::from_secs(60),
        bytes_max: 1 << 30,
        memory_bytes: 8 << 20,
        zstd_level: 1,
    };

    #[tokio::test]
    async fn an_entry_is_a_hit_until_its_time_is_over_and_never_another_orgs() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let (cache, _) = CacheStore::open(folder.path(), OPTIONS, Arc::new(RealDisk), clock.clone()).unwrap();
        cache.store(vec![(key("one", "Account"), b"described".to_vec())]).await.unwrap();
        let look = || cache.lookup(vec![key("one", "Account"), key("two", "Account"), key("one", "Lead")]);
        assert_eq!(look().await.unwrap(), [Found::Hit(b"described".to_vec()), Found::Miss, Found::Miss]);
        clock.advance(Duration::from_secs(60));
        assert_eq!(look().await.unwrap()[0], Found::Expired);
    }

    #[tokio::test]
    async fn clearing_by_prefix_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) =
            CacheStore::open(folder.path(), OPTIONS, Arc::new(RealDisk), ManualClock::new()).unwrap();
        let entries =
            ["one", "two"].iter().flat_map(|org| (0..3).map(|n| (key(org, &format!("O{n}")), vec![7; 100])));
        cache.store(entries.collect()).await.unwrap();
        assert_eq!(cache.stats().await.unwrap().entries, 6);
        assert_eq!(cache.clear("one/").await.unwrap(), 3);
        assert_eq!(cache.keys("").await.unwrap().len(), 3);
    }

    /// Bytes that no zstd makes smaller.
    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        next.flatten().take(bytes).collect()
    }

    #[tokio::test]
    async fn past_its_size_the_oldest_go_the_newest_stay_and_the_disk_is_not_filled() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let options = CacheOptions { bytes_max: 8 << 20, ..OPTIONS };
        let (cache, _) = CacheStore::open(folder.path(), options, Arc::new(RealDisk), clock.clone()).unwrap();
        let name = |at: u64| key("one", &format!("{:06}", (at * 7_919) % 100_003));
        let budget = options.bytes_max / DISK_PER_ENTRY_BYTE;
        let (mut most_on_disk, rounds) = (0, 200_u64);
        for round in 0..rounds {
            clock.advance(Duration::from_secs(1));
            let entries = (0..25).map(|at| (name(round * 25 + at), noise(round * 25 + at + 1, 5_000)));
            cache.store(entries.collect()).await.unwrap();
            let stats = cache.stats().await.unwrap();
            assert!(stats.entry_bytes <= budget, "round {round}: {stats:?}");
            assert!(
                round < 30 || stats.entry_bytes > budget * 8 / 10,
                "it is not emptied: {round} {stats:?}"
            );
            most_on_disk = most_on_disk.max(stats.disk_bytes);
        }
        assert!(most_on_disk <= options.bytes_max * 5 / 4, "{most_on_disk} bytes on disk");

        let stats = cache.stats().await.unwrap();
        let mut stands = Vec::new();
        for at in 0..rounds * 25 {
            let found = cache.lookup(vec![name(at)]).await.unwrap().remove(0);
            if found != Found::Miss {
                stands.push(at);
            }
        }
        assert_eq!(stands.len() as u64, stats.entries);
        let oldest = stands[0] / 25;
        let since: Vec<_> = ((oldest + 1) * 25..rounds * 25).collect();
        assert!(stands.ends_with(&since), "all that is younger than the oldest second is there");

        drop(cache);
        let reopened = loop {
            // The thread of the first handle lets go of the folder in its own time.
            match CacheStore::open(folder.path(), options, Arc::new(RealDisk), clock.clone()) {
                Ok((cache, None)) => break cache,
                Ok((_, Some(aside))) => panic!("{aside:?}"),
                Err(_locked) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let again = reopened.stats().await.unwrap();
        assert_eq!((again.entries, again.entry_bytes), (stats.entries, stats.entry_bytes));
        let last = reopened.lookup(vec![name(rounds * 25 - 1)]).await.unwrap();
        assert_eq!(last, [Found::Hit(noise(rounds * 25, 5_000))]);
    }
}
