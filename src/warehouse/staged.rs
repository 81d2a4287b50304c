//! Staged parts: files in a folder beside the warehouse's own.
//!
//! Promises: a part is there whole or not at all, and durable once [`PartWriter::finish`] returns; what is read is what was
//! written, or an error. Files and not tables: a row goes through the engine once and not twice, no lock of its is needed to
//! stage, and the room is given back when the load is over. What is in a block is the engine's own affair.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::{Cell, ChunkRow, RowChunk, WarehouseError};
use crate::sync::{LoadId, PartNumber, PartReceipt, StagedCount};

/// First bytes of a file, with the version of its form.
const MAGIC: [u8; 8] = *b"PSTKRW1\n";
const HEADER: usize = 8 + 1 + 2 + 8;
/// A block is written when it is that long.
const BLOCK_BYTES: usize = 256 * 1024;
/// Longest block that is read back: a row of 900 columns with texts of 131,072 characters fits.
const BLOCK_MAX: u32 = 1 << 30;

/// The folder of all loads.
#[derive(Debug)]
pub(super) struct StagedFolder {
    folder: PathBuf,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StagedPart {
    /// Which, and its rows.
    pub(super) receipt: PartReceipt,
    /// Whether it has keys alone.
    pub(super) is_keys: bool,
    columns: usize,
    path: PathBuf,
}

/// A part that is being written; it is there once [`Self::finish`] has returned.
#[derive(Debug)]
pub(super) struct PartWriter {
    file: File,
    path: PathBuf,
    part: PartNumber,
    is_keys: bool,
    columns: usize,
    rows: u64,
    block: Vec<u8>,
}

impl StagedFolder {
    /// Of the warehouse in that file.
    pub(super) fn beside(database: &Path) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push(".penstock-staged");
        Self { folder: folder.into() }
    }

    /// Makes the folder, where it is missing, as durable as what will be in it.
    pub(super) fn make(&self) -> Result<(), WarehouseError> {
        private_folder(&self.folder)
            .and_then(|()| self.folder.parent().map_or(Ok(()), sync_folder))
            .map_err(|error| unwritten(&error))
    }

    fn of_load(&self, load: &LoadId) -> PathBuf {
        self.folder.join(load.as_str())
    }

    /// Begins a part; what was there of it stays until it is finished.
    pub(super) fn begin(
        &self,
        load: &LoadId,
        part: PartNumber,
        is_keys: bool,
        columns: usize,
    ) -> Result<PartWriter, WarehouseError> {
        let folder = self.of_load(load);
        let path = folder.join(format!("{:010}", part.0));
        let begun = || {
            private_folder(&folder)?;
            let mut file = File::create(path.with_extension("new"))?;
            file.write_all(&[0; HEADER])?;
            Ok(file)
        };
        let file = begun().map_err(|error| unwritten(&error))?;
        let block = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8);
        Ok(PartWriter { file, path, part, is_keys, columns, rows: 0, block })
    }

    /// Parts that are there of a load, ascending.
    pub(super) fn parts(&self, load: &LoadId) -> Result<Vec<StagedPart>, WarehouseError> {
        let entries = match fs::read_dir(self.of_load(load)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unread(&error)),
        };
        let mut parts = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unread(&error))?.path();
            // Others are parts that were never finished.
            if let Some(part) =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
            {
                parts.push(header(path, PartNumber(part)).map_err(|error| unread(&error))?);
            }
        }
        parts.sort_by_key(|part| part.receipt.part);
        Ok(parts)
    }

    /// Lets go of all parts of a load; none is as good.
    pub(super) fn remove(&self, load: &LoadId) -> Result<(), WarehouseError> {
        match fs::remove_dir_all(self.of_load(load)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(of_file("staged rows cannot be removed", &error))
            }
            _ => Ok(()),
        }
    }

    /// Loads of which something is there.
    pub(super) fn loads(&self) -> Vec<LoadId> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

/// What parts add up to.
pub(super) fn count(parts: &[StagedPart]) -> StagedCount {
    let sum = |is_keys: bool| {
        parts.iter().filter(|part| part.is_keys == is_keys).map(|part| part.receipt.rows).sum()
    };
    StagedCount { rows: sum(false), keys: sum(true) }
}

fn unwritten(error: &io::Error) -> WarehouseError {
    of_file("rows cannot be staged", error)
}

