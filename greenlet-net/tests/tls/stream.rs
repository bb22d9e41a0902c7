//! Bytes through a session: all of them, in order, whoever waits.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::Stream;
use greenlet_net::tls::{Truncation, Versions};

use crate::certified::{acceptor, connector, sessions, sessions_with};
use crate::pair::{FOREVER, kind};

#[test]
fn what_is_written_is_read_in_both_versions() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        run(|| {
            let (mut client, mut server) = sessions_with(connector().versions(versions), acceptor());
            client.write_all(b"question").unwrap();
            let mut buffer = [0; 8];
            server.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"question");
            server.write_all(b"answer").unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "answer");
            // The other direction is open still.
            client.write_all(b"thanks").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut thanks = String::new();
            server.read_to_string(&mut thanks).unwrap();
            assert_eq!(thanks, "thanks");
        });
    }
}

/// Different for every position.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

#[test]
fn both_directions_at_once_lose_nothing_and_do_not_wait_for_each_other() {
    // More than all buffers on the way, so that each writer waits for its reader many times.
    let size = if cfg!(debug_assertions) { 12 << 20 } else { 100 << 20 };
    for versions in [Versions::Tls12, Versions::Tls13] {
        run(|| {
            let (client, server) = sessions_with(connector().versions(versions), acceptor());
            let sent = std::rc::Rc::new(pattern(size));
            let mut greenlets = Vec::new();
            for stream in [client, server] {
                let (mut reader, mut writer) = stream.into_split();
                let (to_send, expected) = (sent.clone(), sent.clone());
                greenlets.push(spawn(move || writer.write_all(&to_send).unwrap()));
                greenlets.push(spawn(move || {
                    let mut received = Vec::new();
                    reader.read_to_end(&mut received).unwrap();
                    assert!(received == *expected, "{} of {} bytes", received.len(), expected.len());
                }));
            }
            for greenlet in greenlets {
                greenlet.get().unwrap();
            }
        });
    }
}

#[test]
fn reads_and_writes_of_every_size_fit_together() {
    run(|| {
        let (mut client, server) = sessions();
        let sizes = [1, 2, 3, 100, 1023, 1024, 1025, 16_383, 16_384, 16_385, 40_000, 100_000];
        let sent = pattern(sizes.iter().sum());
        let expected = sent.clone();
        let reader = spawn(move || {
            let (mut received, mut wanted) = (Vec::new(), 1);
            loop {
                let mut buffer = vec![0; wanted];
                match (&server).read(&mut buffer).unwrap() {
                    0 => break,
                    n => received.extend_from_slice(&buffer[..n]),
                }
                wanted = wanted * 7 % 20_011 + 1;
            }
            assert!(received == expected);
        });
        let mut rest = &sent[..];
        for size in sizes {
            let (now, later) = rest.split_at(size);
            client.write_all(now).unwrap();
            rest = later;
        }
        client.shutdown(Shutdown::Write).unwrap();
        reader.get().unwrap();
    });
}

#[test]
fn slices_are_taken_in_order_and_small_ones_share_a_record() {
    run(|| {
        let (mut client, mut server) = sessions();
        let (a, b, c) = (pattern(10), pattern(20_000), pattern(70_000));
        let slices = [&a[..], &[], &b, &c].map(IoSlice::new);
        let written = client.write_vectored(&slices).unwrap();
        assert_eq!(written, 64 * 1024, "the write buffer");
        let all = [a, b, c].concat();
        let mut received = vec![0; written];
        server.read_exact(&mut received).unwrap();
        assert!(received == all[..written]);
        // One record of a header and a body: one read of the other side.
        assert_eq!(client.write_vectored(&[IoSlice::new(b"header "), IoSlice::new(b"body")]).unwrap(), 11);
        let mut buffer = [0; 64];
        let n = server.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"header body");
    });
}

#[test]
fn nothing_is_read_and_written_at_once() {
    run(|| {
        let (mut client, _server) = sessions();
        assert_eq!(client.read(&mut []).unwrap(), 0);
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
        client.flush().unwrap();
    });
}

