//! A limit of time for several calls together, and how far they came.

mod pair;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use greenlet_core::{run, sleep, spawn};
use greenlet_net::{Stream, UnixStream, Within};
use pair::{kind, pair};
use socket2::SockRef;

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn a_peer_that_takes_a_little_now_and_then_does_not_hold_up_write_all() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        // A timeout for each wait never strikes: the peer reads every 2 ms.
        ours.set_write_timeout(Some(pair::FOREVER)).unwrap();
        let reader = spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), [0; 256]);
            loop {
                match theirs.read(&mut buffer).unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&buffer[..n]),
                }
                sleep(Duration::from_millis(2));
            }
        });
        let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let start = Instant::now();
        let mut limited = ours.within(SHORT);
        assert_eq!(kind(limited.write_all(&content)), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert!(start.elapsed() < pair::FOREVER / 2);
        assert_eq!(limited.left(), Duration::ZERO);
        assert_eq!(kind(limited.write(b"x")), ErrorKind::TimedOut);
        // Nothing is lost: the caller knows where to go on.
        let sent = limited.sent() as usize;
        assert!(sent > 0 && sent < content.len());
        (&ours).write_all(&content[sent..sent + 1000]).unwrap();
        drop(ours);
        assert!(reader.get().unwrap() == content[..sent + 1000]);
    });
}

#[test]
fn a_line_that_comes_byte_by_byte_is_given_up() {
    run(|| {
        let (ours, mut theirs) = pair();
        let slow = spawn(move || {
            loop {
                if theirs.write_all(b"x").is_err() {
                    return;
                }
                sleep(Duration::from_millis(2));
            }
        });
        let mut line = String::new();
        let mut limited = BufReader::new(ours.within(SHORT));
        assert_eq!(kind(limited.read_line(&mut line)), ErrorKind::TimedOut);
        assert!(limited.get_ref().received() >= 1);
        slow.kill();
    });
}

#[test]
fn what_is_in_time_is_as_without() {
    run(|| {
        let (ours, mut theirs) = pair();
        let mut limited = ours.within(pair::FOREVER);
        limited.write_all(b"hello").unwrap();
        limited.flush().unwrap();
        theirs.read_exact(&mut [0; 5]).unwrap();
        theirs.write_all(b"world").unwrap();
        limited.read_exact(&mut [0; 5]).unwrap();
        assert_eq!((limited.sent(), limited.received()), (5, 5));
        ours.within(Duration::MAX).write_all(b"x").unwrap();
        assert_eq!(kind(ours.within(Duration::ZERO).write_all(b"x")), ErrorKind::TimedOut);
    });
}

#[test]
fn the_timeouts_of_the_stream_count_as_well() {
    run(|| {
        let (ours, _theirs) = pair();
        ours.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(ours.within(pair::FOREVER).read(&mut [0; 8])), ErrorKind::TimedOut);
        assert!(start.elapsed() < pair::FOREVER / 2);
    });
}

#[test]
fn any_stream_can_be_limited_and_a_thread_without_greenlets_can_do_it() {
    let (ours, _theirs) = pair();
    let thread = std::thread::spawn(move || {
        let stream: &dyn Stream = &ours;
        kind(Within::new(stream, SHORT).read_exact(&mut [0; 8]))
    });
    assert_eq!(thread.join().unwrap(), ErrorKind::TimedOut);
}
