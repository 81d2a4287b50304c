//! The penstock daemon and its command line. Everything that decides lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    share_arenas();
    // Before any thread starts, so that every thread inherits the mask and one thread reads the signals.
    if let Err(error) = penstock::signals::block() {
        eprintln!("penstock: {error}");
        return ExitCode::FAILURE;
    }
    penstock::cli::run()
}

/// Has the threads share four heaps. By default glibc gives nearly every thread one of its own, and each keeps what was
/// freed in it: a fifth of the demo's memory, for nothing.
fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet, and the call only sets a number that the allocator reads when it makes a heap.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}
