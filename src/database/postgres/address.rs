//! Where a PostgreSQL server is, and what every connection to one is told first.
//!
//! Promises: a URL means the same to batches and to the warehouse; what goes over a network is secured unless the settings
//! say otherwise; no error shows the URL.

use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::database::{SecretUrl, TlsMode};

/// Opening a connection may take so long, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What every session is told first, so that values come in one form whatever the server's settings are.
pub(crate) const SET_UP: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; \
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET standard_conforming_strings = on; \
    SET client_min_messages = warning";

/// What the library needs to connect.
///
/// # Errors
/// The URL is none of PostgreSQL's; the text does not hold it.
pub(crate) fn config(url: &SecretUrl, tls: TlsMode) -> Result<Config, String> {
    // The library's message names the part of the URL that is wrong, and not what it holds.
    let mut config = Config::from_str(url.expose())
        .map_err(|_| "`url` is not of the form postgresql://user:password@host:port/name".to_owned())?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("penstock");
    }
    config.tcp_user_timeout(Duration::from_secs(30));
    config.ssl_mode(match tls {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Auto if config.get_hosts().iter().all(is_this_machine) => SslMode::Disable,
        TlsMode::Auto | TlsMode::Require => SslMode::Require,
    });
    Ok(config)
}

/// Whether the host is this machine, so that nothing goes over a network.
fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
