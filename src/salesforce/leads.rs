//! Leads by their ids: what the org has of each, or what has become of it.
//!
//! Promises: one collection read for up to 2,000 ids; parents of the wanted fields are read once each and kept; a batch
//! that the org refuses, or cannot bear, is halved until the culprit stands alone, so that it costs itself and not its
//! neighbours. An id without a record is never called invalid: it is looked up, and told as merged, deleted or not to be
//! seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::client::OrgClient;
use super::collections::{IDS_PER_CALL, RetrieveError};
use super::error::OrgError;
use super::lead_columns::{BulkColumns, LeadColumns, ParentTarget, ParentValues, gone, text_of, unreadable};
use super::query::{CursorCheckpoint, QueryError, RowPages, Surface};
use super::rows::{Cell, Column, ColumnKind, Columns, Row};
use super::soql::{Condition, FieldPath, Literal, Select, Soql, Source};
use crate::leads::{Lead, LeadId, Presence};
use crate::model::ObjectName;

/// Ids of one look-up: with 15 characters each, in quotes and encoded, they fit an address.
pub const IDS_PER_LOOKUP: usize = 490;
/// Parts of one batch that may be refused before the rest of it is left alone.
const REFUSALS_MAX: u32 = 64;
/// Parents kept; past it they are read again.
const PARENTS_MAX: usize = 20_000;

/// What a read gave for one id.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadLead {
    /// Its record.
    Record(Lead),
    /// There is none for us.
    NoRecord,
    /// The org refuses to say, whatever else is asked with it.
    Refused(String),
}

/// By the reference's number and the parent's id; `None` for one that is not there for us.
type KnownParents = HashMap<(usize, Box<str>), Option<ParentValues>>;

/// Parents that were read, by the reference's number and their id. Bounded; everything in it can be read again.
#[derive(Debug)]
pub struct ParentCache {
    known: Mutex<KnownParents>,
    /// Two batches that miss the same parents read them once. Whoever holds it may rely on what it has read: nobody else
    /// makes room meanwhile.
    reading: tokio::sync::Mutex<()>,
    /// Parents that are kept from one batch to the next.
    most: usize,
}

impl Default for ParentCache {
    fn default() -> Self {
        Self { known: Mutex::default(), reading: tokio::sync::Mutex::default(), most: PARENTS_MAX }
    }
}

impl ParentCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, KnownParents> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row whose parents are not known yet: what is known of it, and the ids of its parents.
struct Orphan {
    at: usize,
    id: LeadId,
    cells: Vec<Cell<'static>>,
}

