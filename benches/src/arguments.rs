//! The command line.

use std::fmt::Write as _;

use crate::harness::{Options, Runtime, Suite};
#[cfg(feature = "net")]
use crate::servers::Setup;
use crate::suites::SUITES;

/// The hidden subcommand with which the program starts itself to measure; see [`worker`](crate::worker).
pub const WORKER: &str = "worker";

#[cfg(feature = "net")]
/// The hidden subcommand with which the program starts a server to be measured; see [`servers`](crate::servers).
pub const SERVER: &str = "server";

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Explain the command line.
    Help,
    /// Measure a suite and print its figures.
    Run { suite: &'static Suite, options: Options },
    /// Measure what standard input asks for, for one runtime.
    Worker { suite: &'static Suite, runtime: &'static Runtime },
    /// Serve until standard input ends.
    #[cfg(feature = "net")]
    Server(Setup),
}

/// Reads the arguments after the program's name; an error says what is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref() {
        None => Err(format!("which suite? There is {}", names(SUITES.iter().map(|suite| suite.name)))),
        Some("--help" | "-h") => Ok(Command::Help),
        Some(WORKER) => {
            let suite = find_suite(&arguments.next().unwrap_or_default())?;
            let name = arguments.next().unwrap_or_default();
            let runtime = suite.runtime(&name).ok_or_else(|| format!("unknown runtime '{name}'"))?;
            Ok(Command::Worker { suite, runtime })
        }
        #[cfg(feature = "net")]
        Some(SERVER) => {
            let words: Vec<String> = arguments.collect();
            Setup::parse(&words).map(Command::Server).ok_or_else(|| format!("not a server: {words:?}"))
        }
        Some(name) => parse_run(find_suite(name)?, arguments),
    }
}

fn parse_run(suite: &'static Suite, mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--quick" => options.quick = true,
            "--only" => {
                let list = arguments.next().ok_or("'--only' needs the name of a workload")?;
                options.only.extend(parse_only(suite, &list)?);
            }
            other => match other.strip_prefix("--only=") {
                Some(list) => options.only.extend(parse_only(suite, list)?),
                None => return Err(format!("unknown argument '{other}'")),
            },
        }
    }
    Ok(Command::Run { suite, options })
}

fn parse_only(suite: &'static Suite, list: &str) -> Result<Vec<&'static str>, String> {
    list.split(',')
        .map(|name| {
            suite.figures().find(|figure| figure.name == name).map(|figure| figure.name).ok_or_else(|| {
                let known = names(suite.figures().map(|figure| figure.name));
                format!("unknown workload '{name}'; the suite '{}' has {known}", suite.name)
            })
        })
        .collect()
}

fn find_suite(name: &str) -> Result<&'static Suite, String> {
    let suite = SUITES.iter().copied().find(|suite| suite.name == name);
    suite.ok_or_else(|| {
        let what = if name.starts_with('-') { "argument" } else { "suite" };
        format!("unknown {what} '{name}'; suites: {}", names(SUITES.iter().map(|suite| suite.name)))
    })
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The text for `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Measures greenlets against other runtimes.\n\n\
         Usage: greenlet-benches SUITE [--quick] [--only NAME[,NAME]]\n\n\
         Options:\n  \
         --quick      fewer and shorter rounds, smaller counts: for a first look\n  \
         --only NAME  only these workloads; may be repeated\n  \
         --help       this text\n",
    );
    for suite in SUITES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nSuite '{}': {}", suite.name, suite.about);
        for figure in suite.figures() {
            let _ = writeln!(text, "  {:<17} {:<18} {}", figure.name, figure.unit, figure.about);
        }
    }
    text
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_suite_with_options() {
        let Ok(Command::Run { suite, options }) =
            parse_line("core --quick --only yield-2,echo-1 --only=sleepers")
        else {
            panic!("not a run");
        };
        assert_eq!(suite.name, "core");
        assert!(options.quick);
        assert_eq!(options.only, ["yield-2", "echo-1", "sleepers"]);
    }

    #[test]
    fn nonsense_is_named_in_the_error() {
        for (line, expected) in [
            ("", "which suite"),
            ("cores", "unknown suite 'cores'"),
            ("--fast", "unknown argument '--fast'"),
            ("core --fast", "unknown argument '--fast'"),
            ("core --only", "needs the name"),
            ("core --only yield-3", "unknown workload 'yield-3'"),
            ("worker core erlang", "unknown runtime 'erlang'"),
            ("server erlang http 1", "not a server"),
        ] {
            let error = parse_line(line).expect_err(line);
            assert!(error.contains(expected), "{line:?} gave {error:?}");
        }
    }

    #[test]
    fn help_is_found_anywhere() {
        assert!(matches!(parse_line("--help"), Ok(Command::Help)));
        assert!(matches!(parse_line("core --quick -h"), Ok(Command::Help)));
    }

    #[test]
    fn help_names_every_workload() {
        let text = help();
        for figure in SUITES.iter().flat_map(|suite| suite.figures()) {
            assert!(text.contains(figure.name));
        }
    }
}
