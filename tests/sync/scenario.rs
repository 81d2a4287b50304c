//! A seed's story: what happens to the org, and how its syncs end.

use std::collections::BTreeMap;
use std::time::Duration;

use orgsim::{Fault, FaultRule};
use penstock::actors::sync_desk::{SyncOrder, SyncOverrides};
use penstock::sync::{DeletePolicy, SchemaChange, SyncResult, Thresholds};
use serde_json::{Value, json};

use crate::compare::{Expected, differences, shown};
use crate::dice::Dice;
use crate::haunted::Trouble;
use crate::lives::{Death, Household, object, pause, settings};
use crate::org::{Org, Row};
use crate::target::{Engine, Target, setting};

/// Overlap of windows is 300 s; what is committed within it is seen.
const LATE_MS: u64 = 200_000;
const FILTER: &str = "Status = 'Open - Not Contacted' OR LastName = 'In'";
const TYPES: [&str; 9] =
    ["double", "string", "date", "datetime", "boolean", "percent", "textarea", "int", "currency"];

pub struct Scenario {
    engine: Engine,
    seed: u64,
    dice: Dice,
    org: Org,
    home: Household,
    target: Target,
    objects: Vec<&'static str>,
    has_filter: bool,
    /// Fields that were added, by object and name, with their type.
    added: BTreeMap<(&'static str, &'static str), &'static str>,
    /// Sorts of types that a name has stood for: no describe tells that a field is another one of the same sort.
    spent: Vec<(&'static str, &'static str, &'static str)>,
    hidden: Vec<&'static str>,
    story: Vec<String>,
}

impl Scenario {
    /// `None` where the engine is not there.
    pub fn new(engine: Engine, seed: u64) -> Option<Self> {
        let mut dice = Dice::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let target = Target::make(engine, folder.path())?;
        let mut options = orgsim::Options { seed: seed + 1, ..orgsim::Options::default() };
        let leads = if dice.chance(30) { dice.from(2_000, 3_500) } else { dice.from(50, 900) };
        for (object, rows) in [("Lead", leads), ("Contact", dice.from(20, 400)), ("Account", 60)] {
            options.data.records.insert(object.to_owned(), rows);
        }
        options.bulk.page_rows = dice.from(120, 900);
        options.bulk.polls_until_done = dice.from(0, 2) as u32;
        let org = Org::start(options);
        let has_filter = dice.chance(25);
        let mut leads = object("Lead");
        leads.filter = has_filter.then(|| FILTER.to_owned());
        let mut settings = settings(vec![leads, object("Contact")]);
        let bulk = dice.from(30, 700);
        settings.thresholds = Thresholds { bulk, stage: bulk * 50 };
        settings.deletes = dice.pick(&[DeletePolicy::Flag, DeletePolicy::Remove]);
        settings.hard_deletes_every = dice.chance(50).then_some(Duration::ZERO);
        settings.formulas_every = dice.chance(30).then_some(Duration::ZERO);
        settings.objects_at_once = dice.from(1, 2) as usize;
        let home = Household::new(&org, settings, folder, target.settings());
        let mut scenario = Self {
            engine,
            seed,
            dice,
            org,
            home,
            target,
            objects: vec!["Lead", "Contact"],
            has_filter,
            added: BTreeMap::new(),
            spent: Vec::new(),
            hidden: Vec::new(),
            story: Vec::new(),
        };
        for object in ["Lead", "Contact"] {
            let calc =
                json!({"name": "Calc__c", "type": "double", "precision": 12, "scale": 2, "formula": "1 + 1"});
            scenario.schema(&json!({"object": object, "add": calc}));
        }
        Some(scenario)
    }

    fn tells(&mut self, what: String) {
        self.story.push(what);
    }

    fn fails(&self, why: &str) -> ! {
        panic!(
            "seed {} on {:?}: {why}\nwhat happened:\n  {}",
            self.seed,
            self.engine,
            self.story.join("\n  ")
        );
    }

    /// Everything, and at the end the comparison.
    pub fn run(mut self) {
        for round in 0..self.dice.from(2, 5) {
            self.tells(format!("round {round}"));
            for _ in 0..self.dice.from(0, 6) {
                self.something();
            }
            let later = self.dice.pick(&[0, 0, 1, 20, 400, 5_000, 100_000]);
            self.org.later(later);
            self.tells(format!("{later} s later"));
            self.trouble();
            self.troubled_sync();
        }
        self.quiet();
        self.last_sync();
        if setting("PENSTOCK_TEST_STORY").is_some() {
            eprintln!("seed {} on {:?} went well:\n  {}", self.seed, self.engine, self.story.join("\n  "));
        }
    }

