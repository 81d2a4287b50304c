//! Rows that change by themselves: at once, later, late (committed after their stamp), or between two pages.
//!
//! `POST /__sim/rows` takes one [`Change`] or a list of them; `GET` and `POST /__sim/data` show and set the
//! [`super::options::Knobs`]. Nothing here is part of a real org.

use super::{
    Operation,
    options::Knobs,
    overlay::{Fate, Scope, WrittenRow},
    write,
};
use crate::{answer::Answer, catalog::random::mix, org::OrgData, rows_api::Value, site::Site, soql::dates};
use serde::Deserialize;
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// Most rows one change may concern.
const MOST_ROWS: u64 = 1_000_000;

/// What happens to some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// New rows appear, with values like those of the seeded ones.
    Insert,
    /// Only the stamps move.
    Touch,
    /// `fields` are set, the stamps move.
    Update,
    /// Into the recycle bin.
    Delete,
    /// Out of it.
    Undelete,
    /// Gone for good.
    HardDelete,
    /// What lies in the recycle bin is gone for good; all of it when nothing is said.
    EmptyBin,
    /// `fields` are set and no stamp moves, as when a formula looks at another record or at the date.
    Recompute,
    /// The first row stays, the others go to the recycle bin and name it as their master.
    Merge,
    /// Leads become accounts, contacts and opportunities.
    Convert,
}

/// A change to rows of one object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// API name.
    pub object: String,
    /// What happens.
    pub action: Action,
    /// To so many rows, picked by the seed; one when no ids are given either.
    #[serde(default)]
    pub count: Option<u64>,
    /// To these rows.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Values for `insert` and `update`, by API name.
    #[serde(default)]
    pub fields: Map<String, serde_json::Value>,
    /// Milliseconds of the org's time from now until it happens.
    #[serde(default)]
    pub after_ms: i64,
    /// Milliseconds from then until it is committed, which is when others see it; its stamps are the earlier ones.
    #[serde(default)]
    pub commit_after_ms: i64,
    /// Happens when the next further page of a query on this object is asked for.
    #[serde(default)]
    pub on_page_of: Option<String>,
}

/// A change that has not been committed yet.
#[derive(Debug, Clone)]
pub struct Pending {
    /// When it is committed; never by time when it waits for a page.
    pub due_ms: Option<i64>,
    /// What its stamps say.
    pub stamp_ms: i64,
    /// What happens.
    pub change: Change,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Changes {
    Many(Vec<Change>),
    One(Box<Change>),
}

/// Answers `/__sim/rows` and `/__sim/data`; `None` for other paths.
pub fn control(site: &Site, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
    const KIND: &str = "sim";
    let bad = |message: String| Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &message);
    match (method, path) {
        ("POST", "/__sim/rows") => {
            site.settle();
            let changes = match serde_json::from_slice::<Changes>(body) {
                Ok(Changes::Many(changes)) => changes,
                Ok(Changes::One(change)) => vec![*change],
                Err(error) => return Some(bad(error.to_string())),
            };
            if let Some(message) = changes.iter().find_map(|change| refusal(site, change)) {
                return Some(bad(message));
            }
            let answers: Vec<_> = changes.into_iter().map(|change| order(site, change)).collect();
            Some(Answer::json(KIND, &json!({ "ok": true, "changes": answers })))
        }
        ("GET", "/__sim/data") => {
            let knobs = site.data.knobs().clone();
            Some(Answer::json(KIND, &json!(knobs)))
        }
        ("POST", "/__sim/data") => {
            // What is not named stays as it is.
            let mut merged = json!(site.data.knobs().clone());
            let knobs = serde_json::from_slice::<Map<String, serde_json::Value>>(body).and_then(|given| {
                given.into_iter().for_each(|(name, value)| merged[name] = value);
                serde_json::from_value::<Knobs>(merged)
            });
            let set = knobs.map_err(|error| error.to_string()).and_then(|knobs| site.turn(knobs));
            Some(set.map_or_else(bad, |()| Answer::json(KIND, &json!({ "ok": true }))))
        }
        _ => None,
    }
}

fn refusal(site: &Site, change: &Change) -> Option<String> {
    let known = site.org.position(&change.object);
    if known.is_none() {
        return Some(format!("no object `{}`", change.object));
    }
    if change.count.is_some_and(|count| count > MOST_ROWS) {
        return Some(format!("`count` is above {MOST_ROWS}"));
    }
    if change.after_ms < 0 || change.commit_after_ms < 0 {
        return Some("`after_ms` and `commit_after_ms` cannot be negative".to_owned());
    }
    None
}

