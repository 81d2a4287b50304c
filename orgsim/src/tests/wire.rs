use super::client::{Reply, Sim, parse};
use crate::{
    Fault, FaultRule, Options,
    body::{Body, Chunk, Prepared},
    wire::{Damage, WireBody},
};
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::json;
use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DESCRIBE: &str = "/services/data/v62.0/sobjects/Lead/describe";

async fn describe(sim: &Sim, headers: &str) -> Result<Reply, String> {
    let headers = format!("Authorization: Bearer {}\r\n{headers}", sim.token);
    sim.raw("GET", DESCRIBE, &headers, b"").await
}

/// A server whose next describe of Lead suffers this, and that describe unharmed.
async fn suffering(fault: Fault) -> (Sim, Vec<u8>) {
    let sim = Sim::start().await;
    let whole = describe(&sim, "").await.unwrap().body;
    sim.server.faults().set(vec![FaultRule::always(fault).of_kind("describe").times(1)]);
    (sim, whole)
}

#[tokio::test]
async fn a_reset_connection_is_a_reset_and_not_an_end() {
    let (sim, whole) = suffering(Fault::ConnectionReset).await;
    assert_eq!(describe(&sim, "").await.err().unwrap(), "connection reset");
    assert_eq!(describe(&sim, "").await.unwrap().body, whole);
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(1_000)]
#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes(#[case] bytes: u64) {
    let (sim, whole) = suffering(Fault::CutAfter { bytes }).await;
    let error = describe(&sim, "").await.err().unwrap();
    assert_eq!(error, format!("{bytes} of {} bytes", whole.len()));
    assert_eq!(sim.server.journal().calls.last().unwrap().status, 0);
}

#[tokio::test]
async fn a_truncated_chunked_body_lacks_its_last_chunk() {
    let (sim, whole) = suffering(Fault::TruncatedChunked).await;
    let error = describe(&sim, "").await.err().unwrap();
    assert_eq!(error, format!("{} bytes and no last chunk", whole.len() / 2));
}

#[tokio::test]
async fn a_truncated_gzip_body_is_whole_as_http_and_half_as_gzip() {
    let (sim, whole) = suffering(Fault::TruncatedGzip).await;
    let reply = describe(&sim, "Accept-Encoding: gzip\r\n").await.unwrap();
    assert_eq!((reply.status, reply.header("Content-Encoding")), (200, Some("gzip")));
    let mut plain = Vec::new();
    let error = flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_end(&mut plain).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(whole.starts_with(&plain) && plain.len() < whole.len());
}

#[tokio::test]
async fn a_length_is_wrong_in_either_direction() {
    let (sim, whole) = suffering(Fault::ContentLengthTooLong { by: 10 }).await;
    let error = describe(&sim, "").await.err().unwrap();
    assert_eq!(error, format!("{} of {} bytes", whole.len(), whole.len() + 10));
    let (sim, whole) = suffering(Fault::ContentLengthTooShort { by: 10 }).await;
    let error = describe(&sim, "").await.err().unwrap();
    assert_eq!(error, format!("{} of {} bytes", whole.len(), whole.len() - 10));
    assert_eq!(describe(&sim, "").await.unwrap().body, whole);
}

#[tokio::test]
async fn a_dripping_body_arrives_whole_and_late() {
    let (sim, whole) = suffering(Fault::SlowDrip { bytes: 1_000, every_ms: 20 }).await;
    let from = sim.server.elapsed_ms();
    assert_eq!(describe(&sim, "").await.unwrap().body, whole);
    let least = whole.len() as u64 / 1_000 * 20;
    let took = sim.server.elapsed_ms() - from;
    assert!(took >= least, "{took} ms for {} bytes", whole.len());
}

#[rstest]
#[case(Fault::EmptyBody { status: 420 }, 420, None)]
#[case(Fault::EmptyBody { status: 406 }, 406, None)]
#[case(Fault::TooManyRequests, 429, None)]
#[case(Fault::TooManyRequestsFor { seconds: 7 }, 429, Some("7"))]
#[tokio::test]
async fn an_answer_of_a_status_alone_has_no_body(
    #[case] fault: Fault,
    #[case] status: u16,
    #[case] retry_after: Option<&str>,
) {
    let (sim, _) = suffering(fault).await;
    let reply = describe(&sim, "").await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (status, 0));
    assert_eq!(reply.header("Retry-After"), retry_after);
    assert_eq!(reply.header("Content-Type"), None);
}

