//! The client over a real socket, where the wire itself is what can go wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use super::test_support::*;
use super::*;
use crate::clock::SystemClock;

const LIMITS: &str = r#"{"DailyApiRequests":{"Max":15000,"Remaining":14982}}"#;
const EXPIRED: &str = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;

/// What a handler gets to see of a request.
struct Seen {
    /// First line and headers, in lower case where the client sends them so.
    head: String,
}

impl Seen {
    fn is_login(&self) -> bool {
        self.head.starts_with("POST /services/oauth2/token ")
    }

    fn has_token(&self, token: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {token}")))
    }
}

/// A server that answers each request with the bytes its handler gives, then closes the connection.
async fn serve(handler: impl Fn(&Seen, &str) -> Vec<u8> + Send + Sync + 'static) -> String {
    serve_gathered(1, handler).await
}

/// Like [`serve`], but answers calls with the first token only once `gathered` of them are there.
async fn serve_gathered(
    gathered: usize,
    handler: impl Fn(&Seen, &str) -> Vec<u8> + Send + Sync + 'static,
) -> String {
    let barrier = Arc::new(Barrier::new(gathered));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler = Arc::new(handler);
    let own_url = url.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&handler), own_url.clone(), Arc::clone(&barrier)));
        }
    });
    url
}

async fn answer(
    mut stream: TcpStream,
    handler: Arc<impl Fn(&Seen, &str) -> Vec<u8> + Send + Sync + 'static>,
    own_url: String,
    barrier: Arc<Barrier>,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let seen = Seen { head: head.to_owned() };
                if seen.has_token("token-1") {
                    barrier.wait().await;
                }
                let bytes = handler(&seen, &own_url);
                // The client may have hung up already; that is its right.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    }
}

fn respond(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn token(number: usize, url: &str) -> Vec<u8> {
    let body = format!(r#"{{"access_token":"token-{number}","instance_url":"{url}"}}"#);
    respond("200 OK", "Content-Type: application/json\r\n", body.as_bytes())
}

/// A gzip member of stored blocks: packed in form, not in size, which is all the client's side can tell.
fn gzip(text: &str) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks: Vec<&[u8]> = text.as_bytes().chunks(usize::from(u16::MAX)).collect();
    for (index, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        packed.push(u8::from(index + 1 == blocks.len()));
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(block);
    }
    packed.extend_from_slice(&crc32fast::hash(text.as_bytes()).to_le_bytes());
    packed.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    packed
}

fn client(url: &str) -> OrgClient {
    client_with(url, RetryPolicy { first_wait: Duration::from_millis(5), ..RetryPolicy::default() }, 1 << 20)
}

fn client_with(url: &str, retry: RetryPolicy, body_bytes_max: usize) -> OrgClient {
    let http = HttpClient::new(&HttpSettings { body_bytes_max, ..HttpSettings::default() }).unwrap();
    let settings =
        OrgSettings { retry, call_timeout: Duration::from_secs(5), ..settings(url, client_credentials()) };
    let jitter = Arc::new(SeededJitter::new(1));
    OrgClient::new(settings, Arc::new(http), Arc::new(OpenGate), SystemClock::shared(), jitter).unwrap()
}

#[tokio::test]
async fn a_packed_answer_is_asked_for_and_unpacked() {
    let url = serve(|seen, url| {
        if seen.is_login() {
            return token(1, url);
        }
        assert!(seen.head.to_ascii_lowercase().contains("accept-encoding: gzip"), "{}", seen.head);
        respond("200 OK", "Content-Encoding: gzip\r\n", &gzip(LIMITS))
    })
    .await;
    assert_eq!(client(&url).limits().await.unwrap()["DailyApiRequests"].max, 15_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_calls_that_find_the_session_expired_log_in_once() {
    let logins = Arc::new(AtomicUsize::new(0));
    let expired = Arc::new(AtomicUsize::new(0));
    let (counted_logins, counted_expired) = (Arc::clone(&logins), Arc::clone(&expired));
    let url = serve_gathered(20, move |seen, url| {
        if seen.is_login() {
            return token(counted_logins.fetch_add(1, Ordering::SeqCst) + 1, url);
        }
        if seen.has_token("token-1") {
            counted_expired.fetch_add(1, Ordering::SeqCst);
            return respond("401 Unauthorized", "", EXPIRED.as_bytes());
        }
        assert!(seen.has_token("token-2"), "{}", seen.head);
        respond("200 OK", "", LIMITS.as_bytes())
    })
    .await;
    let client = client(&url);
    client.log_in().await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.limits().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(logins.load(Ordering::SeqCst), 2, "the first login and one renewal");
    assert_eq!(expired.load(Ordering::SeqCst), 20, "all of them met the expired session");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let url = serve(move |seen, url| {
        if seen.is_login() {
            return token(1, url);
        }
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let mut whole = respond("200 OK", "", LIMITS.as_bytes());
                whole.truncate(whole.len() - 20);
                whole
            }
            1 => {
                let mut packed = gzip(LIMITS);
                packed.truncate(packed.len() / 2);
                respond("200 OK", "Content-Encoding: gzip\r\n", &packed)
            }
            // Nothing on the wire says that this one is not whole.
            2 => respond("200 OK", "", &LIMITS.as_bytes()[..LIMITS.len() / 2]),
            _ => respond("200 OK", "", LIMITS.as_bytes()),
        }
    })
    .await;
    client(&url).limits().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_gateways_page_is_a_passing_fault_and_told_in_its_words() {
    let url = serve(|seen, url| {
        if seen.is_login() {
            return token(1, url);
        }
        let page = b"<html><head><title>Maintenance</title></head><body>Back soon</body></html>";
        respond("503 Service Unavailable", "Content-Type: text/html\r\nRetry-After: 7\r\n", page)
    })
    .await;
    let patience = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let error = client_with(&url, patience, 1 << 20).limits().await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.to_string(), "the org cannot answer now (status 503): Maintenance Back soon");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let url = serve(move |seen, url| {
        log.lock().unwrap().push(seen.head.lines().next().unwrap().to_owned());
        if seen.is_login() {
            return token(1, url);
        }
        respond("302 Found", &format!("Location: {url}/elsewhere\r\n"), b"")
    })
    .await;
    let error = client(&url).limits().await.unwrap_err();
    assert_eq!(error.status(), Some(302), "{error}");
    assert!(asked.lock().unwrap().iter().all(|line| !line.contains("elsewhere")));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let url = serve(|seen, url| {
        if seen.is_login() {
            return token(1, url);
        }
        respond("200 OK", "Content-Encoding: gzip\r\n", &gzip(&" ".repeat(1_000_000)))
    })
    .await;
    let error = client_with(&url, RetryPolicy::default(), 100_000).limits().await.unwrap_err();
    assert!(!error.is_transient());
    let OrgError::Network(error) = error else { panic!("{error}") };
    assert_eq!(error.kind, HttpErrorKind::TooLarge);
}

#[tokio::test]
async fn a_closed_port_is_a_passing_fault_that_names_the_host_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).limits().await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.hint().is_some_and(|hint| hint.contains("login address")));
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
}