    fn schema(&mut self, change: &Value) {
        self.tells(format!("schema {change}"));
        self.org.control("/__sim/schema", change);
    }

    /// One change to the org.
    fn something(&mut self) {
        let change = if self.dice.chance(20) { self.other_schema() } else { Some(self.other_rows()) };
        if let Some(change) = change {
            self.tells(format!("rows {change}"));
            self.org.change(&change);
        }
    }

    /// A change to rows.
    fn other_rows(&mut self) -> Value {
        let dice = &mut self.dice;
        let object = dice.pick(&self.objects);
        let action = dice.pick(&[
            "insert",
            "insert",
            "update",
            "update",
            "update",
            "touch",
            "delete",
            "delete",
            "undelete",
            "hard_delete",
            "merge",
            "recompute",
            "convert",
            "empty_bin",
        ]);
        let action = if object != "Lead" && action == "convert" { "touch" } else { action };
        let most = match action {
            "insert" | "update" | "touch" | "recompute" => 40,
            "merge" => 3,
            _ => 8,
        };
        let least = if action == "merge" { 2 } else { 1 };
        let mut change = json!({"object": object, "action": action, "count": dice.from(least, most)});
        let mut fields = serde_json::Map::new();
        match action {
            "recompute" => {
                fields.insert("Calc__c".to_owned(), json!(dice.from(0, 99_999) as f64 / 100.0));
            }
            "insert" | "update" => {
                let name = dice.pick(&["In", "Out", "O'Hara", "名前", "a\"b", "line\nbreak", "0012", "NA"]);
                fields.insert("LastName".to_owned(), json!(name));
                if object == "Lead" && dice.chance(60) {
                    let status = dice.pick(&["Open - Not Contacted", "Working - Contacted"]);
                    fields.insert("Status".to_owned(), json!(status));
                }
                for ((of, field), kind) in self.added.iter().filter(|((of, _), _)| *of == object) {
                    debug_assert_eq!(*of, object);
                    if dice.chance(70) {
                        fields.insert((*field).to_owned(), value(kind, dice));
                    }
                }
            }
            _ => {}
        }
        if !fields.is_empty() {
            change["fields"] = Value::Object(fields);
        }
        if matches!(action, "insert" | "update" | "delete") && dice.chance(30) {
            change["commit_after_ms"] = json!(dice.from(1, LATE_MS));
        }
        change
    }

    /// A change of the schema; or rows, where none is possible.
    fn other_schema(&mut self) -> Option<Value> {
        let object = self.dice.pick(&self.objects);
        let field = self.dice.pick(&["Alpha__c", "Beta__c", "Gamma__c"]);
        let kind = self.dice.pick(&TYPES);
        let known = self.added.get(&(object, field)).copied();
        let is_new = !self.spent.contains(&(object, field, sort(kind)));
        match (known, self.dice.from(0, 3)) {
            (_, 0) => {
                let hideable = ["Lead.Title", "Lead.Industry", "Contact.Department", "Contact.Title"];
                let field = self.dice.pick(&hideable);
                match self.hidden.iter().position(|hidden| *hidden == field) {
                    Some(at) => drop(self.hidden.remove(at)),
                    None => self.hidden.push(field),
                }
                self.tells(format!("hidden {:?}", self.hidden));
                self.org.set(&json!({ "hidden_fields": self.hidden }));
            }
            (None, _) if is_new => {
                self.spent.push((object, field, sort(kind)));
                self.schema(&json!({"object": object, "add": made(field, kind)}));
                self.added.insert((object, field), kind);
            }
            (Some(_), 1) => {
                self.schema(&json!({"object": object, "remove": field}));
                self.added.remove(&(object, field));
            }
            (Some("double" | "percent" | "currency"), 2) => {
                let (precision, scale) = (self.dice.from(12, 18), self.dice.from(2, 6));
                let wider = json!({"name": field, "precision": precision, "scale": scale});
                self.schema(&json!({"object": object, "change": wider}));
            }
            (Some(_), _) if is_new => {
                self.spent.push((object, field, sort(kind)));
                self.schema(&json!({"object": object, "change": made(field, kind)}));
                self.added.insert((object, field), kind);
            }
            _ => return Some(self.other_rows()),
        }
        None
    }

