//! Promises about what a commit makes of a table.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use super::Ground;
use super::bench::{Bench, Kept, at, chunk, column, counts, gone, row, small_layout};
use crate::sync::{
    ColumnType, DeletePolicy, KEYS_FROM, LoadMode, PartNumber, SPARED_FROM, StagedCount, TableLayout,
};
use crate::warehouse::{Cell, PartSource};

pub fn rows_are_counted_by_what_became_of_them(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "counted");
    let rows = [row("a", "Ada", 5), row("b", "Bob", 5), row("c", "Cid", 5), row("d", "Dan", 5)];
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &rows)), [4, 0, 0, 0]);
    let rows = [
        row("a", "Ada", 5),
        row("b", "Bea", 6),
        row("c", "Cyd", 4),
        gone("d", "Dan", 6),
        row("e", "Eve", 6),
        gone("f", "Fay", 6),
    ];
    // `a` is the same, `b` other, `c` older, `d` deleted, `e` new, `f` new and deleted.
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &rows)), [2, 1, 2, 1]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bea", "c=Cid", "d=Dan!", "e=Eve", "f=Fay!"]);
}

pub fn an_older_row_loses(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "older");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 1_000)]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 999)])), [0, 0, 1, 0]);
    assert_eq!(bench.read(&["Name", "SystemModstamp"]), [["Ada", "2026-01-01T00:00:01.000Z"]]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 1_001)])), [0, 1, 0, 0]);
    assert_eq!(bench.read(&["Name", "SystemModstamp"]), [["Eve", "2026-01-01T00:00:01.001Z"]]);
}

pub fn the_same_stamp_with_other_content_wins(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "same_stamp");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 0)])), [0, 1, 0, 0]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 0)])), [0, 0, 1, 0]);
    let mut empty = row("a", "", 0);
    empty[1] = Cell::Null;
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[empty.clone()])), [0, 1, 0, 0]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[empty])), [0, 0, 1, 0]);
    assert_eq!(bench.names(), ["a=-"]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)])), [0, 1, 0, 0]);
}

pub fn a_target_without_a_stamp_takes_any(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "null_stamp");
    let mut timeless = row("a", "Ada", 0);
    timeless[2] = Cell::Null;
    bench.load(LoadMode::Upsert, &[timeless]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 0)])), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Eve"]);
}

pub fn without_a_stamp_the_last_row_wins(ground: &mut dyn Ground) {
    let layout = TableLayout { stamp: None, ..small_layout() };
    let mut bench = Bench::with(ground, "stampless", layout);
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 9)]);
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 1, &[row("a", "Eve", 1), row("a", "Eva", 0)]);
    bench.stage(&plan, 0, &[row("a", "Ann", 8)]);
    assert_eq!(counts(&bench.commit(&plan, 3)), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Eva"]);
}

/// Duplicates within a part and across parts; who wins is `W`.
fn stage_duplicates(bench: &mut Bench<'_>) -> crate::sync::LoadPlan {
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(
        &plan,
        3,
        &[
            row("later_row", "lost", 5),
            row("later_row", "W", 5),
            row("newest", "lost", 6),
            row("part", "W", 5),
        ],
    );
    bench.stage(
        &plan,
        2,
        &[row("newest", "W", 7), row("newest", "lost", 5), row("part", "lost", 5), row("alone", "W", 5)],
    );
    plan
}

pub fn of_duplicates_the_newest_wins(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "duplicates");
    let plan = stage_duplicates(&mut bench);
    assert_eq!(counts(&bench.commit(&plan, 8)), [4, 0, 0, 0]);
    assert_eq!(bench.names(), ["alone=W", "later_row=W", "newest=W", "part=W"]);
}

pub fn the_newest_of_duplicates_wins_over_a_row_that_is_there(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "duplicates_over");
    let there = ["newest", "part", "later_row", "alone"].map(|id| row(id, "old", 1));
    bench.load(LoadMode::Upsert, &there);
    let plan = stage_duplicates(&mut bench);
    assert_eq!(counts(&bench.commit(&plan, 8)), [0, 4, 0, 0]);
    assert_eq!(bench.names(), ["alone=W", "later_row=W", "newest=W", "part=W"]);
    assert_eq!(bench.read(&["SystemModstamp"])[2], [super::bench::told(at(7))]);
}

