//! Logins that renew themselves: by refresh token and by the sf CLI, over a scripted network.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret, SecretString};

use super::kept_token::{TokenFile, TokenKeeper};
use super::sf_cli::{CliAnswer, SfCli};
use super::*;
use crate::clock::BoxFuture;
use crate::salesforce::test_support::{Bench, LOGIN_URL, body_text, json};
use crate::salesforce::{HttpError, HttpRequest, HttpResponse};

/// An org that replaces the refresh token at each use and forgets a chain whose old token comes again.
#[derive(Default)]
struct RotatingOrg {
    uses: AtomicUsize,
    /// The data request that comes next finds its session ended.
    expired: AtomicBool,
}

impl RotatingOrg {
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        if !request.url.ends_with("/services/oauth2/token") {
            return if self.expired.swap(false, Ordering::SeqCst) {
                json(401, r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#)
            } else {
                json(200, r#"{"DailyApiRequests":{"Max":15000,"Remaining":14982}}"#)
            };
        }
        let number = self.uses.fetch_add(1, Ordering::SeqCst);
        if !body_text(request).contains(&format!("refresh_token=token-{number}&client_secret=hush")) {
            return json(
                400,
                r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
            );
        }
        let next = number + 1;
        json(
            200,
            &format!(
                r#"{{"access_token":"00D!{next}","instance_url":"{LOGIN_URL}","refresh_token":"token-{next}"}}"#
            ),
        )
    }
}

fn bench(org: &Arc<RotatingOrg>, keeper: Arc<dyn TokenKeeper>) -> Bench {
    let credentials = Credentials::RefreshToken {
        client_id: "app".to_owned(),
        client_secret: Some("hush".into()),
        refresh_token: "token-0".into(),
        keeper,
    };
    let org = Arc::clone(org);
    Bench::with(credentials, u64::MAX, move |request| org.answer(request))
}

#[tokio::test]
async fn a_replaced_refresh_token_is_used_next_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens/acme.json");
    let org = Arc::new(RotatingOrg::default());
    let first = bench(&org, Arc::new(TokenFile::new(path.clone())));
    first.client.limits().await.unwrap();
    org.expired.store(true, Ordering::SeqCst);
    first.client.limits().await.unwrap();
    assert_eq!(org.uses.load(Ordering::SeqCst), 2, "one login at first, one for the expired session");
    drop(first);
    bench(&org, Arc::new(TokenFile::new(path))).client.limits().await.unwrap();
    assert_eq!(org.uses.load(Ordering::SeqCst), 3);
}

#[derive(Debug, Default)]
struct FullDisk {
    full: AtomicBool,
    kept: Mutex<Vec<String>>,
}

impl TokenKeeper for FullDisk {
    fn kept(&self, _configured: &SecretString) -> io::Result<Option<SecretString>> {
        Ok(None)
    }

    fn keep(&self, _configured: &SecretString, token: &SecretString) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.kept.lock().unwrap().push(token.expose_secret().to_owned());
        Ok(())
    }
}

#[tokio::test]
async fn a_session_is_not_used_before_the_token_that_came_with_it_is_kept() {
    let org = Arc::new(RotatingOrg::default());
    let disk = Arc::new(FullDisk::default());
    disk.full.store(true, Ordering::SeqCst);
    let bench = bench(&org, Arc::<FullDisk>::clone(&disk));
    let error = bench.client.limits().await.unwrap_err();
    assert!(error.is_transient() && !error.is_refused_login(), "{error:?}");
    assert_eq!(bench.count("/limits"), 0, "the session was held back");
    disk.full.store(false, Ordering::SeqCst);
    bench.client.limits().await.unwrap();
    assert_eq!(org.uses.load(Ordering::SeqCst), 1, "the used token was not sent again");
    assert_eq!(*disk.kept.lock().unwrap(), ["token-1"]);
}

#[tokio::test]
async fn a_replaced_token_is_kept_also_when_nobody_waits_for_the_session_any_more() {
    let org = Arc::new(RotatingOrg::default());
    let disk = Arc::new(FullDisk::default());
    let bench = bench(&org, Arc::<FullDisk>::clone(&disk));
    bench.delay_next_answer(50);
    let client = bench.client.clone();
    let asked = tokio::spawn(async move { client.limits().await });
    while org.uses.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.is_err_and(|ended| ended.is_cancelled()));
    bench.client.limits().await.unwrap();
    assert_eq!(*disk.kept.lock().unwrap(), ["token-1", "token-2"]);
}

#[tokio::test]
async fn many_calls_with_an_ended_session_refresh_once() {
    let org = Arc::new(RotatingOrg::default());
    let bench = bench(&org, Arc::new(FullDisk::default()));
    let calls = (0..20).map(|_| bench.client.limits());
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(org.uses.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_revoked_chain_is_refused_and_not_tried_again() {
    let org = Arc::new(RotatingOrg::default());
    org.uses.store(7, Ordering::SeqCst);
    let bench = bench(&org, Arc::new(FullDisk::default()));
    for _ in 0..3 {
        let error = bench.client.limits().await.unwrap_err();
        assert!(error.is_refused_login(), "{error:?}");
    }
    assert_eq!(org.uses.load(Ordering::SeqCst), 8);
}

/// Tells the tokens one after the other, the last one for ever.
#[derive(Debug)]
struct ScriptedCli {
    tokens: Vec<&'static str>,
    shown: AtomicUsize,
}

impl SfCli for ScriptedCli {
    fn run(&self, arguments: Vec<String>) -> BoxFuture<'_, io::Result<CliAnswer>> {
        let stdout = if arguments[1] == "display" {
            format!(
                r#"{{"status":0,"result":{{"instanceUrl":"{LOGIN_URL}/","connectedStatus":"Connected"}}}}"#
            )
        } else {
            let number = self.shown.fetch_add(1, Ordering::SeqCst).min(self.tokens.len() - 1);
            format!(r#"{{"status":0,"result":{{"accessToken":"{}"}}}}"#, self.tokens[number])
        };
        assert_eq!(arguments.last().map(String::as_str), Some("--json"));
        Box::pin(std::future::ready(Ok(CliAnswer { code: 0, stdout: stdout.into_bytes() })))
    }
}

fn cli_bench(tokens: Vec<&'static str>) -> (Bench, Arc<ScriptedCli>) {
    let cli = Arc::new(ScriptedCli { tokens, shown: AtomicUsize::new(0) });
    let credentials = Credentials::SfCli { alias: "acme".to_owned(), cli: Arc::<ScriptedCli>::clone(&cli) };
    let bench = Bench::with(credentials, 0, |request| {
        let token = request.bearer.as_ref().map(|token| token.expose_secret().to_owned());
        match token.as_deref() {
            Some("00D!fresh") => json(200, r#"{"DailyApiRequests":{"Max":15000,"Remaining":14982}}"#),
            _ => json(401, r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#),
        }
    });
    (bench, cli)
}

#[tokio::test]
async fn the_cli_is_asked_once_and_again_after_a_401() {
    let (bench, cli) = cli_bench(vec!["00D!stale", "00D!fresh"]);
    bench.client.limits().await.unwrap();
    bench.client.limits().await.unwrap();
    assert_eq!(cli.shown.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_cli_that_holds_an_expired_token_ends_the_tries_with_a_remedy() {
    let (bench, cli) = cli_bench(vec!["00D!stale"]);
    for _ in 0..3 {
        let error = bench.client.limits().await.unwrap_err();
        assert!(error.is_refused_login() && error.to_string().contains("sf org login web"), "{error}");
    }
    assert_eq!(cli.shown.load(Ordering::SeqCst), 2);
}
