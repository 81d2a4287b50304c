//! The journal on sled 0.34, kept to the five conditions under which sled makes a journal:
//!
//! 1. one writer thread: batch, flush, then `fdatasync` on our own handle of the file, because sled's flush does not sync
//!    on Linux; many commits share one sync;
//! 2. sled's own background flush stays at 500 ms, for it also reclaims space;
//! 3. every value carries a version, a running number and a CRC; what does not fit is reported at open, and so is a log
//!    that ends before the last batch that was acknowledged ([`super::high_water`]);
//! 4. opening and the first scan run under `catch_unwind`: a damaged folder is moved aside, never repaired in place;
//! 5. few, small tables, whose rows go when their work is done.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::disk::{SharedDisk, is_full};
use super::high_water::{self, HighWater};
use super::journal_contract::{Journal, JournalError, JournalWrite, Table};
use super::writer::{Asked, StoreThread};
use crate::clock::{BoxFuture, SharedClock};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 4;
const HEAD_KEY: &[u8] = b"~head";
const QUEUE: usize = 1024;
const COMMITS_TOGETHER: usize = 256;
const BACKGROUND_FLUSH_MS: u64 = 500;

type Mirror = Arc<RwLock<BTreeMap<(Table, String), Vec<u8>>>>;

/// Counts what the journal does, where it happens.
#[derive(Debug, Clone)]
pub struct JournalMeter {
    /// Syncs that made commits durable.
    pub commits: prometheus::IntCounter,
    /// Time of each sync.
    pub fsync_seconds: prometheus::Histogram,
}

/// See the module's promises.
pub struct SledJournal {
    thread: StoreThread<Vec<JournalWrite>, Result<(), JournalError>>,
    mirror: Mirror,
}

impl std::fmt::Debug for SledJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledJournal").finish_non_exhaustive()
    }
}

/// A journal, and where a damaged predecessor was put.
#[derive(Debug)]
pub struct OpenedJournal {
    /// Ready for use.
    pub journal: SledJournal,
    /// The folder of a journal that could not be read, and why.
    pub quarantined: Option<(PathBuf, String)>,
}

impl SledJournal {
    /// Opens the journal in `folder`. One that is damaged or of another version is moved to
    /// `<folder>.quarantine-<time>`, and an empty one is made. `memory_bytes` bounds sled's pages in memory.
    ///
    /// # Errors
    /// When even an empty one cannot be made.
    pub fn open(
        folder: &Path,
        memory_bytes: u64,
        disk: SharedDisk,
        clock: &SharedClock,
        meter: JournalMeter,
    ) -> io::Result<OpenedJournal> {
        let mut quarantined = None;
        let (db, rows, next) = match open_and_scan(folder, memory_bytes) {
            Ok(opened) => opened,
            Err(why) if is_locked(&why) => return Err(io::Error::new(io::ErrorKind::WouldBlock, why)),
            Err(why) => {
                let aside = quarantine(folder, clock)?;
                quarantined = Some((aside, why));
                open_and_scan(folder, memory_bytes).map_err(io::Error::other)?
            }
        };
        let file = File::options().read(true).write(true).open(folder.join("db"))?;
        let mirror: Mirror = Arc::new(RwLock::new(rows));
        let mut writer = Writer {
            db,
            file,
            mark: HighWater::open(folder)?,
            folder: folder.to_owned(),
            disk,
            clock: clock.clone(),
            next,
            mirror: Arc::clone(&mirror),
            meter,
        };
        let thread =
            StoreThread::start("journal", QUEUE, COMMITS_TOGETHER, move |batch| writer.serve(batch))?;
        Ok(OpenedJournal { journal: Self { thread, mirror }, quarantined })
    }
}