pub fn duplicates_count_as_one_key(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "one_key");
    bench.load(LoadMode::Upsert, &[row("newest", "W", 7), row("part", "old", 5), row("alone", "newer", 9)]);
    let plan = stage_duplicates(&mut bench);
    // The loser of `newest` may not be written first and be counted as an update.
    assert_eq!(counts(&bench.commit(&plan, 8)), [1, 1, 2, 0]);
    assert_eq!(bench.names(), ["alone=newer", "later_row=W", "newest=W", "part=W"]);
}

pub fn replace_deletes_what_is_not_staged(ground: &mut dyn Ground) {
    let policies = [
        // Who flags deleted rows keeps them for good; rows that left a filter are none of those.
        ("replaced_flag", DeletePolicy::Flag, false, vec!["a=Ada", "b=Bea", "c=Cid!", "d=Dan"]),
        ("replaced_filter", DeletePolicy::Flag, true, vec!["a=Ada", "b=Bea", "d=Dan"]),
        ("replaced_rm", DeletePolicy::Remove, false, vec!["a=Ada", "b=Bea", "d=Dan"]),
    ];
    for (table, deletes, is_filtered, left) in policies {
        let mut bench = Bench::new(ground, table);
        (bench.deletes, bench.is_filtered) = (deletes, is_filtered);
        bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), row("c", "Cid", 0)]);
        let rows = [row("a", "Ada", 0), row("b", "Bea", 1), row("d", "Dan", 1)];
        assert_eq!(counts(&bench.load(LoadMode::Replace, &rows)), [1, 1, 1, 1]);
        assert_eq!(bench.names(), left);
        assert_eq!(counts(&bench.load(LoadMode::Replace, &rows)), [0, 0, 3, 0], "a second time is no change");
        assert_eq!(bench.names(), left);
    }
}

pub fn replace_spares_rows_whose_keys_alone_are_staged(ground: &mut dyn Ground) {
    for (table, deletes) in [("spared_flag", DeletePolicy::Flag), ("spared_rm", DeletePolicy::Remove)] {
        let mut bench = Bench::new(ground, table);
        bench.deletes = deletes;
        bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
        let plan = bench.plan(LoadMode::Replace);
        bench.stage_keys(&plan, SPARED_FROM, &["b", "never"]);
        bench.stage(&plan, 0, &[row("a", "Eve", 1)]);
        assert_eq!(counts(&bench.commit(&plan, 1)), [0, 1, 0, 0]);
        assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
        // Also where no row is left to be staged.
        let plan = bench.plan(LoadMode::Replace);
        bench.stage_keys(&plan, SPARED_FROM, &["a", "b"]);
        assert_eq!(counts(&bench.commit(&plan, 0)), [0, 0, 0, 0]);
        assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
    }
}

pub fn replace_with_nothing_empties_the_table(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "emptied");
    bench.deletes = DeletePolicy::Remove;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    assert_eq!(counts(&bench.commit(&plan, 0)), [0, 0, 0, 2]);
    assert_eq!(bench.names(), [""; 0]);
}

pub fn replace_mends_rows_that_are_newer_than_the_orgs(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "replace_newer");
    bench.load(LoadMode::Upsert, &[row("a", "newer", 9), row("b", "Bob", 0)]);
    let rows = [row("a", "oldest", 1), row("a", "older", 8), row("a", "middle", 5), row("b", "Bob", 0)];
    assert_eq!(counts(&bench.load(LoadMode::Replace, &rows)), [0, 1, 1, 0]);
    assert_eq!(bench.names(), ["a=older", "b=Bob"], "of what is staged the newest counts still");
}

pub fn readers_see_the_old_table_until_the_commit(ground: &mut dyn Ground) {
    if !ground.has_readers() {
        return;
    }
    let mut bench = Bench::new(ground, "readers");
    bench.deletes = DeletePolicy::Remove;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let sql = bench.select(&["Name"]);
    let mut reader = bench.another();
    let mut names = || {
        let mut kept = Kept::default();
        reader.query(&sql, &mut kept).unwrap();
        kept.rows.concat()
    };
    let plan = bench.plan(LoadMode::Replace);
    bench.stage(&plan, 0, &[row("b", "Bea", 1), row("c", "Cid", 1)]);
    assert_eq!(names(), ["Ada", "Bob"], "staged rows are not to be seen");
    assert!(bench.warehouse.commit(&plan, StagedCount::of_rows(3)).is_err());
    assert_eq!(names(), ["Ada", "Bob"], "a commit that failed has left nothing");
    bench.commit(&plan, 2);
    assert_eq!(names(), ["Bea", "Cid"]);
}

