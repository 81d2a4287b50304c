//! A process that is killed, at any moment of staging and committing.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::super::bench as many;
use super::*;
use crate::sync::{LoadState, StagedCount};

const PARTS: u32 = 6;
const PART: u64 = 500;

fn plan(number: u64) -> LoadPlan {
    LoadPlan {
        id: LoadId::new(number, 0),
        org: "acme".parse().unwrap(),
        object: "Lead".parse().unwrap(),
        table: "lead".parse().unwrap(),
        mode: LoadMode::Replace,
        layout: many::layout(),
        deletes: DeletePolicy::Remove,
        from: None,
        to: Some(jiff::Timestamp::from_second(number as i64).unwrap()),
        schema_version: 1,
        stage: None,
        is_filtered: false,
        origin: None,
        ousts: false,
    }
}

/// Goes on with a load wherever it is, and through the ones behind it.
fn go_on(path: PathBuf, first: u64, last: u64) {
    let mut warehouse = SqliteWarehouse::connect(&SqliteSettings::new(path)).unwrap();
    warehouse.open("crashes").unwrap();
    for number in first..=last {
        let plan = plan(number);
        let create = [SchemaChange::CreateTable { layout: many::layout() }];
        warehouse.apply_schema(&plan.org, &plan.object, &plan.table, &create).unwrap();
        let there = match warehouse.load_state(&plan).unwrap() {
            LoadState::Committed(_) => continue,
            LoadState::Staged { parts } => parts,
            LoadState::Unknown => Vec::new(),
        };
        for part in (0..PARTS).filter(|part| !there.iter().any(|receipt| receipt.part.0 == *part)) {
            // Half of the ids of a load are those of the load before.
            let start = number * PART * u64::from(PARTS) / 2 + u64::from(part) * PART;
            let rows = PartSource::Rows(Arc::new(many::rows(start..start + PART, number)));
            warehouse.stage(&plan, PartNumber(part), &rows).unwrap();
        }
        warehouse.commit(&plan, StagedCount::of_rows(PART * u64::from(PARTS))).unwrap();
    }
}

/// Not a test, but what the test below starts and kills: it works in the folder that it is started in.
#[test]
#[ignore = "is started by another test"]
fn a_process_to_kill() {
    if Path::new("kill-me").exists() {
        go_on("warehouse.db".into(), 1, u64::MAX);
    }
}

fn start(folder: &Path) -> Child {
    let name = module_path!().split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("{name}::a_process_to_kill")])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Rows, the lowest and the highest id, rows of the newest load, loads in the ledger.
type Seen = (i64, Option<String>, Option<String>, i64, i64);

#[test]
#[expect(clippy::disallowed_methods, reason = "a process is killed after some real milliseconds")]
fn a_killed_process_leaves_whole_loads() {
    let ground = SqliteGround::new();
    let folder = ground.folder.path();
    std::fs::write(folder.join("kill-me"), "").unwrap();
    let (mut loads, mut was_in_the_middle) = (0, false);
    for kill in 0.. {
        let mut child = start(folder);
        let started = Instant::now();
        // Not before it has come further than the one before it.
        while started.elapsed() < Duration::from_millis(150 + 37 * kill) {
            assert!(child.try_wait().unwrap().is_none(), "it has ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let mut warehouse = SqliteWarehouse::connect(&SqliteSettings::new(ground.path())).unwrap();
        // The lock is free, although nobody let go of it.
        warehouse.open("somebody else").unwrap();
        let has_table = warehouse.table(&plan(1).table).unwrap().exists;
        if has_table {
            let seen: Seen = warehouse
                .writer
                .query_row(
                    "SELECT count(*), min(Id), max(Id),
                       count(*) FILTER (WHERE Field_13 = 'Rating ' || (SELECT count(*) FROM _penstock_loads)),
                       (SELECT count(*) FROM _penstock_loads)
                     FROM lead",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
                )
                .unwrap();
            let load_rows = PART * u64::from(PARTS);
            let done = seen.4 as u64;
            if done == 0 {
                assert_eq!(seen.0, 0, "rows of a load that is not in the ledger");
            } else {
                let first = done * load_rows / 2;
                let ids = [first, first + load_rows - 1].map(|id| Some(format!("00Q5e{id:010}AAA")));
                let [low, high] = ids;
                assert_eq!(seen, (load_rows as i64, low, high, load_rows as i64, done as i64));
                let mark = warehouse.watermark(&plan(1).org, &plan(1).object, &plan(1).table).unwrap();
                assert_eq!(mark.unwrap().at.as_second(), done as i64);
            }
            assert!(done >= loads, "a load was lost");
            loads = done;
            was_in_the_middle |=
                matches!(warehouse.load_state(&plan(done + 1)).unwrap(), LoadState::Staged { .. });
            for load in 1..=done {
                assert!(matches!(warehouse.load_state(&plan(load)).unwrap(), LoadState::Committed(_)));
            }
        }
        let check: String =
            warehouse.writer.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        // How far it comes in that time is up to the machine.
        if kill >= 8 && loads > 0 && was_in_the_middle {
            return;
        }
        assert!(kill < 80, "{loads} loads; nothing was killed in the middle of one");
    }
}

#[test]
fn parts_of_a_load_that_is_done_go_when_it_is_opened() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground, "lead");
    let (done, open) = (bench.plan(LoadMode::Upsert), bench.plan(LoadMode::Upsert));
    bench.stage(&done, 0, &[row("a", "Ada", 0)]);
    bench.commit(&done, 1);
    // As if the process had died between the two.
    bench.stage(&done, 0, &[row("a", "Ada", 0)]);
    bench.stage(&open, 0, &[row("b", "Bob", 0)]);
    drop(bench);
    let warehouse = ground.connect();
    drop(warehouse);
    let folder = StagedFolder::beside(&ground.path());
    assert_eq!(folder.loads().len(), 2, "connecting alone removes nothing");
    ground.connect().open("x").unwrap();
    assert_eq!(folder.loads(), [open.id]);
}
