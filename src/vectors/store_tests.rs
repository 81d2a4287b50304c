use std::collections::{HashMap, HashSet};

use tempfile::TempDir;

use super::*;
use crate::ai::{Embedder, StaticEmbedder};
use crate::vectors::{Search, SearchFilter, VectorStoreErrorKind};

const MODEL: &str = "penstock-static-256";

fn org() -> OrgName {
    "demo".parse().unwrap()
}

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn open(folder: &TempDir) -> VectorStore {
    VectorStore::open(&folder.path().join("library.sqlite"), 256, MODEL).unwrap()
}

fn document(object: &str, suffix: &str, text: &str) -> EmbeddedDocument {
    let mut metadata = serde_json::Map::new();
    let section = match suffix.split_once(':') {
        Some(("field", field)) => {
            metadata.insert("field".to_owned(), field.into());
            Section::Field
        }
        _ => Section::Overview,
    };
    let document = Document {
        id: format!("{object}:{suffix}"),
        org: org(),
        object: name(object),
        section,
        text: text.to_owned(),
        metadata,
        embedding_text: Some(split_identifiers(text)),
        content_hash: format!("hash of {object} {suffix} {text}"),
    };
    let embedded = document.embedding_text.clone().unwrap();
    let vector = StaticEmbedder::new().embed(&[&embedded]).unwrap().pop();
    EmbeddedDocument { document, vector }
}

fn write(object: &str, documents: Vec<EmbeddedDocument>) -> ObjectWrite {
    ObjectWrite { org: org(), object: name(object), documents }
}

fn all(store: &VectorStore) -> Vec<StoredDocument> {
    let mut found = Vec::new();
    store
        .documents_in_order(&org(), |document| {
            found.push(document.clone());
            Ok::<(), VectorStoreError>(())
        })
        .unwrap();
    found
}

fn batch() -> Vec<ObjectWrite> {
    vec![
        write(
            "Account",
            vec![
                document("Account", "overview", "Customers"),
                document("Account", "field:Industry", "Industry of the customer"),
            ],
        ),
        write("Case", vec![document("Case", "overview", "Support requests")]),
    ]
}

#[test]
fn the_same_batch_twice_is_visible_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let first = store.write_objects("job-1", &batch()).unwrap();
    assert_eq!(first, WriteReport { objects: 2, documents_written: 3, ..WriteReport::default() });
    let before = (all(&store), store.counts(&org()).unwrap());
    // As after a kill between the commit and its acknowledgement: another process does it again.
    drop(store);
    let mut store = open(&folder);
    let second = store.write_objects("job-1", &batch()).unwrap();
    assert_eq!(second, WriteReport { documents_unchanged: 3, ..WriteReport::default() });
    assert_eq!((all(&store), store.counts(&org()).unwrap()), before);
    assert_eq!(before.1, StoreCounts { objects: 2, documents: 3, vectors: 3 });
}

#[test]
fn a_changed_document_replaces_and_a_vanished_one_goes_from_all_tables() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.write_objects("job-1", &batch()).unwrap();
    let changed = write("Account", vec![document("Account", "overview", "Suppliers only")]);
    let report = store.write_objects("job-2", &[changed]).unwrap();
    assert_eq!((report.documents_written, report.documents_removed), (1, 1));
    assert_eq!(store.counts(&org()).unwrap(), StoreCounts { objects: 2, documents: 2, vectors: 2 });
    let search = Search::open_read_only(&folder.path().join("library.sqlite")).unwrap();
    let find = |text: &str| search.search(&StaticEmbedder::new(), text, &SearchFilter::of(org())).unwrap();
    assert!(find("suppliers")[0].documents[0].snippet.contains("Suppliers"));
    assert!(find("industry").iter().flat_map(|hit| &hit.documents).all(|hit| hit.field.is_none()));
}

