//! Which recipe a column has: what a field's name and type say about its cells.

use super::{Ages, Cells, Dice, Ids, NumberRule, Persona, Recipe, Target, escaped, is_plain, pool};
use crate::{
    catalog::{ids, random::hash},
    model::{Field, SObject},
    rows::{SeededRows, date_reach, nasty, null_percent, number_prefix, words},
    rows_api::CellWriter,
};

impl SeededRows {
    /// The writer of a column, if its rule is known here.
    pub(in crate::rows) fn writer(&self, object: &SObject, field: &Field) -> Option<Box<dyn CellWriter>> {
        self.cells(object, field).map(|cells| Box::new(cells) as Box<dyn CellWriter>)
    }

    fn dice_of(&self, object: &SObject, subject: &str) -> Dice {
        Dice { object: self.seed ^ hash(&object.name), subject: hash(subject) }
    }

    fn ids_of(&self, object: &str, prefix: &str) -> Option<Ids> {
        let prefix = format!("{prefix}{}", ids::POD).into_bytes().try_into().ok()?;
        Some(Ids { prefix, first: self.first_number(object) })
    }

    fn ages_of(&self, object: &SObject) -> Ages {
        Ages {
            rows: object.record_count.max(1),
            created: self.dice_of(object, "created"),
            modified: self.dice_of(object, "modified"),
        }
    }

