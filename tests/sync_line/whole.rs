//! Syncs that nobody disturbs.

use penstock::actors::sync_desk::{SyncOrder, SyncOverrides};
use penstock::sync::{DeletePolicy, ErrorKind, SyncMethod};
use serde_json::json;

use crate::rig::{Rig, close, desk, in_system, name, object, see_the_clock};

const FIELDS: [&str; 4] = ["LastName", "Company", "Status", "Email"];

#[test]
fn a_small_object_comes_over_rest_and_then_what_has_changed_for_one_call() {
    in_system(async {
        let rig = Rig::new(700, vec![object("Lead")]).await;
        let first = &rig.synced().await[0];
        assert_eq!(first.sync_method, Some(SyncMethod::RegularApiFull), "{first:#?}");
        assert_eq!((first.estimated_records, first.actual_records), (first.rows_written, first.rows_written));
        assert_eq!(first.reconciliation.as_ref().map(|counted| counted.difference), Some(0));
        assert_eq!(rig.jobs_made(), 0);
        rig.is_equal("Lead", &FIELDS).await;

        rig.later(3_600).await;
        rig.change(json!([
            {"object": "Lead", "action": "update", "count": 30, "fields": {"LastName": "Changed"}},
            {"object": "Lead", "action": "insert", "count": 15},
            {"object": "Lead", "action": "delete", "count": 5},
        ]))
        .await;
        rig.later(60).await;
        let second = &rig.synced().await[0];
        assert_eq!(second.sync_method, Some(SyncMethod::RegularApiIncremental), "{second:#?}");
        assert!(second.last_modified_date.is_some());
        assert!((45..=50).contains(&(second.rows_written + second.rows_deleted)), "{second:#?}");
        assert!((1..=5).contains(&second.rows_deleted), "{second:#?}");
        rig.is_equal("Lead", &FIELDS).await;
        // Rows that lay in the bin when the first sync came by were brought over as such.
        let counted = first.reconciliation.as_ref().map_or(0, |counted| counted.org);
        let in_bin = rig.count("SELECT count(*) FROM lead WHERE \"IsDeleted\"") as u64;
        assert_eq!(in_bin, second.rows_deleted + first.rows_written - counted);
    });
}

#[test]
fn a_large_object_comes_by_one_bulk_job_which_is_deleted() {
    in_system(async {
        let rig = Rig::new(5_000, vec![object("Lead")]).await;
        let result = &rig.synced().await[0];
        assert_eq!(result.sync_method, Some(SyncMethod::BulkApiFull), "{result:#?}");
        assert_eq!((rig.jobs_made(), rig.jobs_deleted(), result.jobs), (1, 1, 1));
        let calls = rig.calls();
        assert_eq!(result.calls, calls, "what is told is what the org counted");
        rig.is_equal("Lead", &FIELDS).await;
        // Again in full: nothing is other than before, and the table was never empty.
        let order =
            SyncOrder { with: SyncOverrides { full: true, ..Default::default() }, ..SyncOrder::all() };
        let again = &rig.order(order).await[0];
        assert!(again.success, "{again:#?}");
        assert_eq!((again.rows_written, again.rows_deleted), (0, 0), "{again:#?}");
        assert_eq!(again.rows_unchanged, result.rows_written);
    });
}

#[test]
fn rows_that_leave_the_filter_leave_the_target() {
    in_system(async {
        let mut leads = object("Lead");
        leads.filter = Some("Status = 'Open - Not Contacted' OR LastName = 'In'".to_owned());
        let rig = Rig::new(400, vec![leads]).await;
        rig.synced().await;
        let before = rig.target_rows("lead", &["Status"]);
        assert!(before.len() > 5 && before.len() < 400, "{}", before.len());
        rig.later(3_600).await;
        let leaving: Vec<&String> = before.keys().take(3).collect();
        rig.change(json!([
            {"object": "Lead", "action": "update", "ids": leaving, "fields": {"Status": "Working - Contacted"}},
            {"object": "Lead", "action": "insert", "count": 2, "fields": {"LastName": "In"}},
        ]))
        .await;
        rig.later(60).await;
        let result = &rig.synced().await[0];
        assert_eq!(result.sync_method, Some(SyncMethod::RegularApiIncremental), "{result:#?}");
        let after = rig.target_rows("lead", &["LastName"]);
        assert!(leaving.iter().all(|id| !after.contains_key(*id)), "{result:#?}");
        assert_eq!(after.len(), before.len() - 3 + 2, "{result:#?}");
        assert_eq!(result.reconciliation.as_ref().map(|counted| counted.difference), Some(0), "{result:#?}");
    });
}

