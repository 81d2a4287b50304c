//! What a sync of an object will do, worked out from the org's describe, the warehouse and the settings.
//!
//! Promises: nothing is written and no row is read; a sync and an explanation of it are worked out by the same steps.

use std::sync::Arc;

use jiff::Timestamp;

use super::sync_desk::SyncDesk;
use super::sync_error::SyncError;
use super::sync_order::SyncOverrides;
use super::sync_record::{OpenLoad, Purpose, SyncFacts};
use crate::model::ObjectDescribe;
use crate::salesforce::OrgClient;
use crate::sync::evolve::{Backfill, Evolution, backfill, evolve, part_of};
use crate::sync::filter::{Filter, FilterError, where_clause};
use crate::sync::method::{BulkOffer, Choice, StageOffer, choose, choose_existing};
use crate::sync::origin::{
    Origin, RowsAre, chosen_by, fingerprint, is_chosen_otherwise, is_put_back, may_take,
};
use crate::sync::shape::{Room, Shape, shape};
use crate::sync::window::{Window, window};
use crate::sync::{
    DeletePolicy, ErrorKind, LoadMode, LoadPlan, ObjectSettings, TableLayout, Thresholds, Watermark,
};
use crate::warehouse::Caps;

/// Everything a sync of one object stands on.
pub(super) struct Ground {
    pub settings: ObjectSettings,
    pub shape: Shape,
    pub evolution: Evolution,
    pub watermark: Option<Watermark>,
    /// `None`: the object has no stamp.
    pub window: Option<Window>,
    pub filter: Option<Filter>,
    pub org_now: Timestamp,
    pub backfill: Backfill,
    /// Why every row is read, where that is so.
    pub why_full: Option<String>,
    pub stage: StageOffer,
    /// Salesforce's id of the org, where the login tells it.
    pub organization: Option<String>,
    /// Whose rows the table has, as far as the warehouse knows.
    pub origin: Origin,
    /// They are another org's, and every one of them is to be replaced.
    pub ousts: bool,
    pub notes: Vec<String>,
}

impl Ground {
    pub fn is_full(&self) -> bool {
        self.why_full.is_some()
    }

    /// What the rows' load does in the target.
    pub fn mode(&self) -> LoadMode {
        if self.is_full() { LoadMode::Replace } else { LoadMode::Upsert }
    }

    /// The window as far as it bounds what is read.
    fn bounds(&self) -> Option<&Window> {
        self.window.as_ref().filter(|_| !self.is_full())
    }

    /// Which rows are read. Where the keys of the window are read too, rows have no upper bound: one that changes in between
    /// would be behind it, and pass for one that has left the filter.
    pub fn condition(&self) -> String {
        match self.bounds().filter(|_| self.filter.is_some()).and_then(Window::condition_without_end) {
            Some(window) => {
                let filter = where_clause(None, self.filter.as_ref());
                format!("{window} AND {filter}")
            }
            None => where_clause(self.bounds(), self.filter.as_ref()),
        }
    }

    /// Rows that the filter lets through and that are not deleted, archived ones among them once deleted rows are asked for.
    pub fn live(&self) -> String {
        let filter = where_clause(None, self.filter.as_ref());
        match (self.shape.deleted.is_some(), filter.is_empty()) {
            (false, _) => filter,
            (true, true) => "IsDeleted = false".to_owned(),
            (true, false) => format!("{filter} AND IsDeleted = false"),
        }
    }

    /// By which the keys of all rows of the window are read: without them nobody would know that a row has left the filter.
    pub fn keys_condition(&self) -> Option<String> {
        (!self.is_full() && self.filter.is_some()).then(|| where_clause(self.bounds(), None))
    }

    pub fn bulk(&self) -> BulkOffer {
        self.shape.bulk.clone()
    }
}

