//! Handshakes that were recorded and then changed: an error or a silence, never a panic, never for ever.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::Duration;

use greenlet_core::{run, spawn};
use greenlet_net::tls::Versions;
use proptest::prelude::*;

use crate::certified::{HOST, acceptor, connector};
use crate::pair::{pair, pair_with_std};

/// What each side of a session has sent, by version: client, server.
static RECORDED: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> =
    LazyLock::new(|| [Versions::Tls12, Versions::Tls13].map(record).to_vec());

fn record(versions: Versions) -> (Vec<u8>, Vec<u8>) {
    run(|| {
        let ((client, front), (back, server)) = (pair(), pair());
        let tap = |from: &greenlet_net::TcpStream, to: &greenlet_net::TcpStream| {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            spawn(move || {
                let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
                loop {
                    match (&from).read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => {
                            all.extend_from_slice(&buffer[..n]);
                            (&to).write_all(&buffer[..n]).unwrap();
                        }
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
                all
            })
        };
        let (of_client, of_server) = (tap(&front, &back), tap(&back, &front));
        let acceptor = acceptor().build().unwrap();
        let echo = spawn(move || {
            let stream = acceptor.accept(server).unwrap();
            std::io::copy(&mut &stream, &mut &stream).unwrap();
        });
        let mut stream = connector().versions(versions).build().unwrap().connect(HOST, client).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        drop(stream);
        echo.get().unwrap();
        (of_client.into_value().unwrap(), of_server.into_value().unwrap())
    })
}

#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Change::Flip(at, bits)),
        at().prop_map(Change::Cut),
        (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (at(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), any::<u8>()).prop_map(|(at, count)| Change::Remove(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let at = |index: &prop::sample::Index, bytes: &Vec<u8>| index.index(bytes.len() + 1).min(bytes.len());
    match change {
        Change::Flip(index, bits) => {
            let at = at(index, bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        Change::Cut(index) => bytes.truncate(at(index, bytes)),
        Change::Repeat(from, to) => {
            let (a, b) = (at(from, bytes), at(to, bytes));
            let again = bytes[a.min(b)..a.max(b)].to_vec();
            bytes.splice(a.min(b)..a.min(b), again);
        }
        Change::Insert(index, more) => {
            let at = at(index, bytes);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Remove(index, count) => {
            let at = at(index, bytes);
            bytes.drain(at..(at + *count as usize).min(bytes.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_end_in_an_error_on_both_sides(
        which in 0..2usize,
        changes in prop::collection::vec(change(), 0..4),
        pieces in prop::collection::vec(1..500usize, 1..10),
    ) {
        let (mut to_server, mut to_client) = RECORDED[which].clone();
        for change in &changes {
            apply(&mut to_server, change);
            apply(&mut to_client, change);
        }
        run(|| {
            for (bytes, serving) in [(to_server, true), (to_client, false)] {
                let (ours, mut theirs) = pair_with_std();
                let limit = Some(Duration::from_secs(10));
                let session = spawn(move || {
                    let stream = match serving {
                        true => acceptor().handshake_timeout(limit).build().unwrap().accept(ours),
                        false => connector().handshake_timeout(limit).build().unwrap().connect(HOST, ours),
                    };
                    stream.map(|stream| (&stream).read_to_end(&mut Vec::new()))
                });
                let mut rest = &bytes[..];
                for size in pieces.iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (now, later) = rest.split_at((*size).min(rest.len()));
                    if theirs.write_all(now).is_err() {
                        break;
                    }
                    rest = later;
                    greenlet_core::yield_now();
                }
                let _ = theirs.shutdown(Shutdown::Write);
                // Random numbers and keys are others than those recorded, so nobody can succeed.
                let ended = session.into_value().expect("it does not panic");
                assert!(ended.is_err() || ended.unwrap().is_err());
            }
        });
    }
}
