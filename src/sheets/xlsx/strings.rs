//! The texts that cells share: read once, the first in memory, the others in a file.
//!
//! Promises: memory stays within the bound given, beside 10 bytes for every 256 strings. A text is the same whether it stayed
//! in memory or went to the file, and whatever the order of asking. Most sheets ask in order; those texts come in blocks.
//!
//! The texts that many cells share (a country, a status) are met early in a sheet and so stand early in the list: they are
//! the ones that stay.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use quick_xml::events::Event;

use super::part::{Archive, Bounds, LONGEST_CELL, Xml, resolve_escapes};
use crate::sheets::OpenOptions;
use crate::sheets::error::SheetError;

/// Strings of one block of the file.
const BLOCK: usize = 256;
/// A block up to this long is read whole; of a longer one, the string asked for alone.
const LONGEST_CACHED: u64 = 128 * 1024;
/// Memory of the blocks read, at least.
const LEAST_CACHE: usize = 2 * LONGEST_CACHED as usize;
/// What one string in memory takes beside its text.
const PLACE: usize = size_of::<u32>();
/// What places of four bytes can tell.
const MOST_IN_MEMORY: usize = u32::MAX as usize / 2;
const NOT_CACHED: u32 = u32::MAX;

/// The shared strings of a workbook.
pub(super) struct SharedStrings {
    /// The first texts, one behind the other, and where each ends.
    text: String,
    ends: Vec<u32>,
    spill: Option<Spill>,
    count: usize,
}

impl SharedStrings {
    /// Those of a workbook that has none.
    pub(super) fn none() -> Self {
        Self { text: String::new(), ends: Vec::new(), spill: None, count: 0 }
    }