/// The settings of an object as an order changes them.
pub(super) fn settings_for(settings: &ObjectSettings, with: &SyncOverrides) -> ObjectSettings {
    let mut settings = settings.clone();
    settings.force_full_sync |= with.full;
    if let Some(job) = &with.existing_job_id {
        settings.existing_job_id = Some(job.clone());
    }
    if with.keep_job {
        settings.delete_job = false;
    }
    if let Some(use_stage) = with.use_stage {
        settings.use_stage = use_stage;
    }
    if let Some(stage) = &with.stage_name {
        settings.stage_name = Some(stage.clone());
        settings.use_stage = true;
    }
    settings
}

/// Whether files of a stage are to be used, and can be.
pub(super) fn stage_offer(settings: &ObjectSettings, caps: &Caps) -> StageOffer {
    match (settings.use_stage, caps.has_stages) {
        (false, _) => StageOffer::No,
        (true, true) => StageOffer::Yes { name: settings.stage_name.clone() },
        (true, false) => StageOffer::Wanted { but: format!("{} has no stages", caps.kind) },
    }
}

/// The bulk job of somebody else that is to be read instead of one of ours; each is taken once.
fn adopted<'s>(settings: &'s ObjectSettings, facts: &SyncFacts) -> Option<&'s String> {
    settings.existing_job_id.as_ref().filter(|job| !facts.jobs_taken.contains(job))
}

/// Why what has changed is not enough, though table and window are there.
fn why_again(
    kept: &Origin,
    watermark: Option<Watermark>,
    facts: &SyncFacts,
    now: &str,
) -> Option<&'static str> {
    if is_put_back(watermark, facts.watermark) {
        return Some(
            "the warehouse is of an earlier day than the last sync, and what has become of its rows since is not known",
        );
    }
    match is_chosen_otherwise(kept.chosen_by.as_deref(), &facts.fingerprint, now) {
        true if kept.chosen_by.is_none() && facts.fingerprint.is_empty() => {
            Some("by which filter and deletes its rows were chosen is not known")
        }
        true => Some("table, match field, filter or deletes are configured otherwise than at the last sync"),
        false => None,
    }
}

/// Why every row is to be read; `None`: what has changed is enough.
fn why_full(
    settings: &ObjectSettings,
    shape: &Shape,
    watermark: Option<Watermark>,
    window: Option<&Window>,
    why_again: Option<&str>,
) -> Option<String> {
    let first = || "the target has no load of it yet".to_owned();
    match (watermark, window) {
        _ if settings.force_full_sync => Some("every row was asked for (`force_full_sync`)".to_owned()),
        (_, None) => Some(format!("`{}` has no field that says when a row changed", shape.object)),
        (None, _) => Some(first()),
        (Some(_), Some(window)) if window.is_full() => Some(window.note.clone().unwrap_or_else(first)),
        _ => why_again.map(str::to_owned),
    }
}

