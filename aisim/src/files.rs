//! Files at the endpoint: questions that go up, answers that come down.

use bytes::Bytes;
use serde_json::{Value, json};

/// A file.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Its content.
    pub content: Bytes,
}

impl StoredFile {
    /// As the endpoint describes it.
    pub fn described(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.content.len(), "created_at": self.created_at,
            "filename": self.name, "purpose": self.purpose, "status": "processed",
        })
    }
}

/// What was uploaded.
#[derive(Debug, Default)]
pub struct Upload {
    /// Field `purpose`.
    pub purpose: Option<String>,
    /// Field `file`: name and content.
    pub file: Option<(String, Bytes)>,
}

/// Reads a form; `None`: it is none.
pub fn read_form(content_type: &str, body: &Bytes) -> Option<Upload> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?.trim_matches('"');
    let delimiter = format!("--{boundary}");
    let mut upload = Upload::default();
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    loop {
        if body[at..].starts_with(b"--") {
            return Some(upload);
        }
        let head_from = at + 2;
        let head_end = find(body, b"\r\n\r\n", head_from)?;
        let head = String::from_utf8_lossy(&body[head_from..head_end]).into_owned();
        let from = head_end + 4;
        let end = find(body, format!("\r\n{delimiter}").as_bytes(), from)?;
        let disposition =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition"))?;
        let parameter = |key: &str| {
            disposition.split(';').find_map(|part| {
                part.trim()
                    .strip_prefix(key)?
                    .strip_prefix('=')
                    .map(|value| value.trim_matches('"').to_owned())
            })
        };
        match parameter("name").as_deref() {
            Some("purpose") => upload.purpose = String::from_utf8(body[from..end].to_vec()).ok(),
            Some("file") => {
                let name = parameter("filename").unwrap_or_else(|| "upload".to_owned());
                upload.file = Some((name, body.slice(from..end)));
            }
            _ => {}
        }
        at = end + 2 + delimiter.len();
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    while let Some(found) = haystack.get(at..)?.iter().position(|byte| *byte == first) {
        if haystack[at + found..].starts_with(needle) {
            return Some(at + found);
        }
        at += found + 1;
    }
    None
}
