//! One load, from its plan in the journal to its rows in the target: the schema, the extraction, the commit, the tidying up.
//!
//! Promises: every step can be taken again; what the warehouse's ledger says of the load decides where it goes on, never a
//! guess; the cursor is believed only as far as what lies before it is staged.

use std::sync::{Arc, Mutex};

use super::fetcher::chain;
use super::sync_desk::SyncDesk;
use super::sync_error::SyncError;
use super::sync_extract::{
    Cursor, ExtractAsk, ExtractError, ExtractState, Extracted, PartSink as _, RejectRules, Wanted, clean_up,
    extract, hard_deletes,
};
use super::sync_job::{RunCx, Tries, calls_of};
use super::sync_line::{KeepOne, Keeper, LineSink, OnLine, Which, point, strike};
use super::sync_plan::{choice, stage_offer};
use super::sync_record::{OpenLoad, Purpose, SyncFacts};
use super::sync_report::Report;
use crate::salesforce::{BulkOptions, OrgClient};
use crate::sync::method::{BulkOffer, StageOffer};
use crate::sync::{
    CommitReceipt, KEYS_FROM, LoadMode, LoadPlan, LoadState, PartNumber, PartReceipt, StagedCount,
};

/// Jobs of others that are remembered as taken.
const JOBS_REMEMBERED: usize = 20;
/// Parts of one page have consecutive numbers below this.
const PARTS_PER_PAGE: u32 = 1_000;

impl SyncDesk {
    pub(super) async fn drive_load(
        &self,
        cx: &RunCx<'_>,
        mut open: OpenLoad,
        report: &mut Report,
    ) -> Result<CommitReceipt, SyncError> {
        report.plans(&open);
        let plan = Arc::new(open.plan.clone());
        let receipt = match self.found(cx, &open, &plan).await? {
            Found::Committed(receipt) => {
                report.changed(&open);
                self.tell_found(&open, &receipt, report);
                receipt
            }
            Found::Open(staged) => {
                self.apply_schema(cx, &mut open).await?;
                report.changed(&open);
                let plan = Arc::new(open.plan.clone());
                let expected = self.stage_all(cx, &mut open, &plan, &staged, report).await?;
                self.commit(cx, &plan, expected).await?
            }
        };
        strike(&self.parts.faults, point::COMMITTED).await;
        if open.committed.is_none() {
            open.committed = Some(receipt);
            self.records.keep(&open).await?;
        }
        report.committed(open.purpose, &open.plan, &receipt);
        strike(&self.parts.faults, point::BEFORE_JOB_DELETE).await;
        self.tidy_up(cx, &open, &receipt, report).await?;
        Ok(receipt)
    }

    /// How a load came about whose commit the last process did not live to tell.
    fn tell_found(&self, open: &OpenLoad, receipt: &CommitReceipt, report: &mut Report) {
        let state = self.records.stand(&open.plan.object).rows;
        self.tell_choice(open, &state, state.estimated.unwrap_or(receipt.staged), report);
    }

    /// How far a load came whose reading failed, where anything is known of it.
    fn tell_begun(&self, open: &OpenLoad, state: &ExtractState, error: &SyncError, report: &mut Report) {
        let mut state = state.clone();
        if let SyncError::Extract(ExtractError::TooManyRejects { rejected, rows, file, .. }) = error {
            state.estimated.get_or_insert(*rows);
            state.rejected = *rejected;
            report.result.reject_file = Some(file.display().to_string());
        }
        if let Some(volume) = state.estimated {
            self.tell_choice(open, &state, volume, report);
        }
    }

    fn tell_choice(&self, open: &OpenLoad, state: &ExtractState, volume: u64, report: &mut Report) {
        if open.purpose != Purpose::Rows || report.result.sync_method.is_some() {
            return;
        }
        let thresholds = self.parts.settings.thresholds;
        let choice = choice(open, &StageOffer::No, &thresholds, volume, state.bulk_refused.as_deref());
        let result = &mut report.result;
        result.sync_method = Some(choice.method);
        result.reason = choice.reason;
        result.estimated_records += volume;
        result.jobs += state.jobs;
        result.bytes += state.bytes;
        result.rows_rejected += state.rejected;
    }

