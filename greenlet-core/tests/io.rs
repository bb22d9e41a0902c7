//! Sources: readiness of descriptors.

mod support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::{Event, Hub, Kill, joinall, run, spawn, with_timeout, yield_now};
use support::{GENEROUS, SHORT, settle, until};

type Stream = Source<UnixStream>;

fn pair() -> (Stream, Stream) {
    let (one, two) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    two.set_nonblocking(true).unwrap();
    (Source::new(one), Source::new(two))
}

fn write_all(source: &Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = source.write(bytes, None).unwrap();
        bytes = &bytes[n..];
    }
}

fn read_exactly(source: &Stream, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match source.read(&mut all[filled..], Some(GENEROUS)).unwrap() {
            0 => break,
            n => filled += n,
        }
    }
    all.truncate(filled);
    all
}

#[test]
fn a_read_suspends_its_greenlet_only_and_is_woken_by_data() {
    run(|| {
        let (ours, theirs) = pair();
        let reader = spawn(move || read_exactly(&ours, 5));
        let other = spawn(|| "runs meanwhile");
        assert_eq!(other.get().unwrap(), "runs meanwhile");
        assert!(!reader.ready());
        write_all(&theirs, b"hello");
        assert_eq!(reader.get().unwrap(), b"hello");
    });
}

#[test]
fn what_is_there_is_read_without_suspending() {
    run(|| {
        let (ours, theirs) = pair();
        write_all(&theirs, b"now");
        let other = spawn(|| ());
        let mut buffer = [0; 8];
        assert_eq!(ours.read(&mut buffer, None).unwrap(), 3);
        assert!(!other.ready());
    });
}

#[test]
fn a_large_transfer_arrives_whole() {
    run(|| {
        let (ours, theirs) = pair();
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let writer = spawn({
            let sent = sent.clone();
            move || write_all(&theirs, &sent)
        });
        assert_eq!(read_exactly(&ours, sent.len() + 1), sent, "then the peer hangs up");
        writer.join();
    });
}

#[test]
fn the_end_of_the_peer_is_read_as_the_end() {
    run(|| {
        let (ours, theirs) = pair();
        write_all(&theirs, b"last");
        let mut buffer = [0; 64];
        assert_eq!(ours.read(&mut buffer, None).unwrap(), 4);
        let reader =
            spawn(move || (ours.read(&mut [0; 8], None).unwrap(), ours.read(&mut [0; 8], None).unwrap()));
        yield_now();
        drop(theirs);
        assert_eq!(reader.get().unwrap(), (0, 0));
    });
}

