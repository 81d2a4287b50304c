use super::client::{Reply, Sim};
use crate::{DailyReset, Options, PerAppLimit, StartError};
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

const PUBLIC_KEY: &str = include_str!("data/assertion.pub.pem");
const CERTIFICATE: &str = include_str!("data/assertion.cert.pem");
/// Signed by the key above: `orgsim-client` for `ops@acme.example`, good until 2096.
const ASSERTION: &str = include_str!("data/assertion.txt");
const JWT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

async fn post_form(sim: &Sim, path: &str, form: &str) -> Reply {
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    sim.raw("POST", path, headers, form.as_bytes()).await.unwrap()
}

async fn token(sim: &Sim, form: &str) -> Reply {
    post_form(sim, "/services/oauth2/token", form).await
}

async fn refresh(sim: &Sim, token_text: &str) -> Reply {
    token(sim, &format!("grant_type=refresh_token&client_id=PlatformCLI&refresh_token={token_text}")).await
}

async fn opens(sim: &Sim, token: &str) -> bool {
    let headers = format!("Authorization: Bearer {token}\r\n");
    sim.raw("GET", "/services/data/v62.0/limits", &headers, b"").await.unwrap().status == 200
}

#[rstest]
#[case::key(PUBLIC_KEY)]
#[case::certificate(CERTIFICATE)]
#[tokio::test]
async fn with_a_key_configured_only_its_signature_opens_the_org(#[case] pem: &str) {
    let sim = Sim::with(Options { jwt_keys: vec![pem.to_owned()], ..Options::default() }).await;
    let signed = token(&sim, &format!("{JWT}&assertion={ASSERTION}")).await;
    assert_eq!(signed.status, 200);
    let body = signed.json();
    let mut members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "id", "instance_url", "scope", "token_type"]);
    let (claims, signature) = ASSERTION.rsplit_once('.').unwrap();
    let mut other: String = signature.to_owned();
    other.replace_range(10..11, if &signature[10..11] == "A" { "B" } else { "A" });
    let forged = token(&sim, &format!("{JWT}&assertion={claims}.{other}")).await;
    assert_eq!((forged.status, forged.json()["error"].clone()), (400, json!("invalid_grant")));
}

#[tokio::test]
async fn an_assertion_for_another_user_is_not_approved() {
    let sim = Sim::with(Options { username: Some("else@acme.example".into()), ..Options::default() }).await;
    let reply = token(&sim, &format!("{JWT}&assertion={ASSERTION}")).await;
    assert_eq!(reply.json()["error_description"], "user hasn't approved this consumer");
}

#[tokio::test]
async fn a_key_that_is_none_keeps_the_server_from_starting() {
    let options = Options { jwt_keys: vec![PUBLIC_KEY.into(), "nonsense".into()], ..Options::default() };
    let started = crate::Server::start_with(options, super::org::model(), Box::new(super::org::Rows)).await;
    assert!(matches!(started.err(), Some(StartError::JwtKey { number: 2 })));
}

