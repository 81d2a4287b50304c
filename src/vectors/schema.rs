//! Opening the file: the extension, the pragmas, the tables, and what can be wrong with them.

use std::os::raw::{c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ffi, params};

/// Version of the tables; another one is rebuilt, not migrated: everything in it can be made again.
const SCHEMA_VERSION: &str = "1";
/// Page cache of one connection, in KiB. Bounds memory: a scan reads through it, it need not hold the file.
const CACHE_KIB: i64 = 8 * 1024;

/// What may be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorStoreErrorKind {
    /// Written by another version: put it aside and rebuild.
    OtherVersion,
    /// Whole and of this version, with vectors of another model: put it aside and embed anew, for vectors of two models
    /// cannot be compared.
    OtherModel,
    /// Not a database, or a broken one: put it aside and rebuild.
    Damaged,
    /// No room: try again once there is.
    DiskFull,
    /// Somebody else holds it: try again.
    Busy,
    /// There is no file yet.
    Missing,
    /// A document came without a vector, and the store does not hold its content: embed it and try again.
    VectorMissing,
    /// Anything else; the cause says what.
    Other,
}

/// Why the store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum VectorStoreError {
    /// The file was written by another version.
    #[error("`{}` has schema version `{found}`, wanted `{wanted}`", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its value in the file.
        found: String,
        /// The value this program writes.
        wanted: String,
    },
    /// The file's vectors are those of another model.
    #[error("`{}` holds vectors of `{found}`, wanted those of `{wanted}`", path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Name and dimensions of the file's model.
        found: String,
        /// Name and dimensions of the model that is set.
        wanted: String,
    },
    /// SQLite's own check found the file broken.
    #[error("`{}` is damaged: {finding}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing the check found.
        finding: String,
    },
    /// The file is not there, and a reader does not make it.
    #[error("there is no library at `{}` yet", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A document without vector whose content the store does not hold.
    #[error("document `{id}` came without a vector and is not stored with this content")]
    VectorMissing {
        /// The document.
        id: String,
    },
    /// A vector of the wrong length.
    #[error("document `{id}` came with {got} dimensions, the store has {wanted}")]
    Dimensions {
        /// The document.
        id: String,
        /// Length that came.
        got: usize,
        /// Length of the store's vectors.
        wanted: usize,
    },
    /// A stored row that this program cannot have written.
    #[error("document `{id}` is stored with a {what} that cannot be read")]
    BadRow {
        /// The document.
        id: String,
        /// Which part.
        what: &'static str,
    },
    /// SQLite refused.
    #[error("{action} in the vector store")]
    Sqlite {
        /// What was being done.
        action: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl VectorStoreError {
    /// What may be done about it.
    pub fn kind(&self) -> VectorStoreErrorKind {
        use VectorStoreErrorKind as Kind;
        match self {
            Self::OtherVersion { .. } => Kind::OtherVersion,
            Self::OtherModel { .. } => Kind::OtherModel,
            Self::Damaged { .. } | Self::BadRow { .. } => Kind::Damaged,
            Self::Missing { .. } => Kind::Missing,
            Self::VectorMissing { .. } => Kind::VectorMissing,
            Self::Dimensions { .. } => Kind::Other,
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Kind::DiskFull,
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Busy,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Damaged,
                _ => Kind::Other,
            },
        }
    }

    /// No room is left: try again once there is.
    pub fn is_disk_full(&self) -> bool {
        self.kind() == VectorStoreErrorKind::DiskFull
    }
}

/// Names the action that a failed statement belonged to.
pub(super) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, VectorStoreError>;
}

impl<T> During<T> for Result<T, rusqlite::Error> {
    fn during(self, action: &'static str) -> Result<T, VectorStoreError> {
        self.map_err(|source| VectorStoreError::Sqlite { action, source })
    }
}

/// Makes sqlite-vec part of every connection that this process opens from here on.
fn register_vector_extension() -> Result<(), VectorStoreError> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    type Init =
        unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const ffi::sqlite3_api_routines) -> c_int;
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: sqlite-vec is linked statically against the very SQLite of rusqlite's `bundled` build. Its
        // crate declares the entry point without parameters; in C it has exactly the type `Init`
        // (https://www.sqlite.org/loadext.html), which is what SQLite calls it with. It opens no connection.
        unsafe {
            let init: Init =
                std::mem::transmute::<unsafe extern "C" fn(), Init>(sqlite_vec::sqlite3_vec_init);
            ffi::sqlite3_auto_extension(Some(init))
        }
    });
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    Err(VectorStoreError::Sqlite { action: "register the vector extension", source })
}

/// Opens `path` for writing, making it if need be, and checks that it is whole and of this version.
pub(super) fn open(path: &Path, dimensions: usize, model: &str) -> Result<Connection, VectorStoreError> {
    register_vector_extension()?;
    let connection = Connection::open(path).during("open the file")?;
    connection.busy_timeout(Duration::from_secs(10)).during("set the busy timeout")?;
    pragma(&connection, "journal_mode", "wal")?;
    // FULL: a committed batch survives a power cut, and the journal may forget it.
    pragma(&connection, "synchronous", "full")?;
    pragma(&connection, "cache_size", -CACHE_KIB)?;
    pragma(&connection, "journal_size_limit", 16 * 1024 * 1024)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .during("read the tables")?;
    if tables == 0 {
        create(&connection, dimensions, model)?;
    } else {
        check_meta(&connection, path, Some((dimensions, model)))?;
        check_whole(&connection, path)?;
    }
    Ok(connection)
}

