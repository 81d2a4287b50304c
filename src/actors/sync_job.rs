//! The sync of one object: what is left from before, then its rows, then what is due besides.
//!
//! Promises: a load is in the journal before its first row is asked for, and is driven to its end under the one id, whatever
//! dies in between (*durable*): what is staged is not read again, what is committed is not written again, one bulk job is made
//! for it. What was planned on a describe that the org has outgrown is planned again. A pause holds before the next page and
//! before the commit (*frozen*). What is due besides never makes a sync fail whose rows are in the target.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::fetcher::chain;
use super::sync_desk::{CLOCK_SEEN_WITHIN, SyncDesk};
use super::sync_error::SyncError;
use super::sync_extract::{ExtractError, forget_rejects, has_rejects};
use super::sync_line::{point, strike};
use super::sync_order::{RunView, SyncOverrides};
use super::sync_plan::{Ground, settings_for};
use super::sync_record::{OpenLoad, Purpose};
use super::sync_report::Report;
use crate::model::OrganizationId;
use crate::salesforce::OrgClient;
use crate::sync::origin::{fingerprint, is_put_back};
use crate::sync::{CommitReceipt, LoadId, LoadMode, LoadPlan, ObjectSettings, SyncResult, Watermark};
use crate::warehouse::{Warehouse, WarehouseError};

/// Times that an object is planned anew because the org has changed under the plan.
const PLANS: u32 = 3;
/// Tries of something that fails for a passing reason.
const TRIES: u32 = 8;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// What a sync in the making works with.
pub(super) struct RunCx<'r> {
    pub settings: ObjectSettings,
    pub with: &'r SyncOverrides,
    pub view: &'r RunView,
    pub client: OrgClient,
}

impl SyncDesk {
    /// Syncs an object and keeps what came of it.
    pub(super) async fn sync_object(
        &self,
        settings: &ObjectSettings,
        with: &SyncOverrides,
        view: &Arc<RunView>,
    ) -> SyncResult {
        let _turn = self.turn().await;
        let (began, at) = (self.parts.clock.elapsed(), self.parts.clock.wall());
        let mut report = Report::new(settings, at);
        let outcome = match self.client(view.lane) {
            Ok(client) => {
                let client = client.counting(Arc::clone(&view.calls));
                let settings = settings_for(settings, with);
                let cx = RunCx { settings, with, view, client };
                self.run(&cx, &mut report).await
            }
            Err(error) => Err(error),
        };
        let seconds = self.parts.clock.elapsed().saturating_sub(began).as_secs_f64();
        let result = report.finish(&outcome, view.calls(), seconds);
        self.tell(&result, &outcome).await;
        result
    }

    async fn run(&self, cx: &RunCx<'_>, report: &mut Report) -> Result<(), SyncError> {
        let object = &cx.settings.object;
        let open = self.records.open_load(object);
        let of_others = match &open {
            Some(open) => self.why_of_others(cx, open).await?,
            None => None,
        };
        if let (Some(open), Some(why)) = (&open, &of_others) {
            report.note(format!("load {} {why} and is let go of", open.plan.id));
            self.let_go(&cx.client, &open.plan).await;
        }
        if let Some(open) = open.filter(|_| of_others.is_none()) {
            cx.view.enter("going on");
            let is_asked_for =
                open.existing_job.is_none() || open.existing_job == cx.settings.existing_job_id;
            let plan = open.plan.clone();
            let (load, purpose) = (open.plan.id.clone(), open.purpose.as_str());
            report.calls_before = self.records.stand(object).calls;
            report.note(format!("load {load} ({purpose}), which was not over, was taken up"));
            match self.drive(cx, open, report).await {
                Ok(_) => {}
                Err(error) if error.spoils_load() => {
                    report.note(format!("load {load} could not be gone on with: {}", chain(&error)));
                }
                Err(error @ SyncError::Interrupted) => return Err(error),
                Err(error) if !is_asked_for && !error.may_pass() => {
                    report.note(format!(
                        "load {load} is asked for no more and is let go of: {}",
                        chain(&error)
                    ));
                    self.let_go(&cx.client, &plan).await;
                }
                Err(error) => return Err(error),
            }
        }
        let ground = self.sync_rows(cx, report).await?;
        self.sync_besides(cx, &ground, report).await
    }

