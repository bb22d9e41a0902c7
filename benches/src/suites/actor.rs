//! The suite `actor`: programs of the Savina suite and more, on one core and on two.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::actors::greenlet::Greenlets;
use crate::actors::other_languages::{ERLANG, GO, Program};
use crate::actors::{Cores, Library, programs};
#[cfg(feature = "actor-peers")]
use crate::actors::{actix::Actix, kameo::Kameo, ractor::Ractor, xtra::Xtra};
use crate::harness::{Better, Figure, Measured, Options, Runtime, Size, Suite, Workload, print_line};
use crate::plot;
use crate::usage;

/// The suite's description.
pub static SUITE: Suite = Suite {
    name: "actor",
    about: "actors on one core, and on two (names that end with -2)",
    workloads: WORKLOADS,
    runtimes: RUNTIMES,
    groups: &[&["ractor", "kameo", "actix", "xtra"], &["erlang", "go"]],
    patience: Duration::from_secs(15),
    report,
};

static RUNTIMES: &[Runtime] = &[
    library::<Greenlets>(&[]),
    #[cfg(feature = "actor-peers")]
    library::<Ractor>(&[]),
    #[cfg(feature = "actor-peers")]
    library::<Kameo>(&[]),
    #[cfg(feature = "actor-peers")]
    library::<Actix>(&["restart", "whereis", "whereis-2"]),
    #[cfg(feature = "actor-peers")]
    // Its messages overtake each other, and a sum that comes before what it is of is wrong.
    library::<Xtra>(&["counting", "counting-2", "tell", "tell-2", "restart", "whereis", "whereis-2"]),
    Runtime { name: "erlang", max_tasks: u64::MAX, skips: &[], run: |name, size| other(&ERLANG, name, size) },
    Runtime {
        name: "go",
        max_tasks: u64::MAX,
        skips: &["restart"],
        run: |name, size| other(&GO, name, size),
    },
];

const fn library<L: Library>(skips: &'static [&'static str]) -> Runtime {
    Runtime { name: L::NAME, max_tasks: u64::MAX, skips, run: run::<L> }
}

/// What ends the name of a workload on two cores.
const ON_TWO: &str = "-2";

/// A workload with one figure, of so many operations, on one core and on two.
macro_rules! workloads {
    ($($name:literal, $unit:literal, $full:literal, $quick:literal, $about:literal $(, $two:ident)?;)*) => {
        &[
            $(
                Workload {
                    name: $name,
                    figures: &[cost($name, $unit, $about)],
                    size: Size::Tasks { full: $full, quick: $quick },
                    fresh_process: false,
                },
                $(workloads!(@$two $name, $unit, $full, $quick, $about),)?
            )*
            Workload {
                name: "idle",
                figures: &[
                    cost("idle-create", "ns/actor", "a million idle actors, until all have started"),
                    cost("idle-bytes", "bytes/actor", "resident memory of them, with references to them"),
                ],
                size: Size::Tasks { full: 1_000_000, quick: 50_000 },
                fresh_process: true,
            },
        ]
    };
    (@two $name:literal, $unit:literal, $full:literal, $quick:literal, $about:literal) => {
        Workload {
            name: concat!($name, "-2"),
            figures: &[cost(concat!($name, "-2"), $unit, $about)],
            size: Size::Tasks { full: $full, quick: $quick },
            fresh_process: false,
        }
    };
}

#[rustfmt::skip]
static WORKLOADS: &[Workload] = workloads! {
    "ping-pong", "ns/round-trip", 40_000, 2_000, "two actors, one message", two;
    "counting", "ns/message", 1_000_000, 20_000, "a million messages to one actor, sent at once", two;
    "tell", "ns/message", 1_000_000, 20_000, "a thousand messages to one actor, then the next thousand", two;
    "ask", "ns/question", 100_000, 2_000, "from outside of the actors: question and answer", two;
    "ask-actor", "ns/question", 100_000, 2_000, "from one actor to another: question and answer", two;
    "spawn-stop", "ns/actor", 100_000, 2_000, "one actor after the other, from spawn to end", two;
    "ring", "ns/hop", 100_000, 2_000, "a token in a ring of a hundred actors", two;
    "fork-create", "ns/actor", 40_000, 2_000, "actors that get one message and end", two;
    "fork-throughput", "ns/message", 600_000, 12_000, "messages to sixty actors in turn", two;
    "chameneos", "ns/meeting", 200_000, 4_000, "a hundred creatures meet in pairs", two;
    "big", "ns/round-trip", 2_400_000, 24_000, "120 actors ping each other at random", two;
    "dictionary", "ns/question", 200_000, 4_000, "twenty workers ask one dictionary, a tenth are writes", two;
    "philosophers", "ns/meal", 200_000, 2_000, "twenty philosophers and one who hands out the forks", two;
    "bank", "ns/transfer", 50_000, 2_000, "accounts that ask each other and wait for the answer", two;
    "tree", "ns/node", 200_000, 5_000, "a tree that grows at random, with some work in each node", two;
    "skynet", "ns/leaf", 1_000_000, 10_000, "a million actors spawned by their parents add up their numbers", two;
    "whereis", "ns/lookup", 1_000_000, 20_000, "a thousand actors are looked up by their names", two;
    "restart", "ns/child", 100_000, 1_000, "children of one supervisor that crash once";
};

