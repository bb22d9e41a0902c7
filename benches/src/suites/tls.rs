//! The suite `tls`: sessions between two threads, against rustls on blocking sockets.
//!
//! Both sides of a session are of the runtime that is measured: two hubs with a greenlet for each connection, or a client thread and a thread for each
//! connection. Certificates are of the kind that is usual (ECDSA P-256), and no session is taken up again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Instant;

use greenlet_core::{joinall, run, spawn, yield_now};
use greenlet_net::tls::rustls::client::Resumption;
use greenlet_net::tls::rustls::server::NoServerSessionStorage;
use greenlet_net::tls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto,
};
use greenlet_net::tls::{
    Identity, Roots, ServerResumption, TlsAcceptor, TlsConnector, certificates_from_pem, private_key_from_pem,
};

use crate::harness::{Better, Figure, Runtime, Size, Suite, Workload};
use crate::usage::resident_bytes;

/// The suite's description.
pub static SUITE: Suite = Suite {
    name: "tls",
    about: "TLS sessions between two threads, over loopback",
    workloads: WORKLOADS,
    runtimes: RUNTIMES,
    groups: &[],
    patience: std::time::Duration::MAX,
    report: |_, _| Ok(()),
};

static RUNTIMES: &[Runtime] = &[
    Runtime { name: "greenlet", max_tasks: u64::MAX, skips: &[], run: run_greenlet },
    Runtime { name: "threads", max_tasks: u64::MAX, skips: &[], run: run_threads },
];

static WORKLOADS: &[Workload] = &[
    Workload {
        name: "tls-handshake",
        figures: &[Figure {
            name: "tls-handshake",
            unit: "handshakes/s",
            better: Better::Higher,
            about: "connections that are made, and closed after a byte, one after the other",
        }],
        size: Size::FillRound,
        fresh_process: false,
    },
    Workload {
        name: "tls-bulk",
        figures: &[Figure {
            name: "tls-bulk",
            unit: "MB/s",
            better: Better::Higher,
            about: "one direction of one connection, in writes of 64 KiB",
        }],
        size: Size::FillRound,
        fresh_process: false,
    },
    Workload {
        name: "tls-idle",
        figures: &[Figure {
            name: "tls-idle",
            unit: "bytes/session",
            better: Better::Lower,
            about: "resident memory for a session that was used once; of greenlet, every second one has a greenlet that waits to read",
        }],
        size: Size::Tasks { full: 800, quick: 200 },
        fresh_process: true,
    },
];

const CHUNK: usize = 64 * 1024;

/// A certificate for localhost that vouches for itself, and its key.
static MADE: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can be made");
    (made.cert.pem(), made.signing_key.serialize_pem())
});

fn megabytes(chunks: u64, begun: Instant) -> f64 {
    (chunks * CHUNK as u64) as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

// --- greenlets --------------------------------------------------------------------------------------------------

fn acceptor() -> TlsAcceptor {
    let identity = Identity::from_pem(&MADE.0, &MADE.1).expect("it was just made");
    let builder = TlsAcceptor::builder().identity(identity).resumption(ServerResumption::Disabled);
    builder.build().expect("it is complete")
}

fn connector() -> TlsConnector {
    let roots = Roots::from_pem(&MADE.0).expect("it was just made");
    let builder = TlsConnector::builder().roots(roots).resumption(Resumption::disabled());
    builder.build().expect("it is complete")
}

fn run_greenlet(workload: &str, size: u64) -> Vec<f64> {
    if workload == "tls-idle" {
        return vec![run(|| idle_greenlets(size))];
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    let connections = if workload == "tls-bulk" { 1 } else { size };
    let server = thread::spawn(move || {
        run(|| {
            let (listener, acceptor) =
                (greenlet_net::TcpListener::from_std(listener).expect("it listens"), acceptor());
            let mut served = Vec::new();
            for _ in 0..connections {
                let (stream, acceptor) = (listener.accept().expect("somebody connects").0, acceptor.clone());
                served.push(spawn(move || take_all(acceptor.accept(stream).expect("a client"))));
            }
            joinall(&served);
        });
    });
    let value = run(|| {
        let connector = connector();
        let connect = || {
            let stream = greenlet_net::TcpStream::connect(address).expect("it listens");
            stream.set_nodelay(true).expect("it is open");
            connector.connect("localhost", stream).expect("a server")
        };
        client(workload, size, connect, |stream| stream.shutdown(Shutdown::Write).expect("it is open"))
    });
    server.join().expect("it ends with its clients");
    vec![value]
}

fn idle_greenlets(sessions: u64) -> f64 {
    let (acceptor, connector) = (acceptor(), connector());
    let listener = greenlet_net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    spawn(move || {
        for stream in listener.incoming() {
            let acceptor = acceptor.clone();
            spawn(move || {
                let mut stream = acceptor.accept(stream.expect("a client")).expect("a client");
                while stream.read(&mut [0]).is_ok_and(|count| count > 0) {}
            });
        }
    });
    let mut open = Vec::new();
    let mut grow = |count: u64| {
        for _ in 0..count {
            let stream = greenlet_net::TcpStream::connect(address).expect("it listens");
            let mut stream = connector.connect("localhost", stream).expect("a server");
            stream.write_all(b"x").expect("it is open");
            open.push(stream);
            yield_now();
        }
    };
    grow(20);
    let before = resident_bytes();
    grow(sessions / 2);
    (resident_bytes() - before) as f64 / sessions as f64
}

// --- rustls on blocking sockets ---------------------------------------------------------------------------------

fn server_config() -> Arc<ServerConfig> {
    let chain = certificates_from_pem(&MADE.0).expect("it was just made");
    let key = private_key_from_pem(&MADE.1).expect("it was just made");
    let mut config = ServerConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.into()
}

fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates_from_pem(&MADE.0).expect("it was just made"));
    let mut config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.into()
}

