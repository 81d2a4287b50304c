//! `penstock leads`: a list of lead ids in, a report out.
//!
//! The job runs in the daemon that holds the state folder, and goes on when this command is stopped; without a daemon it
//! runs here, and goes on with the same command. Progress goes to stderr, what came of it to stdout. Exit codes: 0 the
//! report is there and no lead failed, 1 some failed or the job did, 2 the command makes no sense as it was given, 75 the
//! rest is left for the next start.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{FAILED, USAGE, one_shot, show, tell};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::control::{self, Command, ControlError, LeadsAsk, LeadsOrder, Reply};
use crate::desk;
use crate::leads::job::ReportFormat;
use crate::leads::{JobPhase, LeadCounts, LeadProgress};
use crate::model::OrgName;
use crate::plant::Plant;
use crate::signals;
use crate::store::state_folder::{control_socket_path, leads_folder};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Elsewhere than on a terminal, where lines pile up.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// What was asked for at the shell.
#[derive(Debug)]
pub(super) struct Ask {
    pub file: PathBuf,
    pub org: Option<OrgName>,
    pub sheet: Option<String>,
    pub id_column: Option<String>,
    pub batch_size: Option<usize>,
    pub ai_batch_size: Option<usize>,
    pub max_cost: Option<f64>,
    pub rules_only: bool,
    pub out: Option<PathBuf>,
    pub explain: bool,
    pub detach: bool,
    pub json: bool,
}

/// Where the asked-for job is.
enum Line<'a> {
    Daemon(&'a Path),
    Here(&'a Arc<Plant>),
}

impl Line<'_> {
    /// Asks; what is refused has been told to the person.
    async fn ask(&self, ask: LeadsAsk) -> Result<Value, u8> {
        let command = Command::Leads { ask };
        let reply = match self {
            Self::Daemon(socket) => control::ask(socket, &command).await,
            Self::Here(plant) => Ok(desk::perform(plant, command).await),
        };
        match reply {
            Ok(reply) => done(reply),
            Err(error) => Err(tell(&error)),
        }
    }
}

fn done(reply: Reply) -> Result<Value, u8> {
    match reply {
        Reply::Done(value) => Ok(value),
        Reply::Failed { message, exit_code } => {
            eprintln!("penstock: {message}");
            Err(exit_code)
        }
    }
}

/// Asks whoever holds the state folder, the daemon or a plant of our own, and goes on with the answer.
fn converse(config: &Config, first: LeadsAsk, go_on: impl AsyncFnOnce(&Line<'_>, Value) -> u8) -> u8 {
    let socket = control_socket_path(&config.state_dir);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(&error),
    };
    match runtime.block_on(control::ask(&socket, &Command::Leads { ask: first.clone() })) {
        Ok(reply) => {
            // The job is the daemon's: whoever only watches may be stopped like any other command.
            if let Err(error) = signals::leave_to_the_system() {
                eprintln!("penstock: {error}");
            }
            match done(reply) {
                Ok(value) => runtime.block_on(go_on(&Line::Daemon(&socket), value)),
                Err(code) => code,
            }
        }
        Err(ControlError::NobodyListens) => {
            drop(runtime);
            let mut without_databases = config.clone();
            without_databases.database.clear();
            let outcome = one_shot::with_plant(&without_databases, false, async move |plant| {
                let line = Line::Here(plant);
                match line.ask(first).await {
                    Ok(value) => go_on(&line, value).await,
                    Err(code) => code,
                }
            });
            outcome.unwrap_or_else(|code| code)
        }
        Err(error) => tell(&error),
    }
}

