//! `orgsim`: a simulated org as a process of its own. The first line on stdout is its URL.

use clap::Parser;
use orgsim::{Options, Server};
use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

/// A simulated Salesforce org on loopback.
#[derive(Parser)]
#[command(version, about)]
struct Flags {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Decides everything invented
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Milliseconds added to every answer
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// SFDX or metadata-API project to add; repeatable
    #[arg(long, value_name = "DIR")]
    sfdx: Vec<PathBuf>,
    /// Client id of the connected app
    #[arg(long, default_value = "orgsim-client")]
    client_id: String,
    /// Its secret
    #[arg(long, default_value = "orgsim-secret")]
    client_secret: String,
    /// Access token accepted for ever; repeatable
    #[arg(long, value_name = "TOKEN")]
    access_token: Vec<String>,
    /// Refresh token accepted; repeatable
    #[arg(long, value_name = "TOKEN")]
    refresh_token: Vec<String>,
    /// Seconds an access token lives; for ever when not given
    #[arg(long, value_name = "SECS")]
    token_lifetime_secs: Option<u64>,
    /// API calls allowed in 24 hours
    #[arg(long, default_value_t = 15_000)]
    daily_limit: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let server = Server::start(Options {
        listen: flags.listen,
        seed: flags.seed,
        latency: Duration::from_millis(flags.latency_ms),
        sfdx: flags.sfdx,
        client_id: flags.client_id,
        client_secret: flags.client_secret,
        access_tokens: flags.access_token,
        refresh_tokens: flags.refresh_token,
        token_lifetime: flags.token_lifetime_secs.map(Duration::from_secs),
        daily_limit: flags.daily_limit,
        ..Options::default()
    })
    .await?;
    // A parent that reads the URL through a pipe must not wait for a full buffer.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", server.url())?;
    stdout.flush()?;
    std::future::pending().await
}