#[tokio::test]
async fn an_expired_assertion_is_refused_once_the_clock_has_moved() {
    let sim = Sim::start().await;
    let form = format!("{JWT}&assertion={ASSERTION}");
    assert_eq!(token(&sim, &form).await.status, 200);
    sim.server.advance_clock(Duration::from_secs(80 * 366 * 86_400));
    assert_eq!(token(&sim, &form).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_password_login_brings_a_refresh_token_that_renews_the_session() {
    let options =
        Options { username: Some("u@x".into()), password: Some("secretTOKEN".into()), ..Options::default() };
    let sim = Sim::with(options).await;
    let form = |password: &str| {
        format!(
            "grant_type=password&client_id=orgsim-client&client_secret=orgsim-secret&username=u%40x&password={password}"
        )
    };
    let refused = token(&sim, &form("secret")).await;
    assert_eq!(
        (refused.status, refused.json()),
        (400, json!({ "error": "invalid_grant", "error_description": "authentication failure" }))
    );
    let login = token(&sim, &form("secretTOKEN")).await.json();
    let refresh_token = login["refresh_token"].as_str().unwrap();
    let renewed = refresh(&sim, refresh_token).await.json();
    assert!(opens(&sim, renewed["access_token"].as_str().unwrap()).await);
    assert!(renewed["refresh_token"].is_null(), "without rotation the old one stays");
    assert_eq!(refresh(&sim, refresh_token).await.status, 200);
}

#[tokio::test]
async fn a_rotated_refresh_token_used_twice_ends_the_whole_chain() {
    let options =
        Options { refresh_tokens: vec!["first".into()], rotate_refresh_tokens: true, ..Options::default() };
    let sim = Sim::with(options).await;
    let one = refresh(&sim, "first").await.json();
    let second = one["refresh_token"].as_str().unwrap();
    let two = refresh(&sim, second).await.json();
    let (session, third) = (two["access_token"].as_str().unwrap(), two["refresh_token"].as_str().unwrap());
    assert!(opens(&sim, session).await);
    let reused = refresh(&sim, "first").await;
    assert_eq!(
        (reused.status, reused.json()["error_description"].clone()),
        (400, json!("expired access/refresh token"))
    );
    assert!(!opens(&sim, session).await);
    assert_eq!(refresh(&sim, third).await.status, 400);
}

#[tokio::test]
async fn a_refresh_with_a_wrong_secret_is_refused_and_spends_nothing() {
    let options =
        Options { refresh_tokens: vec!["first".into()], rotate_refresh_tokens: true, ..Options::default() };
    let sim = Sim::with(options).await;
    let form = "grant_type=refresh_token&client_id=orgsim-client&client_secret=wrong&refresh_token=first";
    assert_eq!(token(&sim, form).await.json()["error"], "invalid_client");
    assert_eq!(refresh(&sim, "first").await.status, 200);
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let sim = Sim::start().await;
    assert_eq!(post_form(&sim, "/services/oauth2/revoke", &format!("token={}", sim.token)).await.status, 200);
    assert!(!opens(&sim, &sim.token).await);
    let again = post_form(&sim, "/services/oauth2/revoke/", &format!("token={}", sim.token)).await;
    assert_eq!((again.status, again.json()["error"].clone()), (400, json!("invalid_token")));
}

#[tokio::test]
async fn a_token_is_good_for_its_requests_and_its_time() {
    let sim = Sim::with(Options { token_requests: Some(2), ..Options::default() }).await;
    assert!(opens(&sim, &sim.token).await && opens(&sim, &sim.token).await);
    let reply = sim.get("/services/data/v62.0/limits").await;
    assert_eq!((reply.status, reply.error_code()), (401, "INVALID_SESSION_ID".to_owned()));
    let sim = Sim::start().await;
    sim.raw("POST", "/__sim/tokens/expire", "", b"").await.unwrap();
    assert!(!opens(&sim, &sim.token).await);
}

#[tokio::test]
async fn client_credentials_are_refused_where_no_org_lives() {
    let sim = Sim::start().await;
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    // A second Host header replaces none: the target in absolute form does.
    let target = "http://login.salesforce.com/services/oauth2/token";
    let reply = sim.raw("POST", target, "", form.as_bytes()).await.unwrap();
    assert_eq!(reply.json()["error_description"], "request not supported on this domain");
}

#[tokio::test]
async fn the_identity_url_of_a_token_answers_with_the_user() {
    let sim = Sim::start().await;
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    let id = token(&sim, form).await.json()["id"].as_str().unwrap().to_owned();
    let path = id.strip_prefix(&sim.server.url()).unwrap();
    let identity = sim.get(path).await.json();
    assert_eq!((&identity["id"], &identity["organization_id"]), (&json!(id), &json!("00D5g0000001234EAA")));
    assert_eq!(identity["urls"]["rest"], format!("{}/services/data/v{{version}}/", sim.server.url()));
    let userinfo = sim.get("/services/oauth2/userinfo").await.json();
    assert_eq!(userinfo["preferred_username"], identity["username"]);
    assert_eq!(sim.get("/id/00D5g0000001234EAA/005000000000000AAA").await.status, 404);
}

fn envelope(operation: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\" ?><env:Envelope xmlns:env=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:n1=\"urn:partner.soap.sforce.com\"><env:Body>{operation}</env:Body></env:Envelope>"
    )
}

async fn soap(sim: &Sim, version: &str, operation: &str) -> Reply {
    let headers = "Content-Type: text/xml\r\nSOAPAction: login\r\n";
    let path = format!("/services/Soap/u/{version}");
    sim.raw("POST", &path, headers, envelope(operation).as_bytes()).await.unwrap()
}

fn element<'a>(text: &'a str, name: &str) -> &'a str {
    text.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default()
}

