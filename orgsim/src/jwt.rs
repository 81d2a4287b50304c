//! Login assertions: their claims, and their signature where public keys are configured.

use crate::site::Site;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// How late an assertion may be, in milliseconds.
const GRACE_MS: i64 = 5 * 60 * 1000;

/// `error` and `error_description`.
type Refusal = (&'static str, &'static str);

const INVALID: Refusal = ("invalid_grant", "invalid assertion");

/// The public keys an assertion may be signed with.
pub struct Keys(Vec<DecodingKey>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Reads RSA public keys or certificates in PEM.
    ///
    /// # Errors
    /// With the position of the first that is neither.
    pub fn read(pems: &[String]) -> Result<Self, usize> {
        let read = |(at, pem): (usize, &String)| DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| at);
        pems.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them made this signature; yes when there are none.
    fn verify(&self, signed: &str, signature: &str) -> bool {
        let made_by = |key: &DecodingKey| {
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, Algorithm::RS256).unwrap_or(false)
        };
        self.0.is_empty() || self.0.iter().any(made_by)
    }
}

/// Whether an assertion opens the org.
pub fn check(site: &Site, assertion: &str) -> Result<(), Refusal> {
    let (signed, signature) = assertion.rsplit_once('.').ok_or(INVALID)?;
    let (head, claims) = signed.split_once('.').ok_or(INVALID)?;
    let part = |text: &str| base64(text).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let (head, claims) = (part(head).ok_or(INVALID)?, part(claims).ok_or(INVALID)?);
    if signature.is_empty() || head["alg"] != "RS256" {
        return Err(INVALID);
    }
    if claims["iss"].as_str() != Some(site.options.client_id.as_str()) {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if !site.jwt_keys.verify(signed, signature) {
        return Err(INVALID);
    }
    let user = claims["sub"].as_str().filter(|user| !user.is_empty());
    let expected = site.options.username.as_deref();
    if user.is_none_or(|user| expected.is_some_and(|expected| expected != user)) {
        return Err(("invalid_grant", "user hasn't approved this consumer"));
    }
    if claims["aud"].as_str().is_none_or(|audience| !audience.starts_with("http")) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    match expiry_ms(&claims["exp"]) {
        Some(expires) if expires.saturating_add(GRACE_MS) > site.clock.epoch_ms() => Ok(()),
        Some(_) => Err(("invalid_grant", "expired authorization code")),
        None => Err(INVALID),
    }
}

/// `exp` in the three forms shipped clients send: seconds as a number, seconds as a string, milliseconds.
fn expiry_ms(exp: &Value) -> Option<i64> {
    let seconds = match exp {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }?;
    // No date in seconds has that many digits.
    Some(if seconds > 100_000_000_000 { seconds } else { seconds.saturating_mul(1000) })
}

/// Reads both alphabets of base 64, padded or not.
pub fn base64(text: &str) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn base64_is_read_in_both_alphabets() {
        assert_eq!(base64("aWQ6c2VjcmV0").as_deref(), Some(b"id:secret".as_slice()));
        assert_eq!(base64("_-8=").as_deref(), Some([0xff, 0xef].as_slice()));
        assert_eq!(base64("a*b"), None);
    }

    #[rstest]
    #[case::seconds(json!(1_795_363_200), Some(1_795_363_200_000))]
    #[case::text(json!("1795363200"), Some(1_795_363_200_000))]
    #[case::milliseconds(json!(1_795_363_200_300_i64), Some(1_795_363_200_300))]
    #[case::fraction(json!(1_795_363_200.5), Some(1_795_363_200_000))]
    #[case::absent(json!(null), None)]
    #[case::words(json!("soon"), None)]
    fn an_expiry_is_read_in_every_form_shipped_clients_send(#[case] exp: Value, #[case] ms: Option<i64>) {
        assert_eq!(expiry_ms(&exp), ms);
    }
}
