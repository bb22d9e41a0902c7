//! The programs for may, which runs stackful coroutines on worker threads of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use may::coroutine::{self, JoinHandle};
use may::go;
use may::net::{TcpListener, TcpStream};
use may::sync::{SyncFlag, spsc};

use super::{ANY_PORT, Parked, Programs, request_echoes, serve_echo};
use crate::usage;

/// may, with one worker.
///
/// Sleeping coroutines are resumed by its timer thread and continue there until they next wait, so that
/// `sleepers` is the one program that uses more than one thread.
#[derive(Debug)]
pub struct May;

/// Runs a program as a coroutine.
fn run<T: Send + 'static>(program: impl FnOnce() -> T + Send + 'static) -> T {
    static CONFIGURED: Once = Once::new();
    CONFIGURED.call_once(|| {
        may::config().set_workers(1);
    });
    join(go!(program))
}

fn join<T>(coroutine: JoinHandle<T>) -> T {
    coroutine.join().expect("no coroutine panics")
}

fn join_all(coroutines: Vec<JoinHandle<()>>) {
    for coroutine in coroutines {
        join(coroutine);
    }
}

impl Programs for May {
    const NAME: &'static str = "may";

    /// Each coroutine has a stack and a guard page that are mappings of their own, and Linux by default allows a
    /// process some 65,000 of them.
    const MAX_TASKS: u64 = 30_000;

    fn yields(tasks: usize, each: u64) -> Duration {
        run(move || {
            let coroutines = (0..tasks).map(|_| {
                go!(move || {
                    for _ in 0..each {
                        coroutine::yield_now();
                    }
                })
            });
            let coroutines = coroutines.collect();
            let start = Instant::now();
            join_all(coroutines);
            start.elapsed()
        })
    }

    fn spawn_join(times: u64) -> Duration {
        run(move || {
            let start = Instant::now();
            for _ in 0..times {
                join(go!(|| ()));
            }
            start.elapsed()
        })
    }

    fn queue_ping_pong(round_trips: u64) -> Duration {
        run(move || {
            // Half the price of its `mpsc`.
            let (ping, pings) = spsc::channel();
            let (pong, pongs) = spsc::channel();
            let echo = go!(move || {
                for item in pings {
                    pong.send(item).expect("the other side receives");
                }
            });
            let start = Instant::now();
            for item in 0..round_trips {
                ping.send(item).expect("the other side receives");
                assert_eq!(pongs.recv(), Ok(item));
            }
            let elapsed = start.elapsed();
            drop(ping);
            join(echo);
            elapsed
        })
    }

    fn parked(tasks: usize) -> Parked {
        run(move || {
            let start = Instant::now();
            let event = Arc::new(SyncFlag::new());
            let waiting = Arc::new(AtomicUsize::new(0));
            let all_waiting = Arc::new(SyncFlag::new());
            let mut handles = Vec::with_capacity(tasks);
            for _ in 0..tasks {
                let (event, waiting) = (Arc::clone(&event), Arc::clone(&waiting));
                let all_waiting = Arc::clone(&all_waiting);
                handles.push(go!(move || {
                    if waiting.fetch_add(1, Ordering::Relaxed) + 1 == tasks {
                        all_waiting.fire();
                    }
                    event.wait();
                }));
            }
            // Yielding would not do: a worker looks for new coroutines only when it has nothing else to run.
            all_waiting.wait();
            let create = start.elapsed();
            let resident_bytes = usage::resident_bytes();
            let start = Instant::now();
            event.fire();
            join_all(handles);
            Parked { create, resident_bytes, wake: start.elapsed() }
        })
    }

    fn sleepers(times: Vec<Duration>) -> Duration {
        run(|| {
            let before = usage::cpu_time();
            let coroutines = times.into_iter().map(|time| go!(move || coroutine::sleep(time))).collect();
            join_all(coroutines);
            usage::cpu_time() - before
        })
    }

    fn echo(connections: usize, each: u64) -> Duration {
        run(move || {
            let listener = TcpListener::bind(ANY_PORT).expect("a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            let acceptor = go!(move || {
                let mut servers = Vec::with_capacity(connections);
                for _ in 0..connections {
                    let (stream, _) = listener.accept().expect("a connection");
                    stream.set_nodelay(true).expect("an option of every TCP socket");
                    servers.push(go!(move || serve_echo(stream).expect("a healthy connection")));
                }
                servers
            });
            let mut streams = Vec::with_capacity(connections);
            for _ in 0..connections {
                let stream = TcpStream::connect(address).expect("a connection");
                stream.set_nodelay(true).expect("an option of every TCP socket");
                streams.push(stream);
            }
            let servers = join(acceptor);
            let clients = streams.into_iter();
            let clients = clients
                .map(|stream| go!(move || request_echoes(stream, each).expect("a healthy connection")));
            let clients = clients.collect();
            let start = Instant::now();
            join_all(clients);
            let elapsed = start.elapsed();
            join_all(servers);
            elapsed
        })
    }
}
