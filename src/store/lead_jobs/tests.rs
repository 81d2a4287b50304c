//! The job's file: rows, outcomes, counts, and what survives.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::leads::job::LeadSource;
use crate::leads::{
    Assessment, Flags, Lead, LeadField, LeadOutcome, ModelAnswer, ModelVerdict, Money, Presence, ReportRow,
    ReportRows, RowPlace, Scores, Spent,
};
use crate::store::disk::{Disk, RealDisk};

/// A disk whose free room a test sets.
struct SetDisk(AtomicU64);

impl Disk for SetDisk {
    fn free_bytes(&self, _folder: &Path) -> std::io::Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

pub(super) fn spec() -> LeadJobSpec {
    LeadJobSpec {
        job: "leads-1".to_owned(),
        org: "acme".parse().unwrap(),
        source: LeadSource::Ids { ids: Vec::new() },
        ask_model: true,
        read_batch: 2_000,
        assess_batch: 50,
        max_cost: Some(Money(5)),
        reports: Vec::new(),
    }
}

pub(super) fn disk() -> SharedDisk {
    Arc::new(RealDisk)
}

pub(super) fn lead_id(number: u64) -> LeadId {
    let mut text = *b"00Q000000000000";
    let mut rest = number;
    for place in text[3..].iter_mut().rev() {
        *place = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize];
        rest /= 62;
    }
    LeadId::read(std::str::from_utf8(&text).unwrap()).unwrap().id
}

pub(super) fn lead_row(row: u64, number: u64) -> IntakeRow {
    IntakeRow { row, id: RowId::Lead { id: lead_id(number), repaired: false } }
}

pub(super) fn spent(requests: u32) -> Spent {
    let tokens = u64::from(requests) * 100;
    Spent { prompt_tokens: tokens, completion_tokens: tokens / 4, cost: Money(tokens * 3), requests }
}

fn lead(id: LeadId, presence: Presence) -> Lead {
    Lead::new(id, presence, |field| match field {
        LeadField::FirstName => Some("Ada"),
        LeadField::EnrichedCountry => Some("Österreich"),
        _ => None,
    })
}

pub(super) fn assessed(ordinal: Ordinal, id: LeadId, model: ModelVerdict) -> LeadResult {
    let scores = Scores {
        acquisition: Some(62.5),
        enrichment: Some(1.0 / 3.0),
        coherence: None,
        confidence: Some(71.3),
    };
    let assessment = Assessment {
        flags: Flags { not_in_tam: ordinal.is_multiple_of(2), suspicious_enrichment: false },
        scores,
        model,
        findings: vec!["no phone".to_owned(), String::new()],
    };
    LeadResult { ordinal, lead: lead(id, Presence::Found), outcome: LeadOutcome::Assessed(assessment) }
}

pub(super) fn answered(spent: Spent, reused: bool) -> ModelVerdict {
    let answer = ModelAnswer {
        score: 40,
        score_said: 90,
        explanation: vec!["one".to_owned(), "two".to_owned()],
        corrections: BTreeMap::from([("Website".to_owned(), serde_json::json!("acme.example"))]),
        inferences: BTreeMap::from([("ZI_Employees__c".to_owned(), serde_json::json!(250))]),
        enforced: vec!["capped at 40".to_owned()],
    };
    ModelVerdict::Answered { answer, spent, reused }
}

pub(super) fn failed(spent: Spent) -> ModelVerdict {
    ModelVerdict::Failed { reason: "prose".to_owned(), spent }
}

pub(super) fn unread(ordinal: Ordinal, id: LeadId) -> LeadResult {
    let outcome = LeadOutcome::Unread { reason: "503 five times".to_owned() };
    LeadResult { ordinal, lead: Lead::without_values(id, Presence::NotVisible), outcome }
}

pub(super) fn rows_of(store: &LeadJobStore) -> Vec<ReportRow> {
    let mut rows = store.report_rows().unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        all.push(row);
    }
    all
}

