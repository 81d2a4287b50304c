//! Answers that are lost and processes that are killed.
//!
//! A small proxy stands between the driver and the server and cuts at a statement; a process of its own is killed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::server::{SnowflakeGround, say, setting};
use crate::sync::{LoadMode, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount};
use crate::warehouse::contract::bench::{Bench, OWNER, chunk, counts, row, small_layout};
use crate::warehouse::{PartSource, Warehouse as _, WarehouseError};

/// Where the proxy cuts, seen from the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The statement does not arrive.
    Before,
    /// The statement is carried out, its answer is lost.
    After,
    /// The statement does not arrive, and nothing is said to whoever sent it.
    Stall,
}

struct Proxy {
    address: SocketAddr,
    cut: Arc<Mutex<Option<(Cut, &'static str)>>>,
    is_dead: Arc<AtomicBool>,
}

impl Proxy {
    fn start() -> Self {
        let server = setting("PENSTOCK_TEST_SNOWFLAKE").expect("there is a server");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (cut, is_dead) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&cut), Arc::clone(&is_dead));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.1.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&server).expect("the server is there");
                let (cut, is_dead) = shared.clone();
                thread::spawn(move || carry(client, server, cut, is_dead));
            }
        });
        Self { address, cut, is_dead }
    }

    /// Cuts at the next such statement, and lets nobody through from then on.
    fn cut_at(&self, cut: Cut, statement: &'static str) {
        *self.cut.lock().unwrap() = Some((cut, statement));
    }

    fn has_cut(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn heal(&self) {
        self.is_dead.store(false, Ordering::SeqCst);
    }
}

type Where = Arc<Mutex<Option<(Cut, &'static str)>>>;

fn carry(mut client: TcpStream, mut server: TcpStream, cut: Where, is_dead: Arc<AtomicBool>) {
    let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let losing = Arc::new(AtomicBool::new(false));
    let lost = Arc::clone(&losing);
    thread::spawn(move || {
        let mut room = [0; 64 << 10];
        while let Ok(length @ 1..) = answers.read(&mut room) {
            // The server has answered: what it was asked is done.
            if lost.load(Ordering::SeqCst) || to_client.write_all(&room[..length]).is_err() {
                break;
            }
        }
        drop(to_client.shutdown(std::net::Shutdown::Both));
    });
    let mut room = [0; 64 << 10];
    let mut tail = Vec::new();
    while let Ok(length @ 1..) = client.read(&mut room) {
        tail.extend_from_slice(&room[..length]);
        let at = cut.lock().unwrap().take_if(|(_, statement)| {
            let needle = format!("\"sqlText\":\"{statement}");
            tail.windows(needle.len()).any(|window| window == needle.as_bytes())
        });
        tail.drain(..tail.len().saturating_sub(200));
        if let Some((cut, _)) = at {
            is_dead.store(true, Ordering::SeqCst);
            match cut {
                Cut::Before => break,
                Cut::After => losing.store(true, Ordering::SeqCst),
                Cut::Stall => thread::park(),
            }
        }
        if server.write_all(&room[..length]).is_err() {
            break;
        }
    }
    drop(client.shutdown(std::net::Shutdown::Both));
    drop(server.shutdown(std::net::Shutdown::Both));
}

/// A ground whose connections go through a proxy.
fn through_a_proxy() -> Option<(SnowflakeGround, Proxy)> {
    let mut ground = SnowflakeGround::make()?;
    let proxy = Proxy::start();
    ground.settings.port = Some(proxy.address.port());
    Some((ground, proxy))
}

fn direct(ground: &SnowflakeGround) -> SnowflakeGround {
    SnowflakeGround::of(&ground.settings.database).expect("there is a server")
}

fn staged(parts: &[(u32, u64)]) -> LoadState {
    let parts = parts.iter().map(|&(part, rows)| PartReceipt { part: PartNumber(part), rows }).collect();
    LoadState::Staged { parts }
}

#[test]
fn a_commit_whose_answer_was_lost_is_in_the_ledger() {
    let Some((mut ground, proxy)) = through_a_proxy() else { return };
    let mut direct = direct(&ground);
    let mut bench = Bench::new(&mut ground, "lost_answer");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    bench.stage(&plan, 0, &[row("b", "Bea", 1), row("c", "Cid", 1)]);
    proxy.cut_at(Cut::After, "COMMIT");
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(2));
    assert!(matches!(told, Err(WarehouseError::Unsure(_))), "{told:?}");
    assert!(proxy.has_cut());
    drop(bench);

    let mut again = Bench::bare(&mut direct, "lost_answer", small_layout());
    let state = again.warehouse.load_state(&plan).unwrap();
    let LoadState::Committed(receipt) = state else { panic!("{state:?}") };
    assert_eq!(counts(&receipt), [1, 1, 0, 1]);
    assert_eq!(again.commit(&plan, 2), receipt, "and is not committed again");
    assert_eq!(again.names(), ["a=Ada!", "b=Bea", "c=Cid"]);
}

