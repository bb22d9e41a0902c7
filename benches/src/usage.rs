//! What the operating system says that this process uses.

use std::fs;
#[cfg(feature = "net")]
use std::{io, mem::MaybeUninit, time::Duration};

/// The resident memory of the process in bytes, including its page tables.
///
/// Page tables belong to the price of a stack: mappings that are far apart need more of them.
pub fn resident_bytes() -> u64 {
    resident_bytes_of(std::process::id())
}

/// The same of another process.
pub fn resident_bytes_of(process: u32) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{process}/status")).expect("procfs tells about own processes");
    let kilobytes = |name| status_kilobytes(&status, name).expect("a process has a size");
    (kilobytes("VmRSS") + kilobytes("VmPTE")) * 1024
}

fn status_kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(feature = "actor")]
/// From now on the calling thread, and those that it starts, run on one processor: the last of those that they may use.
pub fn keep_to_one_processor() {
    let may = rustix::thread::sched_getaffinity(None).expect("a thread may ask where it runs");
    let last = (0..rustix::thread::CpuSet::MAX_CPU).rev().find(|&processor| may.is_set(processor));
    let mut one = rustix::thread::CpuSet::new();
    one.set(last.expect("it runs somewhere"));
    rustix::thread::sched_setaffinity(None, &one).expect("a thread may have less");
}

/// The CPU time that all threads of the process have used so far, in user mode and in the kernel.
#[cfg(feature = "net")]
pub fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: The pointer is valid for writing one `rusage`.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "getrusage: {}", io::Error::last_os_error());
    // SAFETY: `getrusage` succeeded and has filled it in.
    let usage = unsafe { usage.assume_init() };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[cfg(feature = "net")]
fn duration(time: libc::timeval) -> Duration {
    let part = "the time used is not negative";
    Duration::from_secs(time.tv_sec.try_into().expect(part))
        + Duration::from_micros(time.tv_usec.try_into().expect(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_found_by_its_whole_name() {
        let status = "VmRSSX:\t    1 kB\nVmRSS:\t  1234 kB\nVmPTE:\t  56 kB\nThreads:\t1\n";
        assert_eq!(status_kilobytes(status, "VmRSS"), Some(1234));
        assert_eq!(status_kilobytes(status, "VmPTE"), Some(56));
        assert_eq!(status_kilobytes(status, "Threads"), None);
        assert_eq!(status_kilobytes(status, "VmSwap"), None);
    }

    #[test]
    fn memory_that_is_touched_is_resident() {
        const SIZE: usize = 64 << 20;
        let before = resident_bytes();
        let memory = std::hint::black_box(vec![1_u8; SIZE]);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown > SIZE as u64 / 2, "{grown}");
        drop(memory);
    }

    #[test]
    #[cfg(feature = "net")]
    fn work_costs_cpu_time() {
        let before = cpu_time();
        while cpu_time() == before {
            std::hint::spin_loop();
        }
    }
}