pub(super) fn check(counts: &LeadCounts) {
    assert_eq!(counts.rows, counts.blank + counts.invalid + counts.leads + counts.duplicates, "{counts:?}");
    let sum = counts.assessed + counts.failed + counts.no_record + counts.unread + counts.open;
    assert_eq!(counts.leads, sum, "{counts:?}");
    assert_eq!(counts.no_record, counts.merged + counts.deleted + counts.not_visible, "{counts:?}");
}

#[tokio::test]
async fn a_sheet_comes_back_row_by_row_with_what_became_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    let (one, two) =
        (LeadId::read("00Q5g00000AbCdE").unwrap().id, LeadId::read("00Q5g00000aBCdE").unwrap().id);
    let row = |row, id, repaired| IntakeRow { row, id: RowId::Lead { id, repaired } };
    let written = "Ada Lovelace, who is no id, but whose row is quite long: more than it may be";
    let rows = vec![
        row(2, one, true),
        IntakeRow { row: 3, id: RowId::Blank },
        row(4, two, false),
        row(7, one, false),
        IntakeRow { row: 8, id: RowId::Invalid { written: written.to_owned(), fault: IdFault::Length(76) } },
    ];
    let counts = store.add_rows(rows.clone()).await.unwrap();
    check(&counts);
    assert_eq!((counts.rows, counts.leads, counts.duplicates, counts.repaired), (5, 2, 1, 1));
    assert_eq!(store.add_rows(rows.clone()).await.unwrap(), counts, "rows that are there are ignored");
    store.end_intake().await.unwrap();
    assert_eq!(store.intake().await.unwrap(), Intake { last_row: 8, ended: true });
    assert_eq!(store.open_leads(0, 10).await.unwrap(), [(0, one), (1, two)]);
    assert_eq!(store.open_leads(1, 10).await.unwrap(), [(1, two)]);
    assert_eq!(store.open_leads(0, 1).await.unwrap(), [(0, one)]);
    assert_eq!(store.ordinals_of(vec![two, lead_id(3), one]).await.unwrap(), [Some(1), None, Some(0)]);
    let invalid: String = written.chars().take(64).collect();
    assert_eq!(store.invalid_rows(9).await.unwrap(), [(8, invalid.clone(), IdFault::Length(76))]);
    let late = store.add_rows(vec![row(9, two, false)]).await;
    assert_eq!(late, Err(LeadStoreError::IntakeEnded(9)));

    let first = assessed(0, one, answered(spent(2), false));
    assert_eq!(store.write(vec![first.clone()]).await.unwrap(), 1);
    assert_eq!(store.write(vec![unread(0, one)]).await.unwrap(), 0, "the first outcome stays");
    assert_eq!(store.open_leads(0, 10).await.unwrap(), [(1, two)]);
    let unknown = store.write(vec![unread(1, two), unread(2, two)]).await;
    assert_eq!(unknown, Err(LeadStoreError::UnknownLead(2)));
    assert_eq!(
        store.results(0, 9).await.unwrap(),
        std::slice::from_ref(&first),
        "nothing of a refused write is there"
    );
    let counts = store.counts().await.unwrap();
    check(&counts);
    assert_eq!((counts.assessed, counts.open, counts.cost), (1, 1, spent(2).cost));
    assert_eq!(counts, store.recount().await.unwrap());

    let first = Arc::new(first);
    let lead = |result: &Arc<LeadResult>, first_row, repaired| RowPlace::Lead {
        result: Arc::clone(result),
        first_row,
        repaired,
    };
    let open = LeadOutcome::Unread { reason: "the job has not come to this lead".to_owned() };
    let open = Arc::new(LeadResult {
        ordinal: 1,
        lead: Lead::without_values(two, Presence::NotVisible),
        outcome: open,
    });
    let expected = [
        (2, lead(&first, 2, true)),
        (3, RowPlace::Blank),
        (4, lead(&open, 4, false)),
        (7, lead(&first, 2, false)),
        (8, RowPlace::Invalid { written: invalid, fault: IdFault::Length(76) }),
    ];
    let rows: Vec<_> = rows_of(&store).into_iter().map(|row| (row.row, row.place)).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_retry_opens_what_failed_and_what_was_spent_stays_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.add_rows((1..=4).map(|row| lead_row(row, row)).collect()).await.unwrap();
    let id = |ordinal: u32| lead_id(u64::from(ordinal) + 1);
    let results = vec![
        assessed(0, id(0), failed(spent(3))),
        assessed(1, id(1), answered(spent(1), false)),
        unread(2, id(2)),
        LeadResult { ordinal: 3, lead: lead(id(3), Presence::Deleted), outcome: LeadOutcome::NoRecord },
    ];
    assert_eq!(store.write(results).await.unwrap(), 4);
    let before = store.counts().await.unwrap();
    assert_eq!((before.failed, before.unread, before.assessed, before.deleted), (1, 1, 1, 1));
    assert_eq!((before.model_score_sum, before.with_confidence), (40, 1), "averages leave out what failed");

    assert_eq!(store.reopen_failed().await.unwrap(), 2);
    let opened = store.counts().await.unwrap();
    check(&opened);
    assert_eq!((opened.open, opened.failed, opened.unread), (2, 0, 0));
    assert_eq!((opened.cost, opened.model_requests), (before.cost, before.model_requests));
    assert_eq!(opened, store.recount().await.unwrap());
    assert_eq!(store.open_leads(0, 9).await.unwrap(), [(0, id(0)), (2, id(2))]);

    // It fails once more, and is answered at last.
    store.write(vec![assessed(0, id(0), failed(spent(2)))]).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), store.recount().await.unwrap());
    assert_eq!(store.reopen_failed().await.unwrap(), 1);
    store.write(vec![assessed(0, id(0), answered(spent(1), false)), unread(2, id(2))]).await.unwrap();
    let after = store.counts().await.unwrap();
    check(&after);
    assert_eq!(after, store.recount().await.unwrap());
    assert_eq!((after.model_requests, after.cost), (7, spent(7).cost));
    let first = store.results(0, 1).await.unwrap().remove(0);
    assert_eq!(first, assessed(0, id(0), answered(spent(6), false)), "what it took in all");
    assert_eq!(store.reopen_failed().await.unwrap(), 1, "only what is unread");
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_work_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(SetDisk(AtomicU64::new(u64::MAX)));
    let store = LeadJobStore::create(folder.path(), &spec(), disk.clone()).unwrap();
    let before = store.add_rows(vec![lead_row(1, 1)]).await.unwrap();
    disk.0.store(1 << 20, Ordering::Relaxed);
    assert_eq!(store.add_rows(vec![lead_row(2, 2)]).await, Err(LeadStoreError::DiskFull));
    assert_eq!(store.write(vec![unread(0, lead_id(1))]).await, Err(LeadStoreError::DiskFull));
    assert_eq!(store.note("plan", "bulk").await, Err(LeadStoreError::DiskFull));
    disk.0.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(store.counts().await.unwrap(), before);
    assert_eq!(store.noted("plan").await.unwrap(), None);
    assert_eq!(store.add_rows(vec![lead_row(2, 2)]).await.unwrap().leads, 2);
    assert_eq!(store.write(vec![unread(0, lead_id(1))]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_job_that_is_opened_again_is_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    let again = LeadJobStore::create(folder.path(), &spec(), disk());
    assert_eq!(again.err(), Some(LeadStoreError::Exists(folder.path().join(JOB_FILE))));
    store.add_rows((1..=900).map(|row| lead_row(row, row % 700)).collect()).await.unwrap();
    store.write(vec![unread(5, lead_id(6))]).await.unwrap();
    store.note("plan", "collections").await.unwrap();
    store.note("plan", "bulk").await.unwrap();
    store.set_phase(JobPhase::Failed, Some("the org is gone".to_owned())).await.unwrap();
    let counts = store.counts().await.unwrap();
    drop(store);

    let (store, read) = LeadJobStore::open(folder.path(), disk()).unwrap();
    assert_eq!(read, spec());
    assert_eq!(store.counts().await.unwrap(), counts);
    assert_eq!(store.intake().await.unwrap(), Intake { last_row: 900, ended: false });
    assert_eq!(store.phase().await.unwrap(), (JobPhase::Failed, Some("the org is gone".to_owned())));
    assert_eq!(store.noted("plan").await.unwrap().as_deref(), Some("bulk"));
    let counts = store.add_rows((800..=1000).map(|row| lead_row(row, row)).collect()).await.unwrap();
    assert_eq!((counts.rows, counts.leads, counts.duplicates), (1000, 800, 200));
    assert_eq!(counts, store.recount().await.unwrap());
}

#[tokio::test]
async fn what_another_handle_has_written_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let one = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    one.add_rows(vec![lead_row(1, 1)]).await.unwrap();
    let (two, _) = LeadJobStore::open(folder.path(), disk()).unwrap();
    two.add_rows(vec![lead_row(2, 2)]).await.unwrap();
    let counts = one.add_rows(vec![lead_row(3, 2)]).await.unwrap();
    assert_eq!((counts.leads, counts.duplicates), (2, 1));
    assert_eq!(two.counts().await.unwrap(), counts);
}

