//! Large amounts in both directions at once: nothing is lost, doubled or swapped.

mod pair;

use std::io::{IoSlice, IoSliceMut, Read, Write};

use greenlet_core::{joinall, run, spawn};
use pair::{pair, pair_with_std};
use socket2::SockRef;

/// A reproducible stream of bytes and of chunk sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What the writer of that seed sends.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

/// FNV-1a.
#[derive(PartialEq, Eq, Debug)]
struct Checksum(u64);

impl Checksum {
    fn of(bytes: &[u8]) -> Checksum {
        let mut sum = Checksum(0xcbf2_9ce4_8422_2325);
        sum.add(bytes);
        sum
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// Writes in chunks of random size.
fn send(mut stream: impl Write, content: &[u8], seed: u64) {
    let mut random = Random(seed);
    let mut rest = content;
    while !rest.is_empty() {
        let size = (1 + random.below(200_000)).min(rest.len());
        stream.write_all(&rest[..size]).unwrap();
        rest = &rest[size..];
    }
}

/// Reads with buffers of random size to the end.
fn receive(mut stream: impl Read, seed: u64) -> (usize, Checksum) {
    let mut random = Random(seed);
    let (mut length, mut sum) = (0, Checksum::of(b""));
    let mut buffer = vec![0; 100_000];
    loop {
        let size = 1 + random.below(buffer.len());
        match stream.read(&mut buffer[..size]).unwrap() {
            0 => return (length, sum),
            n => {
                sum.add(&buffer[..n]);
                length += n;
            }
        }
    }
}

#[test]
fn both_directions_at_once_arrive_intact() {
    const LENGTH: usize = 4 << 20;
    for seed in [1, 77, 4242] {
        run(|| {
            let (left, right) = pair();
            // Small buffers: most writes are partial, and both sides wait in both directions. (Small receive buffers
            // would do the same, but over loopback they make the system itself wait for its timers.)
            for stream in [&left, &right] {
                SockRef::from(stream).set_send_buffer_size(8 * 1024).unwrap();
            }
            let ends = [(left, seed, seed + 1), (right, seed + 1, seed)];
            let checks = ends.map(|(stream, sends, receives)| {
                let (reader, writer) = stream.into_split();
                let writing = spawn(move || send(writer, &content(sends, LENGTH), sends));
                let reading = spawn(move || {
                    assert_eq!(receive(reader, receives), (LENGTH, Checksum::of(&content(receives, LENGTH))));
                });
                [writing, reading]
            });
            joinall(checks.iter().flatten());
            assert!(checks.iter().flatten().all(|check| check.successful()), "seed {seed}");
        });
    }
}

#[test]
fn a_plain_thread_at_the_other_end_receives_and_sends_the_same() {
    const LENGTH: usize = 16 << 20;
    run(|| {
        let (ours, theirs) = pair_with_std();
        let echo = std::thread::spawn(move || {
            std::io::copy(&mut &theirs, &mut &theirs).unwrap();
        });
        let (reader, writer) = ours.into_split();
        let content = content(9, LENGTH);
        let expected = Checksum::of(&content);
        let writing = spawn(move || send(writer, &content, 9));
        assert_eq!(receive(reader, 10), (LENGTH, expected));
        writing.get().unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn vectored_reads_and_writes_keep_the_order() {
    const LENGTH: usize = 1 << 20;
    run(|| {
        let (mut ours, theirs) = pair();
        SockRef::from(&ours).set_send_buffer_size(8 * 1024).unwrap();
        let expected = content(5, LENGTH);
        let sent = expected.clone();
        let writing = spawn(move || {
            let mut rest = &sent[..];
            let mut random = Random(6);
            while !rest.is_empty() {
                let (first, second) = rest.split_at(random.below(rest.len()));
                let n = ours.write_vectored(&[IoSlice::new(first), IoSlice::new(b""), IoSlice::new(second)]);
                rest = &rest[n.unwrap()..];
            }
        });
        let mut received = Vec::new();
        let (mut short, mut long) = ([0; 100], [0; 5000]);
        loop {
            let mut buffers = [IoSliceMut::new(&mut short), IoSliceMut::new(&mut long)];
            match (&theirs).read_vectored(&mut buffers).unwrap() {
                0 => break,
                n => {
                    received.extend_from_slice(&short[..n.min(100)]);
                    received.extend_from_slice(&long[..n.saturating_sub(100)]);
                }
            }
        }
        assert!(received == expected);
        writing.get().unwrap();
    });
}

#[test]
fn empty_buffers_never_wait() {
    run(|| {
        let (mut ours, mut theirs) = pair_with_std();
        // Also after a short read, when the next one would wait without trying.
        theirs.write_all(b"x").unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(ours.read(&mut []).unwrap(), 0);
        assert_eq!(ours.peek(&mut []).unwrap(), 0);
        assert_eq!(ours.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        pair::fill(&ours);
        assert_eq!(ours.write(&[]).unwrap(), 0);
        assert_eq!(ours.write_vectored(&[]).unwrap(), 0);
        ours.flush().unwrap();
    });
}
