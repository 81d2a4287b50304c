//! Progress as it comes: events and WebSockets.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Line;
use super::fake::{GOOD, UNREAD};
use super::{Rig, rig, rig_with};
use crate::leads::job::JobPhase;

const HANDSHAKE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

#[expect(clippy::disallowed_methods, reason = "a test looks again until a real socket has been noticed")]
pub(super) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..500 {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// A rig with a job under way.
fn running() -> Rig {
    let rig = rig_with(|stage| stage.holds = true, &[]);
    rig.post("/v1/leads", json!({ "ids": [GOOD, UNREAD] })).data(202);
    rig
}

fn follow(rig: &Rig, headers: &[&str]) -> Line {
    let mut line = rig.connect();
    line.send("GET /v1/jobs/leads-1/events", headers, b"");
    let head = line.until("\r\n\r\n").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
    assert!(head.contains("x-accel-buffering: no"), "{head}");
    line
}

/// One event: its number, its name, its document.
fn event(line: &mut Line) -> (u64, String, Value) {
    let text = String::from_utf8(line.chunk()).unwrap();
    let text = text.strip_prefix("retry: 3000\n\n").unwrap_or(&text);
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"))
    };
    assert!(text.ends_with("\n\n"));
    (
        field("id: ").parse().unwrap(),
        field("event: ").to_owned(),
        serde_json::from_str(field("data: ")).unwrap(),
    )
}

#[test]
fn events_tell_the_state_each_change_and_the_end() {
    let rig = running();
    let mut line = follow(&rig, &[]);
    let (number, name, document) = event(&mut line);
    assert_eq!((number, name.as_str(), &document["event"]), (1, "progress", &json!("progress")));
    assert_eq!(
        (&document["job"]["job"], &document["job"]["phase"]),
        (&json!("leads-1"), &json!("assessing"))
    );
    rig.fake.show("leads-1", 1);
    let (number, _, document) = event(&mut line);
    assert_eq!((number, &document["job"]["counts"]["open"]), (2, &json!(1)));
    rig.fake.finish("leads-1", JobPhase::Done);
    let (number, name, document) = event(&mut line);
    assert_eq!((number, name.as_str(), &document["job"]["phase"]), (3, "done", &json!("done")));
    assert_eq!(line.chunk(), b"", "the end");
}

#[test]
fn a_browser_that_comes_again_goes_on_counting() {
    let rig = running();
    assert_eq!(event(&mut follow(&rig, &["Last-Event-ID: 41"])).0, 42);
    assert_eq!(event(&mut follow(&rig, &["Last-Event-ID: what"])).0, 1);
}

#[test]
fn changes_that_come_fast_are_told_as_one() {
    let rig = running();
    let mut line = follow(&rig, &[]);
    event(&mut line);
    for open in (0..1_000).rev() {
        rig.fake.show("leads-1", open);
    }
    rig.fake.finish("leads-1", JobPhase::Failed);
    let mut told = 0;
    loop {
        let (_, name, document) = event(&mut line);
        told += 1;
        if name == "done" {
            assert_eq!(
                (&document["job"]["phase"], &document["job"]["error"]),
                (&json!("failed"), &json!("the disk is full"))
            );
            break;
        }
    }
    assert!(told < 20, "{told} events for 1,000 changes");
}

#[test]
fn a_job_that_is_over_is_told_and_done() {
    let rig = rig();
    rig.post("/v1/leads", json!({ "ids": [GOOD] })).data(202);
    let mut line = follow(&rig, &[]);
    assert_eq!(event(&mut line).1, "progress");
    assert_eq!(event(&mut line).1, "done");
}

#[test]
fn a_job_that_is_between_two_runs_is_followed_on() {
    let rig = running();
    let mut line = follow(&rig, &[]);
    event(&mut line);
    rig.fake.leave("leads-1");
    rig.fake.take_up("leads-1");
    assert_eq!(event(&mut line).2["job"]["phase"], "assessing", "the next run");
    rig.fake.finish("leads-1", JobPhase::Done);
    assert_eq!(event(&mut line).1, "done");
}