#[test]
fn a_folder_without_a_job_a_damaged_one_and_a_younger_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(JOB_FILE);
    let open = || LeadJobStore::open(folder.path(), disk()).map(|_opened| ()).unwrap_err();
    assert_eq!(open(), LeadStoreError::Missing(path.clone()));
    // A process killed while it made the job.
    std::fs::write(&path, b"").unwrap();
    assert_eq!(open(), LeadStoreError::Missing(path.clone()));
    drop(LeadJobStore::create(folder.path(), &spec(), disk()).unwrap());
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE job SET version = 9", []).unwrap();
    assert_eq!(open(), LeadStoreError::Younger { path: path.clone(), found: 9, known: 1 });
    let damaged = tempfile::tempdir().unwrap();
    std::fs::write(damaged.path().join(JOB_FILE), vec![b'x'; 8192]).unwrap();
    let error = LeadJobStore::open(damaged.path(), disk()).map(|_opened| ()).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[tokio::test]
async fn a_request_that_is_refused_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.add_rows((1..=50).map(|row| lead_row(row, row)).collect()).await.unwrap();
    let write = |ordinal: u32| {
        let store = store.clone();
        tokio::spawn(async move { store.write(vec![unread(ordinal, lead_id(1))]).await })
    };
    // They wait together, so that they share transactions.
    let writes: Vec<_> = (0..100).map(write).collect();
    for (ordinal, write) in (0..).zip(writes) {
        let expected = if ordinal < 50 { Ok(1) } else { Err(LeadStoreError::UnknownLead(ordinal)) };
        assert_eq!(write.await.unwrap(), expected);
    }
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.unread, counts.open), (50, 0));
    assert_eq!(counts, store.recount().await.unwrap());
}

