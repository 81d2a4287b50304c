//! The ways in: plain HTTP, TLS, and a CONNECT proxy in front of the TLS listener. One org is behind all of them.
//!
//! Promises: all addresses are bound before the server counts as started, and dropping [`Listeners`] closes
//! every socket, open tunnels included.

mod proxy;
mod tls;

pub use tls::Identity;

use crate::{
    options::Options,
    server,
    site::Site,
    wire::{Aftermath, Connection},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// Why there is no way in.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("listen on `{address}`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate could not be made.
    #[error("make the certificate of the TLS listener")]
    Certificate {
        /// What went wrong.
        source: rcgen::Error,
    },
    /// The certificate could not be used.
    #[error("set up the TLS listener")]
    Tls {
        /// What went wrong.
        source: rustls::Error,
    },
    /// The authority's certificate could not be written.
    #[error("write the certificate authority to `{path}`")]
    CaOut {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Sockets bound and not yet served.
pub struct Bound {
    plain: (TcpListener, SocketAddr),
    tls: Option<(TcpListener, SocketAddr, Identity)>,
    proxy: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    /// Binds what the options ask for; a proxy brings a TLS listener with it.
    ///
    /// # Errors
    /// When an address cannot be had, the certificate not be made, or the file for the authority not be written.
    pub async fn bind(options: &Options) -> Result<Self, ListenError> {
        let plain = bind(options.listen).await?;
        let proxy = match options.proxy_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let beside_the_proxy = options.proxy_listen.map(|address| SocketAddr::new(address.ip(), 0));
        let tls = match options.tls_listen.or(beside_the_proxy) {
            None => None,
            Some(address) => {
                let (listener, address) = bind(address).await?;
                let identity = Identity::make(address.ip(), &options.tls_names)?;
                if let Some(path) = &options.ca_out {
                    let failed = |source| ListenError::CaOut { path: path.clone(), source };
                    std::fs::write(path, &identity.ca_pem).map_err(failed)?;
                }
                Some((listener, address, identity))
            }
        };
        Ok(Self { plain, tls, proxy })
    }

    /// The authority of the TLS listener, in PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|(_, _, identity)| identity.ca_pem.as_str())
    }

    /// Serves.
    pub fn serve(self, site: &Arc<Site>) -> Listeners {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        let (listener, plain) = self.plain;
        let for_plain = site.clone();
        tasks.push(tokio::spawn(accept(listener, stopped.clone(), move |stream| {
            let site = for_plain.clone();
            async move {
                let connection = Connection::default();
                let stream = serve(stream, site, "http", &connection).await;
                end(stream, |stream| stream, connection.aftermath()).await;
            }
        })));
        let tls = self.tls.map(|(listener, address, identity)| {
            let site = site.clone();
            tasks.push(tokio::spawn(accept(listener, stopped.clone(), move |stream| {
                serve_tls(stream, identity.acceptor.clone(), site.clone())
            })));
            address
        });
        let proxy = self.proxy.zip(tls).map(|((listener, address), tls)| {
            tasks.push(tokio::spawn(accept(listener, stopped, move |stream| proxy::serve(stream, tls))));
            address
        });
        Listeners { plain, tls, proxy, stop, tasks }
    }
}

/// Sockets being served. Dropping it closes them at once.
pub struct Listeners {
    /// Address of the plain listener.
    pub plain: SocketAddr,
    /// Address of the TLS listener.
    pub tls: Option<SocketAddr>,
    /// Address of the proxy.
    pub proxy: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Closes every socket and waits for it.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // The task ends by itself; that it panicked is nothing the caller could act on.
            let _ = task.await;
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn accept<F>(listener: TcpListener, mut stopped: watch::Receiver<bool>, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Best effort: an answer in two segments is slower, not wrong.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream));
                }
                // Out of descriptors, most likely: wait for some to be given back.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => return,
        }
    }
}

async fn serve_tls(stream: TcpStream, acceptor: TlsAcceptor, site: Arc<Site>) {
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "no TLS session");
            return;
        }
    };
    let connection = Connection::default();
    let stream = serve(stream, site, "https", &connection).await;
    end(stream, |stream| stream.into_inner().0, connection.aftermath()).await;
}

/// Serves requests until the connection ends on either side, then hands the stream back.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    site: Arc<Site>,
    scheme: &'static str,
    connection: &Connection,
) -> S {
    // Boxed, because only a connection that can be moved gives its stream back.
    let service =
        service_fn(|request| Box::pin(server::handle(site.clone(), scheme, connection.clone(), request)));
    let mut served =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = std::future::poll_fn(|cx| served.poll_without_shutdown(cx)).await {
        tracing::debug!(%error, "connection ended");
        connection.broke();
    }
    served.into_parts().io.into_inner()
}

/// Does what is left to do with a connection.
async fn end<S: AsyncWrite + Unpin>(mut stream: S, tcp: impl FnOnce(S) -> TcpStream, aftermath: Aftermath) {
    // A client that has gone misses nothing.
    match aftermath {
        Aftermath::Close => {
            let _ = stream.shutdown().await;
        }
        // Without a closing word: under TLS the client must see that something is missing.
        Aftermath::Drop => {}
        Aftermath::Write(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Aftermath::Reset => {
            // Closing with bytes left to linger for zero seconds is what makes it a reset.
            let _ = tcp(stream).set_zero_linger();
        }
    }
}
