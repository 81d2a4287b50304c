use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aisim::{BatchEnd, BatchPlan, FaultRule, Options, Server};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::leads::settings::{ModelMode, ModelSettings, Price};
use crate::limiter::model::ThrottledBy;

const KEY: &str = "sk-proj-very-secret-key-0123456789";
const LEAD: &str = "00Q5g00000AbCdEFGH";

fn settings(base_url: String) -> ModelSettings {
    ModelSettings {
        base_url,
        api_key: Some(KEY.into()),
        model: "sim-small".to_owned(),
        mode: ModelMode::Direct,
        temperature: 0.1,
        max_completion_tokens: 500,
        schema_bounds: false,
        timeout: Duration::from_secs(5),
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrency: NonZeroU32::new(8).expect("not zero"),
        attempts: NonZeroU32::new(3).expect("not zero"),
        price: Price::default(),
        max_cost: None,
        batch_poll: Duration::from_secs(30),
        ca_file: None,
    }
}

fn question(about: &str) -> Value {
    json!({
        "model": "sim-small",
        "temperature": 0.1,
        "max_completion_tokens": 500,
        "messages": [
            { "role": "system", "content": "You judge leads." },
            { "role": "user", "content": format!("Judge lead {about}: Zoë's Café, 40 people") },
        ],
        "response_format": { "type": "json_schema", "json_schema": {
            "name": "assessment", "strict": true,
            "schema": {
                "type": "object", "additionalProperties": false, "required": ["score", "explanation"],
                "properties": {
                    "score": { "type": "integer", "minimum": 0, "maximum": 100 },
                    "explanation": { "type": "array", "items": { "type": "string" } },
                },
            },
        } },
    })
}

async fn endpoint() -> (Server, ChatClient) {
    let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
    let server = Server::start(options).await.expect("a free port");
    let client = ChatClient::new(&settings(server.base_url())).expect("good settings");
    (server, client)
}

fn rules(text: &str) -> Vec<FaultRule> {
    FaultRule::read_all(text).expect("rules")
}

#[tokio::test]
async fn a_question_is_answered_and_its_cost_told() {
    let (server, client) = endpoint().await;
    let answer = client.complete(&question(LEAD)).await.expect("an answer");
    let content: Value = serde_json::from_str(&answer.content).expect("JSON");
    assert!(content["score"].as_u64().is_some_and(|score| score <= 100), "{content}");
    let log = server.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].lead.as_deref(), Some(LEAD));
    assert_eq!(
        (answer.usage.prompt_tokens, answer.usage.completion_tokens),
        (log[0].prompt_tokens, log[0].completion_tokens)
    );
    assert!(answer.usage.total() > 0);
    server.stop().await;
}

