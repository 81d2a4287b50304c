//! `orgsim`: a simulated org as a process of its own. The first line on stdout is its URL, the second one a JSON
//! object with all its addresses.

use anyhow::Context;
use clap::{Args, Parser};
use orgsim::{BulkFlags, DailyReset, DataFlags, FaultRule, Options, PerAppLimit, Server};
use std::{io::Write, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

/// A simulated Salesforce org on loopback.
#[derive(Parser)]
#[command(version, about)]
struct Flags {
    #[command(flatten)]
    listeners: Listeners,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    limits: Limits,
    /// Decides everything invented
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Salesforce's id of the org, of 15 characters: two of them are two orgs
    #[arg(long, value_name = "ID", default_value = "00D5g0000001234", value_parser = organization_id)]
    organization_id: String,
    /// Milliseconds added to every answer
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// SFDX or metadata-API project to add; repeatable
    #[arg(long, value_name = "DIR")]
    sfdx: Vec<PathBuf>,
    /// TOML file with rules for faults, in force from the start
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    #[command(flatten)]
    data: DataFlags,
    #[command(flatten)]
    bulk: BulkFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Listeners")]
struct Listeners {
    /// Address to listen on for plain HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address to listen on for TLS
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    tls_listen: SocketAddr,
    /// Address of the CONNECT proxy; all its tunnels end at the TLS listener
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    proxy_listen: SocketAddr,
    /// Neither TLS nor proxy
    #[arg(long, conflicts_with_all = ["tls_listen", "proxy_listen", "ca_out"])]
    plain_only: bool,
    /// File to write the certificate authority to, in PEM
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Name or address to put into the certificate besides the usual ones; repeatable
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// File to write the addresses to, as JSON, once they can be used
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Login")]
struct Login {
    /// Client id of the connected app
    #[arg(long, value_name = "ID", default_value = "orgsim-client")]
    client_id: String,
    /// Its secret
    #[arg(long, value_name = "SECRET", default_value = "orgsim-secret")]
    client_secret: String,
    /// The one user name that may log in; any, when not given
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Its password with the security token behind it; any, when not given
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Public key or certificate in PEM that signs login assertions; signatures are not verified without; repeatable
    #[arg(long, value_name = "FILE")]
    jwt_key: Vec<PathBuf>,
    /// Access token accepted for ever; repeatable
    #[arg(long, value_name = "TOKEN")]
    access_token: Vec<String>,
    /// Refresh token accepted; repeatable
    #[arg(long, value_name = "TOKEN")]
    refresh_token: Vec<String>,
    /// Refresh tokens are good for one use and answered with a new one
    #[arg(long)]
    rotate_refresh_tokens: bool,
    /// Seconds an access token lives; for ever when not given
    #[arg(long, value_name = "SECS")]
    token_lifetime_secs: Option<u64>,
    /// API requests an access token is good for; any number when not given
    #[arg(long, value_name = "REQUESTS")]
    token_requests: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// API calls allowed in 24 hours
    #[arg(long, value_name = "CALLS", default_value_t = 15_000)]
    daily_limit: u64,
    /// Forget the calls of a window together at its end, instead of each one after 24 hours
    #[arg(long)]
    daily_reset_at_once: bool,
    /// Quota of the connected app, shown in Sforce-Limit-Info
    #[arg(long, value_name = "NAME=CALLS", value_parser = per_app_limit)]
    per_app_limit: Option<PerAppLimit>,
    /// Milliseconds from which on a running request is a long one
    #[arg(long, value_name = "MS", default_value_t = 20_000)]
    long_request_ms: u64,
    /// Long requests at once from which on the next request is turned away; 25 outside a Developer Edition
    #[arg(long, value_name = "REQUESTS", default_value_t = 5)]
    long_requests_max: usize,
}

fn organization_id(text: &str) -> Result<String, String> {
    let is_id =
        text.len() == 15 && text.starts_with("00D") && text.bytes().all(|b| b.is_ascii_alphanumeric());
    is_id.then(|| text.to_owned()).ok_or_else(|| "15 letters and digits are needed, from 00D on".to_owned())
}

fn per_app_limit(text: &str) -> Result<PerAppLimit, String> {
    let (app, calls) = text.split_once('=').ok_or("write it as NAME=CALLS")?;
    let calls = calls.parse().map_err(|_| format!("`{calls}` is not a number of calls"))?;
    Ok(PerAppLimit { app: app.to_owned(), calls })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))
}

fn options(flags: Flags) -> anyhow::Result<Options> {
    let Flags { listeners, login, limits, .. } = flags;
    let faults = match &flags.faults {
        Some(path) => FaultRule::from_toml(&read(path)?).with_context(|| path.display().to_string())?,
        None => Vec::new(),
    };
    let beside = |address| (!listeners.plain_only).then_some(address);
    Ok(Options {
        listen: listeners.listen,
        tls_listen: beside(listeners.tls_listen),
        proxy_listen: beside(listeners.proxy_listen),
        ca_out: listeners.ca_out,
        tls_names: listeners.tls_name,
        seed: flags.seed,
        organization_id: flags.organization_id,
        latency: Duration::from_millis(flags.latency_ms),
        sfdx: flags.sfdx,
        client_id: login.client_id,
        client_secret: login.client_secret,
        username: login.username,
        password: login.password,
        jwt_keys: login.jwt_key.iter().map(|path| read(path)).collect::<Result<_, _>>()?,
        access_tokens: login.access_token,
        refresh_tokens: login.refresh_token,
        rotate_refresh_tokens: login.rotate_refresh_tokens,
        token_lifetime: login.token_lifetime_secs.map(Duration::from_secs),
        token_requests: login.token_requests,
        daily_limit: limits.daily_limit,
        daily_reset: if limits.daily_reset_at_once { DailyReset::AtOnce } else { DailyReset::Rolling },
        per_app_limit: limits.per_app_limit,
        long_request_after: Duration::from_millis(limits.long_request_ms),
        long_requests_max: limits.long_requests_max,
        faults,
        data: flags.data.options(flags.seed),
        bulk: flags.bulk.options(),
        ..Options::default()
    })
}

/// Writes a file so that whoever waits for it never sees half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let ready_file = flags.listeners.ready_file.clone();
    let options = options(flags)?;
    // Whole, so that it can be used from another folder.
    let ca_file = options.ca_out.as_ref().map(std::path::absolute).transpose()?;
    let server = Server::start(options).await?;
    let addresses = serde_json::json!({
        "url": server.url(), "tls_url": server.tls_url(), "proxy_url": server.proxy_url(), "ca_file": ca_file,
    });
    // A parent that reads this through a pipe must not wait for a full buffer.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}\n{addresses}", server.url())?;
    stdout.flush()?;
    if let Some(path) = ready_file {
        write_whole(&path, &format!("{addresses}\n"))
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    std::future::pending().await
}