    /// Reads them all.
    pub(super) fn read(
        archive: &mut Archive,
        part: &str,
        bounds: Bounds,
        options: &OpenOptions,
    ) -> Result<Self, SheetError> {
        let mut strings = Self::none();
        let Some(mut xml) = Xml::open(archive, part, bounds)? else { return Ok(strings) };
        let for_texts = (options.memory_bytes / 2).min(MOST_IN_MEMORY);
        let for_blocks = (options.memory_bytes - for_texts).max(LEAST_CACHE);
        let mut writer: Option<SpillWriter> = None;
        let mut text = String::new();
        loop {
            text.clear();
            match xml.next()? {
                Event::Start(start) if start.local_name().as_ref() == "si" => {
                    xml.rich_text(&mut text)?;
                    resolve_escapes(&mut text, 0);
                }
                Event::Empty(start) if start.local_name().as_ref() == "si" => {}
                Event::Eof => break,
                _ => continue,
            }
            strings.count += 1;
            let taken = strings.text.len() + text.len() + (strings.ends.len() + 1) * PLACE;
            match &mut writer {
                None if taken <= for_texts => {
                    strings.text.push_str(&text);
                    strings.ends.push(strings.text.len() as u32);
                }
                None => {
                    let mut started = SpillWriter::create(&options.spill_folder).map_err(cannot_spill)?;
                    started.add(&text).map_err(cannot_spill)?;
                    writer = Some(started);
                }
                Some(writer) => writer.add(&text).map_err(cannot_spill)?,
            }
        }
        strings.text.shrink_to_fit();
        strings.ends.shrink_to_fit();
        strings.spill = match writer {
            Some(writer) => Some(writer.finish(for_blocks).map_err(cannot_spill)?),
            None => None,
        };
        Ok(strings)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Appends the text with this index; `false` when there is none.
    pub(super) fn append(&mut self, index: usize, target: &mut String) -> Result<bool, SheetError> {
        if let Some(&end) = self.ends.get(index) {
            let begin = if index == 0 { 0 } else { self.ends[index - 1] };
            target.push_str(&self.text[begin as usize..end as usize]);
            return Ok(true);
        }
        match &mut self.spill {
            Some(spill) if index < self.count => {
                spill.append(index - self.ends.len(), target).map_err(cannot_spill)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn cannot_spill(source: io::Error) -> SheetError {
    SheetError::Io { action: "cannot keep the texts of the workbook on the disk", source }
}

/// Writes blocks: the texts of each, then where each text ends (4 bytes, little-endian).
struct SpillWriter {
    file: BufWriter<File>,
    /// Where each block begins, and the last one ends.
    begins: Vec<u64>,
    length: u64,
    ends: Vec<u32>,
}

impl SpillWriter {
    fn create(folder: &Path) -> io::Result<Self> {
        // Without a name: it goes with its handle, whatever becomes of the process.
        let file = BufWriter::with_capacity(64 * 1024, tempfile::tempfile_in(folder)?);
        Ok(Self { file, begins: vec![0], length: 0, ends: Vec::with_capacity(BLOCK) })
    }

    fn add(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        // A block of the longest texts has 256 MiB.
        self.ends.push(self.ends.last().copied().unwrap_or(0) + text.len() as u32);
        if self.ends.len() == BLOCK { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        for end in &self.ends {
            self.file.write_all(&end.to_le_bytes())?;
        }
        let text = u64::from(self.ends.last().copied().unwrap_or(0));
        self.length += text + (self.ends.len() * PLACE) as u64;
        self.begins.push(self.length);
        self.ends.clear();
        Ok(())
    }

    fn finish(mut self, memory: usize) -> io::Result<Spill> {
        let last_block = if self.ends.is_empty() { BLOCK } else { self.ends.len() };
        if !self.ends.is_empty() {
            self.end_block()?;
        }
        self.begins.shrink_to_fit();
        let blocks = self.begins.len() - 1;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let cache =
            Cache { place_of: vec![NOT_CACHED; blocks], blocks: Vec::new(), hand: 0, bytes: 0, memory };
        Ok(Spill { file, begins: self.begins, last_block, cache })
    }
}

/// Texts in a file, with the blocks used last.
struct Spill {
    file: File,
    begins: Vec<u64>,
    /// Strings in the last block.
    last_block: usize,
    cache: Cache,
}

struct Cache {
    /// Where in `blocks` each block of the file is.
    place_of: Vec<u32>,
    blocks: Vec<CachedBlock>,
    /// The next to be considered for another block's place.
    hand: usize,
    bytes: usize,
    memory: usize,
}

struct CachedBlock {
    block: usize,
    bytes: Vec<u8>,
    /// Asked for since the hand last passed.
    used: bool,
}

impl Spill {
    fn append(&mut self, index: usize, target: &mut String) -> io::Result<()> {
        let (block, within) = (index / BLOCK, index % BLOCK);
        let strings = if block + 2 == self.begins.len() { self.last_block } else { BLOCK };
        let (begin, end) = (self.begins[block], self.begins[block + 1]);
        if end - begin > LONGEST_CACHED {
            return self.append_alone(end - (strings * PLACE) as u64, begin, within, target);
        }
        let place = match self.cache.place_of[block] {
            NOT_CACHED => self.cache.load(&self.file, block, begin, (end - begin) as usize)?,
            place => place as usize,
        };
        let cached = &mut self.cache.blocks[place];
        cached.used = true;
        let ends_at = cached.bytes.len() - strings * PLACE;
        let end_of = |within: usize| {
            let at = ends_at + within * PLACE;
            let end = cached.bytes.get(at..at + PLACE).and_then(|bytes| bytes.try_into().ok());
            end.map_or(0, u32::from_le_bytes) as usize
        };
        let text_begin = if within == 0 { 0 } else { end_of(within - 1) };
        push(target, cached.bytes.get(text_begin..end_of(within)))
    }

    /// Reads one string of a block that is too long to be kept.
    fn append_alone(&self, ends_at: u64, begin: u64, within: usize, target: &mut String) -> io::Result<()> {
        let mut around = [0; 2 * PLACE];
        let text_begin = if within == 0 {
            self.file.read_exact_at(&mut around[PLACE..], ends_at)?;
            0
        } else {
            self.file.read_exact_at(&mut around, ends_at + ((within - 1) * PLACE) as u64)?;
            u32::from_le_bytes([around[0], around[1], around[2], around[3]])
        };
        let text_end = u32::from_le_bytes([around[4], around[5], around[6], around[7]]);
        let length = text_end.saturating_sub(text_begin) as usize;
        let mut bytes = vec![0; length.min(LONGEST_CELL + 1)];
        self.file.read_exact_at(&mut bytes, begin + u64::from(text_begin))?;
        push(target, Some(&bytes))
    }
}

/// Appends bytes that were written as text.
fn push(target: &mut String, bytes: Option<&[u8]>) -> io::Result<()> {
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    // Only a disk that gives back something else can be the reason.
    target.push_str(text.ok_or(io::ErrorKind::InvalidData)?);
    Ok(())
}

impl Cache {
    /// Reads a block, after letting go of those that nobody has asked for in a while when there is no room.
    fn load(&mut self, file: &File, block: usize, begin: u64, length: usize) -> io::Result<usize> {
        let mut bytes = Vec::new();
        while self.bytes + length > self.memory && !self.blocks.is_empty() {
            bytes = self.let_one_go();
        }
        bytes.resize(length, 0);
        bytes.shrink_to(length);
        file.read_exact_at(&mut bytes, begin)?;
        self.bytes += bytes.capacity();
        self.blocks.push(CachedBlock { block, bytes, used: true });
        let place = self.blocks.len() - 1;
        self.place_of[block] = place as u32;
        Ok(place)
    }

    /// Lets go of a block that was not asked for since the hand last passed it; gives its buffer.
    fn let_one_go(&mut self) -> Vec<u8> {
        loop {
            self.hand = (self.hand + 1) % self.blocks.len();
            let candidate = &mut self.blocks[self.hand];
            if candidate.used {
                candidate.used = false;
                continue;
            }
            let gone = self.blocks.swap_remove(self.hand);
            self.place_of[gone.block] = NOT_CACHED;
            if let Some(moved) = self.blocks.get(self.hand) {
                self.place_of[moved.block] = self.hand as u32;
            }
            self.bytes -= gone.bytes.capacity();
            return gone.bytes;
        }
    }
}
