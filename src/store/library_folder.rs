//! The library's files for people: `documents.jsonl`, `objects/<Object>.md`, `nodes.csv`, `edges.csv`,
//! `report.json`.
//!
//! Documents stream through: what is held is one object's page. New versions are written beside the old
//! files and replace them at the end, each atomically: pages first, then the whole-library files; pages of
//! objects that are gone go last. A run that stops half-way leaves the old files standing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::atomic_file::{
    AtomicFile, Prepared, StoreError, commit_all, prepare_if_changed, remove_if_there, remove_leftovers,
    write_if_changed,
};
use crate::library::project::{
    EDGES_HEAD, Failures, NODES_HEAD, ObjectPage, StoredDocument, edge_lines, jsonl_line, node_line,
};

/// What was written; counted while writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderCounts {
    /// Lines of `documents.jsonl`.
    pub documents: u64,
    /// Pages that stand in `objects/`.
    pub pages: u64,
    /// Of these, pages whose text changed.
    pub pages_written: u64,
    /// Pages of vanished objects that went.
    pub pages_removed: u64,
}

/// A library folder while it is being written.
#[derive(Debug)]
pub struct LibraryFolder {
    folder: PathBuf,
    documents: AtomicFile,
    nodes: AtomicFile,
    edges: AtomicFile,
    page: Option<ObjectPage>,
    pages: Vec<Prepared>,
    page_names: HashSet<String>,
    counts: FolderCounts,
}

impl LibraryFolder {
    /// Starts a new version of the library in `folder`, which is made if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn begin(folder: &Path) -> Result<Self, StoreError> {
        let pages = folder.join("objects");
        fs::create_dir_all(&pages).map_err(|source| StoreError::new("create the folder", &pages, source))?;
        remove_leftovers(folder)?;
        remove_leftovers(&pages)?;
        let mut nodes = AtomicFile::create(&folder.join("nodes.csv"))?;
        nodes.write_str(NODES_HEAD)?;
        let mut edges = AtomicFile::create(&folder.join("edges.csv"))?;
        edges.write_str(EDGES_HEAD)?;
        Ok(Self {
            folder: folder.to_owned(),
            documents: AtomicFile::create(&folder.join("documents.jsonl"))?,
            nodes,
            edges,
            page: None,
            pages: Vec::new(),
            page_names: HashSet::new(),
            counts: FolderCounts::default(),
        })
    }

    /// Adds one document. They come sorted by id, so that an object's documents stand together.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn add(&mut self, document: &StoredDocument) -> Result<(), StoreError> {
        if self.page.as_ref().is_some_and(|page| *page.object() != document.object) {
            self.finish_page()?;
        }
        self.documents.write_str(&jsonl_line(document))?;
        self.nodes.write_str(&node_line(document))?;
        self.edges.write_str(&edge_lines(document))?;
        self.page.get_or_insert_with(|| ObjectPage::new(document)).add(document);
        self.counts.documents += 1;
        Ok(())
    }

    /// Makes the new version the library, and removes pages of objects that are no more in it.
    ///
    /// # Errors
    /// When the disk refuses; files not yet replaced stand in their old version.
    pub fn commit(mut self, failures: &Failures) -> Result<FolderCounts, StoreError> {
        self.finish_page()?;
        let pages = self.folder.join("objects");
        commit_all(&pages, std::mem::take(&mut self.pages))?;
        self.documents.commit()?;
        self.nodes.commit()?;
        self.edges.commit()?;
        write_if_changed(&self.folder.join("report.json"), &failures.report())?;

        let failed = |source| StoreError::new("read the folder", &pages, source);
        for entry in fs::read_dir(&pages).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".md") && !self.page_names.contains(&*name) {
                remove_if_there(&pages.join(&*name))?;
                self.counts.pages_removed += 1;
            }
        }
        Ok(self.counts)
    }

    fn finish_page(&mut self) -> Result<(), StoreError> {
        let Some(page) = self.page.take() else { return Ok(()) };
        let name = format!("{}.md", page.object());
        let prepared = prepare_if_changed(&self.folder.join("objects").join(&name), &page.markdown())?;
        self.counts.pages += 1;
        self.counts.pages_written += u64::from(prepared.is_some());
        self.pages.extend(prepared);
        self.page_names.insert(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Section;

    fn document(object: &str, text: &str) -> StoredDocument {
        StoredDocument {
            id: format!("{object}:overview"),
            object: object.parse().unwrap(),
            section: Section::Overview,
            text: text.to_owned(),
            metadata: serde_json::Map::new(),
        }
    }

    fn write(folder: &Path, documents: &[StoredDocument]) -> FolderCounts {
        let mut library = LibraryFolder::begin(folder).unwrap();
        documents.iter().for_each(|document| library.add(document).unwrap());
        library.commit(&Failures::default()).unwrap()
    }

    #[test]
    fn vanished_objects_lose_their_page_and_unchanged_pages_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = write(folder.path(), &[document("A", "one"), document("B", "two")]);
        assert_eq!((first.documents, first.pages, first.pages_written, first.pages_removed), (2, 2, 2, 0));
        let second = write(folder.path(), &[document("B", "two")]);
        assert_eq!(
            (second.documents, second.pages, second.pages_written, second.pages_removed),
            (1, 1, 0, 1)
        );
        assert!(!folder.path().join("objects/A.md").exists());
        let lines = fs::read_to_string(folder.path().join("documents.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 1);
    }

    #[test]
    fn a_run_that_stops_half_way_leaves_the_old_library() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[document("A", "one")]);
        let before = fs::read_to_string(folder.path().join("documents.jsonl")).unwrap();
        let mut library = LibraryFolder::begin(folder.path()).unwrap();
        library.add(&document("Z", "half")).unwrap();
        drop(library);
        assert_eq!(fs::read_to_string(folder.path().join("documents.jsonl")).unwrap(), before);
        let leftovers = fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(leftovers.count(), 0);
    }
}
