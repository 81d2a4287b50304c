//! Which of the six methods brings an object over.
//!
//! Promises: the choice is a function of what is in the org and in the warehouse, and its reason is a sentence with the
//! figures that decided. The choice changes what a sync costs, never what the table holds: all six end in the same commit.

use serde::{Deserialize, Serialize};

use super::report::SyncMethod;
use super::settings::Thresholds;
use super::told::{counted, grouped};

/// Rows of a page over REST.
pub const REST_PAGE_ROWS: u64 = 2_000;
/// Rows of a page of a bulk job's results.
pub const BULK_PAGE_ROWS: u64 = 50_000;
/// Calls of a bulk job beside its pages: it is made, looked after three times, and taken away.
const BULK_JOB_CALLS: u64 = 1 + 3 + 1;
/// Looks more while the org works on so many rows.
const BULK_ROWS_PER_LOOK: u64 = 200_000;

/// How an object is brought over, and why so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The method.
    pub method: SyncMethod,
    /// Why, with the figures.
    pub reason: String,
}

/// Whether files can go through a stage of the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageOffer {
    /// It was not asked for.
    No,
    /// It was asked for and is there.
    Yes {
        /// The stage that was named; without one the warehouse takes its own.
        name: Option<String>,
    },
    /// It was asked for and cannot be had: a bulk job without a stage does as well.
    Wanted {
        /// Why not.
        but: String,
    },
}

/// Whether a bulk job can read the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkOffer {
    /// It can, as far as is known.
    Yes,
    /// The org or the columns refuse it, with the reason: REST, whatever the volume.
    Refused(String),
}

/// What a sync will take of the org. A forecast: polls of a job and small pages of the org are not known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Calls for rows; the describe is believed for a day and counted apart.
    pub calls: u64,
    /// Bulk jobs.
    pub jobs: u64,
}

/// Chooses by volume. `volume` is the number of rows that the first page promised; `is_incremental`: the table is there, and
/// the ledger knows up to where.
pub fn choose(
    volume: u64,
    is_incremental: bool,
    stage: &StageOffer,
    thresholds: &Thresholds,
    bulk: &BulkOffer,
) -> Choice {
    let rows = match is_incremental {
        true => format!("{} changed", counted(volume, "row")),
        false => format!("{} in all", counted(volume, "row")),
    };
    let bulk_from = format!("{} (`bulk_api_threshold`)", grouped(thresholds.bulk));
    if volume < thresholds.bulk {
        return Choice {
            method: method(Way::Rest, is_incremental),
            reason: format!("{rows}, fewer than {bulk_from}: pages over REST"),
        };
    }
    if let BulkOffer::Refused(why) = bulk {
        return Choice {
            method: method(Way::Rest, is_incremental),
            reason: format!("{rows}, {bulk_from} or more, but not by a bulk job: {why}; pages over REST"),
        };
    }
    let (way, stage) = by_stage(volume, stage, thresholds);
    Choice {
        method: method(way, is_incremental),
        reason: format!("{rows}, {bulk_from} or more: a bulk job, {stage}"),
    }
}

/// Of a bulk job that is at the org already: its rows are there, so that nothing else is asked.
pub fn choose_existing(
    job_id: &str,
    volume: u64,
    is_incremental: bool,
    stage: &StageOffer,
    thresholds: &Thresholds,
) -> Choice {
    let (way, stage) = by_stage(volume, stage, thresholds);
    let rows = counted(volume, "row");
    let reason =
        format!("bulk job `{job_id}` (`existing_job_id`) has {rows} already: taken as it is, {stage}");
    Choice { method: method(way, is_incremental), reason }
}

/// What a method takes for so many rows, from the first call to the last.
pub fn forecast(method: SyncMethod, rows: u64) -> Forecast {
    if !method.is_bulk() {
        return Forecast { calls: rows.div_ceil(REST_PAGE_ROWS).max(1), jobs: 0 };
    }
    let pages = rows.div_ceil(BULK_PAGE_ROWS).max(1);
    // The first page over REST was the count; where there are several pages, a call says where the others are.
    let calls = 1 + BULK_JOB_CALLS + rows / BULK_ROWS_PER_LOOK + pages + u64::from(pages > 1);
    Forecast { calls, jobs: 1 }
}

#[derive(Clone, Copy)]
enum Way {
    Rest,
    Bulk,
    Stage,
}

