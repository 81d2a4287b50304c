//! Rows that do not fit their columns: kept in a file beside the load, counted, and never logged.
//!
//! Promises: the file is readable for the daemon's user alone, for it holds people's data; a page that is read again does not
//! write its rows twice, because the file is cut back to where the last kept page ended; a load without rejects has no file.
//! Whoever drives the loads has the files of earlier ones deleted ([`forget_rejects`]).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{ExtractAsk, ExtractError, Wanted};
use crate::model::ObjectName;
use crate::salesforce::rows::Row;
use crate::sync::LoadId;

/// Rejects that an error names.
const EXAMPLES: usize = 5;
/// Lines are written in pieces of about this size.
const PIECE: usize = 64 << 10;

/// The rejects of one load.
pub(super) struct Rejects {
    object: ObjectName,
    path: PathBuf,
    per_million: u32,
    /// Rows of the whole load, once they are known.
    rows: Option<u64>,
    count: u64,
    /// Bytes of the file that are written.
    written: u64,
    file: Option<File>,
    lines: Vec<u8>,
    examples: Vec<String>,
}

#[derive(Serialize)]
struct Line<'l> {
    object: &'l str,
    key: Option<&'l str>,
    column: &'l str,
    reason: &'l str,
    row: &'l RawValue,
}

impl Rejects {
    /// Goes on behind `count` rejects that take `bytes` of the file; what stands behind them is cut off.
    pub(super) fn resume(ask: &ExtractAsk, count: u64, bytes: u64) -> Result<Self, ExtractError> {
        let ending = match ask.wanted {
            Wanted::Rows => "jsonl",
            Wanted::Keys => "keys.jsonl",
        };
        let path = ask.rejects.folder.join(format!("{}.{ending}", ask.plan.id));
        let cut = if bytes == 0 { remove(&path) } else { cut_back(&path, bytes) };
        cut.map_err(|source| ExtractError::RejectFile { path: path.clone(), source })?;
        Ok(Self {
            object: ask.plan.object.clone(),
            path,
            per_million: ask.rejects.per_million,
            rows: None,
            count,
            written: bytes,
            file: None,
            lines: Vec::new(),
            examples: Vec::new(),
        })
    }

    /// The load has so many rows: from now on a reject can be one too many.
    pub(super) fn expect(&mut self, rows: u64) {
        self.rows = Some(rows);
    }

    /// Rows rejected so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The file, where there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        (self.count > 0).then(|| self.path.clone())
    }

    /// Takes a row. `told_key` may stand in an error.
    pub(super) fn take(
        &mut self,
        row: &Row<'_>,
        key: Option<&str>,
        told_key: Option<&str>,
        column: &str,
        reason: &str,
    ) -> Result<(), ExtractError> {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            let who = told_key.map_or_else(|| format!("row {}", row.number()), |key| format!("row `{key}`"));
            self.examples.push(format!("{who}, column `{column}`: {reason}"));
        }
        let mut json = Vec::new();
        row.write_json_line(&mut json);
        let json = String::from_utf8_lossy(&json);
        let row = serde_json::from_str::<&RawValue>(json.trim_end()).unwrap_or(RawValue::NULL);
        let line = Line { object: self.object.as_str(), key, column, reason, row };
        // Text, and JSON that was just written: it can always be written.
        if serde_json::to_writer(&mut self.lines, &line).is_ok() {
            self.lines.push(b'\n');
        }
        if self.lines.len() >= PIECE {
            self.flush()?;
        }
        self.check(self.rows)
    }

    /// Every row is read: `rows` of them.
    pub(super) fn finish(&mut self, rows: u64) -> Result<(), ExtractError> {
        self.flush()?;
        self.check(Some(rows))
    }

    fn check(&mut self, rows: Option<u64>) -> Result<(), ExtractError> {
        let Some(rows) = rows else { return Ok(()) };
        let allowed = allowed(rows, self.per_million);
        if self.count <= allowed {
            return Ok(());
        }
        self.flush()?;
        Err(ExtractError::TooManyRejects {
            object: self.object.clone(),
            rejected: self.count,
            allowed,
            rows,
            examples: self.examples.join("; "),
            file: self.path.clone(),
        })
    }

    /// Writes what waits; returns the length of the file.
    pub(super) fn flush(&mut self) -> Result<u64, ExtractError> {
        if !self.lines.is_empty() {
            self.write().map_err(|source| ExtractError::RejectFile { path: self.path.clone(), source })?;
        }
        Ok(self.written)
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            self.file = Some(OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.lines)?;
            self.written += self.lines.len() as u64;
            self.lines.clear();
        }
        Ok(())
    }
}

