//! The programs for greenlets.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_core::{Event, Queue, joinall, sleep, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};

use super::{ANY_PORT, Parked, Programs, request_echoes, serve_echo};
use crate::usage;

/// Greenlets, on the hub of the calling thread.
#[derive(Debug)]
pub struct Greenlets;

/// Runs a program as a greenlet.
fn run<T: 'static>(program: impl FnOnce() -> T + 'static) -> T {
    greenlet_core::run(|| spawn(program).into_value().expect("the program does not fail"))
}

impl Programs for Greenlets {
    const NAME: &'static str = crate::harness::OURS;

    fn yields(tasks: usize, each: u64) -> Duration {
        run(move || {
            let greenlets = (0..tasks).map(|_| {
                spawn(move || {
                    for _ in 0..each {
                        yield_now();
                    }
                })
            });
            let greenlets: Vec<_> = greenlets.collect();
            let start = Instant::now();
            joinall(&greenlets);
            start.elapsed()
        })
    }

    fn spawn_join(times: u64) -> Duration {
        run(move || {
            let start = Instant::now();
            for _ in 0..times {
                spawn(|| ()).join();
            }
            start.elapsed()
        })
    }

    fn queue_ping_pong(round_trips: u64) -> Duration {
        run(move || {
            let pings = Rc::new(Queue::unbounded());
            let pongs = Rc::new(Queue::unbounded());
            let echo = {
                let (pings, pongs) = (Rc::clone(&pings), Rc::clone(&pongs));
                spawn(move || {
                    while let Ok(item) = pings.get() {
                        pongs.put(item).expect("the queue is open");
                    }
                })
            };
            let start = Instant::now();
            for item in 0..round_trips {
                pings.put(item).expect("the queue is open");
                assert_eq!(pongs.get().expect("the queue is open"), item);
            }
            let elapsed = start.elapsed();
            pings.shutdown();
            echo.join();
            elapsed
        })
    }

    fn parked(tasks: usize) -> Parked {
        run(move || {
            let start = Instant::now();
            let event = Rc::new(Event::new());
            let waiting = Rc::new(Cell::new(0));
            let mut greenlets = Vec::with_capacity(tasks);
            for _ in 0..tasks {
                let (event, waiting) = (Rc::clone(&event), Rc::clone(&waiting));
                greenlets.push(spawn(move || {
                    waiting.set(waiting.get() + 1);
                    event.wait();
                }));
            }
            // Turns are taken in the order of spawning, so after this one all of them wait, unless stacks ran out.
            yield_now();
            assert_eq!(waiting.get(), tasks, "not all greenlets got a stack");
            let create = start.elapsed();
            let resident_bytes = usage::resident_bytes();
            let start = Instant::now();
            event.set();
            joinall(greenlets);
            Parked { create, resident_bytes, wake: start.elapsed() }
        })
    }

    fn sleepers(times: Vec<Duration>) -> Duration {
        run(|| {
            let before = usage::cpu_time();
            let greenlets: Vec<_> = times.into_iter().map(|time| spawn(move || sleep(time))).collect();
            joinall(greenlets);
            usage::cpu_time() - before
        })
    }

    fn echo(connections: usize, each: u64) -> Duration {
        run(move || {
            let listener = TcpListener::bind(ANY_PORT).expect("a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            let acceptor = spawn(move || {
                let mut servers = Vec::with_capacity(connections);
                for _ in 0..connections {
                    let (stream, _) = listener.accept().expect("a connection");
                    stream.set_nodelay(true).expect("an option of every TCP socket");
                    servers.push(spawn(move || serve_echo(stream).expect("a healthy connection")));
                }
                servers
            });
            let mut streams = Vec::with_capacity(connections);
            for _ in 0..connections {
                let stream = TcpStream::connect(address).expect("a connection");
                stream.set_nodelay(true).expect("an option of every TCP socket");
                streams.push(stream);
            }
            let servers = acceptor.into_value().expect("the acceptor does not fail");
            let clients = streams.into_iter();
            let clients = clients
                .map(|stream| spawn(move || request_echoes(stream, each).expect("a healthy connection")));
            let clients: Vec<_> = clients.collect();
            let start = Instant::now();
            joinall(&clients);
            let elapsed = start.elapsed();
            joinall(servers);
            elapsed
        })
    }
}