#[test]
fn done_is_told_when_everything_is_in_its_place() {
    let rig = running();
    let mut line = follow(&rig, &[]);
    event(&mut line);
    rig.fake.end("leads-1", JobPhase::Done);
    line.0.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let mut byte = [0];
    assert!(line.0.peek(&mut byte).is_err(), "its phase is `done`, and it is not put away");
    line.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    rig.fake.leave("leads-1");
    assert_eq!(event(&mut line).1, "done");
}

#[test]
fn a_follower_that_is_gone_gives_its_place_back() {
    let rig = running();
    let mut lines: Vec<Line> = (0..super::super::FOLLOWERS_MAX).map(|_| follow(&rig, &[])).collect();
    assert_eq!(rig.get("/v1/jobs/leads-1/events").problem(503), "busy");
    let gone = lines.pop().unwrap();
    gone.0.shutdown(Shutdown::Both).unwrap();
    drop(gone);
    let comes_in = eventually(|| {
        let mut line = rig.connect();
        line.send("GET /v1/jobs/leads-1/events", &[], b"");
        line.until("\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    assert!(comes_in);
}

/// Opens a WebSocket; the answer to the sample key is that of RFC 6455.
fn socket(rig: &Rig) -> Line {
    let mut line = rig.connect();
    line.send("GET /v1/jobs/leads-1/ws", &HANDSHAKE, b"");
    let head = line.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    line
}

/// A frame: its opcode and its content.
fn frame(line: &mut Line) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    line.0.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            line.0.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        short => usize::from(short),
    };
    let mut content = vec![0; length];
    line.0.read_exact(&mut content).unwrap();
    (head[0] & 0x0f, content)
}

fn send_frame(line: &mut Line, opcode: u8, content: &[u8]) {
    let mut frame = vec![0x80 | opcode, 0x80 | content.len() as u8, 1, 2, 3, 4];
    frame.extend(content.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    line.0.write_all(&frame).unwrap();
}

fn closed_with(line: &mut Line) -> u16 {
    let (opcode, content) = frame(line);
    assert_eq!(opcode, 8, "a goodbye");
    u16::from_be_bytes([content[0], content[1]])
}

#[test]
fn a_socket_tells_the_same_documents_and_says_goodbye() {
    let rig = running();
    let mut line = socket(&rig);
    let (opcode, content) = frame(&mut line);
    let told: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!((opcode, &told["event"]), (1, &json!("progress")));
    assert_eq!(told, event(&mut follow(&rig, &[])).2, "as the events have it");
    send_frame(&mut line, 9, b"hello");
    assert_eq!(frame(&mut line), (10, b"hello".to_vec()), "a ping is answered");
    send_frame(&mut line, 1, b"ignored");
    rig.fake.finish("leads-1", JobPhase::Done);
    let told: Value = serde_json::from_slice(&frame(&mut line).1).unwrap();
    assert_eq!((&told["event"], &told["job"]["phase"]), (&json!("done"), &json!("done")));
    assert_eq!(closed_with(&mut line), 1_000);
}

#[test]
fn a_socket_is_closed_with_the_reason() {
    let rig = running();
    let mut binary = socket(&rig);
    frame(&mut binary);
    send_frame(&mut binary, 2, b"\x00");
    assert_eq!(closed_with(&mut binary), 1_003);
    let mut polite = socket(&rig);
    frame(&mut polite);
    send_frame(&mut polite, 8, &1_000_u16.to_be_bytes());
    assert_eq!(closed_with(&mut polite), 1_000);
}

#[test]
fn a_socket_needs_a_handshake_of_our_own_page() {
    let rig = running();
    assert_eq!(rig.get("/v1/jobs/leads-1/ws").problem(426), "upgrade_required");
    let foreign = [&HANDSHAKE[..], &["Origin: https://evil.example"]].concat();
    assert_eq!(rig.send("GET /v1/jobs/leads-1/ws", &foreign, b"").problem(403), "forbidden");
    let old = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8"];
    assert_eq!(rig.send("GET /v1/jobs/leads-1/ws", &old, b"").problem(400), "invalid_request");
    let own = format!("Origin: http://{}", rig.server.addr());
    let mut line = rig.connect();
    line.send("GET /v1/jobs/leads-1/ws", &[&HANDSHAKE[..], &[&own]].concat(), b"");
    assert!(line.until("\r\n\r\n").starts_with("HTTP/1.1 101"));
}
