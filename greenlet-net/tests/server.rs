//! What servers of connections promise: gevent's test__server, and what can go wrong.

mod pair;
mod served;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenlet_core::future::Executor;
use greenlet_core::pool::Pool;
use greenlet_core::sync::Semaphore;
use greenlet_core::{
    Event, GreenletExit, Kill, attempt, catch, current, run, sleep, spawn, with_timeout, yield_now,
};
use greenlet_net::server::{Admitted, IntoEndpoints, StreamServer};
use greenlet_net::{Stream, TcpListener, TcpStream};
use pair::{FOREVER, kind, read_to_any_end, reset};
use served::{answer, connect};

const ANY: &str = "127.0.0.1:0";

/// Says a line and ends.
fn greet(mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
    stream.write_all(b"hello")
}

fn echo(stream: TcpStream, _peer: SocketAddr) -> io::Result<u64> {
    io::copy(&mut &stream, &mut &stream)
}

#[track_caller]
fn assert_answers(server: &StreamServer) {
    assert_eq!(answer(connect(server)), "hello");
}

/// Nothing comes, though everything that can happen without further connections has happened.
#[track_caller]
fn assert_silent(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(kind((&*stream).read(&mut [0])), ErrorKind::TimedOut);
    stream.set_read_timeout(Some(FOREVER)).unwrap();
}

#[track_caller]
fn assert_refused(address: SocketAddr) {
    assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
}

fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

// --- the life -----------------------------------------------------------------------------------------------------

#[test]
fn a_server_that_is_bound_and_not_started_lets_clients_wait() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.bind().unwrap();
        let client = connect(&server);
        assert_silent(&client);
        assert!(!server.started() && !server.closed());
        server.start().unwrap();
        assert_eq!(answer(client), "hello");
    });
}

#[test]
fn a_ready_listener_is_served_ours_and_stds() {
    run(|| {
        let ours = TcpListener::bind(ANY).unwrap();
        let address = ours.local_addr().unwrap();
        let server = StreamServer::new(ours, greet);
        server.start().unwrap();
        assert_eq!(server.local_addr().unwrap(), address);
        assert_answers(&server);

        let server = StreamServer::new(std::net::TcpListener::bind(ANY).unwrap(), greet);
        server.start().unwrap();
        assert_answers(&server);
    });
}

#[test]
fn start_stop_accepting_start_accepting_stop() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.start().unwrap();
        assert!(server.started());
        assert_answers(&server);
        assert_answers(&server);
        server.stop_accepting();
        assert!(!server.started() && !server.closed());
        let waits = connect(&server);
        assert_silent(&waits);
        server.start_accepting().unwrap();
        assert_eq!(answer(waits), "hello");
        assert_answers(&server);
        let address = server.local_addr().unwrap();
        server.stop(FOREVER);
        assert!(server.closed() && !server.started());
        assert_refused(address);
    });
}

#[test]
fn starting_twice_is_starting_once() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.start().unwrap();
        server.start().unwrap();
        server.start_accepting().unwrap();
        assert_answers(&server);
        server.stop_accepting();
        server.stop_accepting();
        let waits = connect(&server);
        assert_silent(&waits);
    });
}

#[test]
fn a_server_that_was_closed_stays_closed() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        assert_eq!(kind(server.start_accepting()), ErrorKind::NotConnected); // not bound yet
        let server = StreamServer::new(ANY, greet);
        server.start().unwrap();
        server.close();
        server.close();
        server.serve_forever().unwrap(); // it has come to its end
        for refused in [server.bind(), server.start(), server.start_accepting()] {
            assert_eq!(kind(refused), ErrorKind::NotConnected);
        }
        let stopped = server.stop(FOREVER);
        assert_eq!((stopped.finished, stopped.killed, stopped.left), (0, 0, 0));
    });
}

#[test]
fn close_leaves_handlers_at_work() {
    run(|| {
        let server = StreamServer::new(ANY, echo);
        server.start().unwrap();
        let mut client = connect(&server);
        until(|| server.counts().active == 1);
        server.close();
        client.write_all(b"still there").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(client), "still there");
    });
}

