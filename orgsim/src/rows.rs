//! Rows computed from an index by seed: nothing is stored, any row is as near as the first.
//!
//! Promises: the same seed, object, index and field give the same value; ids ascend with the index and
//! [`RowSource::index_of`] inverts them; a reference holds the id of a row that exists, or null when
//! its targets have none; a picklist holds a value of its list. Times lie between 2021 and the middle
//! of November 2026, created before modified.

mod columns;
pub mod nasty;
mod words;

use std::collections::HashMap;

use crate::catalog::ids;
use crate::catalog::random::{hash, mix};
use crate::model::{Field, OrgModel, SObject};
use crate::rows_api::{CellWriter, RowSource, Value};

/// 2021-01-01T00:00:00Z.
const FIRST_CREATION_MS: u64 = 1_609_459_200_000;
/// 2026-11-15T00:00:00Z.
const LAST_CHANGE_MS: u64 = 1_794_700_800_000;
const DAY_MS: u64 = 86_400_000;
/// Smaller objects have nothing in the recycle bin.
const LEAST_ROWS_WITH_BIN: u64 = 2_000;

/// Rows by seed.
#[derive(Debug)]
pub struct SeededRows {
    seed: u64,
    /// Key prefix and number of rows, by object name: what a reference needs to know of its target.
    targets: HashMap<String, (String, u64)>,
    /// The ids of metadata that the model holds itself, by object name.
    stored: HashMap<&'static str, Vec<String>>,
    /// Ids of record types by the object they belong to.
    record_types: HashMap<String, Vec<String>>,
    /// Rows in the recycle bin, in percent of the live ones.
    deleted_percent: u64,
}

impl SeededRows {
    /// Rows of `org` by `seed`. Only names, prefixes and counts are kept.
    #[must_use]
    pub fn new(seed: u64, org: &OrgModel) -> Self {
        let targets = org
            .objects
            .iter()
            .filter_map(|object| {
                Some((object.name.clone(), (object.key_prefix.clone()?, object.record_count)))
            })
            .collect();
        let profiles = org.permission_sets.iter().filter_map(|set| set.profile_id.clone()).collect();
        let stored = HashMap::from([
            ("Profile", profiles),
            ("RecordType", org.record_types.iter().map(|kind| kind.id.clone()).collect()),
            ("PermissionSet", org.permission_sets.iter().map(|set| set.id.clone()).collect()),
            ("ApexTrigger", org.triggers.iter().map(|trigger| trigger.id.clone()).collect()),
        ]);
        let mut record_types: HashMap<String, Vec<String>> = HashMap::new();
        for kind in &org.record_types {
            record_types.entry(kind.object.clone()).or_default().push(kind.id.clone());
        }
        Self { seed, targets, stored, record_types, deleted_percent: 0 }
    }

    /// The same rows, and behind them so many percent in the recycle bin of each business object that is large
    /// enough to have one worth looking into.
    #[must_use]
    pub fn with_deleted(self, deleted_percent: u64) -> Self {
        Self { deleted_percent, ..self }
    }

    /// Numbers start somewhere else in every object, as they do in an org that has lived.
    fn first_number(&self, object: &str) -> u64 {
        10_000_000 + mix(self.seed ^ hash(object)) % 40_000_000
    }

    fn id_at(&self, object: &str, prefix: &str, index: u64) -> String {
        ids::record_id(prefix, self.first_number(object) + index)
    }

    fn dice(&self, object: &SObject, index: u64, field: &str) -> u64 {
        mix(self.seed ^ hash(&object.name) ^ mix(index ^ hash(field)))
    }

    /// What follows from another field of the same row, such as a conversion from the status.
    fn dependent(&self, object: &SObject, index: u64, field: &Field) -> Option<Value> {
        let other = |name: &str| {
            let field = object.fields.iter().find(|known| known.name == name)?;
            match self.value(object, index, field) {
                Value::Text(text) => Some(text),
                _ => None,
            }
        };
        let status = || other("Status").or_else(|| other("StageName")).unwrap_or_default();
        match (object.name.as_str(), field.name.as_str()) {
            (_, "RecordTypeId") => {
                let own = self.record_types.get(&object.name)?;
                let dice = self.dice(object, index, "record type");
                Some(Value::Text(own[dice as usize % own.len()].clone()))
            }
            ("Lead", "IsConverted") => Some(Value::Bool(status() == "Closed - Converted")),
            ("Lead", name) if name.starts_with("Converted") && status() != "Closed - Converted" => {
                Some(Value::Null)
            }
            ("Opportunity" | "Case" | "Task", "IsClosed") => {
                Some(Value::Bool(status().starts_with("Closed") || status() == "Completed"))
            }
            ("Opportunity", "IsWon") => Some(Value::Bool(status() == "Closed Won")),
            ("Opportunity", "Loss_Reason__c" | "Loss_Details__c") if status() != "Closed Lost" => {
                Some(Value::Null)
            }
            _ => None,
        }
    }

