//! A process that dies at each step, and its successor.

use super::*;

/// Dies after each number of steps, and the next process goes on; ends with the org's rows whatever the step.
async fn dies_at_every_step(sim: &Sim, ask: &ExtractAsk, jobs: usize) {
    let expected = sim.expected(ask).await;
    for steps in 0.. {
        sim.forget();
        let durable = Durable::default();
        durable.kill_after(Some(steps));
        let first = durable.extract(sim, ask).await;
        let died = first.is_err();
        if let Err(error) = first {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(source.as_deref(), Some("killed"), "step {steps}: {error}");
            durable.kill_after(None);
            let again = durable.extract(sim, ask).await.unwrap();
            assert_eq!(again.rows, expected.len() as u64, "step {steps}");
        }
        assert!(durable.by_key() == expected, "step {steps}");
        assert_eq!(sim.calls_of("bulk_create"), jobs, "jobs after a death at step {steps}");
        clean_up(&sim.client, &durable.state()).await.unwrap();
        if !died {
            assert!(steps > 5, "there were steps to die at: {steps}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_step_of_a_job_leaves_one_job_and_every_row_once() {
    let sim = sim(2_300).await;
    let ask = sim.ask("Lead", 0).await;
    dies_at_every_step(&sim, &ask, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_step_over_rest_leaves_every_row_once() {
    let sim = sim(2_300).await;
    let ask = sim.ask("Lead", u64::MAX).await;
    dies_at_every_step(&sim, &ask, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_staged_are_not_staged_again() {
    let sim = sim(2_300).await;
    let ask = sim.ask("Lead", 0).await;
    let all = Durable::default();
    all.extract(&sim, &ask).await.unwrap();
    let parts = all.parts.lock().unwrap().len() as u64;
    let durable = Durable::default();
    // The intent, the job, its end; then two parts of the first page.
    durable.kill_after(Some(5));
    durable.extract(&sim, &ask).await.unwrap_err();
    durable.kill_after(None);
    durable.extract(&sim, &ask).await.unwrap();
    assert_eq!(durable.puts.load(Ordering::SeqCst), parts);
}
