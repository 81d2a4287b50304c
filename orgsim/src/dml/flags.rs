//! The flags of the `orgsim` binary that choose what its rows are like.

use super::options::{DataOptions, Knobs};
use clap::Args;

/// Flags for the rows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rows")]
pub struct DataFlags {
    /// Number of rows of an object; repeatable
    #[arg(long, value_name = "OBJECT=ROWS", value_parser = object_rows)]
    records: Vec<(String, u64)>,
    /// Rows in the recycle bin, in percent of the live ones
    #[arg(long, value_name = "PERCENT", default_value_t = DataOptions::default().deleted_percent)]
    deleted_percent: u64,
    /// Add `Value_Case__c`, whose rows hold every value that is hard to carry
    #[arg(long)]
    nasty_values: bool,
    /// Field the user may not see; repeatable
    #[arg(long, value_name = "OBJECT.FIELD")]
    hidden_field: Vec<String>,
    /// Percent of query pages that come with fewer rows than asked for
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    short_page_percent: u64,
    /// Percent of written records that meet UNABLE_TO_LOCK_ROW
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    lock_row_percent: u64,
    /// Rows touched between two pages of a query
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    touched_per_page: u64,
    /// Rows deleted between two pages of a query
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    deleted_per_page: u64,
    /// Rows made between two pages of a query
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    inserted_per_page: u64,
    /// Rows made between two pages with stamps some minutes old, as by long transactions
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    late_per_page: u64,
}

fn object_rows(text: &str) -> Result<(String, u64), String> {
    let (object, rows) = text.split_once('=').ok_or("write it as OBJECT=ROWS")?;
    let rows = rows.replace('_', "").parse().map_err(|_| format!("`{rows}` is not a number of rows"))?;
    Ok((object.to_owned(), rows))
}

impl DataFlags {
    /// What they choose; `seed` is the org's.
    #[must_use]
    pub fn options(self, seed: u64) -> DataOptions {
        DataOptions {
            records: self.records.into_iter().collect(),
            deleted_percent: self.deleted_percent,
            nasty_values: self.nasty_values,
            knobs: Knobs {
                hidden_fields: self.hidden_field,
                short_page_percent: self.short_page_percent,
                lock_row_percent: self.lock_row_percent,
                touched_per_page: self.touched_per_page,
                deleted_per_page: self.deleted_per_page,
                inserted_per_page: self.inserted_per_page,
                late_per_page: self.late_per_page,
                seed,
                ..Knobs::default()
            },
        }
    }
}
