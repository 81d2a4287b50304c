//! How much CPU a row costs, and how much memory many take. Not run with the others: `cargo test -- --ignored bench`.

use std::fs;
use std::sync::Arc;

use super::tests::SqliteGround;
use super::*;
use crate::sync::{DeletePolicy, LoadMode, StagedCount, TableColumn};
use crate::warehouse::Cell;
use crate::warehouse::contract::Ground as _;

/// Columns of a lead, more or less.
const KINDS: [ColumnType; 30] = {
    let mut kinds = [ColumnType::Text; 30];
    kinds[0] = ColumnType::Id;
    kinds[1] = ColumnType::DateTime;
    kinds[2] = ColumnType::Boolean;
    kinds[3] = ColumnType::DateTime;
    kinds[4] = ColumnType::DateTime;
    kinds[5] = ColumnType::Boolean;
    kinds[6] = ColumnType::Boolean;
    kinds[7] = ColumnType::Decimal { precision: 18, scale: 2 };
    kinds[8] = ColumnType::Decimal { precision: 5, scale: 1 };
    kinds[9] = ColumnType::Int;
    kinds[10] = ColumnType::Date;
    kinds[11] = ColumnType::Id;
    kinds
};

pub(super) fn layout() -> TableLayout {
    let column = |(place, kind): (usize, &ColumnType)| {
        let name = match place {
            0 => "Id".to_owned(),
            2 => "IsDeleted".to_owned(),
            _ => format!("Field_{place}"),
        };
        TableColumn { field: name.clone(), name, kind: *kind }
    };
    TableLayout {
        columns: KINDS.iter().enumerate().map(column).collect(),
        key: 0,
        stamp: Some(1),
        deleted: Some(2),
        deleted_column: "IsDeleted".to_owned(),
    }
}

/// Some rows; `change` is in one of their fields and in their stamp.
pub(super) fn rows(numbers: impl Iterator<Item = u64>, change: u64) -> RowChunk {
    let mut chunk = RowChunk::new(KINDS.len());
    let words = ["Munich", "Web", "Ärzte & Söhne GmbH", "Open - Not Contacted", "", "+49 89 1234567", "x"];
    for number in numbers {
        // Spread over all, as the ids of rows that change are.
        let id = format!("00Q5e{number:010}AAA");
        let owner = format!("0055e{:010}AAA", number % 50);
        let email = format!("someone.{number}@example-{}.com", number % 997);
        let money = format!("{}.{:02}", number * 7 % 1_000_000, number % 99 + 1);
        let changed = format!("Rating {change}");
        let stamp = 1_767_225_600_000 + (number % 100_000) as i64 * 1_000;
        chunk.push(KINDS.iter().enumerate().map(|(place, kind)| match (place, kind) {
            (0, _) => Cell::Text(&id),
            (1, _) => Cell::DateTime(stamp + change as i64),
            (11, _) => Cell::Text(&owner),
            (12, _) => Cell::Text(&email),
            (13, _) => Cell::Text(&changed),
            (_, ColumnType::Boolean) => Cell::Boolean(place != 2 && number % 3 == 0),
            (_, ColumnType::DateTime) => Cell::DateTime(stamp - 1_000),
            (_, ColumnType::Date) => Cell::Date((number % 20_000) as i32),
            (_, ColumnType::Int) => Cell::Int(number as i64 % 10_000),
            (_, ColumnType::Decimal { scale: 2, .. }) => Cell::Decimal(&money),
            (_, ColumnType::Decimal { .. }) => Cell::Decimal("12.5"),
            _ => match words[(number as usize + place * 3) % words.len()] {
                "" => Cell::Null,
                word => Cell::Text(word),
            },
        }));
    }
    chunk
}

/// CPU time of this thread, which does all of it, in microseconds.
fn cpu_us() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000
}

/// The most memory that the process has had, in MB.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

struct Bench {
    warehouse: Box<dyn Warehouse>,
    loads: u64,
}

