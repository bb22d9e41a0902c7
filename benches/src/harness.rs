//! Rounds, medians and ratios: everything about measuring except what is measured.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::worker::Worker;

/// The runtime that the others are compared with.
pub const OURS: &str = "greenlet";

/// A set of workloads and the runtimes that can run them.
#[derive(Debug)]
pub struct Suite {
    /// What selects it on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// What is measured, in the order of the output.
    pub workloads: &'static [Workload],
    /// Who is measured, in the order of the output and of every round.
    pub runtimes: &'static [Runtime],
    /// Groups of peers, by name: with the best of each group we are compared. Empty: all are one.
    pub groups: &'static [&'static [&'static str]],
    /// How long all rounds of a workload may take: then there are fewer, but [`FEWEST_ROUNDS`].
    pub patience: Duration,
    /// What else is to be said about the figures of a whole run.
    pub report: fn(&[Measured], &Options) -> io::Result<()>,
}

/// However long a round takes.
const FEWEST_ROUNDS: usize = 3;

/// The medians of a figure, by the name of the runtime.
#[derive(Debug)]
pub struct Measured {
    /// Which figure.
    pub figure: &'static Figure,
    /// In the order of the output.
    pub medians: Vec<(&'static str, f64)>,
}

impl Measured {
    /// That of one runtime.
    #[cfg(feature = "actor")]
    pub fn of(&self, runtime: &str) -> Option<f64> {
        self.medians.iter().find(|(name, _)| *name == runtime).map(|(_, median)| *median)
    }
}

impl Suite {
    /// The figures of all workloads, in the order of the output.
    pub fn figures(&self) -> impl Iterator<Item = &'static Figure> {
        self.workloads.iter().flat_map(|workload| workload.figures)
    }

    /// The runtime of that name.
    pub fn runtime(&self, name: &str) -> Option<&'static Runtime> {
        self.runtimes.iter().find(|runtime| runtime.name == name)
    }
}

/// A program that is run for each runtime; running it once gives one value for each of its figures.
#[derive(Debug)]
pub struct Workload {
    /// The name under which [`Runtime::run`] knows it.
    pub name: &'static str,
    /// What one run of it tells.
    pub figures: &'static [Figure],
    /// How much of it makes one round.
    pub size: Size,
    /// Whether every round gets a process of its own, for what only the first time in a process shows.
    pub fresh_process: bool,
}

/// One number that is reported.
#[derive(Debug)]
pub struct Figure {
    /// The name in the output, which also selects it on the command line.
    pub name: &'static str,
    /// What the number counts.
    pub unit: &'static str,
    /// Which of two numbers is the better one.
    pub better: Better,
    /// One line for `--help`.
    pub about: &'static str,
}

/// Which of two values of a [`Figure`] is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Costs.
    Lower,
    /// Throughputs.
    #[cfg_attr(not(feature = "net"), expect(dead_code, reason = "no other suite has one"))]
    Higher,
}

/// How much of a [`Workload`] makes one round.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// As many operations as fill [`Plan::round`]; found out before the first round.
    #[cfg_attr(not(feature = "net"), expect(dead_code, reason = "no other suite has one"))]
    FillRound,
    /// This many tasks, whatever time they take.
    Tasks { full: u64, quick: u64 },
}

/// One of the runtimes that are compared.
#[derive(Debug)]
pub struct Runtime {
    /// The name in the output.
    pub name: &'static str,
    /// The most tasks that it can hold at once.
    pub max_tasks: u64,
    /// The workloads that it cannot run.
    pub skips: &'static [&'static str],
    /// Runs the workload of this name with this size and returns its figures in their order; none at all if this machine lacks
    /// what it takes.
    pub run: fn(&str, u64) -> Vec<f64>,
}

/// What the command line may change about a run.
#[derive(Debug, Default)]
pub struct Options {
    /// Whether a rough answer is enough.
    pub quick: bool,
    /// The names of the wanted figures; empty if all are.
    pub only: Vec<&'static str>,
}

impl Options {
    fn wants(&self, figure: &Figure) -> bool {
        self.only.is_empty() || self.only.contains(&figure.name)
    }
}

