//! Servers on several hubs.

mod pair;
mod served;

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenlet_core::pool::Pool;
use greenlet_core::{Hub, run, sleep, spawn, yield_now};
use greenlet_net::server::{Admitted, StreamServer};
use greenlet_net::{TcpListener, TcpStream};
use pair::{FOREVER, kind};
use served::{answer, connect};

const ANY: &str = "127.0.0.1:0";

fn tell_hub(mut stream: TcpStream, _: SocketAddr) -> io::Result<()> {
    stream.write_all(Hub::current().name().as_bytes())
}

fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

/// The hubs that answer, asked until so many different ones have.
fn hubs_that_answer(server: &StreamServer, count: usize) -> HashSet<String> {
    let mut seen = HashSet::new();
    while seen.len() < count {
        seen.insert(answer(connect(server)));
    }
    seen
}

#[test]
fn connections_are_spread_over_all_hubs() {
    run(|| {
        let server = StreamServer::on_hubs(3, ANY, tell_hub).name("spread");
        server.start().unwrap();
        let hubs = hubs_that_answer(&server, 3);
        assert_eq!(hubs, ["spread-1", "spread-2", "spread-3"].map(String::from).into());
        assert_eq!(server.local_addresses().len(), 1);
        let address = server.local_addr().unwrap();
        server.stop(FOREVER);
        assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn hubs_share_a_listener_that_was_there_before() {
    run(|| {
        let listener = TcpListener::bind(ANY).unwrap();
        let server = StreamServer::on_hubs(2, listener, |mut stream: TcpStream, _| {
            let _ = stream.read(&mut [0]); // as long as the client is there
        });
        server.start().unwrap();
        let clients: Vec<TcpStream> = (0..40).map(|_| connect(&server)).collect();
        until(|| server.counts().active == 40);
        drop(clients);
        assert_eq!(server.stop(FOREVER).left, 0);
    });
}

#[test]
fn hubs_serve_every_address_of_the_machine() {
    run(|| {
        let server = StreamServer::on_hubs(2, 0, tell_hub);
        server.start().unwrap();
        let port = server.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let mut seen = HashSet::new();
            while seen.len() < 2 {
                seen.insert(answer(TcpStream::connect((host, port)).unwrap()));
            }
        }
    });
}

#[test]
fn a_limit_counts_for_all_hubs_together() {
    run(|| {
        static AT_WORK: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let server = StreamServer::on_hubs(2, ANY, |mut stream: TcpStream, _| {
            MOST.fetch_max(1 + AT_WORK.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            sleep(Duration::from_micros(100));
            let done = stream.write_all(b"hello");
            AT_WORK.fetch_sub(1, Ordering::SeqCst);
            done
        });
        let server = server.limit(3);
        server.start().unwrap();
        let address = server.local_addr().unwrap();
        let clients: Vec<_> =
            (0..300).map(|_| spawn(move || answer(TcpStream::connect(address).unwrap()))).collect();
        assert!(clients.iter().all(|client| client.get().unwrap() == "hello"));
        assert!(MOST.load(Ordering::SeqCst) <= 3);
        server.stop(FOREVER);
    });
}

#[test]
fn stop_finishes_and_kills_the_handlers_of_all_hubs_and_ends_their_threads() {
    run(|| {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let server = StreamServer::on_hubs(2, ANY, {
            let threads = threads.clone();
            move |mut stream: TcpStream, _| {
                threads.lock().unwrap().insert(Hub::current().id());
                let _ = stream.read(&mut [0]);
            }
        });
        server.start().unwrap();
        let mut clients = Vec::new();
        while threads.lock().unwrap().len() < 2 {
            clients.push(connect(&server));
            until(|| server.counts().active == clients.len() as u64);
        }
        let stopped = server.stop(Duration::from_millis(5));
        assert_eq!((stopped.killed, stopped.left), (clients.len(), 0));
        clients.into_iter().for_each(|client| assert_eq!(answer(client), ""));
    });
}

#[test]
fn close_leaves_the_handlers_of_all_hubs_at_work() {
    run(|| {
        let server =
            StreamServer::on_hubs(2, ANY, |stream: TcpStream, _| io::copy(&mut &stream, &mut &stream));
        server.start().unwrap();
        let clients: Vec<TcpStream> = (0..8).map(|_| connect(&server)).collect();
        until(|| server.counts().active == 8);
        drop(server);
        for mut client in clients {
            client.write_all(b"alive").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(answer(client), "alive");
        }
    });
}

#[test]
fn pausing_reaches_all_hubs_and_loses_no_connection() {
    run(|| {
        let server = StreamServer::on_hubs(2, ANY, tell_hub);
        server.start().unwrap();
        hubs_that_answer(&server, 2);
        server.stop_accepting();
        let waiting: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        let accepted = server.counts().accepted;
        sleep(Duration::from_millis(20));
        assert_eq!(server.counts().accepted, accepted);
        server.start_accepting().unwrap();
        waiting.into_iter().for_each(|client| assert!(answer(client).starts_with("server-")));
    });
}

#[test]
fn a_kill_of_who_serves_forever_stops_all_hubs() {
    run(|| {
        let server = StreamServer::on_hubs(2, ANY, |_: TcpStream, _| sleep(FOREVER)).grace(Duration::ZERO);
        server.start().unwrap();
        let (handle, client) = (server.handle(), connect(&server));
        until(|| handle.counts().active == 1);
        let serves = spawn(move || server.serve_forever());
        yield_now();
        serves.kill();
        assert!(handle.closed());
        assert_eq!(handle.counts().active, 0);
        assert_eq!(answer(client), "");
    });
}

#[test]
fn a_handler_of_a_hub_may_stop_the_server() {
    run(|| {
        let handle = Arc::new(Mutex::new(None::<greenlet_net::server::Handle>));
        let server = StreamServer::on_hubs(2, ANY, {
            let handle = handle.clone();
            move |mut stream: TcpStream, _| {
                let handle = handle.lock().unwrap().clone().unwrap();
                stream.write_all(b"stopping").unwrap();
                handle.stop(Duration::from_millis(5));
            }
        });
        *handle.lock().unwrap() = Some(server.handle());
        server.start().unwrap();
        let client = connect(&server);
        server.serve_forever().unwrap();
        assert_eq!(answer(client), "stopping");
        until(|| server.counts().active == 0);
    });
}

#[test]
fn a_panic_on_one_hub_leaves_the_others_and_itself_serving() {
    run(|| {
        let server = StreamServer::on_hubs(2, ANY, |mut stream: TcpStream, _| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_ne!(byte[0], b'!', "on purpose");
            stream.write_all(Hub::current().name().as_bytes()).unwrap();
        });
        server.start().unwrap();
        for _ in 0..10 {
            let mut client = connect(&server);
            client.write_all(b"!").unwrap();
            assert_eq!(answer(client), "");
        }
        let mut seen = HashSet::new();
        while seen.len() < 2 {
            let mut client = connect(&server);
            client.write_all(b".").unwrap();
            seen.insert(answer(client));
        }
        assert_eq!(server.counts().failed, 10);
    });
}

#[test]
fn what_takes_over_is_made_on_each_hub_and_stays_there() {
    run(|| {
        let server = StreamServer::taking_over_on_hubs(2, ANY, || {
            let count = Rc::new(Cell::new(0)); // of this hub alone
            move |mut admitted: Admitted<TcpStream>| {
                count.set(count.get() + 1);
                write!(admitted, "{} {}", Hub::current().name(), count.get()).unwrap();
            }
        });
        server.start().unwrap();
        let mut answers = HashSet::new();
        while answers.iter().filter(|answer: &&String| answer.ends_with(" 2")).count() < 2 {
            assert!(answers.insert(answer(connect(&server))), "the same count twice");
        }
        assert!(answers.contains("server-1 1") && answers.contains("server-2 2"));
        server.stop(FOREVER);
    });
}

#[test]
fn a_panic_of_what_makes_takers_closes_the_server_and_comes_out_of_serve_forever() {
    run(|| {
        fn make() -> impl Fn(Admitted<TcpStream>) {
            if Hub::current().name() == "server-2" {
                panic!("on purpose");
            }
            drop
        }
        let server = StreamServer::taking_over_on_hubs(2, ANY, make);
        let error = server.serve_forever().unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
        assert!(server.closed());
    });
}

#[test]
fn no_hubs_and_pools_are_refused() {
    run(|| {
        assert_eq!(kind(StreamServer::on_hubs(0, ANY, tell_hub).start()), ErrorKind::InvalidInput);
        let pool = Pool::new(1);
        let refused = StreamServer::on_hubs(1, ANY, tell_hub).pool(&pool).start();
        assert_eq!(kind(refused), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_server_on_hubs_works_from_a_thread_without_greenlets() {
    let server = StreamServer::on_hubs(1, ANY, tell_hub);
    server.start().unwrap();
    assert_eq!(answer(connect(&server)), "server-1");
    server.stop_accepting();
    server.start_accepting().unwrap();
    assert_eq!(answer(connect(&server)), "server-1");
    assert_eq!(server.stop(FOREVER).left, 0);
}
