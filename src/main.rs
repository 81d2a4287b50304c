//! The penstock daemon and its command line. Everything that decides lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    give_memory_back();
    // Before any thread starts, so that every thread inherits the mask and one thread reads the signals.
    if let Err(error) = penstock::signals::block() {
        eprintln!("penstock: {error}");
        return ExitCode::FAILURE;
    }
    penstock::cli::run()
}

/// Keeps glibc from holding on to memory that was freed.
///
/// The threads share four heaps: by default nearly every thread gets one of its own, and each keeps what was freed in
/// it. And buffers of 128 KiB and more, such as those that unpack an answer, always go back to the system: by default
/// glibc raises that bound as soon as one was freed, and the heaps then grow by them. Together two fifths of the
/// demo's memory, for about a fifth of its time.
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet, and the calls only set numbers that the allocator reads when it makes a heap or a buffer.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
