//! Takes in a form with a file, streamed to the disk.
//!
//! Promises: memory does not grow with the file; the file is bounded while it comes, not afterwards; it is gone from the
//! uploads folder when whoever holds it lets go of it, unless a job has taken it away by then; its name is never used as a
//! path. What a process that was killed left behind goes when the next one starts ([`sweep`]).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{HttpRequest, web};
use futures_util::StreamExt as _;
use tempfile::TempPath;

use super::envelope::Refused;
use super::parameters::Parameters;

/// Name of the field with the file.
pub(super) const FILE: &str = "file";

/// A client that sends nothing for so long is not waited for.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes that are written at once.
const WRITTEN_AT_ONCE: usize = 256 << 10;
/// Fields beside the file.
const FIELDS_MAX: usize = 32;
/// Bytes of one of them.
const FIELD_BYTES_MAX: usize = 64 << 10;
/// Bytes of all boundaries and heads of fields together.
const FRAME_BYTES: u64 = 1 << 20;
/// Characters of a file's name that are kept.
const NAME_CHARACTERS: usize = 120;
const PREFIX: &str = "upload-";

/// What a form may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Where the file goes.
    pub folder: &'a Path,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Fields that may be as large as `wide_bytes`, all together.
    pub wide: &'a [&'a str],
    /// See `wide`.
    pub wide_bytes: usize,
}

/// A form that has come in.
#[derive(Debug)]
pub(super) struct Upload {
    file: Option<UploadedFile>,
    /// The fields beside it.
    pub fields: Parameters,
}

/// A file on the disk, removed with this.
#[derive(Debug)]
pub(super) struct UploadedFile {
    /// As the person called it, without folders.
    pub name: String,
    path: TempPath,
}

impl UploadedFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn path_buf(&self) -> PathBuf {
        self.path.to_path_buf()
    }
}

impl Upload {
    /// The file.
    pub fn file(&mut self) -> Result<UploadedFile, Refused> {
        self.file.take().ok_or_else(|| {
            Refused::wrong("`file` is missing: send the workbook or the list in a form field of that name")
        })
    }
}

/// Reads the form of a request.
pub(super) async fn take_in(
    request: &HttpRequest,
    payload: web::Payload,
    bounds: Bounds<'_>,
) -> Result<Upload, Refused> {
    let headers = request.headers();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return Err(Refused::wrong_media_type(
            "send a form with the file: `Content-Type: multipart/form-data`",
        ));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let most = bounds.file_bytes.saturating_add(bounds.wide_bytes as u64).saturating_add(FRAME_BYTES);
    if length.is_some_and(|length| length > most) {
        return Err(too_large(bounds.file_bytes));
    }
    let mut form = Multipart::new(headers, payload);
    let mut file = None;
    let mut texts = BTreeMap::new();
    let mut wide_left = bounds.wide_bytes;
    while let Some(field) = in_time(form.next()).await? {
        let mut field = field.map_err(|fault| broken(&fault))?;
        let name = field.name().unwrap_or_default().to_owned();
        if name == FILE {
            if file.is_some() {
                return Err(Refused::wrong("`file` came twice; send one file at a time"));
            }
            file = Some(keep(&mut field, bounds).await?);
            continue;
        }
        if texts.len() == FIELDS_MAX {
            return Err(Refused::wrong(format!("the form has more than {FIELDS_MAX} fields")));
        }
        let is_wide = bounds.wide.contains(&name.as_str());
        let most = if is_wide { wide_left } else { FIELD_BYTES_MAX };
        let text = read_text(&mut field, &name, most).await?;
        if is_wide {
            wide_left -= text.len();
        }
        texts.insert(name, text);
    }
    Ok(Upload { file, fields: Parameters::of_texts(texts) })
}

/// Removes what uploads left behind that nobody holds any more: called before the first one.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(%error, "an upload that was left behind cannot be removed");
        }
    }
}

async fn keep(field: &mut Field, bounds: Bounds<'_>) -> Result<UploadedFile, Refused> {
    let told = field.content_disposition().and_then(|told| told.get_filename()).unwrap_or_default();
    let name = plain_name(told);
    let folder = bounds.folder.to_owned();
    let suffix = format!(".{}", extension_of(&name));
    let made = blocking(move || create(&folder, &suffix)).await?;
    let (mut file, path) = made.map_err(not_kept)?;
    let (mut buffer, mut written) = (Vec::with_capacity(WRITTEN_AT_ONCE), 0_u64);
    while let Some(chunk) = in_time(field.next()).await? {
        let chunk = chunk.map_err(|fault| broken(&fault))?;
        written += chunk.len() as u64;
        if written > bounds.file_bytes {
            return Err(too_large(bounds.file_bytes));
        }
        buffer.extend_from_slice(&chunk);
        if buffer.len() >= WRITTEN_AT_ONCE {
            (file, buffer) = write(file, buffer).await?;
        }
    }
    write(file, buffer).await?;
    Ok(UploadedFile { name, path })
}

