use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{ManualClock, SystemClock};

/// A web server of these tests: what it answers to `HEAD /path` and the like, and what it was asked.
struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// `answer` gets the first line up to the version; `None` keeps the caller waiting.
    async fn start(answer: impl Fn(&str, u16) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut bytes = vec![0; 4_096];
                    let length = stream.read(&mut bytes).await.unwrap_or(0);
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    let host = text
                        .lines()
                        .find_map(|line| line.strip_prefix("host: "))
                        .unwrap_or_default()
                        .to_owned();
                    let Some((line, _)) = text.split_once(" HTTP/1.1") else {
                        // A TLS greeting, which this server does not understand.
                        return;
                    };
                    seen.lock().unwrap().push(format!("{line} {host}"));
                    let Some(reply) = answer(line, port) else {
                        std::future::pending::<()>().await;
                        return;
                    };
                    let _ = stream.write_all(reply.as_bytes()).await;
                });
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        let port = format!(":{}", self.port);
        self.asked.lock().unwrap().iter().map(|line| line.replace(&port, "")).collect()
    }
}

fn answer(status: &str, headers: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"))
}

/// Every name has one address, some of them others.
struct Names;

impl Lookup for Names {
    fn addresses(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found: Vec<IpAddr> = match host {
            "private.example" => vec!["10.0.0.1".parse().unwrap()],
            "metadata.example" => vec!["169.254.169.254".parse().unwrap()],
            "mixed.example" => vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            "nobody.example" => vec![],
            _ => vec!["127.0.0.1".parse().unwrap()],
        };
        Box::pin(
            async move { if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) } },
        )
    }
}

fn is_test_server(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1])
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn checker_with(port: u16, lookup: Arc<dyn Lookup>, clock: SharedClock) -> WebsiteChecker {
    let bounds = Bounds { lookup, may_connect: is_test_server, http_port: port, https_port: port };
    WebsiteChecker::new(tls(), bounds, clock).unwrap()
}

fn checker(site: &Site) -> WebsiteChecker {
    checker_with(site.port, Arc::new(Names), SystemClock::shared())
}

fn dead(why: &str) -> WebsiteVerdict {
    WebsiteVerdict::Dead { why: why.to_owned() }
}

#[rstest]
#[case::fine("200 OK", WebsiteVerdict::Answers, &["HEAD / acme.example"])]
#[case::not_modified("304 Not Modified", WebsiteVerdict::Answers, &["HEAD / acme.example"])]
#[case::not_found("404 Not Found", dead("it answers 404"), &["HEAD / acme.example"])]
#[case::broken("500 Internal Server Error", dead("it answers 500"), &["HEAD / acme.example"])]
#[case::no_head("405 Method Not Allowed", WebsiteVerdict::Answers, &["HEAD / acme.example", "GET / acme.example"])]
#[case::no_robots("403 Forbidden", WebsiteVerdict::Answers, &["HEAD / acme.example", "GET / acme.example"])]
#[tokio::test]
async fn a_website_is_judged_by_its_status(
    #[case] status: &'static str,
    #[case] expected: WebsiteVerdict,
    #[case] asked: &[&str],
) {
    let site =
        Site::start(move |line, _| answer(if line.starts_with("GET") { "200 OK" } else { status }, "")).await;
    assert_eq!(checker(&site).check("Acme.example").await, expected);
    assert_eq!(site.asked(), asked);
}

#[tokio::test]
async fn one_that_refuses_both_methods_is_dead() {
    let site = Site::start(|_, _| answer("403 Forbidden", "")).await;
    assert_eq!(checker(&site).check("acme.example").await, dead("it answers 403"));
}

#[rstest]
#[case::address("http://127.0.0.1:PORT/", "`127.0.0.1` is no public name")]
#[case::address_in_disguise("http://0x7f000001:PORT/", "`127.0.0.1` is no public name")]
#[case::address_as_a_number("http://2130706433:PORT/", "`127.0.0.1` is no public name")]
#[case::address_of_six("http://[::1]:PORT/", "`[::1]` is no public name")]
#[case::mapped_address("http://[::ffff:127.0.0.1]:PORT/", "`[::ffff:7f00:1]` is no public name")]
#[case::loopback_by_name("http://localhost:PORT/", "`localhost` is no public name")]
#[case::a_name_of_the_house("http://vault.internal:PORT/", "`vault.internal` is no public name")]
#[case::a_private_address("http://private.example:PORT/", "its address is not public")]
#[case::the_clouds_credentials("//metadata.example:PORT/latest", "its address is not public")]
#[case::private_among_public("http://mixed.example:PORT/", "its address is not public")]
#[case::another_port("http://acme.example:22/", "it is on another port than that of its scheme")]
#[case::another_scheme("ftp://acme.example/", "`ftp` is neither http nor https")]
#[case::a_file("file:///etc/passwd", "`file` is neither http nor https")]
#[case::a_script("javascript:alert(1)", "`javascript` is neither http nor https")]
#[case::credentials("http://user:word@acme.example:PORT/", "it holds a user or a password")]
#[case::nowhere("http://", "a redirect to nowhere")]
#[case::nobody("http://nobody.example:PORT/", "no such name")]
#[tokio::test]
async fn no_redirect_leads_out_of_the_public(#[case] location: &'static str, #[case] why: &str) {
    let site = Site::start(move |_, port| {
        let location = location.replace("PORT", &port.to_string());
        answer("302 Found", &format!("Location: {location}\r\n"))
    })
    .await;
    assert_eq!(checker(&site).check("acme.example").await, dead(why));
    assert_eq!(site.asked(), ["HEAD / acme.example"], "nothing was asked after the redirect");
}