fn method(way: Way, is_incremental: bool) -> SyncMethod {
    match (way, is_incremental) {
        (Way::Rest, false) => SyncMethod::RegularApiFull,
        (Way::Rest, true) => SyncMethod::RegularApiIncremental,
        (Way::Bulk, false) => SyncMethod::BulkApiFull,
        (Way::Bulk, true) => SyncMethod::BulkApiIncremental,
        (Way::Stage, false) => SyncMethod::BulkApiStageFull,
        (Way::Stage, true) => SyncMethod::BulkApiStageIncremental,
    }
}

/// Whether a bulk job's pages go through files, and how that is told.
fn by_stage(volume: u64, stage: &StageOffer, thresholds: &Thresholds) -> (Way, String) {
    let from = format!("{} (`stage_threshold`)", grouped(thresholds.stage));
    match stage {
        StageOffer::No => (Way::Bulk, "without a stage, for none was asked for (`use_stage`)".to_owned()),
        StageOffer::Yes { .. } | StageOffer::Wanted { .. } if volume < thresholds.stage => {
            (Way::Bulk, format!("without a stage below {from}"))
        }
        StageOffer::Wanted { but } => (Way::Bulk, format!("without the stage that was asked for: {but}")),
        StageOffer::Yes { name: Some(name) } => {
            (Way::Stage, format!("and {from} or more: through files in stage `{name}`"))
        }
        StageOffer::Yes { name: None } => {
            (Way::Stage, format!("and {from} or more: through files in the warehouse's own stage"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::sync::SyncProfile;

    fn staged() -> StageOffer {
        StageOffer::Yes { name: Some("LANDING".to_owned()) }
    }

    /// The matrix: rows, and what each profile takes for them by stage or none; `full` and `incremental` differ in that alone.
    #[rstest]
    #[case::nothing(SyncProfile::Seed, 0, "regular_api", "regular_api")]
    #[case::below_bulk(SyncProfile::Seed, 999, "regular_api", "regular_api")]
    #[case::at_bulk(SyncProfile::Seed, 1_000, "bulk_api", "bulk_api")]
    #[case::between(SyncProfile::Seed, 9_999, "bulk_api", "bulk_api")]
    #[case::between_too(SyncProfile::Seed, 10_000, "bulk_api", "bulk_api")]
    #[case::below_stage(SyncProfile::Seed, 49_999, "bulk_api", "bulk_api")]
    #[case::at_stage(SyncProfile::Seed, 50_000, "bulk_api", "bulk_api_stage")]
    #[case::above_all(SyncProfile::Seed, 150_000_000, "bulk_api", "bulk_api_stage")]
    #[case::nothing(SyncProfile::Auto, 0, "regular_api", "regular_api")]
    #[case::as_many_as_the_seed_takes_a_job_for(SyncProfile::Auto, 999, "regular_api", "regular_api")]
    #[case::one_page_is_one_call(SyncProfile::Auto, 1_000, "regular_api", "regular_api")]
    #[case::below_bulk(SyncProfile::Auto, 9_999, "regular_api", "regular_api")]
    #[case::at_bulk(SyncProfile::Auto, 10_000, "bulk_api", "bulk_api")]
    #[case::below_stage(SyncProfile::Auto, 49_999, "bulk_api", "bulk_api")]
    #[case::at_stage(SyncProfile::Auto, 50_000, "bulk_api", "bulk_api_stage")]
    #[case::above_all(SyncProfile::Auto, 150_000_000, "bulk_api", "bulk_api_stage")]
    fn the_method_follows_from_volume_history_and_stage(
        #[case] profile: SyncProfile,
        #[case] volume: u64,
        #[case] without_stage: &str,
        #[case] with_stage: &str,
        #[values(false, true)] is_incremental: bool,
    ) {
        let ending = if is_incremental { "incremental" } else { "full" };
        let thresholds = profile.thresholds();
        let wanted = StageOffer::Wanted { but: "SQLite has no stages".to_owned() };
        for (stage, expected) in [
            (StageOffer::No, without_stage),
            (wanted, without_stage),
            (staged(), with_stage),
            (StageOffer::Yes { name: None }, with_stage),
        ] {
            let choice = choose(volume, is_incremental, &stage, &thresholds, &BulkOffer::Yes);
            assert_eq!(
                choice.method.as_str(),
                format!("{expected}_{ending}"),
                "{stage:?}: {}",
                choice.reason
            );
            assert_eq!(choice.method.is_full(), !is_incremental);
            assert!(choice.reason.contains(&grouped(volume)), "{}", choice.reason);
        }
    }

    #[test]
    fn the_reason_names_the_figures_and_the_keys_that_decided() {
        let seed = SyncProfile::Seed.thresholds();
        let told =
            |volume, stage: &StageOffer, bulk: &BulkOffer| choose(volume, true, stage, &seed, bulk).reason;
        assert_eq!(
            told(999, &StageOffer::No, &BulkOffer::Yes),
            "999 rows changed, fewer than 1,000 (`bulk_api_threshold`): pages over REST"
        );
        assert_eq!(
            told(60_000, &staged(), &BulkOffer::Yes),
            "60,000 rows changed, 1,000 (`bulk_api_threshold`) or more: a bulk job, and 50,000 (`stage_threshold`) or more: \
             through files in stage `LANDING`"
        );
        assert_eq!(
            told(60_000, &StageOffer::Wanted { but: "SQLite has no stages".to_owned() }, &BulkOffer::Yes),
            "60,000 rows changed, 1,000 (`bulk_api_threshold`) or more: a bulk job, without the stage that was asked for: \
             SQLite has no stages"
        );
        assert_eq!(
            told(60_000, &staged(), &BulkOffer::Refused("`BillingAddress` is compound".to_owned())),
            "60,000 rows changed, 1,000 (`bulk_api_threshold`) or more, but not by a bulk job: `BillingAddress` is compound; \
             pages over REST"
        );
    }

    #[rstest]
    #[case::few(10, SyncMethod::BulkApiFull)]
    #[case::many(50_000, SyncMethod::BulkApiStageFull)]
    fn a_job_that_is_there_is_taken_whatever_the_volume(#[case] volume: u64, #[case] expected: SyncMethod) {
        let thresholds = SyncProfile::Auto.thresholds();
        let choice = choose_existing("7505g00000AbCdEAAV", volume, false, &staged(), &thresholds);
        assert_eq!(choice.method, expected);
        assert!(choice.reason.contains("7505g00000AbCdEAAV"), "{}", choice.reason);
    }

    #[rstest]
    #[case(SyncMethod::RegularApiIncremental, 0, 1, 0)]
    #[case(SyncMethod::RegularApiIncremental, 50, 1, 0)]
    #[case(SyncMethod::RegularApiFull, 2_000, 1, 0)]
    #[case(SyncMethod::RegularApiFull, 2_001, 2, 0)]
    #[case(SyncMethod::RegularApiFull, 9_999, 5, 0)]
    #[case(SyncMethod::BulkApiIncremental, 20_000, 7, 1)]
    #[case(SyncMethod::BulkApiStageFull, 50_000, 7, 1)]
    #[case(SyncMethod::BulkApiStageFull, 200_000, 12, 1)]
    fn a_forecast_counts_calls_and_jobs(
        #[case] method: SyncMethod,
        #[case] rows: u64,
        #[case] calls: u64,
        #[case] jobs: u64,
    ) {
        assert_eq!(forecast(method, rows), Forecast { calls, jobs });
    }

    #[test]
    fn from_the_default_threshold_on_a_job_costs_hardly_more_than_pages_and_soon_less() {
        let bulk = SyncProfile::Auto.thresholds().bulk;
        let calls = |method, rows| forecast(method, rows).calls;
        assert!(calls(SyncMethod::BulkApiFull, bulk) <= calls(SyncMethod::RegularApiFull, bulk) + 2);
        for rows in [14_001, 20_000, 200_000, 2_000_000] {
            assert!(calls(SyncMethod::BulkApiFull, rows) < calls(SyncMethod::RegularApiFull, rows), "{rows}");
        }
    }

    proptest! {
        #[test]
        fn more_rows_never_lead_back_to_a_smaller_way(
            rows in 0u64..200_000, more in 0u64..200_000, bulk in 0u64..100_000, stage in 0u64..100_000, is_incremental: bool,
        ) {
            let thresholds = Thresholds { bulk, stage };
            let rank = |volume| {
                let method = choose(volume, is_incremental, &staged(), &thresholds, &BulkOffer::Yes).method;
                u8::from(method.is_bulk()) + u8::from(method.is_staged())
            };
            prop_assert!(rank(rows) <= rank(rows + more));
        }
    }
}
