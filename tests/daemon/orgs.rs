//! Orgs that refuse, and orgs that are not there.

use nix::sys::signal::Signal;

use super::support::{Org, Place, demo_org, free_addr, org_section};
use super::{Duration, FEW_OBJECTS};

fn refused_logins(org: &Org) -> usize {
    org.journal().token_calls.iter().filter(|call| call.status >= 400).count()
}

#[test]
fn a_refused_login_ends_a_command_with_77_and_the_orgs_own_reason() {
    let org = Org::with_latency(Duration::ZERO);
    let place = Place::new(&org_section("demo", &org.url(), "wrong", ""));
    let ended = place.run(&["schema", "--json"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (77, ""), "{ended:?}");
    assert!(ended.stderr.contains("invalid_client"), "{ended:?}");
    assert!(!ended.stderr.contains("wrong"), "the secret is shown: {ended:?}");
    assert_eq!((refused_logins(&org), org.calls()), (1, 0), "no retry loop");
    // Nothing stays behind that would knock again by itself.
    let status = place.run(&["status", "--json"]).good().json();
    assert_eq!(status["unfinished_jobs"], serde_json::json!([]));
}

#[test]
fn one_refused_org_fails_the_command_and_the_others_are_read() {
    let org = Org::with_latency(Duration::ZERO);
    let (bad, good) = (org_section("bad", &org.url(), "wrong", ""), demo_org(&org.url(), ""));
    let place = Place::new(&format!("{bad}{good}{FEW_OBJECTS}"));
    let ended = place.run(&["schema", "--json"]);
    assert_eq!(ended.code(), 77, "{ended:?}");
    assert!(ended.stderr.contains("bad: ") && ended.stderr.contains("invalid_client"), "{ended:?}");
    let told = ended.json();
    assert_eq!(told["reports"][0]["objects_written"], 4, "{told}");
    assert_eq!(told["failures"][0]["exit_code"], 77, "{told}");
}

#[test]
fn a_refused_org_makes_the_daemon_unready_and_stops_neither_it_nor_the_others() {
    let org = Org::with_latency(Duration::ZERO);
    let (bad, good) = (org_section("bad", &org.url(), "wrong", ""), demo_org(&org.url(), ""));
    let place = Place::new(&format!("{bad}{good}{FEW_OBJECTS}"));
    let mut daemon = place.daemon();
    daemon.await_jobs("demo", 1);
    daemon.until("the refusal", |daemon| {
        let (code, text) = daemon.get("/readyz");
        code == 503 && text.contains("[-]org-bad failed: ") && text.contains("invalid_client")
    });
    let (_, text) = daemon.get("/readyz");
    assert!(text.contains("[+]org-demo ok") && text.contains("[+]line ok"), "{text}");
    assert_eq!(daemon.get("/readyz?exclude=org-bad").0, 200);
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(place.documents().contains("\"object\":\"Opportunity\""));
    assert_eq!(refused_logins(&org), 1, "no retry loop");

    // After somebody has mended the app in the org, a reload asks once more.
    daemon.signal(Signal::SIGHUP);
    daemon.until("one more try", |_| refused_logins(&org) == 2);
    daemon.until("its refusal", |daemon| {
        daemon.logged("the org refuses the login; it is left alone until SIGHUP or a restart").len() == 2
    });
    assert!(daemon.is_up());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), 0, "a refused org leaves no job over");
    assert_eq!(refused_logins(&org), 2);
}

#[test]
fn an_unreachable_org_is_retried_with_backoff_and_read_once_it_is_there() {
    let address = free_addr();
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&format!("http://{address}"), "")));
    let mut daemon = place.daemon();
    daemon.until("two failures", |daemon| daemon.logged("the org cannot be used").len() >= 2);
    let pauses: Vec<_> =
        daemon.logged("the org cannot be used").iter().map(|line| line["retry_in"].clone()).collect();
    assert_eq!(pauses[..2], ["2s", "4s"], "the pauses grow");
    let (code, text) = daemon.get("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("[-]org-demo failed: ") && text.contains("not reached"), "{text}");
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(daemon.is_up());

    let org = Org::start(orgsim::Options { listen: address, ..orgsim::Options::default() });
    daemon.await_jobs("demo", 1);
    assert_eq!(daemon.get("/readyz"), (200, "ok\n".to_owned()));
    assert!(place.documents().contains("\"object\":\"Opportunity\""));
    assert!(org.calls() > 0);
}
