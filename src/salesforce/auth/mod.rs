//! Logging in, and staying logged in.
//!
//! Promises: one login at a time an org, however many calls need it; a login that the org refused for
//! good is never tried again by itself; a refresh token that the org replaces is on disk before the session
//! that came with it is used, and also when whoever asked for the session has gone away meanwhile; secrets stand in request bodies only, never in an address, an error or a debug
//! print.

pub mod kept_token;
pub mod sf_cli;
pub mod sfdx_url;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::call::{Caller, exchange};
use super::error::{FIXED_TOKEN_ENDED, OrgError};
use super::gate::Api;
use super::soql::percent_encode;
use super::transport::{Body, HttpError, HttpErrorKind, HttpRequest, HttpResponse, Method};
use crate::clock::SharedClock;
use crate::limiter::Priority;
use crate::model::OrganizationId;
use kept_token::TokenKeeper;
use sf_cli::{CliAnswer, CliRefusal, SfCli};

/// Time for one token request.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How far ahead an assertion expires; the org takes 3 to 5 minutes at most.
const ASSERTION_LIFE_SECS: i64 = 180;

/// Who we are to the org.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The app's own user; `login_url` must be the org's own address.
    ClientCredentials {
        /// Consumer key.
        client_id: String,
        /// Consumer secret.
        client_secret: SecretString,
    },
    /// A signed assertion in a user's name.
    JwtBearer {
        /// Consumer key.
        client_id: String,
        /// The user's login name.
        username: String,
        /// `aud` of the assertion; `None` takes `https://login.salesforce.com`, or `https://test.salesforce.com`
        /// when the login address is a sandbox's.
        audience: Option<String>,
        /// RSA private key in PEM.
        private_key_pem: SecretString,
    },
    /// A token from an earlier sign-in of a person; the org may replace it at each use.
    RefreshToken {
        /// Consumer key.
        client_id: String,
        /// Consumer secret; public apps have none.
        client_secret: Option<SecretString>,
        /// As the operator gave it.
        refresh_token: SecretString,
        /// Where its replacements are kept.
        keeper: Arc<dyn TokenKeeper>,
    },
    /// The login of the sf CLI on this machine.
    SfCli {
        /// Alias or user name.
        alias: String,
        /// How the CLI is run.
        cli: Arc<dyn SfCli>,
    },
    /// A token that somebody else got; it cannot be renewed.
    FixedToken {
        /// Access token.
        token: SecretString,
        /// The org's address.
        instance_url: String,
    },
}

/// A valid login, as far as we know.
pub(super) struct Session {
    pub(super) token: SecretString,
    /// Without a slash at its end.
    pub(super) instance_url: String,
    pub(super) generation: u64,
    /// Whose it is, where the login tells.
    pub(super) organization: Option<OrganizationId>,
}

enum Grant {
    ClientCredentials { client_id: String, client_secret: SecretString },
    JwtBearer { client_id: String, username: String, audience: String, key: jsonwebtoken::EncodingKey },
    Refresh { client_id: String, client_secret: Option<SecretString>, tokens: Arc<Mutex<RefreshTokens>> },
    SfCli { alias: String, cli: Arc<dyn SfCli> },
    Fixed(Arc<Session>),
}

/// The chain of refresh tokens of one org.
struct RefreshTokens {
    configured: SecretString,
    keeper: Arc<dyn TokenKeeper>,
    /// `None` until the kept one has been looked for.
    newest: Option<SecretString>,
    /// A session that must not be used before the token that came with it is on disk.
    unkept: Option<Session>,
}

#[derive(Default)]
struct LoginState {
    session: Option<Arc<Session>>,
    /// Set once the org has refused the login for good.
    refused: Option<OrgError>,
    /// How the last round ended, for those who waited for it.
    failed: Option<OrgError>,
}

/// Holds the session of one org.
pub(super) struct Authenticator {
    grant: Grant,
    login_url: String,
    state: Mutex<LoginState>,
    /// Rounds of login that have ended, well or not.
    rounds: AtomicU64,
}

