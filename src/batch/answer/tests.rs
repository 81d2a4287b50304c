use serde_json::{Value as Json, json};

use super::*;
use crate::batch::problem::Problem;
use crate::batch::request::{Fault, Refusal};

fn id(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// The example of the contract, section 9.
fn failed() -> Envelope {
    Envelope {
        batch_id: id("01JD9Q"),
        success: false,
        results: vec![
            (
                id("new_customer"),
                OperationOutcome::Completed { data: br#"{"customer_id":42,"total":100.00}"#.to_vec() },
            ),
            (
                id("first_invoice"),
                OperationOutcome::Failed { error: "total must be \"0\" or more".into(), status_code: 409 },
            ),
            (id("line"), OperationOutcome::Skipped { reason: DEPENDENCY_FAILED }),
            (id("other"), OperationOutcome::Skipped { reason: BATCH_STOPPED }),
        ],
        failed: vec![id("first_invoice")],
        rolled_back: true,
        meta: Meta {
            dry_run: false,
            attempts: 1,
            elapsed_ms: 4.2345,
            order: vec![id("new_customer"), id("first_invoice"), id("line"), id("other")],
            operations: vec![
                OperationMeta { rows: Some(1), version: Some(Value::Int(1)), ..OperationMeta::default() },
                OperationMeta {
                    code: Some("check_violation"),
                    column: Some(id("total")),
                    constraint: Some(id("invoice_total_check")),
                    pointer: Some("/operations/1/store_params/total".into()),
                    ..OperationMeta::default()
                },
                OperationMeta { blocked_by: vec![id("first_invoice")], ..OperationMeta::default() },
                OperationMeta::default(),
            ],
            warnings: Vec::new(),
        },
        fault: None,
        outcome_unknown: false,
    }
}

fn completed() -> Envelope {
    let mut envelope = failed();
    envelope.success = true;
    envelope.results.truncate(1);
    envelope.failed.clear();
    envelope.rolled_back = false;
    envelope.meta.order.truncate(1);
    envelope.meta.operations.truncate(1);
    envelope
}

fn json_of(bytes: &[u8]) -> Json {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

#[test]
fn the_example_of_the_contract_is_written() {
    let answer = render(&failed(), "/batch/01JD9Q");
    assert_eq!((answer.status, answer.content_type), (200, JSON));
    assert_eq!(
        json_of(&answer.body),
        json!({
            "success": false,
            "results": {
                "new_customer": {"status": "completed", "data": {"customer_id": 42, "total": 100.00}},
                "first_invoice": {"status": "failed", "error": "total must be \"0\" or more", "statusCode": 409},
                "line": {"status": "skipped", "reason": "Dependency failed"},
                "other": {"status": "skipped", "reason": "Batch stopped"},
            },
            "failedOperations": ["first_invoice"],
            "rolledBack": true,
            "meta": {
                "batchId": "01JD9Q", "dryRun": false, "attempts": 1, "elapsedMs": 4.2,
                "order": ["new_customer", "first_invoice", "line", "other"],
                "operations": {
                    "new_customer": {"rows": 1, "merged": 0, "version": 1},
                    "first_invoice": {"code": "check_violation", "column": "total", "constraint": "invoice_total_check",
                                      "pointer": "/operations/1/store_params/total"},
                    "line": {"blockedBy": ["first_invoice"]},
                },
                "warnings": [],
            },
        })
    );
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.contains("100.00"), "digits of a result stay as they are");
}

#[test]
fn what_says_nothing_is_left_out() {
    let body = json_of(&render(&completed(), "").body);
    assert_eq!(body["success"], true);
    for absent in ["failedOperations", "rolledBack", "outcome", "kind", "type", "cause"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn a_stopped_batch_is_problem_and_envelope_in_one() {
    let mut envelope = failed();
    envelope.fault =
        Some(StopFault::at_operation(&id("bad"), "depot 999 does not exist", 409, "foreign_key_violation"));
    let answer = render(&envelope, "/batch/01JD9Q");
    assert_eq!((answer.status, answer.content_type, answer.retry_after), (400, PROBLEM_JSON, None));
    let body = json_of(&answer.body);
    assert_eq!(body["type"], "https://penstock.invalid/problems/operation-failed");
    assert_eq!(
        (&body["status"], &body["kind"], &body["title"]),
        (&json!(400), &json!("operation_failed"), &json!("An operation failed"))
    );
    assert_eq!(body["detail"], "Batch failed at operation 'bad': depot 999 does not exist");
    assert_eq!(body["message"], body["detail"]);
    assert_eq!(body["instance"], "/batch/01JD9Q");
    assert_eq!(
        body["cause"],
        json!({"operation": "bad", "statusCode": 409, "code": "foreign_key_violation"})
    );
    assert_eq!(body["results"].as_object().map(|results| results.len()), Some(4));
    assert_eq!(body["meta"]["batchId"], "01JD9Q");
}

#[test]
fn the_kind_of_a_stop_is_that_of_its_operation_where_the_contract_names_it() {
    for (code, kind) in [
        ("bad_reference", "bad_reference"),
        ("bad_operator", "bad_operator"),
        ("selector_required", "selector_required"),
        ("unique_violation", "operation_failed"),
        ("no_rows", "operation_failed"),
    ] {
        assert_eq!(StopFault::at_operation(&id("a"), "x", 400, Box::leak(code.into())).kind.as_str(), kind);
    }
}

#[test]
fn a_failure_at_the_end_names_no_operation_and_a_lost_commit_is_unknown() {
    let mut envelope = failed();
    envelope.outcome_unknown = true;
    envelope.rolled_back = false;
    envelope.fault = Some(StopFault {
        kind: FaultKind::DatabaseUnavailable,
        detail: "the connection was lost".into(),
        cause: Some(Cause { operation: None, status_code: 503, code: "database_error" }),
        retry_after: Some(1),
    });
    let answer = render(&envelope, "/batch/01JD9Q");
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
    let body = json_of(&answer.body);
    assert_eq!((&body["outcome"], &body["cause"]["operation"]), (&json!("unknown"), &Json::Null));
    assert!(body.get("rolledBack").is_none());
}

#[test]
fn every_member_of_an_operations_meta_is_written_once_it_is_there() {
    let mut envelope = completed();
    envelope.meta.operations = vec![OperationMeta {
        rows: Some(100),
        merged: 7,
        version: Some(Value::Text("v".into())),
        truncated: true,
        next_cursor: Some("abc".into()),
        code: Some("no_rows"),
        stale: true,
        ..OperationMeta::default()
    }];
    envelope.meta.warnings =
        vec![Warning { code: "trimmed_reference", operation: Some(id("a")), detail: "`x`".into() }];
    let meta = json_of(&render(&envelope, "").body)["meta"].clone();
    assert_eq!(
        meta["operations"]["new_customer"],
        json!({"rows": 100, "merged": 7, "version": "v", "truncated": true, "nextCursor": "abc", "code": "no_rows", "stale": true})
    );
    assert_eq!(meta["warnings"], json!([{"code": "trimmed_reference", "operation": "a", "detail": "`x`"}]));
}

#[test]
fn a_time_that_is_none_is_still_a_number() {
    for (elapsed, written) in
        [(f64::NAN, 0.0), (f64::INFINITY, 0.0), (-1.0, 0.0), (0.04, 0.0), (15_000.06, 15_000.1)]
    {
        let mut envelope = completed();
        envelope.meta.elapsed_ms = elapsed;
        assert_eq!(json_of(&render(&envelope, "").body)["meta"]["elapsedMs"], json!(written));
    }
}

#[test]
fn lines_are_the_order_the_results_and_the_rest() {
    let mut envelope = failed();
    envelope.meta.order.reverse();
    let answer = render_lines(&envelope, "");
    assert_eq!((answer.status, answer.content_type), (200, LINES));
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.ends_with('\n'));
    let lines: Vec<Json> = text.lines().map(|line| json_of(line.as_bytes())).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(
        lines[0],
        json!({"batchId": "01JD9Q", "order": ["other", "line", "first_invoice", "new_customer"]})
    );
    assert_eq!(
        lines[2],
        json!({"id": "line", "result": {"status": "skipped", "reason": "Dependency failed"}})
    );
    assert!(lines[5].get("results").is_none());
    assert_eq!(lines[5]["meta"]["attempts"], 1);
}

#[test]
fn a_failed_atomic_batch_is_a_plain_problem_and_no_lines() {
    let mut envelope = failed();
    envelope.fault = Some(StopFault::at_operation(&id("bad"), "no", 400, "bad_reference"));
    assert_eq!(render_lines(&envelope, "/batch/1"), render(&envelope, "/batch/1"));
}

#[test]
fn a_refused_body_is_told_by_its_first_fault_and_lists_all() {
    let fault = |kind, pointer: &str, operation| Fault {
        kind,
        pointer: pointer.to_owned(),
        detail: format!("at {pointer}"),
        operation,
    };
    let refusal = Refusal {
        faults: vec![
            fault(FaultKind::DuplicateId, "/operations/1/id", Some(id("a"))),
            fault(FaultKind::InvalidRequest, "/option", None),
        ],
        status: 400,
    };
    let answer = Problem::refused(refusal, "/batch/1").render();
    assert_eq!((answer.status, answer.content_type), (400, PROBLEM_JSON));
    assert_eq!(
        json_of(&answer.body),
        json!({
            "type": "https://penstock.invalid/problems/duplicate-id", "title": "Two operations have the same id",
            "status": 400, "kind": "duplicate_id", "instance": "/batch/1",
            "detail": "at /operations/1/id", "message": "at /operations/1/id",
            "errors": [
                {"kind": "duplicate_id", "pointer": "/operations/1/id", "detail": "at /operations/1/id", "operation": "a"},
                {"kind": "invalid_request", "pointer": "/option", "detail": "at /option"},
            ],
        })
    );
}

#[test]
fn a_problem_may_say_when_to_try_again() {
    let answer = Problem::new(FaultKind::QueueFull, "64 batches wait", "").retry_after(1).render();
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
    assert!(json_of(&answer.body).get("instance").is_none());
}

#[test]
fn every_kind_has_its_own_name_and_a_status_of_an_error() {
    let names: std::collections::HashSet<&str> = FaultKind::ALL.into_iter().map(FaultKind::as_str).collect();
    assert_eq!(names.len(), FaultKind::ALL.len());
    for kind in FaultKind::ALL {
        assert!((400..600).contains(&kind.status()), "{kind:?}");
        assert!(!kind.title().is_empty());
    }
}
