//! What a person at the shell asks of lead jobs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{FAILED, LEFT_OVER, WRONG_USAGE};
use crate::control::{LeadsAsk, LeadsOrder, Reply};
use crate::http::api::lead_service::{LeadJobView, LeadProblem, LeadService, StartLeads, StartSource};
use crate::leads::{LeadResult, Money};

/// Results looked at together.
const RESULTS_AT_ONCE: usize = 1_000;
/// Different reasons that are told apart.
const MOST_REASONS: usize = 1_000;

/// Performs it.
///
/// # Errors
/// The answer that says why not.
pub async fn perform(service: &dyn LeadService, ask: LeadsAsk) -> Result<Value, Reply> {
    match ask {
        LeadsAsk::Forecast(order) => {
            let forecast = service.forecast(start_of(order)?).await.map_err(refused)?;
            Ok(json!(forecast))
        }
        LeadsAsk::Start(order) => {
            let spec = service.start(start_of(order)?).await.map_err(refused)?;
            Ok(json!({ "job": spec.job }))
        }
        LeadsAsk::Job { job } => match service.job(&job) {
            Some(view) => Ok(view_as_json(&view)),
            None => Err(refused(LeadProblem::NotFound(format!("there is no lead job `{job}`")))),
        },
        LeadsAsk::List => {
            let jobs: Vec<Value> = service.jobs().iter().map(view_as_json).collect();
            Ok(json!({ "jobs": jobs }))
        }
        LeadsAsk::Retry { job, max_cost } => {
            let spec = service.retry(&job, money_of(max_cost)?).await.map_err(refused)?;
            Ok(json!({ "job": spec.job }))
        }
        LeadsAsk::Failures { job } => {
            let commonest = commonest_failure(service, &job).await.map_err(refused)?;
            Ok(
                json!({ "commonest": commonest.map(|(reason, leads)| json!({ "reason": reason, "leads": leads })) }),
            )
        }
        LeadsAsk::Report { job, format, to } => {
            let made = service.report(&job, format).await.map_err(refused)?;
            let (of, target) = (made, to.clone());
            let copied = tokio::task::spawn_blocking(move || copy(&of, &target)).await;
            match copied {
                Ok(Ok(())) => Ok(json!({ "report": to })),
                Ok(Err(error)) => Err(Reply::Failed {
                    message: format!("write the report `{}`: {error}", to.display()),
                    exit_code: FAILED,
                }),
                Err(_stopped) => {
                    Err(Reply::Failed { message: "the daemon is leaving".to_owned(), exit_code: LEFT_OVER })
                }
            }
        }
    }
}

/// An amount that a person gave: what is none would otherwise count as nothing, or as no bound.
fn money_of(units: Option<f64>) -> Result<Option<Money>, Reply> {
    match units {
        Some(units) if !(0.0..=1e9).contains(&units) => {
            let wrong = format!("`max_cost` takes an amount of money from 0 to 1000000000, not `{units}`");
            Err(refused(LeadProblem::Wrong(wrong)))
        }
        units => Ok(units.map(Money::from_units)),
    }
}

/// Why most of a job's failed leads have failed, and how many for that reason; `None` when none has.
async fn commonest_failure(
    service: &dyn LeadService,
    job: &str,
) -> Result<Option<(String, u64)>, LeadProblem> {
    let (mut reasons, mut from) = (BTreeMap::new(), 0);
    loop {
        let results = service.results(job, from, RESULTS_AT_ONCE).await?;
        for reason in results.iter().filter_map(LeadResult::why_failed) {
            // Reasons that differ for each lead are none that many share.
            if reasons.len() < MOST_REASONS || reasons.contains_key(reason) {
                *reasons.entry(reason.to_owned()).or_insert(0_u64) += 1;
            }
        }
        match results.last() {
            Some(last) if results.len() == RESULTS_AT_ONCE => from = last.ordinal.saturating_add(1),
            _ => return Ok(reasons.into_iter().max_by_key(|(_, leads)| *leads)),
        }
    }
}

fn start_of(order: LeadsOrder) -> Result<StartLeads, Reply> {
    let name = order.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !order.file.is_absolute() {
        return Err(refused(LeadProblem::Wrong("the file's full path is needed".to_owned())));
    }
    Ok(StartLeads {
        org: order.org,
        source: StartSource::Sheet {
            path: order.file,
            name,
            sheet: order.sheet,
            id_column: order.id_column,
            is_ours: false,
        },
        ask_model: !order.rules_only,
        read_batch: order.read_batch,
        assess_batch: order.assess_batch,
        max_cost: money_of(order.max_cost)?,
        reports: order.reports,
        take_up: true,
    })
}

fn refused(problem: LeadProblem) -> Reply {
    let exit_code = match problem {
        LeadProblem::Wrong(_) | LeadProblem::NotFound(_) => WRONG_USAGE,
        LeadProblem::NotYet(_) | LeadProblem::Failed(_) => FAILED,
        LeadProblem::Busy(_) => LEFT_OVER,
    };
    Reply::Failed { message: problem.to_string(), exit_code }
}

fn view_as_json(view: &LeadJobView) -> Value {
    json!({ "spec": *view.spec, "progress": view.progress })
}

/// Copies beside the target and renames, so that nobody opens half a report.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut beside = tempfile::Builder::new()
        .prefix(".penstock-report-")
        .tempfile_in(folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?;
    io::copy(&mut std::fs::File::open(from)?, &mut beside)?;
    beside.as_file().sync_all()?;
    // A temporary file is its owner's alone; a report is like any other file of this person.
    let like_any_other = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(like_any_other)?;
    beside.persist(to).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(None, Ok(None))]
    #[case(Some(2.5), Ok(Some(Money(2_500_000))))]
    #[case(Some(f64::NAN), Err("not `NaN`"))]
    #[case(Some(f64::INFINITY), Err("not `inf`"))]
    #[case(Some(-1.0), Err("not `-1`"))]
    fn a_bound_that_is_no_amount_is_refused(
        #[case] units: Option<f64>,
        #[case] expected: Result<Option<Money>, &str>,
    ) {
        match (money_of(units), expected) {
            (Ok(money), Ok(expected)) => assert_eq!(money, expected),
            (Err(Reply::Failed { message, exit_code }), Err(part)) => {
                assert!(message.ends_with(part) && exit_code == WRONG_USAGE, "{message}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_report_is_copied_whole_over_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("made.csv"), folder.path().join("mine.csv"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "older and longer").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "new");
        assert!(copy(&from, &folder.path().join("nowhere/mine.csv")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