/// A file of our own in the uploads folder, removed with its path.
pub(super) fn create(folder: &Path, suffix: &str) -> std::io::Result<(File, TempPath)> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let made = tempfile::Builder::new().prefix(PREFIX).suffix(suffix).tempfile_in(folder)?;
    Ok(made.into_parts())
}

async fn write(mut file: File, mut buffer: Vec<u8>) -> Result<(File, Vec<u8>), Refused> {
    blocking(move || {
        file.write_all(&buffer)?;
        buffer.clear();
        Ok((file, buffer))
    })
    .await?
    .map_err(not_kept)
}

/// Runs what waits for the disk where waiting is no harm.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_panic| {
        tracing::error!("work of a lead request panicked");
        Refused::failed("try again; if it happens again, tell the operator")
    })
}

async fn read_text(field: &mut Field, name: &str, most: usize) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    while let Some(chunk) = in_time(field.next()).await? {
        let chunk = chunk.map_err(|fault| broken(&fault))?;
        if bytes.len() + chunk.len() > most {
            return Err(Refused::too_large(format!(
                "the form field `{}` may have {most} bytes",
                plain_name(name)
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|_| Refused::wrong(format!("the form field `{}` is not UTF-8", plain_name(name))))
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Refused> {
    let late =
        |_| Refused::wrong(format!("nothing came for {} seconds; send the form again", IDLE.as_secs()));
    tokio::time::timeout(IDLE, work).await.map_err(late)
}

fn broken(fault: &MultipartError) -> Refused {
    Refused::wrong(match fault {
        MultipartError::Incomplete | MultipartError::Payload(_) => {
            "the form broke off before its end; send it again".to_owned()
        }
        _ => "the form is not `multipart/form-data` as RFC 7578 has it: each part needs a name, and the header the boundary"
            .to_owned(),
    })
}

fn too_large(most: u64) -> Refused {
    Refused::too_large(format!(
        "`file` may have {most} bytes; split the list, save it as .xlsx, or raise `leads.max_upload`"
    ))
}

fn not_kept(error: std::io::Error) -> Refused {
    tracing::error!(%error, "an upload cannot be kept");
    Refused::failed("the upload could not be written to the disk of the server; its log says why")
}

/// The last part of a path of any system, without what could confuse a terminal or a header.
fn plain_name(told: &str) -> String {
    let last = told.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept =
        last.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '<' | '>' | '|' | ':' | '*' | '?'));
    let name: String = kept.take(NAME_CHARACTERS).collect();
    let name = name.trim().trim_start_matches('.');
    if name.is_empty() { "upload".to_owned() } else { name.to_owned() }
}

/// The extension, as far as one may stand in a file's name.
fn extension_of(name: &str) -> String {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_plain = (1..=5).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_plain { extension.to_ascii_lowercase() } else { "bin".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("leads.xlsx", "leads.xlsx", "xlsx")]
    #[case::folders("../../etc/passwd", "passwd", "bin")]
    #[case::windows(r"C:\Users\ada\Leads Q3.XLS", "Leads Q3.XLS", "xls")]
    #[case::nothing("", "upload", "bin")]
    #[case::only_dots("..", "upload", "bin")]
    #[case::hidden(".bashrc", "bashrc", "bin")]
    #[case::control("a\u{0}b\r\n.csv", "ab.csv", "csv")]
    #[case::quotes("a\"b.csv", "ab.csv", "csv")]
    #[case::umlaut("Übersicht.csv", "Übersicht.csv", "csv")]
    #[case::odd_extension("a.b/c.x y", "c.x y", "bin")]
    fn a_files_name_is_no_path(#[case] told: &str, #[case] name: &str, #[case] extension: &str) {
        assert_eq!((plain_name(told).as_str(), extension_of(&plain_name(told)).as_str()), (name, extension));
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(plain_name(&"x".repeat(1_000)).len(), NAME_CHARACTERS);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (_, left) = create(folder.path(), ".csv").unwrap();
        let left = left.keep().unwrap();
        let other = folder.path().join("job.sqlite");
        std::fs::write(&other, b"x").unwrap();
        sweep(folder.path());
        assert!(!left.exists() && other.exists());
        sweep(&folder.path().join("nowhere"));
    }
}
