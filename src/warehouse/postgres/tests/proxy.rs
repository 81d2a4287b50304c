//! A way to the server that can be cut at COMMIT.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// The whole message that ends a load.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Where the connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server never gets the COMMIT.
    Before = 1,
    /// The server gets it and answers; nobody hears that.
    After = 2,
}

/// See the module's comment. Its threads end with their sockets.
pub(super) struct Proxy {
    port: u16,
    armed: Arc<AtomicU8>,
}

impl Proxy {
    pub(super) fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicU8::new(0));
        let watched = Arc::clone(&armed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
                let (from, to, armed) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&watched));
                thread::spawn(move || there(from, to, &armed));
                thread::spawn(move || back(server, client));
            }
        });
        Self { port, armed }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the next COMMIT, and none after it.
    pub(super) fn cut(&self, cut: Cut) {
        self.armed.store(cut as u8, Ordering::SeqCst);
    }
}

fn there(mut client: TcpStream, mut server: TcpStream, armed: &AtomicU8) {
    let mut room = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut room) {
        // Nothing is sent after it before its answer, but perhaps something just before it.
        if room[..count].ends_with(COMMIT) {
            match armed.swap(0, Ordering::SeqCst) {
                0 => {}
                cut => {
                    if cut == Cut::After as u8 {
                        // Deaf first, so that the answer goes nowhere.
                        client.shutdown(Shutdown::Both).unwrap();
                        server.write_all(&room[..count]).unwrap();
                        return;
                    }
                    client.shutdown(Shutdown::Both).unwrap();
                    server.shutdown(Shutdown::Both).unwrap();
                    return;
                }
            }
        }
        if server.write_all(&room[..count]).is_err() {
            break;
        }
    }
    // Half closed: what the server still has to say is its own matter.
    let _ = server.shutdown(Shutdown::Write);
}

fn back(mut server: TcpStream, mut client: TcpStream) {
    let mut room = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = server.read(&mut room) {
        if client.write_all(&room[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
