//! The ends of a connection: one direction at a time, both, or by a reset.

mod pair;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::OwnedWriteHalf;
use pair::{fill, kind, pair, pair_with_std, read_to_any_end, reset};

#[test]
fn who_is_done_writing_still_reads() {
    run(|| {
        let (mut ours, theirs) = pair();
        ours.write_all(b"question").unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let answering = spawn(move || {
            let mut question = String::new();
            (&theirs).read_to_string(&mut question).unwrap();
            (&theirs).write_all(question.replace("question", "answer").as_bytes()).unwrap();
        });
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        assert_eq!(kind(ours.write(b"more")), ErrorKind::BrokenPipe);
        answering.get().unwrap();
    });
}

#[test]
fn shutdown_of_reading_ends_a_read_that_waits() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let mut clone = ours.try_clone().unwrap();
        let reader = spawn(move || clone.read(&mut [0; 8]).unwrap());
        yield_now();
        ours.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.get().unwrap(), 0);
        (&ours).write_all(b"still here").unwrap();
        drop(ours);
        assert_eq!(read_to_any_end(theirs), b"still here");
    });
}

#[test]
fn shutdown_of_writing_ends_a_write_that_waits() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        fill(&ours);
        let mut clone = ours.try_clone().unwrap();
        let writer = spawn(move || kind(clone.write_all(&[8; 1 << 20])));
        yield_now();
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(writer.get().unwrap(), ErrorKind::BrokenPipe);
        drop(theirs);
    });
}

#[test]
fn a_reset_by_the_peer_wakes_a_reader() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        let reader = spawn(move || kind(ours.read(&mut [0; 8])));
        yield_now();
        reset(theirs);
        assert_eq!(reader.get().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_by_the_peer_wakes_a_writer() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        fill(&ours);
        let writer = spawn(move || kind(ours.write_all(&[8; 1 << 20])));
        yield_now();
        reset(theirs);
        assert_eq!(writer.get().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_by_the_peer_wakes_both() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        fill(&ours);
        let (mut reader, mut writer) = ours.into_split();
        let reading = spawn(move || reader.read(&mut [0; 8]).is_err());
        let writing = spawn(move || writer.write_all(&[8; 1 << 20]).is_err());
        yield_now();
        reset(theirs);
        // The system hands its error to the first that asks; the other one finds an end.
        let (read_failed, write_failed) = (reading.get().unwrap(), writing.get().unwrap());
        assert!(write_failed, "reading failed: {read_failed}");
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_in_the_end() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        drop(theirs);
        let error = loop {
            if let Err(error) = ours.write(b"anybody there?") {
                break error;
            }
            yield_now();
        };
        assert!([ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()), "{error}");
    });
}

#[test]
fn dropping_the_write_half_ends_what_the_peer_reads() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"all").unwrap();
        drop(writer);
        theirs.write_all(b"answer").unwrap();
        assert_eq!(read_to_any_end(&theirs), b"all");
        drop(theirs);
        assert_eq!(read_to_any_end(&mut reader), b"answer");
    });
}

#[test]
fn dropping_the_read_half_ends_nothing() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let (reader, mut writer) = ours.into_split();
        drop(reader);
        theirs.write_all(b"unread").unwrap();
        writer.write_all(b"written").unwrap();
        drop(writer);
        assert_eq!(read_to_any_end(theirs), b"written");
    });
}

#[test]
fn a_killed_greenlet_with_the_write_half_ends_what_the_peer_reads() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let (_reader, writer) = ours.into_split();
        let owner = spawn(move || {
            let _writer = writer;
            greenlet_core::sleep(std::time::Duration::MAX)
        });
        yield_now();
        owner.kill();
        assert_eq!(read_to_any_end(theirs), b"");
    });
}

#[test]
fn halves_become_one_again() {
    run(|| {
        let ((ours, theirs), (other, _)) = (pair(), pair());
        let (reader, writer) = ours.into_split();
        let (_, strange): (_, OwnedWriteHalf) = other.into_split();
        let refused = reader.reunite(strange).unwrap_err();
        assert_eq!(refused.to_string(), "the read half and the write half belong to different connections");
        let mut whole = refused.0.reunite(writer).unwrap();
        // Nothing was shut down on the way.
        whole.write_all(b"whole").unwrap();
        let mut buffer = [0; 5];
        (&theirs).read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"whole");
    });
}

#[test]
fn a_forgotten_write_half_shuts_down_nothing() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let (reader, writer) = ours.into_split();
        writer.forget();
        let mut stream = reader.as_ref();
        stream.write_all(b"open").unwrap();
        let mut buffer = [0; 4];
        theirs.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"open");
    });
}
