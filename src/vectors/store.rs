//! The writing side of the store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::schema::{self, During, VectorStoreError};
use crate::ai::{is_empty_vector, split_identifiers};
use crate::library::project::StoredDocument;
use crate::model::{Document, EmbeddedDocument, ObjectName, OrgName, Section};

/// The one writer of a library's file.
#[derive(Debug)]
pub struct VectorStore {
    connection: Connection,
    dimensions: usize,
}

/// All documents of one object, as they shall stand.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectWrite {
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// Every document of the object: those stored under it and not listed here go.
    pub documents: Vec<EmbeddedDocument>,
}

/// What one transaction changed, counted by the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Objects noted as written by the job for the first time.
    pub objects: u64,
    /// Documents inserted or changed.
    pub documents_written: u64,
    /// Documents that stood already.
    pub documents_unchanged: u64,
    /// Documents removed because their object no longer has them.
    pub documents_removed: u64,
}

/// What the store holds of one org.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Objects with at least one document.
    pub objects: u64,
    /// Documents.
    pub documents: u64,
    /// Documents with a vector; one without known words has none.
    pub vectors: u64,
}

impl VectorStore {
    /// Opens the file at `path`, makes it if it is not there, and checks it: this takes as long as reading it.
    ///
    /// # Errors
    /// [`VectorStoreError::kind`] tells a file of another version or model and a damaged one, which the
    /// caller puts aside to rebuild, from a full disk and the rest.
    pub fn open(path: &Path, dimensions: usize, model_name: &str) -> Result<Self, VectorStoreError> {
        Ok(Self { connection: schema::open(path, dimensions, model_name)?, dimensions })
    }

