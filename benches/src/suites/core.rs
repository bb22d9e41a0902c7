//! The suite `core`: switching, spawning, waking, parking, sleeping and sockets, all of it on one thread.

use std::time::Duration;

use crate::harness::{Better, Figure, Runtime, Size, Suite, Workload};
use crate::runtimes::{Programs, greenlet::Greenlets, may::May, tokio::Tokio};
use crate::usage;

/// The suite's description.
pub static SUITE: Suite = Suite {
    name: "core",
    about: "scheduling and loopback I/O on one thread",
    workloads: WORKLOADS,
    runtimes: RUNTIMES,
    groups: &[],
    patience: Duration::MAX,
    report: |_, _| Ok(()),
};

static RUNTIMES: &[Runtime] = &[runtime::<Greenlets>(), runtime::<May>(), runtime::<Tokio>()];

const fn runtime<P: Programs>() -> Runtime {
    Runtime { name: P::NAME, max_tasks: P::MAX_TASKS, skips: &[], run: run::<P> }
}

const PARKED: Size = Size::Tasks { full: 1_000_000, quick: 100_000 };
const SLEEPERS: Size = Size::Tasks { full: 100_000, quick: 20_000 };

static WORKLOADS: &[Workload] = &[
    repeated("yield-2", &[cost("yield-2", "ns/yield", "two tasks that yield to each other")]),
    repeated("yield-1000", &[cost("yield-1000", "ns/yield", "a thousand tasks that yield in turn")]),
    repeated("spawn-join", &[cost("spawn-join", "ns/task", "spawn a task from a task and join it")]),
    repeated("queue-pingpong", &[cost("queue-pingpong", "ns/round-trip", "two tasks, two queues, one item")]),
    Workload {
        name: "parked",
        figures: &[
            cost(
                "parked-bytes",
                "bytes/task",
                "resident memory of a million waiting tasks, page tables included",
            ),
            cost("parked-create", "ns/task", "spawn a million tasks until all of them wait for one event"),
            cost("parked-wake", "ns/task", "set that event and join them all"),
        ],
        size: PARKED,
        fresh_process: true,
    },
    Workload {
        name: "sleepers",
        figures: &[cost("sleepers", "cpu-ns/task", "CPU time of 100,000 tasks that sleep up to 100 ms each")],
        size: SLEEPERS,
        fresh_process: false,
    },
    repeated(
        "echo-1",
        &[cost("echo-1", "ns/round-trip", "64 bytes there and back over one loopback connection")],
    ),
    repeated("echo-100", &[cost("echo-100", "ns/round-trip", "the same over a hundred connections at once")]),
];

const fn repeated(name: &'static str, figures: &'static [Figure]) -> Workload {
    Workload { name, figures, size: Size::FillRound, fresh_process: false }
}

const fn cost(name: &'static str, unit: &'static str, about: &'static str) -> Figure {
    Figure { name, unit, better: Better::Lower, about }
}

/// Runs the workload of this name on a runtime.
fn run<P: Programs>(workload: &str, size: u64) -> Vec<f64> {
    match workload {
        "yield-2" => shared_among(2, size, P::yields),
        "yield-1000" => shared_among(1000, size, P::yields),
        "spawn-join" => vec![nanos_each(P::spawn_join(size), size)],
        "queue-pingpong" => vec![nanos_each(P::queue_ping_pong(size), size)],
        "parked" => parked::<P>(size),
        "sleepers" => vec![nanos_each(P::sleepers(sleeps(size)), size)],
        "echo-1" => shared_among(1, size, P::echo),
        "echo-100" => shared_among(100, size, P::echo),
        other => unreachable!("the suite has no workload '{other}'"),
    }
}

/// Shares `total` operations among `tasks`, at least one for each, and says what one operation takes.
fn shared_among(tasks: usize, total: u64, program: fn(usize, u64) -> Duration) -> Vec<f64> {
    let each = (total / tasks as u64).max(1);
    vec![nanos_each(program(tasks, each), each * tasks as u64)]
}

fn parked<P: Programs>(tasks: u64) -> Vec<f64> {
    let before = usage::resident_bytes();
    let parked = P::parked(tasks.try_into().expect("a number of tasks fits into memory"));
    let bytes = parked.resident_bytes.saturating_sub(before);
    vec![bytes as f64 / tasks as f64, nanos_each(parked.create, tasks), nanos_each(parked.wake, tasks)]
}

fn nanos_each(time: Duration, operations: u64) -> f64 {
    time.as_secs_f64() * 1e9 / operations as f64
}

/// The same pseudo-random times in every run, from 0 to 100 ms.
fn sleeps(tasks: u64) -> Vec<Duration> {
    const LONGEST_MICROS: u64 = 100_000;
    (0..tasks).map(|task| Duration::from_micros(scrambled(task) % (LONGEST_MICROS + 1))).collect()
}

/// The output of SplitMix64 at this place in its sequence.
fn scrambled(place: u64) -> u64 {
    let mut bits = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs everything once with next to nothing to do: names fit together and all programs come to an end.
    fn every_workload_runs<P: Programs>() {
        for workload in WORKLOADS {
            let values = run::<P>(workload.name, 10);
            assert_eq!(values.len(), workload.figures.len(), "{}", workload.name);
            assert!(values.iter().all(|value| value.is_finite()), "{}: {values:?}", workload.name);
        }
    }

    #[test]
    fn every_workload_runs_on_greenlets() {
        every_workload_runs::<Greenlets>();
    }

    #[test]
    fn every_workload_runs_on_may() {
        every_workload_runs::<May>();
    }

    #[test]
    fn every_workload_runs_on_tokio() {
        every_workload_runs::<Tokio>();
    }

    #[test]
    fn sleeps_fill_their_range() {
        let sleeps = sleeps(1000);
        assert!(sleeps.iter().max() <= Some(&Duration::from_millis(100)));
        assert!(sleeps.iter().max() > Some(&Duration::from_millis(95)));
        assert!(sleeps.iter().min() < Some(&Duration::from_millis(5)));
    }
}
