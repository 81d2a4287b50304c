//! What a million cells cost, printed; run by hand.

use std::sync::Arc;

use super::library::DuckDbGround;
use crate::sync::{
    ColumnType, DeletePolicy, LoadId, LoadMode, LoadPlan, PartNumber, SchemaChange, StagedCount, TableColumn,
    TableLayout,
};
use crate::warehouse::{Cell, PartSource, RowChunk, Warehouse};

const ROWS: usize = 200_000;

/// Thirty columns like a lead's.
fn layout() -> TableLayout {
    let kind = |at: usize| match at {
        0 | 7 => ColumnType::Id,
        2..=3 => ColumnType::DateTime,
        4..=6 => ColumnType::Boolean,
        8..=10 => ColumnType::Decimal { precision: 18, scale: 2 },
        11 => ColumnType::Int,
        12..=13 => ColumnType::Date,
        _ => ColumnType::Text,
    };
    let name = |at: usize| match at {
        0 => "Id".to_owned(),
        2 => "SystemModstamp".to_owned(),
        4 => "IsDeleted".to_owned(),
        at => format!("Field{at}__c"),
    };
    TableLayout {
        columns: (0..30).map(|at| TableColumn { field: name(at), name: name(at), kind: kind(at) }).collect(),
        key: 0,
        stamp: Some(2),
        deleted: Some(4),
        deleted_column: "IsDeleted".to_owned(),
    }
}

fn chunk(from: usize, to: usize, generation: usize) -> RowChunk {
    let mut chunk = RowChunk::with_room(30, to - from, (to - from) * 400);
    for row in from..to {
        let id = format!("00Q5g00000{row:05}AAA");
        let texts: Vec<String> =
            (0..20).map(|at| format!("value {} of {}", (row * 31 + at) % 4_999, at)).collect();
        let amount = format!("{}.{:02}", row % 90_000, row % 100);
        chunk.push((0..30).map(|at| match at {
            0 | 7 => Cell::Text(&id),
            2..=3 => Cell::DateTime(1_767_225_600_000 + (row * 977 + generation) as i64),
            4 => Cell::Boolean(false),
            5..=6 => Cell::Boolean(row % 3 == 0),
            8..=10 => Cell::Decimal(&amount),
            11 => Cell::Int(row as i64),
            12..=13 => Cell::Date(20_000 + (row % 300) as i32),
            14 if row % 2 == 0 => Cell::Null,
            at => Cell::Text(&texts[at % 20]),
        }));
    }
    chunk
}

fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    (ticks as f64 / 100.0, peak.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024)
}

fn plan(number: u64, mode: LoadMode) -> LoadPlan {
    LoadPlan {
        id: LoadId::new(number, 7),
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
#[ignore = "prints what rows cost; run by hand, in release"]
fn two_hundred_thousand_rows() {
    #[expect(clippy::disallowed_methods, reason = "a switch of the test")]
    let setting = |name: &str, otherwise: usize| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    };
    let (rows, part_rows) = (setting("SPEED_ROWS", ROWS), setting("SPEED_PART", 10_000));
    let Some(ground) = DuckDbGround::make() else { return };
    let mut warehouse = ground.duckdb();
    warehouse.open("speed").unwrap();
    let (org, object) = ("acme".parse().unwrap(), "Lead".parse().unwrap());
    let create = SchemaChange::CreateTable { layout: layout() };
    warehouse.apply_schema(&org, &object, &"lead".parse().unwrap(), &[create]).unwrap();
    for (number, what, mode, rows, generation) in [
        (1, "first", LoadMode::Upsert, rows, 0),
        (2, "tenth changed", LoadMode::Upsert, rows / 10, 1),
        (3, "all the same", LoadMode::Upsert, rows / 10, 1),
        (4, "all changed", LoadMode::Replace, rows, 2),
    ] {
        let plan = plan(number, mode);
        let (mut staging, mut making) = (0.0, 0.0);
        for (part, from) in (0..rows).step_by(part_rows).enumerate() {
            let (before, _) = usage();
            let source = PartSource::Rows(Arc::new(chunk(from, rows.min(from + part_rows), generation)));
            let (made, _) = usage();
            warehouse.stage(&plan, PartNumber(part as u32), &source).unwrap();
            let (staged, _) = usage();
            making += made - before;
            staging += staged - made;
        }
        let (before, peak_staged) = usage();
        let receipt = warehouse.commit(&plan, StagedCount::of_rows(rows as u64)).unwrap();
        let (after, peak) = usage();
        let each = |seconds: f64| seconds * 1e6 / rows as f64;
        println!(
            "{what}: {rows} rows: stage {:.1} us, commit {:.1} us of CPU a row (making them {:.1}), peak {peak_staged} then {peak} MB; \
             file {} MB; {receipt:?}",
            each(staging),
            each(after - before),
            each(making),
            std::fs::metadata(ground.file()).unwrap().len() >> 20,
        );
    }
}
