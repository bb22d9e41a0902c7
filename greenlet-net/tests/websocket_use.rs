//! What several greenlets may do with one websocket at once, how it ends, and what a kill does not break.
#![cfg(feature = "websocket")]

mod frames;

use std::io::{ErrorKind, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use frames::*;
use greenlet_core::pool::ThreadPool;
use greenlet_core::{Event, Hub, joinall, run, sleep, spawn, with_timeout, yield_now};
use greenlet_net::websocket::{
    self, CloseCode, CloseError, Message, RecvError, Role, SendError, Settings, WebSocket,
};
use greenlet_net::{TcpListener, TcpStream};

/// Much more than the buffers of the connection hold.
const LARGE: usize = 1 << 20;

fn large(byte: u8) -> Message {
    Message::from(vec![byte; LARGE])
}

/// Both ends are ours.
fn both(settings: &Settings) -> (WebSocket, WebSocket) {
    let (a, b) = pair();
    let of = |stream: TcpStream, role| {
        WebSocket::from_stream(Box::new(stream), role, settings, Vec::new()).unwrap()
    };
    (of(a, Role::Client), of(b, Role::Server))
}

// --- several at once ---------------------------------------------------------------------------------------------

#[test]
fn one_receives_while_others_send() {
    run(|| {
        let (client, server) = both(&settings());
        let echo = spawn(move || server.iter().all(|message| server.send(message.unwrap()).is_ok()));
        let senders: Vec<_> = (0..10)
            .map(|sender| {
                let client = client.clone();
                spawn(move || {
                    (0..100).for_each(|n| client.send(format!("{sender} {n} {}", "x".repeat(5000))).unwrap())
                })
            })
            .collect();
        let mut next = [0; 10];
        for _ in 0..1000 {
            let message = client.recv().unwrap().unwrap();
            let mut words = message.as_text().unwrap().split(' ');
            let mut number = || words.next().unwrap().parse::<usize>().unwrap();
            let (sender, n) = (number(), number());
            assert_eq!(n, next[sender], "in the order in which it was sent");
            next[sender] += 1;
        }
        joinall(&senders);
        client.close(CloseCode::Normal, "").unwrap();
        assert!(echo.get().unwrap());
    });
}

#[test]
fn a_second_receiver_is_told_and_the_first_is_not_disturbed() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let first = spawn({
            let socket = socket.clone();
            move || socket.recv().unwrap()
        });
        yield_now();
        assert!(matches!(socket.recv(), Err(RecvError::Busy)));
        raw.send(FIN | TEXT, b"for the first");
        assert_eq!(first.get().unwrap(), Some("for the first".into()));
    });
}

#[test]
fn two_that_send_a_lot_to_each_other_before_they_read_do_not_hang_while_both_receive() {
    run(|| {
        // More than a connection with the buffers of the system holds.
        const VERY_LARGE: usize = 16 << 20;
        let (client, server) = both(&settings().max_message_size(VERY_LARGE).max_frame_size(VERY_LARGE));
        let ends = [client, server].map(|socket| {
            let receiver = spawn({
                let socket = socket.clone();
                move || socket.recv().unwrap().unwrap().as_bytes().len()
            });
            let sender = spawn(move || socket.send(vec![1; VERY_LARGE]).unwrap());
            (sender, receiver)
        });
        for (sender, receiver) in ends {
            sender.get().unwrap();
            assert_eq!(receiver.get().unwrap(), VERY_LARGE);
        }
    });
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_received_from_all_the_same() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let ping = raw.frame(FIN | PING, &[1; 125]);
        let raw = Rc::new(raw);
        spawn({
            let raw = raw.clone();
            move || {
                // Some 400 KiB of pongs would answer it.
                (0..30).for_each(|_| raw.send_bytes(&ping.repeat(100)));
                raw.send(FIN | PING, b"the last one");
                raw.send(FIN | TEXT, b"and a message");
            }
        });
        assert_eq!(socket.recv().unwrap(), Some("and a message".into()));
        // Pongs were dropped, but that to the last ping is there.
        loop {
            let (first, payload) = raw.next().unwrap();
            assert_eq!(first, FIN | PONG);
            if payload == b"the last one" {
                break;
            }
        }
    });
}

