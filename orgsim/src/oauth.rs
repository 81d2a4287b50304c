//! The OAuth endpoints: `/services/oauth2/token` with its grants, `revoke`, `userinfo`, and `/id/{org}/{user}`.

use crate::{
    answer::Answer,
    jwt,
    site::{Caller, Site},
    tokens::{Chain, Life},
};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Hosts of Salesforce's that are nobody's My Domain; client credentials are refused there.
const LOGIN_HOSTS: [&str; 2] = ["login.salesforce.com", "test.salesforce.com"];
/// The CLI's own app: public, so it has no secret.
const PUBLIC_CLIENT: &str = "PlatformCLI";

/// `POST /services/oauth2/token`.
pub fn token(site: &Site, caller: &Caller, authorization: Option<&str>, body: &[u8]) -> Answer {
    let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let get = |name: &str| form.get(name).map(String::as_str);
    let basic = authorization.and_then(basic_credentials);
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (get("client_id"), get("client_secret")),
    };
    let options = &site.options;
    let own_client = id == Some(options.client_id.as_str());
    let with_secret = own_client && secret == Some(options.client_secret.as_str());
    // A public client sends none; a wrong one is refused even so.
    let without_secret = secret.unwrap_or("").is_empty() && (own_client || id == Some(PUBLIC_CLIENT));
    let refuse_client = || Answer::oauth_error("invalid_client", "invalid client credentials");
    match get("grant_type").unwrap_or_default() {
        "client_credentials" if LOGIN_HOSTS.contains(&caller.host_name()) => {
            Answer::oauth_error("invalid_grant", "request not supported on this domain")
        }
        "client_credentials" if with_secret => granted(site, caller, Grant::default()),
        "client_credentials" => refuse_client(),
        "password" if !with_secret => refuse_client(),
        "password" if site.may_log_in(get("username"), get("password")) => {
            let (refresh, chain) = site.tokens.issue_refresh(options.seed, None);
            granted(site, caller, Grant { chain: Some(chain), refresh: Some(refresh), bare: false })
        }
        "password" => Answer::oauth_error("invalid_grant", "authentication failure"),
        "refresh_token" if !with_secret && !without_secret => refuse_client(),
        "refresh_token" => refreshed(site, caller, get("refresh_token").unwrap_or_default()),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            match jwt::check(site, get("assertion").unwrap_or_default()) {
                Ok(()) => granted(site, caller, Grant { bare: true, ..Grant::default() }),
                Err((error, description)) => Answer::oauth_error(error, description),
            }
        }
        _ => Answer::oauth_error("unsupported_grant_type", "grant type not supported"),
    }
}

fn refreshed(site: &Site, caller: &Caller, token: &str) -> Answer {
    let rotate = site.options.rotate_refresh_tokens;
    let Some(chain) = site.tokens.use_refresh(token, rotate) else {
        return Answer::oauth_error("invalid_grant", "expired access/refresh token");
    };
    let refresh = rotate.then(|| site.tokens.issue_refresh(site.options.seed, Some(chain)).0);
    granted(site, caller, Grant { chain: Some(chain), refresh, bare: false })
}

/// What a login is answered with besides an access token.
#[derive(Default)]
struct Grant {
    chain: Option<Chain>,
    refresh: Option<String>,
    /// The JWT answer has neither signature nor time of issue.
    bare: bool,
}

fn granted(site: &Site, caller: &Caller, grant: Grant) -> Answer {
    let base = caller.base_url();
    let mut body = json!({
        "access_token": new_session(site, grant.chain),
        "instance_url": base,
        "id": identity_url(site, caller),
        "token_type": "Bearer",
        "scope": "api refresh_token",
    });
    if let Some(members) = body.as_object_mut().filter(|_| !grant.bare) {
        members.insert("issued_at".into(), Value::from(site.clock.epoch_ms().to_string()));
        members.insert("signature".into(), Value::from("c2ltdWxhdGVk"));
        members.insert("api_instance_url".into(), Value::from(base));
        if let Some(token) = grant.refresh {
            members.insert("refresh_token".into(), Value::from(token));
        }
    }
    Answer::json("token", &body)
}