/// Makes a change now or keeps it until it is due.
fn order(site: &Site, change: Change) -> serde_json::Value {
    let stamp_ms = site.clock.epoch_ms() + change.after_ms;
    let waits = change.after_ms > 0 || change.commit_after_ms > 0 || change.on_page_of.is_some();
    if !waits {
        let _reading = site.data.enter();
        return json!({ "ids": apply(site, &change, stamp_ms) });
    }
    let due_ms = change.on_page_of.is_none().then_some(stamp_ms + change.commit_after_ms);
    site.data.schedule(Pending { due_ms, stamp_ms, change });
    json!({ "due_ms": due_ms })
}

/// Commits what is due at `now_ms`.
pub fn settle(site: &Site, now_ms: i64) {
    for pending in site.data.due(now_ms) {
        let _reading = site.data.enter();
        apply(site, &pending.change, pending.stamp_ms);
    }
}

/// A further page of an object is about to be rendered: what was to happen between the pages happens now.
pub fn between_pages(site: &Site, object: &str) {
    let now_ms = site.clock.epoch_ms();
    for pending in site.data.due_on_page(object) {
        apply(site, &pending.change, now_ms);
    }
    let knobs = site.data.knobs().clone();
    let churn = [
        (Action::Touch, knobs.touched_per_page, now_ms),
        (Action::Delete, knobs.deleted_per_page, now_ms),
        (Action::Insert, knobs.inserted_per_page, now_ms),
        (Action::Insert, knobs.late_per_page, now_ms - knobs.late_by_ms),
    ];
    for (action, count, stamp_ms) in churn.into_iter().filter(|(_, count, _)| *count > 0) {
        let change = Change {
            object: object.to_owned(),
            action,
            count: Some(count),
            ids: Vec::new(),
            fields: Map::new(),
            after_ms: 0,
            commit_after_ms: 0,
            on_page_of: None,
        };
        apply(site, &change, stamp_ms);
    }
}

/// Makes a change; gives the ids of the rows it concerned.
fn apply(site: &Site, change: &Change, stamp_ms: i64) -> Vec<String> {
    let org = &site.org;
    let Some(at) = org.position(&change.object) else { return Vec::new() };
    let object = &org.model.objects[at];
    if change.action == Action::Insert {
        let made = (0..change.count.unwrap_or(1)).map_while(|_| insert(org, at, change, stamp_ms));
        return made.collect();
    }
    let in_bin = matches!(change.action, Action::Undelete | Action::EmptyBin);
    let scope = if in_bin { Scope::All } else { Scope::Live };
    let mut rows = chosen(site, at, change, scope);
    if change.commit_after_ms > 0
        && let Some(stamp) = object.fields.iter().position(|field| field.name == "SystemModstamp")
    {
        // The transaction has held them locked since its stamp: who has written to them since cannot have.
        let is_later = |value| matches!(value, Value::DateTime(at_ms) if at_ms > stamp_ms);
        rows.retain(|&row| !is_later(org.rows.value(at, object, row, stamp)));
    }
    let ids: Vec<String> = rows.iter().filter_map(|&row| org.rows.id_of(at, object, row)).collect();
    let each = |operation: Operation| {
        for id in &ids {
            let record = Map::from_iter([("Id".to_owned(), json!(id))]);
            write::write_at(org, object, &operation, &record, stamp_ms);
        }
    };
    match change.action {
        Action::Insert => {}
        Action::Touch => rows.iter().for_each(|&row| write::set_fields(org, at, row, &[], stamp_ms)),
        Action::Update => rows.iter().for_each(|&row| {
            let values = values_of(org, at, &change.fields);
            write::set_values(org, at, row, values, stamp_ms);
        }),
        Action::Delete => each(Operation::Delete),
        Action::Undelete => each(Operation::Undelete),
        Action::HardDelete | Action::EmptyBin => each(Operation::HardDelete),
        Action::Recompute => rows.iter().for_each(|&row| {
            write::recompute(org, at, row, values_of(org, at, &change.fields));
        }),
        Action::Merge => {
            if let [master, losers @ ..] = rows.as_slice() {
                write::merge(org, at, *master, losers, stamp_ms);
                write::set_fields(org, at, *master, &[], stamp_ms);
            }
        }
        Action::Convert => rows.iter().for_each(|&row| convert(site, at, row, stamp_ms)),
    }
    ids
}

