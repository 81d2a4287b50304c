//! Batch mode when the process dies: nothing is sent or paid twice.

use std::time::Duration;

use aisim::{BatchEnd, BatchPlan, FaultRule};
use penstock::leads::JobPhase;

use crate::model::*;
use crate::rig::*;

/// Requests of this kind that the endpoint has had.
fn seen(server: &aisim::Server, request: &str) -> usize {
    server.log().iter().filter(|entry| entry.request == request).count()
}

pub async fn until(what: impl Fn() -> bool) {
    for _ in 0..4_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to that");
}

/// Lets a plant go once the endpoint has had `request`, and has the next one finish its job.
async fn dies_after(request: &str, running: Duration, faults: &[&str]) {
    let org = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
    let server = endpoint(faults).await;
    server.set_batch_plan(BatchPlan { running, ..BatchPlan::default() });
    let rig = rig(&server, "mode = \"batch\"\nbatch_poll_secs = 1").with_org(&org);
    let plant = rig.plant().await;
    let path = list(&rig, &plant, 40).await;
    let spec = service(&plant).start(asking(&path)).await.unwrap();
    until(|| server.log().iter().any(|entry| entry.request.starts_with(request))).await;
    close(plant).await;

    server.clear_faults();
    let plant = rig.plant().await;
    assert_eq!(plant.leads.jobs_behind().unfinished().len(), 1, "{request}: it died within the job");
    plant.leads.jobs_behind().resume();
    let view = over(&plant, &spec.job).await;
    let counts = view.progress.counts;
    assert_eq!(view.progress.phase, JobPhase::Done, "{request}: {:?}", view.progress.error);
    adds_up(&counts);
    assert_eq!((counts.model_answered, counts.failed), (40, 0), "{request}");
    assert!(answers(&server).values().all(|times| *times == 1), "{request}: somebody was asked twice");
    let uploads = seen(&server, "POST /v1/files");
    assert_eq!(uploads, 1, "{request}: the file was sent again");
    let stats = server.stats();
    let price = (stats.prompt_tokens as f64 + 2.0 * stats.completion_tokens as f64) / 2.0;
    assert!((counts.cost.0 as f64 - price).abs() <= 40.0, "{request}: {} for {price}", counts.cost.0);
    close(plant).await;
}

#[test]
fn once_a_batch_is_paid_wherever_the_process_dies() {
    in_system(async {
        let (short, long) = (Duration::from_millis(300), Duration::from_secs(4));
        // The file is there, no batch is made of it.
        dies_after("POST /v1/batches", short, &["hang@path=batches,method=POST"]).await;
        // A batch is made, and nobody has heard its name.
        dies_after("POST /v1/batches", short, &["drop@path=batches,method=POST,times=1"]).await;
        // It is waited for.
        dies_after("GET /v1/batches/", long, &[]).await;
        // It is over, and its answers do not arrive.
        dies_after("GET /v1/files/", short, &["hang@path=files,method=GET,nth=2"]).await;
    });
}

#[test]
fn in_batch_mode_leads_of_the_same_content_are_one_question() {
    in_system(async {
        let server = endpoint(&[]).await;
        let fields = ["company", "website", "title", "industry", "country", "state", "email"];
        let fields = fields.map(|field| format!("{field} = \"LeadSource\"\n")).concat();
        let rig = rig(&server, &format!("mode = \"batch\"\nbatch_poll_secs = 1\n[leads.fields]\n{fields}"));
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 60).await;
        let counts = done(&plant, asking(&path)).await.progress.counts;
        let answered = server.stats().answered;
        assert!(answered > 1 && answered < 30, "{answered} kinds of leads");
        assert_eq!((counts.model_answered, counts.failed), (60, 0));
        assert_eq!(counts.model_reused, 60 - answered);
        close(plant).await;
    });
}

const BY_BATCH: &str = "mode = \"batch\"\nbatch_poll_secs = 1";