impl Bench {
    fn new(ground: &mut SqliteGround) -> Self {
        let mut warehouse = ground.connect();
        warehouse.open("bench").unwrap();
        let create = [SchemaChange::CreateTable { layout: layout() }];
        let plan = plan(0, LoadMode::Upsert);
        warehouse.apply_schema(&plan.org, &plan.object, &plan.table, &create).unwrap();
        Self { warehouse, loads: 0 }
    }

    fn load(
        &mut self,
        what: &str,
        mode: LoadMode,
        count: u64,
        change: u64,
        number: fn(u64) -> u64,
    ) -> CommitReceipt {
        self.loads += 1;
        let plan = plan(self.loads, mode);
        let mut staging = 0;
        for (part, start) in (0..count).step_by(PART_ROWS).enumerate() {
            let end = (start + PART_ROWS as u64).min(count);
            let source = PartSource::Rows(Arc::new(rows((start..end).map(number), change)));
            let before = cpu_us();
            self.warehouse.stage(&plan, PartNumber(part as u32), &source).unwrap();
            staging += cpu_us() - before;
        }
        let before = cpu_us();
        let receipt = self.warehouse.commit(&plan, StagedCount::of_rows(count)).unwrap();
        let commit = cpu_us() - before;
        let each = |us: u64| us as f64 / count as f64;
        println!(
            "{what}: {:.0} rows per CPU-second; a row {:.2} us to stage, {:.2} us to commit; peak {} MB",
            count as f64 * 1e6 / (staging + commit) as f64,
            each(staging),
            each(commit),
            peak_mb()
        );
        receipt
    }
}

fn plan(load: u64, mode: LoadMode) -> LoadPlan {
    LoadPlan {
        id: LoadId::new(load, 0),
        org: "acme".parse().unwrap(),
        object: "Lead".parse().unwrap(),
        table: "lead".parse().unwrap(),
        mode,
        layout: layout(),
        deletes: DeletePolicy::Flag,
        from: None,
        to: None,
        schema_version: 1,
        stage: None,
        is_filtered: false,
        origin: None,
        ousts: false,
    }
}

#[test]
#[ignore = "takes long, and measures more than it tests"]
fn bench_cpu_of_a_row() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground);
    let count = 200_000;
    let receipt = bench.load("first load", LoadMode::Upsert, count, 0, |number| number);
    assert_eq!(receipt.inserted, count);
    let receipt = bench.load("a tenth has changed", LoadMode::Upsert, count / 10, 1, |number| number * 10);
    assert_eq!(receipt.updated, count / 10);
    let receipt = bench.load("nothing has changed", LoadMode::Upsert, count, 0, |number| number);
    assert_eq!(receipt.unchanged, count);
    let receipt = bench.load("everything has changed", LoadMode::Upsert, count, 2, |number| number);
    assert_eq!(receipt.updated, count);
    let receipt = bench.load("full, the same rows", LoadMode::Replace, count, 2, |number| number);
    assert_eq!(receipt.unchanged, count);
    let receipt = bench.load("full, half of the rows", LoadMode::Replace, count / 2, 3, |number| number);
    assert_eq!((receipt.updated, receipt.deleted), (count / 2, count / 2));
}

#[test]
#[ignore = "takes long, and measures more than it tests"]
fn bench_ids_in_no_order() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground);
    // A prime that does not divide the power of ten: each id once, far from the last.
    let spread = |number| number * 7_919_011 % 10_000_000_000;
    bench.load("first load, ids in no order", LoadMode::Upsert, 200_000, 0, spread);
    bench.load("a tenth has changed, ids in no order", LoadMode::Upsert, 20_000, 1, spread);
}

#[test]
#[ignore = "takes long, and measures more than it tests"]
fn bench_memory_of_two_million_rows() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground);
    let before = peak_mb();
    bench.load("first load of two million", LoadMode::Upsert, 2_000_000, 0, |number| number);
    bench.load("full, two million", LoadMode::Replace, 2_000_000, 1, |number| number);
    assert!(peak_mb() - before < 64, "memory grows with the rows: {} MB", peak_mb());
}