#[test]
fn dropping_the_server_closes_it_and_leaves_handlers_at_work() {
    run(|| {
        let server = StreamServer::new(ANY, echo);
        server.start().unwrap();
        let (mut client, handle) = (connect(&server), server.handle());
        let address = server.local_addr().unwrap();
        until(|| server.counts().active == 1);
        drop(server);
        assert!(handle.closed());
        assert_refused(address);
        client.write_all(b"still there").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(client), "still there");
    });
}

#[test]
fn the_port_is_free_again_after_a_stop() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.start().unwrap();
        let address = server.local_addr().unwrap();
        for _ in 0..20 {
            assert_answers(&server);
        }
        server.stop(FOREVER);
        let next = StreamServer::new(address, greet);
        next.start().unwrap();
        assert_answers(&next);
        assert_eq!(server.local_addr().unwrap(), address); // it still knows where it was
    });
}

// --- serve_forever ------------------------------------------------------------------------------------------------

#[test]
fn serve_forever_starts_and_returns_when_the_server_is_closed() {
    run(|| {
        let server = Rc::new(StreamServer::new(ANY, greet));
        let serves = spawn({
            let server = server.clone();
            move || server.serve_forever().map_err(|error| error.to_string())
        });
        yield_now();
        assert_answers(&server);
        assert!(!serves.ready());
        server.close();
        assert_eq!(serves.get().unwrap(), Ok(()));
        assert!(!server.started());
    });
}

#[test]
fn serve_forever_returns_after_a_stop_is_over() {
    run(|| {
        let ended = Rc::new(Cell::new(false));
        let server = Rc::new(StreamServer::new(ANY, {
            let ended = ended.clone();
            move |mut stream: TcpStream, _| {
                let _ = stream.read(&mut [0]);
                ended.set(true);
            }
        }));
        server.start().unwrap();
        let serves = spawn({
            let (server, ended) = (server.clone(), ended.clone());
            move || {
                server.serve_forever().unwrap();
                ended.get()
            }
        });
        let client = connect(&server);
        until(|| server.counts().active == 1);
        let stops = spawn({
            let server = server.clone();
            move || server.stop(FOREVER)
        });
        until(|| server.closed());
        drop(client);
        assert_eq!(stops.get().unwrap().finished, 1);
        assert!(serves.get().unwrap(), "it returned while a handler was at work");
    });
}

#[test]
fn a_kill_of_who_serves_forever_stops_the_server() {
    run(|| {
        let server = Rc::new(StreamServer::new(ANY, echo).grace(Duration::ZERO));
        let serves = spawn({
            let server = server.clone();
            move || server.serve_forever().unwrap()
        });
        yield_now();
        let address = server.local_addr().unwrap();
        let client = connect(&server);
        until(|| server.counts().active == 1);
        serves.kill();
        assert!(serves.exited() && server.closed());
        assert_eq!(server.counts().active, 0);
        assert_refused(address);
        assert_eq!(answer(client), "");
    });
}

#[test]
fn a_timeout_around_serve_forever_stops_the_server() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        assert!(with_timeout(Duration::from_millis(5), || server.serve_forever()).is_err());
        assert!(server.closed());
    });
}

#[test]
fn what_cannot_be_bound_is_said_with_the_address() {
    run(|| {
        let taken = TcpListener::bind(ANY).unwrap();
        let address = taken.local_addr().unwrap();
        let server = StreamServer::new(address, greet);
        let error = server.serve_forever().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(server.closed());
    });
}

#[test]
fn one_of_several_addresses_that_cannot_be_had_releases_the_others() {
    run(|| {
        let free = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
        let taken = TcpListener::bind(ANY).unwrap();
        let server = StreamServer::new([free, taken.local_addr().unwrap()], greet);
        assert_eq!(kind(server.start()), ErrorKind::AddrInUse);
        TcpListener::bind(free).unwrap();
    });
}

// --- where it listens -----------------------------------------------------------------------------------------------