    /// Content hashes of an object's stored documents, by document id: equal hashes need no embedding.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn content_hashes(
        &self,
        org: &OrgName,
        object: &ObjectName,
    ) -> Result<HashMap<String, String>, VectorStoreError> {
        stored_rows(&self.connection, org, object)
            .map(|rows| rows.into_iter().map(|(id, (_, hash))| (id, hash)).collect())
            .during("read content hashes")
    }

    /// Makes the stored documents of each object in `batch` equal to those given, and notes the objects as
    /// written by `job_id`; all in one transaction, so that a crash leaves all of it or nothing.
    ///
    /// Doing it twice changes nothing the second time.
    ///
    /// # Errors
    /// When SQLite refuses, or a document has a vector of the wrong length, or lacks one and is not stored
    /// with this content. Nothing of the batch is then written.
    pub fn write_objects(
        &mut self,
        job_id: &str,
        batch: &[ObjectWrite],
    ) -> Result<WriteReport, VectorStoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .during("begin a batch")?;
        let mut report = WriteReport::default();
        for write in batch {
            write_object(&transaction, self.dimensions, write, &mut report)?;
            report.objects += transaction
                .prepare_cached("INSERT OR IGNORE INTO written (job_id, object) VALUES (?1, ?2)")
                .and_then(|mut insert| insert.execute(params![job_id, write.object.as_str()]))
                .during("note an object as written")? as u64;
        }
        transaction.commit().during("commit a batch")?;
        Ok(report)
    }

    /// Objects that `job_id` has written.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn written_objects(&self, job_id: &str) -> Result<HashSet<ObjectName>, VectorStoreError> {
        let read = || {
            let mut select =
                self.connection.prepare_cached("SELECT object FROM written WHERE job_id = ?1")?;
            let names = select.query_map([job_id], |row| row.get::<_, String>(0))?;
            names.collect::<Result<Vec<_>, _>>()
        };
        let names = read().during("read written objects")?;
        Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes every object of `org` that is not in `keep`, in one transaction; answers how many objects went.
    ///
    /// # Errors
    /// When SQLite refuses; nothing is then removed.
    pub fn remove_vanished_objects(
        &mut self,
        org: &OrgName,
        keep: &HashSet<ObjectName>,
    ) -> Result<u64, VectorStoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .during("begin removing")?;
        let stored: BTreeSet<String> = {
            let mut select = transaction
                .prepare_cached("SELECT DISTINCT object FROM documents WHERE org = ?1")
                .during("read objects")?;
            let names = select.query_map([org.as_str()], |row| row.get(0)).during("read objects")?;
            names.collect::<Result<_, _>>().during("read objects")?
        };
        let mut removed = 0;
        for object in stored.iter().filter(|object| !keep.contains(object.as_str())) {
            let rows: Vec<i64> = {
                let mut select = transaction
                    .prepare_cached("SELECT row FROM documents WHERE org = ?1 AND object = ?2")
                    .during("read an object's rows")?;
                let rows = select
                    .query_map(params![org.as_str(), object], |row| row.get(0))
                    .during("read an object's rows")?;
                rows.collect::<Result<_, _>>().during("read an object's rows")?
            };
            for row in rows {
                delete_row(&transaction, row).during("remove a document")?;
            }
            removed += 1;
        }
        transaction.commit().during("commit removing")?;
        Ok(removed)
    }

    /// Forgets which objects `job_id` has written, once the job has ended; answers how many those were.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn forget_job(&mut self, job_id: &str) -> Result<u64, VectorStoreError> {
        self.connection
            .execute("DELETE FROM written WHERE job_id = ?1", [job_id])
            .map(|rows| rows as u64)
            .during("forget a job")
    }

    /// Hands every document of `org` to `visit`, sorted by id (byte order), one at a time.
    ///
    /// # Errors
    /// The first error of `visit`, or the store's own turned into `E`.
    pub fn documents_in_order<E: From<VectorStoreError>>(
        &self,
        org: &OrgName,
        mut visit: impl FnMut(&StoredDocument) -> Result<(), E>,
    ) -> Result<(), E> {
        let select = "SELECT id, object, section, text, metadata FROM documents WHERE org = ?1 ORDER BY id";
        let mut select = self.connection.prepare_cached(select).during("read documents")?;
        let mut rows = select.query([org.as_str()]).during("read documents")?;
        while let Some(row) = rows.next().during("read documents")? {
            let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
            visit(&stored_document(read().during("read documents")?)?)?;
        }
        Ok(())
    }

    /// What the store holds of `org`, counted now.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn counts(&self, org: &OrgName) -> Result<StoreCounts, VectorStoreError> {
        let count = |sql: &str| -> Result<u64, rusqlite::Error> {
            self.connection.prepare_cached(sql)?.query_row([org.as_str()], |row| row.get(0))
        };
        let read = || {
            Ok(StoreCounts {
                objects: count("SELECT count(DISTINCT object) FROM documents WHERE org = ?1")?,
                documents: count("SELECT count(*) FROM documents WHERE org = ?1")?,
                vectors: count("SELECT count(*) FROM vectors WHERE org = ?1")?,
            })
        };
        read().during("count documents")
    }
}

type RawDocument = (String, String, String, String, String);

pub(super) fn stored_document(raw: RawDocument) -> Result<StoredDocument, VectorStoreError> {
    let (id, object, section, text, metadata) = raw;
    let bad = |what| VectorStoreError::BadRow { id: id.clone(), what };
    let object = object.parse().map_err(|_| bad("object name"))?;
    let section = section_from(&section).ok_or_else(|| bad("section"))?;
    let metadata = serde_json::from_str(&metadata).map_err(|_| bad("metadata"))?;
    Ok(StoredDocument { id, object, section, text, metadata })
}

fn section_from(name: &str) -> Option<Section> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// Row number and content hash of an object's stored documents, by id.
fn stored_rows(
    connection: &Connection,
    org: &OrgName,
    object: &ObjectName,
) -> rusqlite::Result<HashMap<String, (i64, String)>> {
    let select = "SELECT id, row, content_hash FROM documents WHERE org = ?1 AND object = ?2 COLLATE NOCASE AND object = ?2";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map(params![org.as_str(), object.as_str()], |row| {
        Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
    })?;
    rows.collect()
}

