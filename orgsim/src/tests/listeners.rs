use super::{
    client::{Reply, Sim, parse},
    org,
};
use crate::{Fault, FaultRule, ListenError, Options, Server, StartError};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{path::Path, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const FORM: &str = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";

async fn start() -> Server {
    Server::start_with(Options::with_all_listeners(), org::model(), Box::new(org::Rows)).await.unwrap()
}

/// A TLS session as `name`, trusting this authority only.
async fn tls(ca_pem: &str, name: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn tls_direct(server: &Server, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let url = server.tls_url().unwrap();
    let stream = TcpStream::connect(url.trim_start_matches("https://")).await.unwrap();
    tls(server.ca_pem().unwrap(), name, stream).await
}

/// A tunnel to `target`, not yet encrypted.
async fn tunnel(server: &Server, target: &str) -> TcpStream {
    let url = server.proxy_url().unwrap();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 39];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 200 Connection established\r\n\r\n");
    stream
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Vec<u8> {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // An end without a closing word is for the caller to judge.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

fn token_request(host: &str) -> String {
    format!(
        "POST /services/oauth2/token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{FORM}",
        FORM.len()
    )
}

async fn reply(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Reply {
    parse(&exchange(stream, request).await).unwrap()
}

#[tokio::test]
async fn one_org_answers_on_all_three_listeners_and_echoes_how_the_caller_came_in() {
    let server = start().await;
    let plain_host = server.url().trim_start_matches("http://").to_owned();
    let tls_host = server.tls_url().unwrap().trim_start_matches("https://").to_owned();

    let mut plain = TcpStream::connect(&plain_host).await.unwrap();
    let by_plain = reply(&mut plain, &token_request(&plain_host)).await.json();
    assert_eq!(by_plain["instance_url"], server.url());

    let mut direct = tls_direct(&server, "localhost").await.unwrap();
    let by_tls = reply(&mut direct, &token_request(&tls_host)).await.json();
    assert_eq!(by_tls["instance_url"], server.tls_url().unwrap());

    let name = "acme.my.salesforce.com";
    let tunnelled = tunnel(&server, "acme.my.salesforce.com:443").await;
    let mut tunnelled = tls(server.ca_pem().unwrap(), name, tunnelled).await.unwrap();
    let by_proxy = reply(&mut tunnelled, &token_request(name)).await.json();
    assert_eq!(by_proxy["instance_url"], "https://acme.my.salesforce.com");
    assert_eq!(
        by_proxy["id"],
        format!("https://acme.my.salesforce.com/id/{}/{}", "00D5g0000001234EAA", "0055g0000000000AAA")
    );

    // The session of one listener is good on another.
    let token = by_plain["access_token"].as_str().unwrap();
    let mut direct = tls_direct(&server, "localhost").await.unwrap();
    let get = format!(
        "GET /services/data/v62.0/limits HTTP/1.1\r\nHost: {tls_host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    assert_eq!(reply(&mut direct, &get).await.status, 200);
    let journal = server.journal();
    let ways: Vec<&str> = journal.token_calls.iter().map(|call| call.base_url.as_str()).collect();
    assert_eq!(ways, [&server.url(), &server.tls_url().unwrap(), "https://acme.my.salesforce.com"]);
    assert_eq!(journal.calls[0].base_url, server.tls_url().unwrap());
}

#[tokio::test]
async fn the_certificate_holds_salesforces_names_and_no_others() {
    let server = start().await;
    for name in
        ["localhost", "127.0.0.1", "login.salesforce.com", "test.salesforce.com", "x.my.salesforce.com"]
    {
        tls_direct(&server, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(tls_direct(&server, "example.com").await.is_err());
    let other = start().await;
    let url = server.tls_url().unwrap();
    let stream = TcpStream::connect(url.trim_start_matches("https://")).await.unwrap();
    assert!(tls(other.ca_pem().unwrap(), "localhost", stream).await.is_err(), "another run's authority");
}

#[tokio::test]
async fn the_authority_is_offered_over_plain_http_and_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let sim = Sim::with(Options { ca_out: Some(file.clone()), ..Options::with_all_listeners() }).await;
    let offered = sim.raw("GET", "/__sim/ca.pem", "", b"").await.unwrap();
    assert_eq!(offered.header("Content-Type"), Some("application/x-pem-file"));
    assert_eq!(offered.body, sim.server.ca_pem().unwrap().as_bytes());
    assert_eq!(offered.body, std::fs::read(&file).unwrap());
    let plain_only = Sim::start().await;
    assert_eq!(plain_only.raw("GET", "/__sim/ca.pem", "", b"").await.unwrap().status, 404);
    assert_eq!((plain_only.server.tls_url(), plain_only.server.proxy_url()), (None, None));
}

#[tokio::test]
async fn the_proxy_refuses_everything_but_tunnels() {
    let server = start().await;
    let url = server.proxy_url().unwrap();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let refused =
        reply(&mut stream, "GET http://login.salesforce.com/ HTTP/1.1\r\nHost: login.salesforce.com\r\n\r\n")
            .await;
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("CONNECT")));
}

#[tokio::test]
async fn a_cut_within_tls_ends_without_the_closing_word() {
    let server = start().await;
    server.faults().set(vec![FaultRule::always(Fault::CutMidBody).of_kind("token")]);
    let mut stream = tls_direct(&server, "localhost").await.unwrap();
    stream.write_all(token_request("localhost").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(parse(&bytes).is_err() && bytes.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stopped_server_refuses_connections_on_every_listener() {
    let server = start().await;
    let urls = [server.url(), server.tls_url().unwrap(), server.proxy_url().unwrap()];
    let open = tunnel(&server, "login.salesforce.com:443").await;
    server.stop().await;
    for url in urls {
        let address = url.split("//").nth(1).unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "{url}");
    }
    let mut open = open;
    assert!(exchange(&mut open, "").await.is_empty(), "and the open tunnel has ended");
}

#[tokio::test]
async fn what_keeps_a_listener_from_starting_is_said() {
    let taken = start().await;
    let address = taken.proxy_url().unwrap().trim_start_matches("http://").parse().unwrap();
    let start =
        |options| async { Server::start_with(options, org::model(), Box::new(org::Rows)).await.err() };
    let clash = start(Options { tls_listen: Some(address), ..Options::default() }).await;
    assert!(
        matches!(clash, Some(StartError::Listen { source: ListenError::Bind { address: at, .. } }) if at == address)
    );
    let nowhere = Some(Path::new("/nonexistent/ca.pem").to_owned());
    let unwritten = start(Options { ca_out: nowhere, ..Options::with_all_listeners() }).await;
    assert!(matches!(unwritten, Some(StartError::Listen { source: ListenError::CaOut { .. } })));
}
