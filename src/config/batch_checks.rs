//! What the keys of `POST /batch` say only together: a door that is open too wide, an issuer without a key, a database
//! without a place.

use std::collections::BTreeSet;

use super::Config;
use super::batch_sections::{
    Anonymous, ApiConfig, BatchConfig, DatabaseConfig, DatabaseKindWord, EnforcementWord, IssuerConfig,
    TlsWord, TokenAlgorithm,
};
use super::checks::read_secret_file;
use super::problems::Problems;

/// A shorter secret can be guessed from one token.
const SECRET_BYTES_MIN: usize = 32;
const NAME_MAX: usize = 40;

/// Reads the secrets that stand in files.
pub(super) fn read_secret_files(config: &mut Config, problems: &mut Problems) {
    for (index, issuer) in config.api.issuer.iter_mut().enumerate() {
        let key = format!("api.issuer[{index}].secret");
        read_secret_file(&key, &mut issuer.secret, issuer.secret_file.as_ref(), problems);
    }
    for (index, database) in config.database.iter_mut().enumerate() {
        let key = format!("database[{index}].url");
        read_secret_file(&key, &mut database.url, database.url_file.as_ref(), problems);
    }
}

/// Adds what the keys say only together; secrets have been read.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    check_api(&config.api, problems);
    check_issuers(&config.api.issuer, problems);
    check_limits(&config.batch, problems);
    let mut names = BTreeSet::new();
    for (index, database) in config.database.iter().enumerate() {
        let key = |name: &str| format!("database[{index}].{name}");
        check_name(&key("name"), &database.name, problems);
        if !database.name.is_empty() && !names.insert(&database.name) {
            problems.add(&key("name"), format!("`{}` is the name of two databases", database.name));
        }
        check_database(database, &key, problems);
    }
    config.read_databases(problems);
}

fn check_api(api: &ApiConfig, problems: &mut Problems) {
    let Some(listen) = api.listen.filter(|listen| !listen.ip().is_loopback()) else { return };
    if !api.allow_remote {
        let text =
            format!("{listen} can be reached from outside; `api.allow_remote = true` if that is meant");
        problems.add("api.listen", text);
    } else if api.issuer.is_empty() && api.anonymous != Anonymous::Allow {
        let text = format!(
            "{listen} can be reached from outside and no token could be verified; add `[[api.issuer]]`, or `api.anonymous = \"allow\"` if everybody is meant"
        );
        problems.add("api.listen", text);
    }
}

fn check_issuers(issuers: &[IssuerConfig], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, issuer) in issuers.iter().enumerate() {
        let key = |name: &str| format!("api.issuer[{index}].{name}");
        if issuer.issuer.is_empty() {
            problems.add(&key("issuer"), "is missing: what `iss` of its tokens says");
        } else if !seen.insert(&issuer.issuer) {
            problems.add(&key("issuer"), format!("`{}` is given twice", issuer.issuer));
        }
        if issuer.audience.is_empty() {
            let text =
                "is missing: what `aud` must say, so that a token made for another service is not taken";
            problems.add(&key("audience"), text);
        }
        if issuer.roles_claim.is_empty() {
            problems.add(&key("roles_claim"), "is empty; name the claim that holds the roles");
        }
        check_keys(issuer, &key, problems);
        check_ca_file(issuer.ca_file.as_ref(), &key, problems);
    }
}

/// A secret is for HS256 and public keys are for the others: a public key taken for a secret would let everybody sign.
fn check_keys(issuer: &IssuerConfig, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    let wants_secret = issuer.algorithms.contains(&TokenAlgorithm::Hs256);
    let wants_keys = issuer.algorithms.iter().any(|algorithm| *algorithm != TokenAlgorithm::Hs256);
    let has_secret = issuer.secret.is_some();
    if problems.has(&key("secret_file")) {
        return;
    }
    match &issuer.jwks_url {
        Some(url) if !is_safe_url(url) => {
            problems.add(&key("jwks_url"), "is not an address such as `https://id.acme.example/jwks.json` (https, or http on this machine)");
        }
        Some(_) if has_secret => {
            problems
                .add(&key("secret"), "`jwks_url` is given too; an issuer signs with a secret or with keys");
        }
        None if !has_secret && !wants_secret => {
            problems.add(&key("jwks_url"), "is missing, and so is `secret`: no token could be verified");
        }
        _ => {}
    }
    if wants_secret && wants_keys {
        problems.add(
            &key("algorithms"),
            "HS256 does not go with the others; an issuer signs with a secret or with keys",
        );
    } else if wants_secret && !has_secret {
        problems.add(&key("secret"), "is missing; HS256 needs it");
    } else if wants_keys && has_secret && issuer.jwks_url.is_none() {
        problems.add(&key("algorithms"), "only HS256 is verified with a secret; the others need `jwks_url`");
    }
    if let Some(secret) = issuer.secret.as_ref().filter(|secret| secret.expose().len() < SECRET_BYTES_MIN) {
        let length = secret.expose().len();
        problems.add(&key("secret"), format!("has {length} bytes; HS256 needs {SECRET_BYTES_MIN} or more"));
    }
}

