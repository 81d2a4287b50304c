//! Connections and servers that are lost.

use std::sync::Arc;

use rstest::rstest;

use super::proxy::{Cut, Proxy};
use super::{PostgresGround, settings};
use crate::sync::{LoadMode, LoadState, PartNumber, StagedCount};
use crate::warehouse::contract::Ground as _;
use crate::warehouse::contract::bench::{Bench, OWNER, chunk, keys, row};
use crate::warehouse::postgres::PostgresWarehouse;
use crate::warehouse::{PartSource, Warehouse as _, WarehouseError, WarehouseThread};

/// A ground whose connections go through a proxy.
fn ground_behind_proxy() -> (PostgresGround, Proxy) {
    let mut ground = PostgresGround::new();
    let proxy = Proxy::to(ground.server.port());
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}", proxy.port(), ground.database);
    ground.settings = settings(&url);
    (ground, proxy)
}

#[rstest]
#[case::before_the_server_had_it(Cut::Before)]
#[case::after_the_server_had_it(Cut::After)]
fn a_commit_whose_answer_is_lost_is_settled_by_the_ledger(#[case] cut: Cut) {
    let (mut ground, proxy) = ground_behind_proxy();
    let mut bench = Bench::new(&mut ground, "lost_commit");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    bench.stage(&plan, 0, &[row("a", "Eve", 1), row("b", "Bob", 1)]);
    proxy.cut(cut);
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(2));
    assert!(matches!(told, Err(WarehouseError::Unsure(_))), "{told:?}");
    bench.warehouse = bench.another();
    let state = bench.warehouse.load_state(&plan).unwrap();
    match cut {
        Cut::Before => {
            assert!(matches!(&state, LoadState::Staged { parts } if parts[0].rows == 2), "{state:?}");
            assert_eq!(bench.names(), ["a=Ada"]);
        }
        Cut::After => {
            assert!(matches!(&state, LoadState::Committed(receipt) if receipt.staged == 2), "{state:?}");
            assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
        }
    }
    let receipt = bench.warehouse.commit(&plan, StagedCount::of_rows(2)).unwrap();
    assert_eq!((receipt.inserted, receipt.updated), (1, 1), "counted once");
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Committed(receipt));
    assert_eq!(bench.names(), ["a=Eve", "b=Bob"]);
}

#[rstest]
#[case::before_the_server_had_it(Cut::Before)]
#[case::after_the_server_had_it(Cut::After)]
fn a_part_whose_answer_is_lost_is_staged_again_and_counts_once(#[case] cut: Cut) {
    let (mut ground, proxy) = ground_behind_proxy();
    let mut bench = Bench::new(&mut ground, "lost_part");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    proxy.cut(cut);
    let source = PartSource::Rows(Arc::new(chunk(4, &[row("b", "Bob", 0), row("c", "Cid", 0)])));
    let told = bench.warehouse.stage(&plan, PartNumber(1), &source);
    assert!(matches!(told, Err(WarehouseError::Unreachable(_))), "{told:?}");
    bench.warehouse = bench.another();
    bench.stage(&plan, 1, &[row("b", "Bob", 0), row("c", "Cid", 0)]);
    bench.commit(&plan, 3);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
}

#[test]
fn the_state_of_a_load_waits_for_a_commit_that_is_still_under_way() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "under_way");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    // As a connection that was lost, and has not noticed: it has the load's turn.
    stranger.batch("BEGIN").unwrap();
    super::super::commit::take_turn(&stranger, &plan).unwrap();
    let told = bench.warehouse.load_state(&plan);
    assert!(matches!(&told, Err(error @ WarehouseError::Locked { .. }) if error.is_transient()), "{told:?}");
    stranger.batch("COMMIT").unwrap();
    assert!(matches!(bench.warehouse.load_state(&plan), Ok(LoadState::Staged { .. })));
}