/// Runs a job, or says what it would take.
pub(super) fn leads(config: &Config, ask: Ask) -> u8 {
    let (file, out) = match (absolute(&ask.file), ask.out.as_deref().map(absolute).transpose()) {
        (Ok(file), Ok(out)) => (file, out),
        (Err(error), _) | (_, Err(error)) => return tell(&error),
    };
    if let Err(error) = std::fs::File::open(&file) {
        eprintln!("penstock: open `{}`: {error}", ask.file.display());
        return USAGE;
    }
    let target = match target_of(&file, out) {
        Ok(target) => target,
        Err(message) => {
            eprintln!("penstock: {message}");
            return USAGE;
        }
    };
    // Before anything is spent, not when all of it is. What only counts, or leaves, writes nothing.
    if !ask.explain
        && !ask.detach
        && let Err(message) = check_target(&target.path, Some(&file))
    {
        eprintln!("penstock: {message}");
        return USAGE;
    }
    let jobs = jobs_folder(config);
    let order = LeadsOrder {
        file,
        org: ask.org,
        sheet: ask.sheet,
        id_column: ask.id_column,
        read_batch: ask.batch_size,
        assess_batch: ask.ai_batch_size,
        max_cost: ask.max_cost,
        rules_only: ask.rules_only,
        reports: vec![target.format],
    };
    let (json, detach) = (ask.json, ask.detach);
    if ask.explain {
        return converse(config, LeadsAsk::Forecast(order), async move |_line, forecast| {
            show_forecast(&forecast, json);
            0
        });
    }
    converse(config, LeadsAsk::Start(order), async move |line, started| {
        let job = started["job"].as_str().unwrap_or_default().to_owned();
        if let (true, Line::Daemon(_)) = (detach, line) {
            show::say_line(format_args!("{job}"));
            return 0;
        }
        follow_and_fetch(line, &job, &jobs, Some(&target), json).await
    })
}

/// Tries what failed again, and writes the report anew.
pub(super) fn retry(
    config: &Config,
    job: String,
    out: Option<PathBuf>,
    max_cost: Option<f64>,
    json: bool,
) -> u8 {
    let target = match out.as_deref().map(|out| absolute(out).map(|out| target_of(&out, Some(out.clone())))) {
        None => None,
        Some(Ok(Ok(target))) => Some(target),
        Some(Ok(Err(message))) => {
            eprintln!("penstock: {message}");
            return USAGE;
        }
        Some(Err(error)) => return tell(&error),
    };
    if let Some(Err(message)) = target.as_ref().map(|target| check_target(&target.path, None)) {
        eprintln!("penstock: {message}");
        return USAGE;
    }
    let jobs = jobs_folder(config);
    converse(config, LeadsAsk::Retry { job: job.clone(), max_cost }, async move |line, _| {
        follow_and_fetch(line, &job, &jobs, target.as_ref(), json).await
    })
}

/// Shows one job, or all.
pub(super) fn list(config: &Config, json: bool) -> u8 {
    converse(config, LeadsAsk::List, async move |_, jobs| {
        if json {
            show::say_line(format_args!("{jobs}"));
            return 0;
        }
        for view in jobs["jobs"].as_array().into_iter().flatten() {
            if let Ok(progress) = serde_json::from_value::<LeadProgress>(view["progress"].clone()) {
                show::say_line(format_args!("{}  {}", progress.job, words(&progress)));
            }
        }
        0
    })
}

struct Target {
    path: PathBuf,
    format: ReportFormat,
}

fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}

/// Where the report goes: as asked, or beside the working directory's other files, named after the sheet.
fn target_of(file: &Path, out: Option<PathBuf>) -> Result<Target, String> {
    let extension =
        |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let format_of = |extension: Option<&str>| match extension {
        Some("xlsx") => Some(ReportFormat::Xlsx),
        Some("csv") => Some(ReportFormat::Csv),
        Some("jsonl" | "ndjson") => Some(ReportFormat::Jsonl),
        _ => None,
    };
    match out {
        Some(path) => match format_of(extension(&path).as_deref()) {
            Some(format) => Ok(Target { path, format }),
            None => Err(format!(
                "`{}`: a report ends in .xlsx, .csv or .jsonl; its form follows from that",
                path.display()
            )),
        },
        None => {
            let format = match extension(file).as_deref() {
                Some("csv" | "tsv" | "txt") => ReportFormat::Csv,
                _ => ReportFormat::Xlsx,
            };
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let name = format!("{stem}-report.{}", format.extension());
            let path = absolute(Path::new(&name)).map_err(|error| error.to_string())?;
            Ok(Target { path, format })
        }
    }
}

/// Where the jobs' folders are, with their reports.
fn jobs_folder(config: &Config) -> PathBuf {
    let folder = leads_folder(&config.state_dir);
    absolute(&folder).unwrap_or(folder)
}

