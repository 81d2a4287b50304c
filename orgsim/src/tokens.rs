//! Access tokens: handed out, looked up, expired. And the OAuth endpoint that hands them out.

use crate::{answer::Answer, ids, site::Site};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How late an assertion may be, in milliseconds: real clients disagree about the unit of `exp`.
const ASSERTION_GRACE_MS: i64 = 5 * 60 * 1000;

/// Tokens in force.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Token to the moment it expires, in epoch milliseconds.
    access: Mutex<HashMap<String, Option<i64>>>,
    refresh: Mutex<Vec<String>>,
    issued: AtomicU64,
}

impl Tokens {
    /// Accepts this token for ever.
    pub fn accept(&self, token: &str) {
        self.access().insert(token.to_owned(), None);
    }

    /// Accepts this refresh token.
    pub fn accept_refresh(&self, token: &str) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(token.to_owned());
    }

    /// Whether a request with this token is let in.
    pub fn is_valid(&self, token: &str, now_ms: i64) -> bool {
        self.access().get(token).is_some_and(|expires| expires.is_none_or(|expires| now_ms < expires))
    }

    /// Ends a token.
    pub fn revoke(&self, token: &str) {
        self.access().remove(token);
    }

    fn access(&self) -> MutexGuard<'_, HashMap<String, Option<i64>>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh_is_known(&self, token: &str) -> bool {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == token)
    }

    fn issue(&self, site: &Site) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let secret = ids::base62(ids::stable_hash(&format!("{}/{number}", site.options.seed)));
        let token = format!("{}!AQEAQ{secret}.{number}", &site.org.organization_id[..15]);
        let lifetime =
            site.options.token_lifetime.and_then(|lifetime| i64::try_from(lifetime.as_millis()).ok());
        self.access().insert(token.clone(), lifetime.map(|lifetime| site.clock.epoch_ms() + lifetime));
        token
    }
}

/// `POST /services/oauth2/token`.
pub fn token(site: &Site, host: &str, authorization: Option<&str>, body: &[u8]) -> Answer {
    let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let get = |name: &str| form.get(name).map(String::as_str);
    let basic = authorization.and_then(basic_credentials);
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (get("client_id"), get("client_secret")),
    };
    let known = |secret_needed: bool| {
        let secret_fits = secret == Some(site.options.client_secret.as_str())
            || (!secret_needed && secret.unwrap_or("").is_empty());
        id == Some(site.options.client_id.as_str()) && secret_fits
    };
    let refuse_client = || Answer::oauth_error("invalid_client", "invalid client credentials");
    let grant = get("grant_type").unwrap_or_default();
    match grant {
        "client_credentials" if known(true) => granted(site, host, grant, None),
        "client_credentials" => refuse_client(),
        "password" if !known(true) => refuse_client(),
        "password"
            if get("username").is_some() && get("password").is_some_and(|password| !password.is_empty()) =>
        {
            let refresh = format!("5Aep861{}", ids::base62(ids::stable_hash(&site.options.client_id)));
            site.tokens.accept_refresh(&refresh);
            granted(site, host, grant, Some(refresh))
        }
        "password" => Answer::oauth_error("invalid_grant", "authentication failure"),
        "refresh_token" if !known(false) && id != Some("PlatformCLI") => refuse_client(),
        "refresh_token" => match get("refresh_token").filter(|token| site.tokens.refresh_is_known(token)) {
            Some(_) => granted(site, host, grant, None),
            None => Answer::oauth_error("invalid_grant", "expired access/refresh token"),
        },
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            match check_assertion(site, get("assertion").unwrap_or_default()) {
                Ok(()) => granted(site, host, grant, None),
                Err((error, description)) => Answer::oauth_error(error, description),
            }
        }
        _ => Answer::oauth_error("unsupported_grant_type", "grant type not supported"),
    }
}

fn granted(site: &Site, host: &str, grant: &str, refresh_token: Option<String>) -> Answer {
    let (org, user) = (&site.org.organization_id, &site.org.user_id);
    let mut body = json!({
        "access_token": site.tokens.issue(site),
        "instance_url": format!("http://{host}"),
        "id": format!("http://{host}/id/{org}/{user}"),
        "token_type": "Bearer",
        "scope": "api refresh_token",
    });
    // The JWT answer has none of these.
    if let Some(members) = body.as_object_mut().filter(|_| !grant.starts_with("urn:")) {
        members.insert("issued_at".into(), Value::from(site.clock.epoch_ms().to_string()));
        members.insert("signature".into(), Value::from("c2ltdWxhdGVk"));
        members.insert("api_instance_url".into(), Value::from(format!("http://{host}")));
        if let Some(token) = refresh_token {
            members.insert("refresh_token".into(), Value::from(token));
        }
    }
    Answer::json("token", &body)
}

/// Checks an assertion's claims. Its signature is not verified: the simulator has no certificate of the app.
fn check_assertion(site: &Site, assertion: &str) -> Result<(), (&'static str, &'static str)> {
    let invalid = ("invalid_grant", "invalid assertion");
    let mut parts = assertion.split('.');
    let (Some(_), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid);
    };
    let claims: Value =
        base64(claims).and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(invalid)?;
    if signature.is_empty() {
        return Err(invalid);
    }
    if claims["iss"].as_str() != Some(site.options.client_id.as_str()) {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if claims["sub"].as_str().is_none_or(str::is_empty) {
        return Err(("invalid_grant", "user hasn't approved this consumer"));
    }
    if claims["aud"].as_str().is_none_or(|audience| !audience.starts_with("http")) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    let seconds = match &claims["exp"] {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    // One shipped client sends milliseconds; no date in seconds has that many digits.
    let expires_ms = seconds.map(|exp| if exp > 100_000_000_000 { exp } else { exp.saturating_mul(1000) });
    match expires_ms {
        Some(expires) if expires + ASSERTION_GRACE_MS > site.clock.epoch_ms() => Ok(()),
        Some(_) => Err(("invalid_grant", "expired authorization code")),
        None => Err(invalid),
    }
}

fn basic_credentials(header: &str) -> Option<(String, String)> {
    let encoded = header.strip_prefix("Basic ").or_else(|| header.strip_prefix("basic "))?;
    let text = String::from_utf8(base64(encoded.trim())?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Reads both alphabets of base 64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

/// `/services/oauth2/userinfo`.
pub fn userinfo(site: &Site, host: &str) -> Answer {
    let (org, user, name) = (&site.org.organization_id, &site.org.user_id, &site.org.username);
    let body = json!({
        "sub": format!("http://{host}/id/{org}/{user}"), "user_id": user, "organization_id": org,
        "preferred_username": name, "email": name, "name": "Integration User", "active": true,
    });
    Answer::json("userinfo", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets() {
        assert_eq!(base64("aWQ6c2VjcmV0").as_deref(), Some(b"id:secret".as_slice()));
        assert_eq!(base64("_-8=").as_deref(), Some([0xff, 0xef].as_slice()));
        assert_eq!(base64("a*b"), None);
        assert_eq!(basic_credentials("Basic aWQ6c2VjcmV0"), Some(("id".into(), "secret".into())));
    }
}
