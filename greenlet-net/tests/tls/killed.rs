//! A kill unwinds from every wait, and what is left works or is closed.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use greenlet_core::{run, spawn, with_timeout, yield_now};

use crate::certified::{HOST, acceptor, connector, sessions};
use crate::pair::{kind, pair, pair_with_std, read_to_any_end};
use crate::stream::fill_session;

#[test]
fn kill_in_a_handshake_closes_the_connection() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        let server = spawn(move || drop(acceptor().build().unwrap().accept(ours)));
        yield_now();
        server.kill();
        assert!(server.exited());
        assert_eq!(read_to_any_end(theirs), b"");

        let (ours, theirs) = pair_with_std();
        let client = spawn(move || drop(connector().build().unwrap().connect(HOST, ours)));
        yield_now();
        client.kill();
        assert!(client.exited());
        let hello = read_to_any_end(theirs);
        assert_eq!(hello[0], 22, "its hello, and then the end");
    });
}

#[test]
fn a_handshake_may_be_killed_after_any_number_of_bytes() {
    run(|| {
        // How many bytes the client's side of a handshake has.
        let all = {
            let ((client, front), (back, server)) = (pair(), pair());
            let acceptor = acceptor().build().unwrap();
            let server = spawn(move || acceptor.accept(server));
            let client = spawn(move || connector().build().unwrap().connect(HOST, client));
            let mut forwarded = 0;
            let returning = (back.try_clone().unwrap(), front.try_clone().unwrap());
            spawn(move || std::io::copy(&mut &returning.0, &mut &returning.1));
            front.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut buffer = [0; 4096];
            while !server.ready() {
                if let Ok(n) = (&front).read(&mut buffer) {
                    forwarded += n;
                    (&back).write_all(&buffer[..n]).unwrap();
                }
            }
            drop(client);
            forwarded
        };
        for upto in (0..all).step_by(23) {
            let ((client, front), (back, theirs)) = (pair(), pair());
            let acceptor = acceptor().build().unwrap();
            let server =
                spawn(move || drop(acceptor.accept(theirs).map(|stream| (&stream).read(&mut [0; 8]))));
            let client = spawn(move || drop(connector().build().unwrap().connect(HOST, client)));
            let returning = (back.try_clone().unwrap(), front.try_clone().unwrap());
            let returns = spawn(move || drop(std::io::copy(&mut &returning.0, &mut &returning.1)));
            front.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let mut left = upto;
            while left > 0 {
                let mut buffer = vec![0; left];
                match (&front).read(&mut buffer) {
                    Ok(n) if n > 0 => {
                        (&back).write_all(&buffer[..n]).unwrap();
                        left -= n;
                    }
                    _ => break,
                }
            }
            server.kill();
            client.kill();
            assert!(server.ready() && client.ready());
            returns.kill();
        }
    });
}

#[test]
fn a_killed_reader_leaves_the_session_to_others() {
    run(|| {
        let (client, mut server) = sessions();
        let reading = client.try_clone().unwrap();
        let reader = spawn(move || (&reading).read(&mut [0; 8]).unwrap());
        yield_now();
        reader.kill();
        assert!(reader.exited());
        server.write_all(b"later").unwrap();
        let mut buffer = [0; 8];
        assert_eq!((&client).read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"later");
    });
}

