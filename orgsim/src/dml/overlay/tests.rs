//! The overlay against the plainest model there is: a list of fates.

use super::*;
use crate::{catalog, dml::DataOptions, rows::SeededRows};
use proptest::prelude::*;
use std::{collections::HashMap as Map, sync::LazyLock};

const LIVE: u64 = 2_000;
const BINNED: u64 = 200;
const NOON: i64 = 1_795_348_800_000;

static ORG: LazyLock<OrgModel> = LazyLock::new(|| {
    let records = Map::from([("Lead".to_owned(), LIVE)]);
    catalog::build_for(7, &[], &DataOptions { records, ..DataOptions::default() }).unwrap()
});

fn rows() -> (Rows, usize) {
    let rows = Rows::new(Box::new(SeededRows::new(7, &ORG).with_deleted(10)), &ORG);
    rows.open_at(NOON);
    (rows, ORG.by_name["lead"])
}

#[derive(Debug, Clone)]
enum Step {
    Append,
    /// Of a row picked by the number.
    Set(u64, Fate),
    Purge(i64),
    /// What the inner steps did is undone.
    RolledBack(Vec<Step>),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Live),
        (-16..2_i64).prop_map(|days| Fate::Deleted { at_ms: NOON + days * DAY_MS }),
        Just(Fate::Gone)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let plain = prop_oneof![
        Just(Step::Append),
        (any::<u64>(), fate()).prop_map(|(row, fate)| Step::Set(row, fate)),
        // The edges of the pieces are where mistakes live.
        (prop::sample::select(vec![0, LIVE - 1, LIVE, LIVE + BINNED - 1]), fate())
            .prop_map(|(row, fate)| Step::Set(row, fate)),
    ];
    let rolled_back = prop::collection::vec(plain.clone(), 1..4).prop_map(Step::RolledBack);
    prop_oneof![8 => plain, 1 => (0..20_i64).prop_map(|days| Step::Purge(NOON + days * DAY_MS)), 2 => rolled_back]
}

fn take(rows: &Rows, at: usize, model: &mut Vec<Fate>, step: &Step) {
    let object = &ORG.objects[at];
    match step {
        Step::Append => {
            let (row, id) = rows.append(at, object).unwrap();
            rows.put(at, row, Some(WrittenRow { values: BTreeMap::new(), fate: Fate::Live }));
            assert_eq!((row, rows.index_of(at, object, &id)), (model.len() as u64, Some(row)));
            model.push(Fate::Live);
        }
        Step::Set(pick, fate) => {
            let row = pick % model.len() as u64;
            // What is gone stays gone: no caller brings it back.
            if model[row as usize] != Fate::Gone {
                let mut written = rows.written(at, row);
                written.fate = *fate;
                rows.put(at, row, Some(written));
                model[row as usize] = *fate;
            }
        }
        Step::Purge(now_ms) => {
            let before = rows.purged_before_ms.load(Ordering::Relaxed);
            rows.purge(*now_ms);
            let line = rows.purged_before_ms.load(Ordering::Relaxed);
            for fate in model.iter_mut().filter(|_| line > before) {
                if matches!(fate, Fate::Deleted { at_ms } if *at_ms < line) {
                    *fate = Fate::Gone;
                }
            }
        }
        Step::RolledBack(steps) => {
            let before = model.clone();
            let savepoint = rows.begin(true);
            steps.iter().for_each(|step| take(rows, at, model, step));
            rows.finish(savepoint, false);
            let appended = model.len() - before.len();
            // The index of a row never committed is not given out again.
            *model = [before, vec![Fate::Gone; appended]].concat();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scans_counts_and_fates_agree_with_a_plain_list(steps in prop::collection::vec(step(), 0..24)) {
        let (rows, at) = rows();
        let mut model = vec![Fate::Live; LIVE as usize];
        model.extend((LIVE..LIVE + BINNED).map(|row| rows.fate(at, row).unwrap()));
        for step in &steps {
            take(&rows, at, &mut model, step);
            let live: Vec<u64> = (0..).zip(&model).filter(|(_, fate)| **fate == Fate::Live).map(|(row, _)| row).collect();
            let all: Vec<u64> = (0..).zip(&model).filter(|(_, fate)| **fate != Fate::Gone).map(|(row, _)| row).collect();
            let (seen, seen_all) = (rows.spans(at, Scope::Live), rows.spans(at, Scope::All));
            prop_assert_eq!(seen.iter().collect::<Vec<_>>(), live.clone(), "{:?}", step);
            prop_assert_eq!(seen_all.iter().collect::<Vec<_>>(), all, "{:?}", step);
            prop_assert_eq!(rows.count(at), live.len() as u64);
            prop_assert!((0..seen.len()).step_by(97).all(|place| seen.at(place) == live[place as usize]));
            prop_assert_eq!(rows.fate(at, model.len() as u64), None);
        }
    }

    #[test]
    fn a_slice_is_those_places(cuts in prop::collection::btree_set(0..60_u64, 0..12), from in 0..60_u64, length in 0..60_u64) {
        let mut spans = Spans::default();
        let edges: Vec<u64> = cuts.into_iter().collect();
        edges.chunks_exact(2).for_each(|pair| spans.push(pair[0], pair[1]));
        let whole: Vec<u64> = spans.iter().collect();
        let (from, to) = (from.min(spans.len()), (from + length).min(spans.len()));
        let slice = spans.slice(from, to);
        prop_assert_eq!(slice.iter().collect::<Vec<_>>(), &whole[from as usize..to.max(from) as usize]);
    }
}

#[test]
fn reading_an_untouched_object_costs_no_memory_and_writing_costs_what_is_written() {
    let (rows, at) = rows();
    assert!(!rows.is_touched(at));
    let mut written = rows.written(at, 5);
    written.values.insert(1, Value::Text("x".into()));
    rows.put(at, 5, Some(written));
    assert_eq!(rows.objects[at].read().rows.len(), 1);
    assert_eq!(rows.value(at, &ORG.objects[at], 5, 1), Value::Text("x".into()));
}