/// The rows a change speaks of: those named, else live ones picked by the seed, none twice.
fn chosen(site: &Site, at: usize, change: &Change, scope: Scope) -> Vec<u64> {
    let org = &site.org;
    let object = &org.model.objects[at];
    if !change.ids.is_empty() {
        let rows = change.ids.iter().filter_map(|id| org.rows.index_of(at, object, id));
        return rows.filter(|&row| org.rows.sees(at, row, scope)).collect();
    }
    let spans = org.rows.spans(at, scope);
    let converted = object.fields.iter().position(|field| field.name == "IsConverted");
    let suits = |row: u64| match change.action {
        Action::Convert => {
            converted.is_some_and(|field| org.rows.value(at, object, row, field) == Value::Bool(false))
        }
        Action::Undelete | Action::EmptyBin => matches!(org.rows.fate(at, row), Some(Fate::Deleted { .. })),
        _ => true,
    };
    let default = match change.action {
        Action::Merge => 2,
        Action::EmptyBin => u64::MAX,
        _ => 1,
    };
    let wanted = usize::try_from(change.count.unwrap_or(default).min(spans.len())).unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    let mut taken = std::collections::HashSet::new();
    // Drawn at random; where few suit, the rest is taken in order.
    for _ in 0..wanted.saturating_mul(4) {
        if rows.len() < wanted {
            let row = spans.at(site.data.draw() % spans.len().max(1));
            if suits(row) && taken.insert(row) {
                rows.push(row);
            }
        }
    }
    if rows.len() < wanted {
        let rest = spans.iter().filter(|row| suits(*row) && !taken.contains(row));
        let missing = wanted - rows.len();
        rows.extend(rest.take(missing).collect::<Vec<_>>());
    }
    rows
}

/// Values by position of the field, of fields that exist; the control may set what users may not.
fn values_of(org: &OrgData, at: usize, fields: &Map<String, serde_json::Value>) -> BTreeMap<usize, Value> {
    let object = &org.model.objects[at];
    let read = |(name, json): (&String, &serde_json::Value)| {
        let field = org.existing_field(at, name)?;
        Some((field, super::values::read(&object.fields[field], json).ok()?))
    };
    fields.iter().filter_map(read).collect()
}

/// A new row with the values the source has for its index.
fn insert(org: &OrgData, at: usize, change: &Change, stamp_ms: i64) -> Option<String> {
    let object = &org.model.objects[at];
    let _one_writer = org.rows.lock();
    let (row, id) = org.rows.append(at, object)?;
    let stamp = Value::DateTime(stamp_ms - stamp_ms.rem_euclid(1_000));
    let mut values: BTreeMap<usize, Value> = object
        .fields
        .iter()
        .enumerate()
        .map(|(position, field)| {
            let value = match field.name.as_str() {
                "CreatedDate" | "LastModifiedDate" | "SystemModstamp" => stamp.clone(),
                "IsDeleted" => Value::Bool(false),
                "MasterRecordId" => Value::Null,
                _ => org.rows.source().value(object, row, field),
            };
            (position, value)
        })
        .collect();
    values.extend(values_of(org, at, &change.fields));
    org.rows.put(at, row, Some(WrittenRow { values, fate: Fate::Live }));
    Some(id)
}

fn convert(site: &Site, at: usize, row: u64, stamp_ms: i64) {
    let org = &site.org;
    let some_id = |object: &str| {
        let at = org.position(object)?;
        let spans = org.rows.spans(at, Scope::Live);
        let row = (!spans.is_empty()).then(|| spans.at(mix(row + 1) % spans.len()))?;
        org.rows.id_of(at, &org.model.objects[at], row).map(Value::Text)
    };
    let id = |object: &str| some_id(object).unwrap_or(Value::Null);
    let fields = [
        ("IsConverted", Value::Bool(true)),
        ("Status", Value::Text("Closed - Converted".to_owned())),
        ("ConvertedDate", Value::Date(dates::day_of(stamp_ms).to_string())),
        ("ConvertedAccountId", id("Account")),
        ("ConvertedContactId", id("Contact")),
        ("ConvertedOpportunityId", id("Opportunity")),
    ];
    write::set_fields(org, at, row, &fields, stamp_ms);
}
