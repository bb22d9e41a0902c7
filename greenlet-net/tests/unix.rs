//! Unix sockets: connections by path and by abstract name, pairs, and the files of sockets.

mod pair;

use std::fs;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use greenlet_core::{Hub, run, spawn, with_timeout, yield_now};
use greenlet_net::{Address, Stream, UnixDatagram, UnixListenOptions, UnixListener, UnixStream};
use pair::kind;

const SHORT: Duration = Duration::from_millis(20);

/// A folder of its own for a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("greenlet-unix-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes until nothing goes any more.
fn fill(mut stream: &UnixStream) -> usize {
    stream.set_write_timeout(Some(SHORT)).unwrap();
    let mut written = 0;
    loop {
        match stream.write(&[7; 16 * 1024]) {
            Ok(n) => written += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                stream.set_write_timeout(None).unwrap();
                return written;
            }
        }
    }
}

#[test]
fn a_server_on_a_path_answers_its_clients() {
    run(|| {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(folder.socket().as_path()));
        let server = spawn(move || {
            for stream in listener.incoming().take(2) {
                let stream = stream.unwrap();
                assert!(stream.local_addr().unwrap().as_pathname().is_some());
                std::io::copy(&mut &stream, &mut &stream).unwrap();
            }
        });
        for _ in 0..2 {
            let mut client = UnixStream::connect(folder.socket()).unwrap();
            assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(folder.socket().as_path()));
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "hello");
        }
        server.get().unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_needs_no_file_and_names_the_peers() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    run(|| {
        let name = format!("greenlet-abstract-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let client = UnixStream::connect_addr(&address).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert!(peer.is_unnamed());
        assert_eq!(server.local_address().unwrap().to_string(), format!("unix:@{name}"));
        assert_eq!(client.peer_address().unwrap().to_string(), format!("unix:@{name}"));
        assert!(matches!(server.peer_address().unwrap(), Address::Unix(address) if address.is_unnamed()));
        drop(listener);
        assert_eq!(kind(UnixStream::connect_addr(&address)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_pair_carries_both_directions_at_once() {
    run(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let content: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
        let ends = [one, other].map(|stream| {
            let (mut reader, mut writer) = stream.into_split();
            let sent = content.clone();
            let writing = spawn(move || writer.write_all(&sent).unwrap());
            let reading = spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                all
            });
            (writing, reading)
        });
        for (writing, reading) in ends {
            writing.get().unwrap();
            assert!(reading.get().unwrap() == content);
        }
    });
}

#[test]
fn halves_of_a_pair_are_joined_again_and_strangers_are_not() {
    run(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (reader, writer) = one.into_split();
        let (other_reader, other_writer) = other.into_split();
        let error = reader.reunite(other_writer).unwrap_err();
        let mut one = error.0.reunite(writer).unwrap();
        let mut other = other_reader.reunite(error.1).unwrap();
        one.write_all(b"still open").unwrap();
        other.read_exact(&mut [0; 10]).unwrap();
    });
}

#[test]
fn close_wakes_a_reader_and_a_writer() {
    run(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        fill(&ours);
        let (mut reading, mut writing) = (ours.try_clone().unwrap(), ours.try_clone().unwrap());
        let reader = spawn(move || kind(reading.read(&mut [0; 8])));
        let writer = spawn(move || kind(writing.write_all(&[0; 1 << 20])));
        yield_now();
        ours.close();
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(writer.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(kind((&ours).read(&mut [0; 8])), ErrorKind::NotConnected);
    });
}

#[test]
fn kill_in_read_and_write_closes_the_connection() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = spawn(move || (&ours).read(&mut [0; 8]).unwrap());
        yield_now();
        reader.kill();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let filled = fill(&ours);
        let writer = spawn(move || (&ours).write_all(&[8; 1 << 20]).unwrap());
        yield_now();
        writer.kill();
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert!(all.len() >= filled);
    });
}

