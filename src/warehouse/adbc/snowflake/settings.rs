//! How to reach a Snowflake account.
//!
//! Promises: secrets are in no print and in no message; a key file that cannot be used is told before anybody is asked.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::errors::{classify, without_secrets};
use super::names::Home;
use crate::warehouse::WarehouseError;
use crate::warehouse::adbc::{AdbcConnection, DriverPlace, open_database};

/// How the user shows who they are.
#[derive(Debug, Clone)]
pub enum SnowflakeLogin {
    /// A password.
    Password(SecretString),
    /// A private key whose public half the user has at Snowflake.
    KeyPair {
        /// PKCS8 in PEM.
        file: PathBuf,
        /// Where the file is encrypted.
        passphrase: Option<SecretString>,
    },
}

/// An account, a login, and where in it penstock is at home.
#[derive(Debug, Clone)]
pub struct SnowflakeSettings {
    /// Another driver than the installed `snowflake`: a path, or a name.
    pub driver: Option<String>,
    /// Folders with manifests or libraries of drivers, searched first.
    pub driver_search: Vec<PathBuf>,
    /// The account's identifier, as `orgname-accountname`.
    pub account: String,
    /// The user.
    pub user: String,
    /// How they show it.
    pub login: SnowflakeLogin,
    /// The role, unless the user's own.
    pub role: Option<String>,
    /// The virtual warehouse that computes, unless the user's own.
    pub warehouse: Option<String>,
    /// The database of penstock's own tables, and of targets that name none.
    pub database: String,
    /// The schema likewise.
    pub schema: String,
    /// The stage of loads that name none; penstock's own without it.
    pub stage: Option<String>,
    /// Another host than the account's: a private link, or a stand-in.
    pub host: Option<String>,
    /// Another port than that of HTTPS.
    pub port: Option<u16>,
    /// `http` for a stand-in on this machine; HTTPS without it.
    pub protocol: Option<String>,
    /// How long one request may take, retries included.
    pub request_timeout: Duration,
}

impl SnowflakeSettings {
    /// Where penstock is at home.
    pub fn home(&self) -> Home {
        Home { database: self.database.clone(), schema: self.schema.clone() }
    }

    /// Logs in.
    ///
    /// # Errors
    /// A driver that is not there, a key that cannot be used, and what Snowflake says.
    pub fn log_in(&self) -> Result<AdbcConnection, WarehouseError> {
        let place = DriverPlace {
            kind: "snowflake",
            name: "snowflake",
            entrypoint: "AdbcDriverSnowflakeInit",
            configured: self.driver.clone(),
            search: self.driver_search.clone(),
        };
        let options = self.options()?;
        let secrets: Vec<&str> = options
            .iter()
            .filter(|(key, _)| SECRETS.contains(key))
            .map(|(_, value)| value.as_str())
            .collect();
        let shown: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        open_database(&place, &shown, classify)
            .and_then(|database| AdbcConnection::connect(&database, classify))
            .map_err(|error| without_secrets(error, &secrets))
    }

    fn options(&self) -> Result<Vec<(&'static str, String)>, WarehouseError> {
        let timeout = format!("{}ms", self.request_timeout.as_millis());
        let mut options = vec![
            ("username", self.user.clone()),
            ("adbc.snowflake.sql.account", self.account.clone()),
            ("adbc.snowflake.sql.db", self.database.clone()),
            ("adbc.snowflake.sql.schema", self.schema.clone()),
            ("adbc.snowflake.sql.client_option.request_timeout", timeout.clone()),
            ("adbc.snowflake.sql.client_option.login_timeout", timeout),
            ("adbc.snowflake.sql.client_option.disable_telemetry", "true".to_owned()),
            ("adbc.snowflake.sql.client_option.app_name", "penstock".to_owned()),
            // Nanoseconds of 64 bits do not reach the years that a date field may have.
            ("adbc.snowflake.sql.client_option.max_timestamp_precision", "microseconds".to_owned()),
        ];
        let more = [
            ("adbc.snowflake.sql.role", self.role.clone()),
            ("adbc.snowflake.sql.warehouse", self.warehouse.clone()),
            ("adbc.snowflake.sql.uri.host", self.host.clone()),
            ("adbc.snowflake.sql.uri.port", self.port.map(|port| port.to_string())),
            ("adbc.snowflake.sql.uri.protocol", self.protocol.clone()),
        ];
        options.extend(more.into_iter().filter_map(|(key, value)| Some((key, value?))));
        match &self.login {
            SnowflakeLogin::Password(password) => {
                options.push((PASSWORD, password.expose_secret().to_owned()));
            }
            SnowflakeLogin::KeyPair { file, passphrase } => {
                let told = file.display();
                let key = fs::read_to_string(file).map_err(|error| {
                    WarehouseError::Denied(format!("the private key `{told}` cannot be read: {error}"))
                })?;
                let is_encrypted = key.contains("BEGIN ENCRYPTED PRIVATE KEY");
                if !is_encrypted && !key.contains("BEGIN PRIVATE KEY") {
                    return Err(WarehouseError::Denied(format!(
                        "`{told}` is no private key in PKCS8: convert it with `openssl pkcs8 -topk8`"
                    )));
                }
                if is_encrypted && passphrase.is_none() {
                    return Err(WarehouseError::Denied(format!(
                        "the private key `{told}` is encrypted: give its passphrase"
                    )));
                }
                options.push(("adbc.snowflake.sql.auth_type", "auth_jwt".to_owned()));
                if let (true, Some(passphrase)) = (is_encrypted, passphrase) {
                    options.push((PASSPHRASE, passphrase.expose_secret().to_owned()));
                }
                options.push((KEY, key));
            }
        }
        Ok(options)
    }
}

