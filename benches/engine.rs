//! How many messages a second the engine carries through 1, 3 and 5 stages, beside plain tokio channels and plain actix.
//!
//! `cargo bench --bench engine` reports each line by itself; `cargo bench --bench engine -- --ratios` runs all lines in
//! turns and prints the table of `benches/README.md`, whose ratios a busy neighbour on the machine disturbs little.
#![allow(missing_docs, clippy::expect_used, reason = "a bench says so by failing")]

mod lines;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use lines::{Contestant, timed};

const STAGES: [usize; 3] = [1, 3, 5];

/// Messages of one measured run: long enough that starting and ending it weighs little.
fn run_length(contestant: Contestant) -> u64 {
    match contestant {
        // A hundred times slower than the others.
        Contestant::ActixAsk { at_once: 1 } => 1_000,
        _ => 50_000,
    }
}

/// The daemon's own set-up: an actix system on a multi-thread runtime.
fn system() -> actix_rt::SystemRunner {
    actix_rt::System::with_tokio_rt(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).enable_all().build().expect("a runtime")
    })
}

fn each_line_by_itself(criterion: &mut Criterion) {
    let system = system();
    let clock = lines::clock();
    for stages in STAGES {
        let mut group = criterion.benchmark_group(format!("{stages} stages"));
        group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
        for contestant in Contestant::ALL {
            let items = run_length(contestant);
            let line = system.block_on(async { contestant.build(stages) });
            group.throughput(Throughput::Elements(items));
            group.bench_function(BenchmarkId::from_parameter(contestant.name()), |bencher| {
                bencher.iter_custom(|runs| {
                    system.block_on(async {
                        let mut took = Duration::ZERO;
                        for _ in 0..runs {
                            took += timed(&clock, &*line, items).await;
                        }
                        took
                    })
                });
            });
        }
        group.finish();
    }
}

/// Runs all lines in turns and prints, for each, the median of its figures and of its ratios within each round.
fn all_lines_in_turns(rounds: usize) {
    let system = system();
    let clock = lines::clock();
    println!("| stages | line | items/s | x tokio mpsc, one thread |\n| --- | --- | --- | --- |");
    for stages in STAGES {
        let standing: Vec<_> = system.block_on(async {
            Contestant::ALL.into_iter().map(|contestant| (contestant, contestant.build(stages))).collect()
        });
        let mut rates = vec![Vec::with_capacity(rounds); standing.len()];
        // The first round warms up and is not counted.
        for round in 0..=rounds {
            for (place, (contestant, line)) in standing.iter().enumerate() {
                let items = run_length(*contestant);
                let took = system.block_on(timed(&clock, &**line, items));
                if round > 0 {
                    rates[place].push(items as f64 / took.as_secs_f64());
                }
            }
        }
        for (place, (contestant, _)) in standing.iter().enumerate() {
            let ratios = rates[place].iter().zip(&rates[0]).map(|(own, mpsc)| own / mpsc).collect();
            let (rate, ratio) = (median(rates[place].clone()) / 1_000.0, median(ratios));
            println!("| {stages} | {} | {rate:.0} k | {ratio:.3} |", contestant.name());
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    if std::env::args().any(|argument| argument == "--ratios") {
        return all_lines_in_turns(15);
    }
    let mut criterion = Criterion::default().configure_from_args();
    each_line_by_itself(&mut criterion);
    criterion.final_summary();
}