/// How thoroughly to measure.
#[derive(Debug)]
struct Plan {
    /// How many rounds there are; odd, so that the median is one of them.
    rounds: usize,
    /// The same for workloads whose every round needs a fresh process.
    fresh_rounds: usize,
    /// How long one round of one runtime should take.
    round: Duration,
}

impl Plan {
    fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 3, fresh_rounds: 1, round: Duration::from_millis(50) }
        } else {
            Self { rounds: 7, fresh_rounds: 5, round: Duration::from_millis(150) }
        }
    }
}

/// A runtime while its rounds are running.
struct Contender {
    runtime: &'static Runtime,
    worker: Worker,
    size: u64,
    /// One list of values for each round.
    rounds: Vec<Vec<f64>>,
}

impl Contender {
    /// The median over all rounds of the figure at `index`.
    fn median(&self, index: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[index]).collect())
    }
}

/// Measures a suite and prints its figures, then its ratios.
///
/// If a runtime fails, the figures of the others are still printed before the error is returned.
pub fn run(suite: &'static Suite, options: &Options) -> io::Result<()> {
    let plan = Plan::new(options.quick);
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for workload in suite.workloads {
        if !workload.figures.iter().any(|figure| options.wants(figure)) {
            continue;
        }
        let contenders = measure(suite, workload, options, &plan, &mut failed);
        for (index, figure) in workload.figures.iter().enumerate() {
            if !options.wants(figure) {
                continue;
            }
            let mut medians = Vec::new();
            for contender in &contenders {
                let value = contender.median(index);
                print_line(format_args!(
                    "{}\t{}\t{value:.1}\t{}",
                    figure.name, contender.runtime.name, figure.unit
                ))?;
                medians.push((contender.runtime.name, value));
            }
            all.push(Measured { figure, medians });
        }
    }
    for Measured { figure, medians } in &all {
        for (ratio, peer) in ratios(suite, figure.better, medians) {
            print_line(format_args!("ratio\t{}\t{ratio:.3}\t{peer}", figure.name))?;
        }
    }
    (suite.report)(&all, options)?;
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(failed.join("; "))) }
}

/// Runs all rounds of one workload, the runtimes taking turns.
///
/// A runtime that fails is left out of the rest, and `failed` says why.
fn measure(
    suite: &'static Suite,
    workload: &'static Workload,
    options: &Options,
    plan: &Plan,
    failed: &mut Vec<String>,
) -> Vec<Contender> {
    let mut keep = |runtime: &Runtime, result: io::Result<()>| match result {
        Ok(()) => true,
        // A peer that does not come to an end is one that cannot run it.
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported
                || (error.kind() == io::ErrorKind::TimedOut && runtime.name != OURS) =>
        {
            eprintln!("note: {} is left out of {}: {error}", runtime.name, workload.name);
            false
        }
        Err(error) => {
            eprintln!("note: {} fails at {}: {error}", runtime.name, workload.name);
            failed.push(format!("{} failed at {}", runtime.name, workload.name));
            false
        }
    };
    let mut contenders = Vec::new();
    for runtime in suite.runtimes.iter().filter(|runtime| !runtime.skips.contains(&workload.name)) {
        let contender = Worker::start(suite, runtime)
            .and_then(|worker| prepare(runtime, workload, worker, options.quick, plan.round));
        match contender {
            Ok(contender) => contenders.push(contender),
            Err(error) => {
                keep(runtime, Err(error));
            }
        }
    }
    let rounds = if workload.fresh_process { plan.fresh_rounds } else { plan.rounds };
    let start = Instant::now();
    for done in 0..rounds {
        if done >= FEWEST_ROUNDS && start.elapsed() >= suite.patience {
            break;
        }
        contenders.retain_mut(|contender| {
            let result = round(suite, workload, contender);
            keep(contender.runtime, result)
        });
    }
    contenders
}

/// Settles the size of a runtime's rounds.
fn prepare(
    runtime: &'static Runtime,
    workload: &Workload,
    mut worker: Worker,
    quick: bool,
    round: Duration,
) -> io::Result<Contender> {
    let size = match workload.size {
        Size::FillRound => {
            // The first time also pays for what the runtime sets up once.
            worker.measure(workload, 1)?;
            size_that_takes(round, |size| {
                let start = Instant::now();
                worker.measure(workload, size)?;
                Ok(start.elapsed())
            })?
        }
        Size::Tasks { full, quick: few } => {
            let tasks = if quick { few } else { full };
            if tasks > runtime.max_tasks {
                let (name, most) = (runtime.name, runtime.max_tasks);
                eprintln!(
                    "note: {}: {name} runs {most} tasks instead of {tasks}, all it can hold",
                    workload.name
                );
            }
            tasks.min(runtime.max_tasks)
        }
    };
    Ok(Contender { runtime, worker, size, rounds: Vec::new() })
}