/// What each fault must be taken for, and whether its cost is told.
#[rstest]
#[case::refusal("refusal", "the model refused", NextStep::TryAgain, true)]
#[case::cut_off("length", "max_completion_tokens", NextStep::TryAgain, true)]
#[case::filtered("filter", "content filter", NextStep::TryAgain, true)]
#[case::nothing("empty", "answered nothing", NextStep::TryAgain, true)]
#[case::no_choice("no_choices", "no choice", NextStep::TryAgain, true)]
#[case::a_page("html", "not JSON", NextStep::TryAgain, false)]
#[case::broken("status=500", "failed (500", NextStep::TryAgain, false)]
#[case::busy("status=503", "failed (503", NextStep::TryAgain, false)]
#[case::cut("cut", "broke off", NextStep::TryAgain, false)]
#[case::dropped("drop", "no answer", NextStep::TryAgain, false)]
#[case::fast("throttled=600", "(429)", NextStep::Wait, false)]
#[case::fast_without_a_word("throttled", "(429)", NextStep::Wait, false)]
#[case::spent("quota", "quota is spent", NextStep::Wait, false)]
#[case::locked_out("unauthorized", "invalid_api_key", NextStep::Stop, false)]
#[case::unknown("status=404", "check `model`", NextStep::Stop, false)]
#[case::refused("status=403", "refused the key (403", NextStep::Stop, false)]
#[tokio::test]
async fn every_fault_is_told_for_what_it_is(
    #[case] fault: &str,
    #[case] words: &str,
    #[case] next: NextStep,
    #[case] is_cost_told: bool,
) {
    let (server, client) = endpoint().await;
    server.add_faults(rules(&format!("{fault}@lead={LEAD}")));
    let error = client.complete(&question(LEAD)).await.expect_err("a fault");
    let shown = format!("{error} {error:?}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.next_step(), next);
    assert_eq!(error.usage().is_some_and(|usage| usage.prompt_tokens > 0), is_cost_told, "{error:?}");
    for part in [KEY, "sk-proj", "secret", "Zoë"] {
        assert!(!shown.contains(part), "{shown}");
    }
    // Other leads are none of its business.
    client.complete(&question("00Q5g00000ZZZZZ")).await.expect("an answer");
    server.stop().await;
}

#[tokio::test]
async fn the_wait_that_a_refusal_asks_for_reaches_the_limiter() {
    let (server, client) = endpoint().await;
    server.add_faults(rules("throttled=600@times=1"));
    let result = client.complete(&question(LEAD)).await;
    let seen = call_seen(&result);
    assert_eq!(seen.outcome, ModelOutcome::Throttled(ThrottledBy::Requests));
    assert_eq!(seen.rates.retry_after, Some(Duration::from_secs(600)));
    let result = client.complete(&question(LEAD)).await;
    let seen = call_seen(&result);
    assert_eq!(seen.outcome, ModelOutcome::Answered);
    assert_eq!(seen.tokens_used, result.ok().map(|answer| answer.usage.total()));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up_in_time() {
    let (server, _) = endpoint().await;
    let patience = ModelSettings { timeout: Duration::from_millis(300), ..settings(server.base_url()) };
    let client = ChatClient::new(&patience).expect("good settings");
    server.add_faults(rules("hang"));
    let error = client.complete(&question(LEAD)).await.expect_err("no answer");
    assert!(matches!(error, ChatError::Timeout { .. }), "{error:?}");
    assert_eq!(server.log()[0].status, 0);
    server.stop().await;
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let (server, client) = endpoint().await;
    server.stop().await;
    let error = client.complete(&question(LEAD)).await.expect_err("nobody there");
    assert!(error.to_string().contains("no connection"), "{error}");
    assert_eq!(error.next_step(), NextStep::TryAgain);
}

#[rstest]
#[case::not_an_address("api.openai.com/v1", "is no address")]
#[case::another_scheme("ftp://models.example/v1", "is no address")]
#[case::a_query("https://models.example/v1?version=3", "is no address")]
fn a_bad_address_is_refused_at_once(#[case] base_url: &str, #[case] words: &str) {
    let error = ChatClient::new(&settings(base_url.to_owned())).expect_err("no address");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_key_with_a_line_break_is_refused_without_showing_it() {
    let bad = ModelSettings { api_key: Some("sk-1234\n".into()), ..settings("http://127.0.0.1:1/v1".into()) };
    let error = ChatClient::new(&bad).expect_err("no header can carry it");
    assert!(!format!("{error} {error:?}").contains("1234"));
}

#[test]
fn certificates_that_are_not_there_are_named() {
    let bad = ModelSettings {
        ca_file: Some(PathBuf::from("/nowhere/ca.pem")),
        ..settings("http://127.0.0.1:1/v1".into())
    };
    let error = ChatClient::new(&bad).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

/// Bodies as other servers write them.
#[rstest]
#[case::llama(r#"{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":"{}"}}],"usage":{"completion_tokens":37,"prompt_tokens":65,"total_tokens":102}}"#, Ok((65, 37)))]
#[case::no_usage(r#"{"choices":[{"message":{"content":"{}"}}]}"#, Ok((0, 0)))]
#[case::odd_usage(r#"{"choices":[{"message":{"content":"{}"}}],"usage":{"prompt_tokens":"many"}}"#, Ok((0, 0)))]
#[case::null_usage(r#"{"choices":[{"message":{"content":"{}"}}],"usage":null}"#, Ok((0, 0)))]
#[case::parts(r#"{"choices":[{"message":{"content":[{"type":"text","text":"{}"}]}}]}"#, Ok((0, 0)))]
#[case::null_content(r#"{"choices":[{"message":{"content":null}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#, Err(("answered nothing", 5)))]
#[case::odd_content(r#"{"choices":[{"message":{"content":7}}]}"#, Err(("not text", 0)))]
#[case::a_tool(r#"{"choices":[{"finish_reason":"tool_calls","message":{"content":null}}]}"#, Err(("`tool_calls`", 0)))]
#[case::no_message(r#"{"choices":[{"finish_reason":"stop"}]}"#, Err(("no message", 0)))]
#[case::choices_of_another_kind(r#"{"choices":7,"usage":{"prompt_tokens":9,"completion_tokens":1}}"#, Err(("not a chat completion", 9)))]
#[case::half(r#"{"choices":[{"mess"#, Err(("not JSON", 0)))]
#[case::nothing("", Err(("is empty", 0)))]
fn answers_are_read_leniently_and_judged_strictly(
    #[case] body: &str,
    #[case] expected: Result<(u64, u64), (&str, u64)>,
) {
    let read = answer::read(body.as_bytes(), RatesSeen::default());
    match (read, expected) {
        (Ok(answer), Ok(usage)) => {
            assert_eq!(answer.content, "{}");
            assert_eq!((answer.usage.prompt_tokens, answer.usage.completion_tokens), usage);
        }
        (Err(error), Err((words, prompt_tokens))) => {
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.usage().map(|usage| usage.prompt_tokens), Some(prompt_tokens));
        }
        (read, expected) => panic!("{read:?} instead of {expected:?}"),
    }
}

/// Refusals as different servers write them, told apart by the body before the status.
#[rstest]
#[case(429, r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#, "QuotaSpent")]
#[case(429, r#"{"error":{"message":"Rate limit reached for gpt on tokens per min (TPM)","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#, "Throttled { by: Tokens")]
#[case(
    429,
    r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
    "Throttled { by: Requests"
)]
#[case(429, r#"{"error":{"code":"429","message":"Requests to the API have exceeded the call rate limit. Requests per minute"}}"#, "Throttled { by: Requests")]
#[case(429, "", "Throttled { by: Unknown")]
#[case(429, "<html>busy</html>", "Throttled { by: Unknown")]
#[case(503, r#"{"error":{"message":"","type":"rate_limit_error","code":null}}"#, "Throttled")]
#[case(402, r#"{"error":"Insufficient balance"}"#, "QuotaSpent")]
#[case(403, r#"{"error":{"message":"billing","type":"x","code":"billing_not_active"}}"#, "QuotaSpent")]
#[case(401, r#"{"error":{"message":"Incorrect API key provided: sk-proj****6789","type":"invalid_request_error","code":"invalid_api_key"}}"#, "Refused")]
#[case(404, r#"{"error":{"message":"The model `gpt-9` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#, "NotThere")]
#[case(400, r#"{"error":{"message":"maximum context length","type":"invalid_request_error","code":"context_length_exceeded"}}"#, "BadRequest")]
#[case(422, r#"{"detail":"no such field"}"#, "BadRequest")]
#[case(500, "", "Failing")]
#[case(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "Failing")]
#[case(408, "", "Failing")]
#[case(200, r#"{"error":{"message":"The server had an error","type":"server_error"}}"#, "Failing")]
fn a_refusal_is_told_apart_by_its_body(#[case] status: u16, #[case] body: &str, #[case] expected: &str) {
    let error = error::classify(status, body.as_bytes(), RatesSeen::default(), Some(KEY));
    assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("6789"), "{error:?}");
}

