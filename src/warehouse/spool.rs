//! Rows in files, on their way into a warehouse: what waits between the org and the warehouse waits on the disk, not in memory.
//!
//! Promises: a file is begun only when the spool has room for it, so that the files that exist stay within a bound (a file that
//! grows past what was set aside for it takes more, and nothing is begun until that is free again); a file goes with the last
//! of its owners and gives its room back; what a crash left is gone when the spool is opened; what is read back is what was
//! written, cell by cell, or an error; only the daemon's user can read the files, which hold people's data.
//!
//! A file is CSV, gzip: a header of column names with [`PLACE_COLUMN`] behind them, everything in quotes but null, which is
//! nothing at all. Warehouses with stages of their own load it as it is; [`read_chunks`] is for the others.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::watch;

use super::WarehouseError;
use super::chunk::{self, Cell, RowChunk, TextRoom};
use crate::store::disk::{SharedDisk, is_full};
use crate::sync::{ColumnType, PartNumber, TableLayout};

/// The last column of every file: the row's place in its load, which is the part's number times 2^32 and the row's number in
/// the part. A warehouse that loads all files of a load at once still knows by it which of two rows came later.
pub const PLACE_COLUMN: &str = "_place";

/// Set aside for a file when it is begun: more than a part of the usual size takes.
const FILE_ROOM: u64 = 16 << 20;
/// How much more a file takes when that is not enough.
const MORE_ROOM: u64 = 4 << 20;
const ENDING: &str = ".csv.gz";
/// What the folders of [`NamedFile`]s begin with.
const NAMED: &str = "named-";
/// Rows are handed to the packer in pieces of about this size.
const PIECE: usize = 64 << 10;

/// A folder of files with a bound on their bytes.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    bytes_max: u64,
    disk: SharedDisk,
    used: watch::Sender<u64>,
    serial: AtomicU64,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("folder", &self.shared.folder)
            .field("bytes_max", &self.shared.bytes_max)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Rows in a file, on their way into the warehouse. The file goes when the last of its owners does.
#[derive(Debug)]
pub struct SpoolFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    _room: Room,
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // A file that is gone already is as good; one that stays goes when the spool is opened again.
        drop(fs::remove_file(&self.path));
    }
}

/// A file of the spool under another name, for warehouses that keep a file by the name it comes with.
#[derive(Debug)]
pub struct NamedFile {
    folder: PathBuf,
    path: PathBuf,
}

impl NamedFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        // What stays goes when the spool is opened again.
        drop(fs::remove_file(&self.path));
        drop(fs::remove_dir(&self.folder));
    }
}

impl SpoolFile {
    /// The file under another name, in a folder of its own; it takes no room.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn named(&self, name: &str) -> Result<NamedFile, WarehouseError> {
        let shared = &self._room.shared;
        let serial = shared.serial.fetch_add(1, Ordering::Relaxed);
        let folder = shared.folder.join(format!("{NAMED}{serial}"));
        let path = folder.join(name);
        let link = DirBuilder::new().mode(0o700).create(&folder).and_then(|()| symlink(&self.path, &path));
        let named = NamedFile { folder, path };
        link.map(|()| named).map_err(|error| cannot_write(&self.path, &error))
    }
}

/// Bytes that count against the bound for as long as this lives.
struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.bytes).finish()
    }
}

