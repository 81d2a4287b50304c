//! The real program, killed with signal 9 while it syncs, again and again; then left alone.

use std::time::Duration;

use penstock::sync::DeletePolicy;
use rstest::rstest;
use serde_json::json;

use crate::compare::{Expected, differences, shown};
use crate::dice::Dice;
use crate::org::Org;
use crate::support::{Place, demo_org, pause};
use crate::target::{Engine, Target};

fn sections(org: &Org, target: &Target) -> String {
    let warehouse = match target {
        Target::Sqlite(file) => format!("kind = \"sqlite\"\npath = \"{}\"\n", file.display()),
        Target::Postgres { url } => format!("kind = \"postgres\"\nurl = \"{url}\"\n"),
        Target::DuckDb { file, library, .. } => {
            format!("kind = \"duckdb\"\npath = \"{}\"\ndriver = \"{library}\"\n", file.display())
        }
    };
    format!(
        "{}[[warehouse]]\nname = \"main\"\n{warehouse}[sync]\nprofile = \"seed\"\noverlap = \"5m\"\n\
         hard_deletes_every = \"\"\nformulas_every = \"\"\n\
         [[sync.object]]\nname = \"Lead\"\ntable = \"lead\"\n[[sync.object]]\nname = \"Contact\"\ntable = \"contact\"\n",
        demo_org(&org.server.url(), "")
    )
}

#[rstest]
#[case::sqlite(Engine::Sqlite, 1)]
#[case::postgresql(Engine::Postgres, 2)]
#[case::duckdb(Engine::DuckDb, 3)]
fn a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(
    #[case] engine: Engine,
    #[case] seed: u64,
) {
    let folder = tempfile::tempdir().unwrap();
    let Some(target) = Target::make(engine, folder.path()) else { return };
    let mut dice = Dice::new(seed);
    let mut options = orgsim::Options { latency: Duration::from_millis(5), ..orgsim::Options::default() };
    options.bulk.page_rows = 300;
    for (object, rows) in [("Lead", 2_400), ("Contact", 400)] {
        options.data.records.insert(object.to_owned(), rows);
    }
    let org = Org::start(options);
    let place = Place::new(&sections(&org, &target));
    let mut died = 0;
    for _ in 0..6 {
        org.change(&json!([
            {"object": "Lead", "action": "update", "count": 20, "fields": {"LastName": "Changed"}},
            {"object": "Lead", "action": "insert", "count": 5, "commit_after_ms": 100_000},
            {"object": "Contact", "action": "delete", "count": 2},
            {"object": "Lead", "action": "hard_delete", "count": 1},
        ]));
        org.later(30);
        let mut process = place.start(&["sync", "--json"]);
        pause(Duration::from_millis(dice.from(50, 1_500)));
        if process.try_wait().unwrap().is_none() {
            died += 1;
        }
        // Signal 9.
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(died > 0, "nobody was killed while at work");
    org.later(600);
    place.run(&["sync", "--compare-ids", "--json"]).good();
    for object in ["Lead", "Contact"] {
        let expected = Expected { object, deletes: DeletePolicy::Flag, filter: &|_| true };
        let told = differences(&org, &target, &expected);
        assert!(told.is_empty(), "{engine:?}, killed {died} times: {}", shown(&told));
    }
    let left = org.calls("POST", |path| path.ends_with("/jobs/query"))
        - org.calls("DELETE", |path| path.contains("/jobs/query/"));
    assert_eq!(left, 0, "no bulk job is left at the org");
}

#[test]
fn a_process_tells_by_its_exit_code_and_never_tells_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let Some(target) = Target::make(Engine::Sqlite, folder.path()) else { return };
    let mut options = orgsim::Options::default();
    options.data.records.insert("Lead".to_owned(), 60);
    let org = Org::start(options);
    let secret = "Zyxwvutsrq";
    let number = json!({"name": "Wide__c", "type": "double", "precision": 0, "scale": 0});
    org.control("/__sim/schema", &json!({"object": "Lead", "add": number}));
    let fields = json!({"LastName": secret, "Company": secret, "Wide__c": 1e20});
    org.change(&json!({"object": "Lead", "action": "update", "count": 60, "fields": fields}));
    let narrow = json!({"name": "Wide__c", "precision": 18, "scale": 2});
    org.control("/__sim/schema", &json!({"object": "Lead", "change": narrow}));
    org.later(60);
    let told = |share: &str| {
        let sections = sections(&org, &target).replace("[sync]\n", &format!("[sync]\n{share}"));
        let place = Place::new(&format!("{sections}[log]\nfilter = \"trace\"\n"));
        let ended = place.run(&["sync"]);
        // Rejected rows are named by their ids, which are nobody's data.
        for text in [&ended.stdout, &ended.stderr] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(ended.stderr.contains("DEBUG") || ended.stderr.contains("\"debug\""), "{}", ended.stderr);
        ended
    };
    // Every row is one too many: Lead fails, Contact does not, and the process says so.
    let failed = told("");
    assert_eq!(failed.code(), 1, "{}", failed.stdout);
    assert!(
        failed.stdout.contains("failed (data)") && failed.stdout.contains("Wide__c"),
        "{}",
        failed.stdout
    );
    let good = told("max_reject_share = 1.0\n");
    assert_eq!(good.code(), 0, "{}", good.stdout);
    assert!(good.stdout.contains("60 rejected"), "{}", good.stdout);
}
