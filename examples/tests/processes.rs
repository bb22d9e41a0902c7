//! What the `processes` example promises in its first comment.

use std::process::Command;

#[test]
fn everything_is_heard_while_the_dots_go_on() {
    let output = Command::new(env!("CARGO_BIN_EXE_processes")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "uname -s: Linux (exit status: 0)");
    assert_eq!(lines[1], "sh: to be continued ... and done (exit status: 3)");
    let dots: u32 = lines[2].strip_prefix("dots in the meantime: ").unwrap().parse().unwrap();
    assert!(dots > 0);
    assert_eq!(lines[3], "sort: apple, cherry, pear");
    assert_eq!(lines[4], "sleep: the process did not end within 200ms and was killed");
}
