//! Looks whether a website that a model proposed answers, without being led anywhere that is not public.
//!
//! Promises: only `http` and `https` on their own ports, only names that the public could ask for, only public addresses; and
//! what is connected to is the very address that was checked, since the check is the connection's own look-up: a name that
//! changes its address in between gains nothing. Redirects are followed here, each step checked like the first. No body is
//! read, no cookie, credential or referrer sent, and no proxy used (it would look names up by itself).
//!
//! A host is asked once in a while, however many leads have it.

mod address;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::{OnceCell, Semaphore};

pub use address::{is_public_address, is_public_name};

use crate::clock::{BoxFuture, SharedClock};
use crate::leads::WebsiteVerdict;

/// Longest wait for a website by one scheme, redirects included.
const WAIT: Duration = Duration::from_secs(5);
/// Redirects followed.
const REDIRECTS: usize = 5;
/// How long a verdict holds.
const KEEP: Duration = Duration::from_secs(3_600);
/// Verdicts kept.
const KEPT: usize = 4_096;
/// Websites asked at once.
const AT_ONCE: usize = 16;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All of them.
    fn addresses(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The machine's own look-up.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Where a check may go. Anything but the default is for tests, which have no public server.
#[derive(Clone)]
pub struct Bounds {
    /// Finds addresses.
    pub lookup: Arc<dyn Lookup>,
    /// Whether an address may be connected to.
    pub may_connect: fn(IpAddr) -> bool,
    /// The port of `http`.
    pub http_port: u16,
    /// The port of `https`.
    pub https_port: u16,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            lookup: Arc::new(SystemLookup),
            may_connect: is_public_address,
            http_port: 80,
            https_port: 443,
        }
    }
}

/// Why a website counts as dead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("`{0}` is no public name")]
    NoPublicName(String),
    #[error("`{0}` is neither http nor https")]
    Scheme(String),
    #[error("it is on another port than that of its scheme")]
    Port,
    #[error("it holds a user or a password")]
    Credentials,
    #[error("no such name")]
    NoSuchName,
    #[error("its address is not public")]
    NotPublic,
    #[error("no connection")]
    NoConnection,
    #[error("no answer within {} s", WAIT.as_secs())]
    NoAnswer,
    #[error("it answers {0}")]
    Status(u16),
    #[error("more than {REDIRECTS} redirects")]
    Redirects,
    #[error("a redirect to nowhere")]
    BadRedirect,
}

/// Looks whether websites answer.
pub struct WebsiteChecker {
    client: reqwest::Client,
    bounds: Bounds,
    clock: SharedClock,
    at_once: Semaphore,
    verdicts: Mutex<HashMap<String, Kept>>,
}

/// A verdict, or the check under way that others wait for.
struct Kept {
    since: Duration,
    verdict: Arc<OnceCell<WebsiteVerdict>>,
}