#[test]
fn every_form_of_address_is_listened_on() {
    fn answers_at(listen_on: impl IntoEndpoints, hosts: &[&str]) {
        let server = StreamServer::new(listen_on, greet);
        server.start().unwrap();
        let port = server.local_addr().unwrap().port();
        for host in hosts {
            let client = TcpStream::connect((*host, port)).unwrap();
            assert_eq!(answer(client), "hello", "{host} of {server}");
        }
    }
    run(|| {
        let (v4, v6) = ("127.0.0.1", "::1");
        answers_at(ANY, &[v4]);
        answers_at(ANY.to_owned(), &[v4]);
        answers_at("[::1]:0", &[v6]);
        answers_at("localhost:0", &["localhost"]);
        answers_at(":0", &[v4]);
        answers_at("*:0", &[v4]);
        answers_at("0", &[v4, v6]);
        answers_at(0, &[v4, v6]);
        answers_at(SocketAddr::from(([127, 0, 0, 1], 0)), &[v4]);
        answers_at((std::net::Ipv6Addr::LOCALHOST, 0), &[v6]);
        answers_at(("127.0.0.1", 0), &[v4]);
        answers_at(("::1", 0), &[v6]);
    });
}

#[test]
fn all_of_several_addresses_are_served() {
    run(|| {
        let server = StreamServer::new([ANY, "[::1]:0", ANY], greet);
        server.start().unwrap();
        let addresses = server.local_addresses();
        assert_eq!(addresses.len(), 3);
        for address in addresses {
            assert_eq!(answer(TcpStream::connect(address.to_string()).unwrap()), "hello");
        }
    });
}

#[test]
fn a_wrong_address_is_named_by_start() {
    run(|| {
        for wrong in ["nowhere", "127.0.0.1:65536", "::1:80", "unix:"] {
            let error = StreamServer::new(wrong, greet).start().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(wrong), "{error}");
        }
    });
}

#[test]
fn a_handler_of_tcp_is_not_given_a_unix_socket() {
    run(|| {
        let error = StreamServer::new("unix:/nowhere/app.sock", greet).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("unix:/nowhere/app.sock"), "{error}");
    });
}

#[test]
fn a_kill_while_the_name_is_looked_up_closes_the_server() {
    run(|| {
        let server = Rc::new(StreamServer::new("localhost:0", greet));
        let starts = spawn({
            let server = server.clone();
            move || server.start()
        });
        yield_now(); // it asks
        starts.kill_with(Kill::default());
        if starts.exited() {
            assert!(server.closed());
            assert_eq!(kind(server.start()), ErrorKind::NotConnected);
        } else {
            assert_answers(&server); // the answer was there already
        }
    });
}

