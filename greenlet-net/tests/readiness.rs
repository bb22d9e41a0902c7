//! Any descriptor, and several at once: `wait_read` and its kin, `select`, `Poll`.
#![cfg(target_os = "linux")]

mod pair;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use greenlet_core::{Hub, run, spawn, with_timeout, yield_now};
use greenlet_net::{
    Poll, PollError, PollEvents, TcpListener, TcpStream, UdpSocket, UnixStream, select, wait_read,
    wait_readwrite, wait_write,
};
use pair::{FOREVER, kind, pair};

const SHORT: Duration = Duration::from_millis(20);

/// A descriptor in blocking mode, of another library so to say.
fn blocking_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().unwrap()
}

/// A number that no descriptor has.
fn bad() -> BorrowedFd<'static> {
    // SAFETY: not kept, and the point of the tests. No descriptor is opened with this number.
    unsafe { BorrowedFd::borrow_raw(1_000_000) }
}

#[test]
fn wait_read_and_write_on_a_descriptor_of_somebody_else() {
    run(|| {
        let (mut reader, mut writer) = blocking_pipe();
        let start = Instant::now();
        assert_eq!(kind(wait_read(&reader, Some(SHORT))), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        wait_write(&writer, None).unwrap();
        let waiter = spawn(move || {
            wait_read(&reader, None).unwrap();
            let mut buffer = [0; 8];
            reader.read(&mut buffer).unwrap()
        });
        yield_now();
        assert!(!waiter.ready());
        writer.write_all(b"hello").unwrap();
        assert_eq!(waiter.get().unwrap(), 5);
        // Nobody reads any more: writing fails, which is not blocking.
        wait_write(&writer, Some(FOREVER)).unwrap();
    });
}

#[test]
fn wait_write_waits_for_room() {
    run(|| {
        let (mut reader, writer) = greenlet_net::pipe().unwrap();
        writer.set_timeout(Some(Duration::from_millis(1))).unwrap();
        while (&writer).write(&[0; 4096]).is_ok() {}
        assert_eq!(kind(wait_write(&writer, Some(SHORT))), ErrorKind::TimedOut);
        let waiter = spawn(move || wait_write(&writer, None));
        yield_now();
        assert!(!waiter.ready());
        reader.read_exact(&mut [0; 8192]).unwrap();
        waiter.into_value().unwrap().unwrap();
    });
}

#[test]
fn wait_readwrite_tells_which() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ready = wait_readwrite(&ours, None).unwrap();
        assert_eq!((ready.readable, ready.writable), (false, true));
        theirs.write_all(b"x").unwrap();
        let ready = wait_readwrite(&ours, None).unwrap();
        assert_eq!((ready.readable, ready.writable), (true, true));
        let (reader, _writer) = blocking_pipe();
        assert_eq!(kind(wait_readwrite(&reader, Some(SHORT))), ErrorKind::TimedOut);
    });
}

#[test]
fn several_wait_for_one_descriptor_beside_a_reader_of_the_socket() {
    run(|| {
        let (ours, mut theirs) = pair();
        let stream = ours.try_clone().unwrap();
        let reader = spawn(move || (&stream).read(&mut [0; 8]).unwrap());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let stream = ours.try_clone().unwrap();
                spawn(move || wait_read(&stream, None).is_ok())
            })
            .collect();
        yield_now();
        assert!(!reader.ready() && waiters.iter().all(|waiter| !waiter.ready()));
        theirs.write_all(b"x").unwrap();
        assert_eq!(reader.get().unwrap(), 1);
        theirs.write_all(b"y").unwrap();
        assert!(waiters.iter().all(|waiter| waiter.get().unwrap()));
    });
}

