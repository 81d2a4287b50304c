//! What lht 3.0.0 does wrong, each fault as a story that ends well here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orgsim::{Fault, FaultRule};
use penstock::actors::sync_desk::SyncOverrides;
use penstock::sync::{ErrorKind, SyncMethod};
use serde_json::json;

use crate::bench::Bench;
use crate::lives::{object, pause};

fn full() -> SyncOverrides {
    SyncOverrides { full: true, ..SyncOverrides::default() }
}

#[test]
fn a_run_that_dies_after_the_first_page_hides_no_row_of_the_others() {
    let bench = Bench::new(1_900, vec![object("Lead")]);
    // Plan, schema, job, first page.
    bench.dies_at(4);
    assert_eq!(bench.target.number("SELECT count(*) FROM \"lead\""), 0, "nobody sees half a load");
    assert_eq!(
        bench.target.number("SELECT count(*) FROM _penstock_loads"),
        0,
        "no watermark without its rows"
    );
    let result = bench.synced();
    bench.is_equal("Lead");
    assert_eq!(bench.jobs(), (1, 1), "{result:#?}");
}

#[test]
fn results_that_cannot_be_read_fail_the_sync_and_count_nothing() {
    let bench = Bench::new(1_900, vec![object("Lead")]);
    bench.org.server.faults().set(vec![FaultRule::always(Fault::TruncatedCsv).of_kind("bulk_results")]);
    let result = bench.sync();
    assert!(!result.success && result.error.is_some(), "{result:#?}");
    assert_eq!((result.actual_records, result.records_processed), (0, Some(0)), "{result:#?}");
    assert!(result.error_kind.is_some_and(|kind| kind != ErrorKind::Auth), "{result:#?}");
    bench.org.server.faults().clear();
    bench.synced();
    bench.is_equal("Lead");
}

#[test]
fn moments_keep_their_milliseconds_and_are_of_a_zone() {
    let bench = Bench::new(60, vec![object("Lead")]);
    bench.synced();
    let told = bench.target.query("SELECT \"SystemModstamp\" FROM \"lead\"");
    assert!(told.iter().all(|row| row[0].as_ref().is_some_and(|text| text.ends_with('Z'))), "{told:?}");
    assert!(told.iter().any(|row| row[0].as_ref().is_some_and(|text| !text.ends_with(".000Z"))), "{told:?}");
    bench.is_equal("Lead");
}

#[test]
fn text_that_looks_like_nothing_or_like_a_number_stays_what_it_is() {
    for bench in
        [Bench::new(60, vec![object("Lead")]).without_jobs(), Bench::new(1_100, vec![object("Lead")])]
    {
        let texts = [
            "nan",
            "NaN",
            "NULL",
            "None",
            "NA",
            "0012",
            "1e3",
            "true",
            "1900-01-01",
            "#N/A",
            "a,\"b\"",
            "two\nlines",
        ];
        for text in texts {
            bench.change(&json!({"object": "Lead", "action": "insert", "count": 1, "fields": {"LastName": text, "Company": text}}));
        }
        bench.org.later(10);
        bench.synced();
        bench.is_equal("Lead");
        for text in texts {
            let quoted = text.replace('\'', "''");
            let found = bench.target.number(&format!(
                "SELECT count(*) FROM \"lead\" WHERE \"LastName\" = '{quoted}' AND \"Company\" = '{quoted}'"
            ));
            assert!(found > 0, "{text:?}");
        }
    }
}

#[test]
fn nothing_is_null_and_neither_zero_nor_empty_nor_1900() {
    let bench = Bench::new(120, vec![object("Lead")]).without_jobs();
    bench.synced();
    let nothing = bench.target.number(
        "SELECT count(*) FROM \"lead\" WHERE \"AnnualRevenue\" IS NULL OR \"Title\" IS NULL OR \"EmailBouncedDate\" IS NULL",
    );
    assert!(nothing > 0);
    let filled = "SELECT count(*) FROM \"lead\" WHERE \"Title\" = '' OR \"EmailBouncedDate\" LIKE '1900%'";
    assert_eq!(bench.target.number(filled), 0);
    bench.is_equal("Lead");
}

#[test]
fn a_field_that_comes_later_is_added_and_filled() {
    let bench = Bench::new(80, vec![object("Lead")]).without_jobs();
    bench.synced();
    let score = json!({"name": "Rank__c", "type": "double", "precision": 12, "scale": 2});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": score}));
    bench.org.later(60);
    let result = bench.synced();
    assert_eq!(result.schema_changes.len(), 1, "{result:#?}");
    bench.is_equal("Lead");
    assert!(bench.target.number("SELECT count(\"Rank__c\") FROM \"lead\"") > 0);
}

