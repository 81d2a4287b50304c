//! How a server is started.

use crate::bulk::BulkOptions;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Options of a server; the default is a Developer Edition org on a free loopback port, plain HTTP only.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the TLS listener; `None`: no TLS, unless there is a proxy.
    pub tls_listen: Option<SocketAddr>,
    /// Address of the CONNECT proxy, whose every tunnel ends at the TLS listener; `None`: no proxy.
    pub proxy_listen: Option<SocketAddr>,
    /// File the certificate authority of the TLS listener is written to, in PEM.
    pub ca_out: Option<PathBuf>,
    /// Names and addresses the certificate holds besides `localhost`, `127.0.0.1` and Salesforce's own.
    pub tls_names: Vec<String>,
    /// Decides everything invented: rows, ids, chances.
    pub seed: u64,
    /// Time added to every REST and token answer.
    pub latency: Duration,
    /// SFDX or metadata-API projects to add to the org.
    pub sfdx: Vec<PathBuf>,
    /// Client id of the one connected app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The one user name that may log in; `None`: any.
    pub username: Option<String>,
    /// Its password, with the security token behind it where one is in use; `None`: any but the empty one.
    pub password: Option<String>,
    /// Public keys or certificates in PEM, one of which must have signed a login assertion. Empty: a signature is
    /// not verified.
    pub jwt_keys: Vec<String>,
    /// Access tokens accepted for ever, besides those handed out.
    pub access_tokens: Vec<String>,
    /// Refresh tokens accepted.
    pub refresh_tokens: Vec<String>,
    /// A refresh token is good for one use and answered with its successor; using it again ends the whole chain.
    pub rotate_refresh_tokens: bool,
    /// Life of a token handed out; `None`: for ever.
    pub token_lifetime: Option<Duration>,
    /// API requests a token handed out is good for; `None`: any number.
    pub token_requests: Option<u64>,
    /// API calls allowed in a window.
    pub daily_limit: u64,
    /// What the rows are like.
    pub data: crate::dml::DataOptions,
    /// How Bulk jobs behave.
    pub bulk: BulkOptions,
    /// The window's length: 24 hours.
    pub daily_window: Duration,
    /// How usage falls.
    pub daily_reset: DailyReset,
    /// A quota of the connected app's own, shown in `Sforce-Limit-Info` beside the org's.
    pub per_app_limit: Option<PerAppLimit>,
    /// From this real time on a running request counts as long: 20 seconds.
    pub long_request_after: Duration,
    /// With so many long requests running, the next request is turned away: 5 in a Developer Edition, else 25.
    pub long_requests_max: usize,
    /// Salesforce's id of the org, of 15 characters.
    pub organization_id: String,
    /// Faults in force from the start.
    pub faults: Vec<crate::FaultRule>,
}

/// How the count of API calls falls again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DailyReset {
    /// Each call is forgotten one window after it was made, to about a hundredth of a window.
    #[default]
    Rolling,
    /// All calls are forgotten together, at the end of each window; the first begins with the server.
    AtOnce,
}

/// Quota of a connected app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerAppLimit {
    /// The app's name.
    pub app: String,
    /// API calls allowed in a window.
    pub calls: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: free_loopback_port(),
            tls_listen: None,
            proxy_listen: None,
            ca_out: None,
            tls_names: Vec::new(),
            seed: 7,
            latency: Duration::ZERO,
            sfdx: Vec::new(),
            client_id: "orgsim-client".to_owned(),
            client_secret: "orgsim-secret".to_owned(),
            username: None,
            password: None,
            jwt_keys: Vec::new(),
            access_tokens: Vec::new(),
            refresh_tokens: Vec::new(),
            rotate_refresh_tokens: false,
            token_lifetime: None,
            token_requests: None,
            daily_limit: 15_000,
            daily_window: Duration::from_secs(24 * 60 * 60),
            daily_reset: DailyReset::default(),
            per_app_limit: None,
            long_request_after: Duration::from_secs(20),
            long_requests_max: 5,
            organization_id: "00D5g0000001234".to_owned(),
            faults: Vec::new(),
            bulk: BulkOptions::default(),
            data: crate::dml::DataOptions::default(),
        }
    }
}

impl Options {
    /// The default with all three listeners, each on a free loopback port.
    pub fn with_all_listeners() -> Self {
        Self {
            tls_listen: Some(free_loopback_port()),
            proxy_listen: Some(free_loopback_port()),
            ..Self::default()
        }
    }
}

fn free_loopback_port() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}