    /// Faults of the org and of the warehouse until the round is over.
    fn trouble(&mut self) {
        let dice = &mut self.dice;
        let mut rules = Vec::new();
        if dice.chance(60) {
            for _ in 0..dice.from(1, 3) {
                let fault = dice.pick(&faults());
                let probability = dice.from(3, 30) as f64 / 100.0;
                let rule = FaultRule::always(fault).with_probability(probability, dice.from(0, 1 << 40));
                rules.push(rule.times(dice.from(1, 5)));
            }
        }
        let told = format!("faults {:?}", rules.iter().map(|rule| &rule.fault).collect::<Vec<_>>());
        self.org.server.faults().set(rules);
        let knobs = json!({
            "short_page_percent": dice.pick(&[0, 0, 40]),
            "touched_per_page": dice.pick(&[0, 0, 3]),
            "inserted_per_page": dice.pick(&[0, 0, 2]),
            "deleted_per_page": dice.pick(&[0, 0, 1]),
            "late_per_page": dice.pick(&[0, 0, 1]),
            "late_by_ms": LATE_MS,
            "bulk_refused": if dice.chance(10) { vec!["Contact"] } else { vec![] },
            "deletes_kept_ms": if dice.chance(15) { 60_000 } else { 15 * 86_400_000_i64 },
        });
        let mut haunted = Vec::new();
        if dice.chance(40) {
            let step = dice.pick(&["connect", "table", "schema", "state", "stage", "commit", "count"]);
            let trouble = dice.pick(&[
                Trouble::Down,
                Trouble::AnswerLost,
                Trouble::AnswerLost,
                Trouble::Locked,
                Trouble::Full,
            ]);
            let times = dice.from(1, 3) as usize;
            self.home.haunt.at(step, trouble, times);
            haunted.push((step, trouble, times));
        }
        self.tells(told);
        self.tells(format!("knobs {knobs}, warehouse {haunted:?}"));
        self.org.set(&knobs);
    }

    /// A sync that may fail or die, while the org goes on.
    fn troubled_sync(&mut self) {
        let dice = &mut self.dice;
        let death = match dice.from(0, 9) {
            0..=2 => Death::Natural,
            3..=6 => Death::AtPoint(dice.from(1, 12)),
            _ => Death::After(Duration::from_millis(dice.from(0, 400))),
        };
        let with = SyncOverrides {
            full: dice.chance(8),
            compare_ids: dice.chance(15),
            formulas: dice.chance(15),
            use_stage: dice.chance(10).then_some(true),
            ..SyncOverrides::default()
        };
        let told = match &death {
            Death::Natural => "to its end".to_owned(),
            Death::AtPoint(nth) => format!("until point {nth}"),
            Death::After(after) => format!("for {} ms", after.as_millis()),
        };
        self.tells(format!("sync {told}, {with:?}"));
        let meanwhile: Vec<(u64, Value)> = if self.dice.chance(40) {
            (0..self.dice.from(1, 4)).map(|_| (self.dice.from(1, 80), self.other_rows())).collect()
        } else {
            Vec::new()
        };
        let order = SyncOrder { with, ..SyncOrder::all() };
        let results = std::thread::scope(|scope| {
            let org = &self.org;
            let changes = meanwhile.clone();
            scope.spawn(move || {
                for (wait, change) in changes {
                    pause(Duration::from_millis(wait));
                    org.change(&change);
                }
            });
            self.home.sync(order, &death)
        });
        for (_, change) in meanwhile {
            self.tells(format!("meanwhile {change}"));
        }
        match results {
            None => self.tells("died".to_owned()),
            Some(results) => results.iter().for_each(|result| self.tells(brief(result))),
        }
    }

    /// Nothing goes wrong any more, and everything is committed.
    fn quiet(&mut self) {
        self.org.server.faults().clear();
        self.home.haunt.end();
        self.org.set(&json!({
            "short_page_percent": 0, "touched_per_page": 0, "inserted_per_page": 0, "deleted_per_page": 0,
            "late_per_page": 0, "bulk_refused": [],
        }));
        self.org.later(LATE_MS / 1_000 + 10);
        self.tells("quiet".to_owned());
    }

    fn last_sync(&mut self) {
        let with =
            SyncOverrides { compare_ids: true, formulas: true, reconcile: true, ..SyncOverrides::default() };
        let order = SyncOrder { with, ..SyncOrder::all() };
        let results = self.synced(order);
        self.is_equal();
        for result in &results {
            if result.reconciliation.as_ref().is_none_or(|counted| counted.difference != 0) {
                self.fails(&format!("the counts differ: {result:#?}"));
            }
        }
        // And once more, now that nothing has happened.
        self.org.later(30);
        for result in self.synced(SyncOrder::all()) {
            if result.rows_written + result.rows_deleted + result.rows_rejected > 0
                || !result.schema_changes.is_empty()
            {
                self.fails(&format!("nothing has happened and something was written: {result:#?}"));
            }
        }
        self.is_equal();
    }

