//! Bad input over HTTP: each gets a clear refusal, nothing is stored, and the next batch works.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::service::{ISSUER, SECRET, Service};
use super::support::databases::Kind;
use super::support::{Place, free_addr, until};

const DEFINITIONS: &str = "CREATE TABLE box (box_id INTEGER PRIMARY KEY, label TEXT, \"odd \"\"name\" TEXT);";

fn service() -> Service {
    Service::start(Kind::Sqlite, DEFINITIONS, "")
}

/// Bodies that are no batch, what the refusal is, and what its sentence names.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let create = |id: &str, label: &str| json!({ "id": id, "entity": "box", "action": "create", "store_params": { "label": label } });
    let many_references: String = (0..10_000).map(|_| "$ref:a.label ").collect();
    let deep = format!("{{\"operations\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
    let twice = br#"{"operations":[{"id":"a","entity":"box","action":"create","store_params":{"label":"x","label":"y"}}]}"#;
    let broken = b"{\"operations\":[{\"id\":\"a\xff\",\"entity\":\"box\",\"action\":\"read\"}]}";
    let references = json!({ "operations": [create("a", "x"), create("b", &many_references)] });
    let misspelt = json!({ "operations": [create("a", "x")], "options": { "continueOnEror": true } });
    let not_truthy = json!({ "operations": [create("a", "x")], "options": { "atomic": "no" } });
    let dry = json!({ "operations": [create("a", "x")], "options": { "atomic": false, "dryRun": true } });
    vec![
        ("nothing", Vec::new(), 400, "invalid_request"),
        ("a list", b"[]".to_vec(), 400, "invalid_request"),
        ("half of it", b"{\"operations\":[".to_vec(), 400, "invalid_request"),
        ("1 MiB of nested arrays", deep.into_bytes(), 400, "invalid_request"),
        ("10,000 references", references.to_string().into_bytes(), 400, "invalid_request"),
        ("a key twice", twice.to_vec(), 400, "invalid_request"),
        ("text that is not UTF-8", broken.to_vec(), 400, "invalid_request"),
        ("a misspelt option", misspelt.to_string().into_bytes(), 400, "invalid_request"),
        ("an option that is nearly a boolean", not_truthy.to_string().into_bytes(), 400, "invalid_option"),
        ("a dry run that would commit", dry.to_string().into_bytes(), 400, "invalid_option"),
        ("too large", vec![b' '; (1 << 20) + 1], 413, ""),
    ]
}

#[test]
fn a_body_that_is_no_batch_is_refused_and_stores_nothing() {
    let service = service();
    for (what, body, status, kind) in bad_bodies() {
        let answer = service.send("/batch", body, None, &[]);
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        if !kind.is_empty() {
            assert_eq!(answer.body["kind"], kind, "{what}: {}", answer.text);
        }
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.body["message"], answer.body["detail"], "{what}: {}", answer.text);
    }
    still_works(&service, 0);
}

#[test]
fn headers_that_do_not_fit_are_refused() {
    let service = service();
    let batch =
        json!({ "operations": [{ "entity": "box", "action": "create", "store_params": {} }] }).to_string();
    for (headers, status) in [
        (vec![("Content-Type", "text/plain")], 415),
        (vec![("Content-Encoding", "br")], 415),
        (vec![("Accept", "text/html")], 406),
        (vec![("Idempotency-Key", "two words")], 400),
        (vec![("Authorization", "Basic YTpi")], 401),
        (vec![("Authorization", "Bearer not.a.token")], 401),
    ] {
        let answer = service.send("/batch", batch.clone().into_bytes(), None, &headers);
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{headers:?}");
    }
    let answer = service.try_get("/batch").expect("an answer");
    assert_eq!(answer.status, 405, "{}", answer.text);
    still_works(&service, 0);
}

#[test]
fn a_gzip_bomb_costs_no_more_than_the_limit() {
    let service = service();
    let packed = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).expect("pack");
        packer.finish().expect("pack")
    };
    let bomb = packed(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 1 << 20, "small on the wire");
    let headers = [("Content-Encoding", "gzip")];
    assert_eq!(service.send("/batch", bomb, None, &headers).status, 413);
    let cut = packed(br#"{"operations":[]}"#);
    assert_eq!(service.send("/batch", cut[..cut.len() - 9].to_vec(), None, &headers).status, 400);
    let batch = json!({ "operations": [{ "entity": "box", "action": "create", "store_params": { "label": "packed" } }] });
    assert_eq!(service.send("/batch", packed(batch.to_string().as_bytes()), None, &headers).status, 200);
    still_works(&service, 1);
}

