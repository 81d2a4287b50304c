//! Callers by their tokens: chooses the issuer's rules, keeps its public keys fresh, lets in or refuses.
//!
//! Promises: a key set is asked for at most every 30 seconds, whatever tokens come; it counts as fresh for 10 minutes; while
//! the issuer does not answer, the last one serves for another hour. Requests that need keys at the same time share one
//! question. A set that cannot be read never replaces one that could.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::api::{Admits, Door, NotLetIn};
use crate::batch::access::Caller;
use crate::batch::access::token::{IssuerRules, KeySet, TokenFault, UnverifiedToken};
use crate::clock::{BoxFuture, SharedClock};
use crate::salesforce::transport::{Http, HttpRequest, Method};

const FRESH: Duration = Duration::from_secs(600);
const USABLE: Duration = Duration::from_secs(600 + 3_600);
const ASK_EVERY: Duration = Duration::from_secs(30);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// One issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What is asked of its tokens.
    pub rules: IssuerRules,
    /// Where its public keys are; `None` for one with a shared secret only.
    pub keys: Option<KeySource>,
}

/// Where the public keys of an issuer are, and the way there.
#[derive(Clone)]
pub struct KeySource {
    /// Address of the key set.
    pub url: String,
    /// With the certificates that are trusted on this way.
    pub http: Arc<dyn Http>,
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySource").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who may come in, beside holders of good tokens.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Whether a caller without a token is let in, as nobody with no roles.
    pub anonymous: bool,
    /// Roles of which a caller with a token must have one; empty: none is asked for.
    pub roles: Vec<String>,
}

/// Judges tokens by the rules of their issuers.
pub struct TokenDoor {
    inner: Arc<Inner>,
}

struct Inner {
    issuers: Vec<KnownIssuer>,
    admission: Admission,
    clock: SharedClock,
}

struct KnownIssuer {
    rules: IssuerRules,
    keys: Option<KeyCache>,
}

impl TokenDoor {
    /// A door for these issuers; their keys are asked for when the first token comes.
    pub fn new(issuers: Vec<Issuer>, admission: Admission, clock: SharedClock) -> Self {
        let issuers = issuers
            .into_iter()
            .map(|issuer| KnownIssuer {
                keys: issuer.keys.map(|source| KeyCache::new(source, clock.clone())),
                rules: issuer.rules,
            })
            .collect();
        Self { inner: Arc::new(Inner { issuers, admission, clock }) }
    }
}

impl std::fmt::Debug for TokenDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenDoor").field("issuers", &self.inner.issuers.len()).finish_non_exhaustive()
    }
}

impl Door for TokenDoor {
    fn let_in(&self, authorization: Option<String>) -> BoxFuture<'static, Result<Caller, NotLetIn>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.let_in(authorization.as_deref()).await })
    }

    fn admits(&self) -> Admits {
        Admits { tokens: !self.inner.issuers.is_empty(), without_token: self.inner.admission.anonymous }
    }
}

impl Inner {
    async fn let_in(&self, authorization: Option<&str>) -> Result<Caller, NotLetIn> {
        let Some(authorization) = authorization else {
            return if self.admission.anonymous { Ok(Caller::default()) } else { Err(NotLetIn::NoToken) };
        };
        let token = bearer(authorization).ok_or(NotLetIn::NotBearer)?;
        let caller = self.judge(token).await?;
        let wanted = &self.admission.roles;
        if !wanted.is_empty() && !caller.roles.iter().any(|role| wanted.iter().any(|one| **one == **role)) {
            return Err(NotLetIn::Forbidden);
        }
        Ok(caller)
    }

    async fn judge(&self, token: &str) -> Result<Caller, TokenFault> {
        let parsed = UnverifiedToken::parse(token)?;
        let issuer = parsed
            .claimed_issuer()
            .and_then(|name| self.issuers.iter().find(|issuer| *issuer.rules.issuer == *name))
            .ok_or(TokenFault::UnknownIssuer)?;
        let now = self.clock.wall();
        // Before the issuer is asked for anything: a stranger's token must not make us send requests.
        parsed.allowed_by(&issuer.rules)?;
        let Some(keys) = issuer.keys.as_ref().filter(|_| parsed.needs_public_key()) else {
            return parsed.verify(&issuer.rules, &KeySet::default(), now);
        };
        let set = keys.current().await?;
        match parsed.verify(&issuer.rules, &set, now) {
            Err(TokenFault::UnknownKey) => {
                let newer = keys.newer_than(&set).await.ok_or(TokenFault::UnknownKey)?;
                UnverifiedToken::parse(token)?.verify(&issuer.rules, &newer, now)
            }
            judged => judged,
        }
    }
}

/// The token of `Bearer <token>`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

