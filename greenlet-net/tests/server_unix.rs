//! What servers on Unix sockets promise.

mod pair;
mod served;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::server::StreamServer;
use greenlet_net::{Address, Stream, TcpStream, UnixListener, UnixStream};
use pair::{FOREVER, kind};
use served::answer;

/// A folder of the test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("greenlet-server-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("app.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn greet(mut stream: UnixStream, _: SocketAddr) -> io::Result<()> {
    stream.write_all(b"hello")
}

fn ask(path: &Path) -> String {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(FOREVER)).unwrap();
    answer(stream)
}

fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

#[test]
fn a_path_is_served_and_its_file_goes_with_the_server() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let server = StreamServer::new(format!("unix:{}", path.display()), greet);
        server.start().unwrap();
        assert_eq!((ask(&path), ask(&path)), ("hello".into(), "hello".into()));
        assert_eq!(server.local_addresses()[0].to_string(), format!("unix:{}", path.display()));
        assert_eq!(kind(server.local_addr()), ErrorKind::AddrNotAvailable);
        server.stop(FOREVER);
        assert!(!path.exists());
        // and once more, with another form of address
        let server = StreamServer::new(path.as_path(), greet);
        server.start().unwrap();
        assert_eq!(ask(&path), "hello");
    });
}

#[test]
fn the_file_of_a_server_that_crashed_is_replaced_and_that_of_one_that_lives_is_not() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let server = StreamServer::new(path.as_path(), greet);
        server.start().unwrap();
        let second = StreamServer::new(path.as_path(), greet);
        let error = second.start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(ask(&path), "hello");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_file_has_the_mode_that_was_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    run(|| {
        let folder = Folder::new();
        let server = StreamServer::new(folder.socket(), greet).unix_mode(0o600);
        server.start().unwrap();
        assert_eq!(folder.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&folder.socket()), "hello");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_without_a_file_is_served() {
    use std::os::linux::net::SocketAddrExt;
    run(|| {
        let name = format!("greenlet-server-{}", std::process::id());
        let server = StreamServer::new(format!("unix:@{name}"), greet);
        server.start().unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        assert_eq!(answer(UnixStream::connect_addr(&address).unwrap()), "hello");
        assert_eq!(server.local_addresses()[0].to_string(), format!("unix:@{name}"));
    });
}

#[test]
fn ready_listeners_are_served_and_their_files_stay() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let server = StreamServer::new(UnixListener::bind(&path).unwrap(), greet);
        server.start().unwrap();
        assert_eq!(ask(&path), "hello");
        server.stop(FOREVER);
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        let server = StreamServer::new(std::os::unix::net::UnixListener::bind(&path).unwrap(), greet);
        server.start().unwrap();
        assert_eq!(ask(&path), "hello");
        let ready = UnixListener::bind(folder.0.join("other.sock")).unwrap();
        assert_eq!(kind(StreamServer::new(ready, greet).backlog(1).start()), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_handler_of_any_stream_serves_tcp_and_unix_sockets_at_once() {
    run(|| {
        let folder = Folder::new();
        let handler = |stream: Arc<dyn Stream>, peer: Address| {
            let kind = if matches!(peer, Address::Unix(_)) { "unix" } else { "ip" };
            (&*stream).write_all(kind.as_bytes())
        };
        let listen_on = ["127.0.0.1:0".to_owned(), format!("unix:{}", folder.socket().display())];
        let server = StreamServer::new(listen_on, handler).limit_per_ip(1);
        server.start().unwrap();
        assert_eq!(answer(TcpStream::connect(server.local_addr().unwrap()).unwrap()), "ip");
        assert_eq!(ask(&folder.socket()), "unix");
    });
}

#[test]
fn a_handler_of_unix_sockets_is_not_given_tcp() {
    run(|| {
        for listen_on in ["127.0.0.1:0", "localhost:0", "0"] {
            let error = StreamServer::new(listen_on, greet).start().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    });
}

#[test]
fn a_path_that_is_too_long_is_an_error_of_start() {
    run(|| {
        let long = format!("unix:/tmp/{}", "x".repeat(200));
        assert_eq!(kind(StreamServer::new(long, greet).start()), ErrorKind::InvalidInput);
    });
}

#[test]
fn hubs_share_a_unix_socket() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let server = StreamServer::on_hubs(2, path.as_path(), |mut stream: UnixStream, _| {
            let _ = stream.read(&mut [0]); // as long as the client is there
        });
        server.start().unwrap();
        let clients: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
        until(|| server.counts().active == 40);
        drop(clients);
        assert_eq!(server.stop(FOREVER).left, 0);
        assert!(!path.exists());
    });
}

#[test]
fn a_full_server_lets_clients_wait_and_a_stop_lets_them_go() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let server = StreamServer::new(path.as_path(), |mut stream: UnixStream, _| {
            let _ = stream.read(&mut [0]);
        });
        let server = server.limit(1);
        server.start().unwrap();
        let served = UnixStream::connect(&path).unwrap();
        let waits = UnixStream::connect(&path).unwrap();
        until(|| server.counts().active == 1);
        (0..100).for_each(|_| yield_now());
        assert_eq!(server.counts().accepted, 1);
        drop(served);
        until(|| server.counts().accepted == 2);
        let next = UnixStream::connect(&path).unwrap();
        assert_eq!(server.stop(std::time::Duration::ZERO).killed, 1);
        let mut end = Vec::new();
        assert!((&waits).read_to_end(&mut end).is_ok_and(|n| n == 0));
        // Not accepted: an end or a reset, whatever the system has for that.
        let _ = (&next).read_to_end(&mut end);
        assert!(end.is_empty());
    });
}

#[test]
fn a_kill_of_who_serves_forever_removes_the_file() {
    run(|| {
        let folder = Folder::new();
        let server = StreamServer::new(folder.socket(), greet);
        server.start().unwrap();
        let serves = spawn(move || server.serve_forever());
        yield_now();
        assert!(folder.socket().exists());
        serves.kill();
        assert!(!folder.socket().exists());
    });
}