#[rstest]
#[case(Fault::ServerError, 500, "An unexpected error occurred")]
#[case(Fault::AppNotAttached, 401, "Connected app is not attached to Agent")]
#[case(Fault::SessionNotForRest, 401, "This session is not valid for use with the REST API")]
#[tokio::test]
async fn an_error_says_what_tells_it_apart(#[case] fault: Fault, #[case] status: u16, #[case] says: &str) {
    let (sim, _) = suffering(fault).await;
    let reply = describe(&sim, "").await.unwrap();
    assert_eq!(reply.status, status);
    assert!(reply.json()[0]["message"].as_str().unwrap().starts_with(says));
    assert_eq!(describe(&sim, "").await.unwrap().status, 200, "the session is as good as before");
}

#[rstest]
#[case(Fault::HtmlPage, 200)]
#[case(Fault::Gateway, 502)]
#[tokio::test]
async fn a_page_is_sent_where_json_should_be(#[case] fault: Fault, #[case] status: u16) {
    let (sim, _) = suffering(fault).await;
    let reply = describe(&sim, "").await.unwrap();
    assert_eq!((reply.status, reply.header("Content-Type")), (status, Some("text/html; charset=UTF-8")));
    assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_err());
}

#[tokio::test]
async fn a_huge_error_is_as_large_as_asked_for() {
    let (sim, _) = suffering(Fault::HugeError { status: 503, kilobytes: 300 }).await;
    let reply = describe(&sim, "").await.unwrap();
    assert_eq!((reply.status, reply.error_code()), (503, "UNKNOWN_EXCEPTION".to_owned()));
    assert!(reply.body.len() >= 300_000, "{}", reply.body.len());
}

#[tokio::test]
async fn a_describe_can_have_types_nobody_has_heard_of() {
    let (sim, whole) = suffering(Fault::UnknownFieldTypes).await;
    let strange = describe(&sim, "").await.unwrap().json();
    let usual: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let (strange, usual) = (strange["fields"].as_array().unwrap(), usual["fields"].as_array().unwrap());
    assert_eq!(strange.len(), usual.len());
    for (at, (strange, usual)) in strange.iter().zip(usual).enumerate() {
        assert_eq!(strange["name"], usual["name"]);
        let expected = if at % 3 == 0 { &json!("hologram") } else { &usual["type"] };
        assert_eq!(&strange["type"], expected);
    }
}

#[tokio::test]
async fn a_skewed_clock_shows_in_the_date_and_in_a_tokens_time() {
    let sim = Sim::start().await;
    sim.server.faults().set(vec![FaultRule::always(Fault::ClockSkew { seconds: -600 })]);
    let now = sim.server.epoch_ms();
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    let token = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
    let issued: i64 = token.json()["issued_at"].as_str().unwrap().parse().unwrap();
    assert!((now - 600_000..now - 590_000).contains(&issued), "{issued} at {now}");
    for reply in [token, describe(&sim, "").await.unwrap()] {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(reply.header("Date").unwrap());
        let behind = now - date.unwrap().as_millisecond();
        assert!((590_000..602_000).contains(&behind), "{behind}");
    }
}

#[tokio::test]
async fn a_moved_clock_shows_in_every_date() {
    let sim = Sim::start().await;
    sim.server.advance_clock(Duration::from_secs(86_400));
    let told = sim.raw("GET", "/__sim/clock", "", b"").await.unwrap().json()["epoch_ms"].as_i64().unwrap();
    let reply = describe(&sim, "").await.unwrap();
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(reply.header("Date").unwrap());
    assert!((date.unwrap().as_millisecond() - told).abs() < 2_000);
}

#[tokio::test]
async fn a_repeated_locator_leads_to_the_same_page_for_ever() {
    let sim = Sim::start().await;
    let headers = "Sforce-Query-Options: batchSize=200\r\n";
    let first = sim.get_with("/services/data/v62.0/query?q=SELECT+Id+FROM+Lead", headers).await.json();
    let next = first["nextRecordsUrl"].as_str().unwrap();
    let honest = sim.get(next).await.json();
    assert!(honest["done"].as_bool().unwrap());
    sim.server.faults().set(vec![FaultRule::always(Fault::LocatorRepeated)]);
    let again = sim.get(next).await.json();
    assert_eq!((&again["nextRecordsUrl"], &again["done"]), (&json!(next), &json!(false)));
    assert_eq!(again["records"], honest["records"]);
}

