//! The CONNECT proxy: whatever host a tunnel is asked for, it ends at the TLS listener.
//!
//! So a client with a fixed host (`login.salesforce.com`) needs a proxy setting and a trusted authority, and
//! neither a hosts file nor root. It is no proxy for anything else: other methods are a 405.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

/// Longest request head, in bytes.
const LONGEST_HEAD: usize = 16_384;

/// What is answered to a request's head.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Tunnel,
    Refuse(&'static str),
}

/// Serves one connection.
pub async fn serve(mut client: TcpStream, tls: SocketAddr) {
    // Either side may go at any time; then the other is closed too, and there is nobody left to tell.
    if let Err(error) = tunnel(&mut client, tls).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

async fn tunnel(client: &mut TcpStream, tls: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > LONGEST_HEAD {
            return client.write_all(&refusal("431 Request Header Fields Too Large")).await;
        }
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    if let Verdict::Refuse(status) = verdict(&head[..end]) {
        client.write_all(&refusal(status)).await?;
        return client.shutdown().await;
    }
    let mut org = TcpStream::connect(reachable(tls)).await?;
    org.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    // A client in a hurry has sent the first bytes of the tunnel with its request.
    org.write_all(&head[end..]).await?;
    copy_bidirectional(client, &mut org).await.map(drop)
}

fn verdict(head: &[u8]) -> Verdict {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(b"CONNECT"), Some(target), Some(version))
            if target.contains(&b':') && version.starts_with(b"HTTP/1.") =>
        {
            Verdict::Tunnel
        }
        (Some(b"CONNECT"), ..) => Verdict::Refuse("400 Bad Request"),
        (Some(_), Some(_), Some(version)) if version.starts_with(b"HTTP/") => {
            Verdict::Refuse("405 Method Not Allowed")
        }
        _ => Verdict::Refuse("400 Bad Request"),
    }
}

fn refusal(status: &str) -> Vec<u8> {
    let text = "This is a proxy for CONNECT alone; its tunnels end at the simulated org.\n";
    format!(
        "HTTP/1.1 {status}\r\nAllow: CONNECT\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// An address to connect to: one that listens everywhere is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("CONNECT login.salesforce.com:443 HTTP/1.1\r\n\r\n", Verdict::Tunnel)]
    #[case("CONNECT [::1]:443 HTTP/1.0\r\nHost: x\r\n\r\n", Verdict::Tunnel)]
    #[case("CONNECT nowhere HTTP/1.1\r\n\r\n", Verdict::Refuse("400 Bad Request"))]
    #[case("GET http://login.salesforce.com/ HTTP/1.1\r\n\r\n", Verdict::Refuse("405 Method Not Allowed"))]
    #[case("nonsense\r\n\r\n", Verdict::Refuse("400 Bad Request"))]
    fn only_a_connect_opens_a_tunnel(#[case] head: &str, #[case] expected: Verdict) {
        assert_eq!(verdict(head.as_bytes()), expected);
    }
}