fn unread(error: &io::Error) -> WarehouseError {
    of_file("staged rows cannot be read", error)
}

/// What the operating system says of a file that is the warehouse's.
pub(super) fn of_file(what: &str, error: &io::Error) -> WarehouseError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            WarehouseError::Full(format!("{what}: {error}"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            WarehouseError::Denied(format!("{what}: {error}"))
        }
        _ => WarehouseError::Engine(format!("{what}: {error}")),
    }
}

/// Rows are people's data, and of no use to others before they are in the table.
fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a file of staged rows is damaged: remove it, and the load goes on",
    )
}

fn header(path: PathBuf, part: PartNumber) -> io::Result<StagedPart> {
    let mut bytes = [0; HEADER];
    File::open(&path)?.read_exact(&mut bytes)?;
    let (magic, rest) = bytes.split_at(MAGIC.len());
    let [kind, low, high, rows @ ..] = rest else { return Err(damaged()) };
    let rows: [u8; 8] = rows.try_into().map_err(|_| damaged())?;
    if magic != MAGIC || *kind > 1 {
        return Err(damaged());
    }
    Ok(StagedPart {
        receipt: PartReceipt { part, rows: u64::from_le_bytes(rows) },
        is_keys: *kind == 1,
        columns: usize::from(u16::from_le_bytes([*low, *high])),
        path,
    })
}

impl PartWriter {
    /// Adds rows, each as `put` writes it. `key` says which of its cells may not be null.
    pub(super) fn push(
        &mut self,
        rows: &RowChunk,
        key: (usize, &str),
        put: impl Fn(ChunkRow<'_>, &mut Vec<u8>),
    ) -> Result<(), WarehouseError> {
        for row in rows.iter() {
            if row.cell(key.0) == Cell::Null {
                return Err(WarehouseError::BadValue {
                    column: key.1.to_owned(),
                    message: "it identifies the row and may not be empty".to_owned(),
                });
            }
            put(row, &mut self.block);
            if self.block.len() >= BLOCK_BYTES {
                self.flush()?;
            }
        }
        self.rows += rows.rows() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WarehouseError> {
        let length = u32::try_from(self.block.len()).ok().filter(|length| *length <= BLOCK_MAX);
        let length = length.ok_or_else(|| WarehouseError::BadValue {
            column: "of a row".to_owned(),
            message: "it is longer than a row may be".to_owned(),
        })?;
        let written = self
            .file
            .write_all(&length.to_le_bytes())
            .and_then(|()| self.file.write_all(&crc32fast::hash(&self.block).to_le_bytes()))
            .and_then(|()| self.file.write_all(&self.block));
        self.block.clear();
        written.map_err(|error| unwritten(&error))
    }

    /// Makes the part durable, in place of what was there of it.
    pub(super) fn finish(mut self) -> Result<PartReceipt, WarehouseError> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        let mut finish = || {
            self.file.seek(SeekFrom::Start(0))?;
            let mut header = Vec::with_capacity(HEADER);
            header.extend_from_slice(&MAGIC);
            header.push(u8::from(self.is_keys));
            header.extend_from_slice(&(self.columns as u16).to_le_bytes());
            header.extend_from_slice(&self.rows.to_le_bytes());
            self.file.write_all(&header)?;
            self.file.sync_all()?;
            fs::rename(self.path.with_extension("new"), &self.path)?;
            // The file is in the load's folder, and that in the one of all loads.
            self.path.ancestors().skip(1).take(2).try_for_each(sync_folder)
        };
        finish().map_err(|error| unwritten(&error))?;
        Ok(PartReceipt { part: self.part, rows: self.rows })
    }
}

impl StagedPart {
    /// The blocks of a part whose rows have so many columns.
    pub(super) fn blocks(&self, columns: usize) -> Result<Blocks, WarehouseError> {
        if self.columns != columns {
            return Err(unread(&damaged()));
        }
        let mut file = File::open(&self.path).map_err(|error| unread(&error))?;
        file.seek(SeekFrom::Start(HEADER as u64)).map_err(|error| unread(&error))?;
        Ok(Blocks { file, block: Vec::new(), rows_left: self.receipt.rows })
    }
}

/// The blocks of a part, in order.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    block: Vec<u8>,
    rows_left: u64,
}

