//! What is due beside an object's rows: values of new fields, formulas, deletes for good, a count of both sides.
//!
//! Promises: each is a load of its own under the same promises as the rows', and is looked at when it is due or asked for;
//! one that fails is told and stays due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fetcher::chain;
use super::sync_desk::SyncDesk;
use super::sync_error::SyncError;
use super::sync_job::RunCx;
use super::sync_plan::Ground;
use super::sync_record::{OpenLoad, Purpose, SyncFacts};
use super::sync_report::Report;
use crate::model::ObjectName;
use crate::salesforce::{OrgClient, OrgError, Surface};
use crate::sync::LoadMode;
use crate::sync::report::Reconciliation;

/// The org tells deletes of no shorter time.
const SHORTEST_LOOK: SignedDuration = SignedDuration::from_secs(60);

/// Whether something that is done every so often is due.
fn is_due(every: Option<Duration>, last: Option<Timestamp>, now: Timestamp) -> bool {
    let passed = |last: Timestamp| Duration::try_from(now.duration_since(last)).unwrap_or_default();
    every.is_some_and(|every| last.is_none_or(|last| passed(last) >= every))
}

impl SyncDesk {
    /// Does what is due; only the engine's end is an error.
    pub(super) async fn sync_besides(
        &self,
        cx: &RunCx<'_>,
        ground: &Ground,
        report: &mut Report,
    ) -> Result<(), SyncError> {
        let object = &cx.settings.object;
        let facts = self.records.facts(object);
        let (settings, now) = (&self.parts.settings, self.parts.clock.wall());
        // A field that went before its column was filled is filled when it comes back, as one that is back.
        let is_there = |field: &&String| ground.shape.names().any(|name| name.eq_ignore_ascii_case(field));
        let unfilled: Vec<String> = facts.backfill.iter().filter(is_there).cloned().collect();
        if !unfilled.is_empty() {
            let load = self.other_load(&cx.client, ground, Purpose::Backfill, LoadMode::Refresh, &unfilled);
            self.beside(cx, load, report).await?;
        }
        let formulas: Vec<String> =
            ground.shape.formulas().map(|field| field.name.as_str().to_owned()).collect();
        let are_due = cx.with.formulas || is_due(settings.formulas_every, facts.formulas_at, now);
        if are_due && !formulas.is_empty() {
            let load = self.other_load(&cx.client, ground, Purpose::Formulas, LoadMode::Refresh, &formulas);
            self.beside(cx, load, report).await?;
        }
        let facts = self.records.facts(object);
        if cx.with.compare_ids || is_due(settings.hard_deletes_every, facts.deletes_at, now) {
            self.sync_deletes(cx, ground, &facts, report).await?;
        }
        let facts = self.records.facts(object);
        if cx.with.reconcile || is_due(settings.reconcile_every, facts.reconciled_at, now) {
            match self.reconcile(cx, ground, report).await {
                Ok(()) | Err(SyncError::Interrupted) => {}
                Err(error) => report.note(format!("org and target were not counted: {}", chain(&error))),
            }
        }
        Ok(())
    }

    /// Rows that were deleted for good: by the org's own list where that tells all, by comparing every id otherwise.
    async fn sync_deletes(
        &self,
        cx: &RunCx<'_>,
        ground: &Ground,
        facts: &SyncFacts,
        report: &mut Report,
    ) -> Result<(), SyncError> {
        let is_by_id = ground.shape.id == Some(ground.shape.key);
        let since = facts.deletes_until.filter(|_| {
            is_by_id && ground.shape.lists_deleted && !cx.with.compare_ids && !facts.deletes_have_gap
        });
        let until = ground.org_now;
        if since.is_some_and(|since| until.duration_since(since) < SHORTEST_LOOK) {
            return Ok(());
        }
        if let Some(since) = since {
            let mut load =
                self.other_load(&cx.client, ground, Purpose::HardDeletes, LoadMode::DeleteKeys, &[]);
            (load.watermark, load.deletes_until) = (Some(since), Some(until));
            self.beside(cx, load, report).await?;
            if !self.records.facts(&cx.settings.object).deletes_have_gap {
                return Ok(());
            }
        }
        let mut load = self.other_load(&cx.client, ground, Purpose::AllKeys, LoadMode::KeepKeys, &[]);
        load.deletes_until = Some(until);
        self.beside(cx, load, report).await
    }

