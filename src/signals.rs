//! Signals, read by one thread with `sigwait`: no handler runs, nothing is interrupted.
//!
//! `main` calls [`block`] before any thread starts, so that every thread inherits the mask, and then
//! [`listen`]. A child process inherits the mask too: start it through [`unblock_in_child`].
//!
//! | signal | asks for |
//! | --- | --- |
//! | USR1, USR2 | pause, resume |
//! | HUP | reload the configuration |
//! | TERM, INT | drain; a second one leaves at once, with 143 or 130 |
//! | QUIT | a dump of the actors to the log |

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, Signal as Raw};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Freeze: no lease, no permit, until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Read the configuration again.
    Reload,
    /// Close the sources, run dry, leave.
    Drain,
    /// Leave at once with this exit code.
    LeaveNow {
        /// 128 plus the signal's number.
        exit_code: i32,
    },
    /// Write the state of the actors to the log.
    Dump,
}

/// Why signals cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The mask could not be changed.
    #[error("block signals")]
    Block(#[source] nix::Error),
    /// The thread could not be made.
    #[error("start the signal thread")]
    Thread(#[source] std::io::Error),
}

const READ: [Raw; 6] = [Raw::SIGHUP, Raw::SIGTERM, Raw::SIGINT, Raw::SIGUSR1, Raw::SIGUSR2, Raw::SIGQUIT];

fn set() -> SigSet {
    READ.into_iter().collect()
}

/// Blocks the signals in this thread and in all threads it starts from now on.
///
/// # Errors
/// When the system refuses the mask.
pub fn block() -> Result<(), SignalError> {
    set().thread_block().map_err(SignalError::Block)
}

/// Lets the signals that end a program end this one again: for a command that only watches what another process does.
///
/// # Errors
/// When the system refuses the mask.
pub fn leave_to_the_system() -> Result<(), SignalError> {
    let ending: SigSet = [Raw::SIGTERM, Raw::SIGINT, Raw::SIGHUP].into_iter().collect();
    ending.thread_unblock().map_err(SignalError::Block)
}

/// Reads signals on a thread of its own and tells `receive` what each asks for, one after the other.
/// The thread ends when `receive` returns `false`; otherwise it lives as long as the process.
///
/// # Errors
/// When the thread cannot start.
pub fn listen(
    mut receive: impl FnMut(Signal) -> bool + Send + 'static,
) -> Result<JoinHandle<()>, SignalError> {
    let read_on = move || {
        let mut reader = Reader::default();
        loop {
            let wanted = match set().wait() {
                Ok(raw) => reader.read(raw),
                Err(nix::Error::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "signals are no longer read");
                    return;
                }
            };
            if let Some(signal) = wanted
                && !receive(signal)
            {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(read_on).map_err(SignalError::Thread)
}

/// Lets a child process receive signals as usual: without this it would ignore TERM as we do.
pub fn unblock_in_child(command: &mut Command) -> &mut Command {
    let unblock = || set().thread_unblock().map_err(std::io::Error::from);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. It makes
    // one, `pthread_sigmask`, on a set that lives on the stack; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(unblock) }
}

/// Makes sense of signals in their order.
#[derive(Debug, Default)]
struct Reader {
    is_draining: bool,
}

impl Reader {
    fn read(&mut self, raw: Raw) -> Option<Signal> {
        let signal = match raw {
            Raw::SIGUSR1 => Signal::Pause,
            Raw::SIGUSR2 => Signal::Resume,
            Raw::SIGHUP => Signal::Reload,
            Raw::SIGQUIT => Signal::Dump,
            Raw::SIGTERM | Raw::SIGINT if self.is_draining => {
                Signal::LeaveNow { exit_code: 128 + raw as i32 }
            }
            Raw::SIGTERM | Raw::SIGINT => {
                self.is_draining = true;
                Signal::Drain
            }
            _ => return None,
        };
        Some(signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    use rstest::rstest;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    #[rstest]
    #[case::pause_and_resume(&[Raw::SIGUSR1, Raw::SIGUSR2], &[Signal::Pause, Signal::Resume])]
    #[case::first_term(&[Raw::SIGTERM], &[Signal::Drain])]
    #[case::second_term(&[Raw::SIGTERM, Raw::SIGTERM], &[Signal::Drain, Signal::LeaveNow { exit_code: 143 }])]
    #[case::term_then_int(&[Raw::SIGTERM, Raw::SIGINT], &[Signal::Drain, Signal::LeaveNow { exit_code: 130 }])]
    #[case::others_between(
        &[Raw::SIGINT, Raw::SIGHUP, Raw::SIGQUIT, Raw::SIGINT],
        &[Signal::Drain, Signal::Reload, Signal::Dump, Signal::LeaveNow { exit_code: 130 }]
    )]
    #[case::not_ours(&[Raw::SIGCHLD], &[])]
    fn signals_ask_for_what_their_order_says(#[case] raw: &[Raw], #[case] expected: &[Signal]) {
        let mut reader = Reader::default();
        let read: Vec<_> = raw.iter().filter_map(|raw| reader.read(*raw)).collect();
        assert_eq!(read, expected);
    }

    /// Not a test by itself: the process that the next test starts and signals.
    #[test]
    #[ignore = "run by `a_process_reads_the_signals_sent_to_it` in a process of its own"]
    fn reads_signals_and_prints_them() {
        let reader = listen(|signal| {
            println!("read {signal:?}");
            !matches!(signal, Signal::LeaveNow { .. })
        })
        .unwrap();
        println!("listening");
        reader.join().unwrap();
    }

    /// The mask is inherited over exec, so the whole child, test harness and all, starts with signals blocked.
    #[test]
    fn a_process_reads_the_signals_sent_to_it() {
        block().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::tests::reads_signals_and_prints_them", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        set().thread_unblock().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The harness writes the test's name on the same line.
        let mut next = |wanted: &str| lines.find(|line| line.ends_with(wanted)).expect("the child went on");
        next("listening");
        for (raw, wanted) in [
            (Raw::SIGUSR1, "read Pause"),
            (Raw::SIGUSR2, "read Resume"),
            (Raw::SIGHUP, "read Reload"),
            (Raw::SIGQUIT, "read Dump"),
            (Raw::SIGTERM, "read Drain"),
            (Raw::SIGINT, "read LeaveNow { exit_code: 130 }"),
        ] {
            kill(pid, raw).unwrap();
            next(wanted);
        }
        assert!(child.wait().unwrap().success());
    }

    #[rstest]
    #[case::with_the_mask(false)]
    #[case::unblocked(true)]
    fn a_child_dies_of_term_only_when_unblocked(#[case] unblocked: bool) {
        block().unwrap();
        // The shell ends by itself; what matters is whether its own TERM reaches it first.
        let mut command = Command::new("sh");
        command.args(["-c", "kill -TERM $$; exit 5"]);
        let command = if unblocked { unblock_in_child(&mut command) } else { &mut command };
        let status = command.status().unwrap();
        set().thread_unblock().unwrap();
        let expected = if unblocked { (None, Some(15)) } else { (Some(5), None) };
        assert_eq!((status.code(), status.signal()), expected);
    }
}
