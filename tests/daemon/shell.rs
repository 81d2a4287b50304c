//! Exit codes, stdout and stderr.

use super::support::{Org, Place, demo_org};
use super::{Duration, FEW_OBJECTS};
use serde_json::Value;

#[test]
fn check_tells_every_mistake_by_key_line_and_nearest_key() {
    let place = Place::new("");
    let text = "state_dirr = \"x\"\n[log]\nfilter = \"loud==\"\n[[org]]\nname = \"a\"\nsimulated = true\n\
                [engine]\natempts_per_item = 5\n[actors.batcher]\nseal_items = 40\n";
    std::fs::write(place.config(), text).unwrap();
    for command in ["check", "run", "schema", "status"] {
        let ended = place.run(&[command, "--config", "config.toml"]);
        assert_eq!((ended.code(), ended.stdout.as_str()), (78, ""), "{ended:?}");
        for mistake in [
            "config.toml:1: state_dirr: unknown key; did you mean `state_dir`?",
            "config.toml:3: log.filter: ",
            "config.toml:8: engine.atempts_per_item: unknown key; did you mean `engine.attempts_per_item`?",
            "config.toml:10: actors.batcher.seal_items: 40 describes do not fit",
            "penstock: 4 mistakes in the configuration",
        ] {
            assert!(ended.stderr.contains(mistake), "{mistake}\n{}", ended.stderr);
        }
        assert_eq!(ended.stderr.lines().count(), 5, "{}", ended.stderr);
    }
    assert!(!place.state().exists(), "a bad configuration touches nothing");
}

#[test]
fn check_is_content_with_the_shipped_file_and_opens_nothing() {
    let place = Place::new("");
    let shipped = format!("{}/config.toml", env!("CARGO_MANIFEST_DIR"));
    let ended = place.run(&["check", "--config", &shipped]).good();
    assert!(ended.stdout.contains("config.toml is good") && ended.stdout.contains("demo (simulated)"));
    assert_eq!(ended.stderr, "");
    assert!(!place.state().exists());
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let place = Place::new("");
    for arguments in
        [&["explode"][..], &["search"], &["dead", "retry", "seven"], &["search", "x", "--limit", "0"]]
    {
        let ended = place.run(arguments);
        assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains("Usage") || ended.stderr.contains("--help"), "{ended:?}");
    }
    let help = place.run(&["--help"]).good();
    assert!(help.stdout.contains("Usage: penstock") && help.stderr.is_empty());
    assert_eq!(place.run(&["check", "--config", "nowhere.toml"]).code(), 78);
}

#[test]
fn data_goes_to_stdout_and_everything_else_to_stderr() {
    let org = Org::with_latency(Duration::ZERO);
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&org.url(), "")));
    let before = place.run(&["search", "an account", "--json"]);
    assert_eq!((before.code(), before.stdout.as_str()), (1, ""));
    assert!(before.stderr.contains("penstock schema"), "{before:?}");

    let told = place.run(&["schema"]).good();
    assert!(told.stdout.starts_with("demo: 4 of 4 objects in the library, 0 failed\n"), "{told:?}");
    assert!(told.stderr.lines().any(|line| line.starts_with("demo: ")), "no progress: {told:?}");

    let report = place.run(&["schema", "--json"]).good().json();
    assert_eq!(report["reports"][0]["objects_written"], 4);
    assert_eq!(report["reports"][0]["documents_written"], 0, "nothing has changed since");
    let found = place.run(&["search", "why a deal was lost", "--json"]).good();
    assert_eq!(found.stderr, "");
    assert_eq!(found.json()["hits"][0]["object"], "Opportunity");
    let unknown = place.run(&["search", "why a deal was lost", "--org", "nobody"]);
    assert_eq!((unknown.code(), unknown.stdout.as_str()), (1, ""));
    assert!(unknown.stderr.contains("an org `nobody`"), "{unknown:?}");
    for arguments in [
        &["status", "--json"][..],
        &["dead", "list", "--json"],
        &["dead", "retry", "--json"],
        &["dead", "drop", "--json"],
        &["cache", "stats", "--json"],
        &["cache", "keys", "--json"],
        &["cache", "clear", "nobody/", "--json"],
    ] {
        let ended = place.run(arguments).good();
        assert!(ended.json().is_object(), "{ended:?}");
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
    assert_eq!(place.run(&["status", "--json"]).json()["daemon"], Value::Bool(false));
    assert!(place.run(&["status"]).good().stdout.starts_with("no daemon runs"));
}

#[test]
fn a_second_daemon_on_one_state_folder_leaves_and_names_it() {
    let org = Org::with_latency(Duration::ZERO);
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&org.url(), "")));
    let daemon = place.daemon();
    let second = place.run(&["run"]);
    assert_eq!((second.code(), second.stdout.as_str()), (73, ""), "{second:?}");
    assert!(second.stderr.contains(&place.state().display().to_string()), "{second:?}");
    // What a command asks goes to the daemon that holds the folder.
    let status = place.run(&["status", "--json"]).good();
    assert_eq!(status.json()["pid"], daemon.pid());
    assert_eq!(status.json()["daemon"], Value::Null);
    let shown = place.run(&["status"]).good().stdout;
    for part in
        ["running", "supervisor", "rate_limiter", "fetcher", "sync_writer", "org demo", "dead letters: 0"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    daemon.await_jobs("demo", 1);
    let again = place.run(&["schema", "--json"]).good().json();
    assert_eq!(again["reports"][0]["documents_written"], 0);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault_and_a_full_disk_is() {
    let org = Org::with_latency(Duration::ZERO);
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&org.url(), "")));
    place.run(&["schema"]).good();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = place.run_into(&["cache", "keys"], writer.into());
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = place.run_into(&["cache", "keys"], full.into());
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("write to stdout: No space left"), "{ended:?}");
}