/// The public keys of one issuer, kept.
struct KeyCache {
    source: KeySource,
    clock: SharedClock,
    /// Held while the issuer is asked, so that all who wait share the answer.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The last set that could be read, and when it came.
    set: Option<(Arc<KeySet>, Duration)>,
    /// When the issuer was last asked.
    asked: Option<Duration>,
}

impl KeyCache {
    fn new(source: KeySource, clock: SharedClock) -> Self {
        Self { source, clock, kept: Mutex::default() }
    }

    /// A set that may be used now.
    async fn current(&self) -> Result<Arc<KeySet>, TokenFault> {
        let mut kept = self.kept.lock().await;
        let age = |kept: &Kept| kept.set.as_ref().map(|(_, at)| self.clock.elapsed().saturating_sub(*at));
        if age(&kept).is_none_or(|age| age >= FRESH) {
            self.ask(&mut kept).await;
        }
        match (&kept.set, age(&kept)) {
            (Some((set, _)), Some(age)) if age < USABLE => Ok(Arc::clone(set)),
            _ => Err(TokenFault::KeysUnavailable),
        }
    }

    /// A set that came after `seen`, in which the wanted key was not; `None` when there is none and it is too early to ask.
    async fn newer_than(&self, seen: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let mut kept = self.kept.lock().await;
        let is_newer = |kept: &Kept| {
            kept.set.as_ref().map(|(set, _)| set).filter(|set| !Arc::ptr_eq(set, seen)).map(Arc::clone)
        };
        if is_newer(&kept).is_none() {
            self.ask(&mut kept).await;
        }
        is_newer(&kept)
    }

