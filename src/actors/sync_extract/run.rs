//! The run of an extraction: which way the rows are read, and what happens when the org changes its mind.

use std::collections::{BTreeMap, BTreeSet};

use super::job;
use super::many::FirstRead;
use super::parts::{Part, PartMaker, columns_of, source_of};
use super::reject::Rejects;
use super::state::Cursor;
use super::{
    ExtractAsk, ExtractError, ExtractState, Extracted, KEYS_FROM, KeepCursor, PARTS_PER_PAGE, PartSink,
    Wanted,
};
use crate::salesforce::rows::{Columns, Row};
use crate::salesforce::soql::{Condition, FieldPath};
use crate::salesforce::{
    BulkOptions, OrgClient, OrgError, QueryError, RowPage, RowPages, Select, Soql, Source, Surface,
    WideOptions,
};
use crate::sync::{PartNumber, SPARED_FROM, SyncMethod};
use crate::warehouse::{PartSource, RowChunk};

/// Times that a query is begun anew because the org lost it.
const STARTS_MAX: u32 = 3;
/// Rows of a page of REST.
const REST_PAGE_ROWS: u64 = 2_000;
/// Calls of a bulk job beside its pages.
const JOB_CALLS: u64 = 7;

/// Reads everything that is asked for, from where `state` stands, and puts it into `sink` part by part. `first` is the
/// first page, where one was read for several objects at once. When it returns, every part is durable.
///
/// # Errors
/// See [`ExtractError`]; what was kept of the state stands, and the same ask with it goes on there.
pub async fn extract(
    client: &OrgClient,
    ask: &ExtractAsk,
    state: ExtractState,
    first: Option<FirstRead>,
    sink: &dyn PartSink,
    keep: &dyn KeepCursor,
) -> Result<Extracted, ExtractError> {
    let mut run = Run::new(client, ask, state, sink, keep)?;
    let mut first = first.filter(|_| run.state == ExtractState::default());
    let mut starts = 1;
    while let Err(error) = run.attempt(first.take()).await {
        if !run.begins_anew_after(&error) || starts >= STARTS_MAX {
            return Err(error);
        }
        starts += 1;
        tracing::warn!(load = %ask.plan.id, %error, "the rows are asked for again from the start");
        run.start_over(&error).await?;
    }
    run.finish().await
}

/// Deletes the bulk job of a load that is over, where it had one. One that is gone already is as good.
///
/// # Errors
/// Those of the call; the job then stays at the org for seven days.
pub async fn clean_up(client: &OrgClient, state: &ExtractState) -> Result<(), OrgError> {
    match &state.cursor {
        Some(Cursor::Bulk(checkpoint)) => {
            client.resume_bulk_query(checkpoint.clone(), BulkOptions::default()).delete().await
        }
        _ => Ok(()),
    }
}

/// With or without deleted rows.
pub(super) fn surface_of(ask: &ExtractAsk) -> Surface {
    if ask.include_deleted { Surface::DataAndDeleted } else { Surface::Data }
}

/// The statement for `columns`.
pub(super) fn statement(ask: &ExtractAsk, columns: &Columns) -> Result<Soql, ExtractError> {
    let bad = |why: String| ExtractError::BadPlan { load: ask.plan.id.clone(), why };
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns.as_slice() {
        fields.push(
            FieldPath::read(&column.name).ok_or_else(|| bad(format!("`{}` is no field", column.name)))?,
        );
    }
    let mut select = Select::new(fields, Source::from(&ask.plan.object));
    if let Some(condition) = condition(ask) {
        select = select.filter(condition);
    }
    select.build().map_err(|error| bad(error.to_string()))
}

fn condition(ask: &ExtractAsk) -> Option<Condition> {
    let text = ask.condition.trim();
    (!text.is_empty()).then(|| Condition::Printed(text.to_owned()))
}