impl Authenticator {
    pub(super) fn new(credentials: Credentials, login_url: &str) -> Result<Self, OrgError> {
        let login_url = checked_base_url("login_url", login_url)?;
        let grant = match credentials {
            Credentials::ClientCredentials { client_id, client_secret } => {
                Grant::ClientCredentials { client_id, client_secret }
            }
            Credentials::JwtBearer { client_id, username, audience, private_key_pem } => {
                let pem = private_key_pem.expose_secret().as_bytes();
                // The library's reason may quote the key: it is not passed on.
                let key = jsonwebtoken::EncodingKey::from_rsa_pem(pem)
                    .map_err(|_| OrgError::Settings("the private key is not an RSA key in PEM".to_owned()))?;
                let audience = audience.unwrap_or_else(|| default_audience(&login_url).to_owned());
                Grant::JwtBearer { client_id, username, audience, key }
            }
            Credentials::RefreshToken { client_id, client_secret, refresh_token, keeper } => {
                let tokens = RefreshTokens { configured: refresh_token, keeper, newest: None, unkept: None };
                Grant::Refresh { client_id, client_secret, tokens: Arc::new(Mutex::new(tokens)) }
            }
            Credentials::SfCli { alias, cli } => Grant::SfCli { alias, cli },
            Credentials::FixedToken { token, instance_url } => {
                let instance_url = checked_base_url("instance_url", &instance_url)?;
                let organization = OrganizationId::of_token(token.expose_secret());
                Grant::Fixed(Arc::new(Session { token, instance_url, generation: 0, organization }))
            }
        };
        Ok(Self { grant, login_url, state: Mutex::default(), rounds: AtomicU64::new(0) })
    }

