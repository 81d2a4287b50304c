//! What no key can know alone: keys that contradict each other, and secrets in files.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::problems::Problems;
use super::sections::{
    AuthKind, BatchingConfig, Config, EmbedderConfig, EngineConfig, HttpConfig, LimitsConfig, OrgConfig,
};
use super::values::{ByteSize, LoginUrl, Secret};
use crate::model::OrgName;
use crate::salesforce::auth::sfdx_url::SfdxUrl;

/// Salesforce takes at most so many describes in one `/composite` request.
const COMPOSITE_REQUESTS_MAX: u64 = 25;

/// Adds what the keys say only together.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    check_http(&config.http, problems);
    check_orgs(&config.org, problems);
    check_engine(&config.engine, problems);
    check_batching("actors.batcher", &config.actors.batcher, problems);
    check_batching("actors.text_batcher", &config.actors.text_batcher, problems);
    let describes = config.actors.batcher.seal_items;
    if describes > COMPOSITE_REQUESTS_MAX {
        let text =
            format!("{describes} describes do not fit one composite request ({COMPOSITE_REQUESTS_MAX})");
        problems.add("actors.batcher.seal_items", text);
    }
    if config.state_dir == config.output_dir {
        problems.add("output_dir", "is the same folder as `state_dir`");
    }
}

fn check_http(http: &HttpConfig, problems: &mut Problems) {
    if let Some(listen) = http.listen.filter(|listen| !listen.ip().is_loopback() && !http.allow_remote) {
        let text = format!(
            "{listen} can be reached from outside and there is no sign-in; `http.allow_remote = true` if that is meant"
        );
        problems.add("http.listen", text);
    }
}

fn check_engine(engine: &EngineConfig, problems: &mut Problems) {
    let (first, longest) = (engine.backoff_ms, engine.backoff_max_ms);
    if longest < first {
        let text = format!("{longest} is below `engine.backoff_ms` ({first})");
        problems.add("engine.backoff_max_ms", text);
    }
}

/// A batch is released as a whole: a mailbox that cannot hold all batches in flight would never seal the last.
fn check_batching(key: &str, batching: &BatchingConfig, problems: &mut Problems) {
    let slots = u64::from(batching.slots);
    let items = batching.seal_items.saturating_mul(slots);
    if batching.mailbox_items < items {
        let held = batching.mailbox_items;
        problems.add(
            &format!("{key}.mailbox_items"),
            format!("{held} is below `seal_items` x `slots` ({items}): the last batch would never fill"),
        );
    }
    let bytes = ByteSize(batching.seal_bytes.bytes().saturating_mul(slots));
    if batching.mailbox_bytes < bytes {
        let held = batching.mailbox_bytes;
        problems.add(
            &format!("{key}.mailbox_bytes"),
            format!("{held} is below `seal_bytes` x `slots` ({bytes}): the last batch would never fill"),
        );
    }
}

fn check_orgs(orgs: &[OrgConfig], problems: &mut Problems) {
    if orgs.is_empty() {
        problems.add("org", "no org; add a section `[[org]]`");
    }
    let mut names: BTreeSet<&OrgName> = BTreeSet::new();
    for (index, org) in orgs.iter().enumerate() {
        let key = |name: &str| format!("org[{index}].{name}");
        if org.name == OrgConfig::default().name {
            problems.add(&key("name"), "is missing");
        } else if !names.insert(&org.name) {
            problems.add(&key("name"), format!("`{}` is the name of two orgs", org.name));
        }
        if !problems.has(&key("simulated")) && !problems.has(&key("auth")) {
            check_sign_in(org, &key, problems);
        }
        check_limits(&org.limits, &key, problems);
    }
}

