//! Syncs that end in the middle, and are gone on with by the next process.

use penstock::actors::sync_line::point;

use crate::rig::{BreakAt, Rig, close, desk, in_system, name, object};

const FIELDS: [&str; 3] = ["LastName", "Company", "Status"];

#[test]
fn durable_a_crash_at_any_point_costs_no_second_job_and_no_row() {
    for point in point::ALL {
        in_system(async {
            let rig = Rig::new(4_000, vec![object("Lead")]).await;
            rig.crash_at(BreakAt::once(point)).await;
            let result = &rig.synced().await[0];
            rig.is_equal("Lead", &FIELDS).await;
            assert_eq!((rig.jobs_made(), rig.jobs_deleted()), (1, 1), "{point}: {result:#?}");
            let loads = rig.count("SELECT count(*) FROM _penstock_loads WHERE mode = 'replace'");
            assert_eq!(loads, 1, "{point}: {result:#?}");
        });
    }
}

#[test]
fn a_load_that_was_planned_otherwise_is_let_go_of() {
    in_system(async {
        let mut rig = Rig::new(3_000, vec![object("Lead")]).await;
        rig.crash_at(BreakAt::once(point::PAGE_STAGED)).await;
        rig.settings.objects[0].filter = Some("Status = 'Open - Not Contacted'".to_owned());
        let result = &rig.synced().await[0];
        assert!(result.notes.iter().any(|note| note.contains("let go of")), "{result:#?}");
        let open = rig.count("SELECT count(*) FROM lead WHERE Status = 'Open - Not Contacted'");
        assert!(open > 0 && open == rig.count("SELECT count(*) FROM lead"), "{result:#?}");
        assert_eq!(rig.count("SELECT count(*) FROM _penstock_loads"), 1, "{result:#?}");
        assert_eq!(rig.jobs_made(), rig.jobs_deleted(), "nothing of it is left at the org: {result:#?}");
    });
}

#[test]
fn a_load_that_is_left_is_taken_up_when_the_daemon_starts() {
    in_system(async {
        let rig = Rig::new(3_000, vec![object("Lead")]).await;
        rig.crash_at(BreakAt::once(point::PAGE_STAGED)).await;
        let plant = rig.plant().await;
        assert!(desk(&plant).status()[0].open_load.is_some());
        desk(&plant).resume();
        for _ in 0..2_000 {
            if !desk(&plant).is_running(&name("Lead")) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let fresh = desk(&plant).status().remove(0);
        assert!(fresh.open_load.is_none() && fresh.last.is_some_and(|last| last.success));
        close(plant).await;
        rig.is_equal("Lead", &FIELDS).await;
        assert_eq!(rig.jobs_made(), 1);
    });
}
