//! What a name server, or anybody, may answer. The first byte says what was asked for.
//!
//! Nothing counts as an answer to another question; an answer begins with the name that was asked for, has records of that kind only, and ends.
#![no_main]

use greenlet_net::dns::fuzzing::{Read, read};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "www.example.";
/// A, AAAA, MX, SRV, TXT, PTR, CNAME.
const KINDS: [u16; 7] = [1, 28, 15, 33, 16, 12, 5];

fuzz_target!(|input: &[u8]| {
    let Some((&kind, message)) = input.split_first() else { return };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    match read(NAME, kind, message) {
        Read::NoAnswer => {}
        Read::Answer { aliases, canonical, kinds, ttl } => {
            let first = aliases.first().unwrap_or(&canonical);
            assert!(first.eq_ignore_ascii_case(NAME), "{first}");
            assert!(aliases.len() <= 16 && !aliases.contains(&canonical), "{aliases:?} {canonical}");
            assert!(!kinds.is_empty() && kinds.iter().all(|&it| it == kind), "{kinds:?}");
            assert!(ttl.as_secs() <= i32::MAX as u64);
        }
        Read::Alias { aliases, target, ttl } => {
            assert!(aliases[0].eq_ignore_ascii_case(NAME), "{aliases:?}");
            assert!(aliases.len() <= 16 && !aliases.contains(&target), "{aliases:?} {target}");
            assert!(ttl.as_secs() <= i32::MAX as u64);
        }
        Read::Nothing { ttl } => assert!(ttl.as_secs() <= i32::MAX as u64),
        Read::Other => {}
    }
});
