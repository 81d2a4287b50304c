//! What a sync of one object would do, without doing it.
//!
//! Promises: told from the same decisions that the sync itself takes, in the same words; what is a forecast is called one.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::evolve::Backfill;
use super::load::{DeletePolicy, LoadMode};
use super::method::{Choice, Forecast};
use super::settings::Thresholds;
use super::table::{ColumnType, SchemaChange};
use super::told::{counted, grouped};
use super::window::Window;
use crate::model::ObjectName;

/// What a sync would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The object.
    pub object: ObjectName,
    /// The table, as configured.
    pub table: String,
    /// The warehouse's name.
    pub warehouse: String,
    /// The method, and why.
    #[serde(flatten)]
    pub choice: Choice,
    /// Rows that the org has for it.
    pub volume: u64,
    /// What it will take of the org, as far as that can be known before.
    pub forecast: Forecast,
    /// Calls that this explanation itself took.
    pub calls_made: u64,
    /// Where the thresholds come from.
    pub thresholds: ThresholdsUsed,
    /// Where the target stands.
    pub watermark: Option<Timestamp>,
    /// What is read by time; `None`: the object has no stamp, and every row is read.
    pub window: Option<Window>,
    /// The person's condition, as it is sent.
    pub filter: Option<String>,
    /// What the load does in the target.
    pub mode: LoadMode,
    /// What becomes of deleted rows.
    pub deletes: DeletePolicy,
    /// The field that identifies a row.
    pub match_field: String,
    /// Fields that are read.
    pub fields: usize,
    /// Fields that are left out, with the reason.
    pub skipped_fields: Vec<(String, String)>,
    /// Steps of the table's columns.
    pub schema_changes: Vec<SchemaChange>,
    /// How new columns get their values.
    pub backfill: Backfill,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// The thresholds that hold, and who set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThresholdsUsed {
    /// From here on a bulk job.
    pub bulk: u64,
    /// From here on through files of a stage.
    pub stage: u64,
    /// `profile auto`, `bulk_api_threshold`, and so on.
    pub origin: String,
}

impl ThresholdsUsed {
    /// As configured.
    pub fn new(thresholds: Thresholds, origin: impl Into<String>) -> Self {
        Self { bulk: thresholds.bulk, stage: thresholds.stage, origin: origin.into() }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: &dyn fmt::Display| writeln!(f, "  {name:<11} {text}");
        line("method", &self.choice.method)?;
        line("reason", &self.choice.reason)?;
        let jobs = counted(self.forecast.jobs, "bulk job");
        line(
            "forecast",
            &format!("{}, {jobs}; this look took {}", counted(self.forecast.calls, "call"), self.calls_made),
        )?;
        let ThresholdsUsed { bulk, stage, origin } = &self.thresholds;
        line("thresholds", &format!("{} bulk, {} stage ({origin})", grouped(*bulk), grouped(*stage)))?;
        line("window", &self.window_in_words())?;
        if let Some(filter) = &self.filter {
            line("filter", filter)?;
        }
        line("rows", &self.rows_in_words())?;
        line("fields", &format!("{} read, {} left out", self.fields, self.skipped_fields.len()))?;
        for (field, why) in &self.skipped_fields {
            line("", &format!("`{field}`: {why}"))?;
        }
        match self.schema_changes.as_slice() {
            [] => line("schema", &"as it is")?,
            changes => {
                for (at, change) in changes.iter().enumerate() {
                    line(if at == 0 { "schema" } else { "" }, &change_in_words(change))?;
                }
            }
        }
        match &self.backfill {
            Backfill::None => {}
            Backfill::Full { reason } | Backfill::Refresh { reason, .. } => line("backfill", reason)?,
        }
        for note in &self.notes {
            line("note", note)?;
        }
        Ok(())
    }
}

impl Explanation {
    fn window_in_words(&self) -> String {
        let Some(window) = &self.window else { return "every row: the object has no stamp".to_owned() };
        let blind = window.cursor.blind_to().map(|what| format!(", which misses {what}")).unwrap_or_default();
        match window.condition() {
            Some(condition) => format!("{condition}{blind}"),
            None => format!("every row; later ones by {}{blind}", window.cursor.as_str()),
        }
    }

    fn rows_in_words(&self) -> String {
        let by = format!("by `{}`", self.match_field);
        let what = match self.mode {
            LoadMode::Replace => format!("put in the place of what the table has, {by}"),
            LoadMode::Upsert => format!("merged {by}"),
            LoadMode::Refresh => format!("refreshed {by}"),
            LoadMode::DeleteKeys | LoadMode::KeepKeys => format!("deleted {by}"),
        };
        let deleted = match self.deletes {
            DeletePolicy::Flag => "deleted ones stay and are flagged",
            DeletePolicy::Remove => "deleted ones leave the table",
        };
        format!(
            "{} into `{}` of `{}`, {what}; {deleted}",
            counted(self.volume, "row"),
            self.table,
            self.warehouse
        )
    }
}

