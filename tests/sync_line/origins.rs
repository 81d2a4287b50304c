//! Whose rows a table has: other objects, other orgs, other filters, warehouses of another day.

use penstock::actors::sync_desk::{SyncOrder, SyncOverrides};
use penstock::sync::{DeletePolicy, ErrorKind, SyncMethod, SyncResult};
use serde_json::json;

use crate::rig::{BreakAt, Rig, in_system, object};

fn full() -> SyncOrder {
    let with = SyncOverrides { full: true, ..Default::default() };
    SyncOrder { with, ..SyncOrder::all() }
}

fn compare_ids() -> SyncOrder {
    let with = SyncOverrides { compare_ids: true, ..Default::default() };
    SyncOrder { with, ..SyncOrder::all() }
}

fn refusal(result: &SyncResult) -> &str {
    assert!(!result.success && result.error_kind == Some(ErrorKind::Data), "{result:#?}");
    result.error.as_deref().unwrap()
}

#[test]
fn a_table_of_another_object_is_not_taken_whoever_asks() {
    in_system(async {
        let mut rig = Rig::new(50, vec![object("Contact")]).await;
        rig.synced().await;
        let mut accounts = object("Account");
        accounts.table = "contact".parse().unwrap();
        rig.settings.objects = vec![accounts];
        rig.lose_state();
        for order in [SyncOrder::all(), full()] {
            let told = rig.order(order).await;
            let told = refusal(&told[0]);
            assert!(told.contains("`Contact`") && told.contains("`Account`"), "{told}");
        }
        assert_eq!(rig.target_rows("contact", &[]).len(), 300);
    });
}

#[test]
fn a_table_of_another_org_is_not_taken_before_every_row_is_asked_for() {
    in_system(async {
        let mut rig = Rig::new(300, vec![object("Lead")]).await;
        rig.synced().await;
        rig.refreshed("00D5g0000009999", 40).await;
        rig.later(3_600).await;
        let told = rig.sync().await;
        let told = refusal(&told[0]);
        assert!(told.contains("00D5g0000001234EAA") && told.contains("--full"), "{told}");
        assert_eq!(rig.count("SELECT count(*) FROM lead WHERE NOT \"IsDeleted\""), 300, "nothing is deleted");
        // A configuration that always reads every row has asked for nothing.
        rig.settings.objects[0].force_full_sync = true;
        let told = rig.sync().await;
        refusal(&told[0]);
        rig.settings.objects[0].force_full_sync = false;
        let result = &rig.order(full()).await[0];
        assert!(result.success, "{result:#?}");
        // Whatever the policy: nobody has deleted those rows.
        assert_eq!(rig.count("SELECT count(*) FROM lead"), 40, "{result:#?}");
        rig.is_equal("Lead", &["LastName"]).await;
        rig.later(3_600).await;
        assert_eq!(rig.synced().await[0].sync_method, Some(SyncMethod::RegularApiIncremental));
    });
}

#[test]
fn a_load_of_another_org_is_not_gone_on_with() {
    in_system(async {
        let mut rig = Rig::new(300, vec![object("Lead")]).await;
        rig.crash_at(BreakAt::once("sync_before_commit")).await;
        rig.refreshed("00D5g0000009999", 40).await;
        let result = &rig.synced().await[0];
        assert!(result.notes.iter().any(|note| note.contains("of another org")), "{result:#?}");
        assert_eq!(rig.count("SELECT count(*) FROM lead"), 40, "{result:#?}");
    });
}

#[test]
fn another_filter_is_noticed_without_the_state_folder() {
    in_system(async {
        let mut rig = Rig::new(300, vec![object("Lead")]).await;
        rig.synced().await;
        rig.later(3_600).await;
        // The same settings: what has changed is enough, wherever the state folder is.
        rig.lose_state();
        assert_eq!(rig.synced().await[0].sync_method, Some(SyncMethod::RegularApiIncremental));
        rig.lose_state();
        rig.settings.objects[0].filter = Some("Status = 'Open - Not Contacted'".to_owned());
        let result = &rig.synced().await[0];
        assert_eq!(result.sync_method, Some(SyncMethod::RegularApiFull), "{result:#?}");
        assert!(result.reason.contains("configured otherwise"), "{result:#?}");
        let left = rig.target_rows("lead", &["Status"]);
        assert!(!left.is_empty() && left.values().all(|cells| cells[0] == json!("Open - Not Contacted")));
    });
}

#[test]
fn rows_that_left_the_filter_unseen_leave_the_table_and_are_not_told_as_deleted() {
    in_system(async {
        let mut leads = object("Lead");
        leads.filter = Some("Status = 'Open - Not Contacted'".to_owned());
        let rig = Rig::new(400, vec![leads]).await;
        rig.synced().await;
        // As a formula or a change without a stamp would: the table has rows that the filter does not let through.
        let database = rusqlite::Connection::open(rig.file()).unwrap();
        let add =
            "INSERT INTO lead (\"Id\", \"Status\", \"IsDeleted\") VALUES ('00Q000000000LEFTAA', 'Open', 0)";
        database.execute_batch(add).unwrap();
        drop(database);
        rig.later(3_600).await;
        let result = &rig.order(compare_ids()).await[0];
        assert_eq!((result.success, result.rows_deleted), (true, 1), "{result:#?}");
        assert_eq!(rig.count("SELECT count(*) FROM lead WHERE \"Id\" = '00Q000000000LEFTAA'"), 0);
        let told = result.notes.iter().find(|note| note.contains("1 row")).unwrap();
        assert!(told.contains("filter") && !told.contains("deleted for good"), "{told}");
    });
}

#[test]
fn a_warehouse_that_was_put_back_learns_what_has_gone_since() {
    in_system(async {
        let mut rig = Rig::new(50, vec![object("Contact")]).await;
        rig.settings.deletes = DeletePolicy::Remove;
        rig.settings.hard_deletes_every = Some(std::time::Duration::ZERO);
        rig.synced().await;
        let copy = rig.folder.path().join("copy.sqlite");
        let database = rusqlite::Connection::open(rig.file()).unwrap();
        database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        rig.later(3_600).await;
        rig.change(json!({"object": "Contact", "action": "hard_delete", "count": 5})).await;
        rig.later(3_600).await;
        rig.synced().await;
        rig.is_equal("Contact", &["LastName"]).await;
        rig.later(3_600).await;
        rig.synced().await;
        database.execute("ATTACH ?1 AS copy", [copy.to_str().unwrap()]).unwrap();
        database
            .execute_batch(
                "BEGIN; DELETE FROM contact; INSERT INTO contact SELECT * FROM copy.contact;
                 DELETE FROM _penstock_loads; INSERT INTO _penstock_loads SELECT * FROM copy._penstock_loads; COMMIT",
            )
            .unwrap();
        drop(database);
        let result = &rig.synced().await[0];
        assert!(result.reason.contains("earlier day"), "{result:#?}");
        rig.is_equal("Contact", &["LastName"]).await;
        rig.later(3_600).await;
        assert_eq!(rig.synced().await[0].sync_method, Some(SyncMethod::RegularApiIncremental));
    });
}