    /// Why a load that is not over is none of this configuration's, or of this org's or this warehouse's.
    async fn why_of_others(&self, cx: &RunCx<'_>, open: &OpenLoad) -> Result<Option<String>, SyncError> {
        let org = cx.client.org();
        if open.plan.org != *org {
            return Ok(Some(format!("was of org `{}`", open.plan.org)));
        }
        // What is in the target already is tidied up.
        if open.committed.is_some() {
            return Ok(None);
        }
        let now = fingerprint(org, &cx.settings, self.parts.settings.deletes);
        // Nobody who cannot log in is asked; what is staged already needs no org to be committed.
        let organization = cx.client.organization().await.ok().flatten();
        let plan = open.plan.clone();
        let mark = self.ask(cx, move |warehouse| warehouse.watermark(&plan.org, &plan.object, &plan.table));
        let organization = organization.as_ref().map(OrganizationId::as_str);
        Ok(why_outdated(open, &now, organization, mark.await?).map(str::to_owned))
    }

    /// The object's rows: all, or what has changed.
    async fn sync_rows(&self, cx: &RunCx<'_>, report: &mut Report) -> Result<Ground, SyncError> {
        let object = &cx.settings.object;
        let mut plans = 0;
        loop {
            plans += 1;
            cx.view.enter("planning");
            let ground = self.patiently(cx, || self.look(cx)).await?;
            let facts = self.records.facts(object);
            let open = self.rows_load(&cx.client, &ground, &facts);
            self.accept(&open).await?;
            match self.drive(cx, open, report).await {
                Ok(_) => return Ok(ground),
                Err(SyncError::Extract(ExtractError::FieldGone { field, .. })) if plans < PLANS => {
                    report.note(format!("field `{field}` went while it was being read: planned again"));
                    self.disbelieve(object);
                }
                Err(error) => {
                    self.disbelieve_if_other(object, &error);
                    return Err(error);
                }
            }
        }
    }

    /// What a plan is made of.
    async fn look(&self, cx: &RunCx<'_>) -> Result<Ground, SyncError> {
        let object = &cx.settings.object;
        let describe = self.describe(&cx.client, object).await?;
        let org_now = cx.client.org_now(CLOCK_SEEN_WITHIN).await?;
        let facts = self.records.facts(object);
        self.survey(&cx.client, cx.settings.clone(), &describe, org_now, &facts, cx.with.full).await
    }

    fn disbelieve_if_other(&self, object: &crate::model::ObjectName, error: &SyncError) {
        if matches!(error, SyncError::Extract(_) | SyncError::Shape(_) | SyncError::Evolve { .. }) {
            self.disbelieve(object);
        }
    }

    /// A load is in the journal from here on, before anything is asked for.
    pub(super) async fn accept(&self, open: &OpenLoad) -> Result<(), SyncError> {
        self.records.begin(open).await?;
        strike(&self.parts.faults, point::PLAN_KEPT).await;
        Ok(())
    }

    /// Drives a load to its end. One that is of no more use is let go of.
    pub(super) async fn drive(
        &self,
        cx: &RunCx<'_>,
        open: OpenLoad,
        report: &mut Report,
    ) -> Result<CommitReceipt, SyncError> {
        let (plan, purpose) = (open.plan.clone(), open.purpose);
        let outcome = self.drive_load(cx, open, report).await;
        cx.view.takes_up(purpose, None);
        self.forget_rejects(&plan, purpose, outcome.is_ok(), report);
        let label = match &outcome {
            Ok(_) => "committed",
            Err(SyncError::Interrupted) => return outcome,
            Err(error) if error.spoils_load() => "failed",
            Err(_) => "stopped",
        };
        self.parts.metrics.sync_loads_total.with_label_values(&[label]).inc();
        if label == "failed" {
            self.let_go(&cx.client, &plan).await;
        }
        outcome
    }

