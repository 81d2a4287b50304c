//! Parts of a load as files in a stage.
//!
//! Promises: a part that was acknowledged is whole in the stage, and a listing tells it after a crash, without a virtual
//! warehouse that would have to run for it; a part that is staged again replaces what it was; nothing depends on REMOVE.

use std::sync::Arc;

use super::errors::is_missing;
use super::names::{Home, Listing, Place, Sort, Stage, StagedFile, void_file};
use super::session::{Session, number, words};
use super::sql::{KEY_COLUMN, copy};
use crate::sync::{ColumnType, LoadPlan, PartNumber, PartReceipt, TableColumn, TableLayout};
use crate::warehouse::{Cell, PartSource, RowChunk, Spool, SpoolFile, WarehouseError};

/// The stages of one connection.
#[derive(Debug)]
pub struct Staging {
    home: Home,
    /// The stage of loads that name none.
    named: Option<String>,
    spool: Spool,
    /// The own stage is there.
    has_own: bool,
    /// The server lists folders, not whole stages alone.
    lists_folders: bool,
}

/// A layout of the key alone.
fn keys_layout(load: &TableLayout) -> TableLayout {
    let column = TableColumn { field: String::new(), name: KEY_COLUMN.to_owned(), kind: ColumnType::Id };
    TableLayout { columns: vec![column], key: 0, stamp: None, deleted: None, ..load.clone() }
}

/// Refuses rows without a key, of a chunk in memory.
fn refuse_keyless(chunk: &RowChunk, key: usize, load: &LoadPlan) -> Result<(), WarehouseError> {
    let keyless = chunk.iter().filter(|row| row.cell(key) == Cell::Null).count() as u64;
    if keyless > 0 { Err(no_key(load, keyless)) } else { Ok(()) }
}

/// Rows without a key.
pub fn no_key(load: &LoadPlan, rows: u64) -> WarehouseError {
    let key = load.layout.columns.get(load.layout.key);
    WarehouseError::BadValue {
        column: key.map(|key| key.name.clone()).unwrap_or_default(),
        message: format!("{rows} rows have no key"),
    }
}

impl Staging {
    /// Stages at home.
    ///
    /// # Errors
    /// A spool whose path Snowflake's PUT would misread.
    pub fn new(home: &Home, named: Option<&str>, spool: &Spool) -> Result<Self, WarehouseError> {
        let folder = spool.folder().to_string_lossy();
        if folder.contains(['\'', '\\', '*', '?', '[', '%', '#', '\n']) {
            return Err(WarehouseError::Engine(format!(
                "PUT would misread the path of the spool, `{folder}`: move the spool to a folder without `'`, `*`, `?`, `[`, \
                 `%`, `#` and line breaks in its path"
            )));
        }
        let named = named.map(str::to_owned);
        Ok(Self { home: home.clone(), named, spool: spool.clone(), has_own: false, lists_folders: true })
    }

    /// The stage of a load, made if it is penstock's own.
    fn stage(&mut self, session: &mut Session, named: Option<&str>) -> Result<Stage, WarehouseError> {
        let named = named.or(self.named.as_deref());
        let no_stage = || WarehouseError::NoStage(named.unwrap_or_default().to_owned());
        let stage = self.home.stage(named).ok_or_else(no_stage)?;
        if stage.is_own && !self.has_own {
            session.execute(&format!("CREATE STAGE IF NOT EXISTS {}", stage.place.full()))?;
            self.has_own = true;
        }
        Ok(stage)
    }

