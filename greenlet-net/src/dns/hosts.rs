//! `/etc/hosts`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

/// Where the system has it.
pub(super) const HOSTS: &str = "/etc/hosts";

/// The names of a file of hosts, by address and by name.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// In the order of the file.
    pub(super) lines: Vec<Line>,
    /// The lines with this name, in lower case.
    by_name: HashMap<String, Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) address: IpAddr,
    /// At least one; the first one is the canonical name.
    pub(super) names: Vec<String>,
}

impl Hosts {
    /// A file that cannot be read has no hosts, as for the system's resolver.
    pub(super) fn read(path: &Path) -> Hosts {
        match std::fs::read(path) {
            Ok(bytes) => Hosts::parse(&String::from_utf8_lossy(&bytes)),
            Err(_) => Hosts::default(),
        }
    }

    /// Lines that make no sense are skipped, as by the system's resolver.
    pub(super) fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse) else { continue };
            let names: Vec<String> = words.map(str::to_owned).collect();
            if names.is_empty() {
                continue;
            }
            for name in &names {
                let lines = hosts.by_name.entry(name.to_ascii_lowercase()).or_default();
                if lines.last() != Some(&hosts.lines.len()) {
                    lines.push(hosts.lines.len());
                }
            }
            hosts.lines.push(Line { address, names });
        }
        hosts
    }

    /// The lines that have this name.
    pub(super) fn of_name(&self, name: &str) -> impl Iterator<Item = &Line> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.by_name.get(&name).into_iter().flatten().map(|&line| &self.lines[line])
    }

    /// The first line with this address.
    pub(super) fn of_address(&self, address: IpAddr) -> Option<&Line> {
        self.lines.iter().find(|line| line.address == address)
    }
}

/// The names of these lines, in their order, but for this one.
pub(super) fn names_other_than<'a>(canonical: &str, lines: impl Iterator<Item = &'a Line>) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    for name in lines.flat_map(|line| &line.names) {
        let known = std::iter::once(canonical).chain(others.iter().map(String::as_str));
        if !known.into_iter().any(|known| known.eq_ignore_ascii_case(name)) {
            others.push(name.clone());
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "127.0.0.1 localhost # us\n\
        # 10.0.0.9 nobody\n\
        10.0.0.1\tOne.example one\n\
        10.0.0.2 two.example one\n\
        ::1 localhost ip6-localhost\n\
        not-an-address three\n\
        10.0.0.3\n\
        10.0.0.4 four four # twice\n";

    fn addresses(name: &str) -> Vec<String> {
        Hosts::parse(FILE).of_name(name).map(|line| line.address.to_string()).collect()
    }

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        assert_eq!(addresses("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("one"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(addresses("ONE.example."), ["10.0.0.1"]);
        assert_eq!(addresses("four"), ["10.0.0.4"]);
    }

    #[test]
    fn comments_and_nonsense_are_skipped() {
        for name in ["nobody", "three", "us", "#", "", "10.0.0.3", "twice"] {
            assert!(addresses(name).is_empty(), "{name:?}");
        }
    }

    #[test]
    fn the_first_line_names_an_address() {
        let hosts = Hosts::parse(FILE);
        assert_eq!(hosts.of_address("10.0.0.1".parse().unwrap()).unwrap().names, ["One.example", "one"]);
        assert!(hosts.of_address("10.0.0.3".parse().unwrap()).is_none());
    }

    #[test]
    fn aliases_are_the_other_names_once_each() {
        let hosts = Hosts::parse("10.0.0.1 a b A\n10.0.0.2 a c B");
        assert_eq!(names_other_than("a", hosts.of_name("a")), ["b", "c"]);
    }

    #[test]
    fn a_file_that_is_not_there_has_no_hosts() {
        assert!(Hosts::read(Path::new("/nonexistent/hosts")).of_name("localhost").next().is_none());
    }
}