#[test]
fn nobody_receives_and_a_ping_waits_for_its_pong() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        raw.send(FIN | PING, b"anybody?");
        socket.send("not reading").unwrap();
        raw.expect(FIN | TEXT, b"not reading");
        let receiver = spawn(move || socket.recv().unwrap());
        raw.expect(FIN | PONG, b"anybody?");
        receiver.kill();
    });
}

#[test]
fn handles_work_from_other_hubs_and_from_threads_without_greenlets() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        spawn(move || {
            for stream in listener.incoming() {
                let (socket, _) = websocket::accept(stream.unwrap()).unwrap();
                spawn(move || socket.iter().all(|message| socket.send(message.unwrap()).is_ok()));
            }
        });
        let socket = websocket::connect(&url).unwrap();
        let worker = Hub::thread("worker").start().unwrap();
        let elsewhere = worker.handle().spawn({
            let socket = socket.clone();
            move || (0..100).for_each(|n| socket.send(format!("hub {n}")).unwrap())
        });
        let thread = std::thread::spawn({
            let socket = socket.clone();
            move || (0..100).for_each(|n| socket.send(format!("thread {n}")).unwrap())
        });
        let mut received: Vec<String> =
            (0..200).map(|_| socket.recv().unwrap().unwrap().as_text().unwrap().to_owned()).collect();
        received.sort();
        received.dedup();
        assert_eq!(received.len(), 200);
        elsewhere.unwrap().get().unwrap();
        thread.join().unwrap();
        let alone = ThreadPool::new(1).apply(move || {
            let socket = websocket::connect(&url).unwrap();
            socket.send("alone").unwrap();
            let echo = socket.recv_timeout(FOREVER).unwrap();
            socket.close(CloseCode::Normal, "").unwrap();
            echo
        });
        assert_eq!(alone.unwrap(), Some("alone".into()));
    });
}

// --- kills and timeouts ------------------------------------------------------------------------------------------

#[test]
fn kill_in_the_middle_of_a_message_still_sends_all_of_it() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let sender = spawn({
            let socket = socket.clone();
            move || socket.send(large(1)).unwrap()
        });
        yield_now();
        sender.kill();
        assert!(sender.exited());
        // And whoever comes next is behind it.
        let next = spawn(move || socket.send("next").unwrap());
        assert_eq!(raw.next().unwrap(), (FIN | BINARY, vec![1; LARGE]));
        raw.expect(FIN | TEXT, b"next");
        next.get().unwrap();
    });
}

#[test]
fn a_timeout_in_the_middle_of_a_message_still_sends_all_of_it_even_if_nobody_comes_after() {
    run(|| {
        let (socket, raw) = ours(Role::Client, &settings());
        assert!(with_timeout(Duration::from_millis(20), || socket.send(large(2))).is_err());
        assert_eq!(raw.next().unwrap(), (FIN | BINARY, vec![2; LARGE]));
        socket.send("next").unwrap();
        raw.expect(FIN | TEXT, b"next");
    });
}

#[test]
fn kill_before_its_turn_sends_nothing() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let send = |message: Message| {
            let socket = socket.clone();
            spawn(move || socket.send(message).unwrap())
        };
        let first = send(large(1));
        let waiting = send("never".into());
        let last = send("last".into());
        yield_now();
        waiting.kill();
        assert!(waiting.exited());
        assert_eq!(raw.next().unwrap(), (FIN | BINARY, vec![1; LARGE]));
        raw.expect(FIN | TEXT, b"last");
        joinall(&[first, last]);
    });
}