#[test]
fn deleted_rows_leave_the_target_where_the_policy_says_so_and_hard_deletes_are_found() {
    in_system(async {
        let mut rig = Rig::new(300, vec![object("Contact")]).await;
        rig.settings.deletes = DeletePolicy::Remove;
        rig.settings.hard_deletes_every = Some(std::time::Duration::ZERO);
        rig.synced().await;
        rig.later(3_600).await;
        rig.change(json!([
            {"object": "Contact", "action": "delete", "count": 4},
            {"object": "Contact", "action": "hard_delete", "count": 3},
        ]))
        .await;
        rig.later(600).await;
        let result = &rig.synced().await[0];
        assert_eq!(result.rows_deleted, 7, "{result:#?}");
        rig.is_equal("Contact", &["LastName"]).await;
        // By comparing every id, on request.
        rig.later(3_600).await;
        rig.settings.hard_deletes_every = None;
        rig.change(json!({"object": "Contact", "action": "hard_delete", "count": 2})).await;
        rig.later(60).await;
        let with = SyncOverrides { compare_ids: true, ..Default::default() };
        let result = &rig.order(SyncOrder { with, ..SyncOrder::all() }).await[0];
        assert_eq!((result.success, result.rows_deleted), (true, 2), "{result:#?}");
        rig.is_equal("Contact", &["LastName"]).await;
    });
}

#[test]
fn a_field_that_comes_is_added_and_filled_and_one_that_goes_stays() {
    in_system(async {
        let rig = Rig::new(200, vec![object("Contact")]).await;
        rig.hide(&["Contact.Department"]).await;
        rig.synced().await;
        rig.later(3_600).await;
        rig.hide(&["Contact.Title"]).await;
        let result = &rig.synced().await[0];
        assert_eq!(result.schema_changes.len(), 2, "{result:#?}");
        rig.is_equal("Contact", &["LastName", "Department"]).await;
        assert!(rig.count("SELECT count(*) FROM contact WHERE \"Title\" IS NOT NULL") > 0);
    });
}

#[test]
fn a_field_that_goes_while_the_sync_runs_is_planned_around() {
    in_system(async {
        let rig = Rig::new(300, vec![object("Contact")]).await;
        let plant = rig.plant().await;
        assert!(desk(&plant).sync(SyncOrder::all()).await[0].success);
        rig.later(3_600).await;
        // The describe is still believed.
        rig.hide(&["Contact.Title"]).await;
        rig.change(json!({"object": "Contact", "action": "touch", "count": 5})).await;
        rig.later(60).await;
        see_the_clock(&plant).await;
        let result = desk(&plant).sync(SyncOrder::all()).await.remove(0);
        assert!(result.success, "{result:#?}");
        assert!(result.notes.iter().any(|note| note.contains("`Title` went")), "{result:#?}");
        close(plant).await;
        rig.is_equal("Contact", &["LastName"]).await;
    });
}

#[test]
fn isolated_one_object_that_fails_does_not_touch_the_other() {
    in_system(async {
        let mut wrong = object("Account");
        wrong.match_field = "Nothing__c".to_owned();
        let rig = Rig::new(10, vec![wrong, object("Contact")]).await;
        let results = rig.sync().await;
        assert_eq!((results[0].success, results[1].success), (false, true), "{results:#?}");
        assert_eq!(results[0].error_kind, Some(ErrorKind::Job));
        assert_eq!(results[0].records_processed, Some(0));
        rig.is_equal("Contact", &["LastName"]).await;
        // And one that nobody configured.
        let unknown = &rig.order(SyncOrder::of(vec![name("Opportunity")])).await[0];
        assert!(unknown.error.as_ref().unwrap().contains("configured"), "{unknown:#?}");
    });
}

#[test]
fn an_explanation_tells_what_the_sync_then_does_and_changes_nothing() {
    in_system(async {
        let rig = Rig::new(2_500, vec![object("Lead")]).await;
        let plant = rig.plant().await;
        let told = desk(&plant).explain(&name("Lead"), &SyncOverrides::default()).await.unwrap();
        assert_eq!(told.choice.method, SyncMethod::BulkApiFull, "{told}");
        assert!(
            !rig.file().exists() || rig.count("SELECT count(*) FROM sqlite_master WHERE name = 'lead'") == 0
        );
        assert_eq!(told.calls_made, rig.calls(), "{told}");
        let result = desk(&plant).sync(SyncOrder::all()).await.remove(0);
        assert_eq!((result.sync_method, result.estimated_records), (Some(told.choice.method), told.volume));
        let fresh = desk(&plant).status();
        assert!(fresh[0].watermark.is_some() && fresh[0].running.is_none() && fresh[0].open_load.is_none());
        assert_eq!(fresh[0].last.as_ref().map(|last| last.success), Some(true));
        close(plant).await;
    });
}

#[test]
fn two_who_ask_for_one_object_get_one_sync() {
    in_system(async {
        let rig = Rig::new(3_000, vec![object("Lead")]).await;
        let plant = rig.plant().await;
        let (one, other) = (desk(&plant).sync(SyncOrder::all()), desk(&plant).sync(SyncOrder::all()));
        let (one, other) = futures_util::future::join(one, other).await;
        assert_eq!(one, other);
        assert_eq!(rig.jobs_made(), 1);
        close(plant).await;
    });
}

