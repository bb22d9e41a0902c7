//! One reader and one writer at a time may wait; a second one of the same direction is told so.

mod pair;

use std::io::{ErrorKind, Read, Write};

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::TcpListener;
use pair::{fill, pair, pair_with_std};

#[test]
fn a_second_reader_gets_an_error_that_says_so_and_the_first_waits_on() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let mut clone = ours.try_clone().unwrap();
        let first = spawn(move || clone.read(&mut [0; 8]).unwrap());
        yield_now();
        let error = (&ours).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "another greenlet is already waiting for reading here");
        assert_eq!(ours.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ResourceBusy);
        theirs.write_all(b"hello").unwrap();
        assert_eq!(first.get().unwrap(), 5);
    });
}

#[test]
fn a_second_writer_gets_an_error_that_says_so_and_the_first_waits_on() {
    run(|| {
        let (ours, theirs) = pair();
        let filled = fill(&ours);
        let mut clone = ours.try_clone().unwrap();
        let first = spawn(move || clone.write_all(&[8; 100_000]).unwrap());
        yield_now();
        let error = (&ours).write(&[9; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "another greenlet is already waiting for writing here");
        let mut received = vec![0; filled + 100_000];
        (&theirs).read_exact(&mut received).unwrap();
        first.get().unwrap();
    });
}

#[test]
fn a_second_accepter_gets_an_error() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let first = spawn(move || clone.accept().unwrap().1);
        yield_now();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::ResourceBusy);
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(first.get().unwrap(), client.local_addr().unwrap());
    });
}

#[test]
fn a_reader_and_a_writer_wait_together() {
    run(|| {
        let (ours, theirs) = pair();
        let filled = fill(&ours);
        let (mut reader, mut writer) = ours.into_split();
        let reading = spawn(move || {
            let mut buffer = [0; 5];
            reader.read_exact(&mut buffer).unwrap();
            buffer
        });
        let writing = spawn(move || writer.write_all(&[8; 100_000]).unwrap());
        yield_now();
        assert!(!reading.ready() && !writing.ready());
        (&theirs).write_all(b"hello").unwrap();
        assert_eq!(&reading.get().unwrap(), b"hello");
        let mut received = Vec::new();
        (&theirs).read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), filled + 100_000);
        writing.get().unwrap();
    });
}

#[test]
fn who_finds_data_needs_no_place_to_wait() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let clone = ours.try_clone().unwrap();
        theirs.write_all(b"ab").unwrap();
        let mut byte = [0; 1];
        (&ours).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        (&clone).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    });
}
