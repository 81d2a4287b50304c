use super::client::Sim;
use crate::{Fault, FaultRule, Options};
use rstest::rstest;
use serde_json::json;
use std::time::Duration;

#[rstest]
#[case(Fault::Unavailable, 503, "SERVER_UNAVAILABLE")]
#[case(Fault::SessionExpired, 401, "INVALID_SESSION_ID")]
#[case(Fault::DailyLimit, 403, "REQUEST_LIMIT_EXCEEDED")]
#[case(Fault::ConcurrentLimit, 403, "REQUEST_LIMIT_EXCEEDED")]
#[tokio::test]
async fn a_fault_strikes_the_nth_query_and_no_other_request(
    #[case] fault: Fault,
    #[case] status: u16,
    #[case] code: &str,
) {
    let sim = Sim::start().await;
    sim.server.faults().set(vec![FaultRule::always(fault).of_kind("query").nth(2)]);
    assert_eq!(sim.query("SELECT Id FROM Lead").await.status, 200);
    assert_eq!(sim.get("/services/data/v62.0/limits").await.status, 200);
    let struck = sim.query("SELECT Id FROM Lead").await;
    assert_eq!((struck.status, struck.error_code()), (status, code.to_owned()));
    assert_eq!(sim.server.faults().fired(), [1]);
}

#[tokio::test]
async fn an_expired_session_stays_expired() {
    let sim = Sim::start().await;
    sim.server.faults().set(vec![FaultRule::always(Fault::SessionExpired).times(1)]);
    assert_eq!(sim.get("/services/data/v62.0").await.status, 401);
    assert_eq!(sim.get("/services/data/v62.0").await.status, 401);
}

#[rstest]
#[case(Fault::CutBefore, "no head")]
#[case(Fault::CutMidBody, " bytes")]
#[tokio::test]
async fn a_cut_connection_leaves_no_whole_answer(#[case] fault: Fault, #[case] says: &str) {
    let sim = Sim::start().await;
    let rule = serde_json::to_value([FaultRule::always(fault).on_object("lead")]).unwrap();
    assert_eq!(sim.post("/__sim/faults", &rule).await.status, 200);
    let headers = format!("Authorization: Bearer {}\r\n", sim.token);
    let reply = sim.raw("GET", "/services/data/v62.0/sobjects/Lead/describe", &headers, b"").await;
    assert!(reply.err().unwrap().ends_with(says));
    assert_eq!(sim.get("/services/data/v62.0/sobjects/User/describe").await.status, 200);
    assert_eq!(sim.server.journal().calls[0].status, 0);
}

#[tokio::test]
async fn one_bad_describe_in_a_composite_leaves_its_neighbours_alone() {
    let sim = Sim::start().await;
    let rules = json!([{ "object": "Lead", "fault": { "type": "unparsable_describe" } }, { "object": "User", "fault": { "type": "subrequest_fails" } }]);
    sim.post("/__sim/faults", &rules).await;
    let one = |name: &str| json!({ "method": "GET", "url": format!("/services/data/v62.0/sobjects/{name}/describe"), "referenceId": name });
    let body = json!({ "compositeRequest": [one("Account"), one("Lead"), one("User")] });
    let reply = sim.post("/services/data/v62.0/composite", &body).await;
    assert_eq!(reply.status, 200);
    let parts = reply.json()["compositeResponse"].clone();
    assert_eq!(parts[0]["body"]["name"], "Account");
    assert_eq!(parts[1]["body"]["fields"], "none");
    assert_eq!(
        (&parts[2]["httpStatusCode"], &parts[2]["body"][0]["errorCode"]),
        (&json!(500), &json!("UNKNOWN_EXCEPTION"))
    );
}

#[tokio::test]
async fn an_unknown_fault_is_refused_by_name() {
    let reply =
        Sim::start().await.post("/__sim/faults", &json!([{ "fault": { "type": "earthquake" } }])).await;
    assert_eq!(reply.status, 400);
    assert!(reply.json()[0]["message"].as_str().unwrap().contains("earthquake"));
}

#[tokio::test]
async fn at_the_daily_ceiling_every_call_is_a_403_and_is_not_counted() {
    let sim = Sim::start().await;
    sim.post("/__sim/limits", &json!({ "used": 9, "limit": 10 })).await;
    assert_eq!(sim.get("/services/data/v62.0/limits").await.status, 200);
    let reply = sim.query("SELECT Id FROM Lead").await;
    assert_eq!((reply.status, reply.header("Sforce-Limit-Info")), (403, Some("api-usage=10/10")));
    assert_eq!(reply.json()[0]["message"], "TotalRequests Limit exceeded.");
    assert_eq!(sim.server.journal().total, 1);
}

#[tokio::test]
async fn latency_delays_answers_side_by_side() {
    let sim = Sim::with(Options { latency: Duration::from_millis(300), ..Options::default() }).await;
    let from = sim.server.elapsed_ms();
    let all = (0..10).map(|_| sim.get("/services/data/v62.0"));
    futures_like_join(all).await;
    let took = sim.server.elapsed_ms() - from;
    assert!((300..2_000).contains(&took), "ten at once took {took} ms");
}

/// Polls all of them until each is done.
async fn futures_like_join<F: Future>(all: impl Iterator<Item = F>) {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        waiting.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_server_refuses_connections() {
    let sim = Sim::start().await;
    let url = sim.server.url().trim_start_matches("http://").to_owned();
    sim.server.stop().await;
    assert!(tokio::net::TcpStream::connect(url).await.is_err());
}

#[tokio::test]
async fn a_clock_off_by_more_than_time_itself_is_still_answered() {
    let sim = Sim::start().await;
    let fault = || Fault::ClockSkew { seconds: i64::MAX };
    sim.server.faults().set(vec![FaultRule::always(fault()), FaultRule::always(fault()).of_kind("token")]);
    assert_eq!(sim.get("/services/data/v62.0/limits").await.status, 200);
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let token = sim.raw("POST", "/services/oauth2/token", headers, form.as_bytes()).await.unwrap();
    assert_eq!(token.json()["issued_at"], i64::MAX.to_string());
}
