//! Pause, resume, drain, reload: by signal and over the control socket. The guarantees *frozen* and *drained*.

use nix::sys::signal::Signal;

use super::support::{Daemon, Org, Place, now, pause, undisturbed};
use super::{Duration, slow_org};

/// Calls after which a run of [`slow_org`] is in its middle: families are read, objects are being described.
const MIDDLE: usize = 40;

/// Pauses by `how` in mid-run and demands that no call comes later than a second after it.
fn frozen_within_a_second(org: &Org, daemon: &Daemon, how: impl FnOnce()) {
    org.await_calls(MIDDLE, daemon);
    let asked = org.elapsed_ms();
    how();
    daemon.until("the pause", |daemon| daemon.metric("penstock_paused{scope=\"operator\"}") == Some(1.0));
    // That nothing comes has no state to wait for.
    pause(Duration::from_millis(2_500));
    let late: Vec<_> = org.journal().calls.into_iter().filter(|call| call.at_ms > asked + 1_000).collect();
    assert!(late.is_empty(), "paused at {asked} ms: {late:?}");
    assert!(daemon.logged("schema job done").is_empty(), "it was not the middle of the run");
}

#[test]
fn frozen_no_call_comes_after_sigusr1_not_even_after_a_restart_and_sigusr2_finishes_the_job() {
    let (org, sections) = slow_org();
    let expected = undisturbed(&sections);
    let place = Place::new(&sections);
    let (before, daemon) = (org.calls(), place.daemon());
    daemon.until("the middle", |_| org.calls() >= before + MIDDLE);
    frozen_within_a_second(&org, &daemon, || daemon.signal(Signal::SIGUSR1));
    let (code, text) = daemon.get("/readyz?verbose");
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("[+]line ok: paused by the operator"), "{text}");
    let calls = org.calls();
    daemon.kill();

    let daemon = place.daemon();
    let (code, text) = daemon.get("/readyz?verbose");
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("[+]line ok: paused by the operator"), "{text}");
    let status = place.run(&["status", "--json"]).good().json();
    assert_eq!(status["state"]["paused"], true);
    assert_eq!(status["unfinished_jobs"].as_array().map(Vec::len), Some(1), "{status}");
    pause(Duration::from_millis(1_500));
    assert_eq!(org.calls(), calls, "the pause did not survive the restart");

    daemon.signal(Signal::SIGUSR2);
    daemon.await_jobs("demo", 1);
    assert_eq!(daemon.get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(place.documents(), expected);
}

#[test]
fn frozen_the_control_socket_pauses_shows_and_resumes() {
    let (org, sections) = slow_org();
    let place = Place::new(&sections);
    let daemon = place.daemon();
    frozen_within_a_second(&org, &daemon, || assert_eq!(place.run(&["pause"]).good().stdout, "paused\n"));
    assert_eq!(place.run(&["pause"]).good().stdout, "paused\n", "pausing twice is no mistake");
    let shown = place.run(&["status"]).good().stdout;
    assert!(shown.starts_with(&format!(
        "penstock {} (pid {}): paused\n",
        env!("CARGO_PKG_VERSION"),
        daemon.pid()
    )));
    assert!(shown.contains("describing objects"), "{shown}");
    assert_eq!(place.run(&["resume"]).good().stdout, "resumed\n");
    daemon.await_jobs("demo", 1);
    let documents = place.documents();
    drop(daemon);
    assert_eq!(documents, undisturbed(&sections));
}

#[test]
fn drained_sigterm_leaves_what_does_not_fit_the_deadline_for_the_next_start() {
    let (org, sections) = slow_org();
    let short = format!("{sections}[engine]\ndrain_deadline_secs = 1\n");
    let place = Place::new(&short);
    let daemon = place.daemon();
    org.await_calls(MIDDLE / 2, &daemon);
    let asked = now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), 75);
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?} for a deadline of 1 s", asked.elapsed());

    let daemon = place.daemon();
    daemon.await_jobs("demo", 1);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), 0, "an idle daemon leaves nothing over");
    assert_eq!(place.documents(), undisturbed(&sections));
}