#[test]
fn a_job_whose_endpoint_has_no_batches_goes_on_in_direct_mode_and_without_a_model() {
    in_system(async {
        let org = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
        let server = endpoint(&["status=404@path=files"]).await;
        for (config, answered) in [(model_config(&server, ""), 40), (String::new(), 0)] {
            let rig = rig(&server, BY_BATCH).with_org(&org);
            let plant = rig.plant().await;
            let path = list(&rig, &plant, 40).await;
            let view = run(&plant, asking(&path)).await;
            assert_eq!(view.progress.phase, JobPhase::Failed);
            close(plant).await;

            let rig = rig.with_config(&config).with_org(&org);
            let plant = rig.plant().await;
            service(&plant).retry(&view.spec.job, None).await.unwrap();
            let counts = over(&plant, &view.spec.job).await.progress.counts;
            adds_up(&counts);
            assert_eq!((counts.assessed, counts.model_answered), (40, answered));
            close(plant).await;
        }
    });
}

#[test]
fn a_batch_that_is_at_the_endpoint_is_awaited_in_direct_mode_too_and_counts_against_the_budget() {
    in_system(async {
        let org = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
        let server = endpoint(&[]).await;
        server.set_batch_plan(BatchPlan { running: Duration::from_secs(4), ..BatchPlan::default() });
        let rig = rig(&server, BY_BATCH).with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 40).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        until(|| server.log().iter().any(|entry| entry.request.starts_with("GET /v1/batches/"))).await;
        close(plant).await;

        let rig = rig.with_config(&model_config(&server, "")).with_org(&org);
        let plant = rig.plant().await;
        plant.leads.jobs_behind().resume();
        let counts = over(&plant, &spec.job).await.progress.counts;
        adds_up(&counts);
        assert_eq!((counts.model_answered, counts.failed), (40, 0));
        assert!(answers(&server).values().all(|times| *times == 1), "somebody was asked twice");
        close(plant).await;
    });
}

#[test]
fn a_job_with_open_leads_is_not_done() {
    in_system(async {
        let rig = Rig::new();
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 3).await;
        let job = done(&plant, sheet(&path)).await.spec.job.clone();
        // A count that no lead stands behind: nothing is left to be read.
        let file = rig.config.state_dir.join("leads").join(&job).join("job.sqlite");
        let change = "UPDATE job SET counts = json_set(counts, '$.open', 1)";
        assert_eq!(rusqlite::Connection::open(file).unwrap().execute(change, []).unwrap(), 1);
        service(&plant).retry(&job, None).await.unwrap();
        let progress = over(&plant, &job).await.progress;
        assert_eq!(progress.phase, JobPhase::Failed);
        let why = progress.error.unwrap();
        assert!(why.contains("1 lead"), "{why}");
        close(plant).await;
    });
}

#[test]
fn a_line_of_a_batch_that_is_refused_fails_its_lead_alone() {
    in_system(async {
        for fault in ["unauthorized", "status=404"] {
            let server = endpoint(&[&format!("{fault}@nth=3")]).await;
            let rig = rig(&server, BY_BATCH);
            let plant = rig.plant().await;
            let path = list(&rig, &plant, 40).await;
            let view = done(&plant, asking(&path)).await;
            let counts = view.progress.counts;
            assert_eq!((counts.model_answered, counts.failed), (39, 1), "{fault}");
            service(&plant).retry(&view.spec.job, None).await.unwrap();
            let counts = over(&plant, &view.spec.job).await.progress.counts;
            assert_eq!((counts.model_answered, counts.failed), (40, 0), "{fault}");
            close(plant).await;
        }
    });
}

#[test]
fn what_a_batch_has_not_answered_that_is_gone_with_or_without_its_files_is_asked_anew() {
    in_system(async {
        // The first of either kind is the list that is looked through for a batch of before.
        for gone in ["status=404@path=batches,method=GET,nth=2", "status=404@path=files,method=GET,nth=2"] {
            let server = endpoint(&[gone]).await;
            let rig = rig(&server, BY_BATCH);
            let plant = rig.plant().await;
            let path = list(&rig, &plant, 40).await;
            let counts = done(&plant, asking(&path)).await.progress.counts;
            assert_eq!((counts.model_answered, counts.failed), (40, 0), "{gone}");
            assert_eq!(seen(&server, "POST /v1/files"), 2, "{gone}");
            close(plant).await;
        }
    });
}