#[test]
fn a_backlog_is_for_addresses_and_not_for_ready_listeners() {
    run(|| {
        let server = StreamServer::new(ANY, greet).backlog(4);
        server.start().unwrap();
        assert_answers(&server);
        let ready = TcpListener::bind(ANY).unwrap();
        let refused = StreamServer::new(ready, greet).backlog(4).start();
        assert_eq!(kind(refused), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_handler_of_any_stream_is_given_tcp() {
    run(|| {
        let server = StreamServer::new(ANY, |stream: Arc<dyn Stream>, peer| {
            assert_eq!(stream.peer_address().unwrap().to_string(), peer.to_string());
            (&*stream).write_all(b"hello")
        });
        server.start().unwrap();
        assert_answers(&server);
    });
}

// --- handlers -------------------------------------------------------------------------------------------------------

#[test]
fn the_handler_gets_the_address_of_the_peer() {
    run(|| {
        let server = StreamServer::new(ANY, |mut stream: TcpStream, peer| write!(stream, "{peer}"));
        server.start().unwrap();
        let client = connect(&server);
        let us = client.local_addr().unwrap().to_string();
        assert_eq!(answer(client), us);
    });
}

#[test]
fn the_connection_is_closed_when_the_handler_returns_whoever_has_a_clone() {
    run(|| {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let server = StreamServer::new(ANY, {
            let kept = kept.clone();
            move |stream: TcpStream, _| kept.borrow_mut().push(stream)
        });
        server.start().unwrap();
        assert_eq!(answer(connect(&server)), "");
        assert_eq!(kind(kept.borrow_mut()[0].write(b"more")), ErrorKind::NotConnected);
    });
}

#[test]
fn a_handler_that_fails_or_panics_has_its_connection_closed_and_the_server_lives() {
    run(|| {
        let turn = Cell::new(0);
        let server = StreamServer::new(ANY, move |mut stream: TcpStream, _| {
            turn.set(turn.get() + 1);
            match turn.get() {
                1 => Err("no disk"),
                2 => panic!("on purpose"),
                3 => greenlet_core::raise(io::Error::other("raised")),
                4 => greenlet_core::raise(GreenletExit),
                _ => {
                    stream.write_all(b"hello").unwrap();
                    Ok(())
                }
            }
        });
        server.start().unwrap();
        for _ in 0..4 {
            assert_eq!(answer(connect(&server)), "");
        }
        assert_answers(&server);
        let counts = server.counts();
        assert_eq!((counts.accepted, counts.failed), (5, 3)); // an exit is no failure
    });
}

#[test]
fn other_connections_do_not_notice_a_panic() {
    run(|| {
        let server = StreamServer::new(ANY, |mut stream: TcpStream, _| {
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() > 0 {
                assert_ne!(byte[0], b'!', "on purpose");
                stream.write_all(&byte).unwrap();
            }
        });
        server.start().unwrap();
        let (mut good, mut bad) = (connect(&server), connect(&server));
        good.write_all(b"a").unwrap();
        bad.write_all(b"!").unwrap();
        assert_eq!(read_to_any_end(bad), b"");
        good.write_all(b"b").unwrap();
        good.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(good), "ab");
    });
}

#[test]
fn handlers_share_what_is_not_send() {
    run(|| {
        let total = Rc::new(Cell::new(0));
        let server = StreamServer::new(ANY, {
            let total = total.clone();
            move |_: TcpStream, _| total.set(total.get() + 1)
        });
        server.start().unwrap();
        (0..10).for_each(|_| drop(answer(connect(&server))));
        assert_eq!(total.get(), 10);
    });
}

#[test]
fn greenlets_of_a_server_with_a_name_are_named_after_their_peers() {
    run(|| {
        let server =
            StreamServer::new(ANY, |mut stream: TcpStream, _| stream.write_all(current().name().as_bytes()));
        let server = server.name("front door");
        server.start().unwrap();
        let client = connect(&server);
        let expected = format!("front door {}", client.local_addr().unwrap());
        assert_eq!(answer(client), expected);
    });
}

#[test]
fn accepted_streams_begin_with_the_timeouts_of_the_server() {
    run(|| {
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(7));
        let seen = Rc::new(RefCell::new(None));
        let server = StreamServer::new(ANY, {
            let seen = seen.clone();
            move |mut stream: TcpStream, _| {
                let error = stream.read(&mut [0]).unwrap_err();
                *seen.borrow_mut() = Some((error.kind(), stream.write_timeout().unwrap()));
            }
        });
        let server = server.read_timeout(short).write_timeout(long);
        server.start().unwrap();
        assert_eq!(answer(connect(&server)), "");
        assert_eq!(*seen.borrow(), Some((ErrorKind::TimedOut, Some(long))));
        let refused = StreamServer::new(ANY, greet).read_timeout(Duration::ZERO).start();
        assert_eq!(kind(refused), ErrorKind::InvalidInput);
    });
}

// --- limits ---------------------------------------------------------------------------------------------------------

/// A server whose handlers say hello and then wait for a permit.
fn waiting_server(permits: &Rc<Semaphore>) -> StreamServer {
    let permits = permits.clone();
    StreamServer::new(ANY, move |mut stream: TcpStream, _| {
        stream.write_all(b"hello").unwrap();
        permits.acquire();
    })
}

fn first_byte(mut stream: &TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

fn fills_and_recovers(server: StreamServer, permits: &Semaphore) {
    server.start().unwrap();
    let served = [connect(&server), connect(&server)];
    served.iter().for_each(|client| assert_eq!(first_byte(client), b'h'));
    let waits = [connect(&server), connect(&server)];
    waits.iter().for_each(assert_silent);
    assert_eq!(server.counts().accepted, 2);
    permits.release();
    assert_eq!(first_byte(&waits[0]), b'h');
    assert_silent(&waits[1]);
    for _ in 0..3 {
        permits.release();
    }
    assert_eq!(first_byte(&waits[1]), b'h');
    until(|| server.counts().active == 0);
    assert_eq!(server.counts().accepted, 4);
}

#[test]
fn a_full_server_lets_clients_wait_and_serves_them_in_their_turn() {
    run(|| {
        let permits = Rc::new(Semaphore::new(0));
        fills_and_recovers(waiting_server(&permits).limit(2), &permits);
    });
}

#[test]
fn a_full_pool_lets_clients_wait_and_serves_them_in_their_turn() {
    run(|| {
        let permits = Rc::new(Semaphore::new(0));
        let pool = Pool::new(2);
        fills_and_recovers(waiting_server(&permits).pool(&pool), &permits);
    });
}

#[test]
fn a_pool_is_shared_with_others_who_spawn_in_it() {
    run(|| {
        let pool = Pool::new(1);
        let other = pool.spawn(|| sleep(FOREVER));
        let server = StreamServer::new(ANY, greet).pool(&pool);
        server.start().unwrap();
        let client = connect(&server);
        assert_silent(&client);
        other.kill();
        assert_eq!(answer(client), "hello");
    });
}

#[test]
fn others_run_after_so_many_connections_in_a_row() {
    run(|| {
        for (max_accept, expected) in [(1, [1, 2, 3, 4]), (2, [2, 2, 4, 4]), (4, [4, 4, 4, 4])] {
            let handle = Rc::new(RefCell::new(None::<greenlet_net::server::Handle>));
            let accepted = Rc::new(RefCell::new(Vec::new()));
            let server = StreamServer::new(ANY, {
                let (handle, accepted) = (handle.clone(), accepted.clone());
                move |_: TcpStream, _| {
                    accepted.borrow_mut().push(handle.borrow().as_ref().unwrap().counts().accepted);
                }
            });
            let server = server.max_accept(max_accept);
            *handle.borrow_mut() = Some(server.handle());
            server.bind().unwrap();
            let _clients: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
            server.start().unwrap();
            until(|| accepted.borrow().len() == 4);
            assert_eq!(*accepted.borrow(), expected, "{max_accept} in a row");
        }
    });
}

#[test]
fn a_limit_of_zero_accepts_nothing() {
    run(|| {
        let server = StreamServer::new(ANY, greet).limit(0);
        server.start().unwrap();
        assert_silent(&connect(&server));
        server.stop(FOREVER);
    });
}

#[test]
fn a_limit_holds_for_all_addresses_together() {
    run(|| {
        let permits = Rc::new(Semaphore::new(0));
        let held = permits.clone();
        let server = StreamServer::new([ANY, ANY], move |mut stream: TcpStream, _| {
            stream.write_all(b"hello").unwrap();
            held.acquire();
        });
        let server = server.limit(1);
        server.start().unwrap();
        let [first, second] = [0, 1].map(|at| server.local_addresses()[at].to_string());
        let one = TcpStream::connect(first).unwrap();
        assert_eq!(first_byte(&one), b'h');
        let two = TcpStream::connect(second).unwrap();
        assert_silent(&two);
        permits.release();
        assert_eq!(first_byte(&two), b'h');
        permits.release();
    });
}

#[test]
fn an_address_with_too_many_connections_is_refused_more() {
    run(|| {
        let permits = Rc::new(Semaphore::new(0));
        let server = waiting_server(&permits).limit_per_ip(2);
        server.start().unwrap();
        let served = [connect(&server), connect(&server)];
        served.iter().for_each(|client| assert_eq!(first_byte(client), b'h'));
        assert_eq!(read_to_any_end(connect(&server)), b"");
        assert_eq!(server.counts().refused, 1);
        // another address of the loopback is another client
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        socket.connect(&server.local_addr().unwrap().into()).unwrap();
        let other = TcpStream::from_std(socket.into()).unwrap();
        assert_eq!(first_byte(&other), b'h');
        for _ in 0..3 {
            permits.release();
        }
        until(|| server.counts().active == 0);
        assert_eq!(first_byte(&connect(&server)), b'h');
        permits.release();
    });
}

// --- stopping -------------------------------------------------------------------------------------------------------

#[test]
fn stop_waits_for_handlers_and_kills_those_that_are_left() {
    run(|| {
        let server = StreamServer::new(ANY, |mut stream: TcpStream, _| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            if byte[0] == b's' {
                sleep(FOREVER);
            }
        });
        server.start().unwrap();
        let mut clients: Vec<TcpStream> = (0..5).map(|_| connect(&server)).collect();
        clients[0].write_all(b"s").unwrap();
        clients[1].write_all(b"s").unwrap();
        until(|| server.counts().active == 5);
        let finishes = spawn(move || {
            yield_now();
            clients.split_off(2).into_iter().for_each(|mut client| client.write_all(b"q").unwrap());
            clients
        });
        let stopped = server.stop(Duration::from_millis(100));
        assert_eq!((stopped.finished, stopped.killed, stopped.left), (3, 2, 0));
        assert_eq!(stopped.to_string(), "3 finished, 2 killed");
        for client in finishes.into_value().unwrap() {
            assert_eq!(answer(client), "");
        }
        assert_eq!(server.counts().active, 0);
    });
}

#[test]
fn stop_does_not_wait_where_nobody_is_at_work() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.start().unwrap();
        assert_answers(&server);
        until(|| server.counts().active == 0);
        assert_eq!(server.stop(Duration::MAX).to_string(), "0 finished, 0 killed");
    });
}

