//! What a person, an org or somebody else's statement can get wrong, and what is said of it.

use std::time::Duration;

use penstock::actors::engine::NoFaults;
use penstock::actors::sync_desk::{SyncOrder, SyncOverrides};
use penstock::plant::sync::WarehouseSettings;
use penstock::sync::{ErrorKind, ObjectSettings, SyncMethod, SyncResult};
use penstock::warehouse::adbc::DuckDbSettings;
use rstest::rstest;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::lives::{Death, Household, desk, object, pause, settings};
use crate::target::Target;

fn error(result: &SyncResult) -> &str {
    assert!(!result.success, "{result:#?}");
    assert_eq!(result.records_processed, Some(0), "{result:#?}");
    result.error.as_deref().unwrap_or_else(|| panic!("{result:#?}"))
}

fn own(bench: &Bench) -> rusqlite::Connection {
    let Target::Sqlite(file) = &bench.target else { unreachable!("it is SQLite") };
    rusqlite::Connection::open(file).unwrap()
}

#[test]
fn an_object_that_is_not_there_fails_alone() {
    let bench = Bench::new(20, vec![object("Nothing__c"), object("Contact")]);
    let results = bench.order(SyncOverrides::default());
    assert!(error(&results[0]).contains("no object `Nothing__c`"), "{results:#?}");
    assert_eq!(results[0].sobject, "Nothing__c");
    assert!(results[1].success, "{results:#?}");
    bench.is_equal("Contact");
}

#[rstest]
#[case::a_bracket_too_many("LastName != 'x') OR (LastName != 'y'")]
#[case::an_order("LastName != 'x' ORDER BY Id")]
#[case::a_limit("LastName != 'x' LIMIT 1")]
#[case::a_second_statement("LastName != 'x'; SELECT Id FROM User")]
#[case::a_comment("LastName != 'x' -- '")]
#[case::an_open_text("LastName != 'x")]
#[case::nothing_to_compare("LastName")]
fn a_filter_that_would_escape_its_place_is_refused_and_nothing_is_asked(#[case] filter: &str) {
    let mut leads = object("Lead");
    leads.filter = Some(filter.to_owned());
    let bench = Bench::new(20, vec![leads]);
    let result = bench.sync();
    assert!(error(&result).contains("where"), "{result:#?}");
    assert_eq!(result.error_kind, Some(ErrorKind::Job));
    assert_eq!(bench.org.calls("GET", |path| path.contains("/query")), 0);
}

#[test]
fn a_field_that_nobody_has_heard_of_in_the_filter_is_named() {
    let mut leads = object("Lead");
    leads.filter = Some("Nothing__c = 'x'".to_owned());
    let bench = Bench::new(20, vec![leads]);
    let result = bench.sync();
    assert!(error(&result).contains("Nothing__c"), "{result:#?}");
}

#[test]
fn a_column_that_somebody_took_out_is_named_with_the_remedy_and_nothing_is_written() {
    let bench = Bench::new(40, vec![object("Lead")]).without_jobs();
    bench.synced();
    own(&bench).execute_batch("ALTER TABLE \"lead\" RENAME COLUMN \"Company\" TO \"Firm\"").unwrap();
    bench.change(&json!({"object": "Lead", "action": "touch", "count": 3}));
    bench.org.later(60);
    let result = bench.sync();
    let told = error(&result);
    assert!(told.contains("`Company`") && told.contains("bring it back"), "{told}");
    assert_eq!(result.error_kind, Some(ErrorKind::Data), "{result:#?}");
    own(&bench).execute_batch("ALTER TABLE \"lead\" RENAME COLUMN \"Firm\" TO \"Company\"").unwrap();
    bench.synced();
    bench.is_equal("Lead");
}

#[test]
fn a_table_that_is_somebody_elses_is_left_alone() {
    let bench = Bench::new(40, vec![object("Lead")]).without_jobs();
    own(&bench).execute_batch("CREATE TABLE \"lead\" (a); INSERT INTO \"lead\" VALUES (1)").unwrap();
    let result = bench.sync();
    assert!(error(&result).contains("not made by penstock"), "{result:#?}");
    assert_eq!(bench.target.number("SELECT a FROM \"lead\""), 1);
}