#[rstest]
#[case("localhost", "`localhost` is no public name")]
#[case("127.0.0.1", "`127.0.0.1` is no public name")]
#[case("private.example", "its address is not public")]
#[case("mixed.example", "its address is not public")]
#[case("nobody.example", "no such name")]
#[case("user@acme.example", "it holds a user or a password")]
#[case("not a host", "`not a host` is no public name")]
#[tokio::test]
async fn what_is_not_public_is_never_connected_to(#[case] host: &str, #[case] why: &str) {
    let site = Site::start(|_, _| answer("200 OK", "")).await;
    assert_eq!(checker(&site).check(host).await, dead(why));
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn five_redirects_are_followed_and_the_sixth_is_not() {
    let site = Site::start(|line, _| match line.rsplit('/').next().unwrap_or_default() {
        "0" => answer("200 OK", ""),
        "" => answer("301 Moved Permanently", "Location: /5\r\n"),
        left => answer("302 Found", &format!("Location: /{}\r\n", left.parse::<u8>().unwrap() - 1)),
    })
    .await;
    let checker = checker(&site);
    assert_eq!(checker.check("six.example").await, dead("more than 5 redirects"));
    assert_eq!(site.asked().len(), 6);

    let site = Site::start(|line, _| match line.rsplit('/').next().unwrap_or_default() {
        "0" => answer("200 OK", ""),
        "" => answer("301 Moved Permanently", "Location: /4\r\n"),
        left => answer("302 Found", &format!("Location: /{}\r\n", left.parse::<u8>().unwrap() - 1)),
    })
    .await;
    assert_eq!(self::checker(&site).check("five.example").await, WebsiteVerdict::Answers);
}

/// Public the first time, the machine itself from then on.
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let is_first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        let address: IpAddr = if is_first { [127, 0, 0, 1].into() } else { [10, 0, 0, 1].into() };
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let site =
        Site::start(|_, port| answer("302 Found", &format!("Location: http://again.example:{port}/\r\n")))
            .await;
    // The first look-up (for https, which fails at the greeting) is fine; the next is not.
    let lookup = Arc::new(Rebinding(AtomicUsize::new(0)));
    let checker = checker_with(site.port, Arc::clone(&lookup) as Arc<dyn Lookup>, SystemClock::shared());
    assert_eq!(checker.check("acme.example").await, dead("its address is not public"));
    assert_eq!(lookup.0.load(Ordering::Relaxed), 2, "each connection has a look-up of its own, and no more");
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn a_host_is_asked_once_however_many_ask_and_again_when_the_verdict_is_old() {
    let site = Site::start(|_, _| answer("200 OK", "")).await;
    let clock = ManualClock::new();
    let checker = checker_with(site.port, Arc::new(Names), Arc::clone(&clock) as SharedClock);
    let all = futures_util::future::join_all((0..20).map(|_| checker.check("acme.example"))).await;
    assert!(all.iter().all(|verdict| *verdict == WebsiteVerdict::Answers));
    checker.check("ACME.example").await;
    assert_eq!(site.asked().len(), 1);
    clock.advance(KEEP);
    checker.check("acme.example").await;
    assert_eq!(site.asked().len(), 2);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let site = Site::start(|_, _| answer("200 OK", "")).await;
    let checker = checker(&site);
    for host in 0..KEPT + 10 {
        checker.cell(&format!("h{host}.example"));
    }
    assert!(checker.verdicts.lock().unwrap().len() <= KEPT);
}

#[tokio::test]
async fn a_website_that_never_answers_is_dead_after_five_seconds() {
    let site = Site::start(|_, _| None).await;
    let clock = ManualClock::new();
    let checker = Arc::new(checker_with(site.port, Arc::new(Names), Arc::clone(&clock) as SharedClock));
    let check = tokio::spawn({
        let checker = Arc::clone(&checker);
        async move { checker.check("acme.example").await }
    });
    while site.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    clock.advance(WAIT);
    assert_eq!(check.await.unwrap(), dead("no answer within 5 s"));
}

#[tokio::test]
async fn where_nothing_listens_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let checker = checker_with(port, Arc::new(Names), SystemClock::shared());
    assert_eq!(checker.check("acme.example").await, dead("no connection"));
}