impl Blocks {
    /// The next block; `None` behind the last, when every row was taken by [`Self::took`].
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, WarehouseError> {
        match next_block(&mut self.file, &mut self.block) {
            Ok(true) => Ok(Some(&self.block)),
            Ok(false) if self.rows_left == 0 => Ok(None),
            Ok(false) => Err(Self::damaged()),
            Err(error) => Err(unread(&error)),
        }
    }

    /// So many rows were read of the blocks.
    pub(super) fn took(&mut self, rows: u64) -> Result<(), WarehouseError> {
        self.rows_left = self.rows_left.checked_sub(rows).ok_or_else(Self::damaged)?;
        Ok(())
    }

    /// What is in a block is not what was written.
    pub(super) fn damaged() -> WarehouseError {
        unread(&damaged())
    }
}

fn next_block(file: &mut File, block: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; 8];
    let mut read = 0;
    while read < head.len() {
        match file.read(&mut head[read..])? {
            0 if read == 0 => return Ok(false),
            0 => return Err(damaged()),
            more => read += more,
        }
    }
    let [a, b, c, d, crc @ ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > BLOCK_MAX {
        return Err(damaged());
    }
    block.resize(length as usize, 0);
    file.read_exact(block)?;
    if crc32fast::hash(block) == u32::from_le_bytes(crc) { Ok(true) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::bytes::{put_row, take_rows};

    fn staged(folder: &StagedFolder, texts: &[&str]) -> StagedPart {
        let load = LoadId::new(1, 1);
        let mut rows = RowChunk::new(1);
        for text in texts {
            rows.push([Cell::Text(text)]);
        }
        let mut writer = folder.begin(&load, PartNumber(7), false, 1).unwrap();
        writer.push(&rows, (0, "Id"), put_row).unwrap();
        writer.finish().unwrap();
        folder.parts(&load).unwrap().remove(0)
    }

    fn read(part: &StagedPart) -> Result<Vec<String>, WarehouseError> {
        let mut rows = RowChunk::new(1);
        let mut blocks = part.blocks(1)?;
        while let Some(block) = blocks.next()? {
            let taken = take_rows(block, &mut rows).ok_or_else(Blocks::damaged)?;
            blocks.took(taken)?;
        }
        let text = |cell| match cell {
            Cell::Text(text) => text.to_owned(),
            cell => panic!("{cell:?}"),
        };
        Ok(rows.iter().map(|row| text(row.cell(0))).collect())
    }

    #[test]
    fn a_part_that_was_not_finished_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = StagedFolder::beside(&root.path().join("w.db"));
        let part = staged(&folder, &["a"]);
        let mut half = folder.begin(&LoadId::new(1, 1), PartNumber(7), false, 1).unwrap();
        let mut rows = RowChunk::new(1);
        rows.push([Cell::Text("b")]);
        half.push(&rows, (0, "Id"), put_row).unwrap();
        drop(half);
        assert_eq!(folder.parts(&LoadId::new(1, 1)).unwrap(), std::slice::from_ref(&part));
        assert_eq!(read(&part).unwrap(), ["a"]);
    }

    #[test]
    fn rows_over_many_blocks_come_back_in_order() {
        let root = tempfile::tempdir().unwrap();
        let folder = StagedFolder::beside(&root.path().join("w.db"));
        let long = "x".repeat(BLOCK_BYTES * 2);
        let texts: Vec<String> = (0..5).map(|number| format!("{number}{long}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(read(&staged(&folder, &texts)).unwrap(), texts);
    }

    #[test]
    fn a_file_that_is_damaged_is_told_at_every_byte() {
        let root = tempfile::tempdir().unwrap();
        let folder = StagedFolder::beside(&root.path().join("w.db"));
        let part = staged(&folder, &["Ada", "Eve"]);
        let good = fs::read(&part.path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x55;
            fs::write(&part.path, &bad).unwrap();
            let told = folder.parts(&LoadId::new(1, 1)).and_then(|parts| read(&parts[0]));
            assert!(told.is_err(), "byte {place}");
            fs::write(&part.path, &good[..place]).unwrap();
            let told = folder.parts(&LoadId::new(1, 1)).and_then(|parts| read(&parts[0]));
            assert!(told.is_err(), "cut at {place}");
        }
    }
}