#[test]
fn kill_in_recv_loses_nothing_not_even_half_a_frame() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let frame = raw.frame(FIN | TEXT, b"in many pieces");
        for byte in frame {
            let receiver = spawn({
                let socket = socket.clone();
                move || socket.recv().unwrap()
            });
            yield_now();
            receiver.kill();
            assert!(receiver.exited());
            raw.send_bytes(&[byte]);
        }
        assert_eq!(socket.recv().unwrap(), Some("in many pieces".into()));
        assert!(with_timeout(Duration::from_millis(1), || socket.recv()).is_err());
        assert!(matches!(socket.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut(_))));
        assert!(matches!(socket.recv_timeout(Duration::ZERO), Err(RecvError::TimedOut(_))));
        raw.send(FIN | TEXT, b"later");
        assert_eq!(socket.recv_timeout(FOREVER).unwrap(), Some("later".into()));
    });
}

#[test]
fn kill_in_close_leaves_it_to_the_next() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let closer = spawn({
            let socket = socket.clone();
            move || socket.close(CloseCode::Away, "going").unwrap()
        });
        assert_eq!(raw.expect_close(1001), "going");
        closer.kill();
        assert!(closer.exited());
        assert!(matches!(socket.send("more"), Err(SendError::Closed)));
        raw.close(1001, "going");
        drop(raw);
        assert_eq!(socket.recv().unwrap(), None);
        assert!(socket.is_closed());
    });
}

#[test]
fn kill_of_who_waits_for_the_peers_end_ends_the_transport() {
    run(|| {
        let (socket, raw) = ours(Role::Client, &settings());
        let receiver = spawn({
            let socket = socket.clone();
            move || socket.recv().unwrap()
        });
        raw.close(1000, "");
        raw.expect_close(1000);
        // The server's part would be to end the transport; it does not.
        yield_now();
        receiver.kill();
        assert!(receiver.exited());
        assert!(read_to_any_end(&raw.stream).is_empty());
        assert_eq!(socket.recv().unwrap(), None);
    });
}

#[test]
fn killing_everybody_in_the_middle_ends_the_connection_and_tears_no_message_for_good() {
    // The end of `run` kills the writer that took over, too.
    let theirs = run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        spawn(move || socket.send(large(1)));
        yield_now();
        raw.stream.into_std().unwrap()
    });
    let mut theirs = theirs;
    theirs.set_read_timeout(Some(FOREVER)).unwrap();
    let mut all = Vec::new();
    // Cut short, and then nothing: no frame after half a frame.
    let _ = theirs.read_to_end(&mut all);
    assert!(all.len() < LARGE && all.ends_with(&[1]), "{}", all.len());
}

// --- the end -----------------------------------------------------------------------------------------------------

#[test]
fn close_waits_for_the_peer_and_gives_what_comes_before_to_the_receiver() {
    run(|| {
        for role in ROLES {
            let (socket, raw) = ours(role, &settings());
            let receiver = spawn({
                let socket = socket.clone();
                move || {
                    let all: Vec<_> = socket.iter().map(Result::unwrap).collect();
                    assert_eq!(socket.close_frame().unwrap().reason.as_str(), "bye too");
                    all
                }
            });
            yield_now();
            let closer = spawn({
                let socket = socket.clone();
                move || socket.close(CloseCode::Library(4321), "bye").is_ok()
            });
            assert_eq!(raw.expect_close(4321), "bye");
            assert!(matches!(socket.send("too late"), Err(SendError::Closed)));
            for n in 0..5_u8 {
                raw.send(FIN | BINARY, &[n]);
                // The receiver is at work on the first, and `close` receives.
                yield_now();
            }
            raw.close(4321, "bye too");
            if role == Role::Server {
                raw.expect_end();
            }
            drop(raw);
            assert!(closer.get().unwrap());
            let expected: Vec<_> = (0..5_u8).map(|n| Message::from(vec![n])).collect();
            assert_eq!(receiver.get().unwrap(), expected);
            // Once more is fine.
            socket.close(CloseCode::Normal, "").unwrap();
            assert_eq!(socket.recv().unwrap(), None);
        }
    });
}

#[test]
fn what_came_before_the_close_is_received_after_it_up_to_a_limit() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings().max_message_size(100));
        for n in 0..3_u8 {
            raw.send(FIN | BINARY, &[n; 40]);
        }
        raw.close(1000, "");
        let closer = spawn({
            let socket = socket.clone();
            move || socket.close(CloseCode::Normal, "").is_ok()
        });
        raw.expect_close(1000);
        raw.expect_end();
        drop(raw);
        assert!(closer.get().unwrap());
        assert_eq!(socket.recv().unwrap(), Some(vec![0; 40].into()));
        assert_eq!(socket.recv().unwrap(), Some(vec![1; 40].into()));
        assert_eq!(socket.recv().unwrap(), None);
        assert_eq!(socket.recv().unwrap(), None);
    });
}