impl Room {
    fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.shared.used.send_modify(|used| *used = used.saturating_sub(before).saturating_add(bytes));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Spool {
    /// The spool in `folder`, which is made where it is missing and emptied of what a crash left. One spool for a folder.
    ///
    /// # Errors
    /// When the folder cannot be made, read or emptied.
    pub fn open(folder: &Path, bytes_max: u64, disk: SharedDisk) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Whatever else somebody keeps here is not ours.
            let name = entry.file_name();
            if entry.file_type()?.is_dir() && name.as_encoded_bytes().starts_with(NAMED.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            } else if name.as_encoded_bytes().ends_with(ENDING.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        let folder = folder.canonicalize()?;
        let (used, serial) = (watch::Sender::new(0), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { folder, bytes_max, disk, used, serial }) })
    }

    /// Bytes of the files that exist, with what is set aside for those being written.
    pub fn bytes(&self) -> u64 {
        *self.shared.used.borrow()
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Begins a file for rows of `layout`, once there is room for it. `name` is for people who look into the folder.
    ///
    /// # Errors
    /// [`WarehouseError::Full`] when the disk is, and what the operating system says.
    pub async fn begin(
        &self,
        layout: &TableLayout,
        part: PartNumber,
        name: &str,
    ) -> Result<SpoolWriter, WarehouseError> {
        let mut used = self.shared.used.subscribe();
        let room = loop {
            if let Some(room) = self.take_room() {
                break room;
            }
            // Never an error: the sender lives in `self`.
            drop(used.wait_for(|used| self.shared.fits(*used)).await);
        };
        self.start(room, layout, part, name)
    }

    /// Writes a file with the rows of `chunk`, whether the spool has room or not: for one who holds the rows in memory and
    /// cannot wait.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn keep(
        &self,
        layout: &TableLayout,
        part: PartNumber,
        name: &str,
        chunk: &RowChunk,
    ) -> Result<Arc<SpoolFile>, WarehouseError> {
        let mut room = Room { shared: Arc::clone(&self.shared), bytes: 0 };
        room.set(FILE_ROOM.min(self.shared.bytes_max));
        let mut file = self.start(room, layout, part, name)?;
        file.push(chunk)?;
        file.finish()
    }

    fn take_room(&self) -> Option<Room> {
        let bytes = FILE_ROOM.min(self.shared.bytes_max);
        let is_ours = self.shared.used.send_if_modified(|used| {
            let fits = self.shared.fits(*used);
            if fits {
                *used += bytes;
            }
            fits
        });
        is_ours.then(|| Room { shared: Arc::clone(&self.shared), bytes })
    }

    fn start(
        &self,
        room: Room,
        layout: &TableLayout,
        part: PartNumber,
        name: &str,
    ) -> Result<SpoolWriter, WarehouseError> {
        let shared = &self.shared;
        if is_full(&*shared.disk, &shared.folder) {
            return Err(disk_full(&shared.folder));
        }
        let serial = shared.serial.fetch_add(1, Ordering::Relaxed);
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .take(80)
            .collect();
        let path = shared.folder.join(format!("{name}-{serial}{ENDING}"));
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let open = open.map_err(|error| cannot_write(&path, &error))?;
        let counted = Counted { file: BufWriter::with_capacity(128 << 10, open), bytes: 0 };
        let mut writer = SpoolWriter {
            packer: Some(GzEncoder::new(counted, Compression::fast())),
            path,
            columns: layout.columns.len(),
            first_place: u64::from(part.0) << 32,
            rows: 0,
            piece: Vec::with_capacity(PIECE + (16 << 10)),
            room: Some(room),
        };
        for column in &layout.columns {
            put_text(&mut writer.piece, &column.name);
            writer.piece.push(b',');
        }
        put_text(&mut writer.piece, PLACE_COLUMN);
        writer.piece.push(b'\n');
        Ok(writer)
    }
}

impl Shared {
    /// Whether one more file may be begun. One always may, or a small bound would stop everything.
    fn fits(&self, used: u64) -> bool {
        used == 0 || used.saturating_add(FILE_ROOM.min(self.bytes_max)) <= self.bytes_max
    }
}

fn disk_full(folder: &Path) -> WarehouseError {
    WarehouseError::Full(format!(
        "the disk with the spool `{}` is full: make room, or move the spool",
        folder.display()
    ))
}

fn cannot_write(path: &Path, error: &io::Error) -> WarehouseError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(path.parent().unwrap_or(path)),
        _ => {
            WarehouseError::Engine(format!("the spool file `{}` cannot be written: {error}", path.display()))
        }
    }
}

struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is being written; dropped before it is finished, it is gone. Blocks while it writes.
pub struct SpoolWriter {
    /// `None` once it is finished.
    packer: Option<GzEncoder<Counted>>,
    path: PathBuf,
    columns: usize,
    first_place: u64,
    rows: u64,
    piece: Vec<u8>,
    room: Option<Room>,
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolWriter")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .field("packed_bytes", &self.packed_bytes())
            .finish_non_exhaustive()
    }
}

impl SpoolWriter {
    /// Adds rows.
    ///
    /// # Errors
    /// [`WarehouseError::Full`], and what the operating system says; the file is then of no more use.
    ///
    /// # Panics
    /// When the rows have more or fewer cells than the layout has columns: a mistake of the caller, not of the data.
    pub fn push(&mut self, chunk: &RowChunk) -> Result<(), WarehouseError> {
        assert_eq!(chunk.columns(), self.columns, "rows have as many cells as the layout has columns");
        for row in chunk.iter() {
            for (index, cell) in row.cells().enumerate() {
                if index > 0 {
                    self.piece.push(b',');
                }
                put_cell(&mut self.piece, cell);
            }
            // Never an error: memory takes what it is given.
            drop(writeln!(self.piece, ",\"{}\"", self.first_place + self.rows));
            self.rows += 1;
            if self.piece.len() >= PIECE {
                self.pack()?;
            }
        }
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes on disk so far; some of the last rows may still be with the packer.
    pub fn packed_bytes(&self) -> u64 {
        self.packer.as_ref().map_or(0, |packer| packer.get_ref().bytes)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<Arc<SpoolFile>, WarehouseError> {
        self.pack()?;
        let failed = |error: &io::Error| cannot_write(&self.path, error);
        // Both are there until this very call.
        let (Some(packer), Some(mut room)) = (self.packer.take(), self.room.take()) else {
            return Err(WarehouseError::Closed);
        };
        let mut counted = packer.finish().map_err(|error| failed(&error))?;
        counted.flush().map_err(|error| failed(&error))?;
        room.set(counted.bytes);
        let path = std::mem::take(&mut self.path);
        Ok(Arc::new(SpoolFile { path, rows: self.rows, bytes: counted.bytes, _room: room }))
    }

    fn pack(&mut self) -> Result<(), WarehouseError> {
        let (Some(packer), Some(room)) = (&mut self.packer, &mut self.room) else {
            return Err(WarehouseError::Closed);
        };
        packer.write_all(&self.piece).map_err(|error| cannot_write(&self.path, &error))?;
        self.piece.clear();
        if packer.get_ref().bytes > room.bytes {
            room.set(room.bytes + MORE_ROOM);
            let shared = &room.shared;
            if is_full(&*shared.disk, &shared.folder) {
                return Err(disk_full(&shared.folder));
            }
        }
        Ok(())
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn put_cell(into: &mut Vec<u8>, cell: Cell<'_>) {
    let mut room = TextRoom::default();
    let plain = match cell {
        Cell::Null | Cell::Unreadable => return,
        Cell::Text(text) | Cell::Json(text) => return put_text(into, text),
        Cell::Boolean(true) => "true",
        Cell::Boolean(false) => "false",
        Cell::Decimal(text) => text,
        Cell::Date(days) => chunk::date(days, &mut room),
        Cell::DateTime(epoch_ms) => chunk::date_time(epoch_ms, &mut room),
        Cell::Time(ms) => chunk::time(ms, &mut room),
        Cell::Int(value) => {
            // Never an error: memory takes what it is given.
            drop(write!(into, "\"{value}\""));
            return;
        }
    };
    into.push(b'"');
    into.extend_from_slice(plain.as_bytes());
    into.push(b'"');
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    into.push(b'"');
    while let Some(at) = memchr::memchr(b'"', rest) {
        into.extend_from_slice(&rest[..=at]);
        into.push(b'"');
        rest = &rest[at + 1..];
    }
    into.extend_from_slice(rest);
    into.push(b'"');
}

/// Reads the rows of a file in chunks of `rows_per_chunk`; returns how many there were.
///
/// # Errors
/// Those of `each`, and [`WarehouseError::Engine`] when the file is not what was written: cut off, changed, or of another
/// layout.
pub fn read_chunks(
    file: &SpoolFile,
    layout: &TableLayout,
    rows_per_chunk: usize,
    each: &mut dyn FnMut(&RowChunk) -> Result<(), WarehouseError>,
) -> Result<u64, WarehouseError> {
    let damaged = |what: &str| {
        WarehouseError::Engine(format!(
            "the spool file `{}` is not as it was written: {what}",
            file.path.display()
        ))
    };
    let open = File::open(&file.path).map_err(|error| damaged(&error.to_string()))?;
    let unpacked = MultiGzDecoder::new(BufReader::with_capacity(128 << 10, open));
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(256 << 10).from_reader(unpacked);
    let header = reader.headers().map_err(|error| damaged(&error.to_string()))?;
    let names = layout.columns.iter().map(|column| column.name.as_str());
    if !header.iter().eq(names.chain([PLACE_COLUMN])) {
        return Err(damaged("its columns are others"));
    }

    let rows_per_chunk = rows_per_chunk.max(1);
    let mut chunk = RowChunk::new(layout.columns.len());
    let mut record = csv::StringRecord::new();
    let mut rows = 0u64;
    while reader.read_record(&mut record).map_err(|error| damaged(&told_without_data(&error)))? {
        rows += 1;
        let mut bad = None;
        chunk.push(layout.columns.iter().zip(&record).map(|(column, text)| {
            cell_of(column.kind, text).unwrap_or_else(|| {
                bad = Some(&column.name);
                Cell::Null
            })
        }));
        if let Some(name) = bad {
            return Err(damaged(&format!("row {rows}, column `{name}`")));
        }
        if chunk.rows() == rows_per_chunk {
            each(&chunk)?;
            chunk.clear();
        }
    }
    if rows != file.rows {
        return Err(damaged(&format!("it has {rows} rows, not {}", file.rows)));
    }
    if !chunk.is_empty() {
        each(&chunk)?;
    }
    Ok(rows)
}

fn told_without_data(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { .. } => "a row has more or fewer cells than the header".to_owned(),
        csv::ErrorKind::Utf8 { .. } => "it is no UTF-8".to_owned(),
        _ => "it is no CSV".to_owned(),
    }
}

/// `None` for a text that is none of its kind, as [`put_cell`] writes it.
fn cell_of(kind: ColumnType, text: &str) -> Option<Cell<'_>> {
    if text.is_empty() {
        return Some(Cell::Null);
    }
    Some(match kind {
        ColumnType::Id | ColumnType::Text => Cell::Text(text),
        ColumnType::Json => Cell::Json(text),
        ColumnType::Decimal { .. } => Cell::Decimal(text),
        ColumnType::Boolean => Cell::Boolean(text.parse().ok()?),
        ColumnType::Int => Cell::Int(text.parse().ok()?),
        ColumnType::Date => Cell::Date(days_of(text.as_bytes())?),
        ColumnType::Time => Cell::Time(ms_of(text.as_bytes())?),
        ColumnType::DateTime => {
            let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
            Cell::DateTime(
                i64::from(days_of(day.as_bytes())?) * 86_400_000 + i64::from(ms_of(time.as_bytes())?),
            )
        }
    })
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

/// `2026-01-02` in days since 1970-01-01, by the count of [`chunk::date`].
fn days_of(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// `03:04:05.000` in milliseconds.
fn ms_of(text: &[u8]) -> Option<u32> {
    if text.len() != 12 || text[2] != b':' || text[5] != b':' || text[8] != b'.' {
        return None;
    }
    let (hour, minute) = (digits(&text[..2])?, digits(&text[3..5])?);
    let (second, ms) = (digits(&text[6..8])?, digits(&text[9..])?);
    (hour < 24 && minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second) * 1_000 + ms)
}

#[cfg(test)]
mod tests;
