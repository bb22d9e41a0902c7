//! Servers that are measured: each in a process of its own, on a core of its own.

pub mod greenlet;
pub mod hyper;
pub mod may;
pub mod tokio;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::arguments;
use crate::usage;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends back what it gets.
    Echo,
    /// Answers every HTTP request with "Hello, World!".
    Http,
    /// The same, after some microseconds of computing.
    BusyHttp,
}

const SERVICES: &[(&str, Service)] =
    &[("echo", Service::Echo), ("http", Service::Http), ("busy-http", Service::BusyHttp)];

/// Starts a server and blocks for ever; calls the function once with the address, when it listens.
pub type Serve = fn(Service, threads: usize, listening: &dyn Fn(SocketAddr));

/// The servers by name.
const SERVERS: &[(&str, Serve)] = &[
    ("greenlet", greenlet::serve),
    ("may", may::serve),
    ("tokio", tokio::serve),
    ("hyper", hyper::serve),
    ("axum", hyper::serve_axum),
];

/// A server and what it is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    server: &'static str,
    serve: Serve,
    service: Service,
    threads: usize,
}

impl Setup {
    /// The server of this name with this many threads.
    pub fn new(server: &str, service: Service, threads: usize) -> Setup {
        let (server, serve) =
            *SERVERS.iter().find(|(name, _)| *name == server).expect("a server of the table");
        Setup { server, serve, service, threads }
    }

    /// As `new`, from the words of a command line.
    pub fn parse(words: &[String]) -> Option<Setup> {
        let [server, service, threads] = words else { return None };
        let (server, serve) = *SERVERS.iter().find(|(name, _)| name == server)?;
        let (_, service) = *SERVICES.iter().find(|(name, _)| name == service)?;
        Some(Setup { server, serve, service, threads: threads.parse().ok()? })
    }

    /// What the server does.
    pub fn service(&self) -> Service {
        self.service
    }

    fn words(&self) -> [String; 3] {
        let service =
            SERVICES.iter().find(|(_, service)| *service == self.service).expect("all are in the table").0;
        [self.server.to_owned(), service.to_owned(), self.threads.to_string()]
    }
}

/// The body of every answer.
pub const HELLO: &str = "Hello, World!";

/// What a handler of [`Service::BusyHttp`] computes, some 50 microseconds long.
pub fn compute() {
    let mut sum = 0_u64;
    for n in 0..std::hint::black_box(60_000_u64) {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
    }
}

/// A server's process, which ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it: pinned to the first core if it has one thread, and then this process is pinned to the second one.
    pub fn start(setup: &Setup) -> io::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(arguments::SERVER)
            .args(setup.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address =
            line.trim().parse().map_err(|_| io::Error::other(format!("the server said {line:?}")))?;
        if setup.threads == 1 {
            pin(1)?;
        }
        Ok(Server { child, address })
    }

    /// The resident memory of its process, page tables included.
    pub fn resident_bytes(&self) -> u64 {
        usage::resident_bytes_of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // There is nothing to be done about a child that cannot be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The far end: what the process of a server does.
pub fn serve(setup: &Setup) -> io::Result<()> {
    if setup.threads == 1 {
        pin(0)?;
    }
    raise_descriptor_limit();
    thread::spawn(|| {
        // The near end is gone.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    (setup.serve)(setup.service, setup.threads, &|address| {
        println!("{address}");
        let _ = io::stdout().flush();
    });
    Ok(())
}

/// Keeps this thread, and those that it starts, to one core, where there are several.
fn pin(core: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None::<Pid>)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.len() > 1 {
        let mut set = CpuSet::new();
        set.set(cores[core]);
        sched_setaffinity(None, &set)?;
    }
    Ok(())
}

/// Lets this process have as many descriptors as it may.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A listener for servers that want one of std's.
pub fn std_listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&crate::runtimes::ANY_PORT.into()).expect("a free port");
    socket.listen(4096).expect("a bound socket listens");
    socket.set_nonblocking(true).expect("an option of every socket");
    socket.into()
}