#[test]
fn writing_to_what_is_gone_is_an_error_and_no_signal() {
    run(|| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(kind(ours.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!(kind(ours.write_vectored(&[IoSlice::new(b"x")])), ErrorKind::BrokenPipe);
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn more_buffers_than_the_system_takes_are_written_and_read_in_parts() {
    run(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let content: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
        let empty = [IoSlice::new(b"")];
        let bytes: Vec<_> = content.chunks(1).map(IoSlice::new).collect();
        // Empty ones at the front, more of them than go into one call.
        let mut buffers: Vec<IoSlice<'_>> = empty.iter().cycle().take(3000).copied().chain(bytes).collect();
        let mut rest = &mut buffers[..];
        while rest.iter().any(|buffer| !buffer.is_empty()) {
            let n = ours.write_vectored(rest).unwrap();
            assert!(n > 0);
            IoSlice::advance_slices(&mut rest, n);
        }
        ours.shutdown(Shutdown::Write).unwrap();

        let mut received = vec![[0u8; 1]; 5000];
        let mut nothing: Vec<[u8; 0]> = vec![[]; 3000];
        let mut done = 0;
        while done < received.len() {
            let empty = nothing.iter_mut().map(|buffer| IoSliceMut::new(buffer));
            let bytes = received[done..].iter_mut().map(|buffer| IoSliceMut::new(buffer));
            let mut buffers: Vec<_> = empty.chain(bytes).collect();
            let n = theirs.read_vectored(&mut buffers).unwrap();
            assert!(n > 0, "an end that is none");
            done += n;
        }
        assert!(received.concat() == content);
    });
}

#[test]
fn a_second_reader_is_refused() {
    run(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut clone = ours.try_clone().unwrap();
        let reader = spawn(move || drop(clone.read(&mut [0; 8])));
        yield_now();
        assert_eq!(kind((&ours).read(&mut [0; 8])), ErrorKind::ResourceBusy);
        reader.kill();
    });
}

#[test]
fn timeouts_and_peek_work_as_for_tcp() {
    run(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(kind(ours.peek(&mut [0; 8])), ErrorKind::TimedOut);
        assert_eq!(kind(ours.read(&mut [0; 8])), ErrorKind::TimedOut);
        theirs.write_all(b"later").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(ours.peek(&mut buffer).unwrap(), 5);
        assert_eq!(ours.read(&mut buffer).unwrap(), 5);
        assert!(with_timeout(SHORT, || ours.read(&mut buffer)).is_err());
    });
}

#[test]
fn a_pair_is_used_from_two_hubs_and_from_a_thread_without_one() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let hub = Hub::thread("other").start().unwrap();
        let reader = hub.handle().spawn(move || {
            let mut stream = ours;
            let mut buffer = [0; 3];
            stream.read_exact(&mut buffer).unwrap();
            (buffer, stream)
        });
        theirs.write_all(b"one").unwrap();
        let (buffer, mut ours) = reader.unwrap().into_value().unwrap();
        assert_eq!(&buffer, b"one");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 3];
            ours.read_exact(&mut buffer).unwrap();
            buffer
        });
        theirs.write_all(b"two").unwrap();
        assert_eq!(&thread.join().unwrap(), b"two");
        hub.join();
    });
}

#[test]
fn a_stream_and_a_listener_go_to_std_and_back() {
    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let clone = ours.try_clone().unwrap();
        assert_eq!(kind(ours.into_std()), ErrorKind::ResourceBusy);
        let mut ours = clone.into_std().unwrap();
        let writer = std::thread::spawn(move || (&theirs).write_all(b"x").unwrap());
        ours.read_exact(&mut [0]).unwrap(); // blocks, as it is std's
        writer.join().unwrap();
        UnixStream::from_std(ours).unwrap();

        let folder = Folder::new();
        let listener = UnixListenOptions::new().remove_on_drop(true).bind(folder.socket()).unwrap();
        let listener = UnixListener::from_std(listener.into_std().unwrap()).unwrap();
        UnixStream::connect(folder.socket()).unwrap();
        listener.accept().unwrap();
    });
}

#[test]
fn a_stale_file_is_replaced_and_nothing_else_is() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let replace = UnixListenOptions::new().replace_stale(true);

        let first = replace.bind(&path).unwrap();
        let error = replace.bind(&path).unwrap_err(); // it lives
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        first.accept().unwrap(); // how it was found out
        drop(first);
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        let second = replace.bind(&path).unwrap();
        drop(second);

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(kind(replace.bind(&path)), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    });
}

#[test]
fn a_file_that_is_to_be_removed_is_unless_it_is_anothers() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let remove = UnixListenOptions::new().remove_on_drop(true);
        let listener = remove.bind(&path).unwrap();
        let clone = listener.try_clone().unwrap();
        drop(listener);
        assert!(path.exists());
        drop(clone);
        assert!(!path.exists());

        let listener = remove.bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        drop(listener);
        assert!(path.exists());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_mode_of_the_file_is_set_from_the_beginning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let _listener = UnixListenOptions::new().mode(0o600).bind(folder.socket()).unwrap();
    assert_eq!(fs::metadata(folder.socket()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_path_is_refused() {
    let long = "x".repeat(200);
    for path in [long.as_str(), "with\0nul"] {
        assert_eq!(kind(UnixListener::bind(path)), ErrorKind::InvalidInput);
        assert_eq!(kind(UnixStream::connect(path)), ErrorKind::InvalidInput);
    }
    let error = UnixStream::connect("/no/such/socket").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("cannot connect to unix:/no/such/socket"), "{error}");
}

#[test]
fn connecting_to_a_full_backlog_waits_times_out_and_can_be_killed() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let listener = UnixListenOptions::new().backlog(0).bind(&path).unwrap();
        let _first = UnixStream::connect(&path).unwrap();

        let start = Instant::now();
        assert_eq!(kind(UnixStream::connect_timeout(&path, SHORT)), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert_eq!(kind(UnixStream::connect_timeout(&path, Duration::ZERO)), ErrorKind::InvalidInput);

        let killed = spawn({
            let path = path.clone();
            move || UnixStream::connect(path).unwrap()
        });
        let waiting = spawn(move || UnixStream::connect(path).unwrap());
        yield_now();
        killed.kill();
        assert!(killed.exited());
        listener.accept().unwrap();
        listener.accept().unwrap();
        waiting.into_value().unwrap();
    });
}