#[test]
fn a_read_times_out_and_loses_nothing() {
    run(|| {
        let (mut client, mut server) = sessions();
        client.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_eq!(kind(client.read(&mut [0; 8])), ErrorKind::TimedOut);
        assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_millis(5)));
        client.set_read_timeout(None).unwrap();
        server.write_all(b"late").unwrap();
        let mut buffer = [0; 4];
        client.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"late");
        assert_eq!(kind(client.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_write_all_times_out_as_a_whole_and_what_it_sent_is_a_beginning() {
    run(|| {
        let (mut client, mut server) = sessions();
        fill_session(&client);
        client.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(kind(client.write_all(&vec![8; 4 << 20])), ErrorKind::TimedOut);
        assert!(begun.elapsed() < FOREVER);
        client.set_write_timeout(None).unwrap();
        // The session goes on where it was.
        let reader = spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all
        });
        client.write_all(b"end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let all = reader.into_value().unwrap();
        let (sevens, rest) = all.split_at(all.iter().position(|&byte| byte != 7).unwrap());
        assert!(!sevens.is_empty());
        let (eights, end) = rest.split_at(rest.len() - 3);
        assert!(eights.iter().all(|&byte| byte == 8) && eights.len() < 4 << 20);
        assert_eq!(end, b"end");
    });
}

#[test]
fn a_limit_for_several_calls_counts_what_was_taken_and_does_not_stay() {
    run(|| {
        let (client, mut server) = sessions();
        fill_session(&client);
        let (kind, sent) = {
            let mut limited = client.within(Duration::from_millis(20));
            (kind(limited.write_all(&vec![8; 4 << 20])), limited.sent())
        };
        assert_eq!(kind, ErrorKind::TimedOut);
        let mut limited = client.within(Duration::from_millis(5));
        assert_eq!(crate::pair::kind(limited.read(&mut [0; 8])), ErrorKind::TimedOut);
        let reader = spawn(move || {
            greenlet_core::sleep(Duration::from_millis(30));
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all.iter().filter(|&&byte| byte == 8).count()
        });
        // Without a limit again.
        (&client).write_all(b"end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.get().unwrap() as u64, sent);
    });
}

/// Writes sevens until nothing goes any more.
pub fn fill_session(stream: &greenlet_net::tls::TlsStream) -> usize {
    socket2::SockRef::from(stream.get_ref()).set_send_buffer_size(16 * 1024).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut filled = 0;
    loop {
        match stream.send(&[7; 16 * 1024]) {
            Ok(n) => filled += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                stream.set_write_timeout(None).unwrap();
                return filled;
            }
        }
    }
}

#[test]
fn close_wakes_who_waits_and_refuses_the_rest() {
    run(|| {
        let (client, mut server) = sessions();
        let (reading, writing) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        fill_session(&client);
        let reader = spawn(move || kind((&reading).read(&mut [0; 8])));
        let writer = spawn(move || kind((&writing).write_all(&[8; 1 << 20])));
        yield_now();
        client.close();
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(writer.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(kind((&client).read(&mut [0; 8])), ErrorKind::NotConnected);
        assert_eq!(kind((&client).write(b"x")), ErrorKind::NotConnected);
        assert_eq!(kind(client.shutdown(Shutdown::Write)), ErrorKind::NotConnected);
        // In the middle of what was written: that is no end.
        let mut all = Vec::new();
        assert_eq!(kind(server.read_to_end(&mut all)), ErrorKind::UnexpectedEof);
        assert!(all.iter().all(|&byte| byte == 7 || byte == 8));
    });
}

#[test]
fn a_second_reader_or_writer_gets_an_error_that_says_so() {
    run(|| {
        let (client, mut server) = sessions();
        let filled = fill_session(&client);
        let (reading, writing) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let reader = spawn(move || (&reading).read(&mut [0; 8]).unwrap());
        let writer = spawn(move || (&writing).write_all(&[8; 100_000]).unwrap());
        yield_now();
        let error = (&client).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "another greenlet is already waiting for reading here");
        let error = (&client).write(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "another greenlet is already waiting for writing here");
        let mut received = vec![0; filled + 100_000];
        server.read_exact(&mut received).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(reader.get().unwrap(), 1);
        writer.get().unwrap();
    });
}

#[test]
fn dropping_says_goodbye() {
    run(|| {
        let (client, mut server) = sessions();
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn what_a_client_that_never_reads_has_written_arrives_and_it_has_tickets_for_the_next_time() {
    use greenlet_net::tls::rustls::HandshakeKind;
    run(|| {
        let (connector, acceptor) = (connector().build().unwrap(), acceptor().build().unwrap());
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (client, server) = crate::certified::meet_by_name("localhost", &connector, &acceptor);
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            assert_eq!(client.handshake_kind(), Some(kind));
            let reader = spawn(move || {
                let mut all = Vec::new();
                server.read_to_end(&mut all).unwrap();
                all.len()
            });
            client.write_all(&pattern(2 << 20)).unwrap();
            drop(client);
            assert_eq!(reader.get().unwrap(), 2 << 20);
        }
    });
}

#[test]
fn an_end_without_goodbye_is_an_error_unless_set_otherwise() {
    run(|| {
        let (client, mut server) = sessions();
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        let error = server.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            "the connection ended without close_notify: what was received may be incomplete"
        );
        assert_eq!(kind(server.read(&mut [0; 8])), ErrorKind::UnexpectedEof, "and stays so");
        server.set_truncation(Truncation::IsTheEnd);
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);

        let (client, mut server) = sessions_with(connector(), acceptor().truncation(Truncation::IsTheEnd));
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn after_the_end_nothing_can_be_written_and_the_rest_can_be_read() {
    run(|| {
        let (mut client, mut server) = sessions();
        client.shutdown(Shutdown::Write).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(client.write(b"x")), ErrorKind::BrokenPipe);
        server.write_all(b"rest").unwrap();
        let mut buffer = [0; 4];
        client.read_exact(&mut buffer).unwrap();
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn who_writes_while_the_end_is_asked_for_sends_it() {
    run(|| {
        let (client, mut server) = sessions();
        let filled = fill_session(&client);
        let writing = client.try_clone().unwrap();
        let writer = spawn(move || (&writing).write(&[8; 1000]).unwrap());
        yield_now();
        client.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        let written = writer.get().unwrap_or(0);
        assert!(all.len() == filled || all.len() == filled + written, "{} {filled} {written}", all.len());
    });
}

#[test]
fn keys_change_from_either_side_under_load() {
    run(|| {
        let (client, server) = sessions();
        let (client_reads, server_reads) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let read_all = |stream: greenlet_net::tls::TlsStream| {
            spawn(move || {
                let mut all = Vec::new();
                (&stream).read_to_end(&mut all).unwrap();
                all
            })
        };
        let readers = [read_all(client_reads), read_all(server_reads)];
        for round in 0..50u8 {
            (&client).write_all(&[round; 1000]).unwrap();
            (&server).write_all(&[round; 1000]).unwrap();
            match round % 3 {
                0 => client.update_keys().unwrap(),
                1 => server.update_keys().unwrap(),
                _ => {
                    client.update_keys().unwrap();
                    server.update_keys().unwrap();
                }
            }
            yield_now();
        }
        client.shutdown(Shutdown::Write).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        for reader in readers {
            let all = reader.into_value().unwrap();
            assert_eq!(all.len(), 50_000);
            assert!(
                all.chunks(1000).enumerate().all(|(round, chunk)| chunk.iter().all(|&b| b == round as u8))
            );
        }

        let (client, _server) = sessions_with(connector().versions(Versions::Tls12), acceptor());
        assert_eq!(kind(client.update_keys()), ErrorKind::Unsupported);
    });
}

#[test]
fn halves_come_together_again_and_the_writing_one_ends_what_is_sent() {
    run(|| {
        let (client, mut server) = sessions();
        let (reader, writer) = client.into_split();
        let client = reader.reunite(writer).unwrap();
        let (other, _server) = sessions();
        let (reader, writer) = client.into_split();
        let (other_reader, _other_writer) = other.into_split();
        let error = other_reader.reunite(writer).unwrap_err();
        assert_eq!(error.to_string(), "the read half and the write half belong to different sessions");
        drop(error.1);
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
        assert!(reader.as_ref().alpn_protocol().is_none());
    });
}

#[test]
fn a_session_inside_a_session_works() {
    run(|| {
        let (client, server) = sessions();
        let acceptor = acceptor().build().unwrap();
        let inner = spawn(move || {
            let mut server = acceptor.accept(server).unwrap();
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut client = connector().build().unwrap().connect("localhost", client).unwrap();
        client.write_all(&pattern(1 << 20)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(inner.get().unwrap(), 1 << 20);
    });
}

#[test]
fn who_never_waits_lets_the_others_run() {
    run(|| {
        let (client, mut server) = sessions();
        let writer = spawn(move || while (&client).write_all(&[7; 100]).is_ok() {});
        let reader = spawn(move || while server.read(&mut [0; 1]).unwrap() > 0 {});
        let begun = std::time::Instant::now();
        for _ in 0..50 {
            yield_now();
        }
        assert!(begun.elapsed() < FOREVER);
        reader.kill();
        writer.kill();
    });
}

#[test]
fn threads_without_greenlets_use_it_too() {
    let (client, server) = run(sessions);
    let writer = std::thread::spawn(move || {
        (&client).write_all(&pattern(1 << 20)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        (&client).read_to_end(&mut answer).unwrap();
        answer
    });
    let mut all = Vec::new();
    (&server).read_to_end(&mut all).unwrap();
    assert!(all == pattern(1 << 20));
    (&server).write_all(b"got it").unwrap();
    drop(server);
    assert_eq!(writer.join().unwrap(), b"got it");
}
