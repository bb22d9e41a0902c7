//! A greenlet that never has to wait lets the others run all the same.

mod pair;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;

use greenlet_core::{Greenlet, run, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};
use pair::{pair, pair_with_std};

/// Counts its turns until killed.
fn bystander() -> (Rc<Cell<u32>>, Greenlet<()>) {
    let turns = Rc::new(Cell::new(0));
    let counting = turns.clone();
    let greenlet = spawn(move || {
        loop {
            counting.set(counting.get() + 1);
            yield_now();
        }
    });
    (turns, greenlet)
}

#[test]
fn a_reader_that_always_finds_bytes_lets_others_run() {
    run(|| {
        let (mut ours, mut theirs) = pair_with_std();
        theirs.write_all(&[1; 3200]).unwrap();
        // All bytes are there when the first one is.
        ours.peek(&mut [0]).unwrap();
        let (turns, _bystander) = bystander();
        for _ in 0..3200 {
            ours.read_exact(&mut [0]).unwrap();
        }
        assert!(turns.get() >= 90, "{turns:?}");
    });
}

#[test]
fn a_writer_that_always_finds_room_lets_others_run() {
    run(|| {
        let (mut ours, _theirs) = pair();
        let (turns, _bystander) = bystander();
        for _ in 0..3200 {
            ours.write_all(&[1]).unwrap();
        }
        assert!(turns.get() >= 90, "{turns:?}");
    });
}

#[test]
fn an_accepter_that_always_finds_connections_lets_others_run() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (turns, _bystander) = bystander();
        for _ in &clients {
            listener.accept().unwrap();
        }
        assert!(turns.get() >= 2, "{turns:?}");
    });
}

#[test]
fn a_peeker_that_waits_for_more_lets_others_run() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        theirs.write_all(b"some").unwrap();
        let sender = spawn(move || theirs.write_all(b" more").unwrap());
        // Not how one waits, but nobody else should pay for it.
        while ours.peek(&mut [0; 64]).unwrap() < 9 {}
        sender.get().unwrap();
    });
}
