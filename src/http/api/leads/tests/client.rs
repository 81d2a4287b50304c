//! A client of few words: whole requests over real sockets, and answers as they come.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer as it came.
pub(super) struct Got {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    pub fn text(&self) -> String {
        format!("{}{}", self.head, String::from_utf8_lossy(&self.body))
    }

    /// Data of an envelope that says success.
    pub fn data(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let mut told = self.json();
        assert_eq!(told["status"], "success");
        assert!(told["message"].is_string());
        told["data"].take()
    }

    /// Sentence of an envelope that says error.
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let told = self.json();
        assert_eq!(told["status"], "error");
        told["message"].as_str().expect("a sentence").to_owned()
    }

    /// Kind of a problem.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let told: Value = serde_json::from_slice(&self.body).expect("a JSON document");
        assert_eq!((told["status"].as_u64(), &told["message"]), (Some(u64::from(status)), &told["detail"]));
        told["kind"].as_str().expect("a kind").to_owned()
    }
}

/// A connection that reads what comes.
pub(super) struct Line(pub TcpStream);

impl Line {
    pub fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, first_line: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("{first_line} HTTP/1.1\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.0.peer_addr().unwrap()));
        }
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() && !headers.iter().any(|header| header.starts_with("Content-Length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.0.write_all(head.as_bytes()).unwrap();
        // A server that has answered already may have closed its side.
        let _ = self.0.write_all(body);
    }

    /// Reads up to and with a text.
    pub fn until(&mut self, end: &str) -> String {
        let (mut read, mut byte) = (Vec::new(), [0]);
        while !read.ends_with(end.as_bytes()) {
            let more = self.0.read_exact(&mut byte);
            assert!(more.is_ok(), "{more:?}: {}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        String::from_utf8(read).unwrap()
    }

    /// The next chunk of a body in chunks; empty at its end.
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = self.until("\r\n");
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        chunk
    }

    pub fn answer(&mut self) -> Got {
        let head = self.until("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut got = Got { status, head, body: Vec::new() };
        if got.header("transfer-encoding").is_some() {
            loop {
                match self.chunk() {
                    end if end.is_empty() => return got,
                    chunk => got.body.extend(chunk),
                }
            }
        }
        let length = got.header("content-length").map_or(0, |length| length.parse().unwrap());
        got.body.resize(length, 0);
        self.0.read_exact(&mut got.body).unwrap();
        got
    }
}

/// A form: fields, and a file with its name.
pub(super) struct Form(Vec<u8>);

pub(super) const BOUNDARY: &str = "Content-Type: multipart/form-data; boundary=x--x";

impl Form {
    pub fn new(fields: &[(&str, &str)]) -> Self {
        let mut form = Self(Vec::new());
        for (name, value) in fields {
            let part =
                format!("--x--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            form.0.extend(part.into_bytes());
        }
        form
    }

    pub fn file(mut self, name: &str, content: &[u8]) -> Self {
        let head = format!(
            "--x--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/csv\r\n\r\n"
        );
        self.0.extend(head.into_bytes());
        self.0.extend(content);
        self.0.extend(b"\r\n");
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend(b"--x--x--\r\n");
        self.0
    }
}