/// What two cores are worth; and plots, if everything was measured.
fn report(all: &[Measured], options: &Options) -> io::Result<()> {
    let find = |name: &str| all.iter().find(|measured| measured.figure.name == name);
    for one in all {
        let Some(two) = find(&format!("{}{ON_TWO}", one.figure.name)) else { continue };
        for (runtime, on_one) in &one.medians {
            if let Some(on_two) = two.of(runtime) {
                let speedup = on_one / on_two;
                print_line(format_args!("speedup\t{}\t{runtime}\t{speedup:.2}", one.figure.name))?;
            }
        }
    }
    if options.quick || !options.only.is_empty() {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&folder)?;
    let on = |two: bool| {
        all.iter().filter(move |measured| {
            let name = measured.figure.name;
            !name.starts_with("idle") && name.ends_with(ON_TWO) == two
        })
    };
    let idle = all.iter().filter(|measured| measured.figure.name.starts_with("idle"));
    let plots = [
        (
            "actor-one-core.svg",
            plot::bars("Actors on one core: time, in multiples of greenlet-actor's", on(false)),
        ),
        (
            "actor-two-cores.svg",
            plot::bars("Actors on two cores: time, in multiples of greenlet-actor's", on(true)),
        ),
        ("actor-idle.svg", plot::bars("A million idle actors, in multiples of greenlet-actor's", idle)),
    ];
    for (name, plot) in plots {
        let path = folder.join(name);
        std::fs::write(&path, plot)?;
        eprintln!("note: written: {}", path.display());
    }
    Ok(())
}

const fn cost(name: &'static str, unit: &'static str, about: &'static str) -> Figure {
    Figure { name, unit, better: Better::Lower, about }
}

/// The workload without the number of cores, and that.
fn on_cores(workload: &str) -> (&str, Cores) {
    match workload.strip_suffix(ON_TWO) {
        Some(workload) => (workload, Cores::Two),
        None => (workload, Cores::One),
    }
}

/// Runs the workload of this name on a library.
fn run<L: Library>(workload: &str, size: u64) -> Vec<f64> {
    end_with_a_panic();
    let (workload, cores) = on_cores(workload);
    if cores == Cores::One {
        usage::keep_to_one_processor();
    }
    let time = match workload {
        "ping-pong" => programs::ping_pong::<L>(cores, size),
        "counting" => programs::counting::<L>(cores, size),
        "tell" => programs::tell::<L>(cores, size),
        "ask" => L::ask_from_outside(cores, size),
        "ask-actor" => L::ask_from_an_actor(cores, size),
        "spawn-stop" => programs::spawn_stop::<L>(cores, size),
        "ring" => programs::thread_ring::<L>(cores, size),
        "fork-create" => programs::fork_join_create::<L>(cores, size),
        "fork-throughput" => programs::fork_join_throughput::<L>(cores, size / 60),
        "chameneos" => programs::chameneos::<L>(cores, size),
        "big" => programs::big::<L>(cores, size / 120),
        "dictionary" => programs::dictionary::<L>(cores, size / 20),
        "philosophers" => programs::philosophers::<L>(cores, size / 20),
        "bank" => L::bank(cores, size),
        "tree" => programs::cobwebbed_tree::<L>(cores, size),
        "skynet" => programs::skynet::<L>(cores, size),
        "whereis" => L::whereis(cores, size).unwrap_or_else(|| panic!("{} has no names", L::NAME)),
        "restart" => L::restart(cores, size).unwrap_or_else(|| panic!("{} restarts nothing", L::NAME)),
        "idle" => {
            let (time, bytes) = programs::idle::<L>(cores, size);
            return vec![nanos_each(time, size), bytes as f64 / size as f64];
        }
        other => unreachable!("the suite has no workload '{other}'"),
    };
    vec![nanos_each(time, size)]
}

/// Some libraries catch panics of actors, and the program would wait for ever.
fn end_with_a_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::exit(101);
        }));
    });
}

/// Runs it in another language. Its programs answer with nanoseconds, and bytes if they are asked for.
fn other(program: &'static Program, workload: &str, size: u64) -> Vec<f64> {
    let (workload, cores) = on_cores(workload);
    let values = program.measure(workload, cores, size);
    values.into_iter().map(|value| value / size as f64).collect()
}

fn nanos_each(time: Duration, operations: u64) -> f64 {
    time.as_secs_f64() * 1e9 / operations as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs everything once with next to nothing to do: names fit together and all programs come to an end.
    fn every_workload_runs(runtime: &str) {
        let runtime = SUITE.runtime(runtime).expect("it is in the suite");
        for workload in WORKLOADS.iter().filter(|workload| !runtime.skips.contains(&workload.name)) {
            let values = (runtime.run)(workload.name, 1000);
            if values.is_empty() {
                eprintln!("{} is not there", runtime.name);
                return;
            }
            assert_eq!(values.len(), workload.figures.len(), "{}", workload.name);
            assert!(values.iter().all(|value| value.is_finite()), "{}: {values:?}", workload.name);
        }
    }

    #[test]
    fn every_workload_runs_on_greenlets() {
        every_workload_runs("greenlet");
    }

    #[test]
    #[cfg(feature = "actor-peers")]
    fn every_workload_runs_on_ractor() {
        every_workload_runs("ractor");
    }

    #[test]
    #[cfg(feature = "actor-peers")]
    fn every_workload_runs_on_kameo() {
        every_workload_runs("kameo");
    }

    #[test]
    #[cfg(feature = "actor-peers")]
    fn every_workload_runs_on_actix() {
        every_workload_runs("actix");
    }

    #[test]
    #[cfg(feature = "actor-peers")]
    fn every_workload_runs_on_xtra() {
        every_workload_runs("xtra");
    }

    #[test]
    fn every_workload_runs_on_erlang() {
        every_workload_runs("erlang");
    }

    #[test]
    fn every_workload_runs_on_go() {
        every_workload_runs("go");
    }
}
