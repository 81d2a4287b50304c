//! Seeds, and what becomes of them.

use rstest::rstest;

use crate::scenario::Scenario;
use crate::target::{Engine, setting};

/// Scenarios of an ordinary run on each engine.
const SEEDS: u64 = 4;

/// `200`, or `17-17`.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let Some(text) = setting("PENSTOCK_TEST_SEEDS") else { return 0..=SEEDS - 1 };
    let number = |text: &str| text.trim().parse::<u64>().expect("PENSTOCK_TEST_SEEDS: `200` or `17-17`");
    match text.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => 0..=number(&text).saturating_sub(1),
    }
}

#[rstest]
#[case::sqlite(Engine::Sqlite)]
#[case::postgresql(Engine::Postgres)]
#[case::duckdb(Engine::DuckDb)]
fn after_the_last_sync_the_target_equals_the_org_whatever_happened_before(#[case] engine: Engine) {
    let mut failed = Vec::new();
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| match Scenario::new(engine, seed) {
            Some(scenario) => {
                scenario.run();
                true
            }
            None => false,
        });
        match outcome {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} on {engine:?} failed; what each did is told above");
}