#[test]
fn an_unchanged_document_needs_no_vector_and_a_changed_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.write_objects("job-1", &batch()).unwrap();
    let hashes = store.content_hashes(&org(), &name("Account")).unwrap();
    let expected: HashMap<String, String> = batch()[0]
        .documents
        .iter()
        .map(|document| (document.document.id.clone(), document.document.content_hash.clone()))
        .collect();
    assert_eq!(hashes, expected);

    let mut again = batch();
    again.iter_mut().flat_map(|write| &mut write.documents).for_each(|document| document.vector = None);
    assert_eq!(store.write_objects("job-2", &again).unwrap().documents_unchanged, 3);
    again[0].documents[0].document.content_hash = "another".to_owned();
    let before = all(&store);
    let error = store.write_objects("job-3", &again).unwrap_err();
    assert_eq!(error.kind(), VectorStoreErrorKind::VectorMissing);
    assert_eq!(all(&store), before);
    assert!(store.written_objects("job-3").unwrap().is_empty());
}

#[test]
fn a_batch_that_fails_in_the_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let mut bad = batch();
    bad[1].documents[0].vector = Some(vec![1.0; 3]);
    assert!(store.write_objects("job-1", &bad).is_err());
    assert_eq!(store.counts(&org()).unwrap(), StoreCounts::default());
    assert!(store.written_objects("job-1").unwrap().is_empty());
}

#[test]
fn a_job_remembers_what_it_wrote_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.write_objects("job-1", &batch()).unwrap();
    assert_eq!(store.written_objects("job-1").unwrap(), HashSet::from([name("Account"), name("Case")]));
    assert!(store.written_objects("job-2").unwrap().is_empty());
    assert_eq!(store.forget_job("job-1").unwrap(), 2);
    assert!(store.written_objects("job-1").unwrap().is_empty());
}

#[test]
fn vanished_objects_go_and_other_orgs_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.write_objects("job-1", &batch()).unwrap();
    let other: OrgName = "other".parse().unwrap();
    let mut foreign = batch();
    for write in &mut foreign {
        write.org = other.clone();
    }
    store.write_objects("job-2", &foreign).unwrap();
    assert_eq!(store.remove_vanished_objects(&org(), &HashSet::from([name("Case")])).unwrap(), 1);
    assert_eq!(store.counts(&org()).unwrap(), StoreCounts { objects: 1, documents: 1, vectors: 1 });
    assert_eq!(store.counts(&other).unwrap(), StoreCounts { objects: 2, documents: 3, vectors: 3 });
}

#[test]
fn documents_come_sorted_by_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let names = ["Zebra__c", "Account", "AccountHistory", "Account__c", "lower__c"];
    let writes: Vec<ObjectWrite> =
        names.iter().map(|object| write(object, vec![document(object, "overview", "x")])).collect();
    store.write_objects("job-1", &writes).unwrap();
    let ids: Vec<String> = all(&store).into_iter().map(|document| document.id).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(ids, sorted);
}

#[test]
fn a_text_without_known_words_is_kept_without_a_vector() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let mut strange = document("Odd__c", "overview", "\u{1F9FF}");
    strange.vector = Some(vec![0.0; 256]);
    store.write_objects("job-1", &[write("Odd__c", vec![strange])]).unwrap();
    assert_eq!(store.counts(&org()).unwrap(), StoreCounts { objects: 1, documents: 1, vectors: 0 });
    let search = Search::open_read_only(&folder.path().join("library.sqlite")).unwrap();
    let hits = search.search(&StaticEmbedder::new(), "Odd__c", &SearchFilter::of(org())).unwrap();
    assert_eq!(hits[0].object, name("Odd__c"));
}

