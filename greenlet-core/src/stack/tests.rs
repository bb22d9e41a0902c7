//! What a pool promises.

use std::cell::Cell;
use std::env;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::process::{self, Command, Output};
use std::rc::Rc;
use std::time::Instant;

use corosensei::stack::Stack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::guard::{Guards, MapBudget, page_size};
use super::*;

const CHILD: &str = "GREENLET_TEST_STACK_CHILD";
const FINISHED: i32 = 77;

/// Runs `body` in a process of its own: the test binary again, told to run only the test of this path, which
/// gets here and does not return.
pub(crate) fn in_child(test: &str, body: impl FnOnce()) -> Output {
    if env::var_os(CHILD).is_some() {
        let no_core_dump = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: setrlimit only reads the struct.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core_dump) };
        body();
        process::exit(FINISHED);
    }
    let (_crate, test) = test.split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--include-ignored"]).env(CHILD, "1").output().unwrap()
}

/// Asserts that the child got to the end of its body.
#[track_caller]
pub(crate) fn finished(output: &Output) {
    let print = String::from_utf8_lossy;
    assert_eq!(output.status.code(), Some(FINISHED), "{}{}", print(&output.stdout), print(&output.stderr));
}

fn pool(warm: usize) -> StackPool {
    StackPool::new(StackConfig { warm, ..StackConfig::default() })
}

fn size(kib: usize) -> StackSize {
    StackSize::new(kib << 10).unwrap()
}

fn touch_top(slot: &StackSlot) {
    // SAFETY: the last byte below the base belongs to the slot, on which nothing runs.
    unsafe { (slot.base().get() as *mut u8).sub(1).write_volatile(1) };
}

fn top_is_resident(slot: &StackSlot) -> bool {
    let page = slot.base().get() - page_size();
    let mut resident = 0u8;
    // SAFETY: the page is mapped, and mincore writes one byte for it.
    assert_eq!(unsafe { libc::mincore(page as *mut _, page_size(), (&raw mut resident).cast()) }, 0);
    resident & 1 == 1
}

fn is_mapped(address: usize) -> bool {
    // SAFETY: msync changes nothing in anonymous memory, mapped or not.
    unsafe { libc::msync(address as *mut _, page_size(), libc::MS_ASYNC) == 0 }
}