#[test]
fn close_wakes_an_accepter_and_a_limit_ends_its_wait() {
    run(|| {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).unwrap();
        assert_eq!(kind(listener.accept_timeout(SHORT)), ErrorKind::TimedOut);
        let clone = listener.try_clone().unwrap();
        let accepter = spawn(move || kind(clone.accept()));
        let clone = listener.try_clone().unwrap();
        yield_now();
        listener.close();
        assert_eq!(accepter.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(clone.incoming().count(), 0);
        assert_eq!(kind(UnixStream::connect(folder.socket())), ErrorKind::ConnectionRefused);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_peer_is_known() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(ours.peer_credentials().unwrap().pid, std::process::id());
}

/// The longest name that the system takes has no room for its NUL. What a peer may call itself must not harm who accepts it.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_with_the_longest_name_is_accepted_and_heard() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, sendto, socket};

    run(|| {
        let folder = Folder::new();
        let (streams, datagrams) = (folder.socket(), folder.0.join("datagrams"));
        let listener = UnixListener::bind(&streams).unwrap();
        let receiver = UnixDatagram::bind(&datagrams).unwrap();
        let begin = folder.0.join("x").into_os_string().into_string().unwrap();
        for length in [106, 107, 108] {
            let name = format!("{begin:x<length$}");
            let from = SocketAddrUnix::new(name.as_str()).unwrap();
            let known = |address: std::os::unix::net::SocketAddr| match address.as_pathname() {
                // std has no address of 108 bytes: it is cut, or counts as one without a name.
                Some(path) => assert_eq!(path.as_os_str().len(), length.min(107)),
                None => assert_eq!(length, 108),
            };
            let peer = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            bind(&peer, &from).unwrap();
            connect(&peer, &SocketAddrUnix::new(&streams).unwrap()).unwrap();
            let (stream, address) = listener.accept().unwrap();
            known(address);
            known(stream.peer_addr().unwrap());
            let _ = format!("{stream:?}");
            fs::remove_file(&name).unwrap();

            let peer = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
            bind(&peer, &from).unwrap();
            let to = SocketAddrUnix::new(&datagrams).unwrap();
            sendto(&peer, b"hello", rustix::net::SendFlags::empty(), &to).unwrap();
            known(receiver.recv_from(&mut [0; 8]).unwrap().1);
            fs::remove_file(&name).unwrap();
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_go_from_one_end_to_the_other() {
    use std::os::fd::AsFd;

    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let receiver = spawn(move || (theirs.recv_with_fds(&mut [0; 16]).unwrap(), theirs));
        yield_now();
        assert!(!receiver.ready());
        let (mut reader, writer) = greenlet_net::pipe().unwrap();
        let fds = [writer.as_fd(), reader.as_fd()];
        assert_eq!(ours.send_with_fds(b"two", &fds).unwrap(), 3);
        let (mut received, mut theirs) = receiver.into_value().unwrap();
        assert_eq!((received.length, received.fds.len(), received.fds_lost), (3, 2, false));
        drop(writer);
        let mut writer = greenlet_net::PipeWriter::from_fd(received.fds.remove(0)).unwrap();
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");

        // As many as go at once, none, and too many.
        let many = vec![reader.as_fd(); 253];
        ours.send_with_fds(b"x", &many).unwrap();
        assert_eq!(theirs.recv_with_fds(&mut [0; 16]).unwrap().fds.len(), 253);
        ours.send_with_fds(b"x", &[]).unwrap();
        assert!(theirs.recv_with_fds(&mut [0; 16]).unwrap().fds.is_empty());
        assert_eq!(kind(ours.send_with_fds(b"x", &vec![reader.as_fd(); 254])), ErrorKind::InvalidInput);
        assert_eq!(kind(ours.send_with_fds(b"", &[reader.as_fd()])), ErrorKind::InvalidInput);
        // Who just reads gets the bytes, and the descriptors are closed.
        let (mut end, writer) = greenlet_net::pipe().unwrap();
        ours.send_with_fds(b"lost", &[writer.as_fd()]).unwrap();
        drop(writer);
        assert_eq!(theirs.read(&mut [0; 16]).unwrap(), 4);
        assert_eq!(end.read(&mut [0; 16]).unwrap(), 0);
        drop(ours);
        assert_eq!(theirs.recv_with_fds(&mut [0; 16]).unwrap().length, 0);
    });
}