    /// What journal and warehouse know of a load.
    async fn found(&self, cx: &RunCx<'_>, open: &OpenLoad, plan: &Arc<LoadPlan>) -> Result<Found, SyncError> {
        if let Some(receipt) = open.committed {
            return Ok(Found::Committed(receipt));
        }
        let of_load = Arc::clone(plan);
        Ok(match self.ask(cx, move |warehouse| warehouse.load_state(&of_load)).await? {
            LoadState::Committed(receipt) => Found::Committed(receipt),
            LoadState::Staged { parts } => Found::Open(parts),
            LoadState::Unknown => Found::Open(Vec::new()),
        })
    }

    async fn apply_schema(&self, cx: &RunCx<'_>, open: &mut OpenLoad) -> Result<(), SyncError> {
        if open.changes.is_empty() {
            return Ok(());
        }
        cx.view.enter("making columns");
        self.remember_backfill(open).await?;
        let (plan, changes) = (open.plan.clone(), open.changes.clone());
        let version = self
            .ask(cx, move |warehouse| warehouse.apply_schema(&plan.org, &plan.object, &plan.table, &changes))
            .await?;
        if open.plan.schema_version != version {
            open.plan.schema_version = version;
            self.records.keep(open).await?;
        }
        strike(&self.parts.faults, point::SCHEMA_APPLIED).await;
        Ok(())
    }

    /// Columns that are about to be made have to be filled, whatever becomes of this load: the next plan will find them made.
    async fn remember_backfill(&self, open: &OpenLoad) -> Result<(), SyncError> {
        let mut facts = self.records.facts(&open.plan.object);
        let known = facts.backfill.len();
        note_backfill(&mut facts, open);
        if facts.backfill.len() > known {
            self.records.keep_facts(&open.plan.object, &facts).await?;
        }
        Ok(())
    }

    /// Reads everything and stages it; returns what the parts add up to.
    async fn stage_all(
        &self,
        cx: &RunCx<'_>,
        open: &mut OpenLoad,
        plan: &Arc<LoadPlan>,
        staged: &[PartReceipt],
        report: &mut Report,
    ) -> Result<StagedCount, SyncError> {
        cx.view.enter("reading rows");
        let on_line = OnLine::begin(&self.parts.engine, &self.parts.loads, Arc::clone(plan));
        on_line.load.know_staged(staged);
        cx.view.takes_up(open.purpose, Some(Arc::clone(&on_line.load)));
        let mut stand = self.records.stand(&plan.object);
        let mut lost = believed(&mut stand.rows, &on_line);
        if let Some(keys) = stand.keys.as_mut().filter(|keys| keys.pages > 0 && !on_line.load.has_keys()) {
            rewind(keys);
            lost = true;
        }
        let calls_before = stand.calls;
        let keeper = Keeper {
            records: &self.records,
            object: &plan.object,
            stand: Mutex::new(stand),
            calls: calls_of(cx.view),
            calls_before,
            faults: &self.parts.faults,
        };
        if lost {
            report
                .note("rows that were staged before are not in the warehouse any more: they were read again");
        }
        let line = LineSink { on_line: &on_line, writer: &self.parts.writer, lane: cx.view.lane };
        if open.purpose == Purpose::HardDeletes {
            let keys = self.stage_deletes(cx, open, &line, report).await?;
            return Ok(StagedCount { rows: 0, keys });
        }
        // The keys come first: a row that is committed late between the two readings is then one that is new, never one that
        // seems to have left the filter.
        let mut expected = StagedCount::default();
        if let Some(condition) = open.keys_condition.clone() {
            expected.keys = self.read(cx, open, &line, &keeper, Which::Keys, &condition).await?.rows;
        }
        let which = match open.purpose {
            Purpose::AllKeys => Which::Keys,
            _ => Which::Rows,
        };
        let read = self.read(cx, open, &line, &keeper, which, &open.condition.clone()).await;
        let extracted = match read {
            Ok(extracted) => extracted,
            Err(error) => {
                self.tell_begun(open, &keeper.state(which), &error, report);
                return Err(error);
            }
        };
        report.read(open, &extracted);
        match which {
            Which::Rows => expected.rows = extracted.rows,
            Which::Keys => expected.keys = extracted.rows,
        }
        expected.keys += extracted.spared;
        Ok(expected)
    }

