//! Kernels and sandboxes that do not know the calls which are preferred. A filter of system calls plays the part.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_core::io::{Direction, Source};
use greenlet_core::{Config, Hub, PollerKind, run, sleep, spawn, with_timeout};
use support::{GENEROUS, is_child, run_child, stderr};

/// Has a system call fail with this error, for this process from now on. Whether that goes.
fn forbid(call: libc::c_long, error: i32) -> bool {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the call comes first in what the filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32) },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which copy it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

fn error_of_pwait2() -> Option<i32> {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: there is no such descriptor, whatever else is said.
    let result = unsafe { libc::syscall(libc::SYS_epoll_pwait2, -1, null, 0, null, null, 0) };
    assert_eq!(result, -1);
    std::io::Error::last_os_error().raw_os_error()
}

/// What a hub does with its poller: timers, descriptors, calls from other threads.
fn hubs_work_without(error: i32) {
    if !forbid(libc::SYS_epoll_pwait2, error) {
        println!("skipped: no filters of system calls here");
        return;
    }
    assert_eq!(error_of_pwait2(), Some(error), "the filter is at work");
    Hub::configure(Config::default().poller(PollerKind::Epoll)).unwrap();
    run(|| {
        for wait in [Duration::from_micros(300), Duration::from_millis(1), Duration::from_micros(2500)] {
            let start = Instant::now();
            sleep(wait);
            assert!(start.elapsed() >= wait);
        }
        assert!(with_timeout(Duration::from_millis(2), || sleep(GENEROUS)).is_err());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = Source::new(ours);
        let error = ours.read(&mut [0; 8], Some(Duration::from_micros(1500))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let reader = spawn(move || {
            ours.wait(Direction::Write, Some(GENEROUS)).unwrap();
            let mut buffer = [0; 8];
            let n = ours.read(&mut buffer, Some(GENEROUS)).unwrap();
            (buffer[..n].to_vec(), ours.read(&mut buffer, Some(GENEROUS)).unwrap())
        });
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            theirs.write_all(b"hello").unwrap();
        });
        assert_eq!(reader.get().unwrap(), (b"hello".to_vec(), 0));
        let handle = thread::spawn(|| run(|| spawn(|| sleep(Duration::from_millis(1))).get().is_ok()));
        assert!(handle.join().unwrap(), "hubs of other threads know it too");
    });
}

#[test]
fn a_kernel_without_precise_waits_is_waited_with_in_milliseconds() {
    const NAME: &str = "a_kernel_without_precise_waits_is_waited_with_in_milliseconds";
    if is_child(NAME) {
        return hubs_work_without(libc::ENOSYS);
    }
    let output = run_child(NAME);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_sandbox_that_forbids_them_is_too() {
    const NAME: &str = "a_sandbox_that_forbids_them_is_too";
    if is_child(NAME) {
        return hubs_work_without(libc::EPERM);
    }
    let output = run_child(NAME);
    assert!(output.status.success(), "{}", stderr(&output));
}
