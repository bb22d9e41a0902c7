//! The chat's lines. The first byte says how large the reader's buffer is.
//!
//! Lines do not depend on how the bytes arrive; no line is longer than allowed; a command has only what may be shown to others.
#![no_main]
#![allow(dead_code, reason = "parts of the chat")]

#[path = "../../examples/src/bin/chat/limits.rs"]
mod limits;
#[path = "../../examples/src/bin/chat/lines.rs"]
mod lines;
#[path = "../../examples/src/bin/chat/protocol.rs"]
mod protocol;

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;
use lines::Lines;
use protocol::{Command, Complaint, Name, is_harmful};

fn lines(bytes: &[u8], buffer: usize) -> Vec<Result<String, Complaint>> {
    let mut lines = Lines::new(BufReader::with_capacity(buffer, bytes));
    std::iter::from_fn(|| lines.next().unwrap().map(|line| line.map(str::to_owned))).collect()
}

fn look_at(name: &Name) {
    let shown = name.to_string();
    assert!((1..=limits::NAME).contains(&shown.chars().count()), "{shown:?}");
    assert!(!shown.contains(['<', '>', ' ', ',', '*', '~', '=', '!', '/']) && !shown.chars().any(is_harmful));
    assert_eq!(Name::new(&shown).unwrap(), *name);
}

fuzz_target!(|input: &[u8]| {
    let Some((&buffer, bytes)) = input.split_first() else { return };
    let all = lines(bytes, usize::from(buffer) + 1);
    assert_eq!(all, lines(bytes, 1 << 20));
    let ends = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let unfinished = !bytes.is_empty() && !bytes.ends_with(b"\n");
    assert_eq!(all.len(), ends + usize::from(unfinished));
    for line in all.iter().flatten() {
        assert!(line.len() <= limits::LINE && !line.contains('\n'));
        match Command::parse(line) {
            Ok(Some(Command::Say(said))) => {
                assert!(!said.is_empty() && line.contains(said) && !said.chars().any(is_harmful));
            }
            Ok(Some(Command::Name(name) | Command::Join(name))) => look_at(&name),
            Ok(Some(_)) => assert!(line.trim().starts_with('/')),
            Ok(None) => assert!(line.trim().is_empty()),
            Err(complaint) => assert!(!complaint.to_string().is_empty()),
        }
    }
});
