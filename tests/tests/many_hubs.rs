//! Sockets, actors and greenlets across hubs and plain threads.

use std::io::{Read, Write};
use std::sync::Arc;

use greenlet_actor::{Actor, Context, Exit, Reply};
use greenlet_core::{Hub, Queue, run, spawn};
use greenlet_net::{TcpListener, TcpStream};
use greenlet_tests::{ANY_PORT, STUCK};

/// Adds up what it is sent.
struct Sum(u64);

enum Add {
    Number(u64),
    Total(Reply<u64>),
}

impl Actor for Sum {
    type Message = Add;

    fn receive(&mut self, message: Add, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Add::Number(n) => self.0 += n,
            Add::Total(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

#[test]
fn an_actor_is_fed_from_hubs_and_threads_at_once() {
    run(|| {
        let sum = Sum(0).spawn();
        let hubs: Vec<_> = (0..2).map(|n| Hub::thread(format!("feeder-{n}")).start().unwrap()).collect();
        let mut feeders = Vec::new();
        for hub in &hubs {
            for _ in 0..10 {
                let sum = sum.clone();
                feeders.push(
                    hub.handle()
                        .spawn(move || (1..=100).for_each(|n| sum.send(Add::Number(n)).unwrap()))
                        .unwrap(),
                );
            }
        }
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let sum = sum.clone();
                std::thread::spawn(move || {
                    (1..=100).for_each(|n| sum.send(Add::Number(n)).unwrap());
                    sum.ask(Add::Total, STUCK).unwrap() // parks this thread
                })
            })
            .collect();
        for feeder in &feeders {
            feeder.get().unwrap();
        }
        // Let the threads' asks be answered before this thread blocks in `join`.
        while threads.iter().any(|thread| !thread.is_finished()) {
            greenlet_core::yield_now();
        }
        for thread in threads {
            assert!(thread.join().unwrap() >= 5050);
        }
        assert_eq!(sum.ask(Add::Total, STUCK).unwrap(), 22 * 5050);
        hubs.into_iter().for_each(|hub| hub.shutdown());
    });
}

#[test]
fn connections_accepted_on_one_hub_are_served_on_others() {
    run(|| {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let hubs: Vec<_> = (0..2).map(|n| Hub::thread(format!("server-{n}")).start().unwrap()).collect();
        let handles: Vec<_> = hubs.iter().map(|hub| hub.handle().clone()).collect();
        let acceptor = spawn(move || {
            for at in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                let hub = &handles[at % handles.len()];
                hub.spawn(move || std::io::copy(&mut &stream, &mut &stream).unwrap()).unwrap();
            }
        });
        let clients: Vec<_> = (0..50_u8)
            .map(|n| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let data = vec![n; 10_000];
                    let mut back = vec![0; data.len()];
                    for _ in 0..5 {
                        stream.write_all(&data).unwrap();
                        stream.read_exact(&mut back).unwrap();
                        assert_eq!(back, data);
                    }
                })
            })
            .collect();
        for client in clients {
            client.get().unwrap();
        }
        acceptor.kill();
        hubs.into_iter().for_each(|hub| hub.join());
    });
}

#[test]
fn a_bounded_queue_holds_a_fast_hub_back() {
    run(|| {
        let queue = Arc::new(Queue::bounded(4));
        let producer = Hub::thread("producer").start().unwrap();
        let made = producer
            .handle()
            .spawn({
                let queue = queue.clone();
                move || {
                    for n in 0..10_000_u64 {
                        queue.put(n).unwrap();
                        assert!(queue.len() <= 4);
                    }
                    queue.shutdown();
                }
            })
            .unwrap();
        let mut expected = 0;
        while let Ok(n) = queue.get() {
            assert_eq!(n, expected);
            expected += 1;
        }
        assert_eq!(expected, 10_000);
        made.get().unwrap();
        producer.join();
    });
}
