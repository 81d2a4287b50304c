//! What can be chosen about Bulk jobs, and the flags that choose it.

use clap::Args;

/// How jobs behave; the default is an org in which every job is done at once.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// So many status requests for a job answer "in progress" before it is complete.
    pub polls_until_done: u32,
    /// A job takes at least so many milliseconds of the virtual clock.
    pub millis_until_done: i64,
    /// Rows of a result page when the client does not say, and at most.
    pub page_rows: u64,
    /// Query jobs allowed in 24 hours.
    pub query_jobs_a_day: u64,
    /// The org has Bulk API 1.0; without it the answer is `FeatureNotEnabled`.
    pub classic: bool,
    /// Largest upload of an ingest job, in bytes.
    pub upload_bytes: usize,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self {
            polls_until_done: 0,
            millis_until_done: 0,
            page_rows: 250_000,
            query_jobs_a_day: 10_000,
            classic: true,
            upload_bytes: 100_000_000,
        }
    }
}

/// Flags of a binary that stand for [`BulkOptions`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Bulk jobs")]
pub struct BulkFlags {
    /// Status requests that say a Bulk job is in progress before it is complete
    #[arg(long, value_name = "REQUESTS", default_value_t = 0)]
    bulk_polls: u32,
    /// Milliseconds a Bulk job takes at least
    #[arg(long, value_name = "MS", default_value_t = 0)]
    bulk_ms: u32,
    /// Rows of a page of Bulk results when the client does not say, and at most
    #[arg(long, value_name = "ROWS", default_value_t = 250_000, value_parser = clap::value_parser!(u64).range(1..))]
    bulk_page_rows: u64,
    /// An org without Bulk API 1.0, which answers FeatureNotEnabled
    #[arg(long)]
    no_bulk_1: bool,
}

impl BulkFlags {
    /// The options these flags stand for.
    pub fn options(&self) -> BulkOptions {
        BulkOptions {
            polls_until_done: self.bulk_polls,
            millis_until_done: i64::from(self.bulk_ms),
            page_rows: self.bulk_page_rows,
            classic: !self.no_bulk_1,
            ..BulkOptions::default()
        }
    }
}