pub fn refresh_touches_only_its_columns(ground: &mut dyn Ground) {
    let mut layout = small_layout();
    layout.columns.push(column("Score", ColumnType::Int));
    let mut bench = Bench::with(ground, "refreshed", layout);
    let scored = |id, name, score| {
        let mut row = row(id, name, 5);
        row.push(score);
        row
    };
    bench.load(
        LoadMode::Upsert,
        &[scored("a", "Ada", Cell::Int(1)), scored("b", "Bob", Cell::Int(1)), scored("c", "Cid", Cell::Null)],
    );
    let mut plan = bench.plan(LoadMode::Refresh);
    plan.to = None;
    plan.layout = TableLayout {
        columns: vec![column("Id", ColumnType::Id), column("Score", ColumnType::Int)],
        key: 0,
        stamp: None,
        deleted: None,
        deleted_column: "IsDeleted".to_owned(),
    };
    let score = |id, score| vec![Cell::Text(id), score];
    bench.stage(
        &plan,
        0,
        &[
            score("a", Cell::Int(2)),
            score("b", Cell::Int(1)),
            score("c", Cell::Int(3)),
            score("new", Cell::Int(4)),
        ],
    );
    let receipt = bench.commit(&plan, 4);
    assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (0, 2, 0));
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
    assert_eq!(bench.read(&["Score"]), [["2"], ["1"], ["3"]]);
    assert_eq!(bench.read(&["SystemModstamp"])[0], ["2026-01-01T00:00:00.005Z"]);
}

pub fn deleted_keys_are_flagged(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "keys_flagged");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), gone("c", "Cid", 0)]);
    assert_eq!(bench.load_keys(LoadMode::DeleteKeys, &["a", "c", "never", "a"]).deleted, 1);
    assert_eq!(bench.names(), ["a=Ada!", "b=Bob", "c=Cid!"]);
}

pub fn deleted_keys_are_removed(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "keys_removed");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    bench.deletes = DeletePolicy::Remove;
    assert_eq!(bench.load_keys(LoadMode::DeleteKeys, &["a", "never"]).deleted, 1);
    assert_eq!(bench.names(), ["b=Bob"]);
}

pub fn all_but_the_kept_keys_are_flagged(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "kept_flagged");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), gone("c", "Cid", 0)]);
    assert_eq!(bench.load_keys(LoadMode::KeepKeys, &["a", "never"]).deleted, 1);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob!", "c=Cid!"]);
}

pub fn all_but_the_kept_keys_are_removed(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "kept_removed");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), row("c", "Cid", 0)]);
    bench.deletes = DeletePolicy::Remove;
    let plan = bench.plan(LoadMode::KeepKeys);
    bench.stage_keys(&plan, 1_000_000_000, &["a"]);
    bench.stage_keys(&plan, 1_000_000_001, &["c"]);
    assert_eq!(bench.commit(&plan, 0).deleted, 1);
    assert_eq!(bench.names(), ["a=Ada", "c=Cid"]);
}

pub fn all_but_the_kept_keys_of_a_filter_leave_whatever_the_policy(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "kept_of_filter");
    bench.is_filtered = true;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), gone("c", "Cid", 0)]);
    // Nobody can tell whether `b` was deleted; of `c` it is known, and the policy keeps it.
    assert_eq!(bench.load_keys(LoadMode::KeepKeys, &["a", "never"]).deleted, 1);
    assert_eq!(bench.names(), ["a=Ada", "c=Cid!"]);
    assert_eq!(bench.load_keys(LoadMode::DeleteKeys, &["a"]).deleted, 1);
    assert_eq!(bench.names(), ["a=Ada!", "c=Cid!"], "what the org lists as deleted is");
    bench.deletes = DeletePolicy::Remove;
    assert_eq!(bench.load_keys(LoadMode::KeepKeys, &["never"]).deleted, 2);
    assert_eq!(bench.names(), Vec::<String>::new());
}

pub fn rows_of_another_org_leave_whatever_the_policy(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "ousted");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 5), gone("b", "Bob", 5), row("c", "Cid", 5)]);
    let mut plan = bench.plan(LoadMode::Replace);
    plan.ousts = true;
    bench.stage(&plan, 0, &[row("c", "Cyd", 0), row("d", "Dan", 0)]);
    assert_eq!(counts(&bench.commit(&plan, 2)), [1, 1, 0, 2]);
    assert_eq!(bench.names(), ["c=Cyd", "d=Dan"]);
}

pub fn a_deleted_row_is_flagged(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "row_flagged");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[gone("a", "Ada", 1)])), [0, 0, 0, 1]);
    assert_eq!(bench.names(), ["a=Ada!"]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[gone("a", "Eve", 2)])), [0, 1, 0, 0]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Eve", 3)])), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Eve"]);
}