/// An access token with the life the options give it.
pub fn new_session(site: &Site, chain: Option<Chain>) -> String {
    let lifetime = site.options.token_lifetime.and_then(|lifetime| i64::try_from(lifetime.as_millis()).ok());
    let life = Life {
        expires: lifetime.map(|lifetime| site.clock.epoch_ms() + lifetime),
        requests: site.options.token_requests,
    };
    site.tokens.issue(&site.org.organization_id, site.options.seed, life, chain)
}

fn identity_url(site: &Site, caller: &Caller) -> String {
    format!("{}/id/{}/{}", caller.base_url(), site.org.organization_id, site.org.user_id)
}

/// `/services/oauth2/revoke`, by form or, as browsers do it, by query.
pub fn revoke(site: &Site, query: &str, body: &[u8]) -> Answer {
    let named = |text: &[u8]| {
        form_urlencoded::parse(text).find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
    };
    let token = named(body).or_else(|| named(query.as_bytes())).unwrap_or_default();
    if site.tokens.revoke_any(&token) {
        Answer::with_status("token", 200, crate::body::Body::default())
    } else {
        Answer::oauth_error("invalid_token", "invalid token")
    }
}

/// `/services/oauth2/userinfo`.
pub fn userinfo(site: &Site, caller: &Caller) -> Answer {
    let (org, user, name) = (&site.org.organization_id, &site.org.user_id, &site.org.username);
    let body = json!({
        "sub": identity_url(site, caller), "user_id": user, "organization_id": org,
        "preferred_username": name, "nickname": "integration", "name": "Integration User", "email": name,
        "email_verified": true, "user_type": "STANDARD", "language": "en_US", "locale": "en_US", "utcOffset": 0,
        "active": true, "urls": urls(site, caller),
    });
    Answer::json("userinfo", &body)
}

/// `/id/{org}/{user}`.
pub fn identity(site: &Site, caller: &Caller, org: &str, user: &str) -> Answer {
    const KIND: &str = "identity";
    let known = |asked: &str, own: &str| crate::ids::key(asked) == crate::ids::key(own);
    if !known(org, &site.org.organization_id) || !known(user, &site.org.user_id) {
        return Answer::not_found(KIND);
    }
    let (org, user, name) = (&site.org.organization_id, &site.org.user_id, &site.org.username);
    let body = json!({
        "id": identity_url(site, caller), "asserted_user": true, "user_id": user, "organization_id": org,
        "username": name, "nick_name": "integration", "display_name": "Integration User", "email": name,
        "email_verified": true, "first_name": "Integration", "last_name": "User", "timezone": "GMT",
        "active": true, "user_type": "STANDARD", "language": "en_US", "locale": "en_US", "utcOffset": 0,
        "is_app_installed": true, "urls": urls(site, caller),
    });
    Answer::json(KIND, &body)
}

/// Where the services are; `{version}` is for the caller to fill in.
fn urls(site: &Site, caller: &Caller) -> Value {
    let base = caller.base_url();
    let org = &site.org.organization_id[..15];
    let user = &site.org.user_id;
    json!({
        "rest": format!("{base}/services/data/v{{version}}/"),
        "sobjects": format!("{base}/services/data/v{{version}}/sobjects/"),
        "query": format!("{base}/services/data/v{{version}}/query/"),
        "tooling_rest": format!("{base}/services/data/v{{version}}/tooling/"),
        "partner": format!("{base}/services/Soap/u/{{version}}/{org}"),
        "profile": format!("{base}/{user}"),
        "custom_domain": base,
    })
}

fn basic_credentials(header: &str) -> Option<(String, String)> {
    let encoded = header.strip_prefix("Basic ").or_else(|| header.strip_prefix("basic "))?;
    let text = String::from_utf8(jwt::base64(encoded.trim())?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_split_at_the_first_colon() {
        assert_eq!(basic_credentials("Basic aWQ6c2VjcmV0"), Some(("id".into(), "secret".into())));
        assert_eq!(basic_credentials("Bearer aWQ6c2VjcmV0"), None);
    }
}
