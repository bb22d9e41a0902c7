//! `switchboard` does what it says.

use std::process::Command;

#[test]
fn switchboard_reports_to_those_who_want_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_switchboard")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "the reporter is there",
            "sport.local: 3 read it",
            "sport.chess: 2 read it",
            "roads.local: 2 read it",
            "dead letter: all for Bob",
            "the reporter is there",
            "Ann has read We won (sport.local), A draw (sport.chess)",
            "Cid has read We won (sport.local), A draw (sport.chess), A hole (roads.local), No hole (roads.local)",
        ]
    );
}