    /// A session of another generation than `stale`; logs in when there is none.
    pub(super) async fn session(
        &self,
        caller: &Caller,
        priority: Priority,
        stale: Option<u64>,
    ) -> Result<Arc<Session>, OrgError> {
        if let Grant::Fixed(session) = &self.grant {
            return if stale.is_none() {
                Ok(Arc::clone(session))
            } else {
                Err(OrgError::Refused {
                    error: FIXED_TOKEN_ENDED.to_owned(),
                    description: "the fixed token has expired or was revoked".to_owned(),
                })
            };
        }
        let rounds_before = self.rounds.load(Ordering::Acquire);
        // Held over the login: whoever comes meanwhile waits here and finds the new session.
        let mut state = self.state.lock().await;
        if let Some(refused) = &state.refused {
            return Err(refused.clone());
        }
        if let Some(session) = &state.session
            && Some(session.generation) != stale
        {
            return Ok(Arc::clone(session));
        }
        // A round that ended while we waited has failed for us too; trying in turn would multiply the calls.
        if self.rounds.load(Ordering::Acquire) != rounds_before
            && let Some(failed) = &state.failed
        {
            return Err(failed.clone());
        }
        let generation = stale.map_or(1, |stale| stale + 1);
        let result = match &self.grant {
            Grant::SfCli { alias, cli } => {
                let refused = state.session.as_deref().map(|session| &session.token);
                session_of_cli(alias, &**cli, refused, generation).await
            }
            Grant::Refresh { tokens, .. } => {
                self.log_in_by_refresh(caller, priority, generation, tokens).await
            }
            _ => self.log_in(caller, priority, generation).await,
        };
        self.rounds.fetch_add(1, Ordering::AcqRel);
        match result {
            Ok(session) => {
                let session = Arc::new(session);
                state.session = Some(Arc::clone(&session));
                state.failed = None;
                Ok(session)
            }
            Err(error) => {
                let error = if error.is_transient() { OrgError::Login(Arc::new(error)) } else { error };
                if matches!(error, OrgError::Refused { .. }) {
                    state.refused = Some(error.clone());
                }
                state.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Lets a refused login be tried once more, for instance after somebody repaired the app in the org.
    pub(super) async fn forget_refusal(&self) {
        self.state.lock().await.refused = None;
    }

    /// The org forgets the old token when it answers with a new one: from the request to the disk the round
    /// runs by itself, so that a caller who goes away meanwhile does not take the new token along.
    async fn log_in_by_refresh(
        &self,
        caller: &Caller,
        priority: Priority,
        generation: u64,
        tokens: &Arc<Mutex<RefreshTokens>>,
    ) -> Result<Session, OrgError> {
        let mut attempt = 1;
        loop {
            // Whoever comes after a caller who went away waits here for the round left behind.
            let mut tokens = Arc::clone(tokens).lock_owned().await;
            // The org has forgotten the old token: asking again with it would revoke the chain.
            if let Some(session) = tokens.unkept.take() {
                return tokens.keep_for(session).await;
            }
            let token = tokens.newest().await?;
            let request = self.token_request(caller, Some(&token))?;
            let permit = caller.permit(Api::Auth, priority, false).await?;
            let (http, clock) = (Arc::clone(&caller.http), SharedClock::clone(&caller.clock));
            let login_url = self.login_url.clone();
            let round = tokio::spawn(async move {
                let response = exchange(&*http, &*clock, permit, Api::Auth, request).await?;
                let login = read_token(&login_url, &response, generation)?;
                match login.refresh_token {
                    Some(replaced) if replaced.expose_secret() != token.expose_secret() => {
                        tokens.newest = Some(replaced);
                        tokens.keep_for(login.session).await
                    }
                    _ => Ok(login.session),
                }
            });
            let error = match round.await {
                Ok(Ok(session)) => {
                    caller.budget().refill();
                    return Ok(session);
                }
                Ok(Err(error @ OrgError::KeptToken { .. })) => return Err(error),
                Ok(Err(error)) => error,
                Err(ended) => {
                    let source: Arc<dyn std::error::Error + Send + Sync> = Arc::new(ended);
                    let (kind, host) = (HttpErrorKind::Other, self.login_url.clone());
                    OrgError::Network(HttpError { kind, host, source: Some(source) })
                }
            };
            if !caller.may_retry(&error, attempt, caller.retry.attempts_max).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn log_in(
        &self,
        caller: &Caller,
        priority: Priority,
        generation: u64,
    ) -> Result<Session, OrgError> {
        let mut attempt = 1;
        loop {
            let request = self.token_request(caller, None)?;
            let error = match caller.once(Api::Auth, priority, false, request).await {
                Ok(response) => {
                    return read_token(&self.login_url, &response, generation).map(|login| login.session);
                }
                Err(error) => error,
            };
            if !caller.may_retry(&error, attempt, caller.retry.attempts_max).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    fn token_request(
        &self,
        caller: &Caller,
        refresh_token: Option<&SecretString>,
    ) -> Result<HttpRequest, OrgError> {
        Ok(HttpRequest {
            method: Method::Post,
            url: format!("{}/services/oauth2/token", self.login_url),
            bearer: None,
            body: Some(Body {
                content_type: "application/x-www-form-urlencoded",
                bytes: self.form(caller, refresh_token)?.into_bytes(),
            }),
            headers: Vec::new(),
            timeout: LOGIN_TIMEOUT,
        })
    }

    fn form(&self, caller: &Caller, refresh_token: Option<&SecretString>) -> Result<String, OrgError> {
        match &self.grant {
            Grant::ClientCredentials { client_id, client_secret } => Ok(form(&[
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", client_secret.expose_secret()),
            ])),
            Grant::JwtBearer { client_id, username, audience, key } => {
                let claims = Claims {
                    iss: client_id,
                    sub: username,
                    aud: audience,
                    exp: caller.clock.wall().as_second() + ASSERTION_LIFE_SECS,
                };
                let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
                let assertion = jsonwebtoken::encode(&header, &claims, key)
                    .map_err(|_| OrgError::Settings("the private key cannot sign".to_owned()))?;
                Ok(form(&[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", &assertion),
                ]))
            }
            Grant::Refresh { client_id, client_secret, .. } => {
                let token = refresh_token.map_or("", |token| token.expose_secret());
                let mut fields =
                    vec![("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", token)];
                if let Some(secret) = client_secret {
                    fields.push(("client_secret", secret.expose_secret()));
                }
                Ok(form(&fields))
            }
            Grant::Fixed(_) => Err(OrgError::Settings("a fixed token is not renewed".to_owned())),
            Grant::SfCli { .. } => Err(OrgError::Settings("the sf CLI logs in by itself".to_owned())),
        }
    }
}

fn read_token(login_url: &str, response: &HttpResponse, generation: u64) -> Result<Login, OrgError> {
    let unreadable = |reason: &str, cut_off| OrgError::Unreadable {
        what: "login".to_owned(),
        reason: reason.to_owned(),
        cut_off,
    };
    // The reader's complaint may quote the token: only its kind is passed on.
    let answer: TokenAnswer = serde_json::from_slice(&response.body)
        .map_err(|error| unreadable("not a token answer", error.is_eof()))?;
    let instance_url = checked_base_url("instance_url", &answer.instance_url)
        .map_err(|_| unreadable("its `instance_url` is no address", false))?;
    if login_url.starts_with("https://") && !instance_url.starts_with("https://") {
        return Err(unreadable("its `instance_url` would send the token unencrypted", false));
    }
    let told = answer.id.as_deref().and_then(OrganizationId::of_identity);
    let organization = told.or_else(|| OrganizationId::of_token(answer.access_token.expose_secret()));
    let session = Session { token: answer.access_token, instance_url, generation, organization };
    Ok(Login { session, refresh_token: answer.refresh_token })
}

impl RefreshTokens {
    /// The token to log in with: the kept one, or the configured one when none was kept.
    async fn newest(&mut self) -> Result<SecretString, OrgError> {
        if self.newest.is_none() {
            let (keeper, configured) = (Arc::clone(&self.keeper), self.configured.clone());
            let kept = on_disk(move || keeper.kept(&configured)).await;
            let kept =
                kept.map_err(|source| OrgError::KeptToken { action: "read", source: Arc::new(source) })?;
            self.newest = Some(kept.unwrap_or_else(|| self.configured.clone()));
        }
        Ok(self.newest.clone().unwrap_or_else(|| self.configured.clone()))
    }

    /// Gives the session out once the token that came with it is on disk. When that fails, both are held
    /// here and the next login begins with the disk, not with the org.
    async fn keep_for(&mut self, session: Session) -> Result<Session, OrgError> {
        let (keeper, configured) = (Arc::clone(&self.keeper), self.configured.clone());
        let newest = self.newest.clone().unwrap_or_else(|| self.configured.clone());
        match on_disk(move || keeper.keep(&configured, &newest)).await {
            Ok(()) => Ok(session),
            Err(source) => {
                self.unkept = Some(session);
                Err(OrgError::KeptToken { action: "keep", source: Arc::new(source) })
            }
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The session that the sf CLI holds; `refused` is the token that the org no longer takes.
async fn session_of_cli(
    alias: &str,
    cli: &dyn SfCli,
    refused: Option<&SecretString>,
    generation: u64,
) -> Result<Session, OrgError> {
    let failed = |refusal: CliRefusal| {
        if refusal.passing {
            let source: Arc<dyn std::error::Error + Send + Sync> =
                Arc::new(std::io::Error::other(refusal.message));
            let host = format!("the org of `{alias}`");
            return OrgError::Network(HttpError { kind: HttpErrorKind::Connect, host, source: Some(source) });
        }
        OrgError::Refused { error: refusal.name, description: refusal.message }
    };
    // Displaying the org makes the CLI renew what has expired; so it comes first.
    let display = run_cli(cli, &["org", "display", "--target-org", alias, "--json"]).await?;
    let instance_url = sf_cli::instance_of(&display).map_err(failed)?;
    let show = run_cli(cli, &["org", "auth", "show-access-token", "--target-org", alias, "--json"]).await?;
    let token = sf_cli::token_of(&show).map_err(failed)?;
    if refused.is_some_and(|refused| refused.expose_secret() == token.expose_secret()) {
        return Err(OrgError::Refused {
            error: FIXED_TOKEN_ENDED.to_owned(),
            description: format!(
                "the sf CLI still holds the expired token; run `sf org login web --alias {alias}`"
            ),
        });
    }
    let instance_url = checked_base_url("instance_url", &instance_url)?;
    let organization = OrganizationId::of_token(token.expose_secret());
    Ok(Session { token, instance_url, generation, organization })
}

async fn run_cli(cli: &dyn SfCli, arguments: &[&str]) -> Result<CliAnswer, OrgError> {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    cli.run(arguments).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            OrgError::Settings("`sf` is not on the path; install the sf CLI or use another `auth`".to_owned())
        }
        _ => {
            let source: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
            OrgError::Network(HttpError {
                kind: HttpErrorKind::Other,
                host: "the sf CLI".to_owned(),
                source: Some(source),
            })
        }
    })
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("login_url", &self.login_url).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
}

/// What a token answer holds.
struct Login {
    session: Session,
    /// The org may replace the refresh token at each use; the old one is then dead.
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    instance_url: String,
    /// Address of the identity, which has the org's id in it.
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(key, value)| format!("{key}={}", percent_encode(value))).collect();
    pairs.join("&")
}

fn default_audience(login_url: &str) -> &'static str {
    if login_url.contains("://test.salesforce.com") || login_url.contains(".sandbox.my.salesforce.com") {
        "https://test.salesforce.com"
    } else {
        "https://login.salesforce.com"
    }
}

/// Scheme, host and port, without a slash at the end.
fn checked_base_url(key: &str, text: &str) -> Result<String, OrgError> {
    let url = text.trim().trim_end_matches('/');
    let bad =
        || OrgError::Settings(format!("`{key}` is not an address such as `https://acme.my.salesforce.com`"));
    let parsed = reqwest::Url::parse(url).map_err(|_| bad())?;
    let is_plain = matches!(parsed.scheme(), "http" | "https")
        && parsed.host_str().is_some()
        && parsed.path() == "/"
        && parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.username().is_empty()
        && parsed.password().is_none();
    if is_plain { Ok(url.to_owned()) } else { Err(bad()) }
}
