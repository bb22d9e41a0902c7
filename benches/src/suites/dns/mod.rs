//! The suite `dns`: names resolved over loopback, the resolver on one core and the server on another.

mod name_server;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_core::pool::Pool;
use greenlet_net::dns::{EngineKind, Resolver};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use name_server::NameServer;
use tokio::sync::Semaphore;

use crate::harness::{Better, Figure, Runtime, Size, Suite, Workload};

/// The suite's description.
pub static SUITE: Suite = Suite {
    name: "dns",
    about: "names resolved by a server on another core, a hundred at a time",
    workloads: WORKLOADS,
    runtimes: RUNTIMES,
    groups: &[],
    patience: Duration::MAX,
    report: |_, _| Ok(()),
};

static WORKLOADS: &[Workload] = &[Workload {
    name: "resolve-10000",
    figures: &[Figure {
        name: "resolve-10000",
        unit: "names/s",
        better: Better::Higher,
        about: "ten thousand names, each asked for once",
    }],
    size: Size::Tasks { full: NAMES, quick: NAMES / 10 },
    fresh_process: false,
}];

static RUNTIMES: &[Runtime] = &[
    runtime("greenlet", |_, names| measure(names, greenlets)),
    runtime("hickory-tokio", |_, names| measure(names, hickory)),
    runtime("gevent-cares", |_, names| gevent(names)),
];

const fn runtime(name: &'static str, run: fn(&str, u64) -> Vec<f64>) -> Runtime {
    Runtime { name, max_tasks: NAMES, skips: &[], run }
}

/// So many names the server knows.
const NAMES: u64 = 10_000;
/// So many are looked up at once.
const AT_ONCE: usize = 100;

fn name(number: u64) -> String {
    format!("h{number}.example")
}

thread_local! {
    static SERVER: RefCell<Option<NameServer>> = const { RefCell::new(None) };
}

/// The server of this process, started at the first call.
fn server() -> SocketAddr {
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(|| NameServer::start(NAMES).expect("a name server starts"));
        server.address()
    })
}

/// Resolves as many names and says how many that is in a second.
fn measure(names: u64, resolve: fn(SocketAddr, u64) -> Duration) -> Vec<f64> {
    vec![names as f64 / resolve(server(), names).as_secs_f64()]
}

fn greenlets(server: SocketAddr, names: u64) -> Duration {
    let resolver = Resolver::builder()
        .engine(EngineKind::Native)
        .nameservers([server])
        .resolv_conf("/nonexistent")
        .cache_size(0)
        .build()
        .expect("settings that can be");
    let names: Vec<String> = (0..names).map(name).collect();
    resolver.gethostbyname(&names[0]).expect("a name of the server");
    let start = Instant::now();
    let resolve = move |name: String| resolver.gethostbyname(&name).expect("a name of the server");
    Pool::new(AT_ONCE).map(resolve, names).expect("all are found");
    start.elapsed()
}

fn hickory(server: SocketAddr, names: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut builder =
            hickory_resolver::Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        let resolver = Arc::new(builder.build().expect("settings that can be"));
        resolver.ipv4_lookup(name(0) + ".").await.expect("a name of the server");
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let names: Vec<String> = (0..names).map(|number| name(number) + ".").collect();
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for name in names {
            let permit = permits.clone().acquire_owned().await.expect("never closed");
            let resolver = resolver.clone();
            tasks.spawn(async move {
                let found = resolver.ipv4_lookup(name).await;
                drop(permit);
                found.expect("a name of the server")
            });
        }
        while let Some(found) = tasks.join_next().await {
            found.expect("no task panics");
        }
        start.elapsed()
    })
}

/// A Python of its own in a directory for temporary files, made once; nothing where that cannot be done.
fn gevent(names: u64) -> Vec<f64> {
    const SCRIPT: &str = include_str!("resolve.py");
    let result = python().and_then(|python| {
        let server = server();
        let output = Command::new(python)
            .args(["-c", SCRIPT, &names.to_string(), &AT_ONCE.to_string()])
            .env("GEVENT_RESOLVER", "ares")
            .env("GEVENTARES_SERVERS", server.ip().to_string())
            .env("GEVENTARES_UDP_PORT", server.port().to_string())
            .env("GEVENTARES_TCP_PORT", server.port().to_string())
            .output()?;
        let answer = String::from_utf8_lossy(&output.stdout);
        answer
            .trim()
            .parse()
            .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    });
    match result {
        Ok(per_second) => vec![per_second],
        Err(error) => {
            eprintln!("note: gevent is left out, it needs python3 with venv and pip: {error}");
            Vec::new()
        }
    }
}

fn python() -> io::Result<PathBuf> {
    let home = std::env::temp_dir().join("greenlet-benches-gevent");
    let python = home.join("bin/python");
    let works = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import gevent"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if works(&python) {
        return Ok(python);
    }
    eprintln!("note: gevent is installed into {}", home.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "gevent"]))?;
    Ok(python)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greenlets_and_hickory_find_the_names_of_the_server() {
        for resolve in [greenlets, hickory] {
            let values = measure(10, resolve);
            assert!(values[0].is_finite() && values[0] > 0.0);
        }
    }
}
