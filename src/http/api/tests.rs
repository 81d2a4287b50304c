//! The endpoint over real sockets, with a service and a door that do as they are told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rstest::rstest;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::batch::catalogue::Catalogue;
use crate::clock::BoxFuture;

const BODY_MAX: usize = 1_000;

/// What the service does with the next batch.
enum Script {
    Answer(BatchReply),
    Panic,
    /// Never answers, and says when it is dropped.
    Hang,
}

#[derive(Default)]
struct Stage {
    script: Mutex<Option<Script>>,
    asks: Mutex<Vec<BatchAsk>>,
    dropped: Arc<AtomicBool>,
}

struct SaysWhenDropped(Arc<AtomicBool>);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Scripted(Arc<Stage>);

impl BatchService for Scripted {
    fn body_bytes_max(&self) -> usize {
        BODY_MAX
    }

    fn run(&self, ask: BatchAsk) -> BoxFuture<'static, BatchReply> {
        self.0.asks.lock().unwrap().push(ask);
        let script = self.0.script.lock().unwrap().take();
        let mark = SaysWhenDropped(Arc::clone(&self.0.dropped));
        Box::pin(async move {
            match script {
                Some(Script::Answer(reply)) => reply,
                Some(Script::Panic) => panic!("on purpose"),
                Some(Script::Hang) => {
                    let _mark = mark;
                    std::future::pending().await
                }
                None => done(),
            }
        })
    }

    fn plan(&self, ask: BatchAsk) -> BatchReply {
        self.0.asks.lock().unwrap().push(ask);
        done()
    }

    fn catalogues(&self) -> Vec<Arc<Catalogue>> {
        Vec::new()
    }
}

struct TokenGood;

impl Door for TokenGood {
    fn let_in(&self, authorization: Option<String>) -> BoxFuture<'static, Result<Caller, NotLetIn>> {
        let judged = match authorization.as_deref() {
            Some("Bearer good") => Ok(Caller { subject: Arc::from("ada"), ..Caller::default() }),
            Some("Bearer old") => Err(NotLetIn::Token(TokenFault::Expired)),
            Some("Bearer stranger") => Err(NotLetIn::Forbidden),
            Some("Bearer unlucky") => Err(NotLetIn::Token(TokenFault::KeysUnavailable)),
            Some(_) => Err(NotLetIn::NotBearer),
            None => Err(NotLetIn::NoToken),
        };
        Box::pin(async move { judged })
    }

    fn admits(&self) -> Admits {
        Admits { tokens: true, without_token: false }
    }
}

fn answer(status: u16, retry_after: Option<u32>) -> Answer {
    Answer { status, content_type: JSON, body: b"{\"success\":true}".to_vec(), retry_after }
}

fn reply(answer: Answer, replayed: bool) -> BatchReply {
    BatchReply { batch_id: Arc::from("01J"), replayed, content: ReplyContent::Whole(answer) }
}

fn done() -> BatchReply {
    reply(answer(200, None), false)
}

struct Rig {
    server: HttpHandle,
    stage: Arc<Stage>,
}

fn rig() -> Rig {
    let stage = Arc::new(Stage::default());
    let service: Arc<dyn BatchService> = Arc::new(Scripted(Arc::clone(&stage)));
    let sources = ApiSources { service: Some(service), door: Arc::new(TokenGood), leads: None };
    Rig { server: start(SocketAddr::from(([127, 0, 0, 1], 0)), sources).expect("a free port"), stage }
}

/// An answer as it came.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem: Value = serde_json::from_slice(&self.body).expect("a JSON document");
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["message"], problem["detail"]);
        (self.status, problem["kind"].as_str().expect("a kind").to_owned())
    }
}

