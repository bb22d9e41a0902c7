//! The example `pipeline`: a fast source does not flood a slow sink.

use std::process::Command;

#[test]
fn mailboxes_and_memory_stay_bounded_however_much_is_sent() {
    let numbers = 50_000_u64;
    let output = Command::new(env!("CARGO_BIN_EXE_pipeline")).arg(numbers.to_string()).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let words = |line: usize| -> Vec<String> {
        let line = printed.lines().nth(line).expect("three lines");
        line.split([' ', ',']).map(str::to_owned).collect()
    };
    let number = |word: &String| word.parse::<u64>().expect("a number");

    let sum: u64 = (0..numbers).map(|n| n * n).sum();
    assert_eq!(words(0).last().map(number), Some(sum));
    let longest = words(1);
    let (squares, sink) = (number(&longest[3]), number(&longest[6]));
    // One of those waiting senders may be on its way in.
    assert!((1..=66).contains(&squares) && (1..=66).contains(&sink), "{printed}");
    let grown = number(&words(2)[2]);
    // 50,000 messages in memory would be more than 1.5 MiB; stacks and the like are less than that.
    assert!(grown < 1024, "{printed}");
}