#[test]
fn words_of_the_endpoint_are_short_and_hold_no_key() {
    let words = format!("bad key {KEY} or (sk-other) for you\n{}", "long ".repeat(100));
    let tidy = error::tidy(&words, Some(KEY));
    assert!(tidy.starts_with("bad key *** or *** for you long"), "{tidy}");
    assert!(tidy.len() < 220);
}

// Batches.

fn tag(part: u32) -> BatchTag {
    BatchTag { job: "job-7".to_owned(), part, since: 0 }
}

fn batch_file(folder: &Path, ids: impl Iterator<Item = usize>) -> BatchFile {
    let mut writer =
        BatchFileWriter::create(&folder.join("batch.jsonl"), BatchLimits::default()).expect("a file");
    for id in ids {
        let line = request_line(&id.to_string(), &question(&format!("00Q5g0000000{id:03}")));
        assert!(writer.push(&line).expect("it is written"));
    }
    writer.finish().expect("it is written")
}

fn at_once(end: BatchEnd) -> BatchPlan {
    BatchPlan { validating: Duration::ZERO, running: Duration::from_secs(60), end }
}

async fn all_lines(client: &ChatClient, file_id: Option<&String>) -> Vec<BatchLine> {
    let mut all = Vec::new();
    if let Some(file_id) = file_id {
        let mut lines = client.batch_lines(file_id).await.expect("the file");
        while let Some(line) = lines.next().await.expect("a line") {
            all.push(line);
        }
        assert_eq!(lines.unreadable(), 0);
    }
    all
}