/// Deletes what loads of `object` that were planned before `before` have rejected, except what `but` has.
///
/// # Errors
/// The first trouble; files behind it stay.
pub fn forget_rejects(folder: &Path, object: &ObjectName, before: &LoadId, but: &LoadId) -> io::Result<()> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let path = file?.path();
        let load = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let id = name.strip_suffix(".keys.jsonl").or_else(|| name.strip_suffix(".jsonl"))?;
            id.parse::<LoadId>().ok()
        });
        if load.is_some_and(|load| load < *before && load != *but) && is_of(&path, object)? {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Whether a load has rejected something, as far as its file tells.
pub fn has_rejects(folder: &Path, load: &LoadId) -> bool {
    ["jsonl", "keys.jsonl"].iter().any(|ending| folder.join(format!("{load}.{ending}")).exists())
}

/// Whether a file is of `object`, which each of its lines begins with.
fn is_of(path: &Path, object: &ObjectName) -> io::Result<bool> {
    let expected = format!("{{\"object\":\"{object}\",");
    let mut start = Vec::new();
    File::open(path)?.take(expected.len() as u64).read_to_end(&mut start)?;
    Ok(start.eq_ignore_ascii_case(expected.as_bytes()))
}

/// How many of `rows` may be rejected: the share, rounded up, so that a small load does not fail for one row.
fn allowed(rows: u64, per_million: u32) -> u64 {
    let share = u128::from(rows) * u128::from(per_million);
    u64::try_from(share.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn cut_back(path: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none_allowed(1_000_000, 0, 0)]
    #[case::one_of_a_small_load(50, 100, 1)]
    #[case::exact(1_000_000, 100, 100)]
    #[case::rounded_up(1_000_001, 100, 101)]
    #[case::no_rows(0, 100, 0)]
    #[case::all(7, 1_000_000, 7)]
    fn the_share_is_rounded_up(#[case] rows: u64, #[case] per_million: u32, #[case] expected: u64) {
        assert_eq!(allowed(rows, per_million), expected);
    }
    #[test]
    fn what_earlier_loads_of_the_object_have_rejected_is_deleted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (lead, contact): (ObjectName, ObjectName) = ("Lead".parse().unwrap(), "Contact".parse().unwrap());
        let [first, second, third, other] =
            [(1, 1), (2, 1), (3, 1), (1, 2)].map(|(ms, id)| LoadId::new(ms, id));
        let write = |name: String, object: &str| {
            let reject = Line { object, key: None, column: "Status", reason: "why", row: RawValue::NULL };
            fs::write(folder.path().join(name), serde_json::to_vec(&reject).unwrap()).unwrap();
        };
        for load in [&first, &second, &third] {
            write(format!("{load}.jsonl"), "Lead");
        }
        write(format!("{first}.keys.jsonl"), "Lead");
        write(format!("{other}.jsonl"), "LeadHistory");
        write("notes.jsonl".to_owned(), "Lead");
        forget_rejects(folder.path(), &lead, &third, &second).unwrap();
        forget_rejects(folder.path(), &contact, &third, &third).unwrap();
        forget_rejects(&folder.path().join("none"), &lead, &third, &third).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        let expected = [&other, &second, &third].map(|load| format!("{load}.jsonl"));
        assert_eq!(left, [&expected[0], &expected[1], &expected[2], "notes.jsonl"]);
        assert!(has_rejects(folder.path(), &third) && !has_rejects(folder.path(), &first));
    }
}
