//! Closing wakes whoever waits, wherever it waits, with an error.

mod pair;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use greenlet_core::{Event, Greenlet, Hub, HubThread, run, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};
use pair::{fill, kind, pair_with_std, read_to_any_end};

/// Runs `wait` in a greenlet of that hub, and returns when it is suspended.
fn waiting_on<T: Send + Sync + 'static>(
    hub: &HubThread,
    wait: impl FnOnce() -> T + Send + 'static,
) -> Greenlet<T> {
    let waiter = hub.handle().spawn(wait).unwrap();
    // Queued behind it, so it runs when the other one has run as far as it can.
    hub.handle().spawn(|| ()).unwrap().join();
    waiter
}

fn read(mut stream: &TcpStream) -> ErrorKind {
    kind(stream.read(&mut [0; 8]))
}

fn write(mut stream: &TcpStream) -> ErrorKind {
    kind(stream.write_all(&[0; 1 << 20]))
}

#[test]
fn close_wakes_a_reader() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let clone = ours.try_clone().unwrap();
        let reader = spawn(move || read(&clone));
        yield_now();
        ours.close();
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        drop(theirs);
    });
}

#[test]
fn close_wakes_a_writer() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        fill(&ours);
        let clone = ours.try_clone().unwrap();
        let writer = spawn(move || write(&clone));
        yield_now();
        ours.close();
        assert_eq!(writer.get().unwrap(), ErrorKind::NotConnected);
        drop(theirs);
    });
}

#[test]
fn close_wakes_an_accepter() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let accepter = spawn(move || kind(clone.accept()));
        yield_now();
        listener.close();
        assert_eq!(accepter.get().unwrap(), ErrorKind::NotConnected);
    });
}

#[test]
fn close_wakes_a_reader_and_a_writer_of_another_hub() {
    let hub = Hub::thread("waits").start().unwrap();
    let (ours, theirs) = pair_with_std();
    fill(&ours);
    let ours = Arc::new(ours);
    let reader = waiting_on(&hub, {
        let ours = ours.clone();
        move || read(&ours)
    });
    let writer = waiting_on(&hub, {
        let ours = ours.clone();
        move || write(&ours)
    });
    ours.close();
    assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
    assert_eq!(writer.get().unwrap(), ErrorKind::NotConnected);
    drop(theirs);
    hub.join();
}

#[test]
fn close_wakes_an_accepter_of_another_hub() {
    let hub = Hub::thread("waits").start().unwrap();
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let accepter = waiting_on(&hub, {
        let listener = listener.clone();
        move || kind(listener.accept())
    });
    listener.close();
    assert_eq!(accepter.get().unwrap(), ErrorKind::NotConnected);
    hub.join();
}

#[test]
fn close_by_a_plain_thread_wakes_a_reader() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let ours = Arc::new(ours);
        let waits = Arc::new(Event::new());
        let closer = std::thread::spawn({
            let (ours, waits) = (ours.clone(), waits.clone());
            move || {
                waits.wait();
                ours.close();
            }
        });
        let reader = spawn(move || read(&ours));
        yield_now();
        waits.set();
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        closer.join().unwrap();
        drop(theirs);
    });
}

#[test]
fn close_wakes_a_plain_thread_that_reads() {
    let (ours, theirs) = pair_with_std();
    let ours = Arc::new(ours);
    let reader = std::thread::spawn({
        let ours = ours.clone();
        move || read(&ours)
    });
    // Whether it waits already or not, it must come back with the error.
    ours.close();
    assert_eq!(reader.join().unwrap(), ErrorKind::NotConnected);
    drop(theirs);
}

#[test]
fn everything_after_close_fails() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let clone = ours.try_clone().unwrap();
        ours.close();
        for mut stream in [&ours, &clone] {
            assert_eq!(read(stream), ErrorKind::NotConnected);
            assert_eq!(kind(stream.read(&mut [])), ErrorKind::NotConnected);
            assert_eq!(kind(stream.peek(&mut [0; 8])), ErrorKind::NotConnected);
            assert_eq!(write(stream), ErrorKind::NotConnected);
            assert_eq!(kind(stream.write(&[])), ErrorKind::NotConnected);
            assert_eq!(kind(stream.write_vectored(&[io::IoSlice::new(b"x")])), ErrorKind::NotConnected);
        }
        drop(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.close();
        assert_eq!(kind(listener.accept()), ErrorKind::NotConnected);
    });
}

#[test]
fn the_peer_of_a_closed_stream_gets_what_was_written_and_the_end() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        ours.write_all(b"last words").unwrap();
        ours.close();
        assert_eq!(read_to_any_end(theirs), b"last words");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_listener_refuses_connections_while_it_has_clones() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clone = listener.try_clone().unwrap();
        listener.close();
        assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
        drop(clone);
    });
}

#[test]
fn close_ends_the_incoming_connections() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let server = spawn(move || clone.incoming().count());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        yield_now();
        listener.close();
        assert_eq!(server.get().unwrap(), 1);
    });
}

#[test]
fn closing_twice_is_closing_once() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        ours.close();
        ours.close();
        assert_eq!(read(&ours), ErrorKind::NotConnected);
        drop(theirs);
    });
}
