use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::batches::BatchEnd;
use crate::chat::{Question, Schemas, lead_in};
use crate::limits::{Gate, written};
use crate::schema::{Spoil, answer, complaint};
use crate::{Counting, Fault, FaultRule, LimitKind, Limits, Options, Server};

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "required": ["confidence_score", "explanation_bullets", "band", "corrections", "note"],
        "properties": {
            "confidence_score": { "type": "integer", "minimum": 0, "maximum": 100 },
            "explanation_bullets": { "type": "array", "items": { "type": "string", "maxLength": 40 } },
            "band": { "type": "string", "enum": ["good", "poor"] },
            "corrections": { "type": "array", "maxItems": 2, "items": { "$ref": "#/$defs/proposal" } },
            "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
        },
        "$defs": { "proposal": {
            "type": "object", "additionalProperties": false, "required": ["field", "value"],
            "properties": { "field": { "const": "Website" }, "value": { "type": ["string", "null"] } },
        } },
    })
}

fn body(lead: &str) -> Value {
    json!({
        "model": "sim-small", "max_completion_tokens": 300,
        "messages": [{ "role": "user", "content": format!("Lead {lead}") }],
        "response_format": {
            "type": "json_schema", "json_schema": { "name": "a", "strict": true, "schema": schema() },
        },
    })
}

#[test]
fn answers_fit_the_schema_and_are_always_the_same() {
    let schema = schema();
    for fingerprint in 0..500 {
        let said = answer(&schema, fingerprint, Spoil::Nothing);
        assert_eq!(said, answer(&schema, fingerprint, Spoil::Nothing));
        assert!(said["confidence_score"].as_u64().is_some_and(|score| score <= 100), "{said}");
        let bullets = said["explanation_bullets"].as_array().expect("a list");
        assert!((3..=5).contains(&bullets.len()), "{said}");
        assert!(bullets.iter().all(|one| one.as_str().is_some_and(|text| text.chars().count() <= 40)));
        assert!(["good", "poor"].contains(&said["band"].as_str().expect("a word")));
        let corrections = said["corrections"].as_array().expect("a list");
        assert!(corrections.len() <= 2);
        for one in corrections {
            assert_eq!(one["field"], "Website");
            assert!(one["value"].is_string() || one["value"].is_null());
        }
        assert!(said["note"].is_string() || said["note"].is_null());
        assert_eq!(said.as_object().map(serde_json::Map::len), Some(5));
    }
    let different: std::collections::HashSet<String> =
        (0..50).map(|one| answer(&schema, one, Spoil::Nothing).to_string()).collect();
    assert!(different.len() > 40, "{}", different.len());
}

#[test]
fn spoiled_answers_do_not_fit() {
    for fingerprint in 0..50 {
        assert!(answer(&schema(), fingerprint, Spoil::Types)["confidence_score"].is_string());
        assert_eq!(answer(&schema(), fingerprint, Spoil::Range)["confidence_score"], 900);
    }
}

#[rstest]
#[case(json!({ "type": "object", "properties": {}, "additionalProperties": false }), None)]
#[case(json!({ "type": "object", "properties": {} }), Some("additionalProperties"))]
#[case(
    json!({ "type": "object", "additionalProperties": false, "required": [], "properties": { "a": {} } }),
    Some("missing 'a'")
)]
#[case(
    json!({ "type": "array", "items": { "type": "object", "properties": {} } }),
    Some("(root)[]")
)]
fn a_strict_schema_is_held_to_its_rules(#[case] schema: Value, #[case] expected: Option<&str>) {
    let complaint = complaint(&schema);
    assert_eq!(complaint.is_some(), expected.is_some(), "{complaint:?}");
    assert!(complaint.unwrap_or_default().contains(expected.unwrap_or_default()));
}