#[tokio::test]
async fn a_refused_login_can_be_ordered() {
    let sim = Sim::start().await;
    let rules = "[[rule]]\nfault = { type = \"oauth_error\", error = \"invalid_grant\" }\n";
    let posted =
        sim.raw("POST", "/__sim/faults", "Content-Type: application/toml\r\n", rules.as_bytes()).await;
    assert_eq!(posted.unwrap().status, 200);
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    let refused = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
    assert_eq!((refused.status, refused.json()), (400, json!({ "error": "invalid_grant" })));
    assert_eq!(describe(&sim, "").await.unwrap().status, 200);
}

#[rstest]
#[case(json!([{ "kind": "qurey", "fault": "gateway" }]), "rule 1: no kind `qurey`")]
#[case(json!([{ "fault": "gateway" }, { "object": "Leed", "fault": "gateway" }]), "rule 2: no object `Leed`")]
#[tokio::test]
async fn a_rule_that_could_never_strike_is_refused(#[case] rules: serde_json::Value, #[case] says: &str) {
    let sim = Sim::start().await;
    let reply = sim.post("/__sim/faults", &rules).await;
    assert_eq!(reply.status, 400);
    let message = reply.json()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(says), "{message}");
}

#[tokio::test]
async fn too_many_long_requests_turn_the_next_away() {
    let options = Options {
        long_request_after: Duration::from_millis(100),
        long_requests_max: 2,
        ..Options::default()
    };
    let sim = Sim::with(options).await;
    sim.server.faults().set(vec![FaultRule::always(Fault::Latency { ms: 1_500 }).on_object("Lead")]);
    let long = || async { describe(&sim, "").await.unwrap().status };
    let next = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let refused = sim.get("/services/data/v62.0/limits").await;
        assert_eq!(
            (refused.status, refused.json()[0]["message"].clone()),
            (403, json!("ConcurrentRequests (Concurrent API Requests) Limit exceeded."))
        );
        assert_eq!(refused.header("Sforce-Limit-Info"), Some("api-usage=2/15000"), "it is not counted");
    };
    let (one, two, ()) = tokio::join!(long(), long(), next);
    assert_eq!((one, two), (200, 200));
    assert_eq!(sim.get("/services/data/v62.0/limits").await.status, 200);
}

#[tokio::test]
async fn a_compressed_request_is_read() {
    let sim = Sim::start().await;
    let ids = json!({ "ids": ["00Q5g00000NOPE0"], "fields": ["Id"] }).to_string();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(ids.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    let headers = format!("Authorization: Bearer {}\r\nContent-Encoding: gzip\r\n", sim.token);
    let path = "/services/data/v62.0/composite/sobjects/Lead/";
    let reply = sim.raw("POST", path, &headers, &packed).await.unwrap();
    assert_eq!((reply.status, reply.json()), (200, json!([null])));
    assert_eq!(sim.raw("POST", path, &headers, b"no gzip").await.unwrap().status, 400);
}

#[tokio::test]
async fn a_kept_connection_serves_request_after_request_until_a_fault() {
    let sim = Sim::start().await;
    sim.server.faults().set(vec![FaultRule::always(Fault::CutBefore).nth(3)]);
    let address = sim.server.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /services/data HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut bytes = Vec::new();
    for answers in 1..=3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        while bytes.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count() < answers
            || !bytes.ends_with(b"}]")
        {
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                assert_eq!(answers, 3, "the first two are answered");
                return;
            }
        }
    }
    panic!("the third request was answered");
}

fn chunks(made: &Arc<AtomicUsize>) -> impl Iterator<Item = Chunk> + Send + 'static {
    let made = made.clone();
    (0..50_u8).map(move |at| {
        made.fetch_add(1, Ordering::Relaxed);
        let text = vec![b'a' + at % 26; 10_000];
        if at % 2 == 0 { Chunk::from(text) } else { Chunk::from(Arc::new(Prepared::new(&text))) }
    })
}

async fn sent(body: WireBody) -> Option<Vec<u8>> {
    body.collect().await.ok().map(|body| body.to_bytes().to_vec())
}

