//! The file of a batch: one request a line, cut where an endpoint would refuse it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How large one file may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Requests.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Default for BatchLimits {
    /// Below the 50,000 requests and 200 MB that endpoints take.
    fn default() -> Self {
        Self { lines: 45_000, bytes: 180_000_000 }
    }
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFile {
    /// Where it is.
    pub path: PathBuf,
    /// Requests in it.
    pub lines: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Of its content, in hexadecimal: the same requests always make the same file.
    pub digest: String,
}

impl BatchFile {
    /// One that an earlier process wrote.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
        let (mut lines, mut bytes, mut sha) = (0, 0, Sha256::new());
        loop {
            let part = reader.fill_buf()?;
            if part.is_empty() {
                break;
            }
            lines += memchr::memchr_iter(b'\n', part).count() as u64;
            bytes += part.len() as u64;
            sha.update(part);
            let length = part.len();
            reader.consume(length);
        }
        Ok(Self { path: path.to_owned(), lines, bytes, digest: hex(&sha.finalize()) })
    }
}

/// Writes the file of a batch.
pub struct BatchFileWriter {
    path: PathBuf,
    out: BufWriter<File>,
    limits: BatchLimits,
    lines: u64,
    bytes: u64,
    sha: Sha256,
}

impl BatchFileWriter {
    /// An empty file; one that is there is replaced.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, limits: BatchLimits) -> io::Result<Self> {
        let out = BufWriter::with_capacity(256 << 10, File::create(path)?);
        Ok(Self { path: path.to_owned(), out, limits, lines: 0, bytes: 0, sha: Sha256::new() })
    }

    /// Adds a line made by [`request_line`]. `false`: the file is full, and the line belongs into the next.
    ///
    /// # Errors
    /// When it cannot be written, or is too large for any file.
    pub fn push(&mut self, line: &str) -> io::Result<bool> {
        let bytes = line.len() as u64 + 1;
        if bytes > self.limits.bytes {
            let what = format!("one request has {bytes} bytes; a batch takes {}", self.limits.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        if self.lines >= self.limits.lines || self.bytes + bytes > self.limits.bytes {
            return Ok(false);
        }
        for part in [line.as_bytes(), b"\n"] {
            self.sha.update(part);
            self.out.write_all(part)?;
        }
        self.lines += 1;
        self.bytes += bytes;
        Ok(true)
    }

    /// The file, durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<BatchFile> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(BatchFile {
            path: self.path,
            lines: self.lines,
            bytes: self.bytes,
            digest: hex(&self.sha.finalize()),
        })
    }
}

/// One line of a batch: `body` is that of `POST /chat/completions`; its answer comes back under `custom_id`.
pub fn request_line(custom_id: &str, body: &Value) -> String {
    json!({ "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body })
        .to_string()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