#[test]
fn a_full_sync_again_drops_nothing_and_readers_see_every_row_meanwhile() {
    let bench = Bench::new(1_500, vec![object("Lead")]);
    bench.synced();
    let rows = bench.target.number("SELECT count(*) FROM \"lead\"");
    let file = match &bench.target {
        crate::target::Target::Sqlite(file) => file.clone(),
        _ => unreachable!("it is SQLite"),
    };
    let own = rusqlite::Connection::open(&file).unwrap();
    own.execute_batch(
        "CREATE VIEW mine AS SELECT \"Id\" FROM \"lead\"; CREATE INDEX theirs ON \"lead\" (\"LastName\")",
    )
    .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ended = &is_over;
        let reader = scope.spawn(move || {
            let mut looks = 0;
            while !ended.load(Ordering::SeqCst) {
                let seen: i64 = own.query_row("SELECT count(*) FROM mine", [], |row| row.get(0)).unwrap();
                assert_eq!(seen, rows);
                looks += 1;
                pause(Duration::from_millis(1));
            }
            looks
        });
        let results = bench.order(full());
        is_over.store(true, Ordering::SeqCst);
        assert!(results[0].success, "{results:#?}");
        assert!(reader.join().unwrap() > 10);
    });
    assert_eq!(bench.target.number("SELECT count(*) FROM sqlite_master WHERE name IN ('mine', 'theirs')"), 2);
}

#[test]
fn a_sync_makes_one_job_and_deletes_it() {
    let bench = Bench::with(1_900, vec![object("Lead")], |options| options.bulk.polls_until_done = 3);
    let result = bench.synced();
    assert_eq!((bench.jobs(), result.jobs), ((1, 1), 1), "{result:#?}");
}

#[test]
fn a_field_that_is_gone_keeps_its_values_and_is_told_of() {
    let bench = Bench::new(1_200, vec![object("Lead")]);
    bench.synced();
    let filled = "SELECT count(\"Title\") FROM \"lead\"";
    let before = bench.target.number(filled);
    assert!(before > 0);
    bench.org.set(&json!({"hidden_fields": ["Lead.Title"]}));
    bench.org.later(60);
    bench.change(&json!({"object": "Lead", "action": "touch", "count": 50}));
    bench.org.later(60);
    let result = bench.synced();
    assert!(result.notes.iter().any(|note| note.contains("`Title`")), "{result:#?}");
    assert_eq!(bench.target.number(filled), before);
    bench.is_equal("Lead");
}

#[test]
fn every_page_is_looked_at_not_the_first_alone() {
    for fault in
        [Fault::ServerError, Fault::HtmlPage, Fault::CutMidBody, Fault::Gateway, Fault::SessionExpired]
    {
        let bench = Bench::new(1_900, vec![object("Lead")]);
        bench.org.server.faults().set(vec![FaultRule::always(fault.clone()).of_kind("bulk_results").nth(3)]);
        let result = bench.synced();
        assert_eq!(bench.org.server.faults().fired(), [1], "{fault:?}");
        bench.is_equal("Lead");
        assert_eq!(bench.jobs(), (1, 1), "{fault:?} {result:#?}");
    }
}

#[test]
fn pages_behind_the_first_come_over_rest_too() {
    let bench = Bench::new(4_100, vec![object("Lead")]).without_jobs();
    let result = bench.synced();
    assert_eq!(result.sync_method, Some(SyncMethod::RegularApiFull));
    assert!(result.actual_records >= 4_100);
    bench.is_equal("Lead");
}

#[test]
fn a_session_that_ends_in_between_is_renewed() {
    let bench = Bench::with(1_900, vec![object("Lead")], |options| options.token_requests = Some(3));
    bench.synced();
    bench.is_equal("Lead");
    assert_eq!(bench.jobs(), (1, 1));
}

#[test]
fn a_change_that_only_the_system_made_is_seen() {
    let bench = Bench::new(80, vec![object("Lead")]).without_jobs();
    bench.synced();
    bench.org.later(3_600);
    let quiet = json!({"LastName": "Quiet", "LastModifiedDate": "2022-01-01T00:00:00.000Z"});
    bench.change(&json!({"object": "Lead", "action": "update", "count": 5, "fields": quiet}));
    bench.org.later(60);
    let result = bench.synced();
    assert_eq!(result.rows_written, 5, "{result:#?}");
    bench.is_equal("Lead");
}

#[test]
fn a_match_field_that_is_not_unique_is_refused() {
    let mut leads = object("Lead");
    leads.match_field = "LastName".to_owned();
    let bench = Bench::new(30, vec![leads]);
    let result = bench.sync();
    assert!(!result.success, "{result:#?}");
    assert!(result.error.as_ref().is_some_and(|error| error.contains("not unique")), "{result:#?}");
}