#[test]
fn another_version_another_model_and_a_damaged_file_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.sqlite");
    open(&folder).write_objects("job-1", &batch()).unwrap();
    let kind = |dimensions, model: &str| VectorStore::open(&path, dimensions, model).unwrap_err().kind();
    assert_eq!(kind(128, MODEL), VectorStoreErrorKind::OtherModel);
    assert_eq!(kind(256, "another-model"), VectorStoreErrorKind::OtherModel);
    assert!(VectorStore::open(&path, 256, MODEL).is_ok());

    let foreign = folder.path().join("foreign.sqlite");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let error = VectorStore::open(&foreign, 256, MODEL).unwrap_err();
    assert_eq!(error.kind(), VectorStoreErrorKind::OtherVersion);

    let garbage = folder.path().join("garbage.sqlite");
    std::fs::write(&garbage, vec![7_u8; 9_000]).unwrap();
    assert_eq!(VectorStore::open(&garbage, 256, MODEL).unwrap_err().kind(), VectorStoreErrorKind::Damaged);

    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(VectorStore::open(&path, 256, MODEL).unwrap_err().kind(), VectorStoreErrorKind::Damaged);
    let missing = Search::open_read_only(&folder.path().join("none.sqlite")).unwrap_err();
    assert_eq!(missing.kind(), VectorStoreErrorKind::Missing);
}

#[test]
fn a_full_disk_is_told_apart_and_costs_nothing_that_stood() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.write_objects("job-1", &batch()).unwrap();
    // SQLite refuses to grow beyond this many pages with the very code it gives for a full disk.
    let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let long = "word ".repeat(60_000);
    let error = store
        .write_objects("job-2", &[write("Big__c", vec![document("Big__c", "overview", &long)])])
        .unwrap_err();
    assert!(error.is_disk_full());
    assert_eq!(store.counts(&org()).unwrap().documents, 3);
}

/// One step of a history: an object's documents as (field number, version); none removes them all.
type Step = (u8, Vec<(u8, u8)>);

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    (0_u8..4, proptest::collection::vec((0_u8..5, 0_u8..3), 0..5))
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever the history, and whichever batches are done twice: the tables hold the last state, each
    /// document has its one vector and its one row of words.
    #[test]
    fn the_tables_hold_the_last_state_of_any_history(
        history in proptest::collection::vec((step(), proptest::bool::ANY), 1..14),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = VectorStore::open(&folder.path().join("x.sqlite"), 2, "two").unwrap();
        let mut model: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        for (at, ((object, fields), twice)) in history.into_iter().enumerate() {
            let object = format!("Object{object}__c");
            let fields: std::collections::BTreeMap<u8, u8> = fields.into_iter().collect();
            let build = |(field, version): (&u8, &u8)| {
                let mut built = document("Any__c", &format!("field:F{field}__c"), "");
                built.document.id = format!("{object}:field:F{field}__c");
                built.document.object = name(&object);
                built.document.text = format!("version {version}");
                built.document.content_hash = format!("{version}");
                built.vector = Some(vec![1.0, f32::from(*version)]);
                built
            };
            let documents: Vec<EmbeddedDocument> = fields.iter().map(build).collect();
            model.retain(|id, _| !id.starts_with(&format!("{object}:")));
            model.extend(documents.iter().map(|d| (d.document.id.clone(), d.document.text.clone())));
            let batch = [write(&object, documents)];
            for again in 0..=u8::from(twice) {
                let report = store.write_objects(&format!("job-{at}"), &batch).unwrap();
                proptest::prop_assert_eq!(report.objects, u64::from(again == 0));
                if again == 1 {
                    proptest::prop_assert_eq!((report.documents_written, report.documents_removed), (0, 0));
                }
            }
        }
        let found: std::collections::BTreeMap<String, String> =
            all(&store).into_iter().map(|document| (document.id, document.text)).collect();
        proptest::prop_assert_eq!(&found, &model);
        let counts = store.counts(&org()).unwrap();
        proptest::prop_assert_eq!((counts.documents, counts.vectors), (model.len() as u64, model.len() as u64));
        let words: u64 = store.connection.query_row("SELECT count(*) FROM words", [], |row| row.get(0)).unwrap();
        proptest::prop_assert_eq!(words, model.len() as u64);
    }
}
