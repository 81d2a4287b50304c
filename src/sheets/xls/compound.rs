//! The container of older Office files: which streams it holds, and the bytes of one.
//!
//! Promises: chains of sectors are followed only as far as the file goes, so none runs in a circle.

/// Streams shorter than this lie in the small sectors.
const SMALL_STREAM: usize = 4_096;
const SMALL_SECTOR: usize = 64;
/// Numbers from here on are no sectors but say that none follows.
const NO_SECTOR: u32 = 0xffff_fffa;
const ENTRY: usize = 128;
/// Where the header names the sectors that tell which sector follows which.
const FIRST_TABLES: std::ops::Range<usize> = 76..512;

/// A compound file, in memory.
pub(super) struct CompoundFile<'a> {
    bytes: &'a [u8],
    sector: usize,
    /// Which sector follows which.
    follows: Vec<u32>,
    directory: Vec<u8>,
}

impl<'a> CompoundFile<'a> {
    /// Reads the tables and the directory; `None` when they lead nowhere.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let sector = match u16_at(bytes, 30)? {
            9 => 512,
            12 => 4_096,
            _ => return None,
        };
        let mut file = Self { bytes, sector, follows: Vec::new(), directory: Vec::new() };
        let mut tables: Vec<u32> = numbers(bytes.get(FIRST_TABLES)?).collect();
        let mut next = u32_at(bytes, 68)?;
        let most = bytes.len() / sector + 1;
        let mut seen = 0;
        while next < NO_SECTOR && seen < most {
            let mut more: Vec<u32> = numbers(file.sector(next)?).collect();
            // The last number of such a sector names the next one.
            next = more.pop()?;
            tables.extend(more);
            seen += 1;
        }
        for table in tables.into_iter().filter(|&table| table < NO_SECTOR).take(most) {
            let follows: Vec<u32> = numbers(file.sector(table)?).collect();
            file.follows.extend(follows);
        }
        file.directory = file.chain(u32_at(bytes, 48)?)?;
        Some(file)
    }

    /// Whether there is a stream of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// The bytes of a stream.
    pub(super) fn stream(&self, name: &str) -> Option<Vec<u8>> {
        let entry = self.entry(name)?;
        let (start, length) = (u32_at(entry, 116)?, u32_at(entry, 120)? as usize);
        let mut stream = if length < SMALL_STREAM {
            let root = self.directory.get(..ENTRY)?;
            let small = self.chain(u32_at(root, 116)?)?;
            let table = self.chain(u32_at(self.bytes, 60)?)?;
            let follows: Vec<u32> = numbers(&table).collect();
            chain(start, &follows, |sector| part(&small, sector as usize * SMALL_SECTOR, SMALL_SECTOR))?
        } else {
            self.chain(start)?
        };
        stream.truncate(length);
        Some(stream)
    }

    fn entry(&self, name: &str) -> Option<&[u8]> {
        self.directory.chunks_exact(ENTRY).find(|entry| is_stream(entry, name))
    }

    fn sector(&self, sector: u32) -> Option<&'a [u8]> {
        part(self.bytes, (sector as usize + 1) * self.sector, self.sector)
    }

    fn chain(&self, start: u32) -> Option<Vec<u8>> {
        chain(start, &self.follows, |sector| self.sector(sector))
    }
}

/// The bytes of the sectors from `start` on, in the order in which they follow.
fn chain<'s>(start: u32, follows: &[u32], sector: impl Fn(u32) -> Option<&'s [u8]>) -> Option<Vec<u8>> {
    let (mut bytes, mut next) = (Vec::new(), start);
    for _ in 0..=follows.len() {
        if next >= NO_SECTOR {
            return Some(bytes);
        }
        bytes.extend_from_slice(sector(next)?);
        next = *follows.get(next as usize)?;
    }
    None
}

/// Bytes from `begin` on; fewer where the file ends, none behind its end.
fn part(bytes: &[u8], begin: usize, length: usize) -> Option<&[u8]> {
    bytes.get(begin..(begin + length).min(bytes.len())).filter(|part| !part.is_empty())
}

/// Whether a directory entry is that of a stream with this name.
fn is_stream(entry: &[u8], name: &str) -> bool {
    const STREAM: u8 = 2;
    let units = entry.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let wanted = name.encode_utf16().chain([0]);
    let is_same = |(found, wanted): (u16, u16)| match (u8::try_from(found), u8::try_from(wanted)) {
        (Ok(found), Ok(wanted)) => found.eq_ignore_ascii_case(&wanted),
        _ => found == wanted,
    };
    entry[66] == STREAM && units.zip(wanted).all(is_same)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