fn write_object(
    transaction: &Transaction<'_>,
    dimensions: usize,
    write: &ObjectWrite,
    report: &mut WriteReport,
) -> Result<(), VectorStoreError> {
    let mut stored = stored_rows(transaction, &write.org, &write.object).during("read an object's rows")?;
    for EmbeddedDocument { document, vector } in &write.documents {
        let before = stored.remove(&document.id);
        if before.as_ref().is_some_and(|(_, hash)| *hash == document.content_hash) {
            report.documents_unchanged += 1;
            continue;
        }
        let Some(vector) = vector else {
            return Err(VectorStoreError::VectorMissing { id: document.id.clone() });
        };
        if vector.len() != dimensions {
            let (id, got) = (document.id.clone(), vector.len());
            return Err(VectorStoreError::Dimensions { id, got, wanted: dimensions });
        }
        if let Some((row, _)) = before {
            delete_row(transaction, row).during("replace a document")?;
        }
        report.documents_written +=
            insert(transaction, &write.org, document, vector).during("write a document")?;
    }
    for (row, _) in stored.into_values() {
        report.documents_removed += delete_row(transaction, row).during("remove a document")?;
    }
    Ok(())
}

/// Removes one document from all three tables; answers with the rows that `documents` lost.
fn delete_row(transaction: &Transaction<'_>, row: i64) -> rusqlite::Result<u64> {
    transaction.prepare_cached("DELETE FROM vectors WHERE row = ?1")?.execute([row])?;
    transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([row])?;
    Ok(transaction.prepare_cached("DELETE FROM documents WHERE row = ?1")?.execute([row])? as u64)
}

fn insert(
    transaction: &Transaction<'_>,
    org: &OrgName,
    document: &Document,
    vector: &[f32],
) -> rusqlite::Result<u64> {
    let text_of = |key: &str| document.metadata.get(key).and_then(serde_json::Value::as_str);
    let companion = document.metadata.contains_key("companionOf");
    let business = document.metadata.get("business").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let metadata = serde_json::Value::Object(document.metadata.clone()).to_string();
    let written = transaction
        .prepare_cached(
            "INSERT INTO documents (org, id, object, section, field, companion, business, text, metadata, content_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            org.as_str(),
            document.id,
            document.object.as_str(),
            document.section.as_str(),
            text_of("field"),
            companion,
            business,
            document.text,
            metadata,
            document.content_hash,
        ])?;
    let row = transaction.last_insert_rowid();
    let (names, words) = searchable(document);
    transaction
        .prepare_cached("INSERT INTO words (rowid, names, plain) VALUES (?1, ?2, ?3)")?
        .execute(params![row, names, words])?;
    // The zero vector has no direction: a cosine index would rank it at random.
    if !is_empty_vector(vector) {
        transaction
            .prepare_cached(
                "INSERT INTO vectors (row, org, embedding, section, companion) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                row,
                org.as_str(),
                vector_bytes(vector),
                document.section.as_str(),
                companion
            ])?;
    }
    Ok(written as u64)
}

/// What full-text search reads: identifiers whole, and the words that are embedded.
fn searchable(document: &Document) -> (String, String) {
    let whole = |c: char| !(c.is_alphanumeric() || c == '_');
    let names: BTreeSet<&str> = document
        .text
        .split(whole)
        .filter(|word| word.contains('_') || word.chars().skip(1).any(char::is_uppercase))
        .chain([document.object.as_str()])
        .collect();
    let names = names.into_iter().collect::<Vec<_>>().join(" ");
    let words = match &document.embedding_text {
        Some(text) => text.clone(),
        None => split_identifiers(&document.text),
    };
    (names, words)
}

/// As sqlite-vec reads vectors: 32-bit floats, little end first.
pub(super) fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Reads one document by its row, for search.
pub(super) fn document_by_row(
    connection: &Connection,
    row: i64,
) -> Result<Option<StoredDocument>, VectorStoreError> {
    connection
        .prepare_cached("SELECT id, object, section, text, metadata FROM documents WHERE row = ?1")
        .and_then(|mut select| {
            select
                .query_row([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
                .optional()
        })
        .during("read a document")?
        .map(stored_document)
        .transpose()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