    /// Reads rows or keys, going on where it stands however often it is stopped by something that passes.
    async fn read(
        &self,
        cx: &RunCx<'_>,
        open: &OpenLoad,
        line: &LineSink<'_>,
        keeper: &Keeper<'_>,
        which: Which,
        condition: &str,
    ) -> Result<Extracted, SyncError> {
        let caps = self.parts.pool.caps().await?;
        let mut ask = self.ask_of(cx, open, which, condition, caps.part_rows);
        let keep = KeepOne { keeper, which };
        let mut tries = Tries::default();
        self.while_paused().await?;
        let is_new = keeper.state(which) == ExtractState::default();
        let mut first = match is_new && open.is_incremental && which == Which::Rows && self.are_several() {
            true => self.first_pages.ask(&cx.client, &self.parts.clock, &ask).await,
            false => None,
        };
        loop {
            self.while_paused().await?;
            let state = keeper.state(which);
            let pages = state.pages;
            // What the last try has put must be there before other rows take its numbers: staged later, it would replace them.
            let extracted = match line.all_staged().await {
                Ok(()) => {
                    ask.staged = line.on_line.load.receipts();
                    extract(&cx.client, &ask, state, first.take(), line, &keep).await
                }
                Err(source) => Err(ExtractError::Handover { load: open.plan.id.clone(), source }),
            };
            match extracted {
                Ok(extracted) => return Ok(extracted),
                Err(error) => {
                    if keeper.state(which).pages > pages {
                        tries = Tries::default();
                    }
                    self.wait_out(cx, error.into(), &mut tries).await?;
                }
            }
        }
    }

    fn ask_of(
        &self,
        cx: &RunCx<'_>,
        open: &OpenLoad,
        which: Which,
        condition: &str,
        part_rows: usize,
    ) -> ExtractAsk {
        let thresholds = self.parts.settings.thresholds;
        let (of_choice, settings) = (open.clone(), cx.settings.clone());
        let pool = self.parts.pool.clone();
        let choose = move |volume: u64, refused: Option<&str>| {
            // Known: whoever extracts has asked for it.
            let stage = match pool.caps_known() {
                Some(caps) if which == Which::Rows => stage_offer(&settings, &caps),
                _ => StageOffer::No,
            };
            let choice = choice(&of_choice, &stage, &thresholds, volume, refused);
            (choice.method, choice.reason)
        };
        ExtractAsk {
            plan: Arc::new(open.plan.clone()),
            wanted: match which {
                Which::Rows => Wanted::Rows,
                Which::Keys => Wanted::Keys,
            },
            condition: condition.to_owned(),
            include_deleted: open.with_deleted,
            choose: Arc::new(choose),
            bulk_refused: match &open.bulk {
                BulkOffer::Refused(why) if which == Which::Rows => Some(why.clone()),
                _ => None,
            },
            existing_job_id: open.existing_job.clone().filter(|_| which == Which::Rows),
            part_rows,
            staged: Vec::new(),
            bulk: BulkOptions::default(),
            spool: self.parts.spool.clone(),
            rejects: RejectRules {
                folder: self.parts.rejects.clone(),
                per_million: self.parts.settings.max_rejects_per_million,
            },
        }
    }