impl Rig {
    fn next(&self, script: Script) {
        *self.stage.script.lock().unwrap() = Some(script);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn send(&self, first_line: &str, headers: &[&str], body: &[u8]) -> Got {
        let mut stream = self.connect();
        write_request(&mut stream, first_line, headers, body);
        read_answer(&mut stream)
    }

    /// A good batch, with these headers beside those that it needs.
    fn batch(&self, headers: &[&str], body: &[u8]) -> Got {
        let mut all = vec!["Authorization: Bearer good", "Content-Type: application/json"];
        all.extend_from_slice(headers);
        self.send("POST /batch", &all, body)
    }

    fn eventually_dropped(&self) -> bool {
        eventually(|| self.stage.dropped.load(Ordering::Acquire))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test looks again until a real socket has been noticed")]
fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..500 {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn write_request(stream: &mut TcpStream, first_line: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("{first_line} HTTP/1.1\r\nHost: x\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !headers.iter().any(|header| header.starts_with("Transfer-Encoding")) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has answered already may have closed its side.
    let _ = stream.write_all(body);
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        let more = stream.read_exact(&mut byte);
        assert!(more.is_ok(), "{more:?}: {}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_answer(stream: &mut TcpStream) -> Got {
    let head = read_head(stream);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut got = Got { status, head, body: Vec::new() };
    let length = got.header("content-length").map_or(0, |length| length.parse().unwrap());
    got.body.resize(length, 0);
    stream.read_exact(&mut got.body).unwrap();
    got
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn a_batch_is_passed_on_as_it_came_and_its_answer_goes_back() {
    let rig = rig();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = ["Idempotency-Key: k-1", &format!("traceparent: {trace}")];
    let got = rig.batch(&headers, b"{\"operations\":[]}");
    assert_eq!((got.status, &got.body[..]), (200, &b"{\"success\":true}"[..]));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("penstock-batch-id"), Some("01J"));
    assert_eq!((got.header("idempotent-replayed"), got.header("retry-after")), (None, None));
    let asks = rig.stage.asks.lock().unwrap();
    let ask = &asks[0];
    assert_eq!(ask.body, b"{\"operations\":[]}");
    assert_eq!((&*ask.caller.subject, ask.lines, ask.dry_run), ("ada", false, false));
    assert_eq!((ask.idempotency_key.as_deref(), ask.trace.as_deref()), (Some("k-1"), Some(trace)));
}

#[test]
fn a_packed_body_is_unpacked_on_the_way() {
    let rig = rig();
    assert_eq!(rig.batch(&["Content-Encoding: gzip"], &packed(b"{}")).status, 200);
    assert_eq!(rig.stage.asks.lock().unwrap()[0].body, b"{}");
}

#[test]
fn replays_and_waits_are_told_by_headers() {
    let rig = rig();
    rig.next(Script::Answer(reply(answer(200, None), true)));
    assert_eq!(rig.batch(&[], b"{}").header("idempotent-replayed"), Some("true"));
    rig.next(Script::Answer(reply(answer(503, Some(7)), false)));
    let got = rig.batch(&[], b"{}");
    assert_eq!((got.status, got.header("retry-after")), (503, Some("7")));
}

#[rstest]
#[case::nowhere("GET /nowhere", &[], 404, "not_found")]
#[case::the_root("POST /", &[], 404, "not_found")]
#[case::below("POST /batch/plan/more", &[], 404, "not_found")]
#[case::get_batch("GET /batch", &[], 405, "method_not_allowed")]
#[case::put_plan("PUT /batch/plan", &[], 405, "method_not_allowed")]
#[case::post_entities("POST /entities", &[], 405, "method_not_allowed")]
#[case::delete_document("DELETE /openapi.json", &[], 405, "method_not_allowed")]
#[case::an_odd_method("FROB /batch", &[], 405, "method_not_allowed")]
#[case::no_token("POST /batch", &[], 401, "unauthenticated")]
#[case::no_token_to_look("GET /entities", &[], 401, "unauthenticated")]
#[case::basic("POST /batch", &["Authorization: Basic YTpi"], 401, "unauthenticated")]
#[case::two_tokens("POST /batch", &["Authorization: Bearer good", "Authorization: Bearer good"], 401, "unauthenticated")]
#[case::expired("POST /batch/plan", &["Authorization: Bearer old"], 401, "unauthenticated")]
#[case::not_for_them("POST /batch", &["Authorization: Bearer stranger"], 403, "forbidden")]
#[case::no_keys("POST /batch", &["Authorization: Bearer unlucky"], 503, "keys_unavailable")]
#[case::text_wanted("POST /batch", &["Authorization: Bearer good", "Accept: text/html"], 406, "not_acceptable")]
#[case::lines_of_a_document("GET /entities", &["Authorization: Bearer good", "Accept: application/x-ndjson"], 406, "not_acceptable")]
#[case::no_type("POST /batch", &["Authorization: Bearer good"], 415, "unsupported_media_type")]
#[case::form("POST /batch", &["Authorization: Bearer good", "Content-Type: text/plain"], 415, "unsupported_media_type")]
fn what_is_wrong_is_told_as_a_problem(
    #[case] first_line: &str,
    #[case] headers: &[&str],
    #[case] status: u16,
    #[case] kind: &str,
) {
    let got = rig().send(first_line, headers, b"");
    assert_eq!(got.problem(), (status, kind.to_owned()));
    assert_eq!(got.header("www-authenticate").is_some(), matches!(status, 401 | 403));
    assert_eq!(got.header("allow").is_some(), status == 405);
    assert_eq!(got.header("retry-after").is_some(), status == 503);
}

#[rstest]
#[case::brotli("Content-Encoding: br", b"{}".to_vec(), 415, "unsupported_media_type")]
#[case::twice_packed("Content-Encoding: gzip, gzip", b"{}".to_vec(), 415, "unsupported_media_type")]
#[case::not_packed("Content-Encoding: gzip", b"{}".to_vec(), 400, "invalid_request")]
#[case::a_bomb("Content-Encoding: gzip", packed(&vec![b' '; 8 << 20][..900_000]), 413, "body_too_large")]
#[case::too_large("X: y", vec![b' '; BODY_MAX + 1], 413, "body_too_large")]
#[case::an_empty_key("Idempotency-Key: ", b"{}".to_vec(), 400, "invalid_key")]
#[case::a_key_with_a_space("Idempotency-Key: a b", b"{}".to_vec(), 400, "invalid_key")]
fn a_body_that_is_not_taken_is_told_as_a_problem(
    #[case] header: &str,
    #[case] body: Vec<u8>,
    #[case] status: u16,
    #[case] kind: &str,
) {
    let rig = rig();
    assert_eq!(rig.batch(&[header], &body).problem(), (status, kind.to_owned()));
    assert!(rig.stage.asks.lock().unwrap().is_empty(), "it went no further");
}

#[test]
fn a_body_of_unknown_length_is_bounded_too() {
    let rig = rig();
    let chunk = [b"400\r\n".to_vec(), vec![b' '; 0x400], b"\r\n0\r\n\r\n".to_vec()].concat();
    let got = rig.batch(&["Transfer-Encoding: chunked"], &chunk);
    assert_eq!(got.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(rig.batch(&["Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n").status, 200);
}

#[test]
fn a_panic_is_a_500_and_the_next_batch_is_served() {
    let rig = rig();
    rig.next(Script::Panic);
    assert_eq!(rig.batch(&[], b"{}").problem(), (500, "internal".to_owned()));
    assert_eq!(rig.batch(&[], b"{}").status, 200);
}

#[rstest]
#[case::both_sides(Shutdown::Both)]
#[case::its_own_side(Shutdown::Write)]
fn a_client_that_hangs_up_drops_its_batch(#[case] how: Shutdown) {
    let rig = rig();
    rig.next(Script::Hang);
    let mut stream = rig.connect();
    let headers = ["Authorization: Bearer good", "Content-Type: application/json"];
    write_request(&mut stream, "POST /batch", &headers, b"{}");
    assert!(eventually(|| !rig.stage.asks.lock().unwrap().is_empty()), "the batch has begun");
    assert!(!rig.stage.dropped.load(Ordering::Acquire), "and runs");
    stream.shutdown(how).unwrap();
    assert!(rig.eventually_dropped());
}

fn stream_of(rig: &Rig) -> (mpsc::UnboundedSender<Vec<u8>>, TcpStream) {
    let (sender, lines) = mpsc::unbounded_channel();
    let reader = Box::new(SaysWhenDropped(Arc::clone(&rig.stage.dropped)));
    let content = ReplyContent::Lines(LineStream { lines, reader });
    rig.next(Script::Answer(BatchReply { batch_id: Arc::from("01J"), replayed: false, content }));
    let mut stream = rig.connect();
    let headers =
        ["Authorization: Bearer good", "Content-Type: application/json", "Accept: application/x-ndjson"];
    write_request(&mut stream, "POST /batch", &headers, b"{}");
    (sender, stream)
}

fn read_chunk(stream: &mut TcpStream) -> Vec<u8> {
    let (mut size, mut byte) = (Vec::new(), [0]);
    while !size.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        size.push(byte[0]);
    }
    let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).unwrap();
    chunk.truncate(size);
    chunk
}

#[test]
fn a_line_leaves_before_the_next_one_is_there() {
    let rig = rig();
    let (sender, mut stream) = stream_of(&rig);
    sender.send(b"{\"batchId\":\"01J\"}\n".to_vec()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
    assert!(rig.stage.asks.lock().unwrap()[0].lines);
    assert_eq!(read_chunk(&mut stream), b"{\"batchId\":\"01J\"}\n");
    sender.send(b"{\"id\":1}\n".to_vec()).unwrap();
    assert_eq!(read_chunk(&mut stream), b"{\"id\":1}\n");
    drop(sender);
    assert_eq!(read_chunk(&mut stream), b"", "the end");
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_lines_is_noticed_without_a_next_line() {
    let rig = rig();
    let (sender, mut stream) = stream_of(&rig);
    sender.send(b"{\"batchId\":\"01J\"}\n".to_vec()).unwrap();
    read_head(&mut stream);
    read_chunk(&mut stream);
    stream.shutdown(Shutdown::Both).unwrap();
    assert!(rig.eventually_dropped());
}

#[test]
fn documents_are_each_callers_own_and_never_cached() {
    let rig = rig();
    for path in ["GET /entities", "GET /openapi.json"] {
        let got = rig.send(path, &["Authorization: Bearer good"], b"");
        assert_eq!((got.status, got.header("cache-control")), (200, Some("private, no-store")));
        let document: Value = serde_json::from_slice(&got.body).unwrap();
        assert!(document["databases"].is_array() || document["openapi"] == "3.1.0");
    }
}

#[test]
fn a_connection_serves_one_batch_after_another() {
    let rig = rig();
    let mut stream = rig.connect();
    let headers = ["Authorization: Bearer good", "Content-Type: application/json"];
    for _ in 0..3 {
        write_request(&mut stream, "POST /batch", &headers, b"{}");
        assert_eq!(read_answer(&mut stream).status, 200);
    }
}

#[rstest]
#[case::tokens_only(true, false, "[{\"bearer\":[]}]")]
#[case::both(true, true, "[{},{\"bearer\":[]}]")]
#[case::nobody_signs(false, true, "[{}]")]
#[case::nobody_comes_in(false, false, "[{\"bearer\":[]}]")]
fn the_description_says_with_what_a_caller_may_come(
    #[case] tokens: bool,
    #[case] without_token: bool,
    #[case] expected: &str,
) {
    let serves = Serves { batches: true, leads: false };
    let document = openapi::document(&[], &Caller::default(), Admits { tokens, without_token }, serves);
    assert_eq!(document["security"].to_string(), expected);
}