    /// Rejected rows are people's data, and a row that is rejected at each sync would be in one more file each time. Those of
    /// this sync's loads stay: its result names them.
    fn forget_rejects(&self, plan: &LoadPlan, purpose: Purpose, is_done: bool, report: &Report) {
        let folder = &self.parts.rejects;
        let reads_all = is_done && purpose == Purpose::Rows && plan.mode == LoadMode::Replace;
        if !reads_all && !has_rejects(folder, &plan.id) {
            return;
        }
        let began = u64::try_from(report.result.sync_timestamp.as_millisecond()).unwrap_or(0);
        if let Err(error) = forget_rejects(folder, &plan.object, &LoadId::new(began, 0), &plan.id) {
            let object = plan.object.as_str();
            tracing::warn!(object, error = chain(&error), "rejected rows of earlier loads were not deleted");
        }
    }

    /// Asks the warehouse; waits out what passes.
    pub(super) async fn ask<T, F>(&self, cx: &RunCx<'_>, ask: F) -> Result<T, SyncError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Warehouse) -> Result<T, WarehouseError> + Clone + Send + 'static,
    {
        let began = self.parts.clock.elapsed();
        loop {
            let error = match self.parts.pool.call(ask.clone()).await {
                Ok(answer) => {
                    cx.view.waits(None);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let waited = self.parts.clock.elapsed().saturating_sub(began);
            if !error.is_transient() || waited >= self.parts.patience.longest {
                return Err(error.into());
            }
            tracing::warn!(object = %cx.settings.object, %error, "the warehouse is asked again");
            cx.view.waits(Some(error.to_string()));
            self.sleep(self.parts.patience.pause).await?;
        }
    }

    /// Does what asks the org; waits out what passes, a spent quota among it.
    pub(super) async fn patiently<T, F>(&self, cx: &RunCx<'_>, work: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, SyncError>>,
    {
        let mut tries = Tries::default();
        loop {
            match work().await {
                Ok(done) => return Ok(done),
                Err(error) => self.wait_out(cx, error, &mut tries).await?,
            }
        }
    }

    /// Waits until it makes sense to try again.
    ///
    /// # Errors
    /// The error itself, when it does not.
    pub(super) async fn wait_out(
        &self,
        cx: &RunCx<'_>,
        error: SyncError,
        tries: &mut Tries,
    ) -> Result<(), SyncError> {
        let Some(pause) = tries.pause_after(&error) else { return Err(error) };
        tracing::warn!(object = %cx.settings.object, error = chain(&error), "a sync waits");
        cx.view.waits(Some(chain(&error)));
        self.sleep(pause).await?;
        cx.view.waits(None);
        Ok(())
    }

    /// Sleeps; leaves when the engine does.
    pub(super) async fn sleep(&self, pause: Duration) -> Result<(), SyncError> {
        let mut state = self.parts.engine.watch_run_state();
        tokio::select! {
            () = self.parts.clock.sleep(pause) => Ok(()),
            _ = state.wait_for(|state| state.draining) => Err(SyncError::Interrupted),
        }
    }

    /// Waits until the sources are open: what is paused makes no effects.
    pub(super) async fn while_paused(&self) -> Result<(), SyncError> {
        let mut state = self.parts.engine.watch_run_state();
        let state = state.wait_for(|state| state.admits() || state.draining).await;
        match state {
            Ok(state) if !state.draining => Ok(()),
            _ => Err(SyncError::Interrupted),
        }
    }

    /// Logs, counts and keeps the end of a sync.
    async fn tell(&self, result: &SyncResult, outcome: &Result<(), SyncError>) {
        let object = result.sobject.as_str();
        let metrics = &self.parts.metrics;
        let rows = [
            ("written", result.rows_written),
            ("unchanged", result.rows_unchanged),
            ("deleted", result.rows_deleted),
            ("rejected", result.rows_rejected),
        ];
        for (outcome, rows) in rows {
            metrics.sync_rows_total.with_label_values(&[object, outcome]).inc_by(rows);
        }
        metrics.sync_jobs_total.inc_by(result.jobs);
        metrics.sync_calls_total.inc_by(result.calls);
        match outcome {
            Ok(()) => {
                metrics.sync_objects_total.with_label_values(&["ok"]).inc();
                let (rows, calls) = (result.actual_records, result.calls);
                let method = result.sync_method.map_or("none", |method| method.as_str());
                tracing::info!(object, method, rows, calls, "an object is synced");
            }
            Err(SyncError::Interrupted) => {
                tracing::info!(object, "a sync is interrupted; the next start goes on with its load");
                return;
            }
            Err(error) => {
                metrics.sync_objects_total.with_label_values(&["failed"]).inc();
                tracing::error!(object, error = chain(error), "an object could not be synced");
            }
        }
        let Ok(name) = object.parse() else { return };
        let mut facts = self.records.facts(&name);
        facts.last = Some(result.clone());
        if let Err(error) = self.records.keep_facts(&name, &facts).await {
            tracing::warn!(object, error = chain(&error), "the result of a sync was not kept");
        }
    }
}

/// Why a load that is not in its target yet must not come there any more; `now` is the fingerprint of the settings.
pub(super) fn why_outdated(
    open: &OpenLoad,
    now: &str,
    organization: Option<&str>,
    mark: Option<Watermark>,
) -> Option<&'static str> {
    let is_other_org = |planned: &String| organization.is_some_and(|organization| organization != planned);
    if open.fingerprint != now {
        return Some("was planned with another table, match field, filter or deletes");
    }
    if open.organization.as_ref().is_some_and(is_other_org) {
        return Some("was of another org, to which the same name led then");
    }
    // Its watermark would hide what was changed before its window.
    let began = open.plan.from.and(open.watermark);
    is_put_back(mark, began).then_some("began where the warehouse, which is of an earlier day, is not yet")
}

/// How often something was tried in vain.
#[derive(Debug)]
pub(super) struct Tries {
    left: u32,
    pause: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { left: TRIES, pause: RETRY_FIRST }
    }
}

impl Tries {
    /// The wait before the next try; `None`: there is none. Whoever says "not now" spends no try.
    fn pause_after(&mut self, error: &SyncError) -> Option<Duration> {
        if let Some(told) = error.pause() {
            return Some(told);
        }
        if !error.may_pass() || self.left <= 1 {
            return None;
        }
        self.left -= 1;
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_LONGEST);
        Some(pause)
    }
}

/// Calls of a sync that are not counted yet elsewhere.
pub(super) fn calls_of(view: &RunView) -> &AtomicU64 {
    &view.calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::OrgError;
    use crate::salesforce::gate::GateError;

    #[test]
    fn what_passes_is_tried_eight_times_with_growing_pauses() {
        let lost = || SyncError::from(WarehouseError::Unreachable("gone".to_owned()));
        let mut tries = Tries::default();
        let pauses: Vec<_> =
            std::iter::from_fn(|| tries.pause_after(&lost())).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60]);
    }

    #[test]
    fn a_spent_quota_is_waited_for_however_often_it_is_told() {
        let spent = || {
            let retry_after = Duration::from_secs(600);
            SyncError::from(OrgError::Gate(GateError::QuotaSpent {
                org: "demo".parse().unwrap(),
                retry_after,
            }))
        };
        let mut tries = Tries::default();
        assert!((0..100).all(|_| tries.pause_after(&spent()) == Some(Duration::from_secs(600))));
        let refused = SyncError::from(WarehouseError::Denied("no right".to_owned()));
        assert_eq!(tries.pause_after(&refused), None);
    }
}
