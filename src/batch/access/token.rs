//! Who a token says is asking, and whether that may be believed.
//!
//! Pure: keys and the present come in, a caller or a refusal goes out. Promises:
//!
//! - an algorithm that the issuer is not configured for is refused before any key is looked at; `none` has no name here;
//! - HS256 is checked with the configured secret and nothing else, so a token that is signed with the text of a public key
//!   (or with a symmetric key from a key set) is refused;
//! - `exp` must be there; `exp`, `nbf`, `iss` and `aud` are checked with a leeway of 30 seconds, against the given present;
//! - neither a refusal nor a `Debug` holds a part of the token.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Caller;

/// Clocks of issuers and ours may differ by so much.
const LEEWAY_SECONDS: f64 = 30.0;
/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// A shared secret has at least as many bytes as the hash that it is used with.
const SECRET_BYTES_MIN: usize = 32;

/// How a token may be signed. There is no word for "not at all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA (PKCS#1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in tokens and in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why a token is not believed. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not three parts of base64url with JSON in the first two, or too long.
    #[error("the token is not a signed JSON web token")]
    Malformed,
    /// `none`, an algorithm that we do not know, or one that the issuer is not configured for.
    #[error("the token is signed in a way that is not allowed")]
    AlgorithmNotAllowed,
    /// The header asks for something that must be understood and is not (`crit`).
    #[error("the token's header asks for an extension that is not understood")]
    UnknownExtension,
    /// The issuer's key set has no such key; a newer one may.
    #[error("the token is signed with a key that the issuer does not publish")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// There is no `exp`, or it is no number.
    #[error("the token has no expiry")]
    NoExpiry,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come, or is no number.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is nobody we know, or absent.
    #[error("the token's issuer is not trusted")]
    UnknownIssuer,
    /// `aud` does not name us.
    #[error("the token is meant for somebody else")]
    WrongAudience,
    /// The issuer's keys cannot be had just now; the token may be good.
    #[error("the issuer's keys cannot be had at the moment")]
    KeysUnavailable,
}

/// A shared secret, long enough.
#[derive(Clone)]
pub struct SharedSecret(Arc<[u8]>);

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
    }
}

/// A secret of fewer than 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has {bytes} bytes; a secret for HS256 needs at least 32")]
pub struct SecretTooShort {
    /// How many it has.
    pub bytes: usize,
}

impl SharedSecret {
    /// Takes the bytes of a secret.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn new(secret: &[u8]) -> Result<Self, SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort { bytes: secret.len() });
        }
        Ok(Self(secret.into()))
    }
}

/// What is asked of the tokens of one issuer.
#[derive(Debug, Clone)]
pub struct IssuerRules {
    /// What `iss` must be.
    pub issuer: Arc<str>,
    /// One of these must be in `aud`; empty: `aud` is not looked at.
    pub audiences: Vec<String>,
    /// How its tokens may be signed.
    pub algorithms: Vec<TokenAlgorithm>,
    /// For HS256, which is refused without it.
    pub secret: Option<SharedSecret>,
    /// The claim that holds the roles; `a.b` goes into an object where no claim has the whole name.
    pub roles_claim: String,
}

/// One public key and what it may be used for.
struct VerificationKey {
    kid: Option<String>,
    algorithm: TokenAlgorithm,
    key: DecodingKey,
}

/// The public keys of an issuer. Holds no symmetric key, whatever the set that it was read from says.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish()
    }
}

/// A document that is no key set, or has no key that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not `{"keys": [..]}`.
    #[error("is no JSON web key set")]
    NotAKeySet,
    /// None of its keys is for RS256, ES256 or EdDSA signatures.
    #[error("has no key for RS256, ES256 or EdDSA signatures")]
    NoUsableKey,
}

impl KeySet {
    /// Reads a JSON web key set. Keys that are of no use to us (symmetric, for encryption, of other kinds) are passed over:
    /// an issuer may publish what it likes beside ours.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn from_jwks(document: &[u8]) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_slice(document).map_err(|_| KeySetError::NotAKeySet)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotAKeySet)?;
        let keys: Vec<_> = keys.iter().filter_map(verification_key).collect();
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// The one key that a token with this header must have been signed with. Without a `kid` there must be no choice.
    fn find(&self, header: &TokenHeader) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithm == header.algorithm && (header.kid.is_none() || key.kid == header.kid)
        });
        let first = fitting.next()?;
        fitting.next().is_none().then_some(&first.key)
    }
}

fn verification_key(key: &Value) -> Option<VerificationKey> {
    let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => TokenAlgorithm::Rs256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            TokenAlgorithm::Es256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            TokenAlgorithm::EdDsa
        }
        // A symmetric key in a published set is no secret.
        _ => return None,
    };
    let common = &jwk.common;
    let for_other_use =
        common.public_key_use.as_ref().is_some_and(|wanted| *wanted != PublicKeyUse::Signature)
            || common.key_operations.as_ref().is_some_and(|listed| !listed.contains(&KeyOperations::Verify))
            || common.key_algorithm.is_some_and(|named| named.to_string() != algorithm.as_str());
    if for_other_use {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(VerificationKey { kid: common.key_id.clone(), algorithm, key })
}

/// What a token's header says, as far as we know such headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeader {
    /// How it is signed.
    pub algorithm: TokenAlgorithm,
    /// Which key it is signed with.
    pub kid: Option<String>,
}

