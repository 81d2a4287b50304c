//! `aisim`: a simulated OpenAI-compatible endpoint as a process of its own. The first line on stdout is the address for
//! clients, with `/v1`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use aisim::{BatchEnd, BatchPlan, Counting, FaultRule, LimitKind, Limits, Options, Server};
use clap::Parser;

/// A simulated OpenAI-compatible endpoint on loopback.
#[derive(Parser)]
#[command(version, about)]
struct Flags {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// The key that is accepted; any, when not given
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Requests allowed in a minute; any number when not given
    #[arg(long, value_name = "REQUESTS")]
    requests_per_minute: Option<u32>,
    /// Tokens allowed in a minute; any number when not given
    #[arg(long, value_name = "TOKENS")]
    tokens_per_minute: Option<u32>,
    /// How limits are counted: `bucket`, or `window` for the minute of the clock
    #[arg(long, value_name = "KIND", default_value = "bucket")]
    limit_kind: LimitKind,
    /// Which tokens count: `used`, or `reserved` for the longest answer that a question allows
    #[arg(long, value_name = "KIND", default_value = "used")]
    count_tokens: Counting,
    /// Requests that a full bucket holds; those of a minute when not given
    #[arg(long, value_name = "REQUESTS")]
    burst: Option<u32>,
    /// Say nothing of the limits in headers
    #[arg(long)]
    no_headers: bool,
    /// Milliseconds from a question to its answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Rules for faults, with `;` between them, such as `status=500@every=10;prose@nth=3`; repeatable
    #[arg(long, value_name = "RULES")]
    faults: Vec<String>,
    /// Milliseconds in which a batch is answered
    #[arg(long, value_name = "MS", default_value_t = 800)]
    batch_ms: u64,
    /// How batches end: `complete`, `expire=PERCENT` or `fail`
    #[arg(long, value_name = "END", default_value = "complete")]
    batch_end: BatchEnd,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let mut faults = Vec::new();
    for rules in &flags.faults {
        faults.extend(FaultRule::read_all(rules)?);
    }
    let server = Server::start(Options {
        listen: flags.listen,
        api_key: flags.api_key,
        limits: Limits {
            requests_per_minute: flags.requests_per_minute,
            tokens_per_minute: flags.tokens_per_minute,
            kind: flags.limit_kind,
            counting: flags.count_tokens,
            burst: flags.burst,
            tells: !flags.no_headers,
            tells_when: !flags.no_headers,
        },
        latency: Duration::from_millis(flags.latency_ms),
        faults,
        batches: BatchPlan {
            running: Duration::from_millis(flags.batch_ms),
            end: flags.batch_end,
            ..BatchPlan::default()
        },
    })
    .await?;
    // A parent that reads this through a pipe must not wait for a full buffer.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", server.base_url())?;
    stdout.flush()?;
    std::future::pending().await
}