    fn cells(&self, object: &SObject, field: &Field) -> Option<Cells> {
        let dice = self.dice_of(object, &field.name);
        let limit = if field.length == 0 { 255 } else { field.length as usize };
        let always = |recipe| Some(Cells { dice, null_percent: 0, only_when: None, limit, recipe });
        let ages = self.ages_of(object);
        match field.name.as_str() {
            "Id" => {
                return match (self.stored.get(object.name.as_str()), &object.key_prefix) {
                    (Some(stored), _) => always(Recipe::Stored(pool(stored.iter().map(String::as_str)))),
                    (None, Some(prefix)) => always(Recipe::Id(self.ids_of(&object.name, prefix)?)),
                    (None, None) => always(Recipe::Nothing),
                };
            }
            "CreatedDate" => return always(Recipe::Created(ages)),
            "LastModifiedDate" | "SystemModstamp" => return always(Recipe::Modified(ages)),
            "IsDeleted" => return always(Recipe::Constant(b"false")),
            "IsActive" => return always(Recipe::Active(20)),
            _ => {}
        }
        if object.name == nasty::OBJECT && field.custom {
            return None;
        }
        let status = || {
            let named = |name: &str| object.fields.iter().find(|field| field.name == name);
            named("Status").or_else(|| named("StageName")).and_then(|field| self.cells(object, field))
        };
        let follows = |exact: &'static [&'static [u8]], begins: Option<&'static [u8]>| {
            always(Recipe::Follows { other: Box::new(status()?), exact, begins })
        };
        let mut only_when: Option<(Box<Cells>, &'static [u8])> = None;
        match (object.name.as_str(), field.name.as_str()) {
            (_, "RecordTypeId") => {
                if let Some(own) = self.record_types.get(&object.name) {
                    let dice = self.dice_of(object, "record type");
                    return always(Recipe::RecordType { pool: pool(own.iter().map(String::as_str)), dice });
                }
            }
            ("Lead", "IsConverted") => return follows(&[b"Closed - Converted"], None),
            ("Lead", name) if name.starts_with("Converted") => {
                only_when = Some((Box::new(status()?), b"Closed - Converted"));
            }
            ("Opportunity" | "Case" | "Task", "IsClosed") => {
                return follows(&[b"Completed"], Some(b"Closed"));
            }
            ("Opportunity", "IsWon") => return follows(&[b"Closed Won"], None),
            ("Opportunity", "Loss_Reason__c" | "Loss_Details__c") => {
                only_when = Some((Box::new(status()?), b"Closed Lost"));
            }
            _ => {}
        }
        let gaps = field.nillable && field.field_type != "boolean";
        let null_percent = if gaps { null_percent(field) } else { 0 };
        let recipe = self.recipe(object, field, ages)?;
        Some(Cells { dice, null_percent, only_when, limit, recipe })
    }

    fn recipe(&self, object: &SObject, field: &Field, ages: Ages) -> Option<Recipe> {
        let values = || pool(field.picklist.iter().map(|(value, _)| value.as_str()));
        Some(match field.field_type.as_str() {
            "boolean" => Recipe::Chance(18),
            "reference" => self.reference_recipe(field)?,
            "picklist" | "combobox" if !field.picklist.is_empty() => Recipe::Favoured(values()),
            // Beyond 63 values the long way shifts by too much; no picklist here has as many.
            "multipicklist" if !field.picklist.is_empty() && field.picklist.len() <= 63 => {
                Recipe::Several(values())
            }
            "picklist" | "anyType" | "complexvalue" | "location" | "address" | "base64" => Recipe::Nothing,
            "currency" | "double" | "percent" => {
                Recipe::Number { field: NumberRule::of(field), whole: false }
            }
            "int" | "long" => Recipe::Number { field: NumberRule::of(field), whole: true },
            "date" => {
                let (soonest, reach) = date_reach(field);
                Recipe::Day { ages, soonest, reach }
            }
            "datetime" => Recipe::Moment(ages),
            _ => return self.text_recipe(object, field),
        })
    }

    fn reference_recipe(&self, field: &Field) -> Option<Recipe> {
        let named: Vec<&String> = field
            .reference_to
            .iter()
            .filter(|name| self.targets.get(*name).is_some_and(|(_, rows)| *rows > 0))
            .collect();
        if named.is_empty() {
            return Some(Recipe::Nothing);
        }
        let user = named.iter().position(|name| name.as_str() == "User");
        let target = |name: &String| {
            if let Some(stored) = self.stored.get(name.as_str()) {
                return Some(Target::Stored(pool(stored.iter().map(String::as_str))));
            }
            let (prefix, rows) = &self.targets[name];
            Some(Target::Computed { ids: self.ids_of(name, prefix)?, rows: *rows })
        };
        let targets = named.into_iter().map(target).collect::<Option<Vec<_>>>()?;
        Some(Recipe::Reference { targets, user })
    }

    /// In the order of [`SeededRows::text`], which says what the cases mean.
    fn text_recipe(&self, object: &SObject, field: &Field) -> Option<Recipe> {
        let is_person = object.fields.iter().any(|field| field.name == "LastName");
        let (person, place) = (self.dice_of(object, "person"), self.dice_of(object, "place"));
        let persona = Persona { person, company: self.dice_of(object, "company") };
        let words = |texts: &'static [&'static str]| Recipe::Picked(pool(texts.iter().copied()));
        Some(match (field.field_type.as_str(), field.name.as_str()) {
            (_, "Username") => Recipe::Username(persona),
            ("email", _) => Recipe::Email(persona),
            ("phone", _) => Recipe::Phone,
            ("url", _) => Recipe::Url(persona),
            (_, _) if field.auto_number => {
                let prefix = number_prefix(object, field);
                is_plain(&prefix).then(|| Recipe::AutoNumber(escaped(&prefix)))?
            }
            (_, "FirstName") => Recipe::FirstName(person),
            (_, "LastName") => Recipe::LastName(person),
            (_, "Name") if is_person => Recipe::FullName(person),
            (_, "Company" | "CompanyName") => Recipe::Company(persona),
            (_, "Name") if object.name == "Account" => Recipe::Company(persona),
            (_, "Name") if field.name_field => {
                is_plain(&object.label).then(|| Recipe::StemThen(escaped(&object.label)))?
            }
            (_, "Alias") => Recipe::Alias(person),
            (_, "Title") => words(words::TITLES),
            (_, "LocaleSidKey" | "LanguageLocaleKey") => words(&["en_GB"]),
            (_, "TimeZoneSidKey") => words(&["Europe/London"]),
            (_, "EmailEncodingKey") => words(&["UTF-8"]),
            (_, name) if name.contains("Street") => Recipe::Street,
            (_, name) if name.contains("City") => Recipe::PlacePart { dice: place, part: |place| place.0 },
            (_, name) if name.contains("State") || name.contains("Region") => {
                Recipe::PlacePart { dice: place, part: |place| place.1 }
            }
            (_, name) if name.contains("Country") => words(&["United Kingdom"]),
            (_, name) if name.contains("Postal") => Recipe::Postal(place),
            (_, "Subject") => words(words::SUBJECTS),
            _ if field.external_id => {
                Recipe::External(escaped(&format!("{}-", &hash(&object.name).to_string()[..4])))
            }
            ("textarea", _) => Recipe::Sentences,
            (_, name)
                if name.ends_with("Number")
                    || name.contains("Number_")
                    || name.contains("Code")
                    || name.contains("Serial") =>
            {
                Recipe::Code
            }
            (_, "Department" | "Division") => words(words::DEPARTMENTS),
            _ => words(words::PHRASES),
        })
    }
}