impl SyncDesk {
    /// Works out what a sync stands on.
    pub(super) async fn survey(
        &self,
        client: &OrgClient,
        settings: ObjectSettings,
        describe: &ObjectDescribe,
        org_now: Timestamp,
        facts: &SyncFacts,
        is_full_asked: bool,
    ) -> Result<Ground, SyncError> {
        let all = &self.parts.settings;
        let wrong =
            |error: FilterError| SyncError::Said(ErrorKind::Job, format!("`{}`: {error}", settings.object));
        let filter = settings.filter.as_deref().map(Filter::parse).transpose().map_err(wrong)?;
        if let Some(filter) = &filter {
            filter.check(describe).map_err(wrong)?;
        }
        let caps = self.parts.pool.caps().await?;
        let room = Room { columns_max: caps.columns_max, precision_max: caps.precision_max };
        let shape = shape(describe, &settings, room)?;
        let (org, object, table) = (client.org().clone(), settings.object.clone(), settings.table.clone());
        let looked = self.parts.pool.call(move |warehouse| {
            let state = warehouse.table(&table)?;
            Ok((warehouse.watermark(&org, &object, &table)?, state))
        });
        let (watermark, state) = looked.await?;
        let unfit = |why| SyncError::Evolve { table: settings.table.to_string(), why };
        let organization = client.organization().await?;
        let now = Origin::of(&settings.object, organization.as_ref());
        // Rows of somebody else's job are some of an org's, and replace nothing.
        let is_full_asked = is_full_asked && adopted(&settings, facts).is_none();
        let rows_are = may_take(&state.origin, &now, is_full_asked).map_err(unfit)?;
        let evolution = evolve(&shape, &state, caps.precision_max).map_err(unfit)?;
        // Somebody has dropped the table since: what the ledger says of it is of the one that was.
        let watermark = watermark.filter(|_| !evolution.creates);
        let window = shape.cursor.map(|cursor| window(cursor, watermark, org_now, all.overlap));
        let now = fingerprint(&all.org, &settings, all.deletes);
        let again = why_again(&state.origin, watermark, facts, &now);
        let mut why = why_full(&settings, &shape, watermark, window.as_ref(), again);
        let mut notes = evolution.notes.clone();
        let ousts = rows_are == RowsAre::OfAnotherOrg;
        if let (true, Some(other)) = (ousts, &state.origin.organization) {
            notes.push(format!(
                "the rows of the org `{other}` leave the table, which is this org's from now on"
            ));
        }
        notes.extend(window.iter().filter_map(|window| window.note.clone()));
        if let Some(blind) = shape.cursor.and_then(|cursor| cursor.blind_to()) {
            notes.push(format!("increments of `{}` miss {blind}", shape.object));
        }
        if let (Some(filter), Some(cursor)) = (&filter, shape.cursor) {
            notes.extend(filter.unseen_changes(describe, cursor));
        }
        let backfill = match evolution.backfill.is_empty() {
            true => Backfill::None,
            false => {
                let (table, layout) = (settings.table.clone(), evolution.layout.clone());
                let rows = self.parts.pool.call(move |warehouse| warehouse.count(&table, &layout)).await?;
                backfill(&evolution, rows, why.is_some(), &all.thresholds)
            }
        };
        if let (None, Backfill::Full { reason }) = (&why, &backfill) {
            why = Some(reason.clone());
        }
        let stage = stage_offer(&settings, &caps);
        Ok(Ground {
            settings,
            shape,
            evolution,
            watermark,
            window,
            filter,
            org_now,
            backfill,
            why_full: why,
            stage,
            organization: organization.map(String::from),
            origin: state.origin,
            ousts,
            notes,
        })
    }

    /// The load of the object's rows.
    pub(super) fn rows_load(&self, client: &OrgClient, ground: &Ground, facts: &SyncFacts) -> OpenLoad {
        let settings = &ground.settings;
        let adopted = adopted(settings, facts).cloned();
        // Nobody knows which rows somebody else's job has, nor as of when.
        let (mode, moves_mark) = match &adopted {
            Some(_) => (LoadMode::Upsert, false),
            None => (ground.mode(), ground.window.is_some()),
        };
        let window = ground.window.as_ref();
        let plan = self.plan(
            client,
            settings,
            mode,
            ground.evolution.layout.clone(),
            window.and_then(|window| window.from).filter(|_| !ground.is_full()),
            window.map(|window| window.to).filter(|_| moves_mark),
        );
        let mut open = self.open_load(plan, Purpose::Rows, ground);
        // A job of somebody else has rows of another question.
        let origin = Origin {
            object: Some(settings.object.as_str().to_owned()),
            organization: ground.organization.clone(),
            chosen_by: adopted.is_none().then(|| chosen_by(&open.fingerprint)),
        };
        (open.plan.origin, open.plan.ousts) = (ground.origin.more(origin), ground.ousts);
        open.condition = ground.condition();
        open.keys_condition = ground.keys_condition().filter(|_| adopted.is_none());
        open.changes = ground.evolution.changes.clone();
        open.backfill = match &ground.backfill {
            Backfill::Refresh { .. } | Backfill::Full { .. } => ground.evolution.backfill.clone(),
            Backfill::None => Vec::new(),
        };
        open.skipped = ground.shape.skipped.clone();
        open.notes = ground.notes.clone();
        if adopted.is_some() {
            open.notes.push(
                "the window of an existing job is not known: the watermark stays where it is".to_owned(),
            );
        }
        open.existing_job = adopted;
        open
    }