#[test]
fn a_commit_that_never_arrived_is_not_in_the_ledger() {
    let Some((mut ground, proxy)) = through_a_proxy() else { return };
    let mut direct = direct(&ground);
    let mut bench = Bench::new(&mut ground, "lost_question");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    bench.stage(&plan, 0, &[row("b", "Bea", 1), row("c", "Cid", 1)]);
    proxy.cut_at(Cut::Before, "COMMIT");
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(2));
    assert!(matches!(told, Err(WarehouseError::Unsure(_))), "{told:?}");
    // The stand-in does not end the transaction of a client that is gone; the driver's goodbye does.
    proxy.heal();
    drop(bench);

    let mut again = Bench::bare(&mut direct, "lost_question", small_layout());
    assert_eq!(again.names(), ["a=Ada", "b=Bob"]);
    assert_eq!(again.warehouse.load_state(&plan).unwrap(), staged(&[(0, 2)]));
    assert_eq!(counts(&again.commit(&plan, 2)), [1, 1, 0, 1]);
    assert_eq!(again.names(), ["a=Ada!", "b=Bea", "c=Cid"]);
}

#[test]
fn a_connection_that_breaks_in_the_middle_leaves_nothing() {
    for statement in ["COPY", "BEGIN", "UPDATE"] {
        let Some((mut ground, proxy)) = through_a_proxy() else { return };
        let mut direct = direct(&ground);
        let mut bench = Bench::new(&mut ground, "broken");
        bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
        let plan = bench.plan(LoadMode::Upsert);
        bench.stage(&plan, 0, &[row("a", "Eve", 1)]);
        proxy.cut_at(Cut::Before, statement);
        let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1));
        assert!(matches!(told, Err(WarehouseError::Unreachable(_))), "{statement}: {told:?}");
        proxy.heal();
        drop(bench);

        let mut again = Bench::bare(&mut direct, "broken", small_layout());
        assert_eq!(again.names(), ["a=Ada"], "{statement}");
        assert_eq!(again.warehouse.load_state(&plan).unwrap(), staged(&[(0, 1)]), "{statement}");
        assert_eq!(counts(&again.commit(&plan, 1)), [0, 1, 0, 0], "{statement}");
        assert_eq!(again.names(), ["a=Eve"], "{statement}");
    }
}

#[test]
fn a_part_that_did_not_arrive_is_not_acknowledged() {
    let Some((mut ground, proxy)) = through_a_proxy() else { return };
    let mut direct = direct(&ground);
    let mut bench = Bench::new(&mut ground, "no_upload");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    // The server has said where the file is to go; the file itself does not get there.
    proxy.cut_at(Cut::After, "PUT");
    let source = PartSource::Rows(Arc::new(chunk(4, &[row("b", "Bob", 0)])));
    let told = bench.warehouse.stage(&plan, PartNumber(1), &source);
    assert!(told.is_err(), "{told:?}");
    drop(bench);

    let mut again = Bench::bare(&mut direct, "no_upload", small_layout());
    assert_eq!(again.warehouse.load_state(&plan).unwrap(), staged(&[(0, 1)]));
    let told = again.warehouse.commit(&plan, StagedCount::of_rows(2));
    assert!(matches!(told, Err(WarehouseError::OtherCount { expected: 2, staged: 1, .. })), "{told:?}");
}