#[test]
fn an_or_in_the_filter_does_not_escape_the_window() {
    let mut leads = object("Lead");
    leads.filter = Some("LastName != 'x' OR Company != 'y'".to_owned());
    let bench = Bench::new(700, vec![leads]).without_jobs();
    bench.synced();
    bench.org.later(3_600);
    bench.change(&json!({"object": "Lead", "action": "touch", "count": 3}));
    bench.org.later(60);
    let result = bench.synced();
    assert_eq!(
        (result.sync_method, result.estimated_records),
        (Some(SyncMethod::RegularApiIncremental), 3),
        "{result:#?}"
    );
    assert_eq!(result.actual_records, 3, "{result:#?}");
    bench.is_equal("Lead");
}

#[test]
fn rows_that_were_deleted_for_good_leave_or_are_flagged() {
    let mut bench = Bench::new(90, vec![object("Lead")]).without_jobs();
    bench.home.settings.hard_deletes_every = Some(Duration::ZERO);
    bench.synced();
    bench.org.later(3_600);
    bench.change(&json!({"object": "Lead", "action": "hard_delete", "count": 7}));
    bench.org.later(600);
    let result = bench.synced();
    assert_eq!(result.rows_deleted, 7, "{result:#?}");
    bench.is_equal("Lead");
    // The org forgets its list early: every id is compared then.
    bench.org.later(3_600);
    bench.change(&json!({"object": "Lead", "action": "hard_delete", "count": 4}));
    bench.org.later(600);
    bench.org.set(&json!({"deletes_kept_ms": 60_000}));
    let result = bench.synced();
    assert_eq!(result.rows_deleted, 4, "{result:#?}");
    bench.is_equal("Lead");
}

#[test]
fn formulas_that_no_stamp_tells_of_are_read_anew() {
    let mut bench = Bench::new(90, vec![object("Lead")]).without_jobs();
    let calc = json!({"name": "Calc__c", "type": "double", "precision": 12, "scale": 2, "formula": "1"});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": calc}));
    bench.synced();
    bench.org.later(3_600);
    bench.change(&json!({"object": "Lead", "action": "recompute", "count": 20, "fields": {"Calc__c": 4.25}}));
    bench.synced();
    let read = "SELECT count(*) FROM \"lead\" WHERE \"Calc__c\" = 4.25";
    assert_eq!(bench.target.number(read), 0, "an increment cannot know");
    bench.home.settings.formulas_every = Some(Duration::ZERO);
    bench.synced();
    assert!(bench.target.number(read) > 0);
    bench.is_equal("Lead");
}

#[test]
fn a_column_that_a_failed_load_has_made_is_filled_all_the_same() {
    let bench = Bench::new(1_200, vec![object("Lead")]);
    bench.synced();
    let rank = json!({"name": "Rank__c", "type": "double", "precision": 12, "scale": 2});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": rank}));
    bench.org.later(60);
    let fails = Fault::JobFails { message: "out of luck".to_owned() };
    bench.org.server.faults().set(vec![FaultRule::always(fails).of_kind("bulk_create")]);
    assert!(!bench.sync().success);
    bench.org.server.faults().clear();
    let result = bench.synced();
    assert!(bench.target.number("SELECT count(\"Rank__c\") FROM \"lead\"") > 0, "{result:#?}");
    bench.is_equal("Lead");
}

#[test]
fn a_field_that_comes_back_is_filled_again_with_what_happened_meanwhile() {
    let bench = Bench::new(80, vec![object("Lead")]).without_jobs();
    let rank = json!({"name": "Rank__c", "type": "string"});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": rank}));
    bench.synced();
    bench.org.set(&json!({"hidden_fields": ["Lead.Rank__c"]}));
    bench.org.later(3_600);
    bench.change(&json!({"object": "Lead", "action": "update", "count": 9, "fields": {"Rank__c": "other"}}));
    bench.org.later(60);
    bench.synced();
    bench.org.set(&json!({"hidden_fields": []}));
    bench.org.later(3_600);
    let result = bench.synced();
    assert!(
        bench.target.number("SELECT count(*) FROM \"lead\" WHERE \"Rank__c\" = 'other'") == 9,
        "{result:#?}"
    );
    bench.is_equal("Lead");
}

#[test]
fn deleted_rows_that_are_kept_get_new_columns_filled_too() {
    // Large enough for the new column to be read by itself.
    let mut bench = Bench::new(2_500, vec![object("Lead")]);
    bench.home.settings.thresholds.bulk = 100;
    bench.synced();
    let flagged = bench.target.number("SELECT count(*) FROM \"lead\" WHERE \"IsDeleted\"");
    assert!(flagged > 10);
    let rank = json!({"name": "Rank__c", "type": "boolean"});
    bench.org.control("/__sim/schema", &json!({"object": "Lead", "add": rank}));
    bench.org.later(60);
    bench.synced();
    let filled = "SELECT count(*) FROM \"lead\" WHERE \"IsDeleted\" AND \"Rank__c\" IS NOT NULL";
    assert_eq!(bench.target.number(filled), flagged);
    bench.is_equal("Lead");
}