#[test]
fn increments_of_several_objects_share_their_calls() {
    in_system(async {
        let objects = vec![object("Lead"), object("Contact"), object("Account"), object("Campaign")];
        let rig = Rig::new(100, objects).await;
        let plant = rig.plant().await;
        assert!(desk(&plant).sync(SyncOrder::all()).await.iter().all(|result| result.success));
        rig.later(3_600).await;
        rig.change(json!({"object": "Contact", "action": "touch", "count": 50})).await;
        rig.later(60).await;
        see_the_clock(&plant).await;
        let before = rig.server.journal();
        let results = desk(&plant).sync(SyncOrder::all()).await;
        assert!(results.iter().all(|result| result.success), "{results:#?}");
        let journal = rig.server.journal();
        // Each object counts both sides as well; beside that the four share one call for their first pages, and the first
        // of them may have begun before the others came.
        let counts = results.iter().filter(|result| result.reconciliation.is_some()).count() as u64;
        let calls = journal.total - before.total - counts;
        assert!(calls <= 3, "{calls} calls: {:?}", &journal.calls[before.calls.len()..]);
        assert_eq!(results.iter().map(|result| result.calls).sum::<u64>(), calls + counts);
        assert_eq!(results[1].rows_written, 50, "{:#?}", results[1]);
        close(plant).await;
        rig.is_equal("Contact", &["LastName"]).await;
    });
}

#[test]
fn an_object_of_nine_hundred_fields_comes_whole_and_its_changes_too() {
    in_system(async {
        let rig = Rig::new(300, vec![object("Lead")]).await;
        let kinds = ["string", "double", "boolean", "date", "datetime", "picklist"];
        for number in 0..900 {
            let kind = kinds[number % kinds.len()];
            let field = json!({"name": format!("F{number}__c"), "type": kind, "precision": 18, "scale": 2});
            rig.control("/__sim/schema", json!({"object": "Lead", "add": field})).await;
        }
        let fields = json!({"F0__c": "first", "F1__c": 1.25, "F2__c": true, "F899__c": "last"});
        rig.change(json!({"object": "Lead", "action": "update", "count": 300, "fields": fields})).await;
        rig.later(60).await;
        let result = &rig.synced().await[0];
        // More fields than an address can name are read by several queries, where those are fewer calls than a job.
        assert_eq!((result.sync_method, result.jobs), (Some(SyncMethod::RegularApiFull), 0), "{result:#?}");
        assert_eq!(result.rows_written, 300);
        let columns = rig.count("SELECT count(*) FROM pragma_table_info('lead') WHERE name LIKE 'F%__c'");
        assert_eq!(columns, 900);
        rig.later(3_600).await;
        let fields = json!({"F897__c": "2026-11-23", "F899__c": "changed"});
        rig.change(json!({"object": "Lead", "action": "update", "count": 40, "fields": fields})).await;
        rig.later(60).await;
        assert_eq!(rig.synced().await[0].rows_written, 40);
        // The target has every field of every row.
        let all: Vec<String> = (0..900).map(|number| format!("F{number}__c")).collect();
        let rows = rig.target_rows("lead", &all.iter().map(String::as_str).collect::<Vec<_>>());
        let of = |cells: &Vec<serde_json::Value>, at: usize| cells[at].clone();
        assert!(rows.values().all(|cells| of(cells, 0) == "first" && of(cells, 1) == 1.25));
        let changed =
            rows.values().filter(|cells| of(cells, 899) == "changed" && of(cells, 897) == "2026-11-23");
        assert_eq!(changed.count(), 40);
    });
}

#[test]
fn a_job_that_is_there_is_read_once_instead_of_a_new_one() {
    in_system(async {
        let mut rig = Rig::new(1_500, vec![object("Lead")]).await;
        // Somebody else's: more columns than the target has, in another order.
        let fields = rig.fields("Lead").await;
        let id = rig.job("Lead", &fields.iter().rev().map(String::as_str).collect::<Vec<_>>()).await;
        rig.settings.objects[0].existing_job_id = Some(id.clone());
        rig.settings.objects[0].delete_job = false;
        let result = &rig.synced().await[0];
        assert!(result.sync_method.is_some_and(SyncMethod::is_bulk), "{result:#?}");
        assert_eq!((result.jobs, result.rows_written), (0, 1_500), "{result:#?}");
        rig.is_equal("Lead", &["LastName", "Company", "Status"]).await;
        // Nobody knows as of when it was: all are read once more, and the job is not taken a second time.
        let result = &rig.synced().await[0];
        assert_eq!((result.rows_written, result.actual_records), (0, 1_500), "{result:#?}");
        assert!(!result.notes.iter().any(|note| note.contains(&id)), "{result:#?}");
        assert_eq!(rig.jobs_made() - 1, rig.jobs_deleted() + usize::from(result.jobs == 1), "{result:#?}");
    });
}