#[test]
fn kills_and_timeouts_end_the_wait_and_a_thread_without_greenlets_waits_too() {
    run(|| {
        let (reader, mut writer) = blocking_pipe();
        assert!(with_timeout(SHORT, || wait_read(&reader, None)).is_err());
        let clone = reader.try_clone().unwrap();
        let killed = spawn(move || wait_read(clone, None).unwrap());
        yield_now();
        killed.kill();
        assert!(killed.exited());
        let clone = reader.try_clone().unwrap();
        let thread = std::thread::spawn(move || wait_read(clone, None).unwrap());
        writer.write_all(b"x").unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn closing_a_socket_ends_the_waits_for_it() {
    run(|| {
        let (ours, _theirs) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (a, b, c) = (ours.try_clone().unwrap(), listener.try_clone().unwrap(), udp.try_clone().unwrap());
        let single = spawn(move || wait_read(&a, Some(FOREVER)).is_ok());
        let listening = spawn(move || wait_read(&b, Some(FOREVER)).is_ok());
        let selecting = spawn(move || select(&[&c], &[], &[], Some(FOREVER)).unwrap().read);
        yield_now();
        ours.close();
        listener.close();
        udp.close();
        assert!(single.get().unwrap());
        assert!(listening.get().unwrap());
        assert_eq!(selecting.get().unwrap(), [0]);
    });
}

#[test]
fn select_reports_all_that_are_ready_together() {
    run(|| {
        let (first, mut first_writer) = UnixStream::pair().unwrap();
        let (second, mut second_writer) = UnixStream::pair().unwrap();
        let (third, _third_writer) = UnixStream::pair().unwrap();
        let selecting = spawn({
            let streams = [&first, &second, &third].map(|stream| stream.try_clone().unwrap());
            move || {
                let [first, second, third] = &streams;
                select(&[first, second, third], &[], &[], None).unwrap()
            }
        });
        yield_now();
        assert!(!selecting.ready());
        first_writer.write_all(b"x").unwrap();
        second_writer.write_all(b"x").unwrap();
        assert_eq!(selecting.get().unwrap().read, [0, 1]);
        // One in several lists, and a file, which is always ready.
        let file = File::open("/proc/self/exe").unwrap();
        let ready = select(&[&first, &third, &file], &[&first, &file], &[&first], None).unwrap();
        assert_eq!((ready.read, ready.write, ready.except), (vec![0, 2], vec![0, 1], vec![]));
    });
}

#[test]
fn select_times_out_with_nothing_and_always_lets_others_run() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        assert!(select(&[&ours], &[], &[&ours], Some(SHORT)).unwrap().is_empty());
        assert!(start.elapsed() >= SHORT);
        assert!(select(&[], &[], &[], Some(SHORT)).unwrap().is_empty());
        theirs.write_all(b"x").unwrap();
        let other = spawn(|| ());
        assert_eq!(select(&[&ours], &[], &[], None).unwrap().read, [0]);
        assert!(other.ready());
        let other = spawn(|| ());
        assert!(select(&[&theirs], &[], &[], Some(Duration::ZERO)).unwrap().is_empty());
        assert!(other.ready());
    });
}

#[test]
fn select_reports_urgent_data_ends_and_errors() {
    run(|| {
        let (ours, theirs) = pair();
        socket2::SockRef::from(&theirs).send_out_of_band(b"!").unwrap();
        assert_eq!(select(&[], &[], &[&ours], Some(FOREVER)).unwrap().except, [0]);
        let (reader, writer) = blocking_pipe();
        drop(writer);
        assert_eq!(select(&[&reader], &[], &[], Some(FOREVER)).unwrap().read, [0]);
        let (reader, writer) = blocking_pipe();
        drop(reader);
        assert_eq!(select(&[], &[&writer], &[], Some(FOREVER)).unwrap().write, [0]);
    });
}

#[test]
fn a_bad_descriptor_is_an_error_everywhere() {
    run(|| {
        let (ours, _theirs) = pair();
        let ebadf = Some(libc::EBADF);
        assert_eq!(wait_read(bad(), Some(SHORT)).unwrap_err().raw_os_error(), ebadf);
        assert_eq!(wait_write(bad(), None).unwrap_err().raw_os_error(), ebadf);
        assert_eq!(wait_readwrite(bad(), None).unwrap_err().raw_os_error(), ebadf);
        assert_eq!(select(&[&ours, &bad()], &[], &[], None).unwrap_err().raw_os_error(), ebadf);
        let mut poll = Poll::new().unwrap();
        let error = poll.register(1, bad(), PollEvents::READ).unwrap_err();
        assert!(matches!(error, PollError::System(error) if error.raw_os_error() == ebadf));
        assert!(poll.is_empty());
    });
}

#[test]
fn a_killed_select_leaves_everything_as_it_was() {
    run(|| {
        let (ours, mut theirs) = pair();
        let clone = ours.try_clone().unwrap();
        let killed = spawn(move || select(&[&clone], &[], &[], None).unwrap());
        yield_now();
        killed.kill();
        theirs.write_all(b"x").unwrap();
        assert_eq!(select(&[&ours], &[], &[], None).unwrap().read, [0]);
        assert!(with_timeout(SHORT, || select(&[&theirs], &[], &[], None)).is_err());
    });
}