#[test]
fn empty_messages_before_the_close_are_not_kept_without_end() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        for _ in 0..3000 {
            raw.send(FIN | BINARY, &[]);
        }
        raw.close(1000, "");
        let closer = spawn({
            let socket = socket.clone();
            move || socket.close(CloseCode::Normal, "").is_ok()
        });
        raw.expect_close(1000);
        raw.expect_end();
        drop(raw);
        assert!(closer.get().unwrap());
        assert_eq!(socket.iter().count(), 1024);
    });
}

#[test]
fn both_may_close_at_once() {
    run(|| {
        let (client, server) = both(&settings());
        let one = spawn(move || client.close(CloseCode::Normal, "one").is_ok());
        let two = spawn(move || server.close(CloseCode::Normal, "two").is_ok());
        assert!(one.get().unwrap() && two.get().unwrap());
    });
}

#[test]
fn a_peer_that_does_not_close_too_is_left_after_the_time_limit() {
    run(|| {
        let settings = Settings::default().close_timeout(Duration::from_millis(50));
        for role in ROLES {
            let (socket, raw) = ours(role, &settings);
            assert!(matches!(socket.close(CloseCode::Normal, ""), Err(CloseError::TimedOut(_))));
            raw.expect_close(1000);
            raw.expect_end();
            assert!(matches!(socket.recv(), Err(RecvError::Abnormal(_))));
            // One that does not even read.
            let (socket, raw) = ours(role, &settings);
            assert!(with_timeout(Duration::from_millis(5), || socket.send(large(0))).is_err());
            assert!(socket.close(CloseCode::Normal, "").is_err());
            read_to_any_end(&raw.stream);
        }
    });
}

#[test]
fn what_cannot_be_closed_or_pinged_with_is_refused_and_changes_nothing() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(matches!(socket.close(code.into(), ""), Err(CloseError::Code(it)) if it == code));
        }
        let long = "x".repeat(124);
        assert!(matches!(socket.close(CloseCode::Normal, &long), Err(CloseError::ReasonTooLong(124))));
        assert!(matches!(socket.ping(&[0; 126]), Err(SendError::PingTooLong(126))));
        socket.ping(&[5; 125]).unwrap();
        raw.expect(FIN | PING, &[5; 125]);
        socket.send("still there").unwrap();
        raw.expect(FIN | TEXT, b"still there");
    });
}

#[test]
fn an_end_without_a_close_is_abnormal() {
    run(|| {
        for role in ROLES {
            // In the middle of nothing, of a frame, and of a message.
            for before in 0..3 {
                let (socket, raw) = ours(role, &settings());
                match before {
                    0 => {}
                    1 => raw.send_bytes(&[FIN | TEXT]),
                    _ => raw.send(TEXT, b""),
                }
                drop(raw);
                let error = socket.recv().unwrap_err();
                assert_eq!(error.code(), Some(CloseCode::Abnormal), "{error}");
                assert!(matches!(socket.send("?"), Err(SendError::Abnormal(_))));
                assert!(matches!(socket.close(CloseCode::Normal, ""), Err(CloseError::Abnormal(_))));
            }
        }
        // A drop of ours is that to the peer.
        let (client, server) = both(&settings());
        drop(server);
        assert_eq!(client.recv().unwrap_err().code(), Some(CloseCode::Abnormal));
    });
}

#[test]
fn a_half_close_ends_it_too() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let Err(RecvError::Abnormal(error)) = socket.recv() else { panic!("an error") };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(read_to_any_end(&raw.stream).is_empty());
    });
}