/// A token that was taken apart and is not believed yet.
pub struct UnverifiedToken<'a> {
    text: &'a str,
    header: TokenHeader,
    claims: Map<String, Value>,
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken").field("algorithm", &self.header.algorithm).finish_non_exhaustive()
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is no token, or signed in a way that has no name here.
    pub fn parse(text: &'a str) -> Result<Self, TokenFault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Malformed);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        let (header, claims) = (json_object(header)?, json_object(claims)?);
        if header.contains_key("crit") {
            return Err(TokenFault::UnknownExtension);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenFault::Malformed)?;
        let algorithm = TokenAlgorithm::named(algorithm).ok_or(TokenFault::AlgorithmNotAllowed)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(TokenFault::Malformed),
        };
        Ok(Self { text, header: TokenHeader { algorithm, kid }, claims })
    }

    /// Who it says has issued it: which rules it is to be held against. Not to be believed for anything else.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether a public key of the issuer is needed to judge it.
    pub fn needs_public_key(&self) -> bool {
        self.header.algorithm != TokenAlgorithm::Hs256
    }

    /// Whether the issuer signs in this way at all.
    ///
    /// # Errors
    /// [`TokenFault::AlgorithmNotAllowed`].
    pub fn allowed_by(&self, rules: &IssuerRules) -> Result<(), TokenFault> {
        let allowed = rules.algorithms.contains(&self.header.algorithm)
            && (self.needs_public_key() || rules.secret.is_some());
        if allowed { Ok(()) } else { Err(TokenFault::AlgorithmNotAllowed) }
    }

    /// Judges it, and says who asks.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(
        self,
        rules: &IssuerRules,
        keys: &KeySet,
        now: jiff::Timestamp,
    ) -> Result<Caller, TokenFault> {
        self.allowed_by(rules)?;
        let algorithm = self.header.algorithm;
        let of_secret;
        let key = match (algorithm, &rules.secret) {
            (TokenAlgorithm::Hs256, Some(secret)) => {
                of_secret = DecodingKey::from_secret(&secret.0);
                &of_secret
            }
            (TokenAlgorithm::Hs256, None) => return Err(TokenFault::AlgorithmNotAllowed),
            _ => keys.find(&self.header).ok_or(TokenFault::UnknownKey)?,
        };
        check_signature(self.text, key, algorithm)?;
        check_times(&self.claims, now)?;
        if self.claimed_issuer() != Some(&*rules.issuer) {
            return Err(TokenFault::UnknownIssuer);
        }
        if !rules.audiences.is_empty() && !is_meant_for(&self.claims, &rules.audiences) {
            return Err(TokenFault::WrongAudience);
        }
        let subject = self.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let mut caller = Caller {
            issuer: Arc::clone(&rules.issuer),
            subject: Arc::from(subject),
            roles: Vec::new(),
            claims: self.claims,
        };
        caller.roles = caller.claim(&rules.roles_claim).map(roles_of).unwrap_or_default();
        Ok(caller)
    }
}

fn json_object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenFault::Malformed)
}

/// Only the signature: times are judged by the clock that we are given, not by the library's.
fn check_signature(text: &str, key: &DecodingKey, algorithm: TokenAlgorithm) -> Result<(), TokenFault> {
    let mut validation = Validation::new(algorithm.of_library());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode::<Map<String, Value>>(text, key, &validation) {
        Ok(_) => Ok(()),
        Err(_) => Err(TokenFault::BadSignature),
    }
}

fn check_times(claims: &Map<String, Value>, now: jiff::Timestamp) -> Result<(), TokenFault> {
    let now = now.as_millisecond() as f64 / 1000.0;
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(TokenFault::NoExpiry)?;
    if now >= expires + LEEWAY_SECONDS {
        return Err(TokenFault::Expired);
    }
    match claims.get("nbf") {
        None => Ok(()),
        Some(begins) if begins.as_f64().is_some_and(|begins| now >= begins - LEEWAY_SECONDS) => Ok(()),
        Some(_) => Err(TokenFault::NotYetValid),
    }
}

fn is_meant_for(claims: &Map<String, Value>, audiences: &[String]) -> bool {
    let is_ours =
        |named: &Value| named.as_str().is_some_and(|name| audiences.iter().any(|ours| ours == name));
    match claims.get("aud") {
        Some(Value::Array(named)) => named.iter().any(is_ours),
        Some(named) => is_ours(named),
        None => false,
    }
}

/// The roles in a claim: a list of texts, one text with spaces or commas between them, or a list as JSON text. What else
/// stands there gives no role.
pub fn roles_of(claim: &Value) -> Vec<Arc<str>> {
    let mut roles: Vec<Arc<str>> = Vec::new();
    let mut add = |role: &str| {
        if !role.is_empty() && !roles.iter().any(|known| **known == *role) {
            roles.push(Arc::from(role));
        }
    };
    match claim {
        Value::Array(list) => list.iter().filter_map(Value::as_str).for_each(&mut add),
        Value::String(text) if text.trim_start().starts_with('[') => {
            // Text that only looks like a list gives no roles, or a stray bracket would make one up.
            let list: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
            list.iter().filter_map(Value::as_str).for_each(&mut add);
        }
        Value::String(text) => text.split([' ', ',']).for_each(&mut add),
        _ => {}
    }
    roles
}

#[cfg(test)]
mod tests;
