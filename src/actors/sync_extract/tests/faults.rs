//! An org that breaks off, refuses, forgets and changes its mind.

use orgsim::{Fault, FaultRule};
use rstest::rstest;

use super::*;

fn on(kind: &str, fault: Fault) -> FaultRule {
    let mut rule = FaultRule::always(fault);
    rule.kind = Some(kind.to_owned());
    rule
}

#[rstest]
#[case::page_cut(on("bulk_results", Fault::CutMidBody).nth(2))]
#[case::page_ends_in_a_value(on("bulk_results", Fault::TruncatedCsv).nth(2))]
#[case::page_busy(on("bulk_results", Fault::Unavailable).nth(3))]
#[case::session_ends(on("bulk_results", Fault::SessionExpired).nth(2))]
#[case::job_gone_in_the_middle(on("bulk_results", Fault::JobVanishes).nth(2))]
#[case::nul_bytes(on("bulk_results", Fault::NulBytes))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_gives_every_row_once_through(#[case] rule: FaultRule) {
    let sim = sim(3_300).await;
    let ask = sim.ask("Lead", 0).await;
    let expected = sim.expected(&ask).await;
    let fault = rule.fault.clone();
    sim.server.faults().add(rule);
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert!(sim.server.faults().fired()[0] > 0, "the fault struck");
    assert_eq!(extracted.rows, expected.len() as u64);
    assert!(durable.by_key() == expected);
    let jobs = if matches!(fault, Fault::JobVanishes) { 2 } else { 1 };
    assert_eq!(extracted.jobs, jobs);
}

