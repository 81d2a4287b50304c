//! Opens a connection that carries batches: socket, TLS, introduction.
//!
//! Promises: the same URL reaches the same server as the library does that reads the catalogue; where the connection must
//! be secured, nothing but the wish for that is said in clear; a password leaves only as the server's method asks for it.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use super::errors::{Fault, Told};
use super::tls::Tls;
use super::wire::{Body, Message, More, Stream, Wire};

/// Whom to tell that a statement is to stop.
#[derive(Debug, Clone, Copy, Default)]
struct Backend {
    process: i32,
    secret: i32,
}

/// Where it was found, to get there again.
#[derive(Clone)]
pub(super) struct Found {
    config: Config,
    tls: Tls,
    place: usize,
    backend: Backend,
}

/// Connects to the first of the hosts that takes us.
pub(super) async fn dial(config: &Config, tls: &Tls) -> Result<(Wire, Found), Fault> {
    let places = config.get_hosts().len().max(config.get_hostaddrs().len());
    let mut why = Fault::Ours("the URL names no host".to_owned());
    for place in 0..places {
        match dial_one(config, tls, place).await {
            Ok(dialed) => return Ok(dialed),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

async fn dial_one(config: &Config, tls: &Tls, place: usize) -> Result<(Wire, Found), Fault> {
    let mut wire = Wire::new(open(config, tls, place).await?);
    let backend = introduce(&mut wire, config).await?;
    let found = Found { config: config.clone(), tls: tls.clone(), place, backend };
    Ok((wire, found))
}

impl Found {
    /// Asks the server to stop what this connection runs.
    pub(super) async fn cancel(&self) -> Result<(), Fault> {
        let mut stream = open(&self.config, &self.tls, self.place).await?;
        let mut out = BytesMut::new();
        frontend::cancel_request(self.backend.process, self.backend.secret, &mut out);
        let sent = async {
            stream.write_all(&out).await?;
            // It closes the connection when it has passed it on.
            stream.read_to_its_end().await
        };
        sent.await.map_err(|error| Fault::of_socket(&error))
    }
}

impl Stream {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Secured(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn read_to_its_end(&mut self) -> io::Result<()> {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.read(&mut byte).await,
            Self::Unix(stream) => stream.read(&mut byte).await,
            Self::Secured(stream) => stream.read(&mut byte).await,
        };
        // However it hung up.
        read.map(drop).or(Ok(()))
    }
}

/// Opens a socket to a place of the config, secured where that is asked for.
async fn open(config: &Config, tls: &Tls, place: usize) -> Result<Stream, Fault> {
    let host = config.get_hosts().get(place);
    let ports = config.get_ports();
    let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
    let name = match host {
        Some(Host::Tcp(name)) => Some(name.as_str()),
        _ => None,
    };
    let secured = config.get_ssl_mode() != SslMode::Disable;
    let stream = match (config.get_hostaddrs().get(place), host) {
        (Some(address), _) => connect(config, &address.to_string(), port).await?,
        (None, Some(Host::Tcp(name))) => connect(config, name, port).await?,
        #[cfg(unix)]
        (None, Some(Host::Unix(folder))) => {
            if secured {
                return Err(Fault::Ours("a socket of this machine cannot be secured".to_owned()));
            }
            let path = folder.join(format!(".s.PGSQL.{port}"));
            return Ok(Stream::Unix(in_time(config, UnixStream::connect(path)).await?));
        }
        (None, None) => return Err(Fault::Ours("the URL names no host".to_owned())),
    };
    if !secured {
        return Ok(Stream::Tcp(stream));
    }
    let Some(name) = name else {
        return Err(Fault::Ours("a secured connection needs the name of a host".to_owned()));
    };
    secure(stream, config, tls, name).await
}

async fn connect(config: &Config, name: &str, port: u16) -> Result<TcpStream, Fault> {
    let addresses = lookup_host((name, port)).await.map_err(|error| Fault::of_socket(&error))?;
    let mut why = Fault::Lost("the name of the host has no address".to_owned());
    for address in addresses {
        match in_time(config, TcpStream::connect(address)).await {
            Ok(stream) => {
                tune(&stream, config).map_err(|error| Fault::of_socket(&error))?;
                return Ok(stream);
            }
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

fn tune(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

async fn in_time<T>(config: &Config, connecting: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
    let limit = config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(30));
    match tokio::time::timeout(limit, connecting).await {
        Ok(connected) => connected.map_err(|error| Fault::of_socket(&error)),
        Err(_late) => Err(Fault::Lost("no connection in time".to_owned())),
    }
}

async fn secure(mut stream: TcpStream, config: &Config, tls: &Tls, name: &str) -> Result<Stream, Fault> {
    let securing = async {
        if config.get_ssl_negotiation() == SslNegotiation::Postgres {
            let mut wish = BytesMut::new();
            frontend::ssl_request(&mut wish);
            stream.write_all(&wish).await?;
            if stream.read_u8().await? != b'S' {
                return Err(io::Error::other("the server offers no TLS"));
            }
        }
        let connector = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls.clone(), name)?;
        connector.connect(stream).await
    };
    let secured = securing.await.map_err(|error| Fault::of_socket(&error))?;
    Ok(Stream::Secured(Box::new(secured)))
}

/// Says who we are, and waits until the server takes questions.
async fn introduce(wire: &mut Wire, config: &Config) -> Result<Backend, Fault> {
    let user = config.get_user().ok_or_else(|| Fault::Ours("the URL names no user".to_owned()))?;
    let mut about = vec![("client_encoding", "UTF8"), ("user", user)];
    let given = [
        ("database", config.get_dbname()),
        ("options", config.get_options()),
        ("application_name", config.get_application_name()),
    ];
    about.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    frontend::startup_message(about, &mut wire.out).map_err(|error| Fault::of_socket(&error))?;
    let mut backend = Backend::default();
    let mut proof = Proof { user, password: config.get_password(), scram: None };
    wire.talk(|message, out| match message {
        Message { tag: b'R', body } => proof.answer(body, out).map(|()| More::Yes),
        Message { tag: b'K', body } => {
            let mut body = Body(body);
            if let (Some(process), Some(secret)) = (body.int(), body.int()) {
                backend = Backend { process, secret };
            }
            Ok(More::Yes)
        }
        Message { tag: b'E', body } => Err(Fault::Told(Told::read(body))),
        Message { tag: b'Z', .. } => Ok(More::No),
        // Settings, and what it has to say of them.
        _ => Ok(More::Yes),
    })
    .await?;
    check_attributes(wire, config.get_target_session_attrs()).await?;
    Ok(backend)
}

/// How we prove who we are.
struct Proof<'a> {
    user: &'a str,
    password: Option<&'a [u8]>,
    scram: Option<ScramSha256>,
}

impl Proof<'_> {
    fn answer(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
        let unclear = || Fault::Ours("the server asks for a proof that is not known".to_owned());
        let of_socket = |error: io::Error| Fault::of_socket(&error);
        let wrong = |error: io::Error| Fault::Ours(format!("the server's proof does not hold: {error}"));
        let mut body = Body(body);
        let asked = body.int().ok_or_else(unclear)?;
        if asked == 0 {
            // Whoever began to prove itself does so to the end.
            return if self.scram.is_some() { Err(unclear()) } else { Ok(()) };
        }
        let password = self.password.ok_or_else(|| Fault::Ours("the URL has no password".to_owned()))?;
        match (asked, &mut self.scram) {
            (3, None) => frontend::password_message(password, out).map_err(of_socket),
            (5, None) => {
                let salt = body.some(4).and_then(|salt| salt.try_into().ok()).ok_or_else(unclear)?;
                let hash = md5_hash(self.user.as_bytes(), password, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(of_socket)
            }
            (10, None) => {
                let mut known = false;
                while let Some(method) = body.text().filter(|method| !method.is_empty()) {
                    known |= method == sasl::SCRAM_SHA_256.as_bytes();
                }
                if !known {
                    return Err(unclear());
                }
                // Not bound to the channel: the certificate and the name are checked.
                let scram = ScramSha256::new(password, ChannelBinding::unsupported());
                let said = frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), out);
                self.scram = Some(scram);
                said.map_err(of_socket)
            }
            (11, Some(scram)) => {
                scram.update(body.0).map_err(wrong)?;
                frontend::sasl_response(scram.message(), out).map_err(of_socket)
            }
            (12, Some(scram)) => {
                scram.finish(body.0).map_err(wrong)?;
                self.scram = None;
                Ok(())
            }
            _ => Err(unclear()),
        }
    }
}

/// Whether it is the kind of server that the URL asks for.
async fn check_attributes(wire: &mut Wire, wanted: TargetSessionAttrs) -> Result<(), Fault> {
    let refused = match wanted {
        TargetSessionAttrs::ReadWrite => b"on".as_slice(),
        TargetSessionAttrs::ReadOnly => b"off".as_slice(),
        _ => return Ok(()),
    };
    frontend::query("SHOW transaction_read_only", &mut wire.out).map_err(|error| Fault::of_socket(&error))?;
    let mut fits = true;
    wire.talk(|message, _| match message {
        Message { tag: b'D', body } => {
            let mut body = Body(body);
            let value = body.short().and_then(|_| body.int()).map(|_| body.0);
            fits = value != Some(refused);
            Ok(More::Yes)
        }
        Message { tag: b'E', body } => Err(Fault::Told(Told::read(body))),
        Message { tag: b'Z', .. } => Ok(More::No),
        _ => Ok(More::Yes),
    })
    .await?;
    if fits { Ok(()) } else { Err(Fault::Lost("not the kind of server that the URL asks for".to_owned())) }
}