    /// Asks the issuer, unless it was asked a moment ago.
    async fn ask(&self, kept: &mut Kept) {
        let now = self.clock.elapsed();
        if kept.asked.is_some_and(|asked| now.saturating_sub(asked) < ASK_EVERY) {
            return;
        }
        kept.asked = Some(now);
        let request = HttpRequest {
            method: Method::Get,
            url: self.source.url.clone(),
            bearer: None,
            body: None,
            headers: Vec::new(),
            timeout: ASK_TIMEOUT,
        };
        let answered = match self.source.http.send(request).await {
            Ok(response) if response.status == 200 => {
                KeySet::from_jwks(&response.body).map_err(|error| format!("its answer {error}"))
            }
            Ok(response) => Err(format!("it answers {}", response.status)),
            Err(error) => Err(error.to_string()),
        };
        match answered {
            Ok(set) => kept.set = Some((Arc::new(set), self.clock.elapsed())),
            Err(why) => {
                tracing::warn!(
                    url = self.source.url,
                    why,
                    kept = kept.set.is_some(),
                    "an issuer's keys cannot be had"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    use crate::batch::access::token::{SharedSecret, TokenAlgorithm};
    use crate::clock::{Clock as _, ManualClock};
    use crate::salesforce::transport::{HttpError, HttpResponse};

    const RSA_KEY: &[u8] = include_bytes!("../batch/access/testdata/rsa-key.pem");
    const JWKS: &str = include_str!("../batch/access/testdata/jwks.json");
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    /// Answers what it is told to, and counts the questions.
    #[derive(Default)]
    struct Scripted {
        answer: std::sync::Mutex<Option<String>>,
        asked: AtomicUsize,
    }

    impl Http for Scripted {
        fn send(&self, _request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer.lock().unwrap().clone();
            Box::pin(async move {
                let (status, body) = answer.map_or((503, Vec::new()), |body| (200, body.into_bytes()));
                Ok(HttpResponse { status, headers: Vec::new(), body })
            })
        }
    }

    struct Rig {
        door: TokenDoor,
        issuer: Arc<Scripted>,
        clock: Arc<ManualClock>,
    }

    fn rig(admission: Admission) -> Rig {
        let (issuer, clock) = (Arc::new(Scripted::default()), ManualClock::new());
        let rules = IssuerRules {
            issuer: Arc::from("https://login.example.org"),
            audiences: Vec::new(),
            algorithms: vec![TokenAlgorithm::Rs256, TokenAlgorithm::Hs256],
            secret: Some(SharedSecret::new(SECRET).unwrap()),
            roles_claim: "roles".to_owned(),
        };
        let keys = KeySource { url: "https://login.example.org/keys".to_owned(), http: issuer.clone() };
        let door = TokenDoor::new(vec![Issuer { rules, keys: Some(keys) }], admission, clock.clone());
        Rig { door, issuer, clock }
    }

    impl Rig {
        fn publish(&self, document: Option<&str>) {
            *self.issuer.answer.lock().unwrap() = document.map(str::to_owned);
        }

        async fn knock(&self, kid: &str) -> Result<(), NotLetIn> {
            let expires = self.clock.wall().as_second() + 60;
            let claims = json!({"iss": "https://login.example.org", "exp": expires, "roles": "clerk"});
            let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
            let key = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
            let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
            self.door.let_in(Some(format!("Bearer {token}"))).await.map(drop)
        }

        fn asked(&self) -> usize {
            self.issuer.asked.load(Ordering::Relaxed)
        }

        fn pass(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }
    }

    const UNKNOWN: Result<(), NotLetIn> = Err(NotLetIn::Token(TokenFault::UnknownKey));
    const AWAY: Result<(), NotLetIn> = Err(NotLetIn::Token(TokenFault::KeysUnavailable));

    #[tokio::test]
    async fn keys_are_asked_for_once_in_ten_minutes() {
        let rig = rig(Admission::default());
        rig.publish(Some(JWKS));
        for _ in 0..5 {
            assert_eq!(rig.knock("rsa-1").await, Ok(()));
            rig.pass(119);
        }
        assert_eq!(rig.asked(), 1);
        rig.pass(10);
        assert_eq!((rig.knock("rsa-1").await, rig.asked()), (Ok(()), 2));
    }

    #[tokio::test]
    async fn an_unknown_key_is_asked_for_at_most_every_thirty_seconds() {
        let rig = rig(Admission::default());
        rig.publish(Some(JWKS));
        for _ in 0..20 {
            assert_eq!(rig.knock("rsa-2").await, UNKNOWN);
            rig.pass(1);
        }
        assert_eq!(rig.asked(), 1, "the first question was a moment ago");
        rig.publish(Some(&JWKS.replace("rsa-1", "rsa-2")));
        rig.pass(10);
        assert_eq!((rig.knock("rsa-2").await, rig.asked()), (Ok(()), 2), "the issuer has a new key");
        assert_eq!(rig.knock("rsa-1").await, UNKNOWN, "the old one is withdrawn");
    }

    #[tokio::test]
    async fn old_keys_serve_an_hour_longer_while_the_issuer_is_away() {
        let rig = rig(Admission::default());
        rig.publish(Some(JWKS));
        assert_eq!(rig.knock("rsa-1").await, Ok(()));
        for silence in [None, Some("{}"), Some("<html>")] {
            rig.publish(silence);
            rig.pass(1_100);
            assert_eq!(rig.knock("rsa-1").await, Ok(()), "{silence:?}");
        }
        rig.pass(900);
        assert_eq!(rig.knock("rsa-1").await, AWAY);
        rig.publish(Some(JWKS));
        rig.pass(29);
        assert_eq!(rig.knock("rsa-1").await, AWAY, "asked a moment ago");
        rig.pass(1);
        assert_eq!(rig.knock("rsa-1").await, Ok(()));
    }

    #[tokio::test]
    async fn an_issuer_that_never_answered_is_told_apart_from_a_bad_token() {
        let rig = rig(Admission::default());
        assert_eq!(rig.knock("rsa-1").await, AWAY);
    }

    #[tokio::test]
    async fn a_strangers_token_makes_us_ask_nobody() {
        let rig = rig(Admission::default());
        let token = |algorithm: Algorithm, issuer: &str| {
            let key = match algorithm {
                Algorithm::HS256 => EncodingKey::from_secret(SECRET),
                _ => EncodingKey::from_rsa_pem(RSA_KEY).unwrap(),
            };
            jsonwebtoken::encode(&Header::new(algorithm), &json!({"iss": issuer, "exp": 9e9}), &key).unwrap()
        };
        for (algorithm, issuer, expected) in [
            (Algorithm::RS256, "https://evil.example.org", Err(TokenFault::UnknownIssuer)),
            (Algorithm::RS384, "https://login.example.org", Err(TokenFault::AlgorithmNotAllowed)),
            (Algorithm::HS256, "https://login.example.org", Ok(())),
        ] {
            let judged = rig.door.let_in(Some(format!("bearer  {}", token(algorithm, issuer)))).await;
            assert_eq!(judged.map(drop), expected.map_err(NotLetIn::Token));
        }
        assert_eq!(rig.asked(), 0);
    }

    #[tokio::test]
    async fn a_caller_without_a_token_is_let_in_only_where_that_is_meant() {
        let refusing = rig(Admission::default());
        assert_eq!(refusing.door.let_in(None).await, Err(NotLetIn::NoToken));
        for header in ["Basic YTpi", "Bearer", "Bearer ", "Bearer a b", "token"] {
            let judged = refusing.door.let_in(Some(header.to_owned())).await;
            assert_eq!(judged, Err(NotLetIn::NotBearer), "{header}");
        }
        let open = rig(Admission { anonymous: true, roles: vec!["admin".to_owned()] });
        open.publish(Some(JWKS));
        assert_eq!(open.door.let_in(None).await, Ok(Caller::default()));
        assert_eq!(open.knock("rsa-1").await, Err(NotLetIn::Forbidden), "a token must have one of the roles");
        let clerks = rig(Admission { anonymous: false, roles: vec!["clerk".to_owned()] });
        clerks.publish(Some(JWKS));
        assert_eq!(clerks.knock("rsa-1").await, Ok(()));
    }
}
