//! The endpoints over real sockets, with a service that does as it is told.

mod client;
mod fake;
mod following;
mod jobs;
mod older;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use self::client::{BOUNDARY, Form, Got, Line};
use self::fake::{Fake, Stage};
use super::LeadSources;
use crate::batch::access::Caller;
use crate::batch::access::token::TokenFault;
use crate::clock::BoxFuture;
use crate::http::HttpHandle;
use crate::http::api::{Admits, ApiSources, Door, NotLetIn, start};
use crate::leads::settings::LeadSettings;
use crate::sheets::OpenOptions;

/// Bytes that an upload may have.
const UPLOAD_MAX: u64 = 100_000;

/// Lets anybody in; `good` is a caller with the role `sales`.
struct Anybody;

impl Door for Anybody {
    fn let_in(&self, authorization: Option<String>) -> BoxFuture<'static, Result<Caller, NotLetIn>> {
        let judged = match authorization.as_deref() {
            None => Ok(Caller::default()),
            Some("Bearer good") => Ok(Caller { roles: vec![Arc::from("sales")], ..Caller::default() }),
            Some(_) => Err(NotLetIn::Token(TokenFault::Expired)),
        };
        Box::pin(async move { judged })
    }

    fn admits(&self) -> Admits {
        Admits { tokens: true, without_token: true }
    }
}

struct Rig {
    server: HttpHandle,
    fake: Arc<Fake>,
    folder: TempDir,
}

fn stage() -> (Stage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        LeadSettings { max_upload_bytes: UPLOAD_MAX, large_dataset_threshold: 3, ..LeadSettings::default() };
    let stage = Stage {
        settings,
        started: Mutex::default(),
        queried: Mutex::default(),
        holds: false,
        org_fails: None,
        found: Vec::new(),
        folder: folder.path().to_owned(),
    };
    (stage, folder)
}

fn rig_with(arrange: impl FnOnce(&mut Stage), roles: &[&str]) -> Rig {
    let (mut stage, folder) = stage();
    arrange(&mut stage);
    let fake = Fake::new(stage);
    let leads = LeadSources {
        service: Arc::clone(&fake) as _,
        uploads: folder.path().join("uploads"),
        sheets: OpenOptions::new(folder.path()),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    let sources = ApiSources { service: None, door: Arc::new(Anybody), leads: Some(leads) };
    let server = start(SocketAddr::from(([127, 0, 0, 1], 0)), sources).expect("a free port");
    Rig { server, fake, folder }
}

fn rig() -> Rig {
    rig_with(|_| {}, &[])
}

impl Rig {
    fn connect(&self) -> Line {
        Line::to(self.server.addr())
    }

    fn send(&self, first_line: &str, headers: &[&str], body: &[u8]) -> Got {
        let mut line = self.connect();
        line.send(first_line, headers, body);
        line.answer()
    }

    fn get(&self, path: &str) -> Got {
        self.send(&format!("GET {path}"), &[], b"")
    }

    fn post(&self, path: &str, body: serde_json::Value) -> Got {
        self.send(&format!("POST {path}"), &["Content-Type: application/json"], body.to_string().as_bytes())
    }

    /// Sends a list of ids as a file.
    fn upload(&self, path: &str, fields: &[(&str, &str)], headers: &[&str], ids: &[&str]) -> Got {
        let list = format!("Lead ID\n{}\n", ids.join("\n"));
        let form = Form::new(fields).file("leads.csv", list.as_bytes()).end();
        self.send(&format!("POST {path}"), &[&[BOUNDARY], headers].concat(), &form)
    }

    /// Files that are left in the uploads folder.
    fn left_over(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("uploads")).map_or(0, Iterator::count)
    }
}