#[tokio::test]
async fn a_batch_goes_up_is_answered_and_comes_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    server.set_batch_plan(at_once(BatchEnd::Complete));
    server.add_faults(rules("prose@lead=00Q5g0000000003;status=500@lead=00Q5g0000000004"));
    let file = batch_file(folder.path(), 0..50);
    assert_eq!(BatchFile::open(&file.path).expect("it is there"), file);
    let batch = client.submit(&file, &tag(1)).await.expect("a batch");
    assert_eq!((batch.status, batch.counts.total), (BatchStatus::InProgress, 50));
    server.advance(Duration::from_secs(61));
    let batch = client.batch(&batch.id).await.expect("a batch");
    assert_eq!(batch.status, BatchStatus::Completed);
    assert_eq!((batch.counts.completed, batch.counts.failed), (49, 1));

    let answers = all_lines(&client, batch.output_file_id.as_ref()).await;
    let mut ids: Vec<usize> = answers.iter().map(|line| line.custom_id.parse().expect("a number")).collect();
    assert_ne!(ids[0], 0, "the order is another one");
    ids.sort_unstable();
    assert_eq!(ids, (0..50).filter(|id| *id != 4).collect::<Vec<_>>());
    let alone = client.complete(&question("00Q5g0000000007")).await.expect("an answer");
    let seventh = answers.iter().find(|line| line.custom_id == "7").expect("it is there");
    assert_eq!(seventh.result.as_ref().expect("an answer").content, alone.content);

    let failed = all_lines(&client, batch.error_file_id.as_ref()).await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].custom_id, "4");
    assert!(matches!(failed[0].result, Err(ChatError::Failing { status: 500, .. })), "{failed:?}");

    client.delete_file(&batch.input_file_id).await.expect("it is gone");
    client.delete_file(&batch.input_file_id).await.expect("gone is gone");
    server.stop().await;
}

#[tokio::test]
async fn an_expired_batch_keeps_what_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    server.set_batch_plan(at_once(BatchEnd::Expire(40)));
    let file = batch_file(folder.path(), 0..20);
    let batch = client.submit(&file, &tag(1)).await.expect("a batch");
    server.advance(Duration::from_secs(86_000));
    assert_eq!(client.batch(&batch.id).await.expect("a batch").status, BatchStatus::InProgress);
    server.advance(Duration::from_secs(500));
    let batch = client.batch(&batch.id).await.expect("a batch");
    assert_eq!(batch.status, BatchStatus::Expired);
    let answered = all_lines(&client, batch.output_file_id.as_ref()).await;
    assert_eq!(answered.len(), 8);
    assert!(answered.iter().all(|line| line.result.is_ok()));
    let left = all_lines(&client, batch.error_file_id.as_ref()).await;
    assert_eq!(left.len(), 12);
    assert!(left.iter().all(|line| matches!(line.result, Err(ChatError::NotRun { .. }))));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_whose_file_is_not_accepted_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    server.set_batch_plan(at_once(BatchEnd::Complete));
    let file = batch_file(folder.path(), [1, 2, 1].into_iter());
    let batch = client.submit(&file, &tag(1)).await.expect("a batch");
    let batch = client.batch(&batch.id).await.expect("a batch");
    assert_eq!(batch.status, BatchStatus::Failed);
    assert!(batch.errors[0].starts_with("line 3: The custom_id"), "{:?}", batch.errors);
    assert!(batch.status.is_over() && batch.output_file_id.is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    server.set_batch_plan(at_once(BatchEnd::Complete));
    let file = batch_file(folder.path(), 0..60);
    let batch = client.submit(&file, &tag(1)).await.expect("a batch");
    server.advance(Duration::from_secs(30));
    assert_eq!(client.cancel_batch(&batch.id).await.expect("a batch").status, BatchStatus::Cancelling);
    server.advance(Duration::from_secs(1));
    let batch = client.batch(&batch.id).await.expect("a batch");
    assert_eq!(batch.status, BatchStatus::Cancelled);
    let answered = all_lines(&client, batch.output_file_id.as_ref()).await.len();
    assert!((29..=32).contains(&answered), "{answered}");
    assert_eq!(all_lines(&client, batch.error_file_id.as_ref()).await.len(), 60 - answered);
    server.stop().await;
}