    fn created_ms(&self, object: &SObject, index: u64) -> u64 {
        // Ascending with the index but for an hour of jitter, as auto-assigned ids are.
        let rows = object.record_count.max(1);
        let span = LAST_CHANGE_MS - FIRST_CREATION_MS - 30 * DAY_MS;
        let step = u128::from(span) * u128::from(index) / u128::from(rows);
        FIRST_CREATION_MS
            + u64::try_from(step).unwrap_or(span).min(span)
            + self.dice(object, index, "created") % 3_600_000
    }

    fn modified_ms(&self, object: &SObject, index: u64) -> u64 {
        let created = self.created_ms(object, index);
        let room = LAST_CHANGE_MS - created;
        // Most records are touched soon after they were made; a tenth lives long.
        let dice = self.dice(object, index, "modified");
        let reach = if dice.is_multiple_of(10) { room } else { room.min(45 * DAY_MS) };
        created + (dice >> 8) % reach.max(1)
    }

    fn reference(&self, field: &Field, dice: u64) -> Value {
        let existing: Vec<&String> = field
            .reference_to
            .iter()
            .filter(|name| self.targets.get(*name).is_some_and(|(_, rows)| *rows > 0))
            .collect();
        if existing.is_empty() {
            return Value::Null;
        }
        // Polymorphic owners are users, hardly ever queues.
        let preferred = existing.iter().find(|name| name.as_str() == "User" && !dice.is_multiple_of(12));
        let target = preferred.copied().unwrap_or(existing[(dice >> 40) as usize % existing.len()]);
        if let Some(stored) = self.stored.get(target.as_str()) {
            return match stored.len() {
                0 => Value::Null,
                len => Value::Text(stored[(dice >> 8) as usize % len].clone()),
            };
        }
        let (prefix, rows) = &self.targets[target];
        Value::Text(self.id_at(target, prefix, (dice >> 8) % rows))
    }

    fn number(&self, field: &Field, dice: u64) -> f64 {
        let name = field.name.as_str();
        let spread = (dice >> 8) % 10_000;
        let below = |bound: f64| bound * spread as f64 / 10_000.0;
        let raw = match field.field_type.as_str() {
            _ if name.contains("Latitude") => 50.0 + below(6.0),
            _ if name.contains("Longitude") => -4.0 + below(12.0),
            "percent" => below(100.0),
            _ if name == "Probability" => below(100.0),
            // Amounts spread over magnitudes: many small, few large.
            "currency" => 50.0 * (1.0 + below(9.0)).powi(1 + (dice >> 50) as i32 % 5),
            _ if name.contains("Employees") => 1.0 + below(60.0) * below(60.0),
            _ if name.contains("Year") => 1985.0 + below(41.0),
            _ => below(500.0),
        };
        let largest = 10_f64.powi(field.precision.saturating_sub(field.scale).min(15) as i32) - 1.0;
        let raw = if field.precision > 0 { raw.min(largest) } else { raw };
        let unit = 10_f64.powi(field.scale.min(6) as i32);
        (raw * unit).round() / unit
    }

    fn person(&self, object: &SObject, index: u64) -> (&'static str, &'static str) {
        let dice = self.dice(object, index, "person");
        (words::pick(words::FIRST_NAMES, dice), words::pick(words::LAST_NAMES, dice >> 16))
    }

    fn company(&self, object: &SObject, index: u64) -> String {
        let dice = self.dice(object, index, "company");
        let stem = words::pick(words::COMPANY_STEMS, dice);
        let trade = words::pick(words::COMPANY_TRADES, dice >> 16);
        format!("{stem} {trade}")
    }

