//! A way in for fuzzing: there in builds with `--cfg fuzzing` only, and part of no interface.
#![allow(missing_docs, reason = "nobody uses it")]

use std::net::IpAddr;

use super::hosts::{Hosts, Line};
pub use super::native::fuzzing::{Read, ResolvConf, read, resolv_conf};

/// An address and its names.
pub type Entry = (IpAddr, Vec<String>);

fn parse(text: &[u8]) -> Hosts {
    Hosts::parse(&String::from_utf8_lossy(text))
}

fn entry(line: &Line) -> Entry {
    (line.address, line.names.clone())
}

pub fn hosts(text: &[u8]) -> Vec<Entry> {
    parse(text).lines.iter().map(entry).collect()
}

pub fn hosts_of_name(text: &[u8], name: &str) -> Vec<Entry> {
    parse(text).of_name(name).map(entry).collect()
}
