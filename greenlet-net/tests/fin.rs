//! A reader comes to the end in whatever order data, the end of data and its own reads happen.
//!
//! A short read says that the kernel has no more, and the next read waits for an event without trying. These tests
//! look for an order in which that event was the last one and has been used up.

mod pair;

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use greenlet_core::{run, sleep, spawn, with_timeout, yield_now};
use pair::{FOREVER, pair_with_std, read_to_any_end};
use socket2::SockRef;

/// What happens between two steps.
#[derive(Clone, Copy, Debug)]
enum Pause {
    None,
    /// Other greenlets run; the kernel is not asked.
    Turn,
    /// The hub is idle for a moment: events are fetched.
    Poll,
}

const PAUSES: [Pause; 3] = [Pause::None, Pause::Turn, Pause::Poll];

impl Pause {
    fn take(self) {
        match self {
            Pause::None => {}
            Pause::Turn => yield_now(),
            Pause::Poll => sleep(Duration::from_micros(1)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    HalfClose,
    Close,
    Reset,
}

/// Reads to the end with pauses in between and a buffer of that size.
struct Slowly<R>(R, Pause, usize);

impl<R: std::io::Read> std::io::Read for Slowly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1.take();
        let size = buffer.len().min(self.2);
        self.0.read(&mut buffer[..size])
    }
}

fn one_order(before: Pause, between: Pause, last: Pause, reader_pause: Pause, size: usize, end: End) {
    let (ours, mut theirs) = pair_with_std();
    let reader = spawn(move || read_to_any_end(Slowly(ours, reader_pause, size)));
    before.take();
    theirs.write_all(b"ab").unwrap();
    between.take();
    theirs.write_all(b"c").unwrap();
    last.take();
    match end {
        End::HalfClose => theirs.shutdown(Shutdown::Write).unwrap(),
        End::Close => {}
        End::Reset => SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap(),
    }
    let _open = matches!(end, End::HalfClose).then_some(theirs);
    let received = with_timeout(FOREVER, || reader.get().unwrap());
    let order = (before, between, last, reader_pause, size, end);
    let received = received.unwrap_or_else(|_| panic!("the reader hangs after {order:?}"));
    assert!(matches!(end, End::Reset) || received == b"abc", "{received:?} after {order:?}");
}

#[test]
fn the_end_is_found_in_all_orders() {
    run(|| {
        for before in PAUSES {
            for between in PAUSES {
                for last in PAUSES {
                    for reader_pause in PAUSES {
                        for size in [1, 2, 3, 32] {
                            for end in [End::HalfClose, End::Close, End::Reset] {
                                one_order(before, between, last, reader_pause, size, end);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// The same race in real time: the peer is another thread, and its end may come at any instant.
#[test]
fn data_and_end_from_another_thread_are_both_found() {
    run(|| {
        for round in 0..300 {
            let (ours, mut theirs) = pair_with_std();
            let peer = std::thread::spawn(move || {
                theirs.write_all(&[1; 3]).unwrap();
                for _ in 0..round % 50 {
                    std::hint::spin_loop();
                }
                theirs.write_all(&[2; 3]).unwrap();
            });
            let received =
                with_timeout(FOREVER, || read_to_any_end(Slowly(ours, Pause::None, 2 + round % 7)));
            assert_eq!(received.expect("the reader hangs"), [1, 1, 1, 2, 2, 2]);
            peer.join().unwrap();
        }
    });
}