fn check_sign_in(org: &OrgConfig, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    let has_secret = org.client_secret.is_some() || org.client_secret_file.is_some();
    let has_token = org.token.is_some() || org.token_file.is_some();
    let is_proxy = |url: &Secret| {
        let url = url.to_secret_string();
        ["http://", "https://"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
    };
    if org.proxy_url.as_ref().is_some_and(|url| !is_proxy(url)) {
        problems.add(&key("proxy_url"), "is not an address such as `http://proxy.acme.example:3128`");
    }
    if let Some(file) = &org.ca_file
        && let Err(error) = std::fs::File::open(file)
    {
        problems.add(&key("ca_file"), format!("cannot read `{}`: {error}", file.display()));
    }
    let given = [
        ("client_id", org.client_id.is_some()),
        ("client_secret", has_secret),
        ("username", org.username.is_some()),
        ("private_key_file", org.private_key_file.is_some()),
        ("refresh_token", org.refresh_token.is_some() || org.refresh_token_file.is_some()),
        ("sfdx_url", org.sfdx_url.is_some() || org.sfdx_url_file.is_some()),
        ("sf_alias", org.sf_alias.is_some()),
        ("token", has_token),
    ];
    let needed: &[&str] = match org.auth {
        _ if org.simulated => &[],
        AuthKind::RefreshToken => &["client_id", "refresh_token"],
        AuthKind::SfdxUrl => &["sfdx_url"],
        AuthKind::SfCli => &["sf_alias"],
        AuthKind::ClientCredentials => &["client_id", "client_secret"],
        AuthKind::Jwt => &["client_id", "username", "private_key_file"],
        AuthKind::Token => &["token"],
    };
    for (name, is_given) in given {
        if needed.contains(&name) && !is_given {
            problems.add(&key(name), format!("is missing; `auth = \"{}\"` needs it", org.auth.as_str()));
        } else if org.simulated && is_given {
            problems.add(&key(name), "has no use with `simulated = true`; take out one of the two");
        } else if name == "client_secret" && org.auth == AuthKind::RefreshToken {
            // Public apps have none.
        } else if is_given && !needed.contains(&name) {
            let text = format!("has no use with `auth = \"{}\"`; take it out", org.auth.as_str());
            problems.add(&key(name), text);
        }
    }
    let own_address = org.auth == AuthKind::ClientCredentials || org.auth == AuthKind::Token;
    if !org.simulated && own_address && org.login_url == LoginUrl::default() {
        let text = format!(
            "`auth = \"{}\"` needs the org's own address, such as `https://acme.my.salesforce.com`",
            org.auth.as_str()
        );
        problems.add(&key("login_url"), text);
    }
}

fn check_limits(limits: &LimitsConfig, key: &dyn Fn(&str) -> String, problems: &mut Problems) {
    let resolved = limits.resolve(super::Edition::Auto);
    let floor = resolved.rate_min_per_min;
    for (name, value) in [
        ("limits.rate_start_per_min", resolved.rate_start_per_min),
        ("limits.rate_ceiling_per_min", resolved.rate_max_per_min),
    ] {
        if let Some(value) = value.filter(|value| *value < floor) {
            problems.add(&key(name), format!("{value} is below `rate_floor_per_min` ({floor})"));
        }
    }
    if let (Some(start), Some(ceiling)) = (resolved.rate_start_per_min, resolved.rate_max_per_min)
        && start > ceiling
    {
        let text = format!("{start} is above `rate_ceiling_per_min` ({ceiling})");
        problems.add(&key("limits.rate_start_per_min"), text);
    }
    let (bulk, normal, interactive) = (limits.share_bulk, limits.share_normal, limits.share_interactive);
    if bulk > normal {
        problems.add(&key("limits.share_normal"), format!("{normal} is below `share_bulk` ({bulk})"));
    }
    let (first, longest) = (limits.breaker_open_secs, limits.breaker_open_max_secs);
    if longest < first {
        let text = format!("{longest} is below `breaker_open_secs` ({first})");
        problems.add(&key("limits.breaker_open_max_secs"), text);
    }
    if normal > interactive {
        let text = format!("{interactive} is below `share_normal` ({normal})");
        problems.add(&key("limits.share_interactive"), text);
    }
}

/// Reads the secrets that stand in files. Relative paths count from the working directory, as all paths do.
pub(super) fn read_secret_files(config: &mut Config, problems: &mut Problems) {
    for (index, org) in config.org.iter_mut().enumerate() {
        for (name, secret, file) in [
            ("client_secret", &mut org.client_secret, &org.client_secret_file),
            ("refresh_token", &mut org.refresh_token, &org.refresh_token_file),
            ("sfdx_url", &mut org.sfdx_url, &org.sfdx_url_file),
            ("token", &mut org.token, &org.token_file),
        ] {
            read_secret_file(&format!("org[{index}].{name}"), secret, file.as_ref(), problems);
        }
        if let Some(url) = &org.sfdx_url
            && let Err(error) = SfdxUrl::parse(url.to_secret_string().expose_secret())
        {
            problems.add(&format!("org[{index}].sfdx_url"), format!("is no sfdx auth URL: {error}"));
        }
        if let Some(file) = &org.private_key_file
            && let Err(error) = std::fs::File::open(file)
        {
            let text = format!("cannot read `{}`: {error}", file.display());
            problems.add(&format!("org[{index}].private_key_file"), text);
        }
    }
}

/// Loads the model as the start would: what is wrong with it is told before anything is opened.
pub(super) fn check_model_folder(embedder: &EmbedderConfig, problems: &mut Problems) {
    if let Err(error) = crate::ai::static_model(embedder.model_dir.as_deref()) {
        problems.add("embedder.model_dir", with_causes(&error));
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(super) fn read_secret_file(
    key: &str,
    secret: &mut Option<Secret>,
    file: Option<&PathBuf>,
    problems: &mut Problems,
) {
    let Some(file) = file else { return };
    let file_key = format!("{key}_file");
    if secret.is_some() {
        problems.add(&file_key, format!("`{key}` is given too; take out one of the two"));
        return;
    }
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => {
            problems.add(&file_key, format!("`{}` is empty", file.display()));
        }
        Ok(text) => *secret = Some(Secret::new(&text)),
        Err(error) => problems.add(&file_key, format!("cannot read `{}`: {error}", file.display())),
    }
}