#[tokio::test]
async fn soap_login_gives_a_session_and_the_server_the_caller_came_to() {
    let sim = Sim::with(Options { password: Some("pwTOKEN".into()), ..Options::default() }).await;
    let login = |password: &str| {
        format!("<n1:login><n1:username>u@x</n1:username><n1:password>{password}</n1:password></n1:login>")
    };
    let reply = soap(&sim, "59.0", &login("pwTOKEN")).await;
    let text = String::from_utf8(reply.body.clone()).unwrap();
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/xml;charset=UTF-8")));
    assert_eq!(
        element(&text, "serverUrl"),
        format!("{}/services/Soap/u/59.0/00D5g0000001234", sim.server.url())
    );
    assert_eq!(element(&text, "userId"), "0055g0000000000AAA");
    assert_eq!(element(&text, "organizationId"), "00D5g0000001234EAA");
    let session = element(&text, "sessionId").to_owned();
    assert!(opens(&sim, &session).await);

    let refused = soap(&sim, "59.0", &login("pw")).await;
    let text = String::from_utf8(refused.body.clone()).unwrap();
    assert_eq!((refused.status, element(&text, "sf:exceptionCode")), (500, "INVALID_LOGIN"));
    assert_eq!(
        element(&text, "sf:exceptionMessage"),
        "Invalid username, password, security token; or user locked out."
    );
    for (version, says) in [("65.0", "soapenv:Client"), ("21.0", "sf:UNSUPPORTED_API_VERSION")] {
        let gone = soap(&sim, version, &login("pwTOKEN")).await;
        let text = String::from_utf8(gone.body.clone()).unwrap();
        assert_eq!((gone.status, element(&text, "faultcode")), (500, says), "{version}");
    }
    let logout = format!("<n1:logout/><n1:sessionId>{session}</n1:sessionId>");
    assert_eq!(soap(&sim, "59.0", &logout).await.status, 200);
    assert!(!opens(&sim, &session).await);
}

#[tokio::test]
async fn usage_falls_with_the_clock_and_the_org_opens_again() {
    for reset in [DailyReset::Rolling, DailyReset::AtOnce] {
        let sim = Sim::with(Options { daily_limit: 3, daily_reset: reset, ..Options::default() }).await;
        let path = "/services/data/v62.0/limits";
        let statuses = [sim.get(path).await, sim.get(path).await, sim.get(path).await, sim.get(path).await];
        assert_eq!(statuses.map(|reply| reply.status), [200, 200, 200, 403]);
        sim.server.advance_clock(Duration::from_secs(23 * 3600));
        assert_eq!(sim.get(path).await.status, 403, "{reset:?}");
        sim.server.advance_clock(Duration::from_secs(2 * 3600));
        let open = sim.get(path).await;
        assert_eq!((open.status, open.header("Sforce-Limit-Info")), (200, Some("api-usage=1/3")));
        assert_eq!(open.json()["DailyApiRequests"], json!({ "Max": 3, "Remaining": 3 }));
    }
}

#[tokio::test]
async fn a_connected_apps_own_quota_is_shown_and_held() {
    let per_app_limit = Some(PerAppLimit { app: "my-app".into(), calls: 2 });
    let sim = Sim::with(Options { per_app_limit, ..Options::default() }).await;
    sim.get("/services/data/v62.0/limits").await;
    let second = sim.get("/services/data/v62.0/limits").await;
    assert_eq!(
        second.header("Sforce-Limit-Info"),
        Some("api-usage=2/15000; per-app-api-usage=2/2(appName=my-app)")
    );
    assert_eq!(sim.get("/services/data/v62.0/limits").await.status, 403);
}