/// A step of a table's columns, for people.
pub fn change_in_words(change: &SchemaChange) -> String {
    match change {
        SchemaChange::CreateTable { layout } => {
            format!("the table is made, with {}", counted(layout.columns.len() as u64, "column"))
        }
        SchemaChange::AddColumn { column, beside: None } => {
            format!("`{}` is added: {}", column.name, type_in_words(column.kind))
        }
        SchemaChange::AddColumn { column, beside: Some(before) } => {
            format!("`{}` is added beside `{before}`: {}", column.name, type_in_words(column.kind))
        }
        SchemaChange::Widen { name, from, to } => {
            format!("`{name}` is widened: {} to {}", type_in_words(*from), type_in_words(*to))
        }
        SchemaChange::Retire { name } => format!("`{name}` stays, and its values stop changing"),
        SchemaChange::Revive { name } => format!("`{name}` is in use again"),
    }
}

fn type_in_words(kind: ColumnType) -> String {
    match kind {
        ColumnType::Id => "id".to_owned(),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Int => "whole number".to_owned(),
        ColumnType::Decimal { precision, scale } => {
            format!("number of {precision} digits, {scale} behind the point")
        }
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time of day".to_owned(),
        ColumnType::DateTime => "date with time".to_owned(),
        ColumnType::Json => "JSON".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::SyncProfile;
    use crate::sync::load::Watermark;
    use crate::sync::method::{BulkOffer, StageOffer, choose, forecast};
    use crate::sync::table::TableColumn;
    use crate::sync::window::{CursorField, window};

    fn explanation() -> Explanation {
        let thresholds = SyncProfile::Seed.thresholds();
        let choice = choose(60_000, true, &StageOffer::No, &thresholds, &BulkOffer::Yes);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let watermark = at("2026-11-23T09:00:00Z");
        Explanation {
            object: "Lead".parse().unwrap(),
            table: "crm.lead".to_owned(),
            warehouse: "lake".to_owned(),
            forecast: forecast(choice.method, 60_000),
            choice,
            volume: 60_000,
            calls_made: 2,
            thresholds: ThresholdsUsed::new(thresholds, "profile `seed`"),
            watermark: Some(watermark),
            window: Some(window(
                CursorField::SystemModstamp,
                Some(Watermark { at: watermark }),
                at("2026-11-23T10:00:00Z"),
                std::time::Duration::from_secs(300),
            )),
            filter: Some("(Country = 'US')".to_owned()),
            mode: LoadMode::Upsert,
            deletes: DeletePolicy::Flag,
            match_field: "Id".to_owned(),
            fields: 30,
            skipped_fields: vec![("Address".to_owned(), "compound".to_owned())],
            schema_changes: vec![
                SchemaChange::AddColumn {
                    column: TableColumn {
                        field: "A__c".into(),
                        name: "A__c__v2".into(),
                        kind: ColumnType::Text,
                    },
                    beside: Some("A__c".to_owned()),
                },
                SchemaChange::Retire { name: "B__c".to_owned() },
            ],
            backfill: Backfill::Refresh {
                fields: vec!["A__c".to_owned()],
                reason: "1 new column to fill".to_owned(),
            },
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn a_person_reads_choice_reason_and_forecast() {
        let expected = "
  method      bulk_api_incremental
  reason      60,000 rows changed, 1,000 (`bulk_api_threshold`) or more: a bulk job, without a stage, for none was asked for (`use_stage`)
  forecast    9 calls, 1 bulk job; this look took 2
  thresholds  1,000 bulk, 50,000 stage (profile `seed`)
  window      SystemModstamp >= 2026-11-23T08:55:00.000Z AND SystemModstamp < 2026-11-23T10:00:00.000Z
  filter      (Country = 'US')
  rows        60,000 rows into `crm.lead` of `lake`, merged by `Id`; deleted ones stay and are flagged
  fields      30 read, 1 left out
              `Address`: compound
  schema      `A__c__v2` is added beside `A__c`: text
              `B__c` stays, and its values stop changing
  backfill    1 new column to fill
  note        a note
";
        assert_eq!(format!("\n{}", explanation()), expected);
    }

    #[test]
    fn a_program_reads_the_same() {
        let told = serde_json::to_value(explanation()).unwrap();
        assert_eq!(told["method"], "bulk_api_incremental");
        assert_eq!(told["forecast"]["calls"], 9);
        assert_eq!(told["window"]["cursor"], "SystemModstamp");
        assert_eq!(told["schema_changes"][1]["change"], "retire");
        assert_eq!(told["backfill"]["backfill"], "refresh");
    }

    #[test]
    fn what_a_cursor_cannot_see_is_told() {
        let mut explanation = explanation();
        let all = window(CursorField::CreatedDate, None, Timestamp::UNIX_EPOCH, std::time::Duration::ZERO);
        explanation.window = Some(all);
        assert!(
            explanation
                .to_string()
                .contains("every row; later ones by CreatedDate, which misses changes of rows")
        );
        explanation.window = None;
        assert!(explanation.to_string().contains("every row: the object has no stamp"));
    }
}