type Blocking<C> = StreamOwned<C, std::net::TcpStream>;

fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Blocking<ClientConnection> {
    let name = "localhost".try_into().expect("it is a name");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("it is open");
    let mut session = ClientConnection::new(config.clone(), name).expect("it is complete");
    while session.is_handshaking() {
        session.complete_io(&mut stream).expect("a server");
    }
    StreamOwned::new(session, stream)
}

fn accept(config: &Arc<ServerConfig>, stream: std::net::TcpStream) -> Blocking<ServerConnection> {
    StreamOwned::new(ServerConnection::new(config.clone()).expect("it is complete"), stream)
}

fn run_threads(workload: &str, size: u64) -> Vec<f64> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    if workload == "tls-idle" {
        return vec![idle_threads(&listener, address, size)];
    }
    let connections = if workload == "tls-bulk" { 1 } else { size };
    let server = thread::spawn(move || {
        let config = server_config();
        let mut threads = Vec::new();
        for _ in 0..connections {
            let (stream, config) = (listener.accept().expect("somebody connects").0, config.clone());
            threads.push(thread::spawn(move || take_all(accept(&config, stream))));
        }
        threads.into_iter().for_each(|thread| thread.join().expect("it ends with its client"));
    });
    let config = client_config();
    let value = client(
        workload,
        size,
        || connect(&config, address),
        |stream| {
            stream.conn.send_close_notify();
            stream.flush().expect("it is open");
        },
    );
    server.join().expect("it ends with its clients");
    vec![value]
}

/// Both ends, and nobody who waits for them.
fn idle_threads(listener: &std::net::TcpListener, address: SocketAddr, sessions: u64) -> f64 {
    let (config, server) = (client_config(), server_config());
    let mut open = Vec::new();
    let mut grow = |count: u64| {
        for _ in 0..count {
            let client = thread::scope(|scope| {
                let accepted = scope.spawn(|| {
                    let mut stream = accept(&server, listener.accept().expect("somebody connects").0);
                    stream.read_exact(&mut [0]).expect("a client");
                    stream
                });
                let mut client = connect(&config, address);
                client.write_all(b"x").expect("it is open");
                (client, accepted.join().expect("a client"))
            });
            open.push(client);
        }
    };
    grow(20);
    let before = resident_bytes();
    grow(sessions / 2);
    (resident_bytes() - before) as f64 / sessions as f64
}

// --- what both do -----------------------------------------------------------------------------------------------

/// The server: reads to the end.
fn take_all(mut stream: impl Read) {
    let mut buffer = vec![0; CHUNK];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

fn client<S: Read + Write>(workload: &str, size: u64, connect: impl Fn() -> S, end: impl Fn(&mut S)) -> f64 {
    if workload == "tls-bulk" {
        let (mut stream, chunk) = (connect(), vec![7; CHUNK]);
        let begun = Instant::now();
        for _ in 0..size {
            stream.write_all(&chunk).expect("it is open");
        }
        end(&mut stream);
        // The server closes when it has read everything.
        let _ = stream.read(&mut [0]);
        return megabytes(size, begun);
    }
    let begun = Instant::now();
    for _ in 0..size {
        let mut stream = connect();
        stream.write_all(b"x").expect("it is open");
        end(&mut stream);
    }
    size as f64 / begun.elapsed().as_secs_f64()
}