#[test]
fn a_handler_that_survives_its_kill_is_left() {
    run(|| {
        let release = Rc::new(Event::new());
        let server = StreamServer::new(ANY, {
            let release = release.clone();
            move |_: TcpStream, _| {
                let _ = catch(|| sleep(FOREVER));
                release.wait();
            }
        });
        server.start().unwrap();
        let client = connect(&server);
        until(|| server.counts().active == 1);
        let stopped = server.stop(Duration::ZERO);
        assert_eq!((stopped.finished, stopped.killed, stopped.left), (0, 0, 1));
        release.set();
        assert_eq!(answer(client), "");
        until(|| server.counts().active == 0);
    });
}

#[test]
fn a_kill_of_who_stops_leaves_the_handlers_at_work() {
    run(|| {
        let server = Rc::new(StreamServer::new(ANY, echo));
        server.start().unwrap();
        let mut client = connect(&server);
        until(|| server.counts().active == 1);
        let stops = spawn({
            let server = server.clone();
            move || server.stop(FOREVER)
        });
        until(|| server.closed());
        stops.kill();
        client.write_all(b"alive").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(client), "alive");
    });
}

#[test]
fn a_handler_may_close_the_server_it_belongs_to() {
    run(|| {
        let handle = Rc::new(RefCell::new(None::<greenlet_net::server::Handle>));
        let server = StreamServer::new(ANY, {
            let handle = handle.clone();
            move |mut stream: TcpStream, _| {
                handle.borrow().as_ref().unwrap().close();
                stream.write_all(b"closed")
            }
        });
        *handle.borrow_mut() = Some(server.handle());
        let client = spawn({
            let handle = server.handle();
            move || {
                until(|| handle.started());
                answer(TcpStream::connect(handle.local_addr().unwrap()).unwrap())
            }
        });
        server.serve_forever().unwrap();
        assert_eq!(client.get().unwrap(), "closed");
    });
}