    /// A load of some of the fields, or of none but the key.
    pub(super) fn other_load(
        &self,
        client: &OrgClient,
        ground: &Ground,
        purpose: Purpose,
        mode: LoadMode,
        fields: &[String],
    ) -> OpenLoad {
        let layout = part_of(&ground.evolution.layout, fields);
        let plan = self.plan(client, &ground.settings, mode, layout, None, None);
        let mut open = self.open_load(plan, purpose, ground);
        // A target that keeps deleted rows has them without the new column too; what is computed of them stays as it was.
        let wants_deleted = purpose == Purpose::Backfill && self.parts.settings.deletes == DeletePolicy::Flag;
        open.condition =
            if wants_deleted { where_clause(None, ground.filter.as_ref()) } else { ground.live() };
        // Archived rows are in the target, and are given only with the deleted ones.
        open.with_deleted = ground.shape.deleted.is_some();
        open
    }

    fn plan(
        &self,
        client: &OrgClient,
        settings: &ObjectSettings,
        mode: LoadMode,
        layout: TableLayout,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> LoadPlan {
        LoadPlan {
            id: self.new_load_id(),
            org: client.org().clone(),
            object: settings.object.clone(),
            table: settings.table.clone(),
            mode,
            layout,
            deletes: self.parts.settings.deletes,
            from,
            to,
            schema_version: 0,
            stage: settings.stage_name.clone().filter(|_| settings.use_stage),
            is_filtered: settings.filter.is_some(),
            origin: None,
            ousts: false,
        }
    }

    fn open_load(&self, plan: LoadPlan, purpose: Purpose, ground: &Ground) -> OpenLoad {
        OpenLoad {
            plan,
            purpose,
            committed: None,
            condition: String::new(),
            keys_condition: None,
            with_deleted: ground.shape.deleted.is_some(),
            is_incremental: !ground.is_full() && purpose == Purpose::Rows,
            bulk: ground.bulk(),
            existing_job: None,
            why_full: ground.why_full.clone().filter(|_| purpose == Purpose::Rows),
            watermark: ground.watermark.map(|mark| mark.at),
            began: self.parts.clock.wall(),
            deletes_until: None,
            deletes_have_gap: false,
            changes: Vec::new(),
            backfill: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            fingerprint: fingerprint(&self.parts.settings.org, &ground.settings, self.parts.settings.deletes),
            organization: ground.organization.clone(),
        }
    }
}

/// How a volume is read, and why; `refused` is why the org will not run a bulk job.
pub(super) fn choice(
    open: &OpenLoad,
    stage: &StageOffer,
    thresholds: &Thresholds,
    volume: u64,
    refused: Option<&str>,
) -> Choice {
    if let (Some(job), None) = (&open.existing_job, refused) {
        return choose_existing(job, volume, open.is_incremental, stage, thresholds);
    }
    let bulk = match refused {
        Some(why) => BulkOffer::Refused(why.to_owned()),
        None => open.bulk.clone(),
    };
    let mut choice = choose(volume, open.is_incremental, stage, thresholds, &bulk);
    if let Some(why) = &open.why_full {
        choice.reason = format!("{why}; {}", choice.reason);
    }
    choice
}

/// The describe of one object, and until when it is believed.
#[derive(Debug, Clone)]
pub(super) struct KnownDescribe {
    pub until: std::time::Duration,
    pub describe: Arc<ObjectDescribe>,
}