const PASSWORD: &str = "password";
const KEY: &str = "adbc.snowflake.sql.client_option.jwt_private_key_pkcs8_value";
const PASSPHRASE: &str = "adbc.snowflake.sql.client_option.jwt_private_key_pkcs8_password";
const SECRETS: [&str; 3] = [PASSWORD, KEY, PASSPHRASE];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(login: SnowflakeLogin) -> SnowflakeSettings {
        SnowflakeSettings {
            driver: None,
            driver_search: Vec::new(),
            account: "acme-main".to_owned(),
            user: "loader".to_owned(),
            login,
            role: Some("LOADER".to_owned()),
            warehouse: None,
            database: "raw".to_owned(),
            schema: "crm".to_owned(),
            stage: None,
            host: None,
            port: None,
            protocol: None,
            request_timeout: Duration::from_secs(60),
        }
    }

    fn key_pair(text: &str, passphrase: Option<&str>) -> (tempfile::TempDir, SnowflakeSettings) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.p8");
        fs::write(&file, text).unwrap();
        let passphrase = passphrase.map(|text| SecretString::from(text.to_owned()));
        (folder, settings(SnowflakeLogin::KeyPair { file, passphrase }))
    }

    fn value<'o>(options: &'o [(&str, String)], key: &str) -> Option<&'o str> {
        options.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_print_shows_no_secret() {
        let shown = format!("{:?}", settings(SnowflakeLogin::Password("hunter2".to_owned().into())));
        assert!(!shown.contains("hunter2"), "{shown}");
        let (_folder, settings) = key_pair("-----BEGIN PRIVATE KEY-----", Some("hunter2"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_password_login_has_no_key_and_a_key_login_no_password() {
        let options = settings(SnowflakeLogin::Password("hunter2".to_owned().into())).options().unwrap();
        assert_eq!(value(&options, PASSWORD), Some("hunter2"));
        assert_eq!(value(&options, KEY), None);
        assert_eq!(value(&options, "adbc.snowflake.sql.role"), Some("LOADER"));
        assert_eq!(value(&options, "adbc.snowflake.sql.uri.host"), None);

        let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
        let (_folder, settings) = key_pair(text, Some("hunter2"));
        let options = settings.options().unwrap();
        assert_eq!(value(&options, PASSWORD), None);
        assert_eq!(value(&options, KEY), Some(text));
        assert_eq!(value(&options, PASSPHRASE), Some("hunter2"));
        assert_eq!(value(&options, "adbc.snowflake.sql.auth_type"), Some("auth_jwt"));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_told_with_the_remedy() {
        let told = |text, passphrase| {
            let (_folder, settings) = key_pair(text, passphrase);
            settings.options().unwrap_err().to_string()
        };
        assert!(told("-----BEGIN RSA PRIVATE KEY-----", None).contains("openssl pkcs8 -topk8"));
        assert!(told("-----BEGIN ENCRYPTED PRIVATE KEY-----", None).contains("give its passphrase"));
        let (folder, settings) = key_pair("", None);
        drop(folder);
        assert!(settings.options().unwrap_err().to_string().contains("cannot be read"));
    }
}