/// Whether a report can be written there; `input` is the list that it is about.
fn check_target(target: &Path, input: Option<&Path>) -> Result<(), String> {
    let shown = target.display();
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!(
            "the report `{shown}`: there is no folder `{}`; make it first",
            folder.display()
        ));
    }
    if target.is_dir() {
        return Err(format!("the report `{shown}` is a folder; name a file in it"));
    }
    let same = |input: &Path| Some(std::fs::canonicalize(target).ok()? == std::fs::canonicalize(input).ok()?);
    if input.and_then(same) == Some(true) {
        return Err(format!(
            "the report `{shown}` would take the place of the list itself; name another file"
        ));
    }
    // As the report will be: beside its place, then renamed.
    match tempfile::Builder::new().prefix(".penstock-report-").tempfile_in(folder) {
        Ok(_gone_at_once) => Ok(()),
        Err(error) => {
            Err(format!("the report `{shown}` cannot be written: {error}; name another place by --out"))
        }
    }
}

async fn follow_and_fetch(
    line: &Line<'_>,
    job: &str,
    jobs: &Path,
    target: Option<&Target>,
    json: bool,
) -> u8 {
    let Followed { progress, reports } = match follow(line, job, json).await {
        Ok(followed) => followed,
        Err(code) => return code,
    };
    let lies_at = |format: ReportFormat| jobs.join(job).join(format!("report.{}", format.extension()));
    if progress.phase == JobPhase::Failed {
        let why = progress.error.as_deref().unwrap_or("no reason is known");
        eprintln!("penstock: {job} failed: {why}");
        eprintln!("what is done is kept; `penstock leads retry {job}` goes on");
        return FAILED;
    }
    if let Some(target) = target {
        let ask = LeadsAsk::Report { job: job.to_owned(), format: target.format, to: target.path.clone() };
        if let Err(code) = line.ask(ask).await {
            eprintln!(
                "the job is done and its report lies in `{}`; `penstock leads retry {job} --out FILE` writes it to FILE",
                lies_at(target.format).display()
            );
            return code;
        }
    }
    // Whoever has named no place is told where it is.
    let kept = reports.first().map(|format| lies_at(*format));
    let report = target.map(|target| target.path.as_path()).or(kept.as_deref());
    if json {
        show::say_line(format_args!("{}", json!({ "job": job, "progress": progress, "report": report })));
    } else {
        show_end(&progress, report);
    }
    let counts = &progress.counts;
    if counts.failed + counts.unread > 0 {
        let ask = LeadsAsk::Failures { job: job.to_owned() };
        let commonest = line.ask(ask).await.unwrap_or_default();
        eprintln!("{}", failed_words(job, counts.failed + counts.unread, &commonest["commonest"]));
        return FAILED;
    }
    0
}

/// That leads failed, mostly why, and what to do.
fn failed_words(job: &str, failed: u64, commonest: &Value) -> String {
    let why = match (commonest["reason"].as_str(), commonest["leads"].as_u64()) {
        (Some(reason), Some(leads)) if leads == failed => format!(" ({reason})"),
        (Some(reason), Some(leads)) => format!(" ({leads} of them: {reason})"),
        _ => String::new(),
    };
    format!(
        "{failed} leads failed{why}; they are listed in the report, and `penstock leads retry {job}` tries them again"
    )
}

/// A job that is over, and the forms of its reports.
struct Followed {
    progress: LeadProgress,
    reports: Vec<ReportFormat>,
}