    /// A load besides: its trouble is told, and it stays due.
    async fn beside(&self, cx: &RunCx<'_>, load: OpenLoad, report: &mut Report) -> Result<(), SyncError> {
        let what = load.purpose.as_str();
        cx.view.enter("looking for what is due");
        // The journal has one load of an object: another would take its place, and nobody would let go of what it staged.
        if self.records.open_load(&cx.settings.object).is_some() {
            report.note(format!("{what}: waits until the load before it is over"));
            return Ok(());
        }
        let outcome = match self.accept(&load).await {
            Ok(()) => self.drive(cx, load, report).await.map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(SyncError::Interrupted) => Err(SyncError::Interrupted),
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(object = %cx.settings.object, what, error = why, "what is due was not done");
                report.note(format!("{what}: not done, and tried again at the next sync: {why}"));
                Ok(())
            }
        }
    }

    /// Counts both sides.
    async fn reconcile(&self, cx: &RunCx<'_>, ground: &Ground, report: &mut Report) -> Result<(), SyncError> {
        cx.view.enter("counting");
        let object = &cx.settings.object;
        let (condition, with_deleted) = (ground.live(), ground.shape.deleted.is_some());
        let org = self
            .patiently(cx, || async {
                Ok(self.count_at_org(&cx.client, object, &condition, with_deleted).await?)
            })
            .await?;
        let (table, layout) = (cx.settings.table.clone(), ground.evolution.layout.clone());
        let target = self.ask(cx, move |warehouse| warehouse.count(&table, &layout)).await?;
        let difference = i64::try_from(target).unwrap_or(i64::MAX) - i64::try_from(org).unwrap_or(i64::MAX);
        let reason = why_different(difference, report.result.rows_rejected, ground.shape.cursor.is_some());
        report.result.reconciliation = Some(Reconciliation { org, target, difference, reason });
        let mut facts = self.records.facts(object);
        facts.reconciled_at = Some(self.parts.clock.wall());
        self.records.keep_facts(object, &facts).await?;
        Ok(())
    }

    /// Rows of the org that a condition lets through: 1 call, and no row.
    pub(super) async fn count_at_org(
        &self,
        client: &OrgClient,
        object: &ObjectName,
        condition: &str,
        with_deleted: bool,
    ) -> Result<u64, OrgError> {
        let surface = if with_deleted { Surface::DataAndDeleted } else { Surface::Data };
        client.count_rows(surface, object, condition).await
    }
}

/// Where a difference comes from, as far as it is known.
fn why_different(difference: i64, rejected: u64, has_stamp: bool) -> String {
    let missing = u64::try_from(-difference).unwrap_or(0);
    match difference {
        0 => "none".to_owned(),
        _ if missing > 0 && missing == rejected => "the rows in the reject file".to_owned(),
        1.. => "rows that were deleted for good, or that were deleted since the window ended; `--compare-ids` finds them"
            .to_owned(),
        // Both counts are as of now: nobody knows which rows they are.
        _ if !has_stamp => "perhaps rows that are new since they were read; if it stays so, `penstock sync --full`".to_owned(),
        _ => "perhaps rows that are new since the window ended, which the next sync brings; if it stays so, `penstock sync --full` reads every row"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::never(None, None, false)]
    #[case::first(Some(60), None, true)]
    #[case::early(Some(60), Some("2026-11-23T11:59:01Z"), false)]
    #[case::due(Some(60), Some("2026-11-23T11:59:00Z"), true)]
    #[case::clock_went_back(Some(60), Some("2026-11-23T13:00:00Z"), false)]
    fn what_is_done_every_so_often_is_due_that_long_after_the_last_time(
        #[case] every: Option<u64>,
        #[case] last: Option<&str>,
        #[case] expected: bool,
    ) {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let last = last.map(|at| at.parse().unwrap());
        assert_eq!(is_due(every.map(Duration::from_secs), last, now), expected);
    }

    #[test]
    fn a_difference_has_a_reason() {
        assert_eq!(why_different(0, 3, true), "none");
        assert_eq!(why_different(-3, 3, true), "the rows in the reject file");
        assert!(why_different(2, 0, true).contains("deleted for good"));
        for has_stamp in [true, false] {
            let told = why_different(-2, 0, has_stamp);
            assert!(told.starts_with("perhaps") && told.contains("--full"), "{told}");
        }
    }
}
