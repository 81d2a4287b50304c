//! The mark beside a sled folder: the number of the last batch that was acknowledged.
//!
//! sled takes a log that is damaged in its middle for one that ends there, and a log without a good beginning for an empty
//! one: it opens without a word, and what came after is gone. The mark tells. It is written after the batch has reached
//! the file, so it never names one that the file could lack by right; a mark that is missing or torn tells nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "acknowledged";
const BYTES: usize = 8 + 4;

/// The mark of one folder, open for raising.
#[derive(Debug)]
pub struct HighWater(File);

impl HighWater {
    /// Opens the mark in `folder`, which must be there.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(folder.join(NAME))?;
        Ok(Self(file))
    }

    /// Raises the mark to `number`. Not synced: the system keeps it over the death of the process, and after a power cut
    /// an older mark is as good.
    ///
    /// # Errors
    /// Those of the file.
    pub fn raise(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&crc32fast::hash(&number.to_le_bytes()).to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}

/// Checks what a folder holds against its mark: `head` is the number of the last batch found.
///
/// # Errors
/// A sentence when batches are missing.
pub fn check(folder: &Path, head: Option<u64>) -> Result<(), String> {
    match (read(folder), head) {
        (Some(mark), None) => Err(format!("batch {mark} was acknowledged, and nothing is there")),
        (Some(mark), Some(head)) if head < mark => {
            Err(format!("batch {mark} was acknowledged, and what is there ends at {head}"))
        }
        _ => Ok(()),
    }
}

fn read(folder: &Path) -> Option<u64> {
    let bytes: [u8; BYTES] = std::fs::read(folder.join(NAME)).ok()?.try_into().ok()?;
    let (number, crc) = bytes.split_at(8);
    let good = crc32fast::hash(number).to_le_bytes() == crc;
    good.then(|| u64::from_le_bytes(number.try_into().expect("eight bytes were split off")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_below_the_mark_is_told_and_a_torn_mark_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check(folder.path(), None), Ok(()), "a new folder has no mark");
        let mark = HighWater::open(folder.path()).unwrap();
        assert_eq!(check(folder.path(), None), Ok(()), "nor has one that nothing was acknowledged in");
        mark.raise(3).unwrap();
        mark.raise(7).unwrap();
        for (head, good) in [(None, false), (Some(6), false), (Some(7), true), (Some(8), true)] {
            assert_eq!(check(folder.path(), head).is_ok(), good, "{head:?}");
        }
        std::fs::write(folder.path().join(NAME), b"torn").unwrap();
        assert_eq!(check(folder.path(), None), Ok(()));
    }
}
