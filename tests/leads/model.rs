//! Runs with a model: what is asked, what is paid, and what an endpoint that misbehaves costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use aisim::{BatchEnd, BatchPlan, FaultRule};
use penstock::http::api::lead_service::{LeadProblem, StartLeads};
use penstock::leads::{JobPhase, LeadOutcome, LeadResult, ModelVerdict, Money};
use penstock::plant::Plant;

use crate::rig::*;

pub async fn endpoint(faults: &[&str]) -> aisim::Server {
    let faults = faults.iter().map(|text| text.parse::<FaultRule>().unwrap()).collect();
    aisim::Server::start(aisim::Options { faults, ..aisim::Options::default() }).await.unwrap()
}

pub fn rig(server: &aisim::Server, more: &str) -> Rig {
    Rig::new().with_config(&model_config(server, more))
}

pub fn model_config(server: &aisim::Server, more: &str) -> String {
    format!(
        "[leads.model]\nbase_url = \"{}\"\nmodel = \"sim\"\nprompt_price = 1.0\ncompletion_price = 2.0\n{more}\n",
        server.base_url()
    )
}

pub fn asking(path: &std::path::Path) -> StartLeads {
    StartLeads { ask_model: true, ..sheet(path) }
}

pub async fn list(rig: &Rig, plant: &Plant, count: u32) -> std::path::PathBuf {
    let ids: Vec<String> =
        known(&client(plant), false, count).await.into_iter().map(|lead| lead.id).collect();
    rig.file("list.csv", &format!("Id\n{}\n", ids.join("\n")))
}

pub async fn results(plant: &Plant, job: &str) -> Vec<LeadResult> {
    service(plant).results(job, 0, 100_000).await.unwrap()
}

fn verdict(result: &LeadResult) -> &ModelVerdict {
    match &result.outcome {
        LeadOutcome::Assessed(assessment) => &assessment.model,
        other => panic!("{other:?}"),
    }
}

/// Answers that were given, by the lead that was asked about.
pub fn answers(server: &aisim::Server) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for entry in server.log().into_iter().filter(|entry| entry.status == 200 && entry.question.is_some()) {
        *answers.entry(entry.question.unwrap()).or_default() += 1;
    }
    answers
}

#[test]
fn once_each_lead_is_asked_about_once_and_a_second_job_pays_nothing() {
    in_system(async {
        let server = endpoint(&[]).await;
        let rig = rig(&server, "");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 300).await;
        let view = done(&plant, asking(&path)).await;
        let counts = view.progress.counts;
        assert_eq!((counts.assessed, counts.model_answered, counts.failed), (300, 300, 0));
        assert_eq!(counts.model_requests + counts.model_reused, 300);
        let stats = server.stats();
        assert_eq!((stats.questions, stats.answered), (counts.model_requests, counts.model_requests));
        assert_eq!(counts.prompt_tokens, stats.prompt_tokens, "what is paid is what the endpoint counted");
        assert_eq!(counts.completion_tokens, stats.completion_tokens);
        let price = stats.prompt_tokens as f64 + 2.0 * stats.completion_tokens as f64;
        // Rounded up to a millionth a lead.
        assert!((counts.cost.0 as f64 - price).abs() <= 300.0, "{} for {price}", counts.cost.0);
        assert!(answers(&server).values().all(|times| *times == 1));

        let again = done(&plant, asking(&path)).await.progress.counts;
        assert_eq!((again.model_answered, again.model_reused, again.cost), (300, 300, Money(0)));
        assert_eq!(server.stats().questions, stats.questions, "nobody was asked again");
        close(plant).await;
    });
}