/// Whatever is lost on the way, submitting again finds it: `path` and the moment at which the answer is lost.
#[rstest]
#[case::the_upload("drop@path=files,method=POST,times=1")]
#[case::half_the_answer_to_the_upload("cut@path=files,method=POST,times=1")]
#[case::the_batch("drop@path=batches,method=POST,times=1")]
#[case::half_the_answer_to_the_batch("cut@path=batches,method=POST,times=1")]
#[case::the_list_of_files("status=500@path=files,method=GET,times=1")]
#[case::the_list_of_batches("status=503@path=batches,method=GET,times=1")]
#[tokio::test]
async fn a_batch_is_paid_once_whatever_is_lost(#[case] fault: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    let file = batch_file(folder.path(), 0..5);
    // Other batches of the same job, and the same part of another job, are not mistaken for it.
    client.submit(&file, &tag(2)).await.expect("a batch");
    client.submit(&file, &BatchTag { job: "job-8".to_owned(), ..tag(1) }).await.expect("a batch");
    server.add_faults(rules(fault));
    client.submit(&file, &tag(1)).await.expect_err("it was lost");
    let batch = client.submit(&file, &tag(1)).await.expect("found or made");
    let again = client.submit(&file, &tag(1)).await.expect("found");
    assert_eq!(batch.id, again.id);
    assert_eq!(batch.metadata["penstock_job"], "job-7");
    server.advance(Duration::from_secs(10));
    client.batch(&batch.id).await.expect("a batch");
    let answered = server.log().iter().filter(|entry| entry.batch.is_some()).count();
    assert_eq!(answered, 15, "three batches of five questions, each answered once");
    let uploads = server.log().iter().filter(|entry| entry.request == "POST /v1/files").count();
    assert_eq!(uploads, 3, "what has arrived is not sent again");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_found_behind_many_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    let file = batch_file(folder.path(), 0..1);
    let first = client.submit(&file, &tag(0)).await.expect("a batch");
    for part in 1..130 {
        client.submit(&file, &tag(part)).await.expect("a batch");
    }
    assert_eq!(client.submit(&file, &tag(0)).await.expect("found").id, first.id);
    // What is older than the job is not looked through.
    let young = BatchTag { since: u64::MAX, ..tag(0) };
    server.clear_log();
    client.submit(&file, &young).await.expect("a new one");
    let lists = server.log().iter().filter(|entry| entry.request == "GET /v1/batches").count();
    assert_eq!(lists, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_breaks_off_on_its_way_down_is_an_error_and_not_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    let file = batch_file(folder.path(), 0..50);
    let batch = client.submit(&file, &tag(1)).await.expect("a batch");
    server.advance(Duration::from_secs(10));
    let batch = client.batch(&batch.id).await.expect("a batch");
    server.add_faults(rules("cut@path=files,method=GET,times=1"));
    let output = batch.output_file_id.expect("it is done");
    let mut lines = client.batch_lines(&output).await.expect("the file");
    let broke = loop {
        match lines.next().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(broke, Err(ChatError::Network { .. })), "{broke:?}");
    assert_eq!(all_lines(&client, Some(&output)).await.len(), 50);
    server.stop().await;
}

#[test]
fn a_batch_file_is_cut_by_lines_and_by_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("batch.jsonl");
    let limits = BatchLimits { lines: 3, bytes: 1_000 };
    let mut writer = BatchFileWriter::create(&path, limits).expect("a file");
    let taken: Vec<bool> = (0..4).map(|_| writer.push("{}").expect("it is written")).collect();
    assert_eq!(taken, [true, true, true, false]);
    let file = writer.finish().expect("it is written");
    assert_eq!((file.lines, file.bytes), (3, 9));

    let mut writer = BatchFileWriter::create(&path, BatchLimits { lines: 10, bytes: 10 }).expect("a file");
    let taken: Vec<bool> = (0..3).map(|_| writer.push("1234").expect("it is written")).collect();
    assert_eq!(taken, [true, true, false]);
    assert!(writer.push("1234567890").is_err(), "no file can take it");
}

#[tokio::test]
async fn a_file_that_changed_under_the_upload_is_not_sent_as_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = endpoint().await;
    let file = batch_file(folder.path(), 0..5);
    std::fs::write(&file.path, b"{}\n").expect("it is shorter now");
    client.submit(&file, &tag(1)).await.expect_err("the file is another one");
    assert!(server.log().iter().all(|entry| entry.request != "POST /v1/batches"));
    server.stop().await;
}
