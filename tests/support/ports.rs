//! Ports of this machine for servers that tests start, and start again.
//!
//! They lie below those that Linux gives to connections (`ip_local_port_range`, from 32768 by default). A port from there
//! that is free now may be a connection's a moment later: before the server has it, or while the server is down.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 16_000;
const COUNT: u32 = 16_000;

/// A port that nobody listens at, and that this process has not named before.
///
/// # Panics
/// When all of them are taken.
pub fn free_port() -> u16 {
    static NAMED: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(127);
    let named = || NAMED.fetch_add(1, Ordering::Relaxed);
    let port = |_| u16::try_from(FIRST + begin.wrapping_add(named()) % COUNT).ok();
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..COUNT).filter_map(port).find(is_free).expect("a free port")
}
