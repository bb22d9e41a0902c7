//! Ten thousand websockets on which nothing happens. Alone in its process, because it looks at the memory of all of it.
#![cfg(all(feature = "websocket", target_os = "linux"))]

use std::net::TcpStream as StdStream;

use greenlet_core::{Greenlet, run, spawn, yield_now};
use greenlet_net::websocket::{Message, Role, Settings, WebSocket};
use greenlet_net::{TcpListener, TcpStream};

/// Each has two descriptors here.
fn as_many_as_there_may_be() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    (soft.saturating_sub(100) / 2).min(10_000)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_idle_websockets_cost_little_and_all_still_work() {
    run(|| {
        let count = as_many_as_there_may_be();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = resident_kib();
        let all: Vec<(StdStream, WebSocket, Greenlet<Option<Message>>)> = (0..count)
            .map(|_| {
                let theirs = TcpStream::connect(address).unwrap().into_std().unwrap();
                let (ours, _) = listener.accept().unwrap();
                let socket =
                    WebSocket::from_stream(Box::new(ours), Role::Client, &Settings::default(), Vec::new())
                        .unwrap();
                let receiver = spawn({
                    let socket = socket.clone();
                    // The end of the test ends most of them without a message.
                    move || socket.recv().unwrap_or_default()
                });
                yield_now();
                (theirs, socket, receiver)
            })
            .collect();
        let each = (resident_kib() - before) * 1024 / count;
        println!("{count} idle websockets with a greenlet each: {each} bytes each");
        // Stack, read buffer, and what the two sockets and the greenlet need beside them.
        assert!(each < 24 * 1024, "{each} bytes each");
        for (theirs, _, receiver) in all.iter().step_by(97) {
            use std::io::Write;
            (&*theirs).write_all(b"\x81\x05hello").unwrap();
            assert_eq!(receiver.get().unwrap(), Some("hello".into()));
        }
    });
}
