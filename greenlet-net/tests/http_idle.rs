//! Ten thousand connections that nobody uses. The server is in a process of its own: there are only so many descriptors for each.
#![cfg(all(feature = "http", target_os = "linux"))]

mod raw;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use greenlet_core::pool::Pool;
use greenlet_core::run;
use greenlet_net::http::{AccessLog, Request, Server};
use greenlet_net::{ConnectOptions, TcpListener, TcpStream};
use raw::FOREVER;
use rustix::process::{Resource, getrlimit, setrlimit};

const CONNECTIONS: usize = 10_000;
/// Descriptors that a process has for other things.
const OTHERS: u64 = 200;
/// "At once", on a machine that does much else.
const AT_ONCE: Duration = Duration::from_secs(5);

/// One test at a time: the clients of both would be too many for this process.
static ALONE: Mutex<()> = Mutex::new(());

const MARK: &str = "GREENLET_TEST_SERVE";

/// Gets as many descriptors as it takes, if the system lets it.
fn enough_descriptors() -> bool {
    let needed = CONNECTIONS as u64 + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return true;
    }
    limit.current = limit.maximum;
    let enough =
        limit.maximum.is_none_or(|most| most >= needed) && setrlimit(Resource::Nofile, limit).is_ok();
    if !enough {
        let required = std::env::var_os("GREENLET_TEST_REQUIRE").is_some_and(|value| value == "1");
        assert!(!required, "a process may have {:?} descriptors, and needs {needed}", limit.maximum);
        eprintln!("skipped: a process may have {:?} descriptors, and needs {needed}", limit.maximum);
    }
    enough
}

/// The process of the server, which ends with this.
struct Serving {
    process: Child,
    address: SocketAddr,
}

impl Serving {
    /// Runs the named test in another process, where it is to call [`serve`].
    fn start(test: &str) -> Serving {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(MARK, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut server = Serving { process: process.unwrap(), address: SocketAddr::from(([0; 4], 0)) };
        let lines = BufReader::new(server.process.stdout.take().unwrap()).lines();
        let mut addresses =
            lines.filter_map(|line| Some(line.unwrap().split_once("listening on ")?.1.parse().unwrap()));
        server.address = addresses.next().expect("the server listens");
        server
    }

    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the process of the server: serves until the other process has gone.
fn serve(server: Server<fn(Request) -> &'static str>) -> ! {
    assert!(enough_descriptors());
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    server.keep_alive(None).access_log(AccessLog::Off).serve(listener).unwrap();
    std::process::exit(0)
}

fn hello(_: Request) -> &'static str {
    "hello"
}

/// A connection from one of several addresses: each has only so many ports.
fn connect(n: usize, address: SocketAddr) -> TcpStream {
    let from = SocketAddr::from(([127, 0, 0, 2 + (n % 8) as u8], 0));
    let stream = ConnectOptions::new().source_address(from).connect(address).unwrap();
    stream.set_read_timeout(Some(FOREVER)).unwrap();
    // Nothing is left of ten thousand connections.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    stream
}

fn get(stream: &mut (impl Read + Write)) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"hello") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
}

/// Opens them all; three of four are used once. Then somebody else is served, those that were idle are served still, and the server has grown by no more than
/// `most` bytes for each.
fn hold<S: Read + Write + 'static>(
    server: &Serving,
    most: usize,
    open: impl Fn(usize) -> S + Clone + 'static,
) {
    let warm: Vec<S> = (0..20).map(&open).collect();
    drop(warm);
    let before = server.resident_bytes();
    let pool = Pool::new(32);
    let opened = {
        let open = open.clone();
        pool.map(
            move |n| {
                let mut stream = open(n);
                if n % 4 > 0 {
                    get(&mut stream);
                }
                stream
            },
            0..CONNECTIONS,
        )
    };
    let mut idle: Vec<S> = opened.unwrap();
    // Those that were used give back what they have when they have waited for a moment.
    let begun = Instant::now();
    let each = loop {
        let each = server.resident_bytes().saturating_sub(before) / CONNECTIONS;
        if each <= most || begun.elapsed() > FOREVER {
            break each;
        }
        greenlet_core::sleep(Duration::from_millis(50));
    };
    assert!(each <= most, "{each} bytes for each of {CONNECTIONS} connections, at most {most} expected");
    eprintln!("{each} bytes for each connection");

    let begun = Instant::now();
    get(&mut open(CONNECTIONS));
    assert!(begun.elapsed() < AT_ONCE, "somebody else waits for {:?}", begun.elapsed());
    for stream in idle.iter_mut().step_by(501) {
        get(stream);
    }
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_waiting() {
    if std::env::var_os(MARK).is_some() {
        run(|| serve(Server::new(hello as fn(Request) -> &'static str)));
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !enough_descriptors() {
        return;
    }
    let server = Serving::start("ten_thousand_idle_connections_cost_little_and_keep_nobody_waiting");
    let address = server.address;
    run(|| hold(&server, 6 * 1024, move |n| connect(n, address)));
}

#[cfg(feature = "tls")]
#[test]
fn ten_thousand_idle_tls_sessions_cost_little_and_keep_nobody_waiting() {
    use greenlet_net::tls::{Identity, TlsAcceptor, TlsConnector};

    if std::env::var_os(MARK).is_some() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem()).unwrap();
        let acceptor = TlsAcceptor::builder().identity(identity).build().unwrap();
        run(|| serve(Server::new(hello as fn(Request) -> &'static str).tls(acceptor)));
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !enough_descriptors() {
        return;
    }
    let server = Serving::start("ten_thousand_idle_tls_sessions_cost_little_and_keep_nobody_waiting");
    let address = server.address;
    let connector = TlsConnector::builder().dangerous_trust_everybody().build().unwrap();
    let open = move |n| connector.connect("localhost", connect(n, address)).unwrap();
    run(|| hold(&server, 12 * 1024, open));
}