    fn text(&self, object: &SObject, index: u64, field: &Field, dice: u64) -> String {
        let (first, last) = self.person(object, index);
        let is_person = object.fields.iter().any(|field| field.name == "LastName");
        let domain = || {
            format!("{}.example", self.company(object, index).to_ascii_lowercase().replace([' ', '&'], ""))
        };
        let address = || format!("{}.{}@{}", first.to_ascii_lowercase(), last.to_ascii_lowercase(), domain());
        let place = words::pick(words::PLACES, self.dice(object, index, "place") >> 3);
        let name = field.name.as_str();
        match (field.field_type.as_str(), name) {
            (_, "Username") => format!(
                "{}.{}.{index}@ridgeway.example",
                first.to_ascii_lowercase(),
                last.to_ascii_lowercase()
            ),
            ("email", _) => address(),
            ("phone", _) => format!("+44 20 7946 {:04}", dice % 10_000),
            ("url", _) => format!("https://www.{}/{}", domain(), index % 1_000),
            (_, _) if field.auto_number => format!("{}-{:06}", number_prefix(object, field), index + 1),
            (_, "FirstName") => first.to_owned(),
            (_, "LastName") => last.to_owned(),
            (_, "Name") if is_person => format!("{first} {last}"),
            (_, "Company" | "CompanyName") => self.company(object, index),
            (_, "Name") if object.name == "Account" => self.company(object, index),
            (_, "Name") if field.name_field => {
                format!("{} {}", words::pick(words::COMPANY_STEMS, dice), object.label)
            }
            (_, "Alias") => last.chars().take(8).collect::<String>().to_ascii_lowercase(),
            (_, "Title") => words::pick(words::TITLES, dice).to_owned(),
            (_, "LocaleSidKey" | "LanguageLocaleKey") => "en_GB".to_owned(),
            (_, "TimeZoneSidKey") => "Europe/London".to_owned(),
            (_, "EmailEncodingKey") => "UTF-8".to_owned(),
            (_, name) if name.contains("Street") => {
                format!("{} {}", 1 + dice % 240, words::pick(words::STREETS, dice >> 12))
            }
            (_, name) if name.contains("City") => place.0.to_owned(),
            (_, name) if name.contains("State") || name.contains("Region") => place.1.to_owned(),
            (_, name) if name.contains("Country") => "United Kingdom".to_owned(),
            (_, name) if name.contains("Postal") => format!(
                "{}{} {}{}{}",
                place.2,
                1 + dice % 20,
                dice % 9,
                letter(dice >> 8),
                letter(dice >> 16)
            ),
            (_, "Subject") => words::pick(words::SUBJECTS, dice).to_owned(),
            _ if field.external_id => format!("{}-{:08}", &hash(&object.name).to_string()[..4], index),
            ("textarea", _) => format!(
                "{} {}",
                words::pick(words::SENTENCES, dice),
                words::pick(words::SENTENCES, dice >> 20)
            ),
            (_, name)
                if name.ends_with("Number")
                    || name.contains("Number_")
                    || name.contains("Code")
                    || name.contains("Serial") =>
            {
                format!("{}{:07}", letter(dice), dice % 9_999_999)
            }
            (_, "Department" | "Division") => words::pick(words::DEPARTMENTS, dice).to_owned(),
            _ => words::pick(words::PHRASES, dice).to_owned(),
        }
    }
}

impl RowSource for SeededRows {
    fn count(&self, object: &SObject) -> u64 {
        object.record_count
    }

    fn deleted(&self, object: &SObject) -> u64 {
        let has_a_bin = object.createable
            && !self.stored.contains_key(object.name.as_str())
            && object.record_count >= LEAST_ROWS_WITH_BIN
            && object.fields.iter().any(|field| field.name == "IsDeleted");
        if has_a_bin { object.record_count * self.deleted_percent / 100 } else { 0 }
    }