#[test]
fn a_reader_killed_in_the_middle_of_a_record_loses_none_of_it() {
    run(|| {
        // A record arrives in two pieces; the reader is killed between them.
        let ((client, front), (back, server)) = (pair(), pair());
        let (to_server, to_client) = (back.try_clone().unwrap(), front.try_clone().unwrap());
        let returning = spawn(move || drop(std::io::copy(&mut &to_server, &mut &to_client)));
        let (from_client, to_server) = (front.try_clone().unwrap(), back.try_clone().unwrap());
        let going = spawn(move || drop(std::io::copy(&mut &from_client, &mut &to_server)));
        let acceptor = acceptor().build().unwrap();
        let accepted = spawn(move || acceptor.accept(server).unwrap());
        let mut client = connector().build().unwrap().connect(HOST, client).unwrap();
        let server = accepted.into_value().unwrap();
        client.write_all(b"x").unwrap();
        (&server).read_exact(&mut [0]).unwrap();
        going.kill();

        client.write_all(&[9; 3000]).unwrap();
        let mut record = vec![0; 3000 + 22];
        (&front).read_exact(&mut record).unwrap();
        for cut in [3, 1500] {
            let reading = server.try_clone().unwrap();
            let reader = spawn(move || (&reading).read(&mut [0; 8]).unwrap());
            (&back).write_all(&record[..cut]).unwrap();
            record.drain(..cut);
            greenlet_core::sleep(Duration::from_millis(5));
            assert!(!reader.ready());
            reader.kill();
        }
        (&back).write_all(&record).unwrap();
        let mut all = [0; 3000];
        (&server).read_exact(&mut all).unwrap();
        assert_eq!(all, [9; 3000]);
        returning.kill();
    });
}

#[test]
fn a_killed_writer_leaves_whole_records_and_the_session_works() {
    run(|| {
        let (client, mut server) = sessions();
        let filled = fill_session(&client);
        for byte in [8, 9] {
            let writing = client.try_clone().unwrap();
            let writer = spawn(move || (&writing).write_all(&vec![byte; 300_000]).unwrap());
            yield_now();
            writer.kill();
            assert!(writer.exited());
        }
        let reader = spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all
        });
        (&client).write_all(b"end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let all = reader.into_value().unwrap();
        assert!(all[..filled].iter().all(|&byte| byte == 7));
        let rest = &all[filled..all.len() - 3];
        assert!(
            rest.iter().all(|&byte| byte == 7 || byte == 8),
            "the second writer was killed before its turn came"
        );
        assert_eq!(&all[all.len() - 3..], b"end");
    });
}

#[test]
fn a_timeout_around_a_write_leaves_the_session_whole() {
    run(|| {
        let (client, mut server) = sessions();
        fill_session(&client);
        let cut = with_timeout(Duration::from_millis(5), || (&client).write_all(&[8; 1 << 20]).unwrap());
        assert!(cut.is_err());
        let reader = spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all
        });
        (&client).flush().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(reader.into_value().unwrap().iter().all(|&byte| byte == 7 || byte == 8));
    });
}

#[test]
fn kill_in_shutdown_and_in_flush_leaves_the_rest_unsent() {
    run(|| {
        let (client, mut server) = sessions();
        fill_session(&client);
        for flush in [true, false] {
            let stream = client.try_clone().unwrap();
            let writer = spawn(move || match flush {
                true => (&stream).flush().unwrap(),
                false => stream.shutdown(Shutdown::Write).unwrap(),
            });
            yield_now();
            writer.kill();
            assert!(writer.exited());
        }
        // Asked for again, it is done.
        let reader = spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all.len()
        });
        client.shutdown(Shutdown::Write).unwrap();
        assert!(reader.get().unwrap() > 0);
    });
}

#[test]
fn what_a_kill_drops_does_not_look_complete() {
    run(|| {
        let (mut client, mut server) = sessions();
        let writer = spawn(move || {
            client.write_all(b"half of it").unwrap();
            greenlet_core::sleep(Duration::MAX);
            drop(client);
        });
        yield_now();
        writer.kill();
        let mut all = Vec::new();
        assert_eq!(kind(server.read_to_end(&mut all)), ErrorKind::UnexpectedEof);
        assert_eq!(all, b"half of it");

        let (client, mut server) = sessions();
        let (_reader, mut writer) = client.into_split();
        let writer = spawn(move || {
            writer.write_all(b"half of it").unwrap();
            greenlet_core::sleep(Duration::MAX);
            drop(writer);
        });
        yield_now();
        writer.kill();
        assert_eq!(kind(server.read_to_end(&mut all)), ErrorKind::UnexpectedEof);
    });
}