#[test]
fn identifiers_with_quotes_reach_no_sql() {
    let service = service();
    for (entity, column) in [
        ("box\"; DROP TABLE box; --", "label"),
        ("box", "label\" = '' OR \"label"),
        ("box", "label'--"),
        ("sqlite_master", "name"),
        ("penstock_batch_key", "scope"),
    ] {
        let request = json!({ "operations": [{ "entity": entity, "action": "read", "query_params": { column: "x" } }] });
        let answer = service.post(&request, None);
        assert_eq!(answer.status, 400, "{entity} {column}: {}", answer.text);
    }
    // A column that really has a quote in its name works like any other.
    let odd = json!({ "operations": [{ "id": "it", "entity": "box", "action": "create",
        "store_params": { "odd \"name": "'; DROP TABLE box; --" } }] });
    let answer = service.post(&odd, None);
    assert_eq!(
        answer.body["results"]["it"]["data"]["odd \"name"], "'; DROP TABLE box; --",
        "{}",
        answer.text
    );
    still_works(&service, 1);
}

#[test]
fn tokens_that_prove_nothing_are_refused() {
    let service = service();
    let now = 4_000_000_000_i64;
    let claims = |change: Value| {
        let mut claims = json!({ "iss": ISSUER, "aud": "batch", "exp": now, "sub": "ann" });
        for (name, value) in change.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        claims
    };
    let signed = |claims: &Value, secret: &str| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
    };
    let part = |value: &Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let none = format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims(json!({}))));
    let mut without_end = claims(json!({}));
    without_end.as_object_mut().expect("claims").remove("exp");
    let good = signed(&claims(json!({})), SECRET);
    for (what, token) in [
        ("no signature", none),
        ("another secret", signed(&claims(json!({})), "another secret that has at least 32 bytes")),
        ("expired", signed(&claims(json!({ "exp": 1_000_000_000 })), SECRET)),
        ("no end", signed(&without_end, SECRET)),
        ("not yet", signed(&claims(json!({ "nbf": now })), SECRET)),
        ("another issuer", signed(&claims(json!({ "iss": "https://elsewhere.test" })), SECRET)),
        ("another audience", signed(&claims(json!({ "aud": "elsewhere" })), SECRET)),
        ("changed", format!("{}x", good)),
    ] {
        let header = format!("Bearer {token}");
        let batch = json!({ "operations": [{ "entity": "box", "action": "read" }] }).to_string().into_bytes();
        let answer = service.send("/batch", batch, None, &[("Authorization", header.as_str())]);
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        assert!(answer.header("www-authenticate").is_some(), "{what}");
    }
    let header = format!("Bearer {good}");
    let batch = json!({ "operations": [{ "entity": "box", "action": "read" }] }).to_string().into_bytes();
    assert_eq!(service.send("/batch", batch, None, &[("Authorization", header.as_str())]).status, 200);
}

#[test]
fn a_client_that_hangs_up_before_commit_leaves_nothing_behind() {
    let service = Service::start(Kind::Postgres, DEFINITIONS, "");
    // The row waits for this lock, so the batch is in the middle when its client goes.
    let holder = service.database.hold_lock("LOCK TABLE box IN ACCESS EXCLUSIVE MODE");
    let body = json!({ "operations": [{ "entity": "box", "action": "create", "store_params": { "box_id": 1, "label": "gone" } }] })
        .to_string();
    let host = service.url("");
    let mut client = std::net::TcpStream::connect(host.trim_start_matches("http://")).expect("connect");
    write!(client, "POST /batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("send");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    until("the batch to wait", String::new, || service.database.number(waiting) == 1);
    client.shutdown(std::net::Shutdown::Both).expect("hang up");
    drop(client);
    until("the batch to be given up", String::new, || service.database.number(waiting) == 0);
    drop(holder);
    still_works(&service, 0);
}

#[test]
fn two_daemons_do_not_share_one_file() {
    let service = service();
    let file = service.database.file();
    let place = Place::new(&format!(
        "[api]\nlisten = '{}'\nanonymous = 'allow'\n[[database]]\nname = 'main'\nkind = 'sqlite'\npath = '{}'\n",
        free_addr(),
        file.display()
    ));
    let ended = place.run(&["run"]);
    assert_ne!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("batch.sqlite"), "{ended:?}");
    still_works(&service, 0);
}

/// A batch is stored beside what was there before.
fn still_works(service: &Service, before: i64) {
    let request = json!({ "operations": [{ "entity": "box", "action": "create", "store_params": { "box_id": 77, "label": "still" } }] });
    let answer = service.post(&request, None::<&Map<String, Value>>);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(service.database.number("SELECT count(*) FROM box"), before + 1);
}

#[test]
fn a_database_that_is_away_is_503_and_the_daemon_stays_up() {
    let mut service = Service::start(Kind::Postgres, DEFINITIONS, "");
    still_works(&service, 0);
    service.database.kill_nine();
    let request = json!({ "operations": [{ "entity": "box", "action": "read" }] });
    let answer = service.post(&request, None);
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.header("retry-after").is_some(), "{}", answer.text);
    service.database.launch();
    until("the database to be used again", String::new, || service.post(&request, None).status == 200);
    assert_eq!(service.database.number("SELECT count(*) FROM box"), 1);
}
