//! Promises about what is staged.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use std::sync::Arc;

use super::Ground;
use super::bench::{Bench, chunk, counts, mark, row};
use crate::sync::{LoadMode, LoadState, PartNumber, PartReceipt, StagedCount, Watermark};
use crate::warehouse::{Cell, PartSource, RowChunk, WarehouseError};

fn staged(parts: &[(u32, u64)]) -> LoadState {
    let parts = parts.iter().map(|&(part, rows)| PartReceipt { part: PartNumber(part), rows }).collect();
    LoadState::Staged { parts }
}

pub fn a_part_staged_twice_counts_once(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "staged_twice");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "wrong", 0), row("b", "wrong", 0), row("x", "wrong", 0)]);
    bench.stage(&plan, 1, &[row("c", "Cid", 0)]);
    bench.stage(&plan, 0, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 2), (1, 1)]));
    assert_eq!(counts(&bench.commit(&plan, 3)), [3, 0, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
}

pub fn parts_come_in_any_order(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "any_order");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 2_001, &[row("c", "Cid", 0)]);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.stage(&plan, 1_000, &[row("b", "Bob", 0)]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 1), (1_000, 1), (2_001, 1)]));
    assert_eq!(counts(&bench.commit(&plan, 3)), [3, 0, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
}

pub fn a_load_without_rows_moves_the_watermark(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "no_rows");
    let plan = bench.plan(LoadMode::Upsert);
    let receipt = bench.commit(&plan, 0);
    assert_eq!(counts(&receipt), [0; 4]);
    assert_eq!(receipt.watermark, Some(Watermark { at: mark(1) }));
    assert_eq!(bench.warehouse.watermark(&plan.org, &plan.object, &plan.table).unwrap(), receipt.watermark);
}

pub fn missing_parts_are_not_committed(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "missing_parts");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.stage_keys(&plan, 1_000_000_000, &["a", "b"]);
    for (rows, keys, of) in [(0, 2, "rows"), (2, 2, "rows"), (3, 2, "rows"), (1, 0, "keys"), (1, 3, "keys")] {
        let told = bench.warehouse.commit(&plan, StagedCount { rows, keys });
        assert!(
            matches!(told, Err(WarehouseError::OtherCount { what, .. }) if what == of),
            "{told:?} for {rows} rows and {keys} keys"
        );
    }
    assert_eq!(bench.names(), [""; 0]);
    assert_eq!(bench.warehouse.watermark(&plan.org, &plan.object, &plan.table).unwrap(), None);
    bench.stage(&plan, 1, &[row("b", "Bob", 0)]);
    bench.commit(&plan, 2);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}

pub fn a_null_key_is_refused(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "null_key");
    let plan = bench.plan(LoadMode::Upsert);
    let mut nobody = row("a", "Ada", 0);
    nobody[0] = Cell::Null;
    let source = PartSource::Rows(Arc::new(chunk(4, &[row("b", "Bob", 0), nobody])));
    let told = bench.warehouse.stage(&plan, PartNumber(0), &source).map(|_| ());
    let told = told.and_then(|()| bench.warehouse.commit(&plan, StagedCount::of_rows(2)).map(|_| ()));
    assert!(matches!(&told, Err(WarehouseError::BadValue { column, .. }) if column == "Id"), "{told:?}");
    assert_eq!(bench.names(), [""; 0]);

    let plan = bench.plan(LoadMode::DeleteKeys);
    let mut nobody = RowChunk::new(1);
    nobody.push([Cell::Null]);
    let told = bench.warehouse.stage(&plan, PartNumber(0), &PartSource::Keys(Arc::new(nobody))).map(|_| ());
    let told = told.and_then(|()| bench.warehouse.commit(&plan, StagedCount::of_rows(0)).map(|_| ()));
    assert!(matches!(&told, Err(WarehouseError::BadValue { .. })), "{told:?}");
    bench.load(LoadMode::Upsert, &[row("c", "Cid", 0)]);
    assert_eq!(bench.names(), ["c=Cid"]);
}

pub fn the_state_tells_what_is_staged(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "states");
    let plan = bench.plan(LoadMode::Upsert);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Unknown);
    bench.stage_keys(&plan, 1_000_000_000, &["a", "b", "c"]);
    bench.stage(&plan, 7, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let state = staged(&[(7, 2), (1_000_000_000, 3)]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), state);
    let receipt = bench.commit(&plan, 2);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Committed(receipt));
}

pub fn an_abandoned_load_is_unknown(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "abandoned");
    let plan = bench.plan(LoadMode::Upsert);
    bench.warehouse.abandon(&plan).unwrap();
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.warehouse.abandon(&plan).unwrap();
    bench.warehouse.abandon(&plan).unwrap();
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Unknown);
    assert_eq!(bench.names(), [""; 0]);
    bench.stage(&plan, 1, &[row("b", "Bob", 0)]);
    bench.commit(&plan, 1);
    assert_eq!(bench.names(), ["b=Bob"]);
}

pub fn loads_side_by_side_do_not_meet(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "side_by_side");
    let (first, second) = (bench.plan(LoadMode::Upsert), bench.plan(LoadMode::Upsert));
    bench.stage(&first, 0, &[row("a", "Ada", 0)]);
    bench.stage(&second, 0, &[row("b", "Bob", 0)]);
    bench.stage(&second, 1, &[row("c", "Cid", 0)]);
    bench.commit(&second, 2);
    assert_eq!(bench.names(), ["b=Bob", "c=Cid"]);
    assert_eq!(bench.warehouse.load_state(&first).unwrap(), staged(&[(0, 1)]));
    bench.warehouse.abandon(&second).unwrap();
    bench.commit(&first, 1);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
}

pub fn another_connection_goes_on(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "goes_on");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.warehouse = bench.another();
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 1)]));
    bench.stage(&plan, 1, &[row("b", "Bob", 0)]);
    let receipt = bench.commit(&plan, 2);
    bench.warehouse = bench.another();
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Committed(receipt));
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}

pub fn an_empty_part_is_a_part(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "empty_part");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 0)]));
    assert_eq!(counts(&bench.commit(&plan, 0)), [0; 4]);
}
