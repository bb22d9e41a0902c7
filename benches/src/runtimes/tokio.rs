//! The programs for tokio's `current_thread` runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

use super::{ANY_PORT, MESSAGE_SIZE, Parked, Programs};
use crate::usage;

/// tokio, with one thread.
#[derive(Debug)]
pub struct Tokio;

/// Runs a future as a task of a new runtime, with only those drivers that it needs: with an I/O driver, even turns
/// of the scheduler that have nothing to do with I/O ask the system for it.
///
/// It is not run by `block_on` itself, where each of its turns would cost more.
fn run<T: Send + 'static>(
    drivers: impl FnOnce(&mut Builder) -> &mut Builder,
    program: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime(drivers).block_on(async { tokio::spawn(program).await.expect("the program does not panic") })
}

/// Like [`run`], without drivers, as a task of a [`LocalSet`]: faster where it is used, and slower elsewhere.
fn run_local<T: 'static>(program: impl Future<Output = T> + 'static) -> T {
    LocalSet::new().block_on(&runtime(no_drivers), async {
        spawn_local(program).await.expect("the program does not panic")
    })
}

fn runtime(drivers: impl FnOnce(&mut Builder) -> &mut Builder) -> Runtime {
    drivers(&mut Builder::new_current_thread()).build().expect("the runtime starts")
}

fn no_drivers(builder: &mut Builder) -> &mut Builder {
    builder
}

async fn join_all<T>(tasks: Vec<tokio::task::JoinHandle<T>>) {
    for task in tasks {
        task.await.expect("no task panics");
    }
}

impl Programs for Tokio {
    const NAME: &'static str = "tokio";

    fn yields(tasks: usize, each: u64) -> Duration {
        run(no_drivers, async move {
            let tasks = (0..tasks).map(|_| {
                tokio::spawn(async move {
                    for _ in 0..each {
                        yield_now().await;
                    }
                })
            });
            let tasks = tasks.collect();
            let start = Instant::now();
            join_all(tasks).await;
            start.elapsed()
        })
    }

    fn spawn_join(times: u64) -> Duration {
        run_local(async move {
            let start = Instant::now();
            for _ in 0..times {
                spawn_local(async {}).await.expect("an empty task does not panic");
            }
            start.elapsed()
        })
    }

    fn queue_ping_pong(round_trips: u64) -> Duration {
        run_local(async move {
            let (ping, mut pings) = mpsc::unbounded_channel();
            let (pong, mut pongs) = mpsc::unbounded_channel();
            let echo = spawn_local(async move {
                while let Some(item) = pings.recv().await {
                    pong.send(item).expect("the other side receives");
                }
            });
            let start = Instant::now();
            for item in 0..round_trips {
                ping.send(item).expect("the other side receives");
                assert_eq!(pongs.recv().await, Some(item));
            }
            let elapsed = start.elapsed();
            drop(ping);
            echo.await.expect("the echo does not panic");
            elapsed
        })
    }

    fn parked(tasks: usize) -> Parked {
        run(no_drivers, async move {
            let start = Instant::now();
            let event = Arc::new(Notify::new());
            let waiting = Arc::new(AtomicUsize::new(0));
            let mut handles = Vec::with_capacity(tasks);
            for _ in 0..tasks {
                let (event, waiting) = (Arc::clone(&event), Arc::clone(&waiting));
                handles.push(tokio::spawn(async move {
                    waiting.fetch_add(1, Ordering::Relaxed);
                    event.notified().await;
                }));
            }
            while waiting.load(Ordering::Relaxed) < tasks {
                yield_now().await;
            }
            let create = start.elapsed();
            let resident_bytes = usage::resident_bytes();
            let start = Instant::now();
            event.notify_waiters();
            join_all(handles).await;
            Parked { create, resident_bytes, wake: start.elapsed() }
        })
    }

    fn sleepers(times: Vec<Duration>) -> Duration {
        run(Builder::enable_time, async {
            let before = usage::cpu_time();
            let tasks = times.into_iter().map(|time| tokio::spawn(sleep(time))).collect();
            join_all(tasks).await;
            usage::cpu_time() - before
        })
    }

    fn echo(connections: usize, each: u64) -> Duration {
        run(Builder::enable_io, async move {
            let listener = TcpListener::bind(ANY_PORT).await.expect("a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            let acceptor = tokio::spawn(async move {
                let mut servers = Vec::with_capacity(connections);
                for _ in 0..connections {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    servers.push(tokio::spawn(serve_echo(stream)));
                }
                servers
            });
            let mut streams = Vec::with_capacity(connections);
            for _ in 0..connections {
                streams.push(TcpStream::connect(address).await.expect("a connection"));
            }
            let servers = acceptor.await.expect("the acceptor does not panic");
            let clients =
                streams.into_iter().map(|stream| tokio::spawn(request_echoes(stream, each))).collect();
            let start = Instant::now();
            join_all(clients).await;
            let elapsed = start.elapsed();
            join_all(servers).await;
            elapsed
        })
    }
}

async fn serve_echo(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("an option of every TCP socket");
    let mut buffer = [0; MESSAGE_SIZE];
    loop {
        match stream.read(&mut buffer).await.expect("a healthy connection") {
            0 => break,
            length => stream.write_all(&buffer[..length]).await.expect("a healthy connection"),
        }
    }
}

async fn request_echoes(mut stream: TcpStream, times: u64) {
    stream.set_nodelay(true).expect("an option of every TCP socket");
    let mut buffer = [0; MESSAGE_SIZE];
    for _ in 0..times {
        stream.write_all(&buffer).await.expect("a healthy connection");
        stream.read_exact(&mut buffer).await.expect("a healthy connection");
    }
}