    fn value(&self, object: &SObject, index: u64, field: &Field) -> Value {
        let field = field.as_made();
        let dice = self.dice(object, index, &field.name);
        match field.name.as_str() {
            "Id" => {
                return match (self.stored.get(object.name.as_str()), &object.key_prefix) {
                    (Some(stored), _) => stored.get(index as usize).cloned().map_or(Value::Null, Value::Text),
                    (None, Some(prefix)) => Value::Text(self.id_at(&object.name, prefix, index)),
                    (None, None) => Value::Null,
                };
            }
            "CreatedDate" => return Value::DateTime(signed(self.created_ms(object, index))),
            "LastModifiedDate" | "SystemModstamp" => {
                return Value::DateTime(signed(self.modified_ms(object, index)));
            }
            "IsDeleted" => return Value::Bool(false),
            "IsActive" => return Value::Bool(!dice.is_multiple_of(20)),
            _ => {}
        }
        if let Some(value) = nasty::value(object, index, field) {
            return value;
        }
        if let Some(value) = self.dependent(object, index, field) {
            return value;
        }
        // Checkboxes are never null, and what was typed in by people has gaps.
        if field.nillable && field.field_type != "boolean" && dice % 100 < null_percent(field) {
            return Value::Null;
        }
        let dice = mix(dice);
        match field.field_type.as_str() {
            "boolean" => Value::Bool(dice % 100 < 18),
            "reference" => self.reference(field, dice),
            "picklist" | "combobox" if !field.picklist.is_empty() => {
                Value::Text(favoured(&field.picklist, dice).to_owned())
            }
            "multipicklist" if !field.picklist.is_empty() => {
                let mut chosen: Vec<&str> = field
                    .picklist
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| dice >> at & 3 == 0)
                    .map(|(_, (value, _))| value.as_str())
                    .collect();
                if chosen.is_empty() {
                    chosen.push(&field.picklist[0].0);
                }
                Value::Text(chosen.join(";"))
            }
            "picklist" | "anyType" | "complexvalue" | "location" | "address" | "base64" => Value::Null,
            "currency" | "double" | "percent" => Value::Double(self.number(field, dice)),
            "int" | "long" => Value::Int(self.number(field, dice) as i64),
            "date" => Value::Date(date_near(self.created_ms(object, index), field, dice)),
            "datetime" => Value::DateTime(signed(self.created_ms(object, index) + dice % (20 * DAY_MS))),
            _ => {
                let text = self.text(object, index, field, dice);
                let limit = if field.length == 0 { 255 } else { field.length as usize };
                Value::Text(text.chars().take(limit).collect())
            }
        }
    }

    fn index_of(&self, object: &SObject, id: &str) -> Option<u64> {
        if let Some(stored) = self.stored.get(object.name.as_str()) {
            return stored.iter().position(|known| known == id || known[..15] == *id).map(|at| at as u64);
        }
        let number = ids::record_number(object.key_prefix.as_deref()?, id)?;
        let index = number.checked_sub(self.first_number(&object.name))?;
        (index < object.record_count + self.deleted(object)).then_some(index)
    }

    fn find(&self, object: &SObject, field: &Field, text: &str) -> Option<Vec<u64>> {
        // Texts that are meant to be unique carry the index, or the one after it, in digits.
        let unique = field.external_id || field.unique || field.auto_number;
        let total = object.record_count + self.deleted(object);
        unique.then(|| {
            text.split(|c: char| !c.is_ascii_digit())
                .filter_map(|digits| digits.parse::<u64>().ok())
                .flat_map(|number| [Some(number), number.checked_sub(1)])
                .flatten()
                .filter(|&index| index < total)
                .collect()
        })
    }

    fn cell_writer(&self, object: &SObject, field: &Field) -> Option<Box<dyn CellWriter>> {
        // Rows of hard values are few; they are written the plain way.
        if object.name == nasty::OBJECT { None } else { self.writer(object, field.as_made()) }
    }
}

/// How often a field is empty: from nearly never to nearly always, by its name.
fn null_percent(field: &Field) -> u64 {
    match field.name.as_str() {
        "Email" | "Phone" | "Company" | "Status" | "StageName" => 4,
        "MasterRecordId" => 99,
        name if name.starts_with("EmailBounced") || name.starts_with("Jigsaw") => 98,
        _ if field.formula.is_some() => 2,
        name => hash(name) % 75,
    }
}

/// A value of the list; the first ones come more often, as in life.
fn favoured(values: &[(String, String)], dice: u64) -> &str {
    let len = values.len() as u64;
    let at = ((dice % len) * ((dice >> 20) % len + 1)) / len;
    &values[at as usize].0
}

/// A date field's days after the creation of its row: the first that may be, and how many.
fn date_reach(field: &Field) -> (u64, u64) {
    let future = ["Expir", "Until", "Due", "Next", "End", "Close", "Valid_To", "Deadline"];
    if future.iter().any(|word| field.name.contains(word)) { (90, 1_500) } else { (0, 60) }
}

fn date_near(created_ms: u64, field: &Field, dice: u64) -> String {
    let (soonest, reach) = date_reach(field);
    let (year, month, day) = civil(created_ms / DAY_MS + soonest + dice % reach);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's algorithm).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).expect("milliseconds of this century fit")
}

fn letter(dice: u64) -> char {
    char::from(b'A' + (dice % 26) as u8)
}

/// `LSE` of the display format `LSE-{000000}`, else the first consonants of the label, as admins choose them.
fn number_prefix(object: &SObject, field: &Field) -> String {
    if let Some((prefix, _)) = field.description.as_deref().and_then(|format| format.split_once("-{")) {
        return prefix.to_owned();
    }
    let letters = object.label.chars().filter(|c| c.is_ascii_alphabetic() && !"aeiou".contains(*c));
    letters.take(3).collect::<String>().to_ascii_uppercase()
}

#[cfg(test)]
mod tests;
