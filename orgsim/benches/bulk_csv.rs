//! How fast Bulk results are written, on one core: `cargo bench -p orgsim`.
//!
//! The simulator must never be what a client's benchmark measures, so the bar is 200 MB/s.

use orgsim::measure::Bench;
use std::time::Instant;

const ROWS: u64 = 2_000_000;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads a clock")]
fn timed(what: &str, bench: &Bench, rows: u64, statement: &str, take: &mut dyn FnMut(&[u8])) {
    let started = Instant::now();
    let mut bytes = 0;
    bench.pages(statement, &mut |piece| {
        bytes += piece.len();
        take(piece);
    });
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{what:<34} {:>7.0} MB/s {:>10.0} rows/s {:>6} bytes a row",
        bytes as f64 / 1e6 / seconds,
        rows as f64 / seconds,
        bytes as u64 / rows,
    );
}

fn main() {
    let bench = Bench::new("Lead", ROWS);
    let usual = "SELECT Id, FirstName, LastName, Company, Email, Status, SystemModstamp FROM Lead";
    timed("7 fields of Lead", &bench, ROWS, usual, &mut |_| {});
    for most in [30, 60] {
        let fields = bench.fields("Lead", most);
        let wide = format!("SELECT {} FROM Lead", fields.join(", "));
        timed(&format!("{} fields of Lead", fields.len()), &bench, ROWS, &wide, &mut |_| {});
    }
    let wide = format!("SELECT {} FROM Lead", bench.fields("Lead", 30).join(", "));
    let mut packed = 0;
    timed("30 fields of Lead, gzipped", &bench, ROWS, &wide, &mut |piece| packed += Bench::gzipped(piece));
    println!("{:<34} {:>7.0} MB", "  of which on the wire", packed as f64 / 1e6);
    let parent = "SELECT Id, Owner.Name, Owner.Email FROM Lead LIMIT 200000";
    timed("with parents, 200,000 rows", &bench, 200_000, parent, &mut |_| {});
}