#[test]
fn answers_of_no_use_are_asked_for_again_and_then_their_leads_have_failed() {
    in_system(async {
        for fault in ["prose", "wrong_types", "out_of_range", "half", "empty", "refusal", "status=500", "cut"]
        {
            let server = endpoint(&[fault]).await;
            let rig = rig(&server, "attempts = 2");
            let plant = rig.plant().await;
            let path = list(&rig, &plant, 3).await;
            let view = done(&plant, asking(&path)).await;
            let counts = view.progress.counts;
            assert_eq!((counts.failed, counts.assessed, counts.model_answered), (3, 0, 0), "{fault}");
            assert_eq!(counts.average_model_score(), None, "{fault}: a lead without an answer has no score");
            for result in results(&plant, &view.spec.job).await {
                let ModelVerdict::Failed { reason, spent } = verdict(&result) else { panic!("{fault}") };
                assert!(!reason.is_empty() && spent.requests == 2, "{fault}: {reason}, {spent:?}");
            }
            close(plant).await;
        }
    });
}

#[test]
fn a_refused_key_fails_the_job_and_a_retry_goes_on_where_it_was() {
    in_system(async {
        let server = endpoint(&["unauthorized"]).await;
        let rig = rig(&server, "");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 60).await;
        let view = run(&plant, asking(&path)).await;
        assert_eq!(view.progress.phase, JobPhase::Failed);
        assert!(view.progress.error.unwrap().contains("api_key"));
        assert_eq!((view.progress.counts.open, view.progress.counts.failed), (60, 0));

        server.clear_faults();
        let spec = service(&plant).retry(&view.spec.job, None).await.unwrap();
        let view = over(&plant, &spec.job).await;
        assert_eq!((view.progress.phase, view.progress.counts.model_answered), (JobPhase::Done, 60));
        close(plant).await;
    });
}

#[test]
fn being_told_to_wait_spends_no_attempt_and_is_shown() {
    in_system(async {
        let server = endpoint(&["throttled=2@times=1"]).await;
        let rig = rig(&server, "attempts = 1");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 20).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        let mut watched = service(&plant).watch(&spec.job).unwrap();
        let told = watched.wait_for(|progress| progress.waits.is_some()).await.unwrap().waits.clone();
        assert!(told.unwrap().contains("model endpoint"));
        let view = over(&plant, &spec.job).await;
        assert_eq!((view.progress.counts.model_answered, view.progress.counts.failed), (20, 0));
        close(plant).await;
    });
}

#[test]
fn a_budget_is_kept_and_the_rules_scores_with_it() {
    in_system(async {
        let server = endpoint(&[]).await;
        let rig = rig(&server, "concurrency = 4");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 100).await;
        let most = Money::from_units(0.02);
        let view = done(&plant, StartLeads { max_cost: Some(most), ..asking(&path) }).await;
        let counts = view.progress.counts;
        assert!(counts.cost <= most, "{} of {most}", counts.cost);
        assert!(counts.model_answered > 0 && counts.failed > 0, "{counts:?}");
        assert_eq!(counts.model_answered + counts.failed, 100);
        let refused = results(&plant, &view.spec.job).await.into_iter().filter(|result| result.is_failed());
        for result in refused {
            let LeadOutcome::Assessed(assessment) = &result.outcome else { panic!("it was assessed") };
            assert!(assessment.scores.acquisition.is_some(), "the rules have judged it");
            let ModelVerdict::Failed { reason, .. } = &assessment.model else { panic!("it has failed") };
            assert!(reason.contains("budget"), "{reason}");
        }
        close(plant).await;
    });
}

#[test]
fn frozen_no_question_is_asked_while_the_line_is_paused() {
    in_system(async {
        let server = endpoint(&[]).await;
        server.set_latency(std::time::Duration::from_millis(50));
        let rig = rig(&server, "concurrency = 2");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 100).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        while server.stats().questions < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        plant.engine.pause().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let asked = server.stats().questions;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(server.stats().questions, asked);
        assert!(asked < 100);
        plant.engine.resume().await.unwrap();
        assert_eq!(over(&plant, &spec.job).await.progress.counts.model_answered, 100);
        close(plant).await;
    });
}