/// Whether the lowest byte of the slot is guarded. The kernel is asked to read it, which fails rather than
/// faults.
fn guarded(slot: &StackSlot) -> bool {
    let (_reader, writer) = io::pipe().unwrap();
    // SAFETY: the address is dereferenced by the kernel only, which checks it.
    let written = unsafe { libc::write(writer.as_raw_fd(), slot.limit().get() as *const _, 1) };
    written == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[test]
fn the_stack_released_last_is_allocated_first() {
    let mut pool = pool(1024);
    let slots: Vec<_> = (0..3).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
    let bases: Vec<_> = slots.iter().map(Stack::base).collect();
    slots.into_iter().for_each(|slot| pool.release(slot));
    let slots: Vec<_> = (0..3).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
    assert!(slots.iter().map(Stack::base).eq(bases.into_iter().rev()));
    slots.into_iter().for_each(|slot| pool.release(slot));
}

#[test]
fn stacks_have_the_size_asked_for_and_do_not_overlap() {
    let mut pool = pool(1024);
    let mut slots = Vec::new();
    for kib in [256, 128, 512, 256, 1024, 128, 256] {
        let slot = pool.allocate(size(kib)).unwrap();
        assert_eq!(slot.base().get() - slot.limit().get(), kib << 10);
        touch_top(&slot);
        slots.push(slot);
    }
    slots.sort_by_key(Stack::base);
    assert!(slots.windows(2).all(|pair| pair[0].base() <= pair[1].limit()));
    assert_eq!(pool.stats().slabs, 4);
    slots.into_iter().for_each(|slot| pool.release(slot));
}

#[test]
fn a_stack_is_reused_only_for_its_own_size() {
    let mut pool = pool(1024);
    let small = pool.allocate(size(128)).unwrap();
    let base = small.base();
    pool.release(small);
    let large = pool.allocate(size(256)).unwrap();
    assert_ne!(large.base(), base);
    let small = pool.allocate(size(128)).unwrap();
    assert_eq!(small.base(), base);
    pool.release(large);
    pool.release(small);
}

#[test]
fn idle_stacks_beyond_the_warm_limit_give_their_memory_back() {
    let mut pool = pool(64);
    let slots: Vec<_> = (0..1000).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
    slots.iter().for_each(touch_top);
    let watched: Vec<_> = slots.iter().map(|slot| (slot.base(), slot.limit())).collect();
    slots.into_iter().for_each(|slot| pool.release(slot));

    let stats = pool.stats();
    assert_eq!(stats.idle_warm + stats.idle_cold, 1000);
    assert!((64..64 + 4).contains(&stats.idle_warm), "{stats:?}");
    assert_eq!(stats.allocated, 0);

    // Warm ones first, then cold ones; both work.
    let slots: Vec<_> = (0..1000).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
    assert_eq!(slots.iter().filter(|slot| top_is_resident(slot)).count(), stats.idle_warm);
    assert!(slots[..stats.idle_warm].iter().all(top_is_resident));
    let again: Vec<_> = slots.iter().map(|slot| (slot.base(), slot.limit())).collect();
    assert!(again.iter().all(|slot| watched.contains(slot)));
    slots.iter().for_each(touch_top);
    slots.into_iter().for_each(|slot| pool.release(slot));
}

#[test]
fn with_a_warm_limit_of_zero_memory_goes_back_at_once() {
    let mut pool = pool(0);
    let slot = pool.allocate(StackSize::DEFAULT).unwrap();
    touch_top(&slot);
    pool.release(slot);
    assert_eq!((pool.stats().idle_warm, pool.stats().idle_cold), (0, 1));
    let slot = pool.allocate(StackSize::DEFAULT).unwrap();
    assert!(!top_is_resident(&slot));
    pool.release(slot);
}

#[test]
fn guards_survive_giving_memory_back() {
    for guard in [GuardMode::Auto, GuardMode::Mprotect] {
        let mut pool = StackPool::new(StackConfig { guard, warm: 64, ..StackConfig::default() });
        for _ in 0..2 {
            let slots: Vec<_> = (0..200).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
            assert!(slots.iter().all(guarded));
            slots.into_iter().for_each(|slot| pool.release(slot));
            assert!(pool.stats().idle_cold > 100);
        }
    }
}

#[test]
fn a_pool_has_at_most_max_stacks_in_use() {
    let mut pool = StackPool::new(StackConfig { max_stacks: Some(2), ..StackConfig::default() });
    let first = pool.allocate(StackSize::DEFAULT).unwrap();
    let second = pool.allocate(size(128)).unwrap();
    let error = pool.allocate(StackSize::DEFAULT).unwrap_err();
    assert!(matches!(error, StackError::LimitReached { limit: 2 }));
    assert!(error.to_string().contains("all 2 stacks"), "{error}");
    pool.release(first);
    let third = pool.allocate(StackSize::DEFAULT).unwrap();
    pool.release(second);
    pool.release(third);
}

#[test]
fn mprotect_guards_stop_at_the_limit_with_a_clear_error() {
    let budget = Box::leak(Box::new(MapBudget::new(|| 10 + MapBudget::MARGIN, || 0)));
    let guards = Guards::with_budget(GuardMode::Mprotect, budget);
    let mut pool = StackPool::with_guards(StackConfig::default(), guards);
    let mut slots: Vec<_> = (0..5).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()).collect();
    let error = pool.allocate(StackSize::DEFAULT).unwrap_err();
    assert!(matches!(error, StackError::TooManyGuards { limit: 5, in_use: 5, .. }), "{error:?}");

    pool.release(slots.pop().unwrap());
    slots.push(pool.allocate(StackSize::DEFAULT).expect("an idle stack needs no new guard"));
    slots.into_iter().for_each(|slot| pool.release(slot));
    drop(pool);

    let guards = Guards::with_budget(GuardMode::Mprotect, budget);
    let mut pool = StackPool::with_guards(StackConfig::default(), guards);
    let slot = pool.allocate(StackSize::DEFAULT).expect("a dropped pool gives its guards back");
    pool.release(slot);
}