/// Shows progress until the job is over.
async fn follow(line: &Line<'_>, job: &str, quiet: bool) -> Result<Followed, u8> {
    let clock = SystemClock::shared();
    let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} leads\n{wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    });
    if !quiet && bar.is_none() {
        eprintln!("{job}");
    }
    let mut has_told_place = quiet;
    let (mut said_phase, mut quiet_until) = (None, Duration::ZERO);
    loop {
        let view = line.ask(LeadsAsk::Job { job: job.to_owned() }).await?;
        if !std::mem::replace(&mut has_told_place, true)
            && let Some(place) = ids_place(&view["spec"]["source"]["sheet"])
        {
            eprintln!("ids from {place}");
        }
        let progress: LeadProgress = match serde_json::from_value(view["progress"].clone()) {
            Ok(progress) => progress,
            Err(error) => {
                eprintln!("penstock: the daemon's answer cannot be read: {error}");
                return Err(FAILED);
            }
        };
        match &bar {
            Some(bar) => {
                bar.set_length(progress.counts.leads);
                bar.set_position(progress.counts.finished());
                bar.set_message(words(&progress));
            }
            None if quiet => {}
            None => {
                // A new phase is told at once, mere numbers now and then.
                let now = clock.elapsed();
                if said_phase != Some(progress.phase) || now >= quiet_until {
                    eprintln!("{}", words(&progress));
                    (said_phase, quiet_until) = (Some(progress.phase), now + BETWEEN_LINES);
                }
            }
        }
        if progress.phase.is_over() {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            let reports = serde_json::from_value(view["spec"]["reports"].clone()).unwrap_or_default();
            return Ok(Followed { progress, reports });
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

/// Where the ids were found: nobody should learn from the report that it was another sheet.
fn ids_place(of: &Value) -> Option<String> {
    let column = of["id_column"].as_str()?;
    Some(match of["sheet"].as_str() {
        Some(sheet) => format!("sheet `{sheet}`, column `{column}`"),
        None => format!("column `{column}`"),
    })
}

/// How far a job is, in one line.
fn words(progress: &LeadProgress) -> String {
    let counts = &progress.counts;
    let mut said = match progress.phase {
        JobPhase::Intake => format!("reading the sheet: {} rows", counts.rows),
        JobPhase::Assessing => format!("assessing: {} of {} leads", counts.finished(), counts.leads),
        JobPhase::AwaitingBatch => {
            format!("waiting for the endpoint's batch: {} of {} leads", counts.finished(), counts.leads)
        }
        JobPhase::Reporting => "writing the report".to_owned(),
        JobPhase::Done => format!("done: {} leads", counts.leads),
        JobPhase::Failed => {
            format!("failed: {}", progress.error.as_deref().unwrap_or("no reason is known"))
        }
    };
    if !progress.phase.is_over() {
        if progress.leads_per_sec > 0.0 {
            said += &format!(", {:.0}/s", progress.leads_per_sec);
        }
        if let Some(left) = progress.seconds_left {
            said += &format!(", {} left", span(left));
        }
        if let Some(waits) = &progress.waits {
            said += &format!(", {waits}");
        }
    }
    if counts.cost.0 > 0 {
        said += &format!(", cost {}", counts.cost);
    }
    said + &format!(", {} calls", progress.org_calls)
}

fn span(secs: f64) -> String {
    let secs = secs.max(0.0).round() as u64;
    match (secs / 3_600, secs / 60 % 60, secs % 60) {
        (0, 0, secs) => format!("{secs} s"),
        (0, minutes, secs) => format!("{minutes} min {secs} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn show_forecast(forecast: &Value, json: bool) {
    if json {
        show::say_line(format_args!("{forecast}"));
        return;
    }
    let number = |key: &str| forecast[key].as_u64().unwrap_or_default();
    if let Some(place) = ids_place(forecast) {
        show::say_line(format_args!("ids from {place}"));
    }
    show::say_line(format_args!(
        "{} rows: {} different leads, {} duplicates, {} without a usable id",
        number("rows"),
        number("leads"),
        number("duplicates"),
        number("invalid")
    ));
    show::say_line(format_args!(
        "{} calls to the org by {}: {}",
        number("org_calls"),
        forecast["retrieval"].as_str().unwrap_or_default(),
        forecast["why"].as_str().unwrap_or_default()
    ));
    match number("model_requests") {
        0 => show::say_line(format_args!("no model is asked: rules alone")),
        requests => show::say_line(format_args!(
            "{requests} requests to the model, about {} tokens, about {:.2}",
            number("model_tokens"),
            forecast["cost"].as_f64().unwrap_or_default() / 1e6
        )),
    }
    if let Some(seconds) = forecast["seconds"].as_f64() {
        show::say_line(format_args!("about {} at the limits that are known", span(seconds)));
    }
}

fn show_end(progress: &LeadProgress, report: Option<&Path>) {
    for (what, value) in summary(&progress.counts) {
        show::say_line(format_args!("{what:<28}{value:>12}"));
    }
    show::say_line(format_args!("{:<28}{:>12}", "calls to the org", progress.org_calls));
    show::say_line(format_args!("{:<28}{:>12}", "took", span(progress.elapsed_secs)));
    if let Some(report) = report {
        show::say_line(format_args!("report: {}", report.display()));
    }
}

/// The figures of a finished job; what is 0 and says nothing is left out.
fn summary(counts: &LeadCounts) -> Vec<(&'static str, String)> {
    let mut lines = vec![("rows", counts.rows.to_string()), ("leads", counts.leads.to_string())];
    let figures = [
        ("rows without an id", counts.blank),
        ("rows whose id is none", counts.invalid),
        ("duplicates", counts.duplicates),
        ("ids repaired", counts.repaired),
        ("assessed", counts.assessed),
        ("failed", counts.failed),
        ("could not be read", counts.unread),
        ("merged into another", counts.merged),
        ("deleted", counts.deleted),
        ("unknown or not visible", counts.not_visible),
        ("converted", counts.converted),
        ("with issues", counts.with_issues),
        ("not in TAM", counts.not_in_tam),
        ("suspicious enrichment", counts.suspicious_enrichment),
        ("answered by the model", counts.model_answered),
        ("of those, reused", counts.model_reused),
        ("requests to the model", counts.model_requests),
    ];
    lines.extend(
        figures.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| (what, count.to_string())),
    );
    if let Some(average) = counts.average_confidence() {
        lines.push(("average confidence", format!("{average:.1}")));
    }
    if counts.model_requests > 0 {
        lines.push(("cost", counts.cost.to_string()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leads::Money;
    use rstest::rstest;

    #[rstest]
    #[case("/a/list.xlsx", None, ReportFormat::Xlsx, "list-report.xlsx")]
    #[case("/a/list.XLS", None, ReportFormat::Xlsx, "list-report.xlsx")]
    #[case("/a/list.tsv", None, ReportFormat::Csv, "list-report.csv")]
    #[case("/a/list.csv", Some("/b/x.jsonl"), ReportFormat::Jsonl, "x.jsonl")]
    fn a_reports_form_follows_from_names(
        #[case] file: &str,
        #[case] out: Option<&str>,
        #[case] format: ReportFormat,
        #[case] name: &str,
    ) {
        let target = target_of(Path::new(file), out.map(PathBuf::from)).unwrap();
        assert_eq!(target.format, format);
        assert_eq!(target.path.file_name().unwrap(), name);
    }

    #[test]
    fn a_report_of_another_form_is_refused() {
        assert!(target_of(Path::new("/a/list.csv"), Some("/b/x.pdf".into())).is_err());
    }

    #[test]
    fn a_report_that_could_not_be_written_is_refused_before_the_job_begins() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.csv");
        std::fs::write(&list, "Id\n").unwrap();
        let refused = |target: &Path| check_target(target, Some(&list)).unwrap_err();
        assert!(refused(&folder.path().join("nowhere/report.csv")).contains("there is no folder"));
        assert!(refused(folder.path()).contains("is a folder"));
        assert!(refused(&folder.path().join("./list.csv")).contains("the list itself"));
        assert!(refused(Path::new("/proc/report.csv")).contains("cannot be written"));
        assert_eq!(check_target(&folder.path().join("report.csv"), Some(&list)), Ok(()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the try leaves nothing");
    }

    #[test]
    fn a_line_says_how_far_how_fast_how_long_and_how_much() {
        let counts = LeadCounts { leads: 50_000, open: 20_000, cost: Money(1_250_000), ..Default::default() };
        let progress = LeadProgress {
            job: "leads-1".to_owned(),
            phase: JobPhase::Assessing,
            counts,
            org_calls: 27,
            elapsed_secs: 60.0,
            leads_per_sec: 500.0,
            seconds_left: Some(40.0),
            waits: None,
            error: None,
        };
        let said = words(&progress);
        assert_eq!(said, "assessing: 30000 of 50000 leads, 500/s, 40 s left, cost 1.2500, 27 calls");
    }

    #[test]
    fn the_commonest_reason_of_failure_is_named() {
        let commonest = json!({ "reason": "the org did not answer", "leads": 3 });
        let said = failed_words("leads-1", 5, &commonest);
        assert!(said.starts_with("5 leads failed (3 of them: the org did not answer); they"), "{said}");
        assert!(
            failed_words("leads-1", 3, &commonest).starts_with("3 leads failed (the org did not answer); ")
        );
        assert!(failed_words("leads-1", 3, &Value::Null).starts_with("3 leads failed; "));
    }

    #[test]
    fn it_is_told_where_the_ids_were_found() {
        let of = json!({ "sheet": "Data", "id_column": "Lead ID" });
        assert_eq!(ids_place(&of).as_deref(), Some("sheet `Data`, column `Lead ID`"));
        let of = json!({ "sheet": null, "id_column": "Id" });
        assert_eq!(ids_place(&of).as_deref(), Some("column `Id`"));
        assert_eq!(ids_place(&Value::Null), None);
    }

    #[rstest]
    #[case(3.4, "3 s")]
    #[case(61.0, "1 min 1 s")]
    #[case(7_260.0, "2 h 1 min")]
    fn spans_are_told_in_two_units(#[case] secs: f64, #[case] said: &str) {
        assert_eq!(span(secs), said);
    }
}