#[test]
fn once_a_plant_that_goes_away_in_the_middle_has_nobody_asked_twice_whose_answer_was_kept() {
    in_system(async {
        let org = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
        let server = endpoint(&[]).await;
        server.set_latency(std::time::Duration::from_millis(30));
        let rig = rig(&server, "concurrency = 4").with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 200).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        while server.stats().questions < 60 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let asked = server.stats().questions;
        close(plant).await;
        let plant = rig.plant().await;
        // Within one process a plant that is told to go may ask some more on its way out.
        let late = server.stats().questions - asked;
        plant.leads.jobs_behind().resume();
        let view = over(&plant, &spec.job).await;
        let counts = view.progress.counts;
        assert_eq!((view.progress.phase, counts.model_answered, counts.failed), (JobPhase::Done, 200, 0));
        let twice = answers(&server).into_values().filter(|times| *times > 1).count() as u64;
        assert!(
            twice <= 4 + late,
            "{twice} were asked again: more than were under way, and {late} that came late"
        );
        close(plant).await;
    });
}

/// A disk that is full while somebody says so.
#[derive(Default)]
struct NowAndThenFull(std::sync::atomic::AtomicBool);

impl penstock::store::disk::Disk for NowAndThenFull {
    fn free_bytes(&self, _folder: &std::path::Path) -> std::io::Result<u64> {
        Ok(if self.0.load(std::sync::atomic::Ordering::Relaxed) { 0 } else { u64::MAX })
    }
}

#[test]
fn once_a_disk_without_room_has_no_answer_paid_for_again() {
    in_system(async {
        let server = endpoint(&[]).await;
        server.set_latency(std::time::Duration::from_millis(20));
        let mut rig = rig(&server, "concurrency = 4");
        let disk = Arc::new(NowAndThenFull::default());
        rig.disk = Arc::clone(&disk) as _;
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 100).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        while server.stats().questions < 30 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        disk.0.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let phase = service(&plant).job(&spec.job).unwrap().progress.phase;
        assert!(!phase.is_over(), "it waits");
        disk.0.store(false, std::sync::atomic::Ordering::Relaxed);
        let view = over(&plant, &spec.job).await;
        assert_eq!((view.progress.phase, view.progress.counts.model_answered), (JobPhase::Done, 100));
        assert!(answers(&server).into_values().all(|times| times == 1), "nobody is asked twice");
        close(plant).await;
    });
}

#[test]
fn an_endpoint_that_refuses_for_long_costs_time_and_no_attempt() {
    in_system(async {
        // Twelve refusals in a row, each a second: more than any number of attempts.
        let server = endpoint(&["throttled=1@times=12"]).await;
        let rig = rig(&server, "attempts = 1\nconcurrency = 1");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 10).await;
        let counts = done(&plant, asking(&path)).await.progress.counts;
        assert_eq!((counts.model_answered, counts.failed), (10, 0));
        assert_eq!((server.stats().throttled, counts.model_requests), (12, 10), "a refusal is no request");
        close(plant).await;
    });
}

#[test]
fn a_key_that_is_refused_in_the_middle_costs_no_answer_that_was_given() {
    in_system(async {
        let server = endpoint(&[]).await;
        server.set_latency(std::time::Duration::from_millis(20));
        let rig = rig(&server, "concurrency = 4");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 120).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        while server.stats().questions < 30 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        server.add_faults(["unauthorized".parse::<FaultRule>().unwrap()]);
        let view = over(&plant, &spec.job).await;
        assert_eq!(view.progress.phase, JobPhase::Failed);
        assert!(view.progress.counts.open > 0 && view.progress.counts.failed == 0);
        server.clear_faults();
        service(&plant).retry(&spec.job, None).await.unwrap();
        let view = over(&plant, &spec.job).await;
        let counts = view.progress.counts;
        assert_eq!((view.progress.phase, counts.model_answered), (JobPhase::Done, 120));
        assert!(answers(&server).into_values().all(|times| times == 1), "nobody is asked twice");
        let stats = server.stats();
        assert_eq!(
            (counts.prompt_tokens, counts.model_reused),
            (stats.prompt_tokens, 0),
            "all of it is told"
        );
        close(plant).await;
    });
}