#[test]
fn what_a_crash_of_the_server_took_is_not_said_to_be_staged() {
    let mut ground = PostgresGround::alone();
    let server = Arc::clone(&ground.server);
    let mut bench = Bench::new(&mut ground, "crashed");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let upsert = bench.plan(LoadMode::Upsert);
    bench.stage(&upsert, 0, &[row("c", "Cid", 0)]);
    bench.stage(&upsert, 1, &[]);
    let keep = bench.plan(LoadMode::KeepKeys);
    bench.stage_keys(&keep, 1_000_000_000, &["a", "b"]);
    // Something that waits for the disk, so that the receipts outlive the rows.
    bench.meddle("CREATE TABLE waits_for_the_disk (a int)");
    server.kill();
    server.launch();
    let told = bench.warehouse.load_state(&upsert);
    assert!(matches!(told, Err(WarehouseError::Unreachable(_))), "{told:?}");
    bench.warehouse = bench.another();
    let state = bench.warehouse.load_state(&upsert).unwrap();
    assert!(
        matches!(&state, LoadState::Staged { parts } if parts.len() == 1 && parts[0].part == PartNumber(1)),
        "{state:?}"
    );
    assert_eq!(bench.warehouse.load_state(&keep).unwrap(), LoadState::Unknown);
    let told = bench.warehouse.commit(&upsert, StagedCount::of_rows(1));
    assert!(matches!(told, Err(WarehouseError::OtherCount { expected: 1, staged: 0, .. })), "{told:?}");
    // No keys are left to keep: nothing may be deleted for that.
    let told = bench.warehouse.commit(&keep, StagedCount { rows: 0, keys: 2 });
    assert!(matches!(told, Err(WarehouseError::OtherCount { expected: 2, staged: 0, .. })), "{told:?}");
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
    bench.stage(&upsert, 0, &[row("c", "Cid", 0)]);
    bench.commit(&upsert, 1);
    bench.warehouse.stage(&keep, PartNumber(1_000_000_000), &keys(&["a", "b"])).unwrap();
    assert_eq!(bench.warehouse.commit(&keep, StagedCount { rows: 0, keys: 2 }).unwrap().deleted, 1);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid!"]);
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again_when_it_is_back() {
    let ground = tokio::task::spawn_blocking(PostgresGround::alone).await.unwrap();
    let settings = ground.settings.clone();
    let thread = WarehouseThread::start(
        "warehouse",
        Arc::new(move || {
            let mut warehouse = PostgresWarehouse::connect(&settings)?;
            warehouse.open(OWNER)?;
            Ok(Box::new(warehouse))
        }),
    )
    .unwrap();
    let table: crate::sync::TableName = "lead".parse().unwrap();
    let asked = table.clone();
    thread.call(move |warehouse| warehouse.table(&asked)).await.unwrap();
    let server = Arc::clone(&ground.server);
    let away = tokio::task::spawn_blocking(move || server.kill());
    away.await.unwrap();
    for _ in 0..2 {
        let asked = table.clone();
        let told = thread.call(move |warehouse| warehouse.table(&asked)).await;
        assert!(matches!(told, Err(WarehouseError::Unreachable(_))), "{told:?}");
    }
    let server = Arc::clone(&ground.server);
    tokio::task::spawn_blocking(move || server.launch()).await.unwrap();
    thread.call(move |warehouse| warehouse.table(&table)).await.unwrap();
    drop(thread);
    tokio::task::spawn_blocking(move || drop(ground)).await.unwrap();
}

#[test]
fn who_lost_the_warehouse_to_another_daemon_commits_no_more() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let other = settings(&ground.server.url(&ground.database));
    let mut bench = Bench::new(&mut ground, "lost_owner");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let mut daemon = PostgresWarehouse::connect(&other).unwrap();
    let told = daemon.open("another daemon");
    assert!(matches!(&told, Err(WarehouseError::InUse(who)) if who.contains(OWNER)), "{told:?}");
    // The session that holds it is ended, as by an administrator; the one that commits goes on.
    let ended = stranger.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[],
    );
    assert_eq!(ended.unwrap().len(), 1);
    daemon.open("another daemon").unwrap();
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1));
    assert!(matches!(&told, Err(WarehouseError::InUse(who)) if who.contains("another daemon")), "{told:?}");
    assert_eq!(bench.names(), [""; 0]);
    drop(daemon);
    bench.warehouse.open(OWNER).unwrap();
    bench.commit(&plan, 1);
    assert_eq!(bench.names(), ["a=Ada"]);
}

#[test]
fn one_daemon_whose_holding_session_broke_takes_the_warehouse_anew() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "taken_anew");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    stranger
        .rows("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &[])
        .unwrap();
    // A sibling of the same daemon connects, and finds it out; the first one goes on.
    let sibling = bench.another();
    bench.commit(&plan, 1);
    drop(sibling);
    assert_eq!(bench.names(), ["a=Ada"]);
}

#[test]
fn a_connection_that_is_dropped_in_the_middle_leaves_no_lock() {
    let mut ground = PostgresGround::new();
    {
        let mut bench = Bench::new(&mut ground, "dropped");
        let plan = bench.plan(LoadMode::Upsert);
        bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    }
    let mut warehouse = ground.connect();
    warehouse.open("somebody else").unwrap();
}
