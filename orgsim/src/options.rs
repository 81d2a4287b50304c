//! How a server is started.

use crate::bulk::BulkOptions;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Options of a server; the default is a Developer Edition org on a free loopback port.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
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
    /// Access tokens accepted for ever, besides those handed out.
    pub access_tokens: Vec<String>,
    /// Refresh tokens accepted.
    pub refresh_tokens: Vec<String>,
    /// Life of a token handed out; `None`: for ever.
    pub token_lifetime: Option<Duration>,
    /// API calls allowed in 24 hours.
    pub daily_limit: u64,
    /// How Bulk jobs behave.
    pub bulk: BulkOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 7,
            latency: Duration::ZERO,
            sfdx: Vec::new(),
            client_id: "orgsim-client".to_owned(),
            client_secret: "orgsim-secret".to_owned(),
            access_tokens: Vec::new(),
            refresh_tokens: Vec::new(),
            token_lifetime: None,
            daily_limit: 15_000,
            bulk: BulkOptions::default(),
        }
    }
}