#[test]
#[cfg(target_os = "linux")]
fn the_kernel_limit_of_mappings_is_not_reached() {
    let test = concat!(module_path!(), "::the_kernel_limit_of_mappings_is_not_reached");
    let output = in_child(test, || {
        let mut pool = StackPool::new(StackConfig { guard: GuardMode::Mprotect, ..StackConfig::default() });
        let mut slots = Vec::new();
        let error = loop {
            match pool.allocate(size(128)) {
                Ok(slot) => slots.push(slot),
                Err(error) => break error,
            }
            if slots.len() == 100_000 {
                return; // a machine with a raised limit
            }
        };
        assert!(matches!(error, StackError::TooManyGuards { .. }), "{error}");
        println!("{} stacks, then: {error}", slots.len());
        // The rest of the process can still map memory.
        let other: Vec<_> = (0..500).map(|_| slab::map(page_size()).unwrap()).collect();
        assert_eq!(other.len(), 500);
        slots.into_iter().for_each(|slot| pool.release(slot));
    });
    finished(&output);
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[cfg(target_os = "linux")]
fn locked_memory_gets_mprotect_guards() {
    let test = concat!(module_path!(), "::locked_memory_gets_mprotect_guards");
    finished(&in_child(test, || {
        let mut auto = pool(1024);
        // SAFETY: mlockall changes residency only.
        if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
            return; // not allowed here
        }
        // Where RLIMIT_MEMLOCK counts, the slab is made smaller until it fits.
        let slot = auto.allocate(size(128)).unwrap();
        assert!(guarded(&slot));
        auto.release(slot);

        let mut strict = StackPool::new(StackConfig { guard: GuardMode::Madvise, ..StackConfig::default() });
        let error = strict.allocate(size(128)).unwrap_err();
        assert!(matches!(error, StackError::GuardRefused { .. }), "{error}");
    }));
}

#[test]
#[cfg(target_os = "linux")]
fn under_an_address_space_limit_slabs_get_smaller_before_they_fail() {
    let test = concat!(module_path!(), "::under_an_address_space_limit_slabs_get_smaller_before_they_fail");
    finished(&in_child(test, || {
        let mut pool = pool(1024);
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        let mapped = status.split(' ').next().unwrap().parse::<u64>().unwrap() * page_size() as u64;
        let limit = libc::rlimit { rlim_cur: mapped + (40 << 20), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: setrlimit only reads the struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);

        let mut slots = Vec::new();
        let error = loop {
            match pool.allocate(StackSize::new(1 << 20).unwrap()) {
                Ok(slot) => slots.push(slot),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StackError::OutOfMemory { .. }), "{error}");
        assert!(error.to_string().contains("no memory for a stack of 1 MiB"), "{error}");
        assert!((30..=40).contains(&slots.len()), "{} stacks", slots.len());
        slots.into_iter().for_each(|slot| pool.release(slot));
    }));
}

#[test]
fn dropping_a_pool_unmaps_slabs_without_live_stacks_and_leaks_the_others() {
    let test =
        concat!(module_path!(), "::dropping_a_pool_unmaps_slabs_without_live_stacks_and_leaks_the_others");
    finished(&in_child(test, || {
        let mut pool = pool(1024);
        let idle = pool.allocate(size(128)).unwrap();
        let live = pool.allocate(size(256)).unwrap();
        let (idle_limit, live_limit) = (idle.limit().get(), live.limit().get());
        pool.release(idle);
        drop(pool);
        assert!(!is_mapped(idle_limit));
        assert!(is_mapped(live_limit));
        assert_eq!(registry::guard_at(idle_limit), None);
        assert!(registry::guard_at(live_limit).is_some(), "a leaked stack keeps its report");
        touch_top(&live);
    }));
}

