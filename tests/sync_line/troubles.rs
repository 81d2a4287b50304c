//! Syncs whose warehouse, or whose org, fails.

use std::time::Duration;

use penstock::actors::engine::FaultPoint;
use penstock::actors::sync_desk::SyncOrder;
use penstock::sync::{ErrorKind, PartNumber};
use rstest::rstest;
use serde_json::json;

use crate::haunted::{Haunt, Trouble};
use crate::rig::{Rig, close, desk, in_system, object};

const FIELDS: [&str; 2] = ["LastName", "Company"];

async fn haunted(leads: u64) -> (Rig, Haunt) {
    let mut rig = Rig::new(leads, vec![object("Lead")]).await;
    let haunt = Haunt::default();
    rig.warehouse = Some(haunt.over(rig.sqlite()));
    (rig, haunt)
}

#[rstest]
#[case::when_it_is_first_asked("connect", Trouble::Down)]
#[case::at_the_look_at_the_table("table", Trouble::Down)]
#[case::at_the_schema("schema", Trouble::Locked)]
#[case::at_the_state("state", Trouble::Down)]
#[case::at_a_part("stage", Trouble::Down)]
#[case::at_a_part_whose_answer_is_lost("stage", Trouble::AnswerLost)]
#[case::at_the_commit("commit", Trouble::Locked)]
#[case::at_a_commit_whose_answer_is_lost("commit", Trouble::AnswerLost)]
#[case::at_the_count("count", Trouble::Down)]
fn a_warehouse_that_is_away_for_a_while_is_waited_for(#[case] step: &'static str, #[case] trouble: Trouble) {
    in_system(async {
        let (rig, haunt) = haunted(2_500).await;
        haunt.at(step, trouble, 3);
        let result = &rig.synced().await[0];
        assert!(haunt.is_over(), "{step} was asked less often than it was to fail");
        rig.is_equal("Lead", &FIELDS).await;
        assert_eq!((rig.jobs_made(), rig.jobs_deleted()), (1, 1), "{result:#?}");
        assert_eq!(result.rows_written, result.actual_records, "{result:#?}");
        assert_eq!(rig.count("SELECT count(*) FROM _penstock_loads"), 1);
    });
}

#[test]
fn a_warehouse_that_stays_away_fails_the_sync_and_the_next_one_goes_on_where_it_was() {
    in_system(async {
        let (rig, haunt) = haunted(2_500).await;
        haunt.at("commit", Trouble::Down, usize::MAX);
        let result = &rig.sync().await[0];
        assert_eq!((result.success, result.error_kind), (false, Some(ErrorKind::Network)), "{result:#?}");
        assert_eq!(result.records_processed, Some(0));
        haunt.end();
        let result = &rig.synced().await[0];
        rig.is_equal("Lead", &FIELDS).await;
        assert_eq!(rig.jobs_made(), 1, "{result:#?}");
    });
}

#[test]
fn a_full_warehouse_fails_the_sync_and_keeps_what_it_has() {
    in_system(async {
        let (rig, haunt) = haunted(2_500).await;
        haunt.at("stage", Trouble::Full, 1);
        let result = &rig.sync().await[0];
        assert!(result.error.as_ref().is_some_and(|error| error.contains("no room")), "{result:#?}");
        rig.synced().await;
        rig.is_equal("Lead", &FIELDS).await;
        assert_eq!(rig.jobs_made(), 1);
    });
}

#[test]
fn a_table_that_somebody_changed_fails_its_load_alone_which_is_let_go_of() {
    in_system(async {
        let (mut rig, haunt) = haunted(300).await;
        rig.settings.objects.push(object("Contact"));
        rig.settings.objects_at_once = 1;
        haunt.at("commit", Trouble::Altered, 1);
        let results = rig.sync().await;
        // Whichever came first has failed.
        let failed: Vec<_> = results.iter().filter(|result| !result.success).collect();
        assert_eq!(
            failed.iter().map(|result| result.error_kind).collect::<Vec<_>>(),
            [Some(ErrorKind::Data)]
        );
        let plant = rig.plant().await;
        assert!(desk(&plant).status().iter().all(|fresh| fresh.open_load.is_none()));
        assert!(desk(&plant).sync(SyncOrder::all()).await.iter().all(|result| result.success));
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
        rig.is_equal("Contact", &["LastName"]).await;
    });
}

