//! From one descriptor to another: files into connections, and connections into each other.

mod pair;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::Shutdown;

use greenlet_core::{run, sleep, spawn, with_timeout, yield_now};
use greenlet_net::{Stream, TcpStream, UnixStream, copy_bidirectional};
use pair::{FOREVER, kind, pair, pair_with_std, reset};
use std::time::Duration;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// A file that has no name any more.
fn file(content: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("greenlet-copy-{}-{:p}", std::process::id(), content));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_sent_whole_or_in_part_to_a_reader_that_is_slow() {
    run(|| {
        let content = content(3_000_000);
        let mut file = file(&content);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        assert_eq!(ours.send_file(&file, 0, None).unwrap(), 3_000_000);
        assert_eq!(ours.send_file(&file, 100, Some(50)).unwrap(), 50);
        assert_eq!(ours.send_file(&file, 2_999_990, Some(50)).unwrap(), 10);
        assert_eq!(ours.send_file(&file, u64::MAX / 4, Some(u64::MAX)).unwrap(), 0);
        assert_eq!(ours.send_file(&file, 0, Some(0)).unwrap(), 0);
        drop(ours);
        let received = reader.get().unwrap();
        assert!(received[..3_000_000] == content);
        assert!(received[3_000_000..] == [&content[100..150], &content[2_999_990..]].concat());
        assert_eq!(file.stream_position().unwrap(), 0);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn sending_a_file_ends_with_a_kill_a_timeout_a_close_and_a_peer_that_goes() {
    run(|| {
        let file = file(&content(1 << 20));
        let (ours, mut theirs) = pair();
        pair::fill(&ours);
        ours.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(kind(ours.send_file(&file, 0, None)), ErrorKind::TimedOut);
        ours.set_write_timeout(None).unwrap();
        let (sending, source) = (ours.try_clone().unwrap(), file.try_clone().unwrap());
        let killed = spawn(move || sending.send_file(&source, 0, None).unwrap());
        yield_now();
        killed.kill();
        assert!(killed.exited());
        let (sending, source) = (ours.try_clone().unwrap(), file.try_clone().unwrap());
        let closed = spawn(move || kind(sending.send_file(&source, 0, None)));
        yield_now();
        ours.close();
        assert_eq!(closed.get().unwrap(), ErrorKind::NotConnected);
        theirs.read_to_end(&mut Vec::new()).unwrap();

        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(kind(ours.send_file(&file, 0, None)), ErrorKind::BrokenPipe);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_is_spliced_into_another_to_its_end() {
    run(|| {
        let (mut sender, from) = pair();
        let (to, mut receiver) = UnixStream::pair().unwrap();
        let all = content(3_000_000);
        let sent = all.clone();
        let sending = spawn(move || sender.write_all(&sent).unwrap()); // dropped then: the end
        let splicing = spawn(move || {
            let n = to.splice_from(&from).unwrap();
            (&to).write_all(b"bye").unwrap(); // it is still open
            n
        });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        sending.get().unwrap();
        assert_eq!(splicing.get().unwrap(), 3_000_000);
        assert!(received[..3_000_000] == all && &received[3_000_000..] == b"bye");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn splicing_ends_with_a_kill_a_close_and_a_receiver_that_goes() {
    run(|| {
        let (mut sender, from) = pair();
        let (to, receiver) = UnixStream::pair().unwrap();
        let (a, b) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let killed = spawn(move || b.splice_from(&a).unwrap());
        yield_now();
        killed.kill();
        assert!(killed.exited());
        // Nothing was lost, as nothing was in between.
        sender.write_all(b"x").unwrap();
        let (a, b) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let closed = spawn(move || kind(b.splice_from(&a)));
        (&receiver).read_exact(&mut [0]).unwrap();
        from.close();
        assert_eq!(closed.get().unwrap(), ErrorKind::NotConnected);

        let (mut sender, from) = pair();
        drop(receiver);
        sender.write_all(b"x").unwrap();
        assert_eq!(kind(to.splice_from(&from)), ErrorKind::BrokenPipe);
    });
}

/// `client <-> front, back <-> server`, and a greenlet that joins the two in the middle.
struct Middle {
    client: TcpStream,
    server: UnixStream,
    forwarder: greenlet_core::Greenlet<Result<(u64, u64), ErrorKind>>,
}

fn middle() -> Middle {
    let (client, front) = pair();
    let (back, server) = UnixStream::pair().unwrap();
    let forwarder = spawn(move || copy_bidirectional(&front, &back).map_err(|error| error.kind()));
    Middle { client, server, forwarder }
}

#[test]
fn large_amounts_go_both_ways_at_once() {
    run(|| {
        let Middle { client, server, forwarder } = middle();
        let (there, back) = (content(3_000_000), content(1_000_001));
        let (mut client_reader, mut client_writer) = client.into_split();
        let (mut server_reader, mut server_writer) = server.into_split();
        let sent = [there.clone(), back.clone()];
        let [to_server, to_client] = sent;
        spawn(move || client_writer.write_all(&to_server).unwrap());
        spawn(move || server_writer.write_all(&to_client).unwrap());
        let at_server = spawn(move || {
            let mut all = Vec::new();
            server_reader.read_to_end(&mut all).unwrap();
            all
        });
        let mut at_client = Vec::new();
        client_reader.read_to_end(&mut at_client).unwrap();
        assert!(at_client == back);
        assert!(at_server.get().unwrap() == there);
        assert_eq!(forwarder.get().unwrap(), Ok((3_000_000, 1_000_001)));
    });
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    run(|| {
        let Middle { mut client, mut server, forwarder } = middle();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        for _ in 0..3 {
            server.write_all(b"answer").unwrap();
            client.read_exact(&mut [0; 6]).unwrap();
        }
        assert!(!forwarder.ready());
        drop(server);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(forwarder.get().unwrap(), Ok((8, 18)));
    });
}

#[test]
fn a_reset_ends_it_and_the_other_side_gets_to_know() {
    run(|| {
        let (front, client) = pair_with_std();
        let (back, mut server) = UnixStream::pair().unwrap();
        let forwarder = spawn(move || copy_bidirectional(&front, &back).map_err(|error| error.kind()));
        yield_now();
        reset(client);
        assert_eq!(forwarder.get().unwrap(), Err(ErrorKind::ConnectionReset));
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0); // its stream was dropped with the greenlet
    });
}

#[test]
fn a_peer_that_reads_nothing_holds_back_the_other_and_costs_no_memory() {
    run(|| {
        let Middle { client, server, forwarder } = middle();
        client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        // All that fits into the buffers of the system, and 16 KiB; then no more.
        let mut written = 0;
        let error = loop {
            match (&client).write(&[0; 64 * 1024]) {
                Ok(n) => written += n,
                Err(error) => break error,
            }
            assert!(written < 64 << 20, "it takes everything");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(client);
        let mut all = Vec::new();
        (&server).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written);
        drop(server);
        forwarder.join();
    });
}

#[test]
fn a_kill_and_a_timeout_end_it() {
    run(|| {
        let Middle { mut client, mut server, forwarder } = middle();
        yield_now();
        forwarder.kill();
        assert!(forwarder.exited());
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
        let (one, _peer) = pair();
        let (other, _other_peer) = pair();
        let idle = with_timeout(Duration::from_millis(10), || copy_bidirectional(&one, &other));
        assert!(idle.is_err());
        // Both are still of use.
        (&one).write_all(b"x").unwrap();
    });
}

#[test]
fn others_run_while_there_is_always_something_to_copy() {
    run(|| {
        let Middle { client, server, forwarder } = middle();
        let (mut reader, mut writer) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        spawn(move || while writer.write(&[1; 4096]).is_ok() {});
        spawn(move || while reader.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        for _ in 0..20 {
            sleep(Duration::from_millis(1)); // gets its turn
        }
        client.close();
        server.close();
        let ended = with_timeout(FOREVER, || forwarder.join());
        assert!(ended.is_ok());
    });
}

#[test]
fn streams_of_any_kind_and_threads_without_greenlets_are_served() {
    let (mut client, front) = pair();
    let (back, mut server) = pair();
    let forwarder = std::thread::spawn(move || {
        let (front, back): (Box<dyn Stream>, Box<dyn Stream>) = (Box::new(front), Box::new(back));
        copy_bidirectional(&*front, &*back).unwrap()
    });
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    drop(server);
    assert_eq!((text.as_str(), forwarder.join().unwrap()), ("hello", (5, 0)));
}
