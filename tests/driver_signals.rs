//! Signals keep working beside a driver that is written in Go, and the driver beside signals.
//!
//! Go's runtime changes the handlers that it finds, and a handler of ours then overflows its small stack: with handlers this
//! ends in SIGSEGV. Penstock has none; it blocks its signals before any thread starts and reads them with `sigwait`. A
//! process set up like that loads the Snowflake driver, lets it query without pause, and is stormed with signals meanwhile.
//!
//! The driver is what PENSTOCK_TEST_SNOWFLAKE_DRIVER names, or what `tests/warehouse/drivers.py` has fetched. With
//! PENSTOCK_TEST_SERVERS=1 a missing one is a failure instead of a skipped test.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal as Raw, kill};
use nix::unistd::Pid;
use penstock::signals::{self, Signal};
use penstock::warehouse::WarehouseError;
use penstock::warehouse::adbc::{AdbcConnection, DriverPlace, open_database};

/// Bursts that nobody waits for, and signals in each of every kind.
const BURSTS: usize = 100;
const BURST: usize = 5;
/// Rounds in which each signal is waited for, so that none merges with the one before.
const ROUNDS: u64 = 150;
/// Long, because builders share machines; a test that passes takes seconds.
const PATIENCE: Duration = Duration::from_secs(180);
const STORM: [(Raw, &str); 3] =
    [(Raw::SIGUSR1, "read Pause"), (Raw::SIGUSR2, "read Resume"), (Raw::SIGHUP, "read Reload")];

fn setting(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "switches of the tests, not of penstock")]
    std::env::var_os(name)
}

fn driver() -> Option<String> {
    let fetched = || {
        let cache = setting("PENSTOCK_CLIENTS_DIR").map(PathBuf::from).or_else(|| {
            let home = setting("HOME").map(|home| Path::new(&home).join(".cache"));
            Some(setting("XDG_CACHE_HOME").map(PathBuf::from).or(home)?.join("penstock-clients"))
        })?;
        Some(cache.join("drivers/snowflake/libadbc_driver_snowflake.so"))
    };
    let path = setting("PENSTOCK_TEST_SNOWFLAKE_DRIVER").map(PathBuf::from).or_else(fetched);
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path.to_str().expect("a path in UTF-8").to_owned());
    }
    let how = "`tests/warehouse/drivers.py snowflake` fetches the driver of Snowflake";
    assert!(setting("PENSTOCK_TEST_SERVERS").is_none_or(|value| value != "1"), "{how}");
    // Past the harness, which would keep the line of a test that passes.
    let _told = writeln!(std::io::stderr(), "skipped: {how}");
    None
}

fn engine_error(error: &adbc_core::error::Error) -> WarehouseError {
    WarehouseError::Engine(error.message.clone())
}

/// Not a test by itself: the process that is stormed. It counts queries until its input ends.
#[test]
#[ignore = "run by `signals_and_a_go_driver_leave_each_other_alone` in a process of its own"]
fn queries_while_it_reads_signals() {
    signals::listen(|signal| {
        println!("read {signal:?}");
        !matches!(signal, Signal::Drain)
    })
    .unwrap();
    let port = setting("PENSTOCK_TEST_PORT").unwrap().into_string().unwrap();
    let place = DriverPlace {
        kind: "snowflake",
        name: "snowflake",
        entrypoint: "AdbcDriverSnowflakeInit",
        configured: driver(),
        search: Vec::new(),
    };
    let options = [
        ("username", "u"),
        ("password", "p"),
        ("adbc.snowflake.sql.account", "acme"),
        ("adbc.snowflake.sql.uri.host", "127.0.0.1"),
        ("adbc.snowflake.sql.uri.port", port.as_str()),
        ("adbc.snowflake.sql.uri.protocol", "http"),
        ("adbc.snowflake.sql.client_option.request_timeout", "30s"),
    ];
    let database = open_database(&place, &options, engine_error).unwrap();
    let mut connection = AdbcConnection::connect(&database, engine_error).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let queries = Arc::new(AtomicU64::new(0));
    let querying = {
        let (is_over, queries) = (Arc::clone(&is_over), Arc::clone(&queries));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let (_, rows) = connection.rows("SELECT 1").unwrap();
                assert_eq!(rows.rows(), 1);
                if queries.fetch_add(1, Ordering::SeqCst) == 0 {
                    println!("it queries");
                }
            }
        })
    };
    for line in std::io::stdin().lines().map_while(Result::ok) {
        println!("{line} {}", queries.load(Ordering::SeqCst));
    }
    is_over.store(true, Ordering::SeqCst);
    querying.join().unwrap();
    println!("went on to the end");
}