impl Journal for SledJournal {
    fn commit(&self, writes: Vec<JournalWrite>) -> BoxFuture<'static, Result<(), JournalError>> {
        let thread = self.thread.clone();
        Box::pin(async move { thread.ask(writes).await.unwrap_or(Err(JournalError::Closed)) })
    }

    fn rows(&self, table: Table) -> Vec<(String, Vec<u8>)> {
        let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
        mirror
            .iter()
            .filter(|((of, _), _)| *of == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Somebody else has the folder open, which is no damage. sled tells it only in words.
pub(super) fn is_locked(why: &str) -> bool {
    why.contains("could not acquire lock")
}

/// Moves a folder aside so that nothing in it is lost. Returns where it is now.
///
/// # Errors
/// Those of the rename.
pub fn quarantine(folder: &Path, clock: &SharedClock) -> io::Result<PathBuf> {
    let stamp = clock.wall().strftime("%Y%m%dT%H%M%S").to_string();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut aside = folder.with_file_name(format!("{name}.quarantine-{stamp}"));
    let mut again = 1;
    while aside.exists() {
        aside = folder.with_file_name(format!("{name}.quarantine-{stamp}-{again}"));
        again += 1;
    }
    fs::rename(folder, &aside)?;
    Ok(aside)
}

type Opened = (sled::Db, BTreeMap<(Table, String), Vec<u8>>, u64);

fn open_and_scan(folder: &Path, memory_bytes: u64) -> Result<Opened, String> {
    let scan = AssertUnwindSafe(|| -> Result<Opened, String> {
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(memory_bytes)
            .flush_every_ms(Some(BACKGROUND_FLUSH_MS))
            .open()
            .map_err(|error| error.to_string())?;
        let mut rows = BTreeMap::new();
        let (mut highest, mut head) = (0, None);
        for row in db.iter() {
            let (key, value) = row.map_err(|error| error.to_string())?;
            let (number, payload) = unframe(&value).map_err(|why| format!("a row is damaged: {why}"))?;
            if key.as_ref() == HEAD_KEY {
                head = Some(number);
                continue;
            }
            highest = highest.max(number);
            let (table, name) = split_key(&key).ok_or("a row's key is of no known table")?;
            rows.insert((table, name), payload.to_vec());
        }
        match head {
            None if !rows.is_empty() => Err("the head row is missing".to_owned()),
            Some(head) if head < highest => Err(format!("rows up to {highest}, but the head says {head}")),
            head => {
                high_water::check(folder, head)?;
                Ok((db, rows, head.map_or(1, |head| head + 1)))
            }
        }
    });
    match catch_unwind(scan) {
        Ok(opened) => opened,
        Err(_panic) => Err("sled panicked over the folder".to_owned()),
    }
}

fn join_key(table: Table, key: &str) -> Vec<u8> {
    format!("{}/{key}", table.as_str()).into_bytes()
}

fn split_key(key: &[u8]) -> Option<(Table, String)> {
    let (table, name) = std::str::from_utf8(key).ok()?.split_once('/')?;
    let table = Table::ALL.into_iter().find(|known| known.as_str() == table)?;
    Some((table, name.to_owned()))
}

fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEADER + payload.len());
    framed.push(VERSION);
    framed.extend_from_slice(&number.to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    framed.extend_from_slice(payload);
    framed
}

fn unframe(framed: &[u8]) -> Result<(u64, &[u8]), String> {
    let (header, payload) = framed.split_at_checked(HEADER).ok_or("it is too short")?;
    if header[0] != VERSION {
        return Err(format!("it has version {}, this penstock writes {VERSION}", header[0]));
    }
    let number = u64::from_le_bytes(header[1..9].try_into().map_err(|_short| "its number is cut")?);
    let crc = u32::from_le_bytes(header[9..13].try_into().map_err(|_short| "its checksum is cut")?);
    if crc != crc32fast::hash(payload) {
        return Err("its checksum does not fit".to_owned());
    }
    Ok((number, payload))
}

struct Writer {
    db: sled::Db,
    file: File,
    mark: HighWater,
    folder: PathBuf,
    disk: SharedDisk,
    clock: SharedClock,
    next: u64,
    mirror: Mirror,
    meter: JournalMeter,
}

impl Writer {
    /// Each request is one atomic batch; all of them share one sync.
    fn serve(&mut self, batch: Vec<Asked<Vec<JournalWrite>, Result<(), JournalError>>>) {
        let outcome = self.write_all(&batch);
        if outcome.is_ok() {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            for write in batch.iter().flat_map(|asked| &asked.request) {
                match write.clone() {
                    JournalWrite::Put { table, key, value } => drop(mirror.insert((table, key), value)),
                    JournalWrite::Delete { table, key } => drop(mirror.remove(&(table, key))),
                }
            }
        }
        for asked in batch {
            asked.answer(outcome.clone());
        }
    }

    fn write_all(
        &mut self,
        batch: &[Asked<Vec<JournalWrite>, Result<(), JournalError>>],
    ) -> Result<(), JournalError> {
        // Asked before the write: a sled that ran out of room half-way does not recover within its process.
        if is_full(&*self.disk, &self.folder) {
            return Err(JournalError::DiskFull);
        }
        let failed = |error: &dyn std::fmt::Display| JournalError::Failed(error.to_string());
        for asked in batch {
            let number = self.next;
            let mut rows = sled::Batch::default();
            for write in &asked.request {
                match write {
                    JournalWrite::Put { table, key, value } => {
                        rows.insert(join_key(*table, key), frame(number, value))
                    }
                    JournalWrite::Delete { table, key } => rows.remove(join_key(*table, key)),
                }
            }
            rows.insert(HEAD_KEY, frame(number, &[]));
            self.db.apply_batch(rows).map_err(|error| failed(&error))?;
            self.next += 1;
        }
        let started = self.clock.elapsed();
        self.db.flush().map_err(|error| failed(&error))?;
        self.file.sync_data().map_err(|error| failed(&error))?;
        if let Err(error) = self.mark.raise(self.next - 1) {
            // The batch is safe; only a later damage might go unnoticed.
            tracing::warn!(%error, "the journal's mark could not be raised");
        }
        self.meter.commits.inc();
        self.meter.fsync_seconds.observe(self.clock.elapsed().saturating_sub(started).as_secs_f64());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::disk::{Disk, RealDisk};

    fn meter() -> JournalMeter {
        JournalMeter {
            commits: prometheus::IntCounter::new("c_total", "c").unwrap(),
            fsync_seconds: prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("f", "f"))
                .unwrap(),
        }
    }

    fn open(folder: &Path) -> OpenedJournal {
        SledJournal::open(folder, 4 << 20, Arc::new(RealDisk), &SystemClock::shared(), meter()).unwrap()
    }

    fn put(key: &str, value: &str) -> JournalWrite {
        JournalWrite::Put { table: Table::Jobs, key: key.into(), value: value.into() }
    }

    #[tokio::test]
    async fn rows_survive_a_reopen_and_deletes_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        {
            let journal = open(&path).journal;
            journal.commit(vec![put("a", "1"), put("b", "2")]).await.unwrap();
            journal.commit(vec![JournalWrite::Delete { table: Table::Jobs, key: "a".into() }]).await.unwrap();
        }
        let opened = reopen(&path).await;
        assert!(opened.quarantined.is_none());
        assert_eq!(opened.journal.rows(Table::Jobs), [("b".to_owned(), b"2".to_vec())]);
        assert!(opened.journal.rows(Table::DeadLetters).is_empty());
    }

    /// The writer thread lets go of the folder's lock a moment after the last handle is gone.
    async fn reopen(path: &Path) -> OpenedJournal {
        for _ in 0..200 {
            let lock = sled::Config::new().path(path).open();
            if let Ok(db) = lock {
                drop(db);
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        open(path)
    }

    #[tokio::test]
    async fn a_damaged_journal_is_moved_aside_and_an_empty_one_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        {
            let db = sled::open(&path).unwrap();
            db.insert(join_key(Table::Jobs, "a"), frame(1, b"x")).unwrap();
            let mut damaged = frame(2, b"payload");
            let last = damaged.len() - 1;
            damaged[last] ^= 1;
            db.insert(join_key(Table::Jobs, "b"), damaged).unwrap();
            db.flush().unwrap();
        }
        let opened = open(&path);
        let (aside, why) = opened.quarantined.expect("it is quarantined");
        assert!(aside.exists() && why.contains("checksum"), "{why}");
        opened.journal.commit(vec![put("c", "3")]).await.unwrap();
        assert_eq!(opened.journal.rows(Table::Jobs).len(), 1);
    }

    struct NoRoom;

    impl Disk for NoRoom {
        fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
            Ok(4096)
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_told_apart_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let opened =
            SledJournal::open(&path, 4 << 20, Arc::new(NoRoom), &SystemClock::shared(), meter()).unwrap();
        assert_eq!(opened.journal.commit(vec![put("a", "1")]).await, Err(JournalError::DiskFull));
        assert!(opened.journal.rows(Table::Jobs).is_empty());
    }

    #[test]
    fn a_frame_shows_every_flipped_bit() {
        let framed = frame(7, b"some payload");
        assert_eq!(unframe(&framed), Ok((7, b"some payload".as_slice())));
        for bit in (9 * 8)..(framed.len() * 8) {
            let mut flipped = framed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe(&flipped).is_err(), "bit {bit}");
        }
    }

    #[tokio::test]
    async fn a_journal_damaged_anywhere_is_told_or_whole() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("original");
        let opened = open(&original);
        for number in 0..20 {
            opened.journal.commit(vec![put(&format!("job-{number}"), &"x".repeat(50))]).await.unwrap();
        }
        let rows = opened.journal.rows(Table::Jobs);
        drop(opened);
        let log = fs::read(original.join("db")).unwrap();
        let mark = fs::read(original.join("acknowledged")).unwrap();
        let conf = fs::read(original.join("conf")).unwrap();
        let mut told = 0;
        for place in (0..log.len()).step_by(log.len() / 40) {
            let damaged = folder.path().join(format!("damaged-{place}"));
            fs::create_dir(&damaged).unwrap();
            let mut bytes = log.clone();
            bytes[place] ^= 0x55;
            fs::write(damaged.join("db"), bytes).unwrap();
            fs::write(damaged.join("conf"), &conf).unwrap();
            fs::write(damaged.join("acknowledged"), &mark).unwrap();
            let opened = open(&damaged);
            if opened.quarantined.is_some() {
                told += 1;
                assert_eq!(opened.journal.rows(Table::Jobs), [], "byte {place}");
            } else {
                assert_eq!(opened.journal.rows(Table::Jobs), rows, "byte {place}: rows went without a word");
            }
        }
        assert!(told > 0, "no byte of the log mattered");
    }
}