const CHILD: &str = "PENSTOCK_TEST_SNOWFLAKE_CHILD";

/// What both processes plan.
fn plan_of(bench: &mut Bench<'_>) -> LoadPlan {
    bench.plan(LoadMode::Upsert)
}

/// A process that stages two of three parts, and commits them when it is told to; it waits to be killed.
#[test]
fn child() {
    let Some(orders) = setting(CHILD) else { return };
    let [database, port, commits] = orders.split(' ').collect::<Vec<_>>()[..] else { panic!("{orders}") };
    let mut ground = SnowflakeGround::of(database).expect("there is a server");
    ground.settings.port = Some(port.parse().unwrap());
    let mut bench = Bench::bare(&mut ground, "killed", small_layout());
    bench.change(&[SchemaChange::CreateTable { layout: small_layout() }]).unwrap();
    let plan = plan_of(&mut bench);
    bench.stage(&plan, 0, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    bench.stage(&plan, 1, &[row("c", "Cid", 0)]);
    say("child: staged");
    if commits == "commits" {
        let _told = bench.warehouse.commit(&plan, StagedCount::of_rows(3));
    }
    loop {
        thread::park();
    }
}

fn start_child(database: &str, port: u16, commits: &str) -> Child {
    let path = module_path!().split_once("::").map_or("", |(_, path)| path);
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{path}::child"), "--nocapture"])
        .env(CHILD, format!("{database} {port} {commits}"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for_line(child: &mut Child, line: &str) {
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while std::io::BufRead::read_line(&mut errors, &mut told).unwrap() > 0 {
        if told.contains(line) {
            return;
        }
    }
    panic!("the child ended: {told}");
}

#[test]
fn a_daemon_killed_between_put_and_copy_goes_on_with_the_missing_parts() {
    let Some(mut ground) = SnowflakeGround::make() else { return };
    let mut child = start_child(&ground.settings.database, ground.settings.port.unwrap(), "stages");
    wait_for_line(&mut child, "child: staged");
    child.kill().unwrap();
    child.wait().unwrap();

    // The same owner is let in at once, though the lease of the killed one has not expired.
    let mut bench = Bench::bare(&mut ground, "killed", small_layout());
    let plan = plan_of(&mut bench);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 2), (1, 1)]));
    bench.stage(&plan, 2, &[row("d", "Dan", 0)]);
    assert_eq!(counts(&bench.commit(&plan, 4)), [4, 0, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid", "d=Dan"]);
    drop(bench);
    let mut other = ground.snowflake();
    let told = other.open("somebody else");
    assert!(matches!(told, Err(WarehouseError::InUse(_))), "the lease of the killed one: {told:?}");
    ground.snowflake().open(OWNER).unwrap();
}

#[test]
fn a_daemon_killed_between_copy_and_begin_copies_again() {
    let Some((mut ground, proxy)) = through_a_proxy() else { return };
    let mut direct = direct(&ground);
    // The table first: making it begins transactions too.
    drop(Bench::new(&mut ground, "killed"));
    let mut child = start_child(&direct.settings.database, proxy.address.port(), "commits");
    wait_for_line(&mut child, "child: staged");
    proxy.cut_at(Cut::Stall, "BEGIN");
    while !proxy.has_cut() {
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let mut bench = Bench::bare(&mut direct, "killed", small_layout());
    let plan = plan_of(&mut bench);
    assert_eq!(bench.names(), [""; 0]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), staged(&[(0, 2), (1, 1)]));
    assert_eq!(counts(&bench.commit(&plan, 3)), [3, 0, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob", "c=Cid"]);
}
