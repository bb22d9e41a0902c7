//! What concerns the whole process, each in a process of its own: the limit on descriptors, and SIGPIPE.
#![cfg(unix)]

mod own_process;
mod pair;

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};
use std::time::Duration;

use greenlet_core::pool::ThreadPool;
use greenlet_core::{run, spawn, with_timeout, yield_now};
use greenlet_net::{ConnectOptions, TcpListener, TcpStream};
use own_process::in_own_process;
use pair::pair_with_std;

#[test]
fn accept_without_descriptors_is_an_error_and_the_connection_is_there_afterwards() {
    if !in_own_process(
        "accept_without_descriptors_is_an_error_and_the_connection_is_there_afterwards",
        "ulimit -n 64 &&",
    ) {
        return;
    }
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ballast = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            ballast.push(file);
        }
        for _ in 0..3 {
            assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        }
        drop(ballast);
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    });
}

#[test]
fn connect_without_descriptors_is_an_error() {
    if !in_own_process("connect_without_descriptors_is_an_error", "ulimit -n 64 &&") {
        return;
    }
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut ballast = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            ballast.push(file);
        }
        let error = TcpStream::connect(address).unwrap_err();
        assert!(error.to_string().contains("Too many open files"), "{error}");
        drop(ballast);
        TcpStream::connect(address).unwrap();
    });
}

#[test]
fn writing_to_nobody_is_an_error_where_sigpipe_would_kill() {
    if !in_own_process("writing_to_nobody_is_an_error_where_sigpipe_would_kill", "") {
        return;
    }
    // SAFETY: no handler is installed, and this process runs nothing but this test. std ignores the signal at the
    // start of a program; one in another language, with this crate in a library, may not.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        drop(theirs);
        while ours.write(b"one").is_ok() {}
        assert_eq!(ours.write(b"two").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let parts = [IoSlice::new(b"three"), IoSlice::new(b"four")];
        assert_eq!(ours.write_vectored(&parts).unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// No thread of the pool is there to look anything up: numeric addresses need none, and whoever waits for a name can be ended.
#[test]
fn a_look_up_has_a_limit_and_can_be_killed_and_numbers_need_none() {
    if !in_own_process("a_look_up_has_a_limit_and_can_be_killed_and_numbers_need_none", "") {
        return;
    }
    run(|| {
        ThreadPool::global().set_max(0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let limit = Duration::from_millis(20);
        let error = ConnectOptions::new().timeout(limit).connect(("localhost", port)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("\"localhost\""), "{error}");
        assert!(with_timeout(limit, || TcpStream::connect(("localhost", port))).is_err());
        let killed = spawn(move || TcpStream::connect(("localhost", port)).unwrap());
        yield_now();
        killed.kill();
        assert!(killed.exited());
        ThreadPool::global().set_max(1);
        TcpStream::connect(("localhost", port)).unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn whatever_needs_descriptors_says_when_there_are_none_and_works_afterwards() {
    if !in_own_process(
        "whatever_needs_descriptors_says_when_there_are_none_and_works_afterwards",
        "ulimit -n 64 &&",
    ) {
        return;
    }
    use greenlet_net::{UdpSocket, UnixDatagram, UnixStream, pipe, process, select, wait_read};

    run(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let emfile = |error: std::io::Error| assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        let child = || process::Command::new("true").status();
        assert!(child().unwrap().success());
        let mut ballast = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            ballast.push(file);
        }
        for _ in 0..3 {
            emfile(UnixStream::pair().unwrap_err());
            emfile(UnixDatagram::unbound().unwrap_err());
            emfile(pipe().unwrap_err());
            emfile(select(&[&one], &[], &[], None).unwrap_err());
            emfile(wait_read(&one, None).unwrap_err());
            emfile(child().unwrap_err());
            assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        }
        // Room for some of what a child process needs: how much that is depends on how soon it ends.
        for _ in 0..20 {
            ballast.pop();
            let _ = child();
        }
        drop(ballast);
        assert!(child().unwrap().success());
        (&other).write_all(b"x").unwrap();
        wait_read(&one, None).unwrap();
    });
}