#[rstest]
#[case::lost_before(Fault::CutBefore)]
#[case::lost_in_the_middle(Fault::CutMidBody)]
#[case::busy(Fault::Unavailable)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_the_creation_of_a_job_that_is_lost_leaves_one_job(#[case] fault: Fault) {
    let sim = sim(1_300).await;
    let ask = sim.ask("Lead", 0).await;
    let expected = sim.expected(&ask).await;
    sim.server.faults().add(on("bulk_create", fault).nth(1));
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert!(durable.by_key() == expected);
    assert_eq!(extracted.jobs, 1);
    let jobs = sim.client.bulk_jobs().await.unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_gone_begins_anew_under_the_same_parts() {
    let sim = sim(5_300).await;
    let ask = sim.ask("Lead", u64::MAX).await;
    let expected = sim.expected(&ask).await;
    let gone = Fault::Status {
        status: 400,
        code: "INVALID_QUERY_LOCATOR".to_owned(),
        message: "invalid query locator".to_owned(),
    };
    let mut rule = FaultRule::always(gone).nth(2);
    rule.path_contains = Some("/query/".to_owned());
    sim.server.faults().add(rule);
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert_eq!(sim.server.faults().fired(), [1]);
    assert!(durable.by_key() == expected);
    assert_eq!(extracted.notes.len(), 1, "{:?}", extracted.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_attempt_staged_and_this_one_does_not_is_put_empty() {
    let sim = sim(1_300).await;
    let ask = sim.ask("Lead", u64::MAX).await;
    let durable = Durable::default();
    let old = ("00Q000000000000AAA".to_owned(), "old".to_owned());
    durable.parts.lock().unwrap().insert(PartNumber(7_003), vec![old.clone()]);
    durable.parts.lock().unwrap().insert(PartNumber(1), vec![old]);
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert_eq!(durable.rows(), extracted.rows);
    assert!(durable.by_key() == sim.expected(&ask).await);
}

#[rstest]
#[case::rest(u64::MAX)]
#[case::bulk(0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_gone_is_named(#[case] threshold: u64) {
    let sim = sim(300).await;
    let mut ask = sim.ask("Lead", threshold).await;
    let mut plan = (*ask.plan).clone();
    let name = "Gone__c".to_owned();
    plan.layout.columns.push(TableColumn { field: name.clone(), name, kind: ColumnType::Text });
    ask.plan = Arc::new(plan);
    let error = Durable::default().extract(&sim, &ask).await.unwrap_err();
    assert!(matches!(&error, ExtractError::FieldGone { field, .. } if field == "Gone__c"), "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_bulk_refuses_comes_over_rest_and_says_so() {
    let sim = sim(2_300).await;
    let ask = sim.ask("Lead", 1_000).await;
    let refusal = Fault::Status {
        status: 400,
        code: "INVALIDENTITY".to_owned(),
        message: "Entity 'Lead' is not supported by the Bulk API.".to_owned(),
    };
    sim.server.faults().add(on("bulk_create", refusal));
    let expected = sim.expected(&ask).await;
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert!(durable.by_key() == expected);
    assert_eq!((extracted.method, extracted.jobs), (SyncMethod::RegularApiFull, 0));
    assert!(durable.state().bulk_refused.is_some());
}

#[rstest]
#[case::allowed(1_000_000, true)]
#[case::not_allowed(0, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_fit_are_kept_apart_up_to_their_share(
    #[case] per_million: u32,
    #[case] goes_on: bool,
) {
    for threshold in [0, u64::MAX] {
        let sim = sim(1_300).await;
        let mut ask = sim.ask("Lead", threshold).await;
        let expected = sim.expected(&ask).await;
        let mut plan = (*ask.plan).clone();
        let column = plan.layout.columns.iter_mut().find(|column| column.field == "Status").unwrap();
        // Text is none; every row has one.
        column.kind = ColumnType::Date;
        ask.plan = Arc::new(plan);
        ask.rejects.per_million = per_million;
        let durable = Durable::default();
        let result = durable.extract(&sim, &ask).await;
        let file = ask.rejects.folder.join(format!("{}.jsonl", ask.plan.id));
        let kept = std::fs::read_to_string(&file).unwrap();
        let line: serde_json::Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
        assert_eq!(line["column"], "Status");
        assert!(line["row"]["Status"].is_string() && line["row"]["Id"] == line["key"]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        if goes_on {
            let extracted = result.unwrap();
            assert_eq!((extracted.rows, extracted.rejected), (0, expected.len() as u64));
            assert_eq!(kept.lines().count(), expected.len());
            assert_eq!(extracted.reject_file.as_deref(), Some(file.as_path()));
        } else {
            let error = result.unwrap_err();
            assert!(
                matches!(error, ExtractError::TooManyRejects { rejected: 1.., allowed: 0, .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains("column `Status`: it holds no date"), "{error}");
            let value = line["row"]["Status"].as_str().unwrap();
            assert!(!error.to_string().contains(value), "no value in an error: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_not_there_is_named() {
    let sim = sim(300).await;
    let mut ask = sim.ask("Lead", u64::MAX).await;
    let mut plan = (*ask.plan).clone();
    plan.object = "Nothing__c".parse().unwrap();
    ask.plan = Arc::new(plan);
    let error = Durable::default().extract(&sim, &ask).await.unwrap_err();
    assert!(matches!(&error, ExtractError::NoObject { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_does_not_fit_is_told_by_its_id_whatever_identifies_the_rows() {
    let sim = sim(300).await;
    let mut ask = sim.ask("Lead", u64::MAX).await;
    let mut plan = (*ask.plan).clone();
    let columns = &mut plan.layout.columns;
    plan.layout.key = columns.iter().position(|column| column.field == "LastName").unwrap();
    columns.iter_mut().find(|column| column.field == "Status").unwrap().kind = ColumnType::Date;
    ask.plan = Arc::new(plan);
    let error = Durable::default().extract(&sim, &ask).await.unwrap_err().to_string();
    let kept = std::fs::read_to_string(ask.rejects.folder.join(format!("{}.jsonl", ask.plan.id))).unwrap();
    let line: serde_json::Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    let (id, name) = (line["row"]["Id"].as_str().unwrap(), line["key"].as_str().unwrap());
    assert!(error.contains(id) && !error.contains(&format!("`{name}`")), "{error}");
    assert!(error.contains("`sync.max_reject_share`"), "{error}");
}
