//! As little of an HTTP client as a test needs: one connection per request, the raw head kept.

use crate::{Options, Server, tests::org};
use serde_json::Value;
use std::io::Read;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Reply {
    pub status: u16,
    /// As it came, header names in the case they were sent in.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn error_code(&self) -> String {
        self.json()[0]["errorCode"].as_str().unwrap_or_default().to_owned()
    }

    /// Names are compared without case, as HTTP has it; `head` shows the case they came in.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn gunzipped(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut plain).unwrap();
        plain
    }
}

/// A server with a client that holds a token.
pub struct Sim {
    pub server: Server,
    address: String,
    pub token: String,
}

impl Sim {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::over(options, org::model()).await
    }

    /// Over another model; its rows are made by the same rules.
    pub async fn over(options: Options, model: crate::model::OrgModel) -> Self {
        let server = Server::start_with(options, model, Box::new(org::Rows)).await.unwrap();
        let address = server.url().trim_start_matches("http://").to_owned();
        let mut sim = Self { server, address, token: String::new() };
        let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
        let reply = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
        sim.token = reply.json()["access_token"].as_str().unwrap().to_owned();
        sim
    }

    /// `Err` when the connection ended before a whole answer.
    pub async fn raw(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Result<Reply, String> {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}{length}\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut bytes = Vec::new();
        // A cut connection may be a reset: what came before it is kept.
        if let Err(error) = stream.read_to_end(&mut bytes).await
            && bytes.is_empty()
        {
            return Err(error.kind().to_string());
        }
        parse(&bytes)
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.get_with(target, "").await
    }

    pub async fn get_with(&self, target: &str, headers: &str) -> Reply {
        let headers = format!("Authorization: Bearer {}\r\n{headers}", self.token);
        self.raw("GET", target, &headers, b"").await.unwrap()
    }

    pub async fn post(&self, target: &str, body: &Value) -> Reply {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.token);
        self.raw("POST", target, &headers, body.to_string().as_bytes()).await.unwrap()
    }

    /// Any method, with the token and a body of any type.
    pub async fn send(&self, method: &str, target: &str, content_type: &str, body: &[u8]) -> Reply {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: {content_type}\r\n", self.token);
        self.raw(method, target, &headers, body).await.unwrap()
    }

    /// A query on the data API.
    pub async fn query(&self, soql: &str) -> Reply {
        self.get(&query_url("/services/data/v62.0/query", soql)).await
    }

    /// A query on the Tooling API.
    pub async fn tooling(&self, soql: &str) -> Reply {
        self.get(&query_url("/services/data/v62.0/tooling/query", soql)).await
    }
}

/// Reads a whole answer; `Err` says how its body differs from what its head promised.
pub fn parse(bytes: &[u8]) -> Result<Reply, String> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no head")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = bytes[end + 4..].to_vec();
    let status = head[9..12].parse().unwrap();
    let mut reply = Reply { status, head, body };
    if reply.header("Transfer-Encoding") == Some("chunked") {
        reply.body = unchunked(&reply.body)?;
        return Ok(reply);
    }
    let declared: usize = reply.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    match reply.body.len() == declared {
        true => Ok(reply),
        false => Err(format!("{} of {declared} bytes", reply.body.len())),
    }
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    loop {
        let so_far = plain.len();
        let cut = || format!("{so_far} bytes and no last chunk");
        let line = rest.windows(2).position(|two| two == b"\r\n").ok_or_else(cut)?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(plain);
        }
        plain.extend_from_slice(rest.get(..size).ok_or_else(cut)?);
        rest = rest.get(size + 2..).ok_or_else(cut)?;
    }
}

pub fn query_url(base: &str, soql: &str) -> String {
    let q: String = form_urlencoded::byte_serialize(soql.as_bytes()).collect();
    format!("{base}?q={q}")
}
