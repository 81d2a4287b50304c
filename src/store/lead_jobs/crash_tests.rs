//! What is left of a job after a kill or a power cut at any moment: the files as they lie on the disk, cut off anywhere.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::tests::{answered, assessed, check, disk, lead_id, lead_row, spec, spent, unread};
use super::*;

fn log_of(folder: &Path) -> PathBuf {
    folder.join(format!("{JOB_FILE}-wal"))
}

fn log_length(folder: &Path) -> u64 {
    fs::metadata(log_of(folder)).unwrap().len()
}

/// The files as a killed process leaves them, with the log cut off after `length` bytes.
fn left_behind(of: &Path, to: &Path, length: usize) {
    fs::copy(of.join(JOB_FILE), to.join(JOB_FILE)).unwrap();
    let log = fs::read(log_of(of)).unwrap();
    fs::write(log_of(to), &log[..length.min(log.len())]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, ..ProptestConfig::default() })]

    #[test]
    fn a_job_cut_off_anywhere_is_as_after_one_of_its_calls_and_goes_on_to_the_same_end(
        cuts in proptest::collection::vec(0.0_f64..1.0, 6)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let folder = tempfile::tempdir().unwrap();
            let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
            // The whole length of the log after each call, and what was acknowledged.
            let mut acknowledged = vec![(log_length(folder.path()), store.counts().await.unwrap())];
            for step in 0..9 {
                work(&store, step).await;
                acknowledged.push((log_length(folder.path()), store.counts().await.unwrap()));
            }
            let end = store.counts().await.unwrap();
            let (begun, whole) = (acknowledged[0].0, acknowledged.last().unwrap().0);
            let places = cuts.iter().map(|cut| begun + ((whole - begun) as f64 * cut) as u64);
            for length in places.chain(acknowledged.iter().map(|(length, _)| *length)) {
                let copy = tempfile::tempdir().unwrap();
                left_behind(folder.path(), copy.path(), length as usize);
                let (store, _) = LeadJobStore::open(copy.path(), disk()).unwrap();
                let counts = store.counts().await.unwrap();
                check(&counts);
                assert_eq!(counts, store.recount().await.unwrap());
                // All that was acknowledged before the cut, and of what was under way all or nothing.
                let before = acknowledged.iter().rposition(|(at, _)| *at <= length).unwrap();
                assert_eq!(counts, acknowledged[before].1, "cut at {length}");
                for step in 0..9 {
                    work(&store, step).await;
                }
                assert_eq!(store.counts().await.unwrap(), end);
                assert_eq!(store.recount().await.unwrap(), end);
            }
        });
    }
}

/// A step of a job, which may be repeated.
async fn work(store: &LeadJobStore, step: u64) {
    match step {
        0..3 => {
            let rows = (1 + step * 40..=40 + step * 40).map(|row| lead_row(row, row % 70));
            store.add_rows(rows.collect()).await.unwrap();
        }
        3 => drop(store.end_intake().await.unwrap()),
        _ => {
            let ordinals = (step - 4) * 14..(step - 3) * 14;
            let results = ordinals.map(|at| {
                let (ordinal, id) = (at as Ordinal, lead_id(at + 1));
                if at % 3 == 0 {
                    unread(ordinal, id)
                } else {
                    assessed(ordinal, id, answered(spent(1), false))
                }
            });
            store.write(results.collect()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_whose_bytes_are_wrong_ends_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    for step in 0..5 {
        work(&store, step).await;
    }
    let before = store.counts().await.unwrap();
    let length = log_length(folder.path()) as usize;
    work(&store, 5).await;
    let copy = tempfile::tempdir().unwrap();
    left_behind(folder.path(), copy.path(), usize::MAX);
    let mut log = fs::read(log_of(copy.path())).unwrap();
    log[length + 200] ^= 1;
    fs::write(log_of(copy.path()), log).unwrap();
    let (store, _) = LeadJobStore::open(copy.path(), disk()).unwrap();
    assert_eq!(store.counts().await.unwrap(), before);
}
