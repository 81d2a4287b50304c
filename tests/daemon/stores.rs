//! A damaged state folder: put aside, said, counted, made anew.

use std::path::{Path, PathBuf};

use rstest::rstest;

use super::support::{Org, Place, demo_org, entries_with};
use super::{Duration, FEW_OBJECTS};

/// What a dying disk or a careless hand does to a file.
fn damage(file: &Path, how: &str) {
    let mut bytes = std::fs::read(file).expect("the file");
    let end = bytes.len();
    assert!(end > 64, "{} holds nothing to damage", file.display());
    match how {
        "beginning" => bytes[..48].fill(0xa5),
        "all" => bytes.fill(0xa5),
        "cut" => bytes.truncate(end / 2),
        _ => bytes[end / 2..(end / 2 + 512).min(end)].fill(0xa5),
    }
    std::fs::write(file, bytes).expect("write it back");
    // SQLite's log may hold every page of the file once more, and mend it.
    for beside in ["sqlite-wal", "sqlite-shm"] {
        drop(std::fs::remove_file(file.with_extension(beside)));
    }
}

fn files_of(place: &Place, store: &str) -> PathBuf {
    match store {
        "vectors" => place.state().join("library.sqlite"),
        folder => place.state().join(folder).join("db"),
    }
}

#[rstest]
#[case::journal_beginning("journal", "beginning", "journal.quarantine")]
#[case::journal_cut("journal", "cut", "journal.quarantine")]
#[case::cache_all("cache", "all", "cache.quarantine")]
#[case::cache_middle("cache", "middle", "cache.quarantine")]
#[case::library_all("vectors", "all", "library.sqlite.quarantine")]
fn a_damaged_store_is_put_aside_and_the_job_comes_to_the_same(
    #[case] store: &str,
    #[case] how: &str,
    #[case] aside: &str,
) {
    let org = Org::with_latency(Duration::ZERO);
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&org.url(), "")));
    place.run(&["schema"]).good();
    let expected = place.documents();
    std::fs::remove_dir_all(place.output()).expect("the output");
    damage(&files_of(&place, store), how);

    let daemon = place.daemon();
    let said = daemon.logged("a damaged store was put aside and is made anew");
    assert_eq!(said.len(), 1, "{}", daemon.log());
    assert_eq!(said[0]["store"], store);
    daemon.await_jobs("demo", 1);
    let kept = entries_with(&place.state(), aside);
    assert!(!kept.is_empty(), "nothing was put aside");
    assert!(said[0]["aside"].as_str().is_some_and(|told| kept.iter().any(|path| path == Path::new(told))));
    assert_eq!(daemon.metric(&format!("penstock_store_quarantines_total{{store=\"{store}\"}}")), Some(1.0));
    assert_eq!(place.documents(), expected);
    assert_eq!(daemon.get("/readyz").0, 200);
}
