//! Leads that are read by one Bulk query of the org: what is finished is not touched by another one.

use std::sync::Arc;
use std::time::Duration;

use aisim::BatchPlan;
use orgsim::{Fault, FaultRule};
use penstock::http::api::lead_service::StartLeads;
use penstock::leads::{JobPhase, Money};
use penstock::store::lead_jobs::LeadJobStore;

use crate::batches::until;
use crate::model::{asking, endpoint, list, rig};
use crate::rig::*;

/// An org that is read by a Bulk query when a job reads as [`by_bulk`] says.
async fn small_org() -> orgsim::Server {
    let mut options = orgsim::Options::default();
    options.data.records.insert("Lead".to_owned(), 400);
    orgsim::Server::start(options).await.unwrap()
}

fn by_bulk(path: &std::path::Path) -> StartLeads {
    StartLeads { read_batch: Some(2), assess_batch: Some(5), ..asking(path) }
}

fn bulk_queries(org: &orgsim::Server) -> usize {
    org.journal()
        .calls
        .iter()
        .filter(|call| call.method == "POST" && call.path.ends_with("/jobs/query"))
        .count()
}

#[test]
fn a_retry_by_a_bulk_query_does_not_count_what_was_spent_before_a_second_time() {
    in_system(async {
        let org = small_org().await;
        let server = endpoint(&[]).await;
        let rig = rig(&server, "concurrency = 1").with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 64).await;
        let most = Money::from_units(0.03);
        let view = done(&plant, StartLeads { max_cost: Some(most), ..by_bulk(&path) }).await;
        let before = view.progress.counts;
        let each = before.cost.0 / before.model_answered;
        let all = each * 64;
        assert!(before.failed > 0 && before.cost.0 * 2 > all, "{before:?}");
        let most = Money(all + all / 4);
        service(&plant).retry(&view.spec.job, Some(most)).await.unwrap();
        let counts = over(&plant, &view.spec.job).await.progress.counts;
        assert_eq!(bulk_queries(&org), 2);
        assert_eq!((counts.model_answered, counts.failed), (64, 0), "{} of {most}", counts.cost);
        assert!(counts.cost <= most, "{} of {most}", counts.cost);
        close(plant).await;
    });
}

#[test]
fn a_bulk_page_that_is_read_again_after_a_kill_asks_about_no_lead_that_has_failed() {
    in_system(async {
        let org = small_org().await;
        let server = endpoint(&["prose"]).await;
        server.set_latency(Duration::from_millis(30));
        let rig = rig(&server, "concurrency = 2\nattempts = 1").with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 80).await;
        let spec = service(&plant).start(by_bulk(&path)).await.unwrap();
        until(|| server.stats().questions >= 40).await;
        close(plant).await;

        let folder = rig.config.state_dir.join("leads").join(&spec.job);
        let (store, _) = LeadJobStore::open(&folder, Arc::clone(&rig.disk)).unwrap();
        let failed = store.results(0, 100).await.unwrap();
        drop(store);
        let asked = server.stats().questions;
        let plant = rig.plant().await;
        assert!(failed.len() >= 10 && failed.iter().all(|result| result.is_failed()), "{}", failed.len());
        server.clear_faults();
        plant.leads.jobs_behind().resume();
        let counts = over(&plant, &spec.job).await.progress.counts;
        adds_up(&counts);
        assert_eq!(counts.failed as usize, failed.len());
        let asked = server.stats().questions - asked;
        assert_eq!(asked as usize, 80 - failed.len(), "some were asked again");
        close(plant).await;
    });
}

#[test]
fn a_lead_that_failed_before_the_place_where_a_bulk_query_goes_on_is_read_by_its_id() {
    in_system(async {
        let mut options = orgsim::Options::default();
        options.data.records.insert("Lead".to_owned(), 400);
        options.bulk.page_rows = 100;
        let org = orgsim::Server::start(options).await.unwrap();
        let (status, code, message) = (400, "UNKNOWN".to_owned(), "no more of it".to_owned());
        let refused = FaultRule::always(Fault::Status { status, code, message });
        org.faults().add(FaultRule { path_contains: Some("/results".to_owned()), nth: Some(2), ..refused });
        let server = endpoint(&["prose"]).await;
        let rig = rig(&server, "attempts = 1").with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 80).await;
        let spec = service(&plant).start(by_bulk(&path)).await.unwrap();
        let before = over(&plant, &spec.job).await.progress;
        assert_eq!((before.phase, before.counts.failed), (JobPhase::Failed, 80), "{:?}", before.error);
        server.clear_faults();
        service(&plant).retry(&spec.job, None).await.unwrap();
        let counts = over(&plant, &spec.job).await.progress.counts;
        assert_eq!((counts.model_answered, counts.failed, bulk_queries(&org)), (80, 0, 1), "{counts:?}");
        close(plant).await;
    });
}

#[test]
fn a_restart_that_waits_for_a_batch_makes_no_bulk_query() {
    in_system(async {
        let org = small_org().await;
        let server = endpoint(&[]).await;
        server.set_batch_plan(BatchPlan { running: Duration::from_secs(4), ..BatchPlan::default() });
        let rig = rig(&server, "mode = \"batch\"\nbatch_poll_secs = 1").with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 60).await;
        let spec = service(&plant).start(by_bulk(&path)).await.unwrap();
        until(|| server.log().iter().any(|entry| entry.request.starts_with("GET /v1/batches/"))).await;
        close(plant).await;
        assert_eq!(bulk_queries(&org), 1);

        let plant = rig.plant().await;
        plant.leads.jobs_behind().resume();
        let view = over(&plant, &spec.job).await;
        assert_eq!((view.progress.phase, view.progress.counts.model_answered), (JobPhase::Done, 60));
        assert_eq!(bulk_queries(&org), 1);
        close(plant).await;
    });
}