impl OrgClient {
    /// Reads leads, in the order of `ids`. 1 call for 2,000, and 1 a kind of parent that was not met before.
    ///
    /// # Errors
    /// What holds for all of them: the org is away, the session is refused, a column is gone.
    pub async fn read_leads(
        &self,
        columns: &LeadColumns,
        parents: &ParentCache,
        ids: &[LeadId],
    ) -> Result<Vec<ReadLead>, OrgError> {
        let mut read = vec![ReadLead::NoRecord; ids.len()];
        let mut waiting: Vec<std::ops::Range<usize>> = (0..ids.len())
            .step_by(IDS_PER_CALL)
            .map(|from| from..(from + IDS_PER_CALL).min(ids.len()))
            .rev()
            .collect();
        let mut refusals = 0;
        while let Some(part) = waiting.pop() {
            match self.read_part(columns, parents, &ids[part.clone()], &mut read[part.clone()]).await {
                Ok(()) => {}
                Err(error) if part.len() > 1 && is_of_some(&error) && refusals < REFUSALS_MAX => {
                    refusals += 1;
                    let middle = part.start + part.len() / 2;
                    waiting.push(middle..part.end);
                    waiting.push(part.start..middle);
                }
                Err(error) if is_of_some(&error) && !error.is_transient() => {
                    read[part].fill(ReadLead::Refused(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    async fn read_part(
        &self,
        columns: &LeadColumns,
        parents: &ParentCache,
        ids: &[LeadId],
        out: &mut [ReadLead],
    ) -> Result<(), OrgError> {
        const LEAD: &str = "Lead";
        let object: ObjectName =
            LEAD.parse().map_err(|_| unreadable(LEAD.to_owned(), "it is no object's name"))?;
        let asked = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let mut orphans: Vec<Orphan> = Vec::new();
        let mut at = 0;
        let mut cells: Vec<Cell<'static>> = Vec::new();
        let mut taker = |_: &str, row: Option<&Row<'_>>| {
            let place = at;
            at += 1;
            let (Some(row), Some(id)) = (row, ids.get(place)) else {
                if let Some(lead) = out.get_mut(place) {
                    *lead = ReadLead::NoRecord;
                }
                return Ok(());
            };
            let of_row: Vec<Cell<'_>> = row.cells().collect();
            match parents.of(columns, &of_row) {
                Some(of_parent) => out[place] = ReadLead::Record(columns.lead(*id, &of_row, &of_parent)),
                None => {
                    cells.extend(of_row.into_iter().map(owned));
                    orphans.push(Orphan { at: place, id: *id, cells: std::mem::take(&mut cells) });
                }
            }
            Ok(())
        };
        self.retrieve_all(&object, &columns.own, asked, &mut taker).await.map_err(of_retrieval)?;
        if orphans.is_empty() {
            return Ok(());
        }
        let _alone = parents.reading.lock().await;
        self.read_parents(columns, parents, &orphans).await?;
        for Orphan { at, id, cells } in orphans {
            let of_parent = parents.of(columns, &cells).unwrap_or_default();
            out[at] = ReadLead::Record(columns.lead(id, &cells, &of_parent));
        }
        Ok(())
    }

    /// Reads the parents that are not known yet. Whoever calls it holds `reading`, until what it has read is used.
    async fn read_parents(
        &self,
        columns: &LeadColumns,
        parents: &ParentCache,
        orphans: &[Orphan],
    ) -> Result<(), OrgError> {
        {
            let mut known = parents.lock();
            // Only here: what is read below is wanted until every relation is read.
            if known.len() > parents.most {
                known.clear();
            }
        }
        for (nth, parent) in columns.parents.iter().enumerate() {
            let mut missing: Vec<String> = {
                let known = parents.lock();
                let wanted = orphans.iter().filter_map(|orphan| columns.reference(&orphan.cells, nth));
                wanted.filter(|id| !known.contains_key(&(nth, Box::from(*id)))).map(str::to_owned).collect()
            };
            missing.sort_unstable();
            missing.dedup();
            for target in &parent.targets {
                let (of_target, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(|id| {
                    parent.targets.len() == 1 || target.prefix.is_empty() || id.starts_with(&target.prefix)
                });
                missing = others;
                if !of_target.is_empty() {
                    missing.extend(self.read_targets(nth, target, of_target, parents).await?);
                }
            }
            // Gone, or not to be seen: its fields are empty, and nobody asks again.
            parents.lock().extend(missing.into_iter().map(|id| ((nth, id.into_boxed_str()), None)));
        }
        Ok(())
    }

    /// Reads parents of one object; gives back those it has no record of.
    async fn read_targets(
        &self,
        nth: usize,
        target: &ParentTarget,
        ids: Vec<String>,
        parents: &ParentCache,
    ) -> Result<Vec<String>, OrgError> {
        let mut missing = Vec::new();
        let mut taker = |id: &str, row: Option<&Row<'_>>| {
            let Some(row) = row else {
                missing.push(id.to_owned());
                return Ok(());
            };
            let cells: Vec<Cell<'_>> = row.cells().collect();
            let values = target.at.iter().map(|column| Some(Box::from(text_of(cells.get((*column)?))?)));
            parents.lock().insert((nth, Box::from(id)), Some(values.collect()));
            Ok(())
        };
        let read = self.retrieve_all(&target.object, &target.columns, ids, &mut taker).await;
        read.map_err(of_retrieval)?;
        Ok(missing)
    }

    /// What has become of leads that have no record, in the order of `ids`. 1 call for [`IDS_PER_LOOKUP`]. A lead that is
    /// there after all is told as [`Presence::Found`]: read it again.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn absent_leads(&self, ids: &[LeadId]) -> Result<Vec<Presence>, OrgError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Trace {
            id: String,
            is_deleted: bool,
            #[serde(default)]
            master_record_id: Option<String>,
        }
        const FIELDS: [FieldPath; 3] =
            [FieldPath::literal("Id"), FieldPath::literal("IsDeleted"), FieldPath::literal("MasterRecordId")];
        let mut traces: HashMap<LeadId, Presence> = HashMap::new();
        for group in ids.chunks(IDS_PER_LOOKUP) {
            // The 15 characters say it all, and 3 times 500 more of them would not fit.
            let short = group.iter().map(|id| Literal::Text(String::from_utf8_lossy(id.key()).into_owned()));
            let statement = Select::new(FIELDS, Source::literal("Lead"))
                .filter(Condition::In(FieldPath::literal("Id"), short.collect()))
                .build()
                .map_err(|error| unreadable("a look-up of leads".to_owned(), &error.to_string()))?;
            for trace in self.query_all::<Trace>(&statement).await? {
                let Ok(id) = LeadId::read(&trace.id) else { continue };
                let presence = match trace.is_deleted {
                    true => gone(trace.master_record_id.as_deref()),
                    false => Presence::Found,
                };
                traces.insert(id.id, presence);
            }
        }
        Ok(ids.iter().map(|id| traces.get(id).copied().unwrap_or(Presence::NotVisible)).collect())
    }

    /// The ids that a guarded statement finds, page by page; nothing is asked until [`RowPages::next_ids`].
    ///
    /// # Errors
    /// When the statement is longer than the org takes.
    pub fn lead_id_pages(&self, guarded: &str, at: Option<CursorCheckpoint>) -> Result<RowPages, OrgError> {
        let wrong = |why: String| unreadable("a query of leads".to_owned(), &why);
        let statement = Soql::of_a_person(guarded.to_owned(), Source::literal("Lead"))
            .map_err(|error| wrong(error.to_string()))?;
        let columns = Columns::new(vec![Column::new("Id", ColumnKind::Id)]);
        let columns = columns.map_err(|error| wrong(error.to_string()))?;
        Ok(match at {
            Some(at) => self.resume_query_rows(Surface::Data, &statement, columns, at),
            None => self.query_rows(Surface::Data, &statement, columns),
        })
    }

    /// How many leads there are, by the org's own cached count. 1 call.
    ///
    /// # Errors
    /// That of the call.
    pub async fn lead_count(&self) -> Result<Option<u64>, OrgError> {
        let lead: Vec<ObjectName> = "Lead".parse().into_iter().collect();
        Ok(self.record_counts(Some(&lead)).await?.first().map(|row| row.count))
    }

    /// The statement of a Bulk query of all leads.
    pub fn bulk_leads(columns: &BulkColumns) -> Result<Soql, OrgError> {
        let paths = columns.columns().as_slice().iter().filter_map(|column| FieldPath::read(&column.name));
        Select::new(paths, Source::literal("Lead"))
            .build()
            .map_err(|error| unreadable("a query of all leads".to_owned(), &error.to_string()))
    }
}

impl RowPages {
    /// Appends the ids of the next page; false after the last.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn next_ids(&mut self, ids: &mut Vec<String>) -> Result<bool, QueryError> {
        let mut taker = |row: &Row<'_>| {
            ids.extend(text_of(row.cell(0).as_ref()).map(str::to_owned));
            Ok(())
        };
        Ok(self.next(&mut taker).await?.is_some())
    }
}

impl ParentCache {
    /// The values of a row's parents, by their number; `None` while one of them is not known.
    fn of(&self, columns: &LeadColumns, cells: &[Cell<'_>]) -> Option<Vec<Option<ParentValues>>> {
        if columns.parents.is_empty() {
            return Some(Vec::new());
        }
        let known = self.lock();
        let of_one = |nth: usize| match columns.reference(cells, nth) {
            None => Some(None),
            Some(id) => known.get(&(nth, Box::from(id))).cloned(),
        };
        (0..columns.parents.len()).map(of_one).collect()
    }
}

fn owned(cell: Cell<'_>) -> Cell<'static> {
    use std::borrow::Cow;
    match cell {
        Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        Cell::Decimal(text) => Cell::Decimal(Cow::Owned(text.into_owned())),
        Cell::Json(text) => Cell::Json(Cow::Owned(text.into_owned())),
        Cell::Boolean(value) => Cell::Boolean(value),
        Cell::Int(number) => Cell::Int(number),
        Cell::Date(date) => Cell::Date(date),
        Cell::DateTime(at) => Cell::DateTime(at),
        Cell::Time(at) => Cell::Time(at),
        Cell::Null => Cell::Null,
    }
}

fn of_retrieval(error: RetrieveError) -> OrgError {
    match error {
        RetrieveError::Org(error) => error,
        RetrieveError::Handover { object, source } => {
            unreadable(format!("records of `{object}`"), &source.to_string())
        }
    }
}

/// Whether the error may be about some of the ids only, so that asking for fewer may help. A column that is not there is
/// missing for all of them.
fn is_of_some(error: &OrgError) -> bool {
    match error {
        OrgError::Rejected { status, code, .. } => matches!(status, 400 | 404 | 413) && !is_of_columns(code),
        OrgError::Busy { .. } => false,
        error => error.calls_for_less(),
    }
}

fn is_of_columns(code: &str) -> bool {
    ["INVALID_FIELD", "INVALID_TYPE", "INVALID_FIELD_FOR_INSERT_UPDATE"].contains(&code)
}

/// Whether the org no longer has one of the columns that were settled.
pub fn lost_a_column(error: &OrgError) -> bool {
    matches!(error, OrgError::Rejected { code, .. } if is_of_columns(code))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Bench, body_text, json};
    use super::*;
    use crate::leads::{FieldMapping, LeadField};

    /// Leads with an owner and a segment of their own, whose names tell whose they are.
    fn org() -> Bench {
        Bench::new(|request| {
            let asked: serde_json::Value = serde_json::from_str(&body_text(request)).unwrap();
            let texts = |key: &str| -> Vec<String> {
                asked[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
            };
            let value = |id: &str, field: &str| match field {
                "Id" => id.to_owned(),
                "OwnerId" => id.replace("00Q", "005"),
                "Segment__c" => id.replace("00Q", "a00"),
                field => format!("{field} of {id}"),
            };
            let record = |id: &String| -> serde_json::Value {
                texts("fields").into_iter().map(|field| (field.clone(), value(id, &field))).collect()
            };
            let records: Vec<_> = texts("ids").iter().map(record).collect();
            json(200, &serde_json::to_string(&records).unwrap())
        })
    }

    fn columns() -> LeadColumns {
        let mut mapping = FieldMapping::default();
        mapping.set(LeadField::SegmentName, "Owner.Name".parse().ok());
        mapping.set(LeadField::EnrichedCompany, "Segment__r.Name".parse().ok());
        let reference = |name: &str, relation: &str, to: &str| {
            serde_json::json!({
                "name": name, "type": "reference", "relationshipName": relation, "referenceTo": [to],
            })
        };
        let owner = reference("OwnerId", "Owner", "User");
        let segment = reference("Segment__c", "Segment__r", "Segment__c");
        let lead = serde_json::json!({ "name": "Lead", "fields": [owner, segment] });
        let named = |name: &str| serde_json::json!({ "name": name, "fields": [{ "name": "Name", "type": "string" }] });
        LeadColumns::of_describes(&mapping, &lead, &[named("User"), named("Segment__c")])
    }

    #[tokio::test]
    async fn a_batch_has_the_parents_of_each_relation_however_few_are_kept() {
        let (bench, columns) = (org(), columns());
        let ids: Vec<LeadId> = ["00Q5g0000000001", "00Q5g0000000002", "00Q5g0000000003"]
            .iter()
            .map(|id| LeadId::read(id).unwrap().id)
            .collect();
        let parents = ParentCache { most: 1, ..ParentCache::default() };
        for _ in 0..2 {
            let read = bench.client.read_leads(&columns, &parents, &ids).await.unwrap();
            for (id, read) in ids.iter().zip(read) {
                let ReadLead::Record(lead) = read else { panic!("{read:?}") };
                let name_of = |prefix| format!("Name of {}", id.as_str().replace("00Q", prefix));
                assert_eq!(lead.get(LeadField::SegmentName), Some(&*name_of("005")));
                assert_eq!(lead.get(LeadField::EnrichedCompany), Some(&*name_of("a00")));
            }
        }
    }
}
