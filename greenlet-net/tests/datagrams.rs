//! UDP and Unix datagrams: one at a time, whole, and none lost by a kill.

mod pair;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_core::{Hub, future::block_on, run, spawn, with_timeout, yield_now};
use greenlet_net::{AddressError, UdpOptions, UdpSocket, UnixDatagram};
use pair::kind;

const SHORT: Duration = Duration::from_millis(20);

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

/// Sends until the receiver takes no more.
fn fill(socket: &UnixDatagram) -> usize {
    socket.set_write_timeout(Some(SHORT)).unwrap();
    let mut sent = 0;
    while socket.send(b"full").is_ok() {
        sent += 1;
    }
    socket.set_write_timeout(None).unwrap();
    sent
}

#[test]
fn a_receiver_waits_and_answers_the_sender() {
    run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        let echo = spawn(move || {
            let mut buffer = [0; 64];
            let (n, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..n], from).unwrap();
            from
        });
        yield_now();
        assert!(!echo.ready());
        let client = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        assert_eq!(client.send_to(b"hello", ("localhost", server.port())).unwrap(), 5);
        let mut buffer = [0; 64];
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (5, server));
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(echo.get().unwrap(), client.local_addr().unwrap());
    });
}

#[test]
fn what_does_not_fit_is_reported() {
    run(|| {
        let (ours, theirs) = udp_pair();
        for _ in 0..2 {
            theirs.send(b"twelve bytes").unwrap();
        }
        let peeked = ours.peek_message(&mut []).unwrap();
        assert_eq!((peeked.length, peeked.full_length, peeked.is_truncated()), (0, 12, true));
        let mut small = [0; 6];
        assert_eq!(ours.peek_from(&mut small).unwrap(), (6, theirs.local_addr().unwrap()));
        let received = ours.recv_message(&mut small).unwrap();
        assert_eq!((received.length, received.full_length, received.is_truncated()), (6, 12, true));
        assert_eq!(received.from, theirs.local_addr().unwrap());
        let received = ours.recv_message(&mut [0; 12]).unwrap();
        assert_eq!((received.length, received.is_truncated()), (12, false));
    });
}