#[rstest]
#[case(r#""content":"Lead 00Q5g00000AbCdEFGH: Acme""#, Some("00Q5g00000AbCdEFGH"))]
#[case("id=00Q5g00000AbCdE", Some("00Q5g00000AbCdE"))]
#[case("00Q5g00000AbCd", None)]
#[case("x00Q5g00000AbCdE 00Q", None)]
#[case("00Q1 and then 00Q5g00000AbCdE.", Some("00Q5g00000AbCdE"))]
fn the_lead_is_found(#[case] text: &str, #[case] lead: Option<&str>) {
    assert_eq!(lead_in(text.as_bytes()).as_deref(), lead);
}

#[rstest]
#[case(json!({ "messages": [{}] }), "model")]
#[case(json!({ "model": "m" }), "messages")]
#[case(json!({ "model": "m", "messages": [] }), "messages")]
#[case(json!({ "model": "m", "messages": [{}], "temperature": 3 }), "temperature")]
#[case(json!({ "model": "m", "messages": [{}], "response_format": { "type": "poem" } }), "response_format.type")]
fn a_question_that_breaks_the_rules_is_refused(#[case] body: Value, #[case] param: &str) {
    let refused = Question::read(body.to_string().as_bytes(), &Schemas::default()).expect_err("refused");
    assert_eq!(refused.param, Some(param));
}

#[rstest]
#[case("prose", Fault::Prose, None, None)]
#[case("status=503@every=10", Fault::Status(503), Some(10), None)]
#[case("throttled=600@times=3", Fault::Throttled(Some(600)), None, Some(3))]
#[case("throttled", Fault::Throttled(None), None, None)]
#[case("latency=20", Fault::Latency(Duration::from_millis(20)), None, None)]
fn rules_are_read(
    #[case] text: &str,
    #[case] fault: Fault,
    #[case] every: Option<u64>,
    #[case] times: Option<u64>,
) {
    let rule: FaultRule = text.parse().expect("a rule");
    assert_eq!((rule.fault, rule.about.every, rule.about.times), (fault, every, times));
}

#[rstest]
#[case("poem")]
#[case("status")]
#[case("status=200")]
#[case("prose=3")]
#[case("prose@nth=0")]
#[case("prose@moon=full")]
#[case("prose@path=moon")]
fn rules_that_make_no_sense_are_refused(#[case] text: &str) {
    assert!(text.parse::<FaultRule>().is_err());
}

#[test]
fn ends_of_batches_are_read() {
    assert_eq!("expire=30".parse(), Ok(BatchEnd::Expire(30)));
    assert!("expire=300".parse::<BatchEnd>().is_err());
}

#[rstest]
#[case(20, "20ms")]
#[case(1_000, "1s")]
#[case(1_500, "1.5s")]
#[case(360_000, "6m0s")]
fn durations_are_written_as_endpoints_write_them(#[case] ms: u64, #[case] text: &str) {
    assert_eq!(written(Duration::from_millis(ms)), text);
}

/// Requests let in within ten minutes by one that asks ten times a second.
fn let_in(limits: Limits) -> usize {
    let mut gate = Gate::new(limits, Duration::ZERO);
    let ask = |at: u64| gate.enter(Duration::from_millis(at * 100), 100, 400).is_ok();
    (0..6_000).map(ask).filter(|is_in| *is_in).count()
}

#[rstest]
#[case::a_bucket(LimitKind::Bucket, Some(60), None, Counting::Used, 60 * 10 + 60)]
#[case::a_minute(LimitKind::Window, Some(60), None, Counting::Used, 60 * 10)]
#[case::tokens_used(LimitKind::Window, None, Some(6_000), Counting::Used, 60 * 10)]
#[case::tokens_reserved(LimitKind::Window, None, Some(6_000), Counting::Reserved, 15 * 10)]
fn a_limit_is_a_limit(
    #[case] kind: LimitKind,
    #[case] requests_per_minute: Option<u32>,
    #[case] tokens_per_minute: Option<u32>,
    #[case] counting: Counting,
    #[case] expected: usize,
) {
    let limits = Limits { kind, requests_per_minute, tokens_per_minute, counting, ..Limits::default() };
    let count = let_in(limits);
    assert!(count.abs_diff(expected) <= 1, "{count} instead of {expected}");
}