#[test]
fn once_a_batch_is_paid_while_its_endpoint_is_looked_for_at_a_wrong_address() {
    in_system(async {
        let server = endpoint(&[]).await;
        server.set_batch_plan(BatchPlan { running: Duration::from_secs(3), ..BatchPlan::default() });
        let rig = rig(&server, BY_BATCH);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 40).await;
        let job = service(&plant).start(asking(&path)).await.unwrap().job.clone();
        until(|| server.log().iter().any(|entry| entry.request.starts_with("GET /v1/batches/"))).await;
        let nowhere = ["status=404@path=files,method=GET", "status=404@path=batches,method=GET"];
        server.add_faults(nowhere.iter().flat_map(|fault| FaultRule::read_all(fault).unwrap()));
        let progress = over(&plant, &job).await.progress;
        assert_eq!(progress.phase, JobPhase::Failed, "{:?}", progress.counts);
        server.clear_faults();
        service(&plant).retry(&job, None).await.unwrap();
        let counts = over(&plant, &job).await.progress.counts;
        assert_eq!((counts.model_answered, counts.failed), (40, 0));
        assert_eq!(seen(&server, "POST /v1/files"), 1);
        close(plant).await;
    });
}

/// Waits until a job waits for a batch.
async fn awaits(plant: &penstock::plant::Plant, job: &str) {
    until(|| service(plant).job(job).unwrap().progress.phase == JobPhase::AwaitingBatch).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[test]
fn once_what_the_batch_of_another_job_asks_is_awaited_also_after_a_restart() {
    in_system(async {
        let org = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
        for restarts in [false, true] {
            let server = endpoint(&[]).await;
            server.set_batch_plan(BatchPlan { running: Duration::from_secs(6), ..BatchPlan::default() });
            let rig = rig(&server, BY_BATCH).with_org(&org);
            let mut plant = rig.plant().await;
            let first = list(&rig, &plant, 40).await;
            let first = service(&plant).start(asking(&first)).await.unwrap().job.clone();
            until(|| server.log().iter().any(|entry| entry.request.starts_with("GET /v1/batches/"))).await;
            server.set_batch_plan(BatchPlan::default());
            let second = list(&rig, &plant, 60).await;
            let second = service(&plant).start(asking(&second)).await.unwrap().job.clone();
            awaits(&plant, &second).await;
            if restarts {
                close(plant).await;
                plant = rig.plant().await;
                plant.leads.jobs_behind().resume();
            }
            let counts = over(&plant, &second).await.progress.counts;
            adds_up(&counts);
            assert_eq!((counts.model_answered, counts.failed, counts.model_reused), (60, 0, 40));
            let counts = over(&plant, &first).await.progress.counts;
            assert_eq!((counts.model_answered, counts.failed, counts.model_reused), (40, 0, 0));
            assert!(answers(&server).values().all(|times| *times == 1), "somebody was asked twice");
            close(plant).await;
        }
    });
}

#[test]
fn what_the_batch_of_another_job_has_not_answered_is_asked_by_the_job_that_waited() {
    in_system(async {
        let server = endpoint(&[]).await;
        let validating = Duration::from_secs(3);
        server.set_batch_plan(BatchPlan { validating, end: BatchEnd::Fail, ..BatchPlan::default() });
        let rig = rig(&server, BY_BATCH);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 40).await;
        let first = service(&plant).start(asking(&path)).await.unwrap().job.clone();
        until(|| server.log().iter().any(|entry| entry.request.starts_with("GET /v1/batches/"))).await;
        server.set_batch_plan(BatchPlan::default());
        let second = service(&plant).start(asking(&path)).await.unwrap().job.clone();
        awaits(&plant, &second).await;
        assert_eq!(seen(&server, "POST /v1/batches"), 1);
        assert_eq!(over(&plant, &first).await.progress.phase, JobPhase::Failed);
        let counts = over(&plant, &second).await.progress.counts;
        assert_eq!((counts.model_answered, counts.failed, counts.model_reused), (40, 0, 0));
        close(plant).await;
    });
}
