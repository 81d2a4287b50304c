//! Seeds, and what becomes of them.

use penstock::sync::DeletePolicy;
use rstest::rstest;

use crate::bench::Bench;
use crate::compare::{Expected, differences};
use crate::lives::object;
use crate::scenario::Scenario;
use crate::target::{Engine, Target, setting};

/// Scenarios of an ordinary run on each engine.
const SEEDS: u64 = 3;

/// `200`, or `17-17`.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let Some(text) = setting("PENSTOCK_TEST_SEEDS") else { return 0..=SEEDS - 1 };
    let number = |text: &str| text.trim().parse::<u64>().expect("PENSTOCK_TEST_SEEDS: `200` or `17-17`");
    match text.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => 0..=number(&text).saturating_sub(1),
    }
}

#[test]
fn the_oracle_tells_of_one_cell_one_row_and_one_flag() {
    let bench = Bench::new(40, vec![object("Lead")]);
    bench.synced();
    bench.is_equal("Lead");
    let Target::Sqlite(file) = &bench.target else { unreachable!("it is SQLite") };
    let id = bench.org.rows("Lead").into_keys().next().unwrap();
    for (spoil, mend) in [
        (
            "UPDATE lead SET \"LastName\" = \"LastName\" || ' '",
            "UPDATE lead SET \"LastName\" = trim(\"LastName\")",
        ),
        ("UPDATE lead SET \"Id\" = '00Q000000000000AAA'", "UPDATE lead SET \"Id\" = 'ID'"),
        ("UPDATE lead SET \"IsDeleted\" = 1", "UPDATE lead SET \"IsDeleted\" = 0"),
        ("UPDATE lead SET \"SystemModstamp\" = '2020-01-01T00:00:00.000Z'", ""),
    ] {
        let own = rusqlite::Connection::open(file).unwrap();
        assert_eq!(own.execute(&format!("{spoil} WHERE \"Id\" = '{id}'"), []).unwrap(), 1);
        let expected = Expected { object: "Lead", deletes: DeletePolicy::Flag, filter: &|_| true };
        let told = differences(&bench.org, &bench.target, &expected);
        assert!((1..=2).contains(&told.len()), "{spoil}: {told:?}");
        if !mend.is_empty() {
            let is_it = format!("\"Id\" IN ('{id}', '00Q000000000000AAA')");
            own.execute(&format!("{} WHERE {is_it}", mend.replace("'ID'", &format!("'{id}'"))), []).unwrap();
            bench.is_equal("Lead");
        }
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