#[tokio::test]
async fn a_streamed_body_is_the_whole_one_plain_and_compressed() {
    let made = Arc::new(AtomicUsize::new(0));
    let whole = Body::streamed(chunks(&made)).plain().to_vec();
    assert_eq!(whole.len(), 500_000);
    let sound = Damage::default();
    let body = || Body::streamed(chunks(&made));
    assert_eq!(sent(WireBody::new(body(), false, &sound, None)).await, Some(whole.clone()));
    let packed = sent(WireBody::new(body(), true, &sound, None)).await.unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, whole);
}

#[tokio::test]
async fn a_streamed_body_is_made_as_it_is_taken() {
    let made = Arc::new(AtomicUsize::new(0));
    let mut body = WireBody::new(Body::streamed(chunks(&made)), false, &Damage::default(), None);
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    assert!(made.load(Ordering::Relaxed) <= 4, "one ahead at most: {}", made.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_streamed_body_suffers_what_a_whole_one_does() {
    let made = Arc::new(AtomicUsize::new(0));
    let sent = |damage: Damage| {
        let mut body = WireBody::new(Body::streamed(chunks(&made)), false, &damage, None);
        async move {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes += frame.into_data().map_or(0, |data| data.len()),
                    Err(_) => return (bytes, "cut"),
                }
            }
            (bytes, "whole")
        }
    };
    let cut = |at| Damage { cut: Some(at), ..Damage::default() };
    assert_eq!(sent(cut(crate::wire::CutAt::Middle)).await, (5_000, "cut"));
    assert_eq!(sent(cut(crate::wire::CutAt::Byte(123_456))).await, (123_456, "cut"));
    assert_eq!(sent(Damage { short: true, ..Damage::default() }).await, (5_000, "whole"));
    let drip = Some((9_000, Duration::ZERO));
    assert_eq!(sent(Damage { drip, ..Damage::default() }).await, (500_000, "whole"));
}

#[test]
fn a_half_answer_is_seen_as_one() {
    assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").is_err());
    assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").is_ok());
}

#[tokio::test]
async fn a_refresh_answered_by_a_fault_spends_no_token() {
    let options =
        Options { refresh_tokens: vec!["first".into()], rotate_refresh_tokens: true, ..Options::default() };
    let sim = Sim::with(options).await;
    sim.server.faults().set(vec![
        FaultRule::always(Fault::Unavailable).of_kind("token").nth(1),
        FaultRule::always(Fault::CutBefore).of_kind("token").nth(2),
    ]);
    let form = "grant_type=refresh_token&client_id=PlatformCLI&refresh_token=first";
    let refresh = || sim.raw("POST", "/services/oauth2/token", "", form.as_bytes());
    assert_eq!(refresh().await.unwrap().status, 503);
    assert_eq!(refresh().await.err().unwrap(), "no head");
    let third = refresh().await.unwrap();
    assert_eq!(third.status, 400, "the 503 left the token alone, the lost answer has spent it");
    assert_eq!(sim.server.faults().fired(), [1, 1]);
}

#[tokio::test]
async fn an_insert_answered_by_a_fault_leaves_no_row_and_a_lost_answer_does() {
    let sim = Sim::start().await;
    sim.server.faults().set(vec![
        FaultRule::always(Fault::ServerError).of_kind("dml").on_object("Lead").nth(1),
        FaultRule::always(Fault::ConnectionReset).of_kind("dml").nth(2),
    ]);
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", sim.token);
    let body = json!({ "LastName": "Fault", "Company": "Acme" }).to_string();
    let insert = || sim.raw("POST", "/services/data/v62.0/sobjects/Lead", &headers, body.as_bytes());
    let leads =
        || async { sim.query("SELECT COUNT() FROM Lead").await.json()["totalSize"].as_u64().unwrap() };
    let before = leads().await;
    assert_eq!(insert().await.unwrap().status, 500);
    assert_eq!(leads().await, before);
    assert!(insert().await.is_err());
    assert_eq!(leads().await, before + 1);
    assert_eq!(insert().await.unwrap().status, 201);
    let statuses: Vec<u16> =
        sim.server.journal().calls.iter().filter(|call| call.kind == "dml").map(|call| call.status).collect();
    assert_eq!(statuses, [500, 0, 201]);
}