/// Opens an existing file for reading only; answers with its dimensions and model.
pub(super) fn open_read_only(path: &Path) -> Result<(Connection, usize, String), VectorStoreError> {
    register_vector_extension()?;
    if !path.exists() {
        return Err(VectorStoreError::Missing { path: path.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).during("open the file")?;
    connection.busy_timeout(Duration::from_secs(10)).during("set the busy timeout")?;
    pragma(&connection, "query_only", true)?;
    pragma(&connection, "cache_size", -CACHE_KIB)?;
    let (dimensions, model) = check_meta(&connection, path, None)?;
    Ok((connection, dimensions, model))
}

fn pragma(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<(), VectorStoreError> {
    connection.pragma_update(None, name, value).during("set a pragma")
}

fn create(connection: &Connection, dimensions: usize, model: &str) -> Result<(), VectorStoreError> {
    // One transaction: a process killed here leaves an empty file, which is created again.
    let script = format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE documents (
             row INTEGER PRIMARY KEY,
             org TEXT NOT NULL,
             id TEXT NOT NULL,
             object TEXT NOT NULL,
             section TEXT NOT NULL,
             -- API name of the one field that a `field` document tells of.
             field TEXT,
             companion INTEGER NOT NULL,
             business INTEGER NOT NULL,
             text TEXT NOT NULL,
             metadata TEXT NOT NULL,
             content_hash TEXT NOT NULL,
             UNIQUE (org, id)
         );
         CREATE INDEX documents_by_object ON documents (org, object COLLATE NOCASE);
         CREATE INDEX documents_by_field ON documents (org, field COLLATE NOCASE) WHERE field IS NOT NULL;
         -- `names` holds identifiers whole (an underscore is part of a word), `plain` holds them split.
         CREATE VIRTUAL TABLE words USING fts5 (
             names, plain, content = '', contentless_delete = 1,
             tokenize = \"porter unicode61 remove_diacritics 2 tokenchars '_'\"
         );
         CREATE VIRTUAL TABLE vectors USING vec0 (
             row INTEGER PRIMARY KEY,
             org TEXT PARTITION KEY,
             embedding float[{dimensions}] distance_metric=cosine,
             section TEXT,
             companion INTEGER
         );
         CREATE TABLE written (
             job_id TEXT NOT NULL, object TEXT NOT NULL, PRIMARY KEY (job_id, object)
         ) WITHOUT ROWID;"
    );
    connection.execute_batch(&script).during("create the tables")?;
    let values = [
        ("schema_version", SCHEMA_VERSION.to_owned()),
        ("dimensions", dimensions.to_string()),
        ("model", model.to_owned()),
    ];
    for (key, value) in values {
        let insert = "INSERT INTO meta (key, value) VALUES (?1, ?2)";
        connection.execute(insert, params![key, value]).during("write the versions")?;
    }
    connection.execute_batch("COMMIT").during("create the tables")
}

/// Compares the version in the file with ours, and dimensions and model with those wanted; answers with dimensions and model as found.
fn check_meta(
    connection: &Connection,
    path: &Path,
    wanted: Option<(usize, &str)>,
) -> Result<(usize, String), VectorStoreError> {
    let has_meta = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'";
    let tables: i64 = connection.query_row(has_meta, [], |row| row.get(0)).during("read the tables")?;
    let read = |key: &str| -> Result<String, VectorStoreError> {
        if tables == 0 {
            return Ok("none".to_owned());
        }
        let select = "SELECT value FROM meta WHERE key = ?1";
        let value = connection.query_row(select, [key], |row| row.get(0)).optional();
        Ok(value.during("read the versions")?.unwrap_or_else(|| "none".to_owned()))
    };
    let version = read("schema_version")?;
    if version != SCHEMA_VERSION {
        let (path, wanted) = (path.to_owned(), SCHEMA_VERSION.to_owned());
        return Err(VectorStoreError::OtherVersion { path, found: version, wanted });
    }
    let (found_dimensions, found_model) = (read("dimensions")?, read("model")?);
    let Ok(parsed) = found_dimensions.parse() else {
        return Err(VectorStoreError::Damaged { path: path.to_owned(), finding: "no dimensions".to_owned() });
    };
    if let Some((dimensions, model)) = wanted.filter(|wanted| *wanted != (parsed, found_model.as_str())) {
        let model_of = |name: &str, dimensions: usize| format!("{name} ({dimensions} dimensions)");
        let (found, wanted) = (model_of(&found_model, parsed), model_of(model, dimensions));
        return Err(VectorStoreError::OtherModel { path: path.to_owned(), found, wanted });
    }
    Ok((parsed, found_model))
}

fn check_whole(connection: &Connection, path: &Path) -> Result<(), VectorStoreError> {
    let finding: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).during("check the file")?;
    if finding == "ok" { Ok(()) } else { Err(VectorStoreError::Damaged { path: path.to_owned(), finding }) }
}
