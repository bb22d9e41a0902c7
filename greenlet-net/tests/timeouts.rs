//! Timeouts end the wait, not the connection.

mod pair;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use greenlet_core::{run, sleep, spawn, with_timeout};
use greenlet_net::TcpStream;
use pair::{fill, kind, pair, pair_with_std};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn a_read_times_out_and_the_next_one_gets_what_came_later() {
    run(|| {
        let (mut ours, mut theirs) = pair_with_std();
        ours.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        let error = ours.read(&mut [0; 8]).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::TimedOut, "timed out"));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(kind(ours.peek(&mut [0; 8])), ErrorKind::TimedOut);
        theirs.write_all(b"late").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(ours.read(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"late");
    });
}

#[test]
fn a_write_times_out_when_the_buffers_are_full_and_goes_on_when_they_are_not() {
    run(|| {
        let (mut ours, theirs) = pair();
        let filled = fill(&ours);
        ours.set_write_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(ours.write(&[8; 8])), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        (&theirs).read_exact(&mut vec![0; filled]).unwrap();
        ours.set_write_timeout(None).unwrap();
        ours.write_all(b"on").unwrap();
        let mut buffer = [0; 2];
        (&theirs).read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"on");
    });
}

#[test]
fn a_timeout_suspends_only_the_greenlet_that_waits() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        ours.set_read_timeout(Some(SHORT * 5)).unwrap();
        let reader = spawn(move || kind(ours.read(&mut [0; 8])));
        for _ in 0..5 {
            sleep(Duration::from_millis(1));
        }
        assert!(!reader.ready());
        assert_eq!(reader.get().unwrap(), ErrorKind::TimedOut);
        drop(theirs);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn connect_times_out_and_names_the_address() {
    run(|| {
        let (listener, _only) = pair::unanswering();
        let address = listener.local_addr().unwrap();
        let start = Instant::now();
        let error = TcpStream::connect_timeout(&address, SHORT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), format!("cannot connect to {address} (timed out)"));
        assert!(start.elapsed() >= SHORT);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn with_timeout_ends_a_connect() {
    run(|| {
        let (listener, _only) = pair::unanswering();
        let address = listener.local_addr().unwrap();
        assert!(with_timeout(SHORT, || TcpStream::connect(address)).is_err());
    });
}

#[test]
fn with_timeout_around_a_read_loses_nothing_that_arrives_later() {
    run(|| {
        let (mut ours, mut theirs) = pair_with_std();
        let mut buffer = [0; 8];
        theirs.write_all(b"now").unwrap();
        assert_eq!(with_timeout(SHORT, || ours.read(&mut buffer).unwrap()), Ok(3));
        assert!(with_timeout(SHORT, || ours.read(&mut buffer)).is_err());
        theirs.write_all(b"later").unwrap();
        assert_eq!(ours.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"later");
    });
}

/// The timeout is due in the middle of a stream of bytes, at a different place in each round.
#[test]
fn timeouts_at_any_moment_of_a_transfer_lose_no_byte() {
    const TOTAL: usize = 20_000;
    run(|| {
        let (mut ours, mut theirs) = pair_with_std();
        let sender = std::thread::spawn(move || {
            for start in (0..TOTAL).step_by(10) {
                let chunk: Vec<u8> = (start..start + 10).map(|i| (i % 251) as u8).collect();
                theirs.write_all(&chunk).unwrap();
            }
        });
        let (mut received, mut timeouts) = (Vec::new(), 0);
        while received.len() < TOTAL {
            let patience = Duration::from_micros(received.len() as u64 % 40);
            let mut buffer = [0; 64];
            match with_timeout(patience, || ours.read(&mut buffer).unwrap()) {
                Ok(n) => received.extend_from_slice(&buffer[..n]),
                Err(_) => timeouts += 1,
            }
        }
        let expected: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
        assert!(received == expected, "bytes were lost in {timeouts} timeouts");
        sender.join().unwrap();
    });
}

#[test]
fn a_timeout_of_zero_is_refused_as_std_does() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        assert_eq!(kind(ours.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(kind(ours.set_write_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        let nowhere = ours.peer_addr().unwrap();
        assert_eq!(kind(TcpStream::connect_timeout(&nowhere, Duration::ZERO)), ErrorKind::InvalidInput);
        drop(theirs);
    });
}

#[test]
fn timeouts_are_shared_by_clones_and_by_nobody_else() {
    run(|| {
        let (ours, theirs) = pair();
        let clone = ours.try_clone().unwrap();
        clone.set_read_timeout(Some(SHORT)).unwrap();
        clone.set_write_timeout(Some(SHORT * 2)).unwrap();
        assert_eq!(ours.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(ours.write_timeout().unwrap(), Some(SHORT * 2));
        assert_eq!(theirs.read_timeout().unwrap(), None);
    });
}
