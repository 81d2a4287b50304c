//! A PostgreSQL server for tests: its own data folder, port and sockets, with fsync as in production.
//!
//! The folder belongs to an unprivileged user when the tests run as root: PostgreSQL refuses root. It is stopped and
//! removed when the last test lets go of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::database::ports::free_port;

/// A running server.
pub(crate) struct TestServer {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
    unprivileged: Option<&'static str>,
}

/// The user that a server runs as when the tests are root's.
const SERVER_USER: &str = "postgres";

impl TestServer {
    /// One server for all tests that hold it at the same time.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Mutex<Weak<TestServer>>> = OnceLock::new();
        let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of its own, for tests that kill it.
    pub(crate) fn start() -> Self {
        let binaries = binaries().expect("PostgreSQL's server programs are installed");
        let folder = tempfile::Builder::new().prefix("penstock-pg").tempdir().expect("a folder");
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
        let server =
            Self { folder, binaries, port: free_port(), unprivileged: is_root.then_some(SERVER_USER) };
        if let Some(user) = server.unprivileged {
            let done = Command::new("chown").arg(user).arg(server.folder.path()).status();
            assert!(done.is_ok_and(|status| status.success()), "the folder is given to {user}");
        }
        let data = server.data();
        server.run(
            "initdb",
            &["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", &data],
        );
        server.launch();
        server
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) fn launch(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=on -c max_connections=100 -c max_prepared_transactions=0",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log").display().to_string();
        self.run("pg_ctl", &["-w", "-D", &self.data(), "-l", &log, "-o", &options, "start"]);
    }

    /// Gives it a certificate of its own for the name `localhost`, starts it again, and answers where that is.
    pub(crate) fn secure(&self) -> PathBuf {
        let certificate = self.folder.path().join("server.crt");
        let key = self.folder.path().join("server.key").display().to_string();
        let made = certificate.display().to_string();
        let arguments = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &made,
        ];
        self.run_program(Path::new("openssl"), &arguments);
        let sql = format!(
            "ALTER SYSTEM SET ssl_cert_file = '{made}'; ALTER SYSTEM SET ssl_key_file = '{key}'; \
             ALTER SYSTEM SET ssl = on"
        );
        for sql in sql.split("; ") {
            self.run("psql", &["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-c", sql]);
        }
        self.kill();
        self.launch();
        certificate
    }

    /// Ends it as if the power had failed.
    pub(crate) fn kill(&self) {
        self.run("pg_ctl", &["-w", "-D", &self.data(), "-m", "immediate", "stop"]);
    }

    /// Where to connect to one of its databases as its superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// Where to connect to one of its databases as this user.
    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The folder of its sockets.
    pub(crate) fn sockets(&self) -> &Path {
        self.folder.path()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_program(&self.binaries.join(program), arguments);
    }

    fn run_program(&self, program: &Path, arguments: &[&str]) {
        let status =
            self.command(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "`{}` works", program.display());
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.unprivileged {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self
            .command(&self.binaries.join("pg_ctl"))
            .args(["-w", "-D", &self.data(), "-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Where the newest installed server is.
fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
}
