//! The penstock daemon and its command line. Everything that decides lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread starts, so that every thread inherits the mask and one thread reads the signals.
    if let Err(error) = penstock::signals::block() {
        eprintln!("penstock: {error}");
        return ExitCode::FAILURE;
    }
    penstock::cli::run()
}
