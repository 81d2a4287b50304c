//! A simulated org that outlives the processes which sync it, and its truth.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use orgsim::model::{Field, SObject};
use serde_json::{Map, Value, json};

/// A row of the org: every field that the user may see.
pub type Row = Map<String, Value>;

pub struct Org {
    pub server: orgsim::Server,
    // Behind the server, which lives on it.
    _runtime: tokio::runtime::Runtime,
}

impl Org {
    pub fn start(options: orgsim::Options) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(orgsim::Server::start(options)).unwrap();
        Self { server, _runtime: runtime }
    }

    /// Tells the simulator something.
    pub fn control(&self, path: &str, body: &Value) -> String {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let url = self.server.url();
        let mut line = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: org\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        line.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        body.to_owned()
    }

    pub fn change(&self, change: &Value) {
        self.control("/__sim/rows", change);
    }

    pub fn set(&self, knobs: &Value) {
        self.control("/__sim/data", knobs);
    }

    /// The org's clock goes on.
    pub fn later(&self, secs: u64) {
        self.control("/__sim/clock", &json!({ "advance_ms": secs * 1_000 }));
    }

    /// The rows as they are, those of the recycle bin among them, by id.
    pub fn rows(&self, object: &str) -> BTreeMap<String, Row> {
        let lines = self.ask("GET", &format!("/__sim/rows?object={object}"), "");
        lines
            .lines()
            .map(|line| {
                let row: Row = serde_json::from_str(line).unwrap();
                (row["Id"].as_str().unwrap().to_owned(), row)
            })
            .collect()
    }

    pub fn object(&self, object: &str) -> &SObject {
        self.server.model().object(object).unwrap()
    }

    /// A field as it is now; the last of several of one name.
    pub fn field(&self, object: &str, name: &str) -> &Field {
        self.object(object).fields.iter().rev().find(|field| field.name == name).unwrap()
    }

    /// Calls that went well, by method and path.
    pub fn calls(&self, method: &str, is_it: impl Fn(&str) -> bool) -> usize {
        let journal = self.server.journal();
        let is_good = |status: u16| (200..300).contains(&status);
        journal
            .calls
            .iter()
            .filter(|call| call.method == method && is_good(call.status) && is_it(&call.path))
            .count()
    }
}