#[test]
fn drained_sigterm_finishes_what_fits_the_deadline() {
    let (org, sections) = slow_org();
    let place = Place::new(&format!("{sections}[engine]\ndrain_deadline_secs = 60\n"));
    let daemon = place.daemon();
    org.await_calls(MIDDLE, &daemon);
    daemon.signal(Signal::SIGTERM);
    daemon.until("the drain", |daemon| !daemon.logged("draining").is_empty());
    let (code, text) = daemon.get("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("[-]line failed: draining"), "{text}");
    assert_eq!(daemon.ended(), 0, "everything was on the line");
    assert_eq!(place.documents(), undisturbed(&sections));
}

#[test]
fn drained_a_paused_daemon_leaves_at_once_and_the_pause_and_the_job_stay() {
    let (org, sections) = slow_org();
    let place = Place::new(&sections);
    let daemon = place.daemon();
    org.await_calls(MIDDLE, &daemon);
    place.run(&["pause"]).good();
    let asked = now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), 75);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // Asked without a daemon: what the folder holds.
    let status = place.run(&["status"]).good().stdout;
    assert!(status.starts_with("no daemon runs; the next one starts paused\n"), "{status}");
    assert!(status.contains("goes on at the next start"), "{status}");
    place.run(&["resume"]).good();
    let daemon = place.daemon();
    daemon.await_jobs("demo", 1);
    assert_eq!(place.documents(), undisturbed(&sections));
}

#[test]
fn a_second_sigterm_leaves_at_once() {
    let (org, sections) = slow_org();
    let place = Place::new(&sections);
    let daemon = place.daemon();
    org.await_calls(MIDDLE / 2, &daemon);
    daemon.signal(Signal::SIGTERM);
    daemon.until("the drain", |daemon| !daemon.logged("draining").is_empty());
    let asked = now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), 143);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn a_command_that_is_interrupted_drains_too() {
    let (org, sections) = slow_org();
    let place = Place::new(&format!("{sections}[engine]\ndrain_deadline_secs = 1\n"));
    let asked = std::thread::scope(|scope| {
        let job = scope.spawn(|| place.run(&["schema", "--json"]));
        super::support::until("the middle", String::new, || org.calls() >= MIDDLE / 2);
        let status = place.run(&["status", "--json"]).good().json();
        let pid = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("its pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        job.join().expect("it ends")
    });
    assert_eq!((asked.code(), asked.stdout.as_str()), (75, ""), "{asked:?}");
    place.run(&["schema"]).good();
    assert_eq!(place.documents(), undisturbed(&sections));
}

#[test]
fn sighup_takes_a_good_file_and_refuses_a_bad_one() {
    let (_org, sections) = slow_org();
    let quiet = sections.replace("include = [\"A*\"]", "at_start = false\nevery = \"\"");
    let place = Place::new(&quiet);
    let mut daemon = place.daemon();
    let successful = "penstock_config_last_reload_successful";
    let taken_at = "penstock_config_last_reload_success_timestamp_seconds";
    assert_eq!(daemon.metric(successful), Some(1.0));
    let first = daemon.metric(taken_at);

    place.configure(&format!("{quiet}[log]\nfilterr = \"debug\"\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.until("the refusal", |daemon| daemon.metric(successful) == Some(0.0));
    let said = daemon.logged("the configuration was refused, the old one stays");
    assert!(said[0]["problems"].as_str().is_some_and(|text| text.contains("log.filterr")), "{said:?}");
    assert_eq!(daemon.metric(taken_at), first);
    assert_eq!(daemon.get("/livez").0, 200);

    let dump = |daemon: &Daemon| daemon.logged("asked for a dump").len();
    place.configure(&format!("{quiet}[log]\nfilter = \"error\"\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.until("the good file", |daemon| daemon.metric(successful) == Some(1.0));
    assert!(daemon.metric(taken_at) > first);
    daemon.signal(Signal::SIGQUIT);
    place.configure(&format!("{quiet}[log]\nfilter = \"info\"\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.until("the reload", |daemon| {
        !daemon.logged("log filter and limits reloaded; everything else waits for a restart").is_empty()
    });
    assert_eq!(dump(&daemon), 0, "a warning went past a filter for errors");
    daemon.signal(Signal::SIGQUIT);
    daemon.until("the dump", |daemon| dump(daemon) == 1);
    assert!(daemon.is_up());
}
