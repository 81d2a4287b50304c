//! Loads by chance, and a table in memory that does what is promised, in the plainest way.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use std::collections::{BTreeMap, BTreeSet};

use super::Ground;
use super::bench::{Bench, gone, row};
use crate::sync::{CommitReceipt, DeletePolicy, LoadMode, LoadPlan, SPARED_FROM};

const LOADS: usize = 30;
const IDS: [&str; 8] = ["a", "B", "b", "c", "d", "e", "f", "g"];
const NAMES: [&str; 3] = ["Ada", "Bob", "ada"];

/// What was staged of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    name: &'static str,
    stamp: i64,
    is_gone: bool,
}

/// Numbers by chance, the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The table, and what a load does to it.
#[derive(Debug, Default)]
struct Model(BTreeMap<&'static str, Row>);

impl Model {
    fn load(
        &mut self,
        plan: &LoadPlan,
        parts: &[Vec<(&'static str, Row)>],
        keys: &BTreeSet<&'static str>,
        spared: &BTreeSet<&'static str>,
    ) -> CommitReceipt {
        let (mode, deletes) = (plan.mode, plan.deletes);
        let mut receipt = CommitReceipt::default();
        let mut winners: BTreeMap<&str, Row> = BTreeMap::new();
        for (id, row) in parts.iter().flatten() {
            let wins = winners.get(id).is_none_or(|other| row.stamp >= other.stamp);
            if wins {
                winners.insert(id, *row);
            }
        }
        for (id, new) in &winners {
            let old = self.0.get(id).copied();
            let removes = new.is_gone && deletes == DeletePolicy::Remove;
            match old {
                None if removes => {}
                None => receipt.inserted += 1,
                Some(old) if old.stamp > new.stamp && mode != LoadMode::Replace => {
                    receipt.unchanged += 1;
                    continue;
                }
                Some(_) if removes => receipt.deleted += 1,
                Some(old) if old == *new => receipt.unchanged += 1,
                Some(old) if new.is_gone && !old.is_gone => receipt.deleted += 1,
                Some(_) => receipt.updated += 1,
            }
            if removes {
                self.0.remove(id);
            } else {
                self.0.insert(id, *new);
            }
        }
        let staged = |id: &str| keys.contains(id) || winners.contains_key(id);
        let those: Vec<&str> = match mode {
            LoadMode::Upsert => {
                keys.difference(spared).copied().filter(|id| !winners.contains_key(id)).collect()
            }
            LoadMode::Replace => {
                let is_absent = |id: &&str| !winners.contains_key(id) && !spared.contains(id);
                self.0.keys().copied().filter(is_absent).collect()
            }
            LoadMode::DeleteKeys => keys.iter().copied().collect(),
            LoadMode::KeepKeys => {
                // Rows of a filter leave, but for those that the policy keeps though they are deleted.
                let stays = |row: &Row| plan.is_filtered && row.is_gone && deletes == DeletePolicy::Flag;
                let absent = self.0.iter().filter(|(id, row)| !staged(id) && !stays(row));
                absent.map(|(id, _)| *id).collect()
            }
            LoadMode::Refresh => Vec::new(),
        };
        let flags = deletes == DeletePolicy::Flag
            && match mode {
                LoadMode::Replace | LoadMode::KeepKeys => !plan.is_filtered,
                mode => mode != LoadMode::Upsert,
            };
        for id in those {
            let is_deleted = match self.0.get_mut(id) {
                Some(row) if flags => !std::mem::replace(&mut row.is_gone, true),
                Some(_) => self.0.remove(id).is_some(),
                None => false,
            };
            receipt.deleted += u64::from(is_deleted);
        }
        receipt
    }

    fn names(&self) -> Vec<String> {
        let flag = |row: &Row| if row.is_gone { "!" } else { "" };
        self.0.iter().map(|(id, row)| format!("{id}={}{}", row.name, flag(row))).collect()
    }
}

fn some_rows(chance: &mut Chance) -> Vec<(&'static str, Row)> {
    let row = |chance: &mut Chance| Row {
        name: chance.one_of(&NAMES),
        stamp: chance.below(6) as i64,
        is_gone: chance.below(4) == 0,
    };
    (0..chance.below(6)).map(|_| (chance.one_of(&IDS), row(chance))).collect()
}

/// Some loads, each checked against the model.
pub fn loads_by_chance(ground: &mut dyn Ground, table: &str, deletes: DeletePolicy, seed: u64) {
    let (mut chance, mut model) = (Chance(seed), Model::default());
    let mut bench = Bench::new(ground, table);
    bench.deletes = deletes;
    for number in 0..LOADS {
        let mode = match chance.below(8) {
            0 => LoadMode::Replace,
            1 => LoadMode::DeleteKeys,
            2 => LoadMode::KeepKeys,
            _ => LoadMode::Upsert,
        };
        let with_rows = matches!(mode, LoadMode::Upsert | LoadMode::Replace);
        let parts: Vec<_> = (0..if with_rows { 3 } else { 0 }).map(|_| some_rows(&mut chance)).collect();
        let with_keys = !with_rows || (mode == LoadMode::Upsert && chance.below(2) == 0);
        let many = if mode == LoadMode::KeepKeys { 12 } else { 4 };
        let keys: BTreeSet<&str> =
            (0..if with_keys { many } else { 0 }).map(|_| chance.one_of(&IDS)).collect();

        bench.is_filtered = chance.below(2) == 0;
        let plan = bench.plan(mode);
        let spared: BTreeSet<&str> =
            (0..if with_rows { chance.below(3) } else { 0 }).map(|_| chance.one_of(&IDS)).collect();
        if !spared.is_empty() {
            bench.stage_keys(&plan, SPARED_FROM, &spared.iter().copied().collect::<Vec<_>>());
        }
        if with_keys {
            bench.stage_keys(&plan, 1_000_000_000, &keys.iter().copied().collect::<Vec<_>>());
        }
        for (part, rows) in parts.iter().enumerate().rev() {
            let cells: Vec<_> = rows
                .iter()
                .map(|(id, told)| if told.is_gone { gone } else { row }(id, told.name, told.stamp))
                .collect();
            bench.stage(&plan, part as u32, &cells);
        }
        let told = bench.commit(&plan, parts.iter().map(Vec::len).sum());
        let expected = model.load(&plan, &parts, &keys, &spared);

        let what = format!("load {number} of seed {seed}, {mode:?}: {parts:?}, {keys:?}, spared {spared:?}");
        let count = |receipt: &CommitReceipt| (receipt.inserted, receipt.updated, receipt.deleted);
        assert_eq!(count(&told), count(&expected), "inserted, updated, deleted by {what}");
        if with_rows && deletes == DeletePolicy::Flag {
            assert_eq!(told.unchanged, expected.unchanged, "unchanged by {what}");
        }
        let mut names = bench.names();
        // An engine may have an order of its own for capitals.
        names.sort();
        assert_eq!(names, model.names(), "after {what}");
    }
}

pub fn loads_by_chance_flag_what_is_deleted(ground: &mut dyn Ground) {
    loads_by_chance(ground, "chance_flag", DeletePolicy::Flag, 1);
}

pub fn loads_by_chance_remove_what_is_deleted(ground: &mut dyn Ground) {
    loads_by_chance(ground, "chance_remove", DeletePolicy::Remove, 2);
}