    fn synced(&mut self, order: SyncOrder) -> Vec<SyncResult> {
        let Some(results) = self.home.sync(order, &Death::Natural) else { unreachable!("nobody dies") };
        for result in &results {
            self.story.push(brief(result));
            if !result.success {
                self.fails(&format!("the last sync failed: {result:#?}"));
            }
        }
        results
    }

    fn is_equal(&self) {
        let told: Vec<String> = self
            .objects
            .iter()
            .flat_map(|object| {
                let filtered = self.has_filter && *object == "Lead";
                let filter = move |row: &Row| {
                    !filtered || row["Status"] == "Open - Not Contacted" || row["LastName"] == "In"
                };
                let deletes = self.home.settings.deletes;
                differences(&self.org, &self.target, &Expected { object, deletes, filter: &filter })
            })
            .collect();
        if !told.is_empty() {
            let deletes = self.home.settings.deletes;
            self.fails(&format!(
                "org and target differ ({deletes:?}, filter {}):\n  {}",
                self.has_filter,
                shown(&told)
            ));
        }
    }
}

fn brief(result: &SyncResult) -> String {
    format!(
        "-> {} {:?} written {} unchanged {} deleted {} calls {} jobs {} {} {:?} {:?}",
        result.sobject,
        result.sync_method,
        result.rows_written,
        result.rows_unchanged,
        result.rows_deleted,
        result.calls,
        result.jobs,
        result.error.as_deref().unwrap_or("ok"),
        columns(result),
        result.notes
    )
}

/// What became of columns; those of a new table are not told one by one.
fn columns(result: &SyncResult) -> Vec<String> {
    let told = result.schema_changes.iter().map(|change| match change {
        SchemaChange::CreateTable { layout } => format!("table of {} columns", layout.columns.len()),
        other => format!("{other:?}"),
    });
    told.collect()
}

fn made(field: &str, kind: &str) -> Value {
    match kind {
        "double" | "percent" | "currency" => {
            json!({"name": field, "type": kind, "precision": 12, "scale": 2})
        }
        _ => json!({"name": field, "type": kind}),
    }
}

/// Types of one sort share a column.
fn sort(kind: &str) -> &'static str {
    match kind {
        "double" | "percent" | "currency" | "int" => "number",
        "date" => "date",
        "datetime" => "datetime",
        "boolean" => "boolean",
        _ => "text",
    }
}

fn value(kind: &str, dice: &mut Dice) -> Value {
    if dice.chance(15) {
        return Value::Null;
    }
    match kind {
        "double" | "percent" | "currency" => json!(dice.from(0, 9_999_999) as f64 / 100.0),
        "int" => json!(dice.from(0, 2_000_000_000)),
        "boolean" => json!(dice.chance(50)),
        "date" => {
            json!(format!("20{:02}-{:02}-{:02}", dice.from(10, 40), dice.from(1, 12), dice.from(1, 28)))
        }
        "datetime" => {
            json!(format!("2026-{:02}-{:02}T0{}:00:00Z", dice.from(1, 12), dice.from(1, 28), dice.from(0, 9)))
        }
        _ => json!(dice.pick(&["", "x", "007", "NULL", "ä,\"b\"", "two\nlines", "1e3", "nan"])),
    }
}

/// What an org may do to a sync without it being anybody's fault.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Unavailable,
        Fault::ServerError,
        Fault::Gateway,
        Fault::HtmlPage,
        Fault::BadJson,
        Fault::CutBefore,
        Fault::ConnectionReset,
        Fault::CutMidBody,
        Fault::CutAfter { bytes: 400 },
        Fault::TruncatedGzip,
        Fault::TruncatedChunked,
        Fault::TooManyRequests,
        Fault::ConcurrentLimit,
        Fault::SessionExpired,
        Fault::Latency { ms: 40 },
        Fault::LocatorRepeated,
        Fault::TruncatedCsv,
        Fault::ShortRow,
        Fault::WrongRecordCount,
        Fault::FailedWithoutMessage,
        Fault::JobFails { message: "out of luck".to_owned() },
        Fault::JobVanishes,
    ]
}
