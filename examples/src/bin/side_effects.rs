//! Runs each line of a script in a greenlet of its own, all at once, and holds back what a line prints until it has ended well.
//!
//! Type
//!
//! ```text
//! printf '%s\n' 'print("hello"); 6 * 7' 'print("lost"); loop {}' 'let x = ' |
//!     cargo run --release -p greenlet-examples --bin side_effects
//! ```
//!
//! and you will see
//!
//! ```text
//! 1 | print("hello"); 6 * 7
//!   > hello
//!   = 42
//! 2 | print("lost"); loop {}
//!   ! timed out after 500ms (1 line of its output is dropped)
//! 3 | let x =
//!   ! Syntax error: Script is incomplete (line 1, position 9)
//! ```
//!
//! `-t SECONDS` sets the limit for each line, and a file may be named instead of the standard input. The language is Rhai
//! (<https://rhai.rs>).

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::pool::Pool;
use greenlet_core::{Config, Hub, StackSize, greenlet_local, with_timeout, yield_now};
use rhai::{Dynamic, Engine};

const USAGE: &str =
    "usage: side_effects [-t SECONDS] [FILE]    run a script line by line (0.5 s for each, standard input)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (limit, script) = match parse(&arguments) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("side_effects: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // Scripts may recurse, and the interpreter with them.
    let stack = StackSize::new(1 << 20).expect("a size that pages divide");
    if let Err(error) = Hub::configure(Config::default().stack_size(stack)) {
        eprintln!("side_effects: {error}");
        return ExitCode::FAILURE;
    }
    let engine = Rc::new(engine());
    let lines = script.lines().map(str::to_owned).enumerate().collect::<Vec<_>>().into_iter();
    // Many lines at once, but not a million; the results come in the order of the lines.
    let outcomes = Pool::new(100).imap(
        move |(number, line)| {
            let outcome = evaluate(&engine, &line, limit);
            (number + 1, line, outcome)
        },
        lines,
    );
    for (number, line, outcome) in outcomes.flatten() {
        println!("{number} | {}", line.trim_end());
        match outcome {
            Ok((printed, value)) => {
                printed.iter().for_each(|line| println!("  > {line}"));
                if !value.is_unit() {
                    println!("  = {value}");
                }
            }
            Err(why) => println!("  ! {why}"),
        }
    }
    ExitCode::SUCCESS
}

greenlet_local! {
    /// What this line has printed.
    static PRINTED: RefCell<Vec<String>> = RefCell::default();
}

/// One for all lines: what differs between them is in greenlet-locals.
fn engine() -> Engine {
    let mut engine = Engine::new();
    engine.on_print(|text| PRINTED.with_borrow_mut(|printed| printed.push(text.to_owned())));
    engine.on_progress(|operations| {
        // The script computes and never waits. Here it does, so that other lines run, and its timeout reaches it.
        if operations % 256 == 0 {
            yield_now();
        }
        None
    });
    engine
}

fn evaluate(engine: &Engine, line: &str, limit: Duration) -> Result<(Vec<String>, Dynamic), String> {
    let result = with_timeout(limit, || engine.eval::<Dynamic>(line));
    let printed = PRINTED.with_borrow_mut(std::mem::take);
    let why = match result {
        Ok(Ok(value)) => return Ok((printed, value)),
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
    };
    Err(match printed.len() {
        0 => why,
        1 => format!("{why} (1 line of its output is dropped)"),
        count => format!("{why} ({count} lines of its output are dropped)"),
    })
}

fn parse(mut arguments: &[String]) -> Result<(Duration, String), String> {
    let mut limit = Duration::from_millis(500);
    if let [flag, rest @ ..] = arguments
        && flag == "-t"
    {
        let (seconds, rest) = rest.split_first().ok_or("-t needs a number of seconds")?;
        let parsed = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        limit = parsed.ok_or_else(|| format!("SECONDS is a number, 0 or more, not `{seconds}`"))?;
        arguments = rest;
    }
    let script = match arguments {
        [] => std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}")),
        [file] => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}")),
        _ => Err("too many arguments".into()),
    };
    Ok((limit, script?))
}
