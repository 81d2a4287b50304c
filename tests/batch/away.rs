//! A database that is away when the daemon starts.

use serde_json::json;

use super::service::Service;
use super::support::databases::Kind;
use super::support::until;

#[test]
fn a_database_that_is_away_at_the_start_is_answered_for_with_503_and_found_when_it_is_there() {
    let mut service = Service::start(Kind::Postgres, "CREATE TABLE thing (thing_id int PRIMARY KEY)", "");
    service.kill_nine();
    service.database.kill_nine();
    service.launch();

    let request = json!({ "operations": [{ "id": "all", "entity": "thing", "action": "read" }] });
    for path in ["/batch", "/batch/plan"] {
        let away = service.send(path, request.to_string().into_bytes(), None, &[]);
        assert_eq!((away.status, &away.body["kind"]), (503, &json!("database_unavailable")), "{}", away.text);
        assert_eq!(away.header("retry-after"), Some("5"));
        assert!(
            away.body["detail"].as_str().is_some_and(|detail| detail.contains("`main`")),
            "{}",
            away.text
        );
    }
    let status = service.place.run(&["status"]).good().stdout;
    assert!(status.contains("database main: away"), "{status}");
    std::fs::write(service.place.config().with_file_name("all.json"), request.to_string()).expect("write it");
    let refused = service.place.run(&["batch", "all.json"]);
    assert_eq!(refused.code(), 1, "{refused:?}");

    service.database.launch();
    until("the database to be found", String::new, || service.post(&request, None).status == 200);
    let status = service.place.run(&["status"]).good().stdout;
    assert!(status.contains("database main: 1 entities"), "{status}");
}
