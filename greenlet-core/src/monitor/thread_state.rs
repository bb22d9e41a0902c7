//! What the kernel says about a thread.

use std::fmt;
use std::fs;

/// What the kernel says about a thread that does not come back to its hub.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ThreadState {
    /// `R` (running, or ready to), `S` (sleeping), `D` (sleeping uninterruptibly, as for a disk), `T` (stopped); `?` when
    /// it is not known.
    pub state: Option<char>,
    /// The system call that it is in. `None`: it computes, or the kernel does not tell.
    pub system_call: Option<SystemCall>,
    /// The function of the kernel that it waits in, if the kernel tells.
    pub wait_channel: Option<String>,
}

/// A system call under way.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SystemCall {
    /// Its number on this architecture.
    pub number: i64,
    /// Its name, if it is among the usual ones.
    pub name: Option<&'static str>,
    /// Its arguments, as the kernel sees them.
    pub arguments: [u64; 6],
}

impl ThreadState {
    /// Of a thread of this process, by the kernel's number.
    pub(super) fn of(thread: i32) -> ThreadState {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
        ThreadState {
            state: read("stat").and_then(|stat| parse_state(&stat)),
            system_call: read("syscall").and_then(|call| SystemCall::parse(&call)),
            wait_channel: read("wchan").filter(|channel| !matches!(channel.as_str(), "" | "0")),
        }
    }
}

/// The third field: behind the name, which is in parentheses and may hold some itself.
fn parse_state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

impl SystemCall {
    /// `running`, or the number in decimal, the arguments and two addresses in hexadecimal. -1: none.
    fn parse(text: &str) -> Option<SystemCall> {
        let mut fields = text.split_ascii_whitespace();
        let number = fields.next()?.parse().ok().filter(|&number: &i64| number >= 0)?;
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok()?;
        }
        let known = KNOWN.iter().find(|known| known.0 == number);
        Some(SystemCall { number, name: known.map(|known| known.1), arguments })
    }

    /// The descriptor that it works on, if it is one of the usual calls that work on one.
    pub fn descriptor(&self) -> Option<i32> {
        let known = KNOWN.iter().find(|known| known.0 == self.number)?;
        matches!(known.2, On::Descriptor).then_some(self.arguments[0] as i32)
    }
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "system call {}", self.number)?,
        }
        match self.descriptor() {
            Some(descriptor) => write!(f, " of descriptor {descriptor}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            Some('R') => "running",
            Some('S') => "sleeping",
            Some('D') => "sleeping uninterruptibly",
            Some('T' | 't') => "stopped",
            Some('Z' | 'X') => "dead",
            _ => "in an unknown state",
        };
        f.write_str(state)?;
        if let Some(call) = &self.system_call {
            write!(f, " in {call}")?;
        }
        if let Some(channel) = &self.wait_channel {
            write!(f, " ({channel})")?;
        }
        Ok(())
    }
}

enum On {
    /// The first argument is a descriptor.
    Descriptor,
    Other,
}

use On::{Descriptor, Other};