/// Reads the next page into `maker`.
async fn take_page(
    ask: &ExtractAsk,
    pages: &mut RowPages,
    maker: &mut PartMaker,
    rejects: &mut Rejects,
) -> Result<Option<RowPage>, ExtractError> {
    let page = pages.next(&mut |row: &Row<'_>| maker.take(row, rejects).map_err(Into::into)).await;
    page.map_err(|error| query_error(ask, error))
}

pub(super) fn query_error(ask: &ExtractAsk, error: QueryError) -> ExtractError {
    match error {
        QueryError::Handover { what, source } => match source.downcast::<ExtractError>() {
            Ok(error) => *error,
            Err(source) => ExtractError::Query(QueryError::Handover { what, source }),
        },
        error => ExtractError::of_query(&ask.plan.object, error),
    }
}

/// One extraction under way.
pub(super) struct Run<'r> {
    pub(super) client: &'r OrgClient,
    pub(super) ask: &'r ExtractAsk,
    pub(super) state: ExtractState,
    pub(super) rejects: Rejects,
    /// In the order of the layout.
    pub(super) columns: Columns,
    /// Decided by volume, or by the org.
    pub(super) chosen: Option<(SyncMethod, String)>,
    sink: &'r dyn PartSink,
    keep: &'r dyn KeepCursor,
    /// Parts that make up the load, with their rows.
    put: BTreeMap<PartNumber, u64>,
    /// Parts that the warehouse has, and that are right if they are read from the same job again.
    staged: BTreeMap<PartNumber, u64>,
    /// Parts that the warehouse may have from attempts before.
    stale: BTreeSet<PartNumber>,
    /// The pages are those that `staged` came from.
    trusts_staged: bool,
}

impl<'r> Run<'r> {
    fn new(
        client: &'r OrgClient,
        ask: &'r ExtractAsk,
        state: ExtractState,
        sink: &'r dyn PartSink,
        keep: &'r dyn KeepCursor,
    ) -> Result<Self, ExtractError> {
        let columns = columns_of(ask)?;
        let rejects = Rejects::resume(ask, state.rejected, state.reject_bytes)?;
        let ours = |part: &PartNumber| {
            let has_window_keys = (KEYS_FROM..SPARED_FROM).contains(&part.0);
            has_window_keys == (ask.wanted == Wanted::Keys)
        };
        let staged: BTreeMap<PartNumber, u64> = ask
            .staged
            .iter()
            .filter(|known| ours(&known.part))
            .map(|known| (known.part, known.rows))
            .collect();
        let page_of = |part: &PartNumber| (part.0 % KEYS_FROM) / PARTS_PER_PAGE;
        let (put, stale): (BTreeMap<_, _>, BTreeMap<_, _>) = staged
            .iter()
            .map(|(part, rows)| (*part, *rows))
            .partition(|(part, _)| page_of(part) < state.pages);
        let trusts_staged = matches!(state.cursor, Some(Cursor::Bulk(_))) && !state.distrusts_staged;
        let stale = stale.into_keys().collect();
        Ok(Self {
            client,
            ask,
            state,
            rejects,
            columns,
            chosen: None,
            sink,
            keep,
            put,
            staged,
            stale,
            trusts_staged,
        })
    }

    async fn attempt(&mut self, first: Option<FirstRead>) -> Result<(), ExtractError> {
        if self.state.is_complete {
            return Ok(());
        }
        match self.state.cursor.clone() {
            Some(Cursor::Bulk(checkpoint)) => job::read(self, checkpoint).await,
            Some(Cursor::Rest(checkpoint)) => {
                let columns = self.columns.clone();
                let soql = statement(self.ask, &columns)?;
                let pages =
                    self.client.resume_query_rows(surface_of(self.ask), &soql, columns.clone(), checkpoint);
                let maker = PartMaker::new(self.ask, &columns)?;
                self.read_rest(pages, maker).await
            }
            None if self.state.intent.is_some() => job::begin(self).await,
            None => match &self.ask.existing_job_id {
                Some(id) => job::take(self, id).await,
                None => self.begin(first).await,
            },
        }
    }

