//! How a server is started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::batches::BatchPlan;
use crate::faults::FaultRule;
use crate::limits::Limits;

/// Options of a server; the default answers at once, without limits, on a free loopback port.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The key that is accepted; `None`: any, and none.
    pub api_key: Option<String>,
    /// Requests and tokens in a minute.
    pub limits: Limits,
    /// Time from a question to its answer.
    pub latency: Duration,
    /// Faults in force from the start.
    pub faults: Vec<FaultRule>,
    /// How batches go.
    pub batches: BatchPlan,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            api_key: None,
            limits: Limits::default(),
            latency: Duration::ZERO,
            faults: Vec::new(),
            batches: BatchPlan::default(),
        }
    }
}
