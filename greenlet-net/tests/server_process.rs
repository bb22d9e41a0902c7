//! What servers do when the process runs out of descriptors, each in a process of its own.
#![cfg(target_os = "linux")]

mod own_process;
mod pair;
mod served;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenlet_core::{Event, run, sleep, spawn, yield_now};
use greenlet_net::TcpStream;
use greenlet_net::server::StreamServer;
use own_process::in_own_process;
use pair::FOREVER;
use served::{answer, connect};

/// What has a process have few descriptors.
const FEW: &str = "ulimit -n 64 &&";

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Log {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    }

    fn count(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(what).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes every descriptor that is left, but for so many.
fn ballast(left: usize) -> Vec<File> {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.truncate(files.len() - left);
    files
}

fn greet(mut stream: TcpStream, _: SocketAddr) -> io::Result<()> {
    stream.write_all(b"hello")
}

/// How long this thread was busy, asked without a new descriptor.
struct CpuTime(File);

impl CpuTime {
    fn of_this_thread() -> CpuTime {
        CpuTime(File::open("/proc/thread-self/schedstat").unwrap())
    }

    fn read(&self) -> Duration {
        let mut text = [0; 128];
        let n = self.0.read_at(&mut text, 0).unwrap();
        let text = std::str::from_utf8(&text[..n]).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

#[test]
fn without_descriptors_a_server_pauses_warns_once_and_recovers_by_itself() {
    if !in_own_process("without_descriptors_a_server_pauses_warns_once_and_recovers_by_itself", FEW) {
        return;
    }
    let log = Log::start();
    run(|| {
        let cpu_time = CpuTime::of_this_thread();
        let server = StreamServer::new("127.0.0.1:0", greet);
        server.bind().unwrap();
        for _ in 0..2 {
            let clients: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
            let ballast = ballast(0);
            let (before, busy) = (server.counts().accept_errors, cpu_time.read());
            server.start().unwrap();
            sleep(Duration::from_millis(500));
            // 10, 20, 40, 80, 160 and 320 ms: some six attempts
            let attempts = server.counts().accept_errors - before;
            assert!((1..=7).contains(&attempts), "{attempts} attempts");
            let busy = cpu_time.read() - busy;
            assert!(busy < Duration::from_millis(250), "busy for {busy:?}");
            assert!(server.started() && !server.closed());
            drop(ballast);
            let begin = Instant::now();
            clients.into_iter().for_each(|client| assert_eq!(answer(client), "hello"));
            assert!(begin.elapsed() < FOREVER);
            assert_eq!(answer(connect(&server)), "hello");
            server.stop_accepting();
        }
        // once for each time that it went wrong
        assert_eq!(log.count("cannot accept"), 2);
        assert_eq!(log.count("accepting again"), 2);
        assert_eq!(log.count("Too many open files"), 2);
    });
}

#[test]
fn a_connection_that_ends_lets_the_next_one_in_at_once() {
    if !in_own_process("a_connection_that_ends_lets_the_next_one_in_at_once", FEW) {
        return;
    }
    run(|| {
        let events = Rc::new(RefCell::new(Vec::new()));
        let server = StreamServer::new("127.0.0.1:0", {
            let events = events.clone();
            move |mut stream: TcpStream, _| {
                let event = Rc::new(Event::new());
                events.borrow_mut().push(event.clone());
                event.wait();
                stream.write_all(b"hello").unwrap();
            }
        });
        // The pause would be longer than the test may last.
        let server = server.pauses(10 * FOREVER, 10 * FOREVER);
        server.bind().unwrap();
        let clients: Vec<TcpStream> = (0..3).map(|_| connect(&server)).collect();
        let _ballast = ballast(1);
        server.start().unwrap();
        for (number, client) in clients.into_iter().enumerate() {
            while events.borrow().len() <= number {
                yield_now();
            }
            let event = events.borrow()[number].clone();
            event.set();
            assert_eq!(answer(client), "hello");
        }
        assert!(server.counts().accept_errors >= 1);
    });
}

#[test]
fn a_server_without_descriptors_can_be_stopped_and_killed() {
    if !in_own_process("a_server_without_descriptors_can_be_stopped_and_killed", FEW) {
        return;
    }
    run(|| {
        let [stopped, killed] = [(); 2]
            .map(|()| StreamServer::new("127.0.0.1:0", greet).pauses(FOREVER, FOREVER).grace(Duration::ZERO));
        [&stopped, &killed].into_iter().for_each(|server| server.bind().unwrap());
        let _clients = [connect(&stopped), connect(&killed)];
        let _ballast = ballast(0);
        stopped.start().unwrap();
        let serves = spawn(move || killed.serve_forever());
        while stopped.counts().accept_errors == 0 {
            yield_now();
        }
        assert_eq!(stopped.stop(FOREVER).finished, 0);
        serves.kill();
        assert!(serves.exited());
    });
}