    /// Reads the first page, which is the count, and goes on from there by the method for it.
    pub(super) async fn begin(&mut self, first: Option<FirstRead>) -> Result<(), ExtractError> {
        let columns = self.columns.clone();
        let soql = statement(self.ask, &columns)?;
        let surface = surface_of(self.ask);
        if first.is_none() && !self.client.fits_an_address(surface, &soql) {
            return self.begin_wide().await;
        }
        let FirstRead { mut maker, rejects, page, pages } = match first {
            Some(first) => first,
            None => self.first_page(&soql, columns).await?,
        };
        self.state.estimated = Some(page.total_size);
        if self.choose(page.total_size).is_bulk() {
            // The cursor is left to itself: the org forgets it.
            drop((maker, rejects, pages));
            self.rejects = Rejects::resume(self.ask, 0, 0)?;
            return job::begin(self).await;
        }
        self.rejects = rejects;
        self.rejects.expect(page.total_size);
        self.end_rest_page(&mut maker, page, &pages).await?;
        self.read_rest(pages, maker).await
    }

    async fn first_page(&mut self, soql: &Soql, columns: Columns) -> Result<FirstRead, ExtractError> {
        let mut maker = PartMaker::new(self.ask, &columns)?;
        let mut rejects = Rejects::resume(self.ask, 0, 0)?;
        let mut pages = self.client.query_rows(surface_of(self.ask), soql, columns);
        maker.begin_page(0, REST_PAGE_ROWS);
        let page = take_page(self.ask, &mut pages, &mut maker, &mut rejects).await?;
        let no_page =
            || ExtractError::BadPlan { load: self.ask.plan.id.clone(), why: "it has no page".to_owned() };
        Ok(FirstRead { maker, rejects, page: page.ok_or_else(no_page)?, pages })
    }

    /// The method for so many rows, decided once.
    pub(super) fn choose(&mut self, rows: u64) -> SyncMethod {
        let refused = self.state.bulk_refused.as_deref().or(self.ask.bulk_refused.as_deref());
        let mut chosen = (self.ask.choose)(rows, refused);
        if chosen.0.is_bulk()
            && let Some(refused) = refused
        {
            chosen = (over_rest(chosen.0), format!("{}; over REST instead: {refused}", chosen.1));
        }
        let method = chosen.0;
        self.chosen = Some(chosen);
        method
    }

    /// The pages of a query that stand behind the ones that were read.
    async fn read_rest(&mut self, mut pages: RowPages, mut maker: PartMaker) -> Result<(), ExtractError> {
        if let Some(counted) = self.state.estimated {
            self.rejects.expect(counted);
        }
        loop {
            maker.begin_page(self.state.pages, REST_PAGE_ROWS);
            let page = take_page(self.ask, &mut pages, &mut maker, &mut self.rejects).await?;
            let Some(page) = page else { break };
            self.end_rest_page(&mut maker, page, &pages).await?;
        }
        self.state.notes.extend(maker.notes());
        let read = self.state.rows + self.rejects.count();
        let counted = self.state.estimated.unwrap_or(read);
        if read != counted {
            return Err(ExtractError::OtherCount { object: self.ask.plan.object.clone(), counted, read });
        }
        Ok(())
    }

    async fn end_rest_page(
        &mut self,
        maker: &mut PartMaker,
        page: RowPage,
        pages: &RowPages,
    ) -> Result<(), ExtractError> {
        maker.end_page();
        self.put_ready(maker).await?;
        self.state.estimated.get_or_insert(page.total_size);
        let cursor = (!page.is_last).then(|| Cursor::Rest(pages.checkpoint().clone()));
        let keeps = cursor.is_some();
        self.end_page(page.bytes, cursor, keeps).await
    }