/// Those that block, on every architecture of Linux.
#[rustfmt::skip]
const KNOWN: &[(i64, &str, On)] = &[
    (libc::SYS_read, "read", Descriptor), (libc::SYS_write, "write", Descriptor),
    (libc::SYS_readv, "readv", Descriptor), (libc::SYS_writev, "writev", Descriptor),
    (libc::SYS_pread64, "pread64", Descriptor), (libc::SYS_pwrite64, "pwrite64", Descriptor),
    (libc::SYS_preadv, "preadv", Descriptor), (libc::SYS_pwritev, "pwritev", Descriptor),
    (libc::SYS_recvfrom, "recvfrom", Descriptor), (libc::SYS_sendto, "sendto", Descriptor),
    (libc::SYS_recvmsg, "recvmsg", Descriptor), (libc::SYS_sendmsg, "sendmsg", Descriptor),
    (libc::SYS_recvmmsg, "recvmmsg", Descriptor), (libc::SYS_sendmmsg, "sendmmsg", Descriptor),
    (libc::SYS_accept, "accept", Descriptor), (libc::SYS_accept4, "accept4", Descriptor),
    (libc::SYS_connect, "connect", Descriptor), (libc::SYS_close, "close", Descriptor),
    (libc::SYS_fsync, "fsync", Descriptor), (libc::SYS_fdatasync, "fdatasync", Descriptor),
    (libc::SYS_flock, "flock", Descriptor), (libc::SYS_fcntl, "fcntl", Descriptor),
    (libc::SYS_ioctl, "ioctl", Descriptor), (libc::SYS_ftruncate, "ftruncate", Descriptor),
    (libc::SYS_fallocate, "fallocate", Descriptor), (libc::SYS_getdents64, "getdents64", Descriptor),
    (libc::SYS_epoll_pwait, "epoll_pwait", Descriptor), (libc::SYS_sendfile, "sendfile", Descriptor),
    (libc::SYS_splice, "splice", Descriptor), (libc::SYS_openat, "openat", Other),
    (libc::SYS_ppoll, "ppoll", Other), (libc::SYS_pselect6, "pselect6", Other),
    (libc::SYS_futex, "futex", Other), (libc::SYS_nanosleep, "nanosleep", Other),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", Other), (libc::SYS_wait4, "wait4", Other),
    (libc::SYS_waitid, "waitid", Other), (libc::SYS_sched_yield, "sched_yield", Other),
    (libc::SYS_mmap, "mmap", Other), (libc::SYS_munmap, "munmap", Other),
    (libc::SYS_madvise, "madvise", Other), (libc::SYS_mprotect, "mprotect", Other),
    (libc::SYS_msync, "msync", Other), (libc::SYS_unlinkat, "unlinkat", Other),
    (libc::SYS_renameat2, "renameat2", Other), (libc::SYS_mkdirat, "mkdirat", Other),
    (libc::SYS_statx, "statx", Other), (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", Other),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend", Other), (libc::SYS_clone, "clone", Other),
    (libc::SYS_execve, "execve", Other), (libc::SYS_getrandom, "getrandom", Other),
    (libc::SYS_sync, "sync", Other), (libc::SYS_semtimedop, "semtimedop", Other),
    (libc::SYS_msgrcv, "msgrcv", Other), (libc::SYS_mq_timedreceive, "mq_timedreceive", Other),
    (libc::SYS_io_uring_enter, "io_uring_enter", Descriptor),
    #[cfg(target_arch = "x86_64")] (libc::SYS_poll, "poll", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_select, "select", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_epoll_wait, "epoll_wait", Descriptor),
    #[cfg(target_arch = "x86_64")] (libc::SYS_open, "open", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_pause, "pause", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_unlink, "unlink", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_rename, "rename", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_fork, "fork", Other),
    #[cfg(target_arch = "x86_64")] (libc::SYS_vfork, "vfork", Other),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_is_read_with_its_descriptor() {
        let text = format!("{} 0x3 0x7ffd 0x1 0x0 0x0 0xff 0x7ffdeadbeef 0x7f1234\n", libc::SYS_read);
        let call = SystemCall::parse(&text).unwrap();
        assert_eq!((call.name, call.descriptor(), call.arguments[5]), (Some("read"), Some(3), 0xff));
        assert_eq!(call.to_string(), "read of descriptor 3");
    }

    #[test]
    fn no_system_call_is_none() {
        for text in ["running\n", "-1 0x7ffd 0x7f12\n", "", "read 3"] {
            assert_eq!(SystemCall::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_state() {
        assert_eq!(parse_state("12 (a) R (b) D 1 2 3"), Some('D'));
        assert_eq!(parse_state("no such file"), None);
    }

    #[test]
    fn this_thread_runs() {
        // SAFETY: it has no preconditions.
        let state = ThreadState::of(unsafe { libc::gettid() });
        assert_eq!(state.state, Some('R'), "{state}");
        assert_eq!(ThreadState::of(-1), ThreadState::default());
    }
}
