//! Sockets on several hubs: moved, shared, and outliving the hub that used them first.

mod pair;

use std::io::{ErrorKind, Read, Write, copy};
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{Hub, HubThread, joinall, run, spawn, yield_now};
use greenlet_net::{ListenOptions, TcpListener, TcpStream};
use pair::{fill, kind, pair, pair_with_std};

fn hub(name: &str) -> HubThread {
    Hub::thread(name).start().unwrap()
}

fn round_trip(mut stream: &TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text.as_bytes());
}

#[test]
fn connections_accepted_here_are_served_there() {
    run(|| {
        let workers = [hub("one"), hub("two")];
        let handles: Vec<_> = workers.iter().map(|worker| worker.handle().clone()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                handles[number % 2].spawn(move || copy(&mut &stream, &mut &stream).unwrap()).unwrap();
            }
        });
        let clients: Vec<_> = (0..20)
            .map(|number| {
                spawn(move || {
                    let stream = TcpStream::connect(address).unwrap();
                    for round in 0..50 {
                        round_trip(&stream, &format!("client {number} round {round}"));
                    }
                })
            })
            .collect();
        joinall(&clients);
        assert!(clients.iter().all(|client| client.successful()));
        server.kill();
        workers.into_iter().for_each(HubThread::join);
    });
}

#[test]
fn one_listener_for_each_hub_on_the_same_port() {
    run(|| {
        let workers = [hub("one"), hub("two")];
        let options = ListenOptions::new().reuse_port(true);
        let first = options.bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let second = options.bind(address).unwrap();
        for (worker, listener) in workers.iter().zip([first, second]) {
            let serve = move || {
                for stream in listener.incoming() {
                    let stream = stream.unwrap();
                    spawn(move || copy(&mut &stream, &mut &stream).unwrap());
                }
            };
            worker.handle().spawn(serve).unwrap();
        }
        for number in 0..20 {
            round_trip(&TcpStream::connect(address).unwrap(), &format!("number {number}"));
        }
        workers.into_iter().for_each(HubThread::shutdown);
    });
}

#[test]
fn a_stream_that_wanders_from_hub_to_hub_keeps_working() {
    run(|| {
        let hubs = [hub("one"), hub("two"), hub("three")];
        let (mut stream, mut theirs) = pair_with_std();
        let echo = std::thread::spawn(move || copy(&mut theirs.try_clone().unwrap(), &mut theirs).unwrap());
        for round in 0..60 {
            let there = move || {
                round_trip(&stream, &format!("round {round}"));
                Arc::new(stream)
            };
            let back = hubs[round % 3].handle().spawn(there).unwrap().into_value().unwrap();
            stream = Arc::into_inner(back).unwrap();
            round_trip(&stream, "home");
        }
        drop(stream);
        echo.join().unwrap();
        hubs.into_iter().for_each(HubThread::join);
    });
}

#[test]
fn reader_and_writer_are_on_different_hubs() {
    const ROUNDS: u32 = 2000;
    run(|| {
        let (one, two) = (hub("reads"), hub("writes"));
        let (ours, theirs) = pair();
        let (mut reader, mut writer) = ours.into_split();
        let writing = two.handle().spawn(move || {
            for number in 0..ROUNDS {
                writer.write_all(&number.to_le_bytes()).unwrap();
            }
        });
        let reading = one.handle().spawn(move || {
            let mut buffer = [0; 4];
            for number in 0..ROUNDS {
                reader.read_exact(&mut buffer).unwrap();
                assert_eq!(u32::from_le_bytes(buffer), number);
            }
        });
        copy(&mut &theirs, &mut &theirs).unwrap();
        drop(theirs);
        writing.unwrap().get().unwrap();
        reading.unwrap().get().unwrap();
        one.join();
        two.join();
    });
}

#[test]
fn a_stream_outlives_the_hub_that_used_it_first() {
    run(|| {
        let first = hub("first");
        let (stream, mut theirs) = pair_with_std();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // Whoever waits for it watches it, and goes on to watch it afterwards.
        let stream = first.handle().spawn(move || {
            assert_eq!(kind((&stream).read(&mut [0])), ErrorKind::TimedOut);
            Arc::new(stream)
        });
        let stream = stream.unwrap().into_value().unwrap();
        first.join();
        assert_eq!(kind((&*stream).read(&mut [0])), ErrorKind::TimedOut);
        stream.set_read_timeout(None).unwrap();
        let reader = spawn(move || (&*stream).read(&mut [0; 8]).unwrap());
        yield_now();
        theirs.write_all(b"hello").unwrap();
        assert_eq!(reader.get().unwrap(), 5);
    });
}

/// The reader waits through the hub of the writer, which watches the socket for both, until that one ends.
#[test]
fn a_reader_outlives_the_hub_that_watches_its_socket() {
    run(|| {
        let (writes, reads) = (hub("writes"), hub("reads"));
        let (ours, mut theirs) = pair_with_std();
        fill(&ours);
        let (mut reader, mut writer) = ours.into_split();
        writes.handle().spawn(move || writer.write_all(&[8; 1 << 20]).unwrap()).unwrap();
        // What is spawned next runs when the one before has run as far as it can.
        writes.handle().spawn(|| ()).unwrap().join();
        let reading = reads.handle().spawn(move || {
            let mut buffer = [0; 5];
            reader.read_exact(&mut buffer).unwrap();
            buffer
        });
        reads.handle().spawn(|| ()).unwrap().join();
        writes.shutdown();
        theirs.write_all(b"hello").unwrap();
        assert_eq!(&reading.unwrap().get().unwrap(), b"hello");
        reads.join();
    });
}
