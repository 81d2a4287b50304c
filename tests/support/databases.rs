//! Real databases on loopback ports of their own, from Debian's packages, and an SQLite file: each with the same few
//! questions, so that one test runs on all of them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql_async::prelude::Queryable as _;

use super::{PATIENCE, free_addr, now, pause};

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mysql,
}

impl Kind {
    /// As the configuration says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }
}

/// A database with a folder of its own; dropped, it is gone.
pub struct Database {
    pub kind: Kind,
    folder: tempfile::TempDir,
    addr: SocketAddr,
    server: Option<Child>,
    /// One connection for all questions: a test asks thousands.
    asked: Mutex<Asked>,
    runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
enum Asked {
    #[default]
    Nobody,
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
    Mysql(Box<mysql_async::Conn>),
}

impl Database {
    pub fn start(kind: Kind) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let mut database =
            Self { kind, folder, addr: free_addr(), server: None, asked: Mutex::default(), runtime };
        match kind {
            Kind::Sqlite => {}
            Kind::Postgres => database.make_postgres(),
            Kind::Mysql => database.make_mysql(),
        }
        database.launch();
        database
    }

    /// The file of SQLite.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("batch.sqlite")
    }

    /// Lines of a `[[database]]` section, below its name.
    pub fn section(&self) -> String {
        let place = match self.kind {
            Kind::Sqlite => format!("path = '{}'", self.file().display()),
            Kind::Postgres => format!("url = 'postgres://postgres@{}/postgres'", self.addr),
            Kind::Mysql => format!("url = 'mysql://root@{}/test'", self.addr),
        };
        format!("[[database]]\nname = 'main'\nkind = '{}'\n{place}\n", self.kind.as_str())
    }

    /// Where a database of a PostgreSQL server is.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.addr)
    }

    /// Runs statements, divided by `;`.
    pub fn execute(&self, sql: &str) {
        let mut asked = self.connection();
        match &mut *asked {
            Asked::Nobody => unreachable!("a connection was made"),
            Asked::Sqlite(connection) => {
                connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
            }
            Asked::Postgres(client) => {
                let done = self.runtime.block_on(client.batch_execute(sql));
                done.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
            }
            Asked::Mysql(connection) => {
                for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
                    let done = self.runtime.block_on(connection.query_drop(statement));
                    done.unwrap_or_else(|error| panic!("{error}: {statement}"));
                }
            }
        }
    }

    /// The answer of one query, each cell as the database writes it.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut asked = self.connection();
        match &mut *asked {
            Asked::Nobody => unreachable!("a connection was made"),
            Asked::Sqlite(connection) => {
                let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
                let width = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..width).map(|at| row.get_ref(at).map(sqlite_text)).collect::<Result<Vec<_>, _>>()
                });
                rows.expect("rows").map(|row| row.expect("a row")).collect()
            }
            Asked::Postgres(client) => {
                let messages = self.runtime.block_on(client.simple_query(sql));
                let messages = messages.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
                let cells = |row: &tokio_postgres::SimpleQueryRow| {
                    (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()
                };
                let rows = messages.iter().filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => Some(cells(row)),
                    _ => None,
                });
                rows.collect()
            }
            Asked::Mysql(connection) => {
                let rows: Result<Vec<mysql_async::Row>, _> = self.runtime.block_on(connection.query(sql));
                let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
                rows.into_iter().map(|row| row.unwrap().into_iter().map(mysql_text).collect()).collect()
            }
        }
    }

    fn connection(&self) -> MutexGuard<'_, Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*asked, Asked::Nobody) {
            *asked = match self.kind {
                Kind::Sqlite => Asked::Sqlite(self.sqlite()),
                Kind::Postgres => Asked::Postgres(self.runtime.block_on(self.postgres())),
                Kind::Mysql => Asked::Mysql(Box::new(self.runtime.block_on(self.mysql()))),
            };
        }
        asked
    }

    /// The only cell of one query, as a number.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = self.query(sql);
        let cell = rows[0][0].as_deref().unwrap_or("0");
        cell.parse::<f64>().unwrap_or_else(|_| panic!("{cell} is no number: {sql}")) as i64
    }

    /// Holds a lock of PostgreSQL until it is dropped.
    pub fn hold_lock(&self, statement: &str) -> tokio_postgres::Client {
        self.runtime.block_on(async {
            let client = self.postgres().await;
            client.batch_execute(&format!("BEGIN; {statement}")).await.expect("the lock");
            client
        })
    }

    /// Kills the server at once, as a power cut would.
    pub fn kill_nine(&mut self) {
        let _guard = self.runtime.enter();
        *self.asked.get_mut().unwrap_or_else(PoisonError::into_inner) = Asked::Nobody;
        if let Some(mut server) = self.server.take() {
            server.kill().expect("kill it");
            server.wait().expect("it ends");
        }
    }

    /// Starts a server again after [`Database::kill_nine`], on the same port and data.
    pub fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("its log");
        let data = self.data();
        let mut command = match self.kind {
            Kind::Sqlite => return,
            Kind::Postgres => {
                let mut command = as_user("postgres", &postgres_program("postgres"));
                command.arg("-D").arg(&data).arg("-p").arg(self.addr.port().to_string());
                command.arg("-k").arg(self.folder.path()).args(["-h", "127.0.0.1"]);
                command.args(["-c", "max_connections=100", "-c", "fsync=on"]);
                command
            }
            Kind::Mysql => {
                let mut command = self.mariadb("/usr/sbin/mariadbd");
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                command.arg(format!("--port={}", self.addr.port())).arg("--bind-address=127.0.0.1");
                command.arg(format!("--socket={}", self.folder.path().join("socket").display()));
                command.arg("--innodb-buffer-pool-size=64M").args(user_option());
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("its log")).stderr(log);
        self.server = Some(command.spawn().expect("start the database server"));
        let deadline = now() + PATIENCE;
        while !self.answers() {
            if self.server.as_mut().is_some_and(|server| server.try_wait().ok().flatten().is_some()) {
                // The processes of a server that was killed may hold its memory for a moment.
                self.server = Some(command.spawn().expect("start the database server"));
            }
            assert!(
                now() < deadline,
                "{:?} does not start: {}",
                self.kind,
                std::fs::read_to_string(self.log()).unwrap_or_default()
            );
            pause(std::time::Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        self.runtime.block_on(async {
            match self.kind {
                Kind::Sqlite => true,
                Kind::Postgres => {
                    tokio_postgres::connect(&self.postgres_url(), tokio_postgres::NoTls).await.is_ok()
                }
                Kind::Mysql => mysql_async::Conn::from_url(self.mysql_url("")).await.is_ok(),
            }
        })
    }

    fn make_postgres(&self) {
        let data = self.data();
        std::fs::create_dir(&data).expect("a data folder");
        give_to("postgres", self.folder.path());
        let mut command = as_user("postgres", &postgres_program("initdb"));
        command.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        finished(&mut command);
    }

    fn make_mysql(&mut self) {
        let mut command = self.mariadb("mariadb-install-db");
        command.arg("--no-defaults").arg(format!("--datadir={}", self.data().display())).args(user_option());
        command.arg("--auth-root-authentication-method=normal");
        finished(&mut command);
        self.launch();
        self.runtime.block_on(async {
            let mut connection = mysql_async::Conn::from_url(self.mysql_url("")).await.expect("sign in");
            for statement in ["DROP DATABASE IF EXISTS test", "CREATE DATABASE test CHARACTER SET utf8mb4"] {
                connection.query_drop(statement).await.expect("a database");
            }
        });
        self.kill_nine();
    }

    /// A program of MariaDB with a place of its own for temporary tables: a server that starts removes those that it
    /// finds, its neighbours' too.
    fn mariadb(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("TMPDIR", self.folder.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn postgres_url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.addr)
    }

    fn mysql_url(&self, database: &str) -> &'static str {
        // The driver wants a text that lives on; a test makes few of them.
        Box::leak(format!("mysql://root@{}/{database}", self.addr).into_boxed_str())
    }

    fn sqlite(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.file()).expect("open the file");
        connection.busy_timeout(PATIENCE).expect("wait for the writer");
        connection
    }

    async fn postgres(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.postgres_url(), tokio_postgres::NoTls).await.expect("sign in");
        tokio::spawn(connection);
        client
    }

    async fn mysql(&self) -> mysql_async::Conn {
        mysql_async::Conn::from_url(self.mysql_url("test")).await.expect("sign in")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill_nine();
    }
}

fn sqlite_text(value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

fn mysql_text(value: mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

/// Debian keeps the server's programs off the path, one folder a version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian's package `postgresql`");
    let mut programs: Vec<PathBuf> =
        versions.map(|version| version.expect("a folder").path().join("bin").join(name)).collect();
    programs.retain(|program| program.exists());
    programs.sort();
    programs.pop().unwrap_or_else(|| panic!("Debian's package `postgresql` has no `{name}`"))
}

/// PostgreSQL refuses to run as root.
fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(program);
    command
}

fn give_to(user: &str, folder: &Path) {
    if is_root() {
        finished(Command::new("chown").arg("-R").arg(format!("{user}:")).arg(folder));
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn user_option() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

fn finished(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