async fn send(server: &Server, path: &str, body: &str) -> (u16, String) {
    let address = server.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    // A connection that is cut on purpose ends in an error or in silence.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn the_log_says_whose_a_question_was_and_whether_its_answer_left_whole() {
    let server = Server::start(Options::default()).await.expect("a free port");
    server.add_faults(FaultRule::read_all("cut@nth=2; drop@nth=3; prose@nth=4").expect("rules"));
    for lead in
        ["00Q5g00000AAAAA", "00Q5g00000BBBBB", "00Q5g00000CCCCC", "00Q5g00000DDDDD", "00Q5g00000AAAAA"]
    {
        send(&server, CHAT, &body(lead).to_string()).await;
    }
    let log = server.log();
    let short: Vec<(&str, u16, bool, Option<&str>)> = log
        .iter()
        .map(|one| {
            (&one.lead.as_deref().unwrap_or("")[10..], one.status, one.sent_whole, one.fault.as_deref())
        })
        .collect();
    assert_eq!(
        short,
        [
            ("AAAAA", 200, true, None),
            ("BBBBB", 200, false, Some("cut")),
            ("CCCCC", 0, false, Some("drop")),
            ("DDDDD", 200, true, Some("prose")),
            ("AAAAA", 200, true, None),
        ]
    );
    let stats = server.stats();
    assert_eq!((stats.questions, stats.answered, stats.leads, stats.answered_again), (5, 4, 3, 1));
    assert!(log[2].prompt_tokens > 0, "what was dropped was paid for");
    server.stop().await;
}

#[tokio::test]
async fn a_limit_is_told_in_headers_and_by_a_refusal() {
    let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() }).await.expect("a free port");
    let (status, answer) = send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await;
    assert_eq!(status, 200);
    for header in
        ["x-ratelimit-limit-requests: 2", "x-ratelimit-remaining-requests: 1", "x-ratelimit-reset-requests: "]
    {
        assert!(answer.contains(header), "{answer}");
    }
    send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await;
    let (status, answer) = send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await;
    assert_eq!(status, 429);
    assert!(answer.contains("retry-after: 30") && answer.contains("rate_limit_exceeded"), "{answer}");
    assert_eq!(server.stats().throttled, 1);
    server.stop().await;
}

#[tokio::test]
async fn the_control_paths_do_what_the_library_does() {
    let server = Server::start(Options::default()).await.expect("a free port");
    assert_eq!(send(&server, "/__sim/faults", "status=500@times=1").await.0, 200);
    assert_eq!(send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await.0, 500);
    assert_eq!(send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await.0, 200);
    assert_eq!(send(&server, "/__sim/faults", "poem").await.0, 400);
    assert_eq!(send(&server, "/__sim/limits", r#"{"requests_per_minute":1}"#).await.0, 200);
    assert_eq!(send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await.0, 200);
    assert_eq!(send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await.0, 429);
    assert_eq!(send(&server, "/__sim/limits", r#"{"per_hour":1}"#).await.0, 400);
    assert_eq!(send(&server, "/__sim/advance", r#"{"seconds":60}"#).await.0, 200);
    assert_eq!(send(&server, "/__sim/batches", r#"{"end":"expire=20"}"#).await.0, 200);
    assert_eq!(send(&server, "/__sim/moon", "").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_locked_out() {
    let options = Options { api_key: Some("right".to_owned()), ..Options::default() };
    let server = Server::start(options).await.expect("a free port");
    assert_eq!(send(&server, CHAT, &body("00Q5g00000AAAAA").to_string()).await.0, 401);
    server.stop().await;
}
