//! The suite `net`: servers on one core, with the load on another.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{Better, Figure, Runtime, Size, Suite, Workload};
use crate::load::{Exchange, Load, ask_once};
use crate::runtimes::MESSAGE_SIZE;
use crate::servers::{HELLO, Server, Service, Setup, raise_descriptor_limit};

/// The suite's description.
pub static SUITE: Suite = Suite {
    name: "net",
    about: "servers on one core, the load on another, over loopback",
    workloads: WORKLOADS,
    runtimes: RUNTIMES,
    groups: &[],
    patience: std::time::Duration::MAX,
    report: |_, _| Ok(()),
};

static RUNTIMES: &[Runtime] = &[
    runtime("greenlet", &[], |workload, size| run("greenlet", workload, size)),
    runtime("one-hub", NOT_CORES, |workload, size| run_with(1, "greenlet", workload, size)),
    runtime("may", NOT_ECHO, |workload, size| run("may", workload, size)),
    runtime("tokio", NOT_ECHO, |workload, size| run("tokio", workload, size)),
    runtime("may_minihttp", NOT_PLAIN_HTTP, |workload, size| run("may", workload, size)),
    runtime("hyper", NOT_HTTP, |workload, size| run("hyper", workload, size)),
    runtime("axum", NOT_HTTP, |workload, size| run("axum", workload, size)),
];

const fn runtime(
    name: &'static str,
    skips: &'static [&'static str],
    run: fn(&str, u64) -> Vec<f64>,
) -> Runtime {
    Runtime { name, max_tasks: u64::MAX, skips, run }
}

// What is left out by those who only do something else.
const NOT_ECHO: &[&str] = &["http", "http-pipelined", "http-idle", "http-cores"];
const NOT_HTTP: &[&str] = &["tcp-echo-1", "tcp-echo-100", "tcp-echo-10000", "tcp-idle"];
const NOT_PLAIN_HTTP: &[&str] =
    &["tcp-echo-1", "tcp-echo-100", "tcp-echo-10000", "tcp-idle", "http-cores", "http-idle"];
const NOT_CORES: &[&str] =
    &["tcp-echo-1", "tcp-echo-100", "tcp-echo-10000", "tcp-idle", "http", "http-pipelined", "http-idle"];

static WORKLOADS: &[Workload] = &[
    throughput("tcp-echo-1", &[rate("tcp-echo-1", "64 bytes there and back over one connection")]),
    throughput("tcp-echo-100", &[rate("tcp-echo-100", "the same over a hundred connections")]),
    throughput("tcp-echo-10000", &[rate("tcp-echo-10000", "the same over ten thousand connections")]),
    throughput("http", &[rate("http", "HTTP requests over 64 connections")]),
    throughput(
        "http-pipelined",
        &[rate("http-pipelined", "the same, 16 requests at once in each connection")],
    ),
    throughput(
        "http-cores",
        &[rate("http-cores", "requests that compute for 50 us, two cores; one-hub: one core")],
    ),
    idle("tcp-idle", &[memory("tcp-idle", "resident memory for a connection that was used once")]),
    idle("http-idle", &[memory("http-idle", "the same, after one HTTP request")]),
];

const fn throughput(name: &'static str, figures: &'static [Figure]) -> Workload {
    Workload { name, figures, size: Size::FillRound, fresh_process: false }
}

const fn idle(name: &'static str, figures: &'static [Figure]) -> Workload {
    let size = Size::Tasks { full: 10_000, quick: 1_000 };
    Workload { name, figures, size, fresh_process: true }
}

const fn rate(name: &'static str, about: &'static str) -> Figure {
    Figure { name, unit: "requests/s", better: Better::Higher, about }
}

const fn memory(name: &'static str, about: &'static str) -> Figure {
    Figure { name, unit: "bytes/connection", better: Better::Lower, about }
}

fn run(server: &str, workload: &str, size: u64) -> Vec<f64> {
    run_with(if workload == "http-cores" { 2 } else { 1 }, server, workload, size)
}

fn run_with(threads: usize, server: &str, workload: &str, size: u64) -> Vec<f64> {
    measure(threads, server, workload, size)
        .map(|value| vec![value])
        .unwrap_or_else(|error| panic!("{server} fails at {workload}: {error}"))
}

thread_local! {
    /// What this process measured last, to go on with.
    static CURRENT: RefCell<Option<(String, Server, Load)>> = const { RefCell::new(None) };
}

fn measure(threads: usize, server: &str, workload: &str, size: u64) -> io::Result<f64> {
    let (service, connections, depth) = match workload {
        "tcp-echo-1" => (Service::Echo, 1, 1),
        "tcp-echo-100" => (Service::Echo, 100, 1),
        "tcp-echo-10000" => (Service::Echo, 10_000, 1),
        "http" => (Service::Http, 64, 1),
        "http-pipelined" => (Service::Http, 64, 16),
        "http-cores" => (Service::BusyHttp, 64, 1),
        "tcp-idle" => return idle_bytes(Setup::new(server, Service::Echo, threads), size),
        "http-idle" => return idle_bytes(Setup::new(server, Service::Http, threads), size),
        other => unreachable!("the suite has no workload '{other}'"),
    };
    CURRENT.with_borrow_mut(|current| {
        if !matches!(current, Some((name, ..)) if name == workload) {
            *current = None;
            raise_descriptor_limit();
            let setup = Setup::new(server, service, threads);
            let server = Server::start(&setup)?;
            let load = Load::connect(server.address, connections, &exchange(&server, service, depth)?)?;
            *current = Some((workload.to_owned(), server, load));
        }
        let (_, _, load) = current.as_mut().expect("set above");
        load.requests_per_second(size)
    })
}

/// What grows with every connection that is open, and was used.
fn idle_bytes(setup: Setup, connections: u64) -> io::Result<f64> {
    raise_descriptor_limit();
    let server = Server::start(&setup)?;
    let exchange = exchange(&server, setup.service(), 1)?;
    // What is allocated once is there after the first few.
    drop(open_and_use(&server, 10, &exchange)?);
    let before = server.resident_bytes();
    let open = open_and_use(&server, connections, &exchange)?;
    // Who gives memory back after a while has done so.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let grown = server.resident_bytes().saturating_sub(before);
    drop(open);
    Ok(grown as f64 / connections as f64)
}

/// Opens connections one after the other, and exchanges once over each.
fn open_and_use(server: &Server, connections: u64, exchange: &Exchange) -> io::Result<Vec<TcpStream>> {
    let open = |_| {
        let mut stream = TcpStream::connect(server.address)?;
        stream.write_all(&exchange.request)?;
        stream.read_exact(&mut vec![0; exchange.answer])?;
        Ok(stream)
    };
    (0..connections).map(open).collect()
}

/// What is sent to a service, and how long its answer is.
fn exchange(server: &Server, service: Service, depth: usize) -> io::Result<Exchange> {
    if service == Service::Echo {
        return Ok(Exchange { request: vec![b'x'; MESSAGE_SIZE], answer: MESSAGE_SIZE, depth });
    }
    let request =
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: greenlet-benches\r\nAccept: */*\r\n\r\n".to_vec();
    let answer = ask_once(server.address, &request, |answer| answer.ends_with(HELLO.as_bytes()))?;
    Ok(Exchange { request, answer: answer.len(), depth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_known_to_those_who_skip_it() {
        let known = |name: &&str| WORKLOADS.iter().any(|workload| workload.name == *name);
        assert!(RUNTIMES.iter().flat_map(|runtime| runtime.skips).all(known));
    }
}