#[test]
fn a_poll_tells_keys_and_events_until_they_are_changed_or_taken_out() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.register("ours", &ours, PollEvents::READ).unwrap();
        assert!(poll.poll(Some(Duration::ZERO)).unwrap().is_empty());
        let start = Instant::now();
        assert!(poll.poll(Some(SHORT)).unwrap().is_empty());
        assert!(start.elapsed() >= SHORT);
        theirs.write_all(b"x").unwrap();
        for _ in 0..3 {
            // A level: told until it was read.
            assert_eq!(poll.poll(None).unwrap(), [("ours", PollEvents::READ)]);
        }
        poll.modify(&"ours", PollEvents::READ | PollEvents::WRITE).unwrap();
        assert_eq!(poll.poll(None).unwrap(), [("ours", PollEvents::READ | PollEvents::WRITE)]);
        (&ours).read_exact(&mut [0]).unwrap();
        assert_eq!(poll.poll(None).unwrap(), [("ours", PollEvents::WRITE)]);
        poll.modify(&"ours", PollEvents::READ).unwrap();
        drop(theirs);
        let (_, events) = poll.poll(None).unwrap()[0];
        assert!(events.contains(PollEvents::READ | PollEvents::HANGUP), "{events:?}");
        assert_eq!(poll.len(), 1);
        poll.unregister(&"ours").unwrap();
        assert!(poll.poll(Some(SHORT)).unwrap().is_empty());
    });
}

#[test]
fn a_poll_refuses_what_it_has_and_what_it_has_not() {
    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        assert!(matches!(poll.unregister(&1), Err(PollError::Unknown)));
        assert!(matches!(poll.modify(&1, PollEvents::READ), Err(PollError::Unknown)));
        poll.register(1, &ours, PollEvents::READ).unwrap();
        assert!(matches!(poll.register(1, &theirs, PollEvents::READ), Err(PollError::Taken)));
        let again = std::io::Error::from(poll.register(2, &ours, PollEvents::READ).unwrap_err());
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        poll.unregister(&1).unwrap();
        poll.register(2, &ours, PollEvents::READ).unwrap();
        assert_eq!(format!("{poll:?}"), "{2: READ}");
    });
}

#[test]
fn a_poll_has_files_that_are_always_ready_and_owns_what_it_is_given() {
    run(|| {
        let mut poll = Poll::new().unwrap();
        poll.register('f', File::open("/proc/self/exe").unwrap(), PollEvents::READ).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        poll.register('s', ours, PollEvents::READ).unwrap();
        assert_eq!(poll.poll(None).unwrap(), [('f', PollEvents::READ)]);
        theirs.write_all(b"x").unwrap();
        assert_eq!(poll.poll(None).unwrap(), [('f', PollEvents::READ), ('s', PollEvents::READ)]);
        poll.unregister(&'s').unwrap(); // closes it
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        poll.modify(&'f', PollEvents::PRIORITY).unwrap();
        assert!(poll.poll(Some(Duration::ZERO)).unwrap().is_empty());
    });
}

#[test]
fn many_descriptors_are_polled_in_one_go() {
    run(|| {
        let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
        let mut poll = Poll::new().unwrap();
        for (number, (ours, _)) in pairs.iter().enumerate() {
            poll.register(number, ours, PollEvents::READ).unwrap();
        }
        for (_, theirs) in pairs.iter().step_by(2) {
            (&*theirs).write_all(b"x").unwrap();
        }
        let mut ready: Vec<_> = poll.poll(None).unwrap().into_iter().map(|(number, _)| number).collect();
        ready.sort_unstable();
        assert_eq!(ready, (0..100).step_by(2).collect::<Vec<_>>());
    });
}

#[test]
fn a_poll_waits_is_killed_and_goes_on() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let poller = spawn(move || {
            let mut poll = Poll::new().unwrap();
            poll.register((), ours, PollEvents::READ).unwrap();
            assert!(with_timeout(SHORT, || poll.poll(None)).is_err());
            poll.poll(None).unwrap().len()
        });
        greenlet_core::sleep(SHORT * 2);
        assert!(!poller.ready());
        theirs.write_all(b"x").unwrap();
        assert_eq!(poller.get().unwrap(), 1);
    });
}

#[test]
fn the_poll_of_another_hub_sees_what_happens_here() {
    run(|| {
        let hub = Hub::thread("polls").start().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let selecting =
            hub.handle().spawn(move || select(&[&ours], &[], &[], None).unwrap().read.len()).unwrap();
        theirs.write_all(b"x").unwrap();
        assert_eq!(selecting.get().unwrap(), 1);
        hub.join();
    });
}

#[test]
fn streams_and_listeners_can_be_polled() {
    fn check(_: impl AsFd) {}
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    check(&listener);
    check(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
}