#[test]
fn a_table_that_was_dropped_is_made_anew_with_every_row() {
    let bench = Bench::new(40, vec![object("Lead")]).without_jobs();
    bench.synced();
    own(&bench).execute_batch("DROP TABLE \"lead\"").unwrap();
    bench.org.later(60);
    bench.synced();
    bench.is_equal("Lead");
}

#[test]
fn a_file_that_somebody_has_locked_is_waited_for() {
    let bench = Bench::new(40, vec![object("Lead")]).without_jobs();
    bench.synced();
    bench.change(&json!({"object": "Lead", "action": "touch", "count": 3}));
    bench.org.later(60);
    let holder = own(&bench);
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| bench.synced());
        pause(Duration::from_millis(1_500));
        assert!(!syncing.is_finished(), "it did not wait");
        holder.execute_batch("COMMIT").unwrap();
        syncing.join().unwrap();
    });
    bench.is_equal("Lead");
}

#[test]
fn a_second_daemon_on_one_target_is_told_that_there_is_another() {
    let bench = Bench::new(40, vec![object("Lead")]).without_jobs();
    let folder = tempfile::tempdir().unwrap();
    let other = Household::new(&bench.org, settings(vec![object("Lead")]), folder, bench.target.settings());
    let results = bench.home.live(std::sync::Arc::new(NoFaults), |plant| {
        let other = &other;
        async move {
            assert!(desk(&plant).sync(SyncOrder::all()).await[0].success);
            // The first one lives on, as daemons do.
            other.sync(SyncOrder::all(), &Death::Natural).unwrap()
        }
    });
    assert!(error(&results[0]).contains("another penstock"), "{results:#?}");
    bench.is_equal("Lead");
}

#[test]
fn a_driver_that_is_missing_is_told_with_how_to_install_it() {
    let bench = Bench::new(40, vec![object("Lead")]);
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere/libduckdb.so").display().to_string();
    let duckdb = DuckDbSettings {
        driver: Some(missing.clone()),
        ..DuckDbSettings::new(folder.path().join("w.duckdb"))
    };
    let home =
        Household::new(&bench.org, settings(vec![object("Lead")]), folder, WarehouseSettings::Duckdb(duckdb));
    let results = home.sync(SyncOrder::all(), &Death::Natural).unwrap();
    let told = error(&results[0]);
    assert!(told.contains("duckdb") && told.contains(&missing), "{told}");
    assert!(told.contains("install"), "{told}");
    assert_eq!(bench.org.calls("GET", |path| path.contains("/query")), 0, "no row is read for nobody");
}

/// A value that has more digits than the describe allows, as an org has one after a field was made narrower.
fn with_a_value_that_does_not_fit(per_million: u32) -> Bench {
    let bench = with_a_number(object("Lead"), per_million);
    let one = json!({"object": "Lead", "action": "update", "count": 1, "fields": {"Wide__c": 1e20}});
    too_wide_now(&bench, &one);
    bench
}

/// Leads with a number that has room for 18 digits.
fn with_a_number(leads: ObjectSettings, per_million: u32) -> Bench {
    let mut bench = Bench::new(60, vec![leads]).without_jobs();
    bench.home.settings.max_rejects_per_million = per_million;
    let number = json!({"name": "Wide__c", "type": "double", "precision": 18, "scale": 2});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": number}));
    bench
}

/// A change for which the number has to be wider for a moment.
fn too_wide_now(bench: &Bench, change: &Value) {
    for (precision, scale) in [(0, 0), (18, 2)] {
        let number = json!({"name": "Wide__c", "precision": precision, "scale": scale});
        bench.org.control("/__sim/schema", &json!({"object": "Lead", "change": number}));
        if precision == 0 {
            bench.change(change);
        }
    }
    bench.org.later(60);
}