#[test]
fn signals_and_a_go_driver_leave_each_other_alone() {
    let Some(driver) = driver() else { return };
    let port = serve();
    // As in `main`: the mask is inherited, so that the process has signals blocked before its first thread starts.
    signals::block().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "queries_while_it_reads_signals", "--ignored", "--nocapture"])
        .env("PENSTOCK_TEST_PORT", port.to_string())
        .env("PENSTOCK_TEST_SNOWFLAKE_DRIVER", driver)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    // A process that hangs is ended, which ends the waiting for its lines.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _killed = kill(pid, Raw::SIGKILL);
        }
    });
    let mut ask = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut counts: HashMap<&str, u64> = HashMap::new();
    // What was read on the way to a line is counted too; the harness writes the test's name on the first line.
    let mut until = |wanted: &str| loop {
        let line = lines.next()?;
        for (_, kind) in STORM {
            if line.ends_with(kind) {
                *counts.entry(kind).or_default() += 1;
            }
        }
        if line.ends_with(wanted) || line.starts_with(wanted) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            return Some((count.unwrap_or_default(), counts.clone()));
        }
    };
    until("it queries").expect("the driver works before the storm");
    writeln!(ask, "before").unwrap();
    let (before, _) = until("before").expect("the process went on");

    for _ in 0..BURSTS {
        for (raw, _) in STORM.iter().cycle().take(BURST * STORM.len()) {
            kill(pid, *raw).unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    writeln!(ask, "behind the bursts").unwrap();
    let ended = "the process ended in the storm";
    let (_, merged) = until("behind the bursts").expect(ended);
    for (_, kind) in STORM {
        assert!(merged.get(kind).is_some_and(|count| *count > 0), "{kind}: {merged:?}");
    }
    let mut last = HashMap::new();
    for _ in 0..ROUNDS {
        for (raw, kind) in STORM {
            kill(pid, raw).unwrap();
            last = until(kind).expect(ended).1;
        }
    }
    for (_, kind) in STORM {
        assert!(last[kind] >= merged[kind] + ROUNDS, "{kind}: {merged:?}, then {last:?}");
    }
    writeln!(ask, "behind the storm").unwrap();
    let (after, _) = until("behind the storm").expect(ended);
    assert!(after > before, "the driver stood still: {before} queries before the storm, {after} behind it");
    // A signal that asks for an end is still read, and the driver ends in peace.
    kill(pid, Raw::SIGTERM).unwrap();
    until("read Drain").expect("the last signal is read");
    drop(ask);
    until("went on to the end").expect("the process ends by itself");
    let status = child.wait().unwrap();
    drop(done);
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    println!("{} queries during the storm; signals read: {last:?}", after - before);
}

/// As much of Snowflake's protocol as a login and a query of one number need.
fn serve() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = head.first().map_or("", String::as_str);
        let data = if path.contains("login-request") { LOGIN } else { ONE };
        let text = format!(r#"{{"data":{data},"message":null,"code":null,"success":true}}"#);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream.write_all(format!("{head}{text}").as_bytes()).is_err() {
            return;
        }
    }
}

const LOGIN: &str = r#"{"token":"t","masterToken":"m","validityInSeconds":3600,"masterValidityInSeconds":14400,
    "displayUserName":"U","serverVersion":"8","firstLogin":false,"healthCheckInterval":45,"sessionId":7,"parameters":[],
    "sessionInfo":{"databaseName":"D","schemaName":"S","warehouseName":"W","roleName":"R"}}"#;
const ONE: &str = r#"{"parameters":[],"rowtype":[{"name":"1","database":"","schema":"","table":"","nullable":false,
    "type":"fixed","precision":1,"scale":0,"length":null,"byteLength":null,"collation":null}],"rowset":[["1"]],"total":1,
    "returned":1,"queryId":"01b00000-0000-0000-0000-000000000001","databaseProvider":null,"finalDatabaseName":"D",
    "finalSchemaName":"S","finalWarehouseName":"W","finalRoleName":"R","numberOfBinds":0,"arrayBindSupported":false,
    "statementTypeId":4096,"version":1,"sendResultTime":1767225600000,"queryResultFormat":"json"}"#;