    /// What the stage has of a load.
    ///
    /// # Errors
    /// [`WarehouseError::NoStage`], and what Snowflake says.
    pub fn list(&mut self, session: &mut Session, load: &LoadPlan) -> Result<Listing, WarehouseError> {
        let stage = self.stage(session, load.stage.as_deref())?;
        if self.lists_folders {
            match session.rows(&format!("LIST {}/", stage.folder(load))) {
                Ok((_, rows)) => return Ok(read_listing(&rows, load)),
                // No stage, or a server that takes the path for a part of its name.
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match session.rows(&format!("LIST {}", stage.at())) {
            Ok((_, rows)) => {
                self.lists_folders = false;
                Ok(read_listing(&rows, load))
            }
            Err(error) if is_missing(&error) => Err(WarehouseError::NoStage(stage.told)),
            Err(error) => Err(error),
        }
    }

    /// Puts a part into the stage.
    ///
    /// # Errors
    /// [`WarehouseError::NoStage`], a row without a key, a full disk, and what Snowflake says.
    pub fn put(
        &mut self,
        session: &mut Session,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        let name = format!("{}-{}", load.object, load.id);
        let (sort, file) = match source {
            PartSource::File(file) => (Sort::Rows, Arc::clone(file)),
            PartSource::Rows(chunk) => {
                refuse_keyless(chunk, load.layout.key, load)?;
                (Sort::Rows, self.spool.keep(&load.layout, part, &name, chunk)?)
            }
            PartSource::Keys(chunk) => {
                refuse_keyless(chunk, 0, load)?;
                let mut keys = RowChunk::with_room(1, chunk.rows(), chunk.bytes());
                chunk.iter().for_each(|row| keys.push([row.cell(0)]));
                (Sort::Keys, self.spool.keep(&keys_layout(&load.layout), part, &name, &keys)?)
            }
        };
        let attempt = self.list(session, load)?.next_attempt;
        let staged = StagedFile { sort, part, attempt, rows: file.rows };
        let stage = self.stage(session, load.stage.as_deref())?;
        self.upload(session, &stage, &stage.folder(load), &file, &staged.to_string())?;
        Ok(PartReceipt { part, rows: file.rows })
    }

    fn upload(
        &mut self,
        session: &mut Session,
        stage: &Stage,
        folder: &str,
        file: &SpoolFile,
        name: &str,
    ) -> Result<(), WarehouseError> {
        let named = file.named(name)?;
        let put = format!(
            "PUT 'file://{}' {folder}/ AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = GZIP OVERWRITE = TRUE",
            named.path().display()
        );
        match session.execute(&put) {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Err(WarehouseError::NoStage(stage.told.clone())),
            Err(error) => Err(error),
        }
    }

    /// Lets go of what is staged of a load.
    ///
    /// # Errors
    /// [`WarehouseError::NoStage`], and what Snowflake says.
    pub fn abandon(&mut self, session: &mut Session, load: &LoadPlan) -> Result<(), WarehouseError> {
        if self.list(session, load)?.parts.is_empty() {
            return Ok(());
        }
        self.remove(session, load);
        let left = self.list(session, load)?;
        if left.parts.is_empty() {
            return Ok(());
        }
        // They stay, for want of a right or of the command: then a file says that they count no more.
        let stage = self.stage(session, load.stage.as_deref())?;
        let empty = RowChunk::new(1);
        let void = self.spool.keep(&keys_layout(&load.layout), PartNumber(0), "void", &empty)?;
        self.upload(session, &stage, &stage.folder(load), &void, &void_file(left.next_attempt - 1))
    }

    /// Removes the files of a load, as far as that can be done: nothing depends on it.
    pub fn remove(&mut self, session: &mut Session, load: &LoadPlan) {
        let Ok(stage) = self.stage(session, load.stage.as_deref()) else { return };
        if let Err(error) = session.execute(&format!("REMOVE {}/", stage.folder(load))) {
            tracing::debug!(load = %load.id, %error, "staged files stay where they are");
        }
    }

    /// Copies files into a table that was just made; what the server counted must be what the names say.
    ///
    /// # Errors
    /// [`WarehouseError::OtherCount`], a value that the table does not take, and what Snowflake says.
    pub fn copy(
        &mut self,
        session: &mut Session,
        load: &LoadPlan,
        listing: &Listing,
        sort: Sort,
        into: &Place,
    ) -> Result<(), WarehouseError> {
        let expected = listing.rows(sort);
        if listing.files(sort).next().is_none() {
            return Ok(());
        }
        let folder = self.stage(session, load.stage.as_deref())?.folder(load);
        let mut loaded = 0;
        if listing.leftovers == 0 {
            // All at once: Snowflake reads the files side by side.
            loaded = copied(session, &copy(into, &format!("{folder}/{}", sort.letter())))?;
        } else {
            for file in listing.files(sort) {
                loaded += copied(session, &copy(into, &format!("{folder}/{file}")))?;
            }
        }
        let what = match sort {
            Sort::Rows => "rows",
            Sort::Keys => "keys",
        };
        if loaded == expected {
            return Ok(());
        }
        Err(WarehouseError::OtherCount { what, expected, staged: loaded })
    }

    /// Puts rows of a log into penstock's own stage and copies them into a table that was just made.
    ///
    /// # Errors
    /// As [`Self::put`] and [`Self::copy`].
    pub fn copy_log(
        &mut self,
        session: &mut Session,
        layout: &TableLayout,
        (folder, part): (&str, PartNumber),
        rows: &RowChunk,
        into: &Place,
    ) -> Result<(), WarehouseError> {
        if rows.is_empty() {
            return Ok(());
        }
        let file = self.spool.keep(layout, part, "log", rows)?;
        let stage = Stage { is_own: true, ..self.stage(session, None)? };
        let folder = format!("{}/{folder}", stage.at());
        let name = format!("l{:010}.csv.gz", part.0);
        self.upload(session, &stage, &folder, &file, &name)?;
        let loaded = copied(session, &copy(into, &format!("{folder}/{name}")))?;
        if let Err(error) = session.execute(&format!("REMOVE {folder}/{name}")) {
            tracing::debug!(%error, "a staged file of a log stays where it is");
        }
        let expected = rows.rows() as u64;
        if loaded == expected {
            return Ok(());
        }
        Err(WarehouseError::OtherCount { what: "rows", expected, staged: loaded })
    }
}

fn read_listing(rows: &RowChunk, load: &LoadPlan) -> Listing {
    let names: Vec<&str> = rows.iter().map(|row| words(row.cell(0))).collect();
    Listing::of(names.into_iter(), &load.id)
}

/// Runs a COPY; how many rows it loaded.
fn copied(session: &mut Session, sql: &str) -> Result<u64, WarehouseError> {
    let (columns, rows) = session.rows(sql)?;
    // Without a file there is no such column.
    let Some(loaded) = columns.iter().position(|column| column.name.eq_ignore_ascii_case("rows_loaded"))
    else {
        return Ok(0);
    };
    Ok(rows.iter().map(|row| number(row.cell(loaded)).unwrap_or(0)).sum())
}

/// A statement that drops a table that only a commit needs.
pub fn drop_table(table: &Place) -> String {
    format!("DROP TABLE IF EXISTS {}", table.full())
}