#[test]
fn a_reset_is_an_error_in_every_state() {
    run(|| {
        for role in ROLES {
            // While it receives.
            let (socket, raw) = ours(role, &settings());
            let receiver = spawn(move || socket.recv().unwrap_err().code());
            yield_now();
            raw.reset();
            assert_eq!(receiver.get().unwrap(), Some(CloseCode::Abnormal));
            // While it sends.
            let (socket, raw) = ours(role, &settings());
            let sender = spawn({
                let socket = socket.clone();
                move || matches!(socket.send(large(3)), Err(SendError::Abnormal(_)))
            });
            let waiting = spawn({
                let socket = socket.clone();
                move || matches!(socket.send("behind it"), Err(SendError::Abnormal(_)))
            });
            yield_now();
            raw.reset();
            assert!(sender.get().unwrap() && waiting.get().unwrap());
            assert_eq!(socket.recv().unwrap_err().code(), Some(CloseCode::Abnormal));
            // While it closes.
            let (socket, raw) = ours(role, &settings());
            let closer =
                spawn(move || matches!(socket.close(CloseCode::Normal, ""), Err(CloseError::Abnormal(_))));
            raw.expect_close(1000);
            raw.reset();
            assert!(closer.get().unwrap());
        }
    });
}

#[test]
fn abort_wakes_everybody() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let receiver = spawn({
            let socket = socket.clone();
            move || matches!(socket.recv(), Err(RecvError::Abnormal(_)))
        });
        let sender = spawn({
            let socket = socket.clone();
            move || matches!(socket.send(large(0)), Err(SendError::Abnormal(_)))
        });
        yield_now();
        socket.abort();
        assert!(receiver.get().unwrap() && sender.get().unwrap());
        read_to_any_end(&raw.stream);
    });
}

// --- time limits -------------------------------------------------------------------------------------------------

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    run(|| {
        let settings = settings().keep_alive(Duration::from_millis(20), Duration::from_millis(50));
        let (socket, raw) = ours(Role::Server, &settings);
        let receiver = spawn(move || {
            let error = socket.recv().unwrap_err();
            (matches!(error, RecvError::Silent(_)), error.code())
        });
        raw.expect(FIN | PING, b"");
        raw.expect_end();
        assert_eq!(receiver.get().unwrap(), (true, Some(CloseCode::Abnormal)));
    });
}

#[test]
fn a_peer_that_answers_pings_is_kept() {
    run(|| {
        let settings = settings().keep_alive(Duration::from_millis(5), FOREVER);
        let (socket, raw) = ours(Role::Server, &settings);
        let receiver = spawn(move || socket.recv().unwrap());
        for _ in 0..10 {
            raw.expect(FIN | PING, b"");
            raw.send(FIN | PONG, b"");
        }
        raw.send(FIN | TEXT, b"alive");
        assert_eq!(receiver.get().unwrap(), Some("alive".into()));
    });
}

#[test]
fn a_peer_that_accepts_nothing_is_given_up() {
    run(|| {
        let settings = settings().write_timeout(Duration::from_millis(50));
        let (socket, raw) = ours(Role::Server, &settings);
        let Err(SendError::Abnormal(error)) = socket.send(large(1)) else { panic!("an error") };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(matches!(socket.recv(), Err(RecvError::Abnormal(_))));
        read_to_any_end(&raw.stream);
    });
}

#[test]
fn who_sends_faster_than_the_peer_reads_is_held_up() {
    run(|| {
        let (socket, raw) = ours(Role::Server, &settings());
        let (sent, enough) = (Rc::new(std::cell::Cell::new(0)), Arc::new(Event::new()));
        let sender = spawn({
            let (sent, enough) = (sent.clone(), enough.clone());
            move || {
                while !enough.is_set() {
                    socket.send(vec![0; 1 << 17]).unwrap();
                    sent.set(sent.get() + 1);
                }
            }
        });
        // Nothing moves any more when two looks at it are the same.
        let mut before = usize::MAX;
        while sent.get() != before {
            before = sent.get();
            sleep(Duration::from_millis(50));
        }
        assert!(before < 64, "{before} messages of 128 KiB are somewhere");
        enough.set();
        for _ in 0..=before {
            raw.next().unwrap();
        }
        sender.get().unwrap();
    });
}
