//! What extraction costs, by itself: `cargo test --release -- --ignored --nocapture rows_become_parts`. `PARTS_ONLY` rows are in
//! memory; nothing but the reading of CSV and the making of parts is timed, on this thread's own CPU time.

use super::*;
use crate::actors::sync_extract::parts::PartMaker;
use crate::actors::sync_extract::reject::Rejects;
use crate::salesforce::rows::{CsvOptions, CsvRows};
use crate::salesforce::{PageReader, ReadError};

const ROWS: u64 = 20_000;
const FIELDS: usize = 30;
const ROUNDS: usize = 9;
/// About what a connection gives at once.
const PIECE: usize = 16 << 10;

/// Keeps the bytes of a page.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl PageReader for Bytes {
    fn begin(&mut self, _: u64) -> Result<(), ReadError> {
        self.0.clear();
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        Ok(ROWS)
    }

    fn rows_known(&self) -> u64 {
        0
    }
}

/// Nanoseconds of CPU that this thread has had.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rows_become_parts() {
    let mut options = orgsim::Options::default();
    options.data.records = HashMap::from([("Lead".to_owned(), ROWS)]);
    options.data.deleted_percent = 0;
    let sim = sim_with(options).await;
    let describe = sim.describe("Lead").await;
    let columns: Vec<TableColumn> = describe.fields.iter().filter_map(column_of).take(FIELDS).collect();
    let place = |name: &str| columns.iter().position(|column| column.field == name);
    assert!(place("Id").is_some());
    let mut ask = sim.ask_for("Lead", columns, 0);
    ask.part_rows = 2_000;
    let in_order = parts::columns_of(&ask).unwrap();
    for (what, columns) in [
        ("in order", in_order.clone()),
        ("in the load's own order", marker::marked(&in_order, &ask.plan.id).unwrap()),
    ] {
        let soql = run::statement(&ask, &columns).unwrap();
        let options = BulkOptions { rows_per_page: ROWS as u32, ..BulkOptions::default() };
        let mut query = sim.client.bulk_query(&soql, true, options).await.unwrap();
        query.wait().await.unwrap();
        let mut page = Bytes::default();
        query.next_page(&mut page).await.unwrap();
        let page = page.0;
        let (mut read, mut made) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = cpu_ns();
            let mut csv = CsvRows::new(columns.clone(), CsvOptions::default());
            let mut cells = 0;
            for piece in page.chunks(PIECE) {
                csv.feed(piece, &mut |row| {
                    cells += row.len();
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            }
            std::hint::black_box(cells);
            read.push(cpu_ns() - start);
            let start = cpu_ns();
            let mut maker = PartMaker::new(&ask, &columns).unwrap();
            let mut rejects = Rejects::resume(&ask, 0, 0).unwrap();
            maker.begin_page(0, ROWS);
            let mut csv = CsvRows::new(columns.clone(), CsvOptions::default());
            let mut rows = 0;
            for piece in page.chunks(PIECE) {
                csv.feed(piece, &mut |row| {
                    maker.take(row, &mut rejects).unwrap();
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
                while let Some(part) = maker.next_part() {
                    rows += part.chunk.rows();
                }
            }
            maker.end_page();
            while let Some(part) = maker.next_part() {
                rows += part.chunk.rows();
            }
            made.push(cpu_ns() - start);
            assert_eq!(rows as u64, ROWS);
        }
        read.sort_unstable();
        made.sort_unstable();
        let per_row = |times: &[u64]| times[ROUNDS / 2] as f64 / ROWS as f64 / 1e3;
        let bytes = page.len() as u64 / ROWS;
        println!(
            "{what}: {} fields, {bytes} bytes a row: reading alone {:.2} us a row, with parts {:.2} us",
            columns.len(),
            per_row(&read),
            per_row(&made)
        );
    }
}