#[tokio::test]
async fn a_question_waits_in_one_batch_until_its_lead_has_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.add_rows((1..=5).map(|row| lead_row(row, row)).collect()).await.unwrap();
    let question = |ordinal: u32| Question {
        result: assessed(ordinal, lead_id(u64::from(ordinal) + 1), ModelVerdict::NotAsked),
        content: [ordinal as u8; 32],
        request: format!("{{\"custom_id\":\"{ordinal:04}\"}}"),
    };
    store.write(vec![unread(4, lead_id(5))]).await.unwrap();
    let places = store.open_ordinals_of((1..=6).map(lead_id).collect()).await.unwrap();
    assert_eq!(places, [Some(0), Some(1), Some(2), Some(3), None, None]);
    assert_eq!(store.put_questions((0..=4).map(question).collect()).await.unwrap(), 4);
    assert_eq!(store.put_questions((0..=4).map(question).collect()).await.unwrap(), 0);
    assert_eq!(store.open_leads(0, 9).await.unwrap(), [], "none is read again");
    let places = store.open_ordinals_of((1..=5).map(lead_id).collect()).await.unwrap();
    assert_eq!(places, [None; 5], "nor put on the line");
    assert_eq!(store.counts().await.unwrap().open, 4);

    let line = question(0).request.len() as u64 + 1;
    let mut first = store.make_batch(50_000, 3 * line, HashSet::new()).await.unwrap().unwrap();
    assert_eq!((first.number, first.questions, first.is_over), (1, 3, false));
    let second = store.make_batch(50_000, 1, HashSet::new()).await.unwrap().unwrap();
    assert_eq!((second.number, second.questions), (2, 1), "one at least");
    assert_eq!(store.make_batch(50_000, u64::MAX, HashSet::new()).await.unwrap(), None);
    first.input_file = Some("file-1".to_owned());
    first.endpoint_id = Some("batch-1".to_owned());
    first.status = "in_progress".to_owned();
    assert_eq!(store.keep_batch(first.clone()).await.unwrap(), 0);
    drop(store);

    // A restart goes on with the same batch; one of its answers comes, then it expires.
    let (store, _) = LeadJobStore::open(folder.path(), disk()).unwrap();
    assert_eq!(store.batches().await.unwrap(), [first.clone(), second]);
    assert_eq!(store.questions(Some(1), 1, 1).await.unwrap(), [question(1)]);
    assert_eq!(store.questions_of(vec![2, 4]).await.unwrap(), [Some(question(2)), None]);
    let answer = assessed(1, lead_id(2), answered(spent(1), false));
    assert_eq!(store.write(vec![answer]).await.unwrap(), 1);
    first.status = "expired".to_owned();
    first.is_over = true;
    assert_eq!(store.keep_batch(first).await.unwrap(), 2, "the others are free for the next");
    assert_eq!(store.questions_waiting().await.unwrap(), (2, 3));
    let third = store.make_batch(1, u64::MAX, HashSet::new()).await.unwrap().unwrap();
    assert_eq!((third.number, third.questions), (3, 1));
    let waiting = store.questions(None, 0, 9).await.unwrap();
    assert_eq!(waiting, [question(0), question(2), question(3)]);
    assert_eq!(store.free_questions().await.unwrap(), 1, "0 and 3 are in a batch");
    assert_eq!(store.open_leads(0, 9).await.unwrap(), [(2, lead_id(3))]);
}

