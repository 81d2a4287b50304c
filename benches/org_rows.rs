//! How many rows of 30 fields and about 1 kB a CPU-second turns into JSON lines, from pages of REST and from Bulk's CSV.
//!
//! `cargo bench --bench org_rows` runs the canonical row layer and, in turns with it, what one would write first: a tree
//! of `serde_json` values for REST, a string a cell for CSV. Both sides give the same lines, which is checked before
//! anything is timed. All is in memory, so that nothing but the reading and writing is measured; time is the process's
//! own CPU time. The last column is the median of the ratios within each round, which a busy neighbour disturbs little.
#![allow(missing_docs, clippy::expect_used, reason = "a bench says so by failing")]

#[path = "org_rows/baseline.rs"]
mod baseline;
#[path = "org_rows/leads.rs"]
mod leads;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use penstock::salesforce::rows::{Columns, CsvOptions, CsvRows, RestRows};

/// As the org pages a query.
const ROWS_PER_PAGE: usize = 2_000;
const PAGES: usize = 5;
/// About what a connection gives at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Lines are dropped as a file or a stream would take them.
const LINES_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 9;

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` only want to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 1 } else { ROUNDS };
    let columns = Columns::new(leads::columns()).expect("the columns are distinct");
    let rest: Vec<Vec<u8>> = (0..PAGES).map(|page| leads::rest_page(page, ROWS_PER_PAGE)).collect();
    let bulk: Vec<Vec<u8>> = (0..PAGES).map(|page| leads::csv_page(page, ROWS_PER_PAGE)).collect();

    let expected = all_lines(|take| from_rest(&columns, &rest, take));
    assert_eq!(expected.iter().filter(|byte| **byte == b'\n').count(), PAGES * ROWS_PER_PAGE);
    for other in [
        all_lines(|take| from_bulk(&columns, &bulk, take)),
        all_lines(|take| baseline::from_rest(&leads::columns(), &rest, take)),
        all_lines(|take| baseline::from_bulk(&leads::columns(), &bulk, take)),
    ] {
        assert!(other == expected, "all ways give the same lines");
    }

    println!("| read | rows per CPU-second | input MB per CPU-second | x the obvious way |");
    println!("| --- | --- | --- | --- |");
    let row = |name: &str, bytes: usize, own: &mut dyn FnMut(), obvious: &mut dyn FnMut()| {
        // The first round warms up and is not counted.
        let times: Vec<(f64, f64)> =
            (0..=rounds).map(|_| (cpu_seconds_of(own), cpu_seconds_of(obvious))).skip(1).collect();
        let own = median(times.iter().map(|(own, _)| *own).collect());
        let obvious = median(times.iter().map(|(_, obvious)| *obvious).collect());
        let ratio = median(times.iter().map(|(own, obvious)| obvious / own).collect());
        for (name, took, ratio) in
            [(name.to_owned(), own, ratio), (format!("{name}, the obvious way"), obvious, 1.0)]
        {
            let (rate, megabytes) = ((PAGES * ROWS_PER_PAGE) as f64 / took, bytes as f64 / took / 1e6);
            println!("| {name} | {rate:.0} | {megabytes:.0} | {ratio:.1} |");
        }
    };
    row(
        "REST pages",
        rest.iter().map(Vec::len).sum(),
        &mut || from_rest(&columns, &rest, &mut drop_lines),
        &mut || baseline::from_rest(&leads::columns(), &rest, &mut drop_lines),
    );
    row(
        "Bulk CSV",
        bulk.iter().map(Vec::len).sum(),
        &mut || from_bulk(&columns, &bulk, &mut drop_lines),
        &mut || baseline::from_bulk(&leads::columns(), &bulk, &mut drop_lines),
    );
}

/// Takes lines and empties their buffer.
type Take<'t> = &'t mut dyn FnMut(&mut Vec<u8>);

fn from_rest(columns: &Columns, pages: &[Vec<u8>], take: Take<'_>) {
    let mut rows = RestRows::new(columns.clone(), 0);
    let mut lines = Vec::with_capacity(2 * LINES_BYTES);
    for page in pages {
        let mut sink = |row: &penstock::salesforce::rows::Row<'_>| {
            row.write_json_line(&mut lines);
            take_when_full(&mut lines, take);
            ControlFlow::Continue(())
        };
        rows.read_page(page, &mut sink).expect("a page of rows");
    }
    take(&mut lines);
}

fn from_bulk(columns: &Columns, pages: &[Vec<u8>], take: Take<'_>) {
    let mut rows = CsvRows::new(columns.clone(), CsvOptions::default());
    let mut lines = Vec::with_capacity(2 * LINES_BYTES);
    for page in pages {
        let mut sink = |row: &penstock::salesforce::rows::Row<'_>| {
            row.write_json_line(&mut lines);
            take_when_full(&mut lines, take);
            ControlFlow::Continue(())
        };
        for piece in page.chunks(PIECE_BYTES) {
            rows.feed(piece, &mut sink).expect("a page of rows");
        }
        rows.end_page(&mut sink).expect("a whole page");
    }
    take(&mut lines);
}

fn take_when_full(lines: &mut Vec<u8>, take: Take<'_>) {
    if lines.len() >= LINES_BYTES {
        take(lines);
    }
}

fn drop_lines(lines: &mut Vec<u8>) {
    black_box(&*lines);
    lines.clear();
}

fn all_lines(read: impl FnOnce(Take<'_>)) -> Vec<u8> {
    let mut all = Vec::new();
    read(&mut |lines| all.append(lines));
    all
}

fn cpu_seconds_of(work: &mut dyn FnMut()) -> f64 {
    let before = cpu_time();
    work();
    (cpu_time() - before).as_secs_f64()
}

/// CPU time of this process, which other processes on the machine do not add to.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes to `time`, which lives through it.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the kernel knows the process's CPU time");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