#[test]
fn once_a_writer_that_panics_or_hangs_loses_no_part() {
    in_system(async {
        let rig = Rig::new(6_000, vec![object("Lead")]).await;
        let plant = rig.plant_with(std::sync::Arc::new(PanicsTwice::default())).await;
        let result = desk(&plant).sync(SyncOrder::all()).await.remove(0);
        assert!(result.success, "{result:#?}");
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
    });
}

#[derive(Default)]
struct PanicsTwice(std::sync::atomic::AtomicUsize);

impl FaultPoint for PanicsTwice {
    fn strike(&self, actor: &'static str) -> penstock::actors::engine::Fault {
        use penstock::actors::engine::Fault;
        use std::sync::atomic::Ordering;
        if actor == "warehouse_writer" && self.0.fetch_add(1, Ordering::SeqCst) < 2 {
            return Fault::Panic;
        }
        Fault::None
    }
}

#[test]
fn frozen_a_paused_line_reads_no_page_and_commits_nothing() {
    in_system(async {
        let rig = Rig::new(2_500, vec![object("Lead")]).await;
        let plant = rig.plant().await;
        plant.engine.pause().await.unwrap();
        let syncing = desk(&plant).clone();
        let run = tokio::spawn(async move { syncing.sync(SyncOrder::all()).await });
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(rig.calls(), 0);
        let fresh = desk(&plant).status().remove(0);
        let waits = fresh.running.and_then(|running| running.waits);
        assert!(waits.as_ref().is_some_and(|waits| waits.contains("paused")), "{waits:?}");
        plant.engine.resume().await.unwrap();
        assert!(run.await.unwrap()[0].success);
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
    });
}

#[test]
fn an_org_that_is_away_for_a_while_is_waited_for() {
    in_system(async {
        let rig = Rig::new(2_500, vec![object("Lead")]).await;
        let plant = rig.plant().await;
        let plenty = orgsim::FaultRule::always(orgsim::Fault::Unavailable).of_kind("query").times(2);
        rig.server.faults().set(vec![plenty]);
        let result = desk(&plant).sync(SyncOrder::all()).await.remove(0);
        assert!(result.success, "{result:#?}");
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
    });
}

#[test]
fn rows_that_are_asked_for_again_wait_for_the_parts_that_are_still_on_their_way() {
    in_system(async {
        let (mut rig, haunt) = haunted(2_300).await;
        rig.patience.longest = Duration::from_secs(60);
        // Room for all parts: reading goes on while one of them is held up.
        rig.writer.mailbox.bytes = 64 << 20;
        // Compounds are given to no bulk job, and a wide object's pages are not gone on with: all are read again.
        rig.settings.objects[0].compounds = true;
        for number in 0..400 {
            let field = json!({"name": format!("A_field_of_a_long_name_{number}__c"), "type": "boolean"});
            rig.control("/__sim/schema", json!({"object": "Lead", "add": field})).await;
        }
        let first = rig.org_rows("Lead", &[]).await.into_keys().next().unwrap();
        let mut rule = orgsim::FaultRule::always(orgsim::Fault::Unavailable).times(4);
        rule.path_contains = Some("/query/".to_owned());
        rig.server.faults().set(vec![rule]);
        haunt.hold(PartNumber(0));
        let plant = rig.plant().await;
        let syncing = desk(&plant).clone();
        let run = tokio::spawn(async move { syncing.sync(SyncOrder::all()).await.remove(0) });
        let second_page = async {
            while rig.server.faults().fired() != [4] {
                assert!(!run.is_finished(), "the sync came to its end before");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(60), second_page).await;
        asked.expect("the second page is asked for");
        // What is read again has each row one place further ahead.
        rig.change(json!({"object": "Lead", "action": "hard_delete", "ids": [first]})).await;
        haunt.hold_for(400);
        let result = run.await.unwrap();
        assert!(result.success, "{result:#?}");
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
    });
}