fn is_safe_url(url: &str) -> bool {
    let (rest, secure) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) => (rest, false),
        _ => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.starts_with('[') {
        true => authority.split_inclusive(']').next().unwrap_or_default(),
        false => authority.split(':').next().unwrap_or_default(),
    };
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    !host.is_empty() && !authority.contains('@') && !url.contains(char::is_whitespace) && (secure || is_here)
}

fn check_limits(limits: &BatchConfig, problems: &mut Problems) {
    if limits.default_read_rows > limits.max_read_rows {
        let text =
            format!("{} is above `max_read_rows` ({})", limits.default_read_rows, limits.max_read_rows);
        problems.add("batch.default_read_rows", text);
    }
    for (name, value) in
        [("statement_timeout_ms", limits.statement_timeout_ms), ("lock_timeout_ms", limits.lock_timeout_ms)]
    {
        if value > limits.batch_timeout_ms {
            let text = format!("{value} is above `batch_timeout_ms` ({})", limits.batch_timeout_ms);
            problems.add(&format!("batch.{name}"), text);
        }
    }
}

fn check_name(key: &str, name: &str, problems: &mut Problems) {
    let clean = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() {
        problems.add(key, "is missing");
    } else if name.len() > NAME_MAX
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(clean)
    {
        let text = format!(
            "`{name}` is not a name (lower-case letters, digits, `-` and `_`, starting with a letter; at most {NAME_MAX})"
        );
        problems.add(key, text);
    }
}

fn check_database(database: &DatabaseConfig, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    let kind = database.kind.as_str();
    let is_file = database.kind == DatabaseKindWord::Sqlite;
    let is_postgres = database.kind == DatabaseKindWord::Postgres;
    let has_url = database.url.is_some() || database.url_file.is_some();
    let by_database = database.enforcement == EnforcementWord::Database;
    for (name, is_given, has_use) in [
        ("path", database.path.is_some(), is_file),
        ("init_sql", database.init_sql.is_some(), is_file),
        ("url", has_url, !is_file),
        ("ca_file", database.ca_file.is_some(), !is_file),
        ("tls", database.tls != TlsWord::Auto, !is_file),
        ("schemas", !database.schemas.is_empty(), is_postgres),
        ("enforcement", by_database, is_postgres),
    ] {
        if is_given && !has_use {
            problems.add(&key(name), format!("has no use with `kind = \"{kind}\"`; take it out"));
        }
    }
    for (name, given) in [("role_claim", &database.role_claim), ("anonymous_role", &database.anonymous_role)]
    {
        if given.is_some() && !by_database {
            problems.add(&key(name), "has no use without `enforcement = \"database\"`; take it out");
        }
    }
    if by_database && is_postgres && database.role_claim.is_none() {
        let text = "is missing; `enforcement = \"database\"` takes the role that this claim names";
        problems.add(&key("role_claim"), text);
    }
    if !is_file && !problems.has(&key("url_file")) {
        check_url(database, &key("url"), is_postgres, problems);
    }
    check_ca_file(database.ca_file.as_ref(), key, problems);
    check_named(database.entity.iter().map(|entity| &entity.name), &key("entity"), problems);
    check_named(database.statement.iter().map(|statement| &statement.name), &key("statement"), problems);
    for (index, statement) in database.statement.iter().enumerate() {
        if statement.sql.trim().is_empty() {
            problems.add(&format!("{}[{index}].sql", key("statement")), "is missing");
        }
    }
}

/// The address itself is a secret and never told.
fn check_url(database: &DatabaseConfig, key: &str, is_postgres: bool, problems: &mut Problems) {
    let (schemes, example): (&[&str], _) = match is_postgres {
        true => (&["postgres://", "postgresql://"], "postgres://user:password@host:5432/database"),
        false => (&["mysql://"], "mysql://user:password@host:3306/database"),
    };
    match &database.url {
        None => problems.add(key, format!("is missing, and so is `url_file`: `{example}`")),
        Some(url) if !schemes.iter().any(|scheme| url.expose().starts_with(scheme)) => {
            problems.add(key, format!("is not an address such as `{example}`"));
        }
        Some(_) => {}
    }
}

fn check_named<'a>(names: impl Iterator<Item = &'a String>, key: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let key = format!("{key}[{index}].name");
        if name.is_empty() {
            problems.add(&key, "is missing");
        } else if !seen.insert(name) {
            problems.add(&key, format!("`{name}` is given twice"));
        }
    }
}

fn check_ca_file(file: Option<&std::path::PathBuf>, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    if let Some(file) = file
        && let Err(error) = std::fs::File::open(file)
    {
        problems.add(&key("ca_file"), format!("cannot read `{}`: {error}", file.display()));
    }
}