#[test]
fn a_dropped_slot_is_not_handed_out_again() {
    let mut pool = pool(1024);
    let leaked = pool.allocate(StackSize::DEFAULT).unwrap();
    let base = leaked.base();
    drop(leaked);
    for _ in 0..100 {
        let slot = pool.allocate(StackSize::DEFAULT).unwrap();
        assert_ne!(slot.base(), base);
        pool.release(slot);
    }
    assert_eq!(pool.stats().allocated, 1);
}

#[test]
#[should_panic(expected = "released to a pool that it is not from")]
fn a_slot_of_another_pool_is_refused() {
    let slot = pool(1024).allocate(StackSize::DEFAULT).unwrap();
    let mut other = pool(1024);
    let own = other.allocate(StackSize::DEFAULT).unwrap();
    other.release(own);
    other.release(slot);
}

struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_suspended_coroutine_unwinds_and_its_stack_is_reused() {
    let mut pool = pool(1024);
    let unwound = Rc::new(Cell::new(false));
    let slot = pool.allocate(StackSize::DEFAULT).unwrap();
    let base = slot.base();

    let on_drop = OnDrop(unwound.clone());
    let mut coroutine = Coroutine::with_stack(slot, move |yielder: &Yielder<u32, u32>, first| {
        let _on_drop = on_drop;
        let mut sum = first;
        loop {
            sum += yielder.suspend(sum);
        }
    });
    assert!(matches!(coroutine.resume(1), CoroutineResult::Yield(1)));
    assert!(matches!(coroutine.resume(2), CoroutineResult::Yield(3)));
    assert!(!unwound.get());
    coroutine.force_unwind();
    assert!(unwound.get());
    pool.release(coroutine.into_stack());

    let slot = pool.allocate(StackSize::DEFAULT).unwrap();
    assert_eq!(slot.base(), base);
    let mut coroutine = Coroutine::<u32, (), u32, _>::with_stack(slot, |_, input| input + 1);
    assert!(matches!(coroutine.resume(1), CoroutineResult::Return(2)));
    pool.release(coroutine.into_stack());
}

/// The value of a line of /proc/self/status, in bytes.
#[cfg(target_os = "linux")]
fn status(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', '\t', ' ']).strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() << 10
}

/// Allocates, touches and releases `count` stacks, and prints what that costs.
#[cfg(target_os = "linux")]
fn measure(count: usize) {
    let per_stack = |elapsed: Instant| elapsed.elapsed().as_nanos() / count as u128;
    let mut pool = pool(1024);
    let mut slots = Vec::with_capacity(count);
    let (resident, tables) = (status("VmRSS"), status("VmPTE"));

    let carving = Instant::now();
    slots.extend((0..count).map(|_| pool.allocate(StackSize::DEFAULT).unwrap()));
    let carving = per_stack(carving);
    let touching = Instant::now();
    slots.iter().for_each(touch_top);
    let touching = per_stack(touching);

    let resident = (status("VmRSS") - resident) / count;
    let tables = (status("VmPTE") - tables) / count;
    println!("{count} stacks: {resident} B resident, {tables} B of page tables each; {:?}", pool.stats());
    assert!(resident + tables < 6 << 10, "{resident} + {tables} bytes a stack");

    let releasing = Instant::now();
    slots.drain(..).for_each(|slot| pool.release(slot));
    let releasing = per_stack(releasing);
    println!("carve {carving} ns, first touch {touching} ns, release in a row {releasing} ns");

    const PAIRS: u128 = 1_000_000;
    let warm = Instant::now();
    for _ in 0..PAIRS {
        let slot = pool.allocate(black_box(StackSize::DEFAULT)).unwrap();
        pool.release(black_box(slot));
    }
    println!("warm allocate + release {:.1} ns", warm.elapsed().as_nanos() as f64 / PAIRS as f64);
    let unmapping = Instant::now();
    drop(pool);
    println!("unmapping {} ns", per_stack(unmapping));
}

#[test]
#[cfg(target_os = "linux")]
fn twenty_thousand_touched_stacks_take_little_more_than_a_page_each() {
    let test = concat!(module_path!(), "::twenty_thousand_touched_stacks_take_little_more_than_a_page_each");
    let output = in_child(test, || measure(20_000));
    finished(&output);
    println!("{}", String::from_utf8_lossy(&output.stdout));
}