#[test]
fn a_handler_that_stops_its_server_is_killed_after_the_grace() {
    run(|| {
        let handle = Rc::new(RefCell::new(None::<greenlet_net::server::Handle>));
        let server = StreamServer::new(ANY, {
            let handle = handle.clone();
            move |_: TcpStream, _| {
                let handle = handle.borrow().clone().unwrap();
                handle.stop(Duration::from_millis(5));
            }
        });
        *handle.borrow_mut() = Some(server.handle());
        server.start().unwrap();
        assert_eq!(answer(connect(&server)), "");
        until(|| server.counts().active == 0);
        assert!(server.closed());
    });
}

#[test]
fn a_plain_thread_may_stop_the_server() {
    run(|| {
        let server = StreamServer::new(ANY, echo);
        server.start().unwrap();
        let client = connect(&server);
        until(|| server.counts().active == 1);
        let stopper = std::thread::spawn({
            let handle = server.handle();
            move || handle.stop(Duration::from_millis(5))
        });
        server.serve_forever().unwrap();
        assert_eq!(stopper.join().unwrap().killed, 1);
        assert_eq!(answer(client), "");
    });
}

#[test]
fn handlers_are_told_when_a_stop_begins() {
    run(|| {
        let stopping = Rc::new(RefCell::new(None::<Arc<Event>>));
        let server = StreamServer::new(ANY, {
            let stopping = stopping.clone();
            move |_: TcpStream, _| {
                let stopping = stopping.borrow().clone().unwrap();
                stopping.wait();
            }
        });
        *stopping.borrow_mut() = Some(server.stopping());
        server.start().unwrap();
        let _clients = [connect(&server), connect(&server)];
        until(|| server.counts().active == 2);
        assert_eq!(server.stop(FOREVER).to_string(), "2 finished, 0 killed");
    });
}

