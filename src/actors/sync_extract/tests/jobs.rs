//! Jobs that are there already, and deletes that the org remembers.

use super::*;
use crate::salesforce::{BulkJobKind, Soql};

fn soql(fields: &[&str], object: &str) -> Soql {
    let fields = fields.iter().map(|field| FieldPath::read(field).unwrap());
    let object: ObjectName = object.parse().unwrap();
    Select::new(fields, Source::from(&object)).build().unwrap()
}

async fn job_of(sim: &Sim, fields: &[&str], object: &str) -> String {
    let job = sim.client.bulk_query(&soql(fields, object), true, BulkOptions::default()).await.unwrap();
    job.checkpoint().job_id.clone()
}

fn some_columns() -> Vec<TableColumn> {
    let column = |name: &str, kind| TableColumn { field: name.to_owned(), name: name.to_owned(), kind };
    vec![
        column("Id", ColumnType::Id),
        column("Status", ColumnType::Text),
        column("SystemModstamp", ColumnType::DateTime),
        column("IsDeleted", ColumnType::Boolean),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_there_is_read_by_the_names_in_its_header() {
    let sim = sim(1_300).await;
    let mut ask = sim.ask_for("Lead", some_columns(), u64::MAX);
    let expected = sim.expected(&ask).await;
    let id = job_of(&sim, &["SystemModstamp", "IsDeleted", "Email", "Id", "Status"], "Lead").await;
    ask.existing_job_id = Some(id.clone());
    sim.forget();
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert!(durable.by_key() == expected);
    assert_eq!((extracted.jobs, extracted.method), (0, SyncMethod::BulkApiFull));
    assert_eq!(sim.calls_of("bulk_create"), 0);
    assert_eq!(durable.state().job_id(), Some(id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_does_not_fit_is_refused_in_words() {
    let sim = sim(300).await;
    let mut ask = sim.ask_for("Lead", some_columns(), u64::MAX);
    let cases = [
        (job_of(&sim, &["Id"], "Lead").await, "does not select `Status`, `SystemModstamp`, `IsDeleted`"),
        (job_of(&sim, &["Id"], "Account").await, "it queries `Account`"),
        ("7505g00000NotThere".to_owned(), "has no job of this id"),
    ];
    for (id, says) in cases {
        ask.existing_job_id = Some(id);
        let error = Durable::default().extract(&sim, &ask).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("take `existing_job_id` out"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_others_that_does_not_end_is_left_alone() {
    let sim = sim(300).await;
    let mut endless = orgsim::FaultRule::always(orgsim::Fault::NeverEndingJob);
    endless.kind = Some("bulk_create".to_owned());
    sim.server.faults().add(endless);
    let mut ask = sim.ask_for("Lead", some_columns(), u64::MAX);
    ask.existing_job_id = Some(job_of(&sim, &["Id"], "Lead").await);
    let error = Durable::default().extract(&sim, &ask).await.unwrap_err();
    assert!(error.to_string().contains("not over after 7200 s"), "{error}");
    assert_eq!((sim.calls_of("bulk_abort"), sim.calls_of("bulk_delete")), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_others_are_neither_taken_nor_ended() {
    let sim = sim(1_300).await;
    let ask = sim.ask("Lead", 0).await;
    let durable = Durable::default();
    // Dies when the intent is kept: there is no job of ours.
    durable.kill_after(Some(1));
    durable.extract(&sim, &ask).await.unwrap_err();
    assert!(durable.state().intent.is_some());
    let names: Vec<&str> = ask.plan.layout.columns.iter().map(|column| column.field.as_str()).collect();
    let theirs = job_of(&sim, &names, "Lead").await;
    durable.kill_after(None);
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert_eq!(extracted.jobs, 1);
    assert_ne!(durable.state().job_id(), Some(theirs.as_str()));
    let jobs = sim.client.bulk_jobs_of(BulkJobKind::Query).await.unwrap();
    assert_eq!(jobs.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_of_some_age_are_cleaned_away() {
    let sim = sim(300).await;
    let old = job_of(&sim, &["Id"], "Lead").await;
    sim.client.watch_bulk_job(&old, Duration::from_secs(60)).await.unwrap().unwrap();
    sim.server.advance_clock(Duration::from_secs(48 * 3_600));
    let young = job_of(&sim, &["Id"], "Lead").await;
    let now = sim.client.org_now(Duration::ZERO).await.unwrap();
    let shown = sim.client.bulk_job(&young).await.unwrap().unwrap();
    assert_eq!((shown.kind, shown.object.as_str()), (BulkJobKind::Query, "Lead"));
    let before = now - jiff::SignedDuration::from_hours(24);
    let spared = sim.client.clean_bulk_jobs(before, &[old.clone()].into()).await.unwrap();
    assert_eq!((spared.looked_at, spared.spared, spared.deleted.len()), (2, 1, 0));
    let cleaned = sim.client.clean_bulk_jobs(before, &std::collections::BTreeSet::new()).await.unwrap();
    assert_eq!((cleaned.looked_at, cleaned.deleted.as_slice()), (2, [old.clone()].as_slice()));
    assert!(cleaned.failed.is_empty());
    let left = sim.client.bulk_jobs().await.unwrap();
    assert_eq!(left.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), [young]);
    assert!(sim.client.bulk_job(&old).await.unwrap().is_none());
    assert!(sim.client.bulk_job("../../sobjects/Lead").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orgs_clock_is_told_by_its_answers() {
    let sim = sim(10).await;
    let org = jiff::Timestamp::from_millisecond(sim.server.epoch_ms()).unwrap();
    let told = sim.client.org_now(Duration::from_secs(3_600)).await.unwrap();
    assert!(told <= org && org.duration_since(told) < jiff::SignedDuration::from_secs(30), "{told} of {org}");
    assert_eq!(sim.calls.load(Ordering::SeqCst), 0, "the login's answer told it");
    sim.server.advance_clock(Duration::from_secs(7_200));
    let later = sim.client.org_now(Duration::ZERO).await.unwrap();
    assert!(later.duration_since(told) >= jiff::SignedDuration::from_secs(7_190), "{later} after {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_deletes_that_reaches_too_far_back_says_so() {
    let sim = sim(300).await;
    let ask = sim.ask("Lead", u64::MAX).await;
    let now = sim.client.org_now(Duration::ZERO).await.unwrap();
    let durable = Durable::default();
    let sink = Sink { durable: &durable, key: 0, layout: ask.plan.layout.clone() };
    let hours = jiff::SignedDuration::from_hours;
    let far = hard_deletes(&sim.client, &ask, now - hours(24 * 40), now, &sink).await.unwrap();
    assert!(far.has_gap);
    let near = hard_deletes(&sim.client, &ask, now - hours(24), now, &sink).await.unwrap();
    assert!(near.covered_until > now - hours(24));
    let short =
        hard_deletes(&sim.client, &ask, now - jiff::SignedDuration::from_secs(30), now, &sink).await.unwrap();
    assert_eq!((short.keys, short.covered_until), (0, now - jiff::SignedDuration::from_secs(30)));
}