    /// Stages the keys of rows that were deleted for good since that was last looked at; returns how many.
    async fn stage_deletes(
        &self,
        cx: &RunCx<'_>,
        open: &mut OpenLoad,
        line: &LineSink<'_>,
        report: &mut Report,
    ) -> Result<u64, SyncError> {
        let ask = self.ask_of(cx, open, Which::Keys, "", self.parts.pool.caps().await?.part_rows);
        // A plan of deletes has the bounds of what it looks at.
        let (Some(since), Some(until)) = (open.watermark, open.deletes_until) else { return Ok(0) };
        let found = self
            .patiently(cx, || async {
                self.while_paused().await?;
                Ok(hard_deletes(&cx.client, &ask, since, until, line).await?)
            })
            .await?;
        open.deletes_until = Some(found.covered_until);
        if found.has_gap {
            open.deletes_have_gap = true;
            report.note(
                "the org's list of deletes does not reach back to the last look: all ids are compared instead",
            );
        }
        self.records.keep(open).await?;
        Ok(found.keys)
    }

    async fn commit(
        &self,
        cx: &RunCx<'_>,
        plan: &Arc<LoadPlan>,
        expected: StagedCount,
    ) -> Result<CommitReceipt, SyncError> {
        cx.view.enter("committing");
        self.while_paused().await?;
        strike(&self.parts.faults, point::BEFORE_COMMIT).await;
        let of_load = Arc::clone(plan);
        // A COMMIT whose answer was lost is settled by the ledger: a load that is in it answers with its receipt.
        self.ask(cx, move |warehouse| warehouse.commit(&of_load, expected)).await
    }

    /// What is left once the rows are the target's: the bulk job, what the load has taught, and the journal's row.
    async fn tidy_up(
        &self,
        cx: &RunCx<'_>,
        open: &OpenLoad,
        receipt: &CommitReceipt,
        report: &mut Report,
    ) -> Result<(), SyncError> {
        cx.view.enter("tidying up");
        let object = &open.plan.object;
        let stand = self.records.stand(object);
        let states = std::iter::once(&stand.rows).chain(&stand.keys);
        for state in states.filter(|state| state.job_id().is_some()) {
            if cx.settings.delete_job
                && let Err(error) = clean_up(&cx.client, state).await
            {
                let job = state.job_id().unwrap_or_default();
                report.note(format!("bulk job `{job}` was left at the org: {}", chain(&error)));
            }
        }
        let facts = taught(self.records.facts(object), open, receipt);
        self.records.end(object, &facts).await?;
        Ok(())
    }

    /// Lets go of a load that is of no more use, as far as org and warehouse allow.
    pub(super) async fn let_go(&self, client: &OrgClient, plan: &LoadPlan) {
        let object = &plan.object;
        let stand = self.records.stand(object);
        for state in std::iter::once(&stand.rows).chain(&stand.keys) {
            // A job that somebody else made is theirs.
            if state.job_id().is_some()
                && !state.is_adopted
                && let Err(error) = clean_up(client, state).await
            {
                tracing::warn!(object = %object, error = chain(&error), "a bulk job was left at the org");
            }
        }
        let of_load = plan.clone();
        if let Err(error) = self.parts.pool.call(move |warehouse| warehouse.abandon(&of_load)).await {
            tracing::warn!(object = %object, %error, "staged rows of a failed load were left in the warehouse");
        }
        if let Err(error) = self.records.end(object, &self.records.facts(object)).await {
            tracing::error!(object = %object, error = chain(&error), "the end of a load could not be noted");
        }
    }
}

/// How far a load was when it was taken up.
enum Found {
    Open(Vec<PartReceipt>),
    Committed(CommitReceipt),
}

/// Holds where an extraction stands against what is staged; what is not staged any more is read again, out of the same bulk
/// job. True when that is so.
fn believed(state: &mut ExtractState, on_line: &OnLine) -> bool {
    let before = PartNumber(state.pages.saturating_mul(PARTS_PER_PAGE).min(KEYS_FROM));
    if on_line.load.staged_before(before) == state.rows {
        return false;
    }
    rewind(state);
    true
}

/// To the first page, of the same bulk job where there is one.
fn rewind(state: &mut ExtractState) {
    state.cursor = match state.cursor.take() {
        Some(Cursor::Bulk(mut job)) => {
            (job.next_locator, job.rows_done, job.pages_done, job.is_complete) = (None, 0, 0, false);
            Some(Cursor::Bulk(job))
        }
        Some(Cursor::Rest(_)) | None => None,
    };
    (state.pages, state.rows, state.rejected, state.bytes, state.reject_bytes) = (0, 0, 0, 0, 0);
    state.is_complete = false;
}