#[test]
fn two_stops_at_once_both_return() {
    run(|| {
        let server = Rc::new(StreamServer::new(ANY, echo));
        server.start().unwrap();
        let _client = connect(&server);
        until(|| server.counts().active == 1);
        let stops: Vec<_> = [FOREVER, Duration::from_millis(5)]
            .map(|grace| {
                let server = server.clone();
                spawn(move || server.stop(grace))
            })
            .into();
        let stopped: Vec<_> = stops.iter().map(|stop| stop.get().unwrap()).collect();
        assert_eq!(stopped.iter().map(|stopped| stopped.killed).sum::<usize>(), 1);
        assert_eq!(server.counts().active, 0);
    });
}

// --- bad clients ----------------------------------------------------------------------------------------------------

#[test]
fn connections_that_were_reset_before_they_were_accepted_do_no_harm() {
    run(|| {
        let server = StreamServer::new(ANY, greet);
        server.bind().unwrap();
        for _ in 0..10 {
            reset(std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap());
        }
        let client = connect(&server);
        server.start().unwrap();
        assert_eq!(answer(client), "hello");
        assert_answers(&server);
    });
}

#[test]
fn a_listener_that_fails_closes_the_server_and_comes_out_of_serve_forever() {
    run(|| {
        // Not listening: accepting from it is an invalid argument.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let server = StreamServer::new(std::net::TcpListener::from(socket), greet);
        let error = with_timeout(FOREVER, || server.serve_forever()).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(server.closed());
        assert_eq!(server.counts().accept_errors, 1);
    });
}

#[test]
fn a_storm_of_ten_thousand_connections_is_served_within_its_limit() {
    run(|| {
        let most = Rc::new(Cell::new(0));
        let at_work = Rc::new(Cell::new(0));
        let server = StreamServer::new(ANY, {
            let (most, at_work) = (most.clone(), at_work.clone());
            move |mut stream: TcpStream, _| {
                at_work.set(at_work.get() + 1);
                most.set(most.get().max(at_work.get()));
                yield_now();
                let done = stream.write_all(b"hello");
                at_work.set(at_work.get() - 1);
                done
            }
        });
        let server = server.limit(50);
        server.start().unwrap();
        let address = server.local_addr().unwrap();
        let clients = Pool::new(200);
        let served = Rc::new(Cell::new(0));
        for _ in 0..10_000 {
            let served = served.clone();
            clients.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                // Not to leave ten thousand ports lingering.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                let mut answer = [0; 5];
                (&stream).read_exact(&mut answer).unwrap();
                served.set(served.get() + 1);
            });
        }
        clients.join();
        assert_eq!(served.get(), 10_000);
        until(|| server.counts().active == 0);
        assert!(most.get() <= 50, "{} at once", most.get());
        let counts = server.counts();
        assert_eq!((counts.accepted, counts.accept_errors), (10_000, 0));
    });
}

// --- connections that are taken over ----------------------------------------------------------------------------------

/// A server whose connections are served by tasks of one greenlet.
fn server_of_tasks() -> StreamServer {
    let executor = Executor::new();
    StreamServer::taking_over(ANY, move |admitted: Admitted<TcpStream>| {
        let echo = async move {
            let mut buffer = [0; 1024];
            loop {
                let n = poll_fn(|context| admitted.poll_recv(context, &mut buffer)).await?;
                if n == 0 {
                    return io::Result::Ok(());
                }
                poll_fn(|context| admitted.poll_send(context, &buffer[..n])).await?;
            }
        };
        executor.spawn(async move { echo.await.unwrap_or_default() }).detach();
    })
}

#[test]
fn connections_can_be_served_by_tasks_and_are_closed_with_them() {
    run(|| {
        let server = server_of_tasks();
        server.start().unwrap();
        let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        clients.into_iter().for_each(|client| assert_eq!(answer(client), "hello"));
        until(|| server.counts().active == 0);
        assert_eq!(server.counts().accepted, 20);
    });
}