/// Runs one round of one runtime.
fn round(suite: &'static Suite, workload: &Workload, contender: &mut Contender) -> io::Result<()> {
    if workload.fresh_process && !contender.rounds.is_empty() {
        contender.worker = Worker::start(suite, contender.runtime)?;
    }
    let values = contender.worker.measure(workload, contender.size)?;
    contender.rounds.push(values);
    Ok(())
}

/// Finds the size with which `run` takes about `goal`.
///
/// The time of a run includes what it prepares, so only one that is close to the goal is extrapolated from.
fn size_that_takes(goal: Duration, mut run: impl FnMut(u64) -> io::Result<Duration>) -> io::Result<u64> {
    let mut size = 1;
    loop {
        let elapsed = run(size)?;
        if elapsed * 2 >= goal || size > u64::MAX / 4 {
            let scaled = size as f64 * goal.as_secs_f64() / elapsed.as_secs_f64();
            return Ok((scaled as u64).max(1));
        }
        size *= 4;
    }
}

/// Prints a line of output at once, so that a pipe's reader sees it too.
pub fn print_line(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// The middle of the values.
///
/// # Panics
///
/// Panics if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Compares [`OURS`] with the best of each group.
fn ratios(suite: &Suite, better: Better, values: &[(&'static str, f64)]) -> Vec<(f64, &'static str)> {
    if suite.groups.is_empty() {
        return ratio_to_best_peer(better, values).into_iter().collect();
    }
    let of_group = |group: &&[&str]| {
        let values = values.iter().filter(|(name, _)| *name == OURS || group.contains(name));
        ratio_to_best_peer(better, &values.copied().collect::<Vec<_>>())
    };
    suite.groups.iter().filter_map(of_group).collect()
}

/// Compares [`OURS`] with the best of the others; the smaller the ratio, the better for us.
///
/// There is nothing to compare if we or all peers are missing.
fn ratio_to_best_peer(better: Better, values: &[(&'static str, f64)]) -> Option<(f64, &'static str)> {
    let (_, ours) = *values.iter().find(|(name, _)| *name == OURS)?;
    let costs = values.iter().filter(|(name, _)| *name != OURS).map(|&(name, value)| match better {
        Better::Lower => (ours / value, name),
        Better::Higher => (value / ours, name),
    });
    // The best peer is the one that we look worst against.
    costs.max_by(|left, right| left.0.total_cmp(&right.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_outliers() {
        assert_eq!(median(vec![3.0, 900.0, 1.0, 2.0, 2.5]), 2.5);
        assert_eq!(median(vec![4.0, 2.0]), 3.0);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    #[test]
    fn a_ratio_compares_with_the_best_peer() {
        let values = [("may", 40.0), (OURS, 10.0), ("tokio", 20.0)];
        assert_eq!(ratio_to_best_peer(Better::Lower, &values), Some((0.5, "tokio")));
        assert_eq!(ratio_to_best_peer(Better::Higher, &values), Some((4.0, "may")));
    }

    #[test]
    fn a_ratio_needs_both_sides() {
        assert_eq!(ratio_to_best_peer(Better::Lower, &[("may", 1.0)]), None);
        assert_eq!(ratio_to_best_peer(Better::Lower, &[(OURS, 1.0)]), None);
    }

    #[test]
    fn the_size_of_a_round_is_scaled_to_its_goal() {
        let micros_each = 5;
        let goal = Duration::from_millis(100);
        let size = size_that_takes(goal, |size| Ok(Duration::from_micros(size * micros_each))).unwrap();
        assert_eq!(size, 20_000);
    }

    #[test]
    fn a_size_of_one_can_be_too_long_already() {
        let size = size_that_takes(Duration::from_millis(1), |_| Ok(Duration::from_secs(1))).unwrap();
        assert_eq!(size, 1);
    }
}
