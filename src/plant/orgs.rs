//! The plant's part for orgs: a client for each, with its credentials, and the simulated ones.
//!
//! Promises: secrets are read here and go nowhere but into the client; a file that cannot be read is named with its org.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Outside, PlantError};
use crate::actors::fetcher::OrgClients;
use crate::clock::SharedClock;
use crate::config::{self, Config};
use crate::model::OrgName;
use crate::salesforce::auth::kept_token::TokenFile;
use crate::salesforce::auth::sf_cli::InstalledSf;
use crate::salesforce::auth::sfdx_url::SfdxUrl;
use crate::salesforce::transport::{HttpClient, HttpSettings};
use crate::salesforce::{Credentials, Gate, OrgClient, OrgError, OrgSettings, SeededJitter};

/// Starts the simulated orgs that are configured.
pub(super) async fn start_simulators(config: &Config) -> Result<Vec<(OrgName, orgsim::Server)>, PlantError> {
    let mut simulators = Vec::new();
    for org in config.org.iter().filter(|org| org.simulated) {
        let options = orgsim::Options {
            seed: config.simulator.seed,
            latency: Duration::from_millis(config.simulator.latency_ms),
            sfdx: config.simulator.sfdx.clone(),
            ..orgsim::Options::default()
        };
        simulators.push((org.name.clone(), orgsim::Server::start(options).await?));
    }
    Ok(simulators)
}

fn read_file(org: &config::OrgConfig, path: &std::path::Path) -> Result<Vec<u8>, PlantError> {
    let failed = |source| PlantError::Secret { org: org.name.clone(), path: path.to_owned(), source };
    std::fs::read(path).map_err(failed)
}

/// A client for each org, all before the same gate.
pub(super) fn org_clients(
    config: &Config,
    simulators: &[(OrgName, orgsim::Server)],
    gate: &Arc<dyn Gate>,
    outside: &Outside,
) -> Result<OrgClients, PlantError> {
    let shared = Arc::new(HttpClient::new(&HttpSettings::default())?);
    let mut clients = HashMap::new();
    for org in &config.org {
        // Orgs without certificates or a proxy of their own share one set of connections.
        let http = match (&org.ca_file, &org.proxy_url) {
            (None, None) => Arc::clone(&shared),
            (ca_file, proxy_url) => {
                let extra_ca_pem = ca_file.as_ref().map(|path| read_file(org, path)).transpose()?;
                let proxy_url =
                    proxy_url.as_ref().map(|url| url.to_secret_string().expose_secret().to_owned());
                let settings = HttpSettings { extra_ca_pem, proxy_url, ..HttpSettings::default() };
                Arc::new(HttpClient::new(&settings)?)
            }
        };
        let simulator = simulators.iter().find(|(name, _)| *name == org.name);
        let (login_url, credentials) = match simulator {
            Some((_, server)) => {
                let options = orgsim::Options::default();
                let credentials = Credentials::ClientCredentials {
                    client_id: options.client_id,
                    client_secret: options.client_secret.into(),
                };
                (server.url(), credentials)
            }
            None => (login_url(org), credentials(org, &config.state_dir, &outside.clock)?),
        };
        let settings = OrgSettings::new(org.name.clone(), login_url, org.api_version.clone(), credentials);
        let jitter = Arc::new(SeededJitter::new(outside.seed));
        let client = OrgClient::new(settings, http, Arc::clone(gate), outside.clock.clone(), jitter);
        let client = client.map_err(|source| PlantError::Org { org: org.name.clone(), source })?;
        clients.insert(org.name.clone(), client);
    }
    Ok(Arc::new(clients))
}

/// Where the org is asked for sessions. An sfdx auth URL says so itself.
fn login_url(org: &config::OrgConfig) -> String {
    let from_url = org.sfdx_url.as_ref().filter(|_| org.auth == config::AuthKind::SfdxUrl);
    let from_url = from_url.and_then(|url| SfdxUrl::parse(url.to_secret_string().expose_secret()).ok());
    from_url.map_or_else(|| org.login_url.as_str().to_owned(), |url| url.instance_url)
}

fn credentials(
    org: &config::OrgConfig,
    state_dir: &std::path::Path,
    clock: &SharedClock,
) -> Result<Credentials, PlantError> {
    let read = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path);
        let text = text.map(|text| config::Secret::new(text.trim()).to_secret_string());
        text.map_err(|source| PlantError::Secret { org: org.name.clone(), path: path.to_owned(), source })
    };
    let secret = |value: &Option<config::Secret>, file: &Option<std::path::PathBuf>| match (value, file) {
        (Some(value), _) => Ok(value.to_secret_string()),
        (None, Some(file)) => read(file),
        // The config check has asked for one of them.
        (None, None) => Ok(config::Secret::new("").to_secret_string()),
    };
    let client_id = org.client_id.clone().unwrap_or_default();
    // A replaced refresh token outlives the process, or the next start would be locked out.
    let keeper = Arc::new(TokenFile::new(state_dir.join("tokens").join(format!("{}.json", org.name))));
    Ok(match org.auth {
        config::AuthKind::RefreshToken => Credentials::RefreshToken {
            client_id,
            client_secret: match (&org.client_secret, &org.client_secret_file) {
                (None, None) => None,
                (value, file) => Some(secret(value, file)?),
            },
            refresh_token: secret(&org.refresh_token, &org.refresh_token_file)?,
            keeper,
        },
        config::AuthKind::SfdxUrl => {
            let url = secret(&org.sfdx_url, &org.sfdx_url_file)?;
            let url = SfdxUrl::parse(url.expose_secret());
            let url = url.map_err(|error| PlantError::Org {
                org: org.name.clone(),
                source: OrgError::Settings(format!("`sfdx_url` is no sfdx auth URL: {error}")),
            })?;
            let SfdxUrl { client_id, client_secret, refresh_token, .. } = url;
            Credentials::RefreshToken { client_id, client_secret, refresh_token, keeper }
        }
        config::AuthKind::SfCli => {
            let environment = config::process_environment()
                .filter_map(|(name, value)| std::ffi::CString::new(format!("{name}={value}")).ok());
            let cli = InstalledSf::new("sf", environment.collect(), clock.clone())
                .map_err(|source| PlantError::Store { what: "sf CLI", source })?;
            Credentials::SfCli { alias: org.sf_alias.clone().unwrap_or_default(), cli: Arc::new(cli) }
        }
        config::AuthKind::ClientCredentials => Credentials::ClientCredentials {
            client_id,
            client_secret: secret(&org.client_secret, &org.client_secret_file)?,
        },
        config::AuthKind::Jwt => Credentials::JwtBearer {
            client_id,
            username: org.username.clone().unwrap_or_default(),
            audience: org.audience.clone(),
            private_key_pem: secret(&None, &org.private_key_file)?,
        },
        config::AuthKind::Token => {
            let token = secret(&org.token, &org.token_file)?;
            Credentials::FixedToken { token, instance_url: org.login_url.as_str().to_owned() }
        }
    })
}