/// Runs 40 leads by batches.
async fn by_batches(
    server: &aisim::Server,
    plan: BatchPlan,
) -> (Arc<Plant>, penstock::http::api::lead_service::LeadJobView) {
    server.set_batch_plan(plan);
    let rig = rig(server, "mode = \"batch\"\nbatch_poll_secs = 1");
    let plant = rig.plant().await;
    let path = list(&rig, &plant, 40).await;
    let view = run(&plant, asking(&path)).await;
    // The folder goes with the rig: what is looked at is looked at before.
    std::mem::forget(rig);
    (plant, view)
}

#[test]
fn by_batches_a_list_is_assessed_at_the_lower_price() {
    in_system(async {
        let server = endpoint(&[]).await;
        let (plant, view) = by_batches(&server, BatchPlan::default()).await;
        let counts = view.progress.counts;
        assert_eq!(view.progress.phase, JobPhase::Done, "{:?}", view.progress.error);
        assert_eq!((counts.model_answered, counts.failed), (40, 0));
        let price = counts.prompt_tokens as f64 + 2.0 * counts.completion_tokens as f64;
        assert!((counts.cost.0 as f64 - price / 2.0).abs() <= 40.0, "{} for {price}", counts.cost.0);
        close(plant).await;
    });
}

#[test]
fn what_an_expired_batch_leaves_unanswered_goes_into_another_one() {
    in_system(async {
        let server = endpoint(&[]).await;
        let plan = BatchPlan { end: BatchEnd::Expire(50), ..BatchPlan::default() };
        server.set_batch_plan(plan);
        let rig = rig(&server, "mode = \"batch\"\nbatch_poll_secs = 1");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 40).await;
        let spec = service(&plant).start(asking(&path)).await.unwrap();
        while service(&plant).job(&spec.job).unwrap().progress.phase != JobPhase::AwaitingBatch {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        server.set_batch_plan(BatchPlan::default());
        server.advance(std::time::Duration::from_secs(25 * 3_600));
        let view = over(&plant, &spec.job).await;
        let counts = view.progress.counts;
        assert_eq!((view.progress.phase, counts.model_answered, counts.failed), (JobPhase::Done, 40, 0));
        assert!(answers(&server).values().all(|times| *times == 1), "nobody is asked twice");
        close(plant).await;
    });
}

#[test]
fn once_a_job_that_several_begin_or_retry_at_the_same_moment_runs_and_is_paid_once() {
    in_system(async {
        let server = endpoint(&["prose@times=90"]).await;
        let rig = rig(&server, "attempts = 1\nconcurrency = 2");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 30).await;
        let service = service(&plant);
        let same = || StartLeads { take_up: true, ..asking(&path) };
        let started = futures_util::future::join_all((0..3).map(|_| service.start(same()))).await;
        let jobs: std::collections::BTreeSet<String> =
            started.into_iter().map(|spec| spec.unwrap().job.clone()).collect();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        let job = jobs.first().unwrap().clone();
        let view = over(&plant, &job).await;
        assert_eq!((view.progress.counts.failed, service.jobs().len()), (30, 1));
        let asked = server.stats().questions;

        let tried = futures_util::future::join_all((0..5).map(|_| service.retry(&job, None))).await;
        let refused = tried.iter().filter(|tried| matches!(tried, Err(LeadProblem::NotYet(_)))).count();
        assert_eq!((tried.iter().filter(|tried| tried.is_ok()).count(), refused), (1, 4), "{tried:?}");
        assert!(service.watch(&job).is_some() || service.job(&job).unwrap().progress.phase.is_over());
        over(&plant, &job).await;
        assert_eq!(server.stats().questions, asked + 30, "one retry has asked");
        close(plant).await;
    });
}