#[tokio::test]
async fn twins_of_a_question_wait_until_no_other_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.add_rows((1..=6).map(|row| lead_row(row, row)).collect()).await.unwrap();
    // 0, 2 and 4 are twins, and so are 1 and 3; 5 has none.
    let question = |ordinal: u32| Question {
        result: assessed(ordinal, lead_id(u64::from(ordinal) + 1), ModelVerdict::NotAsked),
        content: [if ordinal == 5 { 5 } else { ordinal as u8 % 2 }; 32],
        request: ordinal.to_string(),
    };
    store.put_questions((0..3).map(question).collect()).await.unwrap();
    store.put_questions((3..6).map(question).collect()).await.unwrap();
    let first = store.make_batch(50_000, u64::MAX, HashSet::new()).await.unwrap().unwrap();
    let of = |batch: u32| {
        let store = store.clone();
        async move { store.questions(Some(batch), 0, 9).await.unwrap() }
    };
    assert_eq!(of(first.number).await, [0, 1, 5].map(question));
    assert_eq!(store.contents_under_way().await.unwrap(), [0, 1, 5].map(|one| [one; 32]).into());
    let elsewhere = HashSet::from([[0; 32]]);
    let second = store.make_batch(50_000, u64::MAX, elsewhere.clone()).await.unwrap().unwrap();
    assert_eq!(of(second.number).await, [question(3)], "what is asked elsewhere waits");
    assert_eq!(store.make_batch(50_000, u64::MAX, elsewhere).await.unwrap(), None);
    let third = store.make_batch(50_000, u64::MAX, HashSet::new()).await.unwrap().unwrap();
    assert_eq!(of(third.number).await, [2, 4].map(question));
}