#[test]
fn an_empty_datagram_is_one_and_does_not_hang() {
    run(|| {
        let (ours, theirs) = udp_pair();
        assert_eq!(theirs.send(b"").unwrap(), 0);
        theirs.send(b"next").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 0);
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 4);
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn the_largest_datagram_arrives_and_a_larger_one_is_an_error() {
    run(|| {
        let (ours, theirs) = udp_pair();
        assert_eq!(theirs.send(&[5; 65_507]).unwrap(), 65_507);
        assert_eq!(ours.recv(&mut vec![0; 70_000]).unwrap(), 65_507);
        assert_eq!(theirs.send(&[5; 65_508]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    });
}

#[test]
fn a_connected_socket_hears_of_refusals_and_of_nobody_else() {
    run(|| {
        let (ours, theirs) = udp_pair();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"stranger", ours.local_addr().unwrap()).unwrap();
        theirs.send(b"friend").unwrap();
        assert_eq!(ours.recv(&mut [0; 16]).unwrap(), 6);
        assert_eq!(ours.peer_addr().unwrap(), theirs.local_addr().unwrap());
        drop(theirs);
        ours.send(b"anybody?").unwrap();
        assert_eq!(kind(ours.recv(&mut [0; 16])), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn timeouts_kills_and_close_end_the_wait_and_lose_nothing() {
    run(|| {
        let (ours, theirs) = udp_pair();
        ours.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(ours.recv(&mut [0; 8])), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        ours.set_read_timeout(None).unwrap();
        assert!(with_timeout(SHORT, || ours.recv_from(&mut [0; 8])).is_err());
        let clone = ours.try_clone().unwrap();
        let killed = spawn(move || clone.recv(&mut [0; 8]).unwrap());
        yield_now();
        assert_eq!(kind(ours.recv(&mut [0; 8])), ErrorKind::ResourceBusy);
        killed.kill();
        theirs.send(b"later").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 5);

        let clone = ours.try_clone().unwrap();
        let closed = spawn(move || kind(clone.recv(&mut [0; 8])));
        yield_now();
        ours.close();
        assert_eq!(closed.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(kind(ours.recv(&mut [0; 8])), ErrorKind::NotConnected);
        assert_eq!(kind(ours.send(b"x")), ErrorKind::NotConnected);
    });
}

#[test]
fn close_wakes_a_receiver_that_is_not_connected_and_one_of_another_hub() {
    run(|| {
        let hub = Hub::thread("waits").start().unwrap();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let receiver = hub.handle().spawn({
            let socket = socket.clone();
            move || kind(socket.recv_from(&mut [0; 8]))
        });
        hub.handle().spawn(|| ()).unwrap().join(); // it waits now
        socket.close();
        assert_eq!(receiver.unwrap().get().unwrap(), ErrorKind::NotConnected);
        hub.join();
    });
}

#[test]
fn options_keep_what_was_set() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for on in [true, false] {
        socket.set_broadcast(on).unwrap();
        assert_eq!(socket.broadcast().unwrap(), on);
        socket.set_multicast_loop_v4(on).unwrap();
        assert_eq!(socket.multicast_loop_v4().unwrap(), on);
    }
    socket.set_ttl(33).unwrap();
    assert_eq!(socket.ttl().unwrap(), 33);
    socket.set_multicast_ttl_v4(3).unwrap();
    assert_eq!(socket.multicast_ttl_v4().unwrap(), 3);
    assert!(socket.take_error().unwrap().is_none());
    assert_eq!(kind(socket.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
    assert!(format!("{socket:?}").starts_with("UdpSocket { addr: 127.0.0.1:"));
    let error = UdpSocket::bind(socket.local_addr().unwrap()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<AddressError>());
    assert!(error.to_string().starts_with("cannot bind to 127.0.0.1:"), "{error}");
    assert_eq!(kind(socket.send_to(b"x", &[][..])), ErrorKind::InvalidInput);
}

#[test]
fn a_group_gets_what_is_sent_to_it() {
    run(|| {
        let group = Ipv4Addr::new(239, 255, 77, 1);
        let member = UdpOptions::new().reuse_address(true).bind("0.0.0.0:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        socket2::SockRef::from(&sender.as_fd()).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let to = SocketAddr::from((group, member.local_addr().unwrap().port()));
        sender.send_to(b"all", to).unwrap();
        member.set_read_timeout(Some(pair::FOREVER)).unwrap();
        assert_eq!(member.recv(&mut [0; 8]).unwrap(), 3);
        member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
    });
}

#[test]
fn futures_send_and_receive() {
    run(|| {
        let (ours, theirs) = udp_pair();
        let to = ours.local_addr().unwrap();
        let sender = spawn(move || {
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            drop(stranger);
            block_on(std::future::poll_fn(|context| theirs.poll_send_to(context, b"task", to))).unwrap()
        });
        let mut buffer = [0; 8];
        let received = block_on(std::future::poll_fn(|context| ours.poll_recv_from(context, &mut buffer)));
        assert_eq!(received.unwrap().0, 4);
        assert_eq!(sender.get().unwrap(), 4);
    });
}

#[test]
fn a_socket_goes_to_std_and_back_and_to_threads() {
    run(|| {
        let (ours, theirs) = udp_pair();
        let ours = UdpSocket::from_std(ours.into_std().unwrap()).unwrap();
        let thread = std::thread::spawn(move || ours.recv(&mut [0; 8]).unwrap());
        theirs.send(b"x").unwrap();
        assert_eq!(thread.join().unwrap(), 1);
    });
}

#[test]
fn a_sender_waits_for_a_receiver_that_is_full() {
    run(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let filled = fill(&ours);
        let waiting = spawn(move || ours.send(b"last").unwrap());
        yield_now();
        assert!(!waiting.ready());
        let mut received = 0;
        let mut buffer = [0; 8];
        while &buffer[..4] != b"last" {
            theirs.recv(&mut buffer).unwrap();
            received += 1;
        }
        assert_eq!(received, filled + 1);
        waiting.get().unwrap();
    });
}

#[test]
fn a_sender_that_is_not_connected_waits_too_and_can_be_killed() {
    run(|| {
        let folder = std::env::temp_dir().join(format!("greenlet-datagram-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_write_timeout(Some(SHORT)).unwrap();
        let mut sent = 0;
        let error = loop {
            match sender.send_to(b"x", &path) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        sender.set_write_timeout(None).unwrap();
        let (killed, waiting) = (sender.try_clone().unwrap(), sender.try_clone().unwrap());
        let killed = spawn({
            let path = path.clone();
            move || killed.send_to(b"killed", path).unwrap()
        });
        let waiting = spawn({
            let path = path.clone();
            move || waiting.send_to(b"last", path).unwrap()
        });
        yield_now();
        killed.kill();
        let mut buffer = [0; 8];
        for _ in 0..sent {
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 1);
        }
        let (n, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"last");
        assert!(from.is_unnamed());
        waiting.get().unwrap();
        drop(receiver);
        assert_eq!(kind(sender.send_to(b"x", &path)), ErrorKind::ConnectionRefused);
        std::fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn shutdown_wakes_who_waits() {
    run(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let clone = ours.try_clone().unwrap();
        let receiver = spawn(move || clone.recv(&mut [0; 8]).unwrap());
        yield_now();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(receiver.get().unwrap(), 0);
        assert_eq!(kind(theirs.send(b"x")), ErrorKind::BrokenPipe);
    });
}