/// Files with rejected rows.
fn reject_files(bench: &Bench) -> usize {
    let folder = bench.home.config.state_dir.join("sync/rejects");
    std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).count()
}

/// Neither a load of every row nor one of a filter's rows takes the row out: the org has it, and it has not left the filter.
#[rstest]
#[case::what_has_changed(None, false)]
#[case::what_has_changed_of_a_filter(Some("LastName != 'Nobody'"), false)]
#[case::every_row(None, true)]
#[case::every_row_of_a_filter(Some("LastName != 'Nobody'"), true)]
fn what_the_table_has_of_a_row_that_does_not_fit_any_more_stays(
    #[case] filter: Option<&str>,
    #[case] is_full: bool,
) {
    let mut leads = object("Lead");
    (leads.filter, leads.force_full_sync) = (filter.map(str::to_owned), is_full);
    let bench = with_a_number(leads, 1_000_000);
    bench.change(&json!({"object": "Lead", "action": "update", "count": 2, "fields": {"Wide__c": 7}}));
    bench.org.later(60);
    bench.synced();
    let database = own(&bench);
    let id: String =
        database.query_row("SELECT \"Id\" FROM lead WHERE \"Wide__c\" = 7", [], |row| row.get(0)).unwrap();
    let change = |fields: Value| json!({"object": "Lead", "action": "update", "ids": [id], "fields": fields});
    too_wide_now(&bench, &change(json!({"Wide__c": 1e20})));
    for _ in 0..2 {
        let result = bench.synced();
        assert_eq!((result.rows_rejected, result.rows_deleted), (1, 0), "{result:#?}");
        assert!(std::fs::exists(result.reject_file.as_ref().unwrap()).unwrap(), "{result:#?}");
        assert_eq!(reject_files(&bench), 1, "one sync after the other leaves people's data");
        let kept = "SELECT count(*) FROM lead WHERE \"Wide__c\" = 7 AND NOT \"IsDeleted\"";
        assert_eq!(bench.target.number(kept), 2);
        assert_eq!(bench.target.number("SELECT count(*) FROM lead WHERE NOT \"IsDeleted\""), 60);
    }
    too_wide_now(&bench, &change(json!({"Wide__c": 8})));
    bench.synced();
    bench.is_equal("Lead");
    // A load of changed rows knows nothing of those that were rejected before.
    assert_eq!(reject_files(&bench), usize::from(!is_full));
}

#[test]
fn rows_that_do_not_fit_are_kept_in_a_file_and_the_load_goes_on() {
    let bench = with_a_value_that_does_not_fit(1_000_000);
    let result = bench.synced();
    let rows = bench.target.number("SELECT count(*) FROM \"lead\"") as u64;
    assert_eq!((result.rows_rejected, rows), (1, 59), "{result:#?}");
    let file = result.reject_file.as_ref().unwrap_or_else(|| panic!("{result:#?}"));
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(kept.contains("Wide__c"), "{kept}");
}

#[test]
fn more_of_them_than_are_allowed_fail_the_load() {
    let bench = with_a_value_that_does_not_fit(0);
    let result = bench.sync();
    assert!(error(&result).contains("Wide__c") || error(&result).contains("reject"), "{result:#?}");
    assert_eq!(result.error_kind, Some(ErrorKind::Data), "{result:#?}");
    assert_eq!(bench.target.number("SELECT count(*) FROM \"lead\""), 0);
    // What was known when it failed is told.
    assert_eq!((result.estimated_records, result.rows_rejected), (60, 1), "{result:#?}");
    assert_eq!(result.sync_method, Some(SyncMethod::RegularApiFull), "{result:#?}");
    assert!(result.reject_file.is_some() && !result.reason.is_empty(), "{result:#?}");
    let next = bench.sync();
    assert_ne!(next.reject_file, result.reject_file, "it is another load");
    assert_eq!(reject_files(&bench), 1, "one sync after the other leaves people's data");
}