#[test]
fn a_read_gives_up_in_time_and_the_next_one_gets_the_data() {
    run(|| {
        let (ours, theirs) = pair();
        for limit in [SHORT, Duration::ZERO] {
            assert_eq!(ours.read(&mut [0; 8], Some(limit)).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert!(with_timeout(SHORT, || ours.read(&mut [0; 8], None)).is_err());
        write_all(&theirs, b"late");
        assert_eq!(read_exactly(&ours, 4), b"late");
    });
}

#[test]
fn a_write_gives_up_in_time() {
    run(|| {
        let (ours, theirs) = pair();
        let block = vec![7; 1 << 16];
        let mut written = 0;
        let late = loop {
            match ours.write(&block, Some(SHORT)) {
                Ok(n) => written += n,
                Err(error) => break error,
            }
        };
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert_eq!(read_exactly(&theirs, written).len(), written);
        assert!(ours.write(&block, Some(GENEROUS)).is_ok());
    });
}

#[test]
fn an_operation_is_tried_at_least_once() {
    run(|| {
        let (ours, theirs) = pair();
        write_all(&theirs, b"all of it");
        assert_eq!(ours.read(&mut [0; 64], None).unwrap(), 9);
        let tried = Cell::new(0);
        let operation = |_: &UnixStream| {
            tried.set(tried.get() + 1);
            Ok(())
        };
        assert!(ours.io(Direction::Read, Some(Duration::ZERO), operation).is_ok());
        assert_eq!(tried.get(), 1);
    });
}

#[test]
fn close_wakes_whoever_waits_and_refuses_the_rest() {
    run(|| {
        let (ours, _theirs) = pair();
        let ours = Rc::new(ours);
        while ours.write(&[0; 1 << 16], Some(Duration::ZERO)).is_ok() {}
        let reader = spawn({
            let ours = ours.clone();
            move || ours.read(&mut [0; 8], None).unwrap_err().kind()
        });
        let writer = spawn({
            let ours = ours.clone();
            move || ours.write(&[0; 8], None).unwrap_err().kind()
        });
        settle();
        assert!(!reader.ready() && !writer.ready() && !ours.is_closed());
        ours.close();
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(writer.get().unwrap(), ErrorKind::NotConnected);
        assert!(ours.is_closed());
        assert_eq!(ours.read(&mut [0; 8], None).unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(ours.wait(Direction::Read, None).unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn close_from_another_thread_wakes_whoever_waits() {
    run(|| {
        let (ours, _theirs) = pair();
        let ours = Arc::new(ours);
        let reader = spawn({
            let ours = ours.clone();
            move || ours.read(&mut [0; 8], None).unwrap_err().kind()
        });
        yield_now();
        let closer = thread::spawn(move || ours.close());
        assert_eq!(reader.get().unwrap(), ErrorKind::NotConnected);
        closer.join().unwrap();
    });
}

#[test]
fn a_second_waiter_for_the_same_direction_is_refused() {
    run(|| {
        let (ours, theirs) = pair();
        let ours = Rc::new(ours);
        let first = spawn({
            let ours = ours.clone();
            move || read_exactly(&ours, 1)
        });
        settle();
        let error = ours.read(&mut [0; 8], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("waiting for reading"), "{error}");
        assert!(ours.write(b"the other direction", None).is_ok());
        write_all(&theirs, b"!");
        assert_eq!(first.get().unwrap(), b"!");
    });
}

#[test]
fn a_killed_reader_leaves_the_source_to_the_next() {
    run(|| {
        let (ours, theirs) = pair();
        let ours = Rc::new(ours);
        for _ in 0..20 {
            let victim = spawn({
                let ours = ours.clone();
                move || ours.read(&mut [0; 8], None).unwrap()
            });
            settle();
            victim.kill();
            assert!(victim.exited());
        }
        write_all(&theirs, b"x");
        assert_eq!(read_exactly(&ours, 1), b"x");
    });
}

#[test]
fn data_that_comes_with_a_kill_stays_in_the_source() {
    run(|| {
        let (ours, theirs) = pair();
        let ours = Rc::new(ours);
        for n in 0..200u8 {
            let victim = spawn({
                let ours = ours.clone();
                move || read_exactly(&ours, 1)
            });
            settle();
            write_all(&theirs, &[n]);
            if n % 2 == 0 {
                yield_now();
            }
            victim.kill_with(Kill::default().no_wait());
            victim.join();
            let got = victim.value().cloned().unwrap_or_else(|| read_exactly(&ours, 1));
            assert_eq!(got, [n]);
        }
    });
}

#[test]
fn a_source_moves_to_the_hub_that_uses_it() {
    let hub = Hub::thread("reader").start().unwrap();
    run(|| {
        let (ours, theirs) = pair();
        let ours = Arc::new(ours);
        for round in 0..50u8 {
            let there = hub.handle().spawn({
                let ours = ours.clone();
                move || read_exactly(&ours, 1)
            });
            write_all(&theirs, &[round]);
            assert_eq!(there.unwrap().get().unwrap(), [round]);
            let here = spawn({
                let ours = ours.clone();
                move || read_exactly(&ours, 1)
            });
            yield_now();
            write_all(&theirs, &[round]);
            assert_eq!(here.get().unwrap(), [round]);
        }
    });
    hub.shutdown();
}

#[test]
fn a_source_outlives_the_hub_that_watched_it() {
    run(|| {
        let (ours, theirs) = pair();
        let ours = thread::spawn(move || {
            run(|| assert!(ours.read(&mut [0; 8], Some(SHORT)).is_err()));
            ours
        })
        .join()
        .unwrap();
        write_all(&theirs, b"still there");
        assert_eq!(read_exactly(&ours, 11), b"still there");
    });
}

#[test]
fn one_who_waits_through_another_hub_goes_on_when_that_one_ends() {
    run(|| {
        let (ours, theirs) = pair();
        let ours = Arc::new(ours);
        while ours.write(&[0; 1 << 16], Some(Duration::ZERO)).is_ok() {}
        let hub = Hub::thread("watcher").start().unwrap();
        let waits = Arc::new(Event::new());
        let there = hub.handle().spawn({
            let (ours, waits) = (ours.clone(), waits.clone());
            move || {
                waits.set();
                ours.write(&[0], None).is_ok()
            }
        });
        waits.wait();
        let here = spawn({
            let ours = ours.clone();
            move || read_exactly(&ours, 1)
        });
        settle();
        hub.shutdown();
        assert!(there.unwrap().exited());
        write_all(&theirs, b"!");
        assert_eq!(here.get_timeout(GENEROUS).unwrap(), b"!");
    });
}

#[test]
fn a_plain_thread_reads_and_writes_too() {
    let (ours, theirs) = pair();
    let echo = thread::spawn(move || {
        for _ in 0..100 {
            write_all(&theirs, &read_exactly(&theirs, 1));
        }
    });
    run(|| {
        for n in 0..100 {
            write_all(&ours, &[n]);
            assert_eq!(read_exactly(&ours, 1), [n]);
        }
    });
    echo.join().unwrap();
}

#[test]
fn many_sources_are_watched_at_once() {
    run(|| {
        let pairs: Vec<_> = (0..150).map(|_| pair()).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let echoes: Vec<_> = ours
            .into_iter()
            .map(|ours| {
                spawn(move || {
                    for _ in 0..5 {
                        write_all(&ours, &read_exactly(&ours, 1));
                    }
                })
            })
            .collect();
        let askers: Vec<_> = theirs
            .into_iter()
            .enumerate()
            .map(|(nth, theirs)| {
                spawn(move || {
                    for round in 0..5 {
                        let byte = (nth * 5 + round) as u8;
                        write_all(&theirs, &[byte]);
                        assert_eq!(read_exactly(&theirs, 1), [byte]);
                    }
                })
            })
            .collect();
        joinall(&echoes);
        joinall(&askers);
        assert!(askers.iter().all(|asker| asker.value().is_some()));
    });
}

#[test]
fn greenlets_that_only_yield_do_not_keep_readiness_from_others() {
    run(|| {
        let (ours, theirs) = pair();
        let reader = spawn(move || read_exactly(&ours, 1));
        yield_now();
        write_all(&theirs, b"!");
        until(|| reader.ready());
    });
}

#[test]
fn a_dropped_source_closes_what_it_owns() {
    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let source = Source::new(ours);
        assert!(source.read(&mut [0], Some(SHORT)).is_err());
        drop(source);
        assert_eq!((&theirs).read(&mut [0]).unwrap(), 0);
        assert!((&theirs).write(b"nobody").is_err());
    });
}

#[test]
fn a_new_source_on_the_descriptor_of_an_old_one_gets_its_own_events() {
    run(|| {
        for _ in 0..50 {
            let (ours, theirs) = pair();
            assert!(ours.read(&mut [0], Some(Duration::ZERO)).is_err());
            write_all(&theirs, b"unread");
            drop(ours);
            drop(theirs);
            let (ours, theirs) = pair();
            let reader = spawn(move || read_exactly(&ours, 1));
            settle();
            assert!(!reader.ready());
            write_all(&theirs, b"!");
            assert_eq!(reader.get().unwrap(), b"!");
        }
    });
}

#[test]
fn a_wait_for_writing_is_over_at_once_where_there_is_room() {
    run(|| {
        let (ours, _theirs) = pair();
        ours.wait(Direction::Write, Some(GENEROUS)).unwrap();
        let waits = spawn(move || ours.wait(Direction::Read, None));
        settle();
        assert!(!waits.ready());
        waits.kill();
    });
}