#[tokio::test]
async fn a_disk_that_fills_up_within_a_write_leaves_all_of_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    let before = store.add_rows((1..=100).map(|row| lead_row(row, row)).collect()).await.unwrap();
    let set_pages = |pages: Option<i64>| {
        store.read(move |view| {
            let now: i64 = view.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
            view.connection.pragma_update(None, "max_page_count", pages.unwrap_or(now + 3)).unwrap();
            Ok(())
        })
    };
    set_pages(None).await.unwrap();
    let many = || (0..100).map(|at| assessed(at, lead_id(9), answered(spent(1), false))).collect::<Vec<_>>();
    assert_eq!(store.write(many()).await, Err(LeadStoreError::DiskFull));
    assert_eq!(store.counts().await.unwrap(), before);
    assert_eq!(store.recount().await.unwrap(), before);
    set_pages(Some(1 << 30)).await.unwrap();
    assert_eq!(store.write(many()).await.unwrap(), 100);
}

/// These texts lie on somebody's disk: what comes to them later needs a default.
#[tokio::test]
async fn a_job_of_the_first_version_is_read() {
    const SPEC: &str = r#"{"job":"leads-1","org":"acme","source":{"sheet":{"file":"input.xlsx","name":"Q3.xlsx",
        "sheet":"Leads","id_column":"Lead ID"}},"ask_model":true,"read_batch":2000,"assess_batch":50,
        "max_cost":5,"reports":["xlsx","jsonl"]}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(JOB_FILE);
    let connection = schema::create(&path, &spec()).unwrap();
    let older = r#"{"rows":3,"blank":1,"leads":2,"open":2}"#;
    connection.execute("UPDATE job SET spec = ?1, counts = ?2", [SPEC, older]).unwrap();
    drop(connection);
    let (store, read) = LeadJobStore::open(folder.path(), disk()).unwrap();
    let LeadSource::Sheet { id_column, .. } = &read.source else { panic!("{read:?}") };
    assert_eq!((id_column.as_str(), read.max_cost, read.reports.len()), ("Lead ID", Some(Money(5)), 2));
    let expected = LeadCounts { rows: 3, blank: 1, leads: 2, open: 2, ..LeadCounts::default() };
    assert_eq!(store.counts().await.unwrap(), expected);
}

#[tokio::test]
async fn bytes_that_are_wrong_are_told_as_damage_and_never_read_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(JOB_FILE);
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.add_rows((1..=3).map(|row| lead_row(row, row)).collect()).await.unwrap();
    store.write(vec![unread(0, lead_id(1)), unread(1, lead_id(2))]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE results SET data = substr(data, 1, 20) WHERE ordinal = 1", []).unwrap();
    assert!(store.results(0, 1).await.is_ok(), "what is whole is read");
    assert!(store.results(0, 9).await.unwrap_err().is_damage());
    let mut rows = store.report_rows().unwrap();
    let error = rows.next_row().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is damaged: it ends too early"), "{cause}");
    other.execute("UPDATE row_chunks SET data = x'09'", []).unwrap();
    assert!(store.open_leads(0, 9).await.unwrap_err().is_damage());
}

#[tokio::test]
async fn a_changed_bound_is_there_when_the_job_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
    store.set_max_cost(Some(Money(7))).await.unwrap();
    drop(store);
    let (_store, kept) = LeadJobStore::open(folder.path(), disk()).unwrap();
    assert_eq!(kept, LeadJobSpec { max_cost: Some(Money(7)), ..spec() });
}