fn note_backfill(facts: &mut SyncFacts, open: &OpenLoad) {
    for field in &open.backfill {
        if !facts.backfill.contains(field) {
            facts.backfill.push(field.clone());
        }
    }
}

/// What is known of an object once a load of it is over.
fn taught(mut facts: SyncFacts, open: &OpenLoad, receipt: &CommitReceipt) -> SyncFacts {
    match open.purpose {
        Purpose::Rows => {
            // Such a job moves no watermark, and one that is older than was noted tells of a warehouse that was put back.
            if let Some(mark) = receipt.watermark.filter(|_| open.existing_job.is_none()) {
                facts.watermark = Some(mark.at);
            }
            // A job that was there has rows of another day and another question: what the configuration owes stays owed, and
            // rows that have gone since may be back.
            if open.existing_job.is_none() {
                facts.fingerprint.clone_from(&open.fingerprint);
            } else {
                (facts.deletes_have_gap, facts.deletes_at) = (true, None);
            }
            if open.plan.mode == LoadMode::Replace {
                // Every row was read just now: what is not there is deleted, what is computed is fresh.
                facts.deletes_until = open.plan.to.or(facts.deletes_until);
                (facts.deletes_at, facts.formulas_at) = (Some(open.began), Some(open.began));
                facts.backfill.clear();
            } else {
                note_backfill(&mut facts, open);
            }
            if let Some(job) = &open.existing_job {
                facts.jobs_taken.push(job.clone());
                let forget = facts.jobs_taken.len().saturating_sub(JOBS_REMEMBERED);
                facts.jobs_taken.drain(..forget);
            }
        }
        Purpose::Backfill => {
            let filled = &open.plan.layout.columns;
            facts
                .backfill
                .retain(|field| !filled.iter().any(|column| column.field.eq_ignore_ascii_case(field)));
        }
        Purpose::Formulas => facts.formulas_at = Some(open.began),
        Purpose::HardDeletes | Purpose::AllKeys => {
            facts.deletes_until = open.deletes_until.or(facts.deletes_until);
            if !open.deletes_have_gap {
                facts.deletes_at = Some(open.began);
            }
            facts.deletes_have_gap = open.deletes_have_gap;
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::sync_run::plan_for_tests;
    use crate::salesforce::{BulkCheckpoint, CursorCheckpoint};
    use crate::sync::Watermark;
    use crate::sync::method::BulkOffer;
    use jiff::Timestamp;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn open(purpose: Purpose, mode: LoadMode) -> OpenLoad {
        let mut plan = plan_for_tests();
        (plan.mode, plan.to) = (mode, Some(at("2026-11-23T10:00:00Z")));
        OpenLoad {
            plan,
            purpose,
            committed: None,
            condition: String::new(),
            keys_condition: None,
            with_deleted: true,
            is_incremental: mode == LoadMode::Upsert,
            bulk: BulkOffer::Yes,
            existing_job: None,
            why_full: None,
            watermark: None,
            began: at("2026-11-23T10:00:01Z"),
            deletes_until: None,
            deletes_have_gap: false,
            changes: Vec::new(),
            backfill: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            fingerprint: "lead".to_owned(),
            organization: None,
        }
    }

    fn receipt() -> CommitReceipt {
        let watermark = Some(Watermark { at: at("2026-11-23T10:00:00Z") });
        CommitReceipt { watermark, ..CommitReceipt::default() }
    }

    #[test]
    fn rows_that_are_not_staged_any_more_are_read_again_out_of_the_same_job() {
        let job = BulkCheckpoint {
            job_id: "750xx0000000001AAA".to_owned(),
            api_version: "62.0".parse().unwrap(),
            next_locator: Some("abc".to_owned()),
            rows_done: 50_000,
            pages_done: 1,
            rows_total: Some(60_000),
            is_complete: false,
        };
        let mut state = ExtractState {
            cursor: Some(Cursor::Bulk(job)),
            pages: 1,
            rows: 50_000,
            jobs: 1,
            is_complete: true,
            ..ExtractState::default()
        };
        rewind(&mut state);
        let Some(Cursor::Bulk(job)) = &state.cursor else { panic!("the job is forgotten: {state:?}") };
        assert_eq!((job.next_locator.as_deref(), job.rows_done, job.rows_total), (None, 0, Some(60_000)));
        assert_eq!((state.pages, state.rows, state.jobs, state.is_complete), (0, 0, 1, false));
        // A cursor of a query gives only what is behind it.
        let next = CursorCheckpoint { next: Some("/more".to_owned()), rows_done: 9, total_size: Some(20) };
        state.cursor = Some(Cursor::Rest(next));
        rewind(&mut state);
        assert_eq!(state.cursor, None);
    }

    #[test]
    fn a_full_load_makes_deletes_and_formulas_known_and_leaves_nothing_to_fill() {
        let before = SyncFacts { backfill: vec!["Rating".to_owned()], ..SyncFacts::default() };
        let full = taught(before.clone(), &open(Purpose::Rows, LoadMode::Replace), &receipt());
        assert_eq!(full.deletes_until, Some(at("2026-11-23T10:00:00Z")));
        assert_eq!(full.formulas_at, Some(at("2026-11-23T10:00:01Z")));
        assert!(full.backfill.is_empty() && full.fingerprint == "lead");
        let changed = taught(before, &open(Purpose::Rows, LoadMode::Upsert), &receipt());
        assert_eq!((changed.deletes_until, changed.formulas_at), (None, None));
        assert_eq!((changed.backfill.len(), changed.watermark), (1, Some(at("2026-11-23T10:00:00Z"))));
    }

    #[test]
    fn what_was_only_planned_of_a_table_is_not_told_as_done() {
        let settings = crate::sync::ObjectSettings::new("Lead".parse().unwrap(), "lead".parse().unwrap());
        let mut report = Report::new(&settings, at("2026-11-23T10:00:00Z"));
        let mut load = open(Purpose::Rows, LoadMode::Replace);
        load.changes = vec![crate::sync::SchemaChange::Retire { name: "City".to_owned() }];
        report.plans(&load);
        assert!(report.result.schema_changes.is_empty());
        report.changed(&load);
        assert_eq!(report.result.schema_changes, load.changes);
    }

    #[test]
    fn a_load_that_was_planned_for_something_else_is_not_gone_on_with() {
        use crate::actors::sync_job::why_outdated;
        let mark = |text: &str| Some(Watermark { at: at(text) });
        let now = mark("2026-11-23T09:00:00Z");
        let mut load = open(Purpose::Rows, LoadMode::Upsert);
        (load.plan.from, load.watermark) = (Some(at("2026-11-23T08:50:00Z")), now.map(|mark| mark.at));
        load.organization = Some("00D1".to_owned());
        for organization in [Some("00D1"), None] {
            assert_eq!(why_outdated(&load, "lead", organization, now), None);
        }
        assert!(why_outdated(&load, "lead", Some("00D2"), now).is_some());
        assert!(why_outdated(&load, "contact", Some("00D1"), now).is_some());
        let earlier = mark("2026-11-22T09:00:00Z");
        assert!(why_outdated(&load, "lead", Some("00D1"), earlier).is_some(), "it would hide a day");
        load.plan.from = None;
        assert_eq!(why_outdated(&load, "lead", Some("00D1"), earlier), None, "it reads every row");
    }

    #[test]
    fn a_job_of_somebody_else_is_remembered_as_taken() {
        let mut facts = SyncFacts::default();
        for number in 0..JOBS_REMEMBERED + 5 {
            let mut taken = open(Purpose::Rows, LoadMode::Upsert);
            taken.existing_job = Some(format!("job-{number}"));
            facts = taught(facts, &taken, &CommitReceipt::default());
        }
        assert_eq!(facts.jobs_taken.len(), JOBS_REMEMBERED);
        assert_eq!(facts.jobs_taken.last().map(String::as_str), Some("job-24"));
        assert_eq!(facts.watermark, None, "nobody knows as of when it is");
    }
}
