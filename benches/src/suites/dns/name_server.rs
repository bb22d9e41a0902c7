//! The server: Debian's knotd with a zone of its own, or, where it is missing, a thread that answers.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A name server on the second core. Whoever starts it stays on the first one.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    /// The process and its directory; nothing for a thread, which ends with this process.
    knot: Option<(Child, PathBuf)>,
}

impl NameServer {
    /// Starts it with so many names, which live for 0 seconds.
    pub fn start(names: u64) -> io::Result<NameServer> {
        let cores = cores()?;
        pin(*cores.last().unwrap_or(&0))?;
        let server = match knot(names) {
            Ok(server) => Ok(server),
            Err(error) => {
                eprintln!("note: knotd does not start, a thread answers in its place: {error}");
                answering_thread()
            }
        };
        pin(*cores.first().unwrap_or(&0))?;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let Some((child, directory)) = &mut self.knot {
            // There is nothing to be done about a child that cannot be ended.
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn knot(names: u64) -> io::Result<NameServer> {
    // Free a moment ago.
    let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let directory = std::env::temp_dir().join(format!("greenlet-benches-knot-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let mut zone =
        "$ORIGIN example.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\nns A 127.0.0.1\n"
            .to_owned();
    for number in 0..names {
        // Writing to a string cannot fail.
        let _ =
            writeln!(zone, "h{number} A 10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
    }
    fs::write(directory.join("zone"), zone)?;
    let place = directory.display();
    let config = format!(
        "server:\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  rundir: {place}\n\
         database:\n  storage: {place}\nlog:\n- target: stderr\n  any: critical\n\
         zone:\n- domain: example\n  file: {place}/zone\n",
        address.ip(),
        address.port(),
    );
    fs::write(directory.join("knot.conf"), config)?;
    // Ends with its standard input, which no other program does for it.
    let child = Command::new("knotd")
        .arg("-c")
        .arg(directory.join("knot.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let server = NameServer { address, knot: Some((child, directory)) };
    wait_for_answer(address)?;
    Ok(server)
}

fn wait_for_answer(server: SocketAddr) -> io::Result<()> {
    let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x02h0\x07example\0\0\x01\0\x01";
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let mut answer = [0; 512];
        let _ = socket.send_to(query, server);
        match socket.recv(&mut answer) {
            Ok(length) if length > query.len() => return Ok(()),
            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Answers every question with the same address.
fn answering_thread() -> io::Result<NameServer> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut message) {
            // The name ends with a zero; type and class follow.
            let Some(end) = message.get(12..length).and_then(|rest| rest.iter().position(|byte| *byte == 0))
            else {
                continue;
            };
            let end = 12 + end + 5;
            message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            message[end..end + 16].copy_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]);
            let _ = socket.send_to(&message[..end + 16], client);
        }
    });
    Ok(NameServer { address, knot: None })
}

fn cores() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None::<Pid>)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect())
}

/// Keeps this thread, and what it starts, to one core.
fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