#[test]
fn a_budget_holds_where_answers_tell_no_usage_or_are_lost() {
    in_system(async {
        for fault in ["no_usage", "cut", "drop"] {
            let server = endpoint(&[fault]).await;
            let rig = rig(&server, "concurrency = 4\nattempts = 2");
            let plant = rig.plant().await;
            let path = list(&rig, &plant, 60).await;
            let most = Money::from_units(0.02);
            let view = done(&plant, StartLeads { max_cost: Some(most), ..asking(&path) }).await;
            let (counts, stats) = (view.progress.counts, server.stats());
            assert!(counts.cost <= most && counts.cost > Money(0), "{fault}: {} of {most}", counts.cost);
            let charged = stats.prompt_tokens + 2 * stats.completion_tokens;
            assert!(charged <= most.0, "{fault}: {charged} of {most}");
            assert!(counts.failed > 0, "{fault}: what the budget does not reach has failed");
            close(plant).await;
        }
    });
}

#[test]
fn a_refused_key_is_shown_to_the_endpoint_once_and_not_by_each_question_in_line() {
    in_system(async {
        let server = endpoint(&["unauthorized"]).await;
        let rig = rig(&server, "concurrency = 1");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 200).await;
        let view = run(&plant, asking(&path)).await;
        assert_eq!(view.progress.phase, JobPhase::Failed);
        assert_eq!(server.log().len(), 1, "the others were not sent");
        close(plant).await;
    });
}

#[test]
fn a_retry_with_a_higher_bound_goes_on_where_the_budget_ended() {
    in_system(async {
        let server = endpoint(&[]).await;
        let rig = rig(&server, "concurrency = 4");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 60).await;
        let start = StartLeads { max_cost: Some(Money::from_units(0.01)), ..asking(&path) };
        let view = done(&plant, start).await;
        let job = view.spec.job.clone();
        assert!(view.progress.counts.failed > 0, "{:?}", view.progress.counts);
        service(&plant).retry(&job, None).await.unwrap();
        let same = over(&plant, &job).await.progress.counts;
        assert!(same.failed > 0 && same.cost <= Money::from_units(0.01), "{same:?}");
        let spec = service(&plant).retry(&job, Some(Money::from_units(5.0))).await.unwrap();
        assert_eq!(spec.max_cost, Some(Money::from_units(5.0)));
        let counts = over(&plant, &job).await.progress.counts;
        assert_eq!((counts.model_answered, counts.failed), (60, 0));
        close(plant).await;
        // The job has kept its bound, not only the process.
        let plant = rig.plant().await;
        assert_eq!(service(&plant).job(&job).unwrap().spec.max_cost, Some(Money::from_units(5.0)));
        close(plant).await;
    });
}

#[test]
fn a_bound_without_prices_is_refused_and_without_a_model_needs_none() {
    in_system(async {
        let server = endpoint(&[]).await;
        let text = format!("[leads.model]\nbase_url = \"{}\"\nmodel = \"sim\"\n", server.base_url());
        let rig = Rig::new().with_config(&text);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 3).await;
        let bound = Some(Money::from_units(1.0));
        let start = || StartLeads { max_cost: bound, ..asking(&path) };
        for refused in [
            service(&plant).start(start()).await.map(drop).unwrap_err(),
            service(&plant).forecast(start()).await.map(drop).unwrap_err(),
        ] {
            let LeadProblem::Wrong(why) = refused else { panic!("{refused:?}") };
            assert!(why.contains("prompt_price"), "{why}");
        }
        assert!(service(&plant).jobs().is_empty(), "nothing was begun");
        let rules = done(&plant, StartLeads { ask_model: false, ..start() }).await;
        let refused = service(&plant).retry(&rules.spec.job, bound).await;
        assert!(refused.is_ok(), "no model is asked: {refused:?}");
        over(&plant, &rules.spec.job).await;
        close(plant).await;
    });
}