pub fn a_deleted_row_is_removed(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "row_removed");
    bench.deletes = DeletePolicy::Remove;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let receipt = bench.load(LoadMode::Upsert, &[gone("a", "Ada", 1), gone("never", "Nil", 1)]);
    assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (0, 0, 1));
    assert_eq!(bench.names(), ["b=Bob"]);
    let receipt = bench.load(LoadMode::Replace, &[gone("b", "Bob", 1), row("c", "Cid", 1)]);
    assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (1, 0, 1));
    assert_eq!(bench.names(), ["c=Cid"]);
}

pub fn an_older_deletion_loses(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "older_deletion");
    bench.deletes = DeletePolicy::Remove;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 9)]);
    // As when a record was restored after the page with its deletion was read.
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[gone("a", "Ada", 8)])), [0, 0, 1, 0]);
    let rows = [gone("a", "Ada", 10), row("a", "Eve", 11)];
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &rows)), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Eve"]);
}

pub fn a_row_that_left_the_filter_leaves_the_table(ground: &mut dyn Ground) {
    for (table, deletes) in [("left_flag", DeletePolicy::Flag), ("left_rm", DeletePolicy::Remove)] {
        let mut bench = Bench::new(ground, table);
        bench.deletes = deletes;
        bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), row("c", "Cid", 0)]);
        let plan = bench.plan(LoadMode::Upsert);
        bench.stage_keys(&plan, 1_000_000_000, &["a", "b", "never"]);
        bench.stage(&plan, 0, &[row("a", "Eve", 1), row("d", "Dan", 1)]);
        assert_eq!(counts(&bench.commit(&plan, 2)), [1, 1, 0, 1]);
        assert_eq!(bench.names(), ["a=Eve", "c=Cid", "d=Dan"]);
    }
}

pub fn a_row_that_did_not_fit_has_not_left_the_filter(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "left_spared");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0), row("c", "Cid", 0)]);
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage_keys(&plan, KEYS_FROM, &["a", "b", "c"]);
    bench.stage_keys(&plan, SPARED_FROM, &["b"]);
    bench.stage(&plan, 0, &[row("a", "Eve", 1)]);
    assert_eq!(counts(&bench.commit(&plan, 1)), [0, 1, 0, 1]);
    assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
    // Spared keys alone are no reason to take out anything.
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage_keys(&plan, SPARED_FROM, &["a"]);
    assert_eq!(counts(&bench.commit(&plan, 0)), [0, 0, 0, 0]);
    assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
}

pub fn a_row_that_is_back_is_no_longer_flagged(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "back_again");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 5)]);
    bench.load_keys(LoadMode::DeleteKeys, &["a"]);
    assert_eq!(bench.names(), ["a=Ada!"]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", "Ada", 5)])), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada"]);
}

pub fn keys_tell_capitals_apart(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "capitals");
    // Ids of 15 characters differ by capitals alone.
    bench.load(LoadMode::Upsert, &[row("00Q5e00001abcde", "one", 0), row("00Q5e00001abcdE", "two", 0)]);
    bench.load_keys(LoadMode::DeleteKeys, &["00Q5e00001abcdE"]);
    let flags = bench.read(&["Name", "IsDeleted"]);
    assert!(flags.contains(&vec!["one".to_owned(), "false".to_owned()]), "{flags:?}");
    assert!(flags.contains(&vec!["two".to_owned(), "true".to_owned()]), "{flags:?}");
}

pub fn a_count_leaves_out_the_deleted(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "count_rows");
    let layout = small_layout();
    assert_eq!(bench.warehouse.count(&bench.table, &layout).unwrap(), 0);
    let mut unsure = row("d", "Dan", 0);
    unsure[3] = Cell::Null;
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), gone("b", "Bob", 0), row("c", "Cid", 0), unsure]);
    bench.load_keys(LoadMode::DeleteKeys, &["c"]);
    assert_eq!(bench.warehouse.count(&bench.table, &layout).unwrap(), 2);
    // A part that is staged is not in the table.
    let plan = bench.plan(LoadMode::Upsert);
    let source = PartSource::Rows(chunk(4, &[row("e", "Eve", 0)]).into());
    bench.warehouse.stage(&plan, PartNumber(0), &source).unwrap();
    assert_eq!(bench.warehouse.count(&bench.table, &layout).unwrap(), 2);
    assert_eq!(bench.read(&["SystemModstamp"])[0], [super::bench::told(at(0))]);
}
