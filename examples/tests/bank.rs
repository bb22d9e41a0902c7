//! What the `bank` example promises in its first comment.

use std::process::{Command, Output};

fn bank(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bank")).args(arguments).output().expect("the example starts")
}

#[test]
fn money_is_conserved_whoever_is_killed() {
    for arguments in [&[][..], &["2"], &["3"]] {
        let output = bank(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "20 accounts of 100 each\n\
             20000 transfers asked for, 400 accounts killed, all restarted\n\
             200 audits in the middle of it: each found 2000\n\
             money is conserved: 2000\n"
        );
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [&["many"][..], &["-1"], &["1", "2"]] {
        let output = bank(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: bank"));
    }
}
