//! A MariaDB server of the tests' own: a temporary directory, a free port of this machine, stopped at the end.
//!
//! Where MariaDB is not installed there is none, and tests that need one have nothing to test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::database::ports::free_port;

/// How often it is asked whether it takes connections, and for how long: two minutes, as builders share machines.
const STEP: Duration = Duration::from_millis(50);
const PATIENCE_STEPS: u32 = 2_400;

/// A server that runs until this is dropped.
pub struct TestServer {
    process: Child,
    port: u16,
    // Removed after the process has stopped: fields are dropped in this order, and `drop` waits.
    _directory: tempfile::TempDir,
}

impl TestServer {
    /// Starts one; `None` when MariaDB is not installed here.
    pub async fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), &[]).await
    }

    /// Starts one with a certificate of its own for the name `localhost`, and answers where that is.
    pub async fn start_secured() -> Option<(Self, PathBuf)> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (certificate, key) = (directory.path().join("server.crt"), directory.path().join("server.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl runs");
        assert!(made.success(), "openssl makes a certificate");
        let arguments =
            [format!("--ssl-cert={}", certificate.display()), format!("--ssl-key={}", key.display())];
        Some((Self::start_in(directory, &arguments).await?, certificate))
    }

    async fn start_in(directory: tempfile::TempDir, arguments: &[String]) -> Option<Self> {
        let server = installed("mariadbd")?;
        let install = installed("mariadb-install-db")?;
        let data = directory.path().join("data");
        // A server that root starts must be told to stay root: the directory is root's.
        let user = if is_root() { Some("--user=root") } else { None };
        // A server that starts removes what it takes for temporary tables left behind, those of its neighbours too: each
        // has a place of its own for them.
        let installed = Command::new(install)
            .env("TMPDIR", directory.path())
            .arg("--no-defaults")
            .args(user)
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .expect("mariadb-install-db runs");
        let said = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "mariadb-install-db failed: {said}");
        let port = free_port();
        let log = directory.path().join("log");
        let process = Command::new(server)
            .env("TMPDIR", directory.path())
            .arg("--no-defaults")
            .args(user)
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", directory.path().join("socket").display()))
            .arg(format!("--pid-file={}", directory.path().join("pid").display()))
            .arg(format!("--port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--innodb-buffer-pool-size=32M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("its log"))
            .spawn()
            .expect("mariadbd starts");
        let mut server = Self { process, port, _directory: directory };
        for _ in 0..PATIENCE_STEPS {
            if server.connect(None).await.is_ok() {
                return Some(server);
            }
            if server.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("mariadbd does not answer: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// The address of a database on it.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a database and runs statements in it.
    pub async fn database(&self, name: &str, sql: &str) {
        let mut conn = self.connect(None).await.expect("a connection");
        conn.query_drop(format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4; USE `{name}`; {sql}"))
            .await
            .expect("the tables");
    }

    /// A plain connection.
    ///
    /// # Errors
    /// The driver's.
    pub async fn connect(&self, database: Option<&str>) -> Result<Conn, mysql_async::Error> {
        let url = self.url(database.unwrap_or_default());
        Conn::new(Opts::from_url(url.trim_end_matches('/'))?).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|path| path.exists())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
