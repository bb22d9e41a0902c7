//! `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Every name of a line finds the line, and a file of hosts that is written out and read again is the same; whatever is in `resolv.conf`, there is a server
//! to ask, and time for it to answer.
#![no_main]

use greenlet_net::dns::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let lines = fuzzing::hosts(text);
    let mut written = String::new();
    for (address, names) in &lines {
        assert!(!names.is_empty());
        for name in names {
            assert!(!name.contains(['#', '\n', ' ', '\t']), "{name:?}");
            let found = fuzzing::hosts_of_name(text, &name.to_ascii_uppercase());
            // One dot at the end says that a name is whole, in a question.
            assert!(name.ends_with('.') || found.contains(&(*address, names.clone())), "{name:?}");
        }
        written += &format!("{address} {}\n", names.join(" "));
    }
    assert_eq!(fuzzing::hosts(written.as_bytes()), lines);

    let config = fuzzing::resolv_conf(text);
    assert!(!config.servers.is_empty());
    assert!(!config.timeout.is_zero() && config.attempts > 0);
    let (mut servers, mut order) = (config.servers.clone(), config.order.clone());
    servers.sort();
    order.sort();
    assert_eq!(servers, order, "each is asked once");
    assert!(config.search.iter().all(|domain| domain.ends_with('.')), "{:?}", config.search);
});