#[test]
fn connections_that_were_taken_over_are_waited_for_and_closed_after_the_grace() {
    run(|| {
        let server = server_of_tasks().limit(2);
        server.start().unwrap();
        let (quick, slow) = (connect(&server), connect(&server));
        until(|| server.counts().active == 2);
        let waits = connect(&server);
        assert_silent(&waits); // the limit holds
        let ends = spawn(move || drop(quick));
        let stopped = server.stop(Duration::from_millis(50));
        assert_eq!((stopped.finished, stopped.killed, stopped.left), (1, 1, 0));
        assert_eq!(answer(slow), "");
        ends.join();
    });
}

#[test]
fn an_admission_closes_its_connection_whoever_has_a_clone() {
    run(|| {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let server = StreamServer::taking_over(ANY, {
            let kept = kept.clone();
            move |admitted: Admitted<TcpStream>| kept.borrow_mut().push(admitted)
        });
        server.start().unwrap();
        let client = connect(&server);
        until(|| server.counts().active == 1);
        assert_silent(&client);
        let (stream, _, admission) = kept.borrow_mut().pop().unwrap().into_parts();
        drop(admission);
        assert_eq!(answer(client), "");
        assert_eq!(kind((&stream).write(b"more")), ErrorKind::NotConnected);
        assert_eq!(server.counts().active, 0);
    });
}

#[test]
fn a_panic_of_who_takes_over_is_that_connections_end_only() {
    run(|| {
        let turn = Cell::new(0);
        let server = StreamServer::taking_over(ANY, move |mut admitted: Admitted<TcpStream>| {
            turn.set(turn.get() + 1);
            assert_ne!(turn.get(), 1, "on purpose");
            admitted.write_all(b"hello").unwrap();
        });
        server.start().unwrap();
        assert_eq!(answer(connect(&server)), "");
        assert_answers(&server);
        assert_eq!(server.counts().failed, 1);
    });
}

// --- kills ----------------------------------------------------------------------------------------------------------

#[test]
fn a_kill_of_a_handlers_greenlet_closes_its_connection_and_gives_its_place_back() {
    run(|| {
        let greenlets = Rc::new(RefCell::new(Vec::new()));
        let server = StreamServer::new(ANY, {
            let greenlets = greenlets.clone();
            move |stream: TcpStream, peer| {
                greenlets.borrow_mut().push(current());
                echo(stream, peer)
            }
        });
        let server = server.limit(1);
        server.start().unwrap();
        for _ in 0..3 {
            let client = connect(&server);
            until(|| !greenlets.borrow().is_empty());
            let victim = greenlets.borrow_mut().remove(0);
            victim.kill_with(Kill::default());
            assert_eq!(answer(client), "");
        }
        assert_eq!(server.counts().failed, 0);
    });
}

#[test]
fn stopping_and_starting_to_accept_loses_no_connection() {
    run(|| {
        let server = Rc::new(StreamServer::new(ANY, greet).limit(3));
        server.start().unwrap();
        let address = server.local_addr().unwrap();
        let clients: Vec<_> =
            (0..200).map(|_| spawn(move || answer(TcpStream::connect(address).unwrap()))).collect();
        while clients.iter().any(|client| !client.ready()) {
            server.stop_accepting();
            yield_now();
            server.start_accepting().unwrap();
            yield_now();
            yield_now();
        }
        assert!(clients.iter().all(|client| client.get().unwrap() == "hello"));
    });
}

#[test]
fn the_server_goes_with_its_greenlet() {
    run(|| {
        let address = Arc::new(Mutex::new(None));
        let owner = spawn({
            let address = address.clone();
            move || {
                let server = StreamServer::new(ANY, greet);
                server.start().unwrap();
                *address.lock().unwrap() = Some(server.local_addr().unwrap());
                sleep(FOREVER);
            }
        });
        until(|| address.lock().unwrap().is_some());
        owner.kill();
        assert_refused(address.lock().unwrap().unwrap());
    });
}

#[test]
fn the_display_says_where_and_what() {
    run(|| {
        let server = StreamServer::new(ANY, greet).name("front door");
        assert_eq!(
            server.to_string(),
            "front door on not accepting; 0 accepted, 0 active, 0 refused, 0 failed, 0 accept errors"
        );
        server.start().unwrap();
        let address = server.local_addr().unwrap();
        assert!(server.to_string().starts_with(&format!("front door on {address}: accepting; 0 accepted")));
        server.close();
        assert!(server.to_string().contains(&format!("{address}: closed;")), "{server}");
        assert!(attempt(|| format!("{server:?}")).is_ok());
    });
}
