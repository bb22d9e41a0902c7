//! What the examples of the tutorial promise in their first comments.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a program prints that is given these arguments; it must succeed and complain of nothing.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the example starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// That it does not take these arguments, and says why.
fn refused(program: &str, arguments: &[&str], complaint: &str) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaints}");
    assert!(complaints.contains(complaint) && complaints.contains("usage:"), "{complaints}");
    assert!(output.stdout.is_empty());
}

/// The lines of the fenced block in the program's first comment that follows `you will see`.
fn promised(source: &str) -> Vec<&str> {
    let comment = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut after = comment.skip_while(|line| !line.contains("you will see"));
    assert!(after.any(|line| line == " ```text"), "it shows what one will see");
    after.take_while(|line| *line != " ```").map(|line| line.strip_prefix(' ').unwrap_or(line)).collect()
}

#[test]
fn sync_and_async_runs_the_tasks_in_order_and_then_at_once() {
    let printed = run(env!("CARGO_BIN_EXE_sync_and_async"), &[]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 14, "{printed}");
    let task = |number| format!("    task {number} is done");
    assert_eq!(lines[0], "one after the other:");
    assert_eq!(lines[1..6], [0, 1, 2, 3, 4].map(task));
    assert_eq!(lines[7], "at once:");
    // The order is that of the times they wait; a busy machine may mix up neighbours, but not the first and the last.
    let mut at_once = lines[8..13].to_vec();
    let place = |number| at_once.iter().position(|&line| line == task(number));
    assert!(place(4) < place(0), "{printed}");
    at_once.sort_unstable();
    assert_eq!(at_once, [0, 1, 2, 3, 4].map(task));
    let seconds = |line: &str| line.split(' ').nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap();
    assert!(seconds(lines[6]) >= 0.15 && seconds(lines[13]) >= 0.05, "{printed}");
}

#[test]
fn the_boss_waits_for_his_workers() {
    let printed = run(env!("CARGO_BIN_EXE_boss_and_workers"), &["20"]);
    let (mut handed, mut taken) = (0, 0);
    for line in printed.lines().filter(|line| line.contains(": task ")) {
        if line.starts_with("boss") {
            handed += 1;
        } else {
            taken += 1;
        }
        // Two are in the queue, one is in the boss's hand, and each worker may have been given one.
        assert!(handed - taken <= 3 + 3, "{printed}");
    }
    assert_eq!((handed, taken), (20, 20));
    for worker in ["Alice", "Bob", "Carol"] {
        assert!(printed.contains(&format!("{worker}: quitting time\n")), "{printed}");
    }
    assert!(printed.ends_with("Alice, Bob and Carol have done 20 tasks\n"), "{printed}");
    let six = run(env!("CARGO_BIN_EXE_boss_and_workers"), &["6"]);
    assert_eq!(six.lines().collect::<Vec<_>>(), promised(include_str!("../src/bin/boss_and_workers.rs")));
    refused(env!("CARGO_BIN_EXE_boss_and_workers"), &["few"], "TASKS is a whole number, not `few`");
    refused(env!("CARGO_BIN_EXE_boss_and_workers"), &["1", "2"], "too many arguments");
}

#[test]
fn what_the_others_print_is_what_they_promise() {
    for (program, source) in [
        (env!("CARGO_BIN_EXE_events"), include_str!("../src/bin/events.rs")),
        (env!("CARGO_BIN_EXE_timeouts"), include_str!("../src/bin/timeouts.rs")),
        (env!("CARGO_BIN_EXE_pools"), include_str!("../src/bin/pools.rs")),
        (env!("CARGO_BIN_EXE_select"), include_str!("../src/bin/select.rs")),
    ] {
        assert_eq!(run(program, &[]).lines().collect::<Vec<_>>(), promised(source), "{program}");
    }
}

#[test]
fn async_tasks_and_greenlets_wait_for_each_other() {
    let printed = run(env!("CARGO_BIN_EXE_async_bridge"), &[]);
    let mut lines: Vec<&str> = printed.lines().collect();
    let mut promised = promised(include_str!("../src/bin/async_bridge.rs"));
    // Who prints first of two that run on different threads is left open.
    lines.sort_unstable();
    promised.sort_unstable();
    assert_eq!(lines, promised);
}

/// What `side_effects` makes of a script.
fn side_effects(arguments: &[&str], script: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_side_effects"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    process.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn an_endless_line_ends_at_its_limit_and_what_it_printed_is_dropped() {
    let script = "print(\"hello\"); 6 * 7\nprint(\"lost\"); loop {}\nlet x = \n";
    let output = side_effects(&[], script);
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), promised(include_str!("../src/bin/side_effects.rs")));
}

#[test]
fn lines_have_their_own_output_and_names_though_they_run_at_once() {
    let line = |n: u32| format!("for i in 0..2000 {{ if i % 500 == 0 {{ print(`{n}: ${{i}}`) }} }}\n");
    let script: String = (0..20).map(line).collect::<String>() + "i\n";
    let output = side_effects(&["-t", "60"], &script);
    let printed = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<&str> = printed.lines().filter(|line| line.starts_with("  > ")).collect();
    let expected: Vec<String> =
        (0..20).flat_map(|n| [0, 500, 1000, 1500].map(|i| format!("  > {n}: {i}"))).collect();
    assert_eq!(shown, expected);
    assert!(printed.contains("21 | i\n  ! Variable not found: i"), "{printed}");
}

#[test]
fn a_line_that_recurses_for_ever_is_an_error() {
    let output = side_effects(&["-t", "60"], "fn deeper(n) { deeper(n + 1) } deeper(0)\n");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("! Stack overflow"), "{printed}");
}

#[test]
fn side_effects_explains_wrong_arguments() {
    let program = env!("CARGO_BIN_EXE_side_effects");
    refused(program, &["-t"], "-t needs a number of seconds");
    for seconds in ["-1", "soon", "NaN", "1e300"] {
        refused(program, &["-t", seconds], &format!("SECONDS is a number, 0 or more, not `{seconds}`"));
    }
    refused(program, &["no-such-file"], "no-such-file: ");
    refused(program, &["a", "b"], "too many arguments");
}
