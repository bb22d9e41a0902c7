//! Ten thousand names, a hundred at a time.
//!
//! With a file of names, one a line, by the servers of this machine:
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin dns_mass_resolve -- names.txt
//! ```
//!
//! Without a file, with a server of your own, of which it asks for `h0.example`, `h1.example` and so on (after `apt-get install
//! dnsmasq-base`):
//!
//! ```text
//! dnsmasq -k --port=5353 --no-resolv --address=/example/10.0.0.1 &
//! cargo run --release -p greenlet-examples --bin dns_mass_resolve -- --server 127.0.0.1:5353 --count 10000
//! ```
//!
//! and you will see a bar that grows, and then
//!
//! ```text
//! 10000 names in 0.31 s, 32061 a second: 10000 found, 0 do not exist, 0 failed
//! ```
//!
//! With `--print`, the addresses too. Ctrl-C ends it where it is.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_core::pool::Pool;
use greenlet_core::{sleep, spawn};
use greenlet_net::dns::{EngineKind, ErrorKind, Resolver};

const USAGE: &str = "usage: dns_mass_resolve [--server ADDRESS:PORT] [--count N] [--print] [FILE]";
const AT_ONCE: usize = 100;
const BAR: usize = 40;

struct Arguments {
    server: Option<SocketAddr>,
    names: Vec<String>,
    print: bool,
}

#[derive(Default)]
struct Counts {
    found: Cell<usize>,
    absent: Cell<usize>,
    failed: Cell<usize>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("dns_mass_resolve: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut builder = Resolver::builder().engine(EngineKind::Native);
    if let Some(server) = arguments.server {
        builder = builder.nameservers([server]).search(Vec::<String>::new());
    }
    let resolver = builder.build().expect("settings that can be");
    resolve_all(resolver, arguments.names, arguments.print);
    ExitCode::SUCCESS
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut server, mut count, mut file, mut print) = (None, None, None, false);
    while let Some(word) = words.next() {
        let mut value = |what: &str| words.next().ok_or(format!("{word} needs {what}"));
        match word.as_str() {
            "--server" => {
                let text = value("an address")?;
                server = Some(text.parse().map_err(|_| format!("{text:?} is not an address with a port"))?);
            }
            "--count" => {
                let text = value("a number")?;
                count = Some(text.parse::<usize>().map_err(|_| format!("{text:?} is not a number"))?);
            }
            "--print" => print = true,
            option if option.starts_with('-') => return Err(format!("what is {option}?")),
            _ => file = Some(word),
        }
    }
    let names = match (file, count, server) {
        (Some(file), None, _) => {
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("cannot read {file}: {error}"))?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        (None, count, Some(_)) => (0..count.unwrap_or(10_000)).map(|n| format!("h{n}.example")).collect(),
        (Some(_), Some(_), _) => return Err("either a file or --count".to_owned()),
        (None, _, None) => {
            return Err("which names? There is neither a file nor a --server of your own".to_owned());
        }
    };
    Ok(Arguments { server, names, print })
}

fn resolve_all(resolver: Resolver, names: Vec<String>, print: bool) {
    let (total, counts, start) = (names.len(), Rc::new(Counts::default()), Instant::now());
    let bar = spawn({
        let counts = counts.clone();
        move || {
            while stderr().is_terminal() {
                show(counts.found.get() + counts.absent.get() + counts.failed.get(), total);
                sleep(Duration::from_millis(100));
            }
        }
    });
    let seen = counts.clone();
    let resolve = move |name: String| match resolver.lookup(&name) {
        Ok(addresses) => {
            seen.found.set(seen.found.get() + 1);
            if print {
                println!("{name} {addresses:?}");
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoData) => {
            seen.absent.set(seen.absent.get() + 1);
        }
        Err(error) => {
            seen.failed.set(seen.failed.get() + 1);
            eprintln!("\r{error}");
        }
    };
    Pool::new(AT_ONCE).map(resolve, names).expect("a lookup fails by value");
    let seconds = start.elapsed().as_secs_f64();
    bar.kill();
    if stderr().is_terminal() {
        show(total, total);
        eprintln!();
    }
    let (found, absent, failed) = (counts.found.get(), counts.absent.get(), counts.failed.get());
    let rate = total as f64 / seconds;
    println!(
        "{total} names in {seconds:.2} s, {rate:.0} a second: {found} found, {absent} do not exist, {failed} failed"
    );
}

fn show(done: usize, total: usize) {
    let filled = done * BAR / total.max(1);
    eprint!("\r[{}{}] {done} of {total}", "#".repeat(filled), " ".repeat(BAR - filled));
    let _ = stderr().flush(); // nobody misses a bar
}