impl WebsiteChecker {
    /// Prepares checks; opens no connection.
    ///
    /// # Errors
    /// When no client can be made of this TLS setup.
    pub fn new(
        tls: rustls::ClientConfig,
        bounds: Bounds,
        clock: SharedClock,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(CheckedLookup(bounds.clone())))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // A connection kept would be used without its look-up, thus without the check.
            .pool_max_idle_per_host(0)
            .connect_timeout(WAIT)
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let (at_once, verdicts) = (Semaphore::new(AT_ONCE), Mutex::default());
        Ok(Self { client, bounds, clock, at_once, verdicts })
    }

    /// Whether the website of a host answers: by https, or where nothing listens there, by http.
    pub async fn check(&self, host: &str) -> WebsiteVerdict {
        let host = host.to_lowercase();
        let cell = self.cell(&host);
        cell.get_or_init(|| self.look(&host)).await.clone()
    }

    fn cell(&self, host: &str) -> Arc<OnceCell<WebsiteVerdict>> {
        let now = self.clock.elapsed();
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = verdicts.get(host).filter(|kept| now.saturating_sub(kept.since) < KEEP) {
            return Arc::clone(&kept.verdict);
        }
        if verdicts.len() >= KEPT {
            verdicts.retain(|_, kept| now.saturating_sub(kept.since) < KEEP);
        }
        if verdicts.len() >= KEPT {
            // They can be had again.
            verdicts.clear();
        }
        let verdict = Arc::new(OnceCell::new());
        verdicts.insert(host.to_owned(), Kept { since: now, verdict: Arc::clone(&verdict) });
        verdict
    }

    async fn look(&self, host: &str) -> WebsiteVerdict {
        // Never closed.
        let _place = self.at_once.acquire().await;
        let mut found = self.ask_within_wait("https", host).await;
        if found == Err(Fault::NoConnection) {
            found = self.ask_within_wait("http", host).await;
        }
        match found {
            Ok(()) => WebsiteVerdict::Answers,
            Err(fault) => WebsiteVerdict::Dead { why: fault.to_string() },
        }
    }

    async fn ask_within_wait(&self, scheme: &str, host: &str) -> Result<(), Fault> {
        tokio::select! {
            found = self.ask(scheme, host) => found,
            () = self.clock.sleep(WAIT) => Err(Fault::NoAnswer),
        }
    }

    async fn ask(&self, scheme: &str, host: &str) -> Result<(), Fault> {
        let port = if scheme == "https" { self.bounds.https_port } else { self.bounds.http_port };
        let first = Url::parse(&format!("{scheme}://{host}:{port}/"));
        let mut url = first.map_err(|_| Fault::NoPublicName(host.to_owned()))?;
        for _ in 0..=REDIRECTS {
            self.check_url(&url)?;
            let mut answer = self.send(Method::HEAD, &url).await?;
            let refuses_head =
                [StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
            if refuses_head.contains(&answer.status()) {
                answer = self.send(Method::GET, &url).await?;
            }
            let status = answer.status();
            match answer.headers().get(LOCATION).filter(|_| status.is_redirection()) {
                Some(location) => {
                    let location = location.to_str().map_err(|_| Fault::BadRedirect)?;
                    url = url.join(location).map_err(|_| Fault::BadRedirect)?;
                }
                None if status.is_success() || status.is_redirection() => return Ok(()),
                None => return Err(Fault::Status(status.as_u16())),
            }
        }
        Err(Fault::Redirects)
    }

    /// The answer without its body: dropping it closes the connection.
    async fn send(&self, method: Method, url: &Url) -> Result<reqwest::Response, Fault> {
        self.client.request(method, url.clone()).send().await.map_err(|error| fault_of(&error))
    }

    fn check_url(&self, url: &Url) -> Result<(), Fault> {
        let port = match url.scheme() {
            "http" => self.bounds.http_port,
            "https" => self.bounds.https_port,
            scheme => return Err(Fault::Scheme(scheme.to_owned())),
        };
        if url.port_or_known_default() != Some(port) {
            return Err(Fault::Port);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Fault::Credentials);
        }
        // An address instead of a name would be connected to without a look-up; `domain` has none.
        match url.domain() {
            Some(name) if is_public_name(name) => Ok(()),
            _ => Err(Fault::NoPublicName(url.host_str().unwrap_or_default().to_owned())),
        }
    }
}

/// The look-up of every connection. What it returns is what is connected to.
struct CheckedLookup(Bounds);

impl Resolve for CheckedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.lookup.addresses(name.as_str());
        let may_connect = self.0.may_connect;
        Box::pin(async move {
            let found = match found.await {
                Ok(found) if !found.is_empty() => found,
                _ => return Err(Fault::NoSuchName.into()),
            };
            // One that is not public among others that are: somebody plays with names.
            if !found.iter().all(|address| may_connect(*address)) {
                return Err(Fault::NotPublic.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// What an error of the client comes down to. Its own text names addresses and stays out.
fn fault_of(error: &reqwest::Error) -> Fault {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return fault.clone();
        }
        cause = error.source();
    }
    if error.is_timeout() { Fault::NoAnswer } else { Fault::NoConnection }
}

#[cfg(test)]
mod tests;