    /// A page is put: the state moves behind it, and is kept once its parts are durable.
    pub(super) async fn end_page(
        &mut self,
        bytes: u64,
        cursor: Option<Cursor>,
        keeps: bool,
    ) -> Result<(), ExtractError> {
        self.state.pages += 1;
        self.state.bytes += bytes;
        self.state.rejected = self.rejects.count();
        if cursor.is_some() {
            self.state.cursor = cursor;
        }
        self.count_put();
        if keeps {
            self.state.reject_bytes = self.rejects.flush()?;
            self.all_staged().await?;
            self.keep().await?;
        }
        Ok(())
    }

    /// An object with more fields than an address can name.
    async fn begin_wide(&mut self) -> Result<(), ExtractError> {
        let has_stamp = self.columns.as_slice().iter().any(|column| column.name == "SystemModstamp");
        let options = WideOptions { surface: surface_of(self.ask), has_stamp, ..WideOptions::default() };
        let wide = self.client.query_wide(&self.ask.plan.object, &self.columns, condition(self.ask), options);
        let mut wide = wide.map_err(|error| ExtractError::of_org(&self.ask.plan.object, error))?;
        let counted = self.count().await?;
        self.state.estimated = Some(counted);
        let calls = counted.div_ceil(REST_PAGE_ROWS) * wide.parts() as u64;
        let is_bulk = self.choose(counted).is_bulk();
        let refused = self.ask.bulk_refused.is_some() || self.state.bulk_refused.is_some();
        if !refused && (is_bulk || calls > JOB_CALLS) {
            if let (false, Some(chosen)) = (is_bulk, &mut self.chosen) {
                let parts = wide.parts();
                chosen.0 = over_bulk(chosen.0);
                chosen
                    .1
                    .push_str(&format!("; its fields take {parts} queries over REST, a bulk job takes one"));
            }
            return job::begin(self).await;
        }
        let mut maker = PartMaker::new(self.ask, &self.columns)?;
        self.rejects.expect(counted);
        let mut vanished = 0;
        loop {
            maker.begin_page(self.state.pages, REST_PAGE_ROWS);
            let rejects = &mut self.rejects;
            let page = wide.next(&mut |row: &Row<'_>| maker.take(row, rejects).map_err(Into::into)).await;
            let Some(page) = page.map_err(|error| query_error(self.ask, error))? else { break };
            vanished += page.vanished;
            maker.end_page();
            self.put_ready(&mut maker).await?;
            // Parts are joined from pages of several queries: after a crash they are all asked again.
            self.end_page(page.bytes, None, false).await?;
        }
        self.state.notes.extend(maker.notes());
        if vanished > 0 {
            self.state.notes.push(format!("{vanished} rows were gone before all of their fields were read"));
        }
        Ok(())
    }

    /// Rows of the query, by a call of its own.
    async fn count(&self) -> Result<u64, ExtractError> {
        let id = Columns::new(vec![crate::salesforce::rows::Column::new(
            "Id",
            crate::salesforce::rows::ColumnKind::Id,
        )]);
        let id = id.map_err(|error| ExtractError::BadPlan {
            load: self.ask.plan.id.clone(),
            why: error.to_string(),
        })?;
        let soql = statement(self.ask, &id)?;
        let mut pages = self.client.query_rows(surface_of(self.ask), &soql, id);
        let page =
            pages.next(&mut |_: &Row<'_>| Ok(())).await.map_err(|error| query_error(self.ask, error))?;
        Ok(page.map_or(0, |page| page.total_size))
    }

    /// Puts the parts that are whole.
    pub(super) async fn put_ready(&mut self, maker: &mut PartMaker) -> Result<(), ExtractError> {
        while let Some(Part { number, chunk }) = maker.next_part() {
            let rows = chunk.rows() as u64;
            self.put(number, rows, source_of(number, chunk)).await?;
        }
        Ok(())
    }

    pub(super) async fn put(
        &mut self,
        part: PartNumber,
        rows: u64,
        source: PartSource,
    ) -> Result<(), ExtractError> {
        self.put.insert(part, rows);
        self.stale.remove(&part);
        if self.trusts_staged && self.staged.get(&part) == Some(&rows) {
            return Ok(());
        }
        self.sink.put(part, source).await.map_err(|source| self.handover(source))
    }

    /// What the parts add up to that were put.
    fn count_put(&mut self) {
        let spared = PartNumber(SPARED_FROM);
        self.state.rows = self.put.range(..spared).map(|(_, rows)| rows).sum();
        self.state.spared = self.put.range(spared..).map(|(_, keys)| keys).sum();
    }

    async fn all_staged(&self) -> Result<(), ExtractError> {
        self.sink.all_staged().await.map_err(|source| self.handover(source))
    }

    fn handover(&self, source: crate::salesforce::HandoverError) -> ExtractError {
        ExtractError::Handover { load: self.ask.plan.id.clone(), source }
    }

    /// Keeps where it stands.
    pub(super) async fn keep(&self) -> Result<(), ExtractError> {
        let kept = self.keep.keep(&self.state).await;
        kept.map_err(|source| ExtractError::Keep { load: self.ask.plan.id.clone(), source })
    }

    /// The org has lost what the pages came from, or they did not add up.
    fn begins_anew_after(&self, error: &ExtractError) -> bool {
        match error {
            ExtractError::Bulk(error) => error.calls_for_a_new_job(),
            ExtractError::Query(error) => error.calls_for_a_new_query(),
            ExtractError::OtherCount { .. } => true,
            _ => false,
        }
    }

    pub(super) async fn start_over(&mut self, error: &ExtractError) -> Result<(), ExtractError> {
        // Parts that are on their way must be there before others take their numbers.
        self.all_staged().await?;
        self.state.start_over(format!("the rows were asked for again from the start: {error}"));
        self.forget_parts()?;
        self.keep().await
    }

    /// What was put stands at the warehouse until it is replaced.
    pub(super) fn forget_parts(&mut self) -> Result<(), ExtractError> {
        self.stale.extend(std::mem::take(&mut self.put).into_keys());
        self.trusts_staged = false;
        self.rejects = Rejects::resume(self.ask, 0, 0)?;
        Ok(())
    }

    async fn finish(mut self) -> Result<Extracted, ExtractError> {
        if !self.state.is_complete {
            self.count_put();
            self.rejects.finish(self.state.rows + self.rejects.count())?;
            self.state.reject_bytes = self.rejects.flush()?;
            self.state.rejected = self.rejects.count();
            for part in std::mem::take(&mut self.stale) {
                let width = if part.0 < KEYS_FROM { self.ask.plan.layout.columns.len() } else { 1 };
                let nothing = source_of(part, RowChunk::new(width));
                self.sink.put(part, nothing).await.map_err(|source| self.handover(source))?;
            }
            self.all_staged().await?;
            self.state.is_complete = true;
            self.keep().await?;
        }
        let (estimated, jobs) = (self.state.estimated.unwrap_or(self.state.rows), self.state.jobs);
        if self.chosen.is_none() {
            self.choose(estimated);
        }
        let by_job = self.state.job_id().is_some();
        let (method, reason) = self.chosen.take().unwrap_or((SyncMethod::RegularApiFull, String::new()));
        let method = match (by_job, method.is_bulk()) {
            (true, false) => over_bulk(method),
            (false, true) => over_rest(method),
            _ => method,
        };
        Ok(Extracted {
            rows: self.state.rows,
            rejected: self.state.rejected,
            spared: self.state.spared,
            reject_file: self.rejects.file(),
            bytes: self.state.bytes,
            jobs,
            estimated,
            method,
            reason,
            notes: self.state.notes,
        })
    }
}

/// The same over REST.
fn over_rest(method: SyncMethod) -> SyncMethod {
    if method.is_full() { SyncMethod::RegularApiFull } else { SyncMethod::RegularApiIncremental }
}

/// The same by a bulk job, where it is by none.
fn over_bulk(method: SyncMethod) -> SyncMethod {
    match method {
        SyncMethod::RegularApiFull => SyncMethod::BulkApiFull,
        SyncMethod::RegularApiIncremental => SyncMethod::BulkApiIncremental,
        other => other,
    }
}
