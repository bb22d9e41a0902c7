//! HTTP on Unix sockets.
#![cfg(feature = "http")]

mod program;
mod raw;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_core::pool::ThreadPool;
use greenlet_core::{Event, run, spawn};
use greenlet_net::http::{Body, Error, Request, RequestExt, Server};
use greenlet_net::{Address, UnixListener, UnixStream};
use raw::{Client, End, FOREVER};

/// A folder of the test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("greenlet-http-unix-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("http.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(path: &PathBuf) -> Client<UnixStream> {
    Client::over(UnixStream::connect(path).unwrap())
}

/// Says who asked for what, and how much came with it.
fn mirror(mut request: Request) -> Result<String, Error> {
    let mut body = Vec::new();
    request.body_mut().read_to_end(&mut body)?;
    let peer = match request.peer() {
        Some(Address::Unix(address)) if address.is_unnamed() => "unnamed",
        _ => "somebody else",
    };
    Ok(format!("{} {} {peer} {}", request.method(), request.uri(), body.len()))
}

#[test]
fn requests_are_answered_on_the_socket_of_a_path_which_goes_with_the_server() {
    run(|| {
        let folder = Folder::new();
        let server = Server::new(mirror).start(format!("unix:{}", folder.socket().display())).unwrap();
        assert_eq!(server.local_addresses()[0].to_string(), format!("unix:{}", folder.socket().display()));
        assert!(server.local_addr().is_err());
        let mut client = connect(&folder.socket());
        assert_eq!(client.get("/a").text(), "GET /a unnamed 0");
        client.send(format!(
            "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}",
            "x".repeat(300_000)
        ));
        assert_eq!(client.answer().text(), "POST /b unnamed 300000");
        client.send(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(client.answer().text(), "GET /1 unnamed 0");
        assert_eq!(client.answer().text(), "GET /2 unnamed 0");
        assert_eq!(client.end(), End::Fin);
        let stopped = server.stop(FOREVER);
        assert_eq!((stopped.killed, server.counts().accepted), (0, 1));
        assert!(!folder.socket().exists());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_without_a_file_does_as_well() {
    use std::os::linux::net::SocketAddrExt;
    run(|| {
        let name = format!("greenlet-http-{}", std::process::id());
        let _server = Server::new(mirror).start(format!("unix:@{name}")).unwrap();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let mut client = Client::over(UnixStream::connect_addr(&address).unwrap());
        assert_eq!(client.get("/").text(), "GET / unnamed 0");
    });
}

#[test]
fn one_server_serves_both_kinds() {
    run(|| {
        let folder = Folder::new();
        let server = Server::new(mirror).max_per_ip(Some(1));
        let server = server
            .start(vec![format!("unix:{}", folder.socket().display()), "127.0.0.1:0".to_owned()])
            .unwrap();
        let Address::Ip(address) = server.local_addresses()[1] else { panic!("not in order") };
        assert_eq!(Client::connect(address).get("/").text(), "GET / somebody else 0");
        // Clients of Unix sockets have no IP address that could be limited.
        let mut clients = [connect(&folder.socket()), connect(&folder.socket())];
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "GET / unnamed 0");
        }
    });
}

#[test]
fn a_listener_that_was_there_before_keeps_its_file() {
    run(|| {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).unwrap();
        let server = Server::new(mirror).start(listener).unwrap();
        assert_eq!(connect(&folder.socket()).get("/").text(), "GET / unnamed 0");
        server.stop(FOREVER);
        assert!(folder.socket().exists());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_file_has_the_permissions_that_were_set() {
    use std::os::unix::fs::PermissionsExt;
    run(|| {
        let folder = Folder::new();
        let _server = Server::new(mirror).unix_mode(0o600).start(folder.socket()).unwrap();
        assert_eq!(fs::metadata(folder.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn hubs_share_the_socket() {
    let folder = Folder::new();
    let server = Server::new(mirror).start_on_hubs(2, folder.socket()).unwrap();
    for _ in 0..20 {
        assert_eq!(connect(&folder.socket()).get("/").text(), "GET / unnamed 0");
    }
    assert_eq!(server.stop(FOREVER).killed, 0);
}

#[test]
fn a_client_that_takes_nothing_suspends_the_writer_and_a_stop_ends_both() {
    run(|| {
        let folder = Folder::new();
        let ended = Rc::new(Event::new());
        let ends = ended.clone();
        let server = Server::new(move |_: Request| {
            let ends = ends.clone();
            Body::stream(move |out| {
                loop {
                    if let Err(error) = out.send(vec![7; 16 * 1024].into()) {
                        ends.set();
                        return Err(error);
                    }
                }
            })
        });
        let server = server.write_timeout(Some(Duration::from_millis(80))).start(folder.socket()).unwrap();
        let mut client = connect(&folder.socket());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(ended.wait_timeout(FOREVER));
        assert_eq!(server.stop(FOREVER).killed, 0);
    });
}

#[test]
fn killing_the_server_ends_it_and_its_file() {
    run(|| {
        let folder = Folder::new();
        let path = folder.socket();
        let serves = spawn(move || Server::new(mirror).serve(path));
        let mut client = loop {
            greenlet_core::yield_now();
            if let Ok(stream) = UnixStream::connect(folder.socket()) {
                break Client::over(stream);
            }
        };
        assert_eq!(client.get("/").text(), "GET / unnamed 0");
        serves.kill();
        assert_eq!(client.end(), End::Fin);
        assert!(!folder.socket().exists());
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_goes_over_it_too() {
    use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector};
    run(|| {
        let folder = Folder::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let identity = Identity::from_pem(&pem, made.signing_key.serialize_pem()).unwrap();
        let acceptor = TlsAcceptor::builder().identity(identity).build().unwrap();
        let handler = |request: Request| request.is_secure().to_string();
        let _server = Server::new(handler).tls(acceptor).start(folder.socket()).unwrap();
        let connector = TlsConnector::builder().roots(Roots::from_pem(&pem).unwrap()).build().unwrap();
        let session = connector.connect("localhost", UnixStream::connect(folder.socket()).unwrap()).unwrap();
        assert_eq!(Client::over(session).get("/").text(), "true");
    });
}

#[test]
fn curl_speaks_through_a_path() {
    if !program::has("curl", "--version", "curl") {
        return;
    }
    run(|| {
        let folder = Folder::new();
        let _server = Server::new(mirror).start(folder.socket()).unwrap();
        let path = folder.socket();
        let curl = ThreadPool::global().apply(move || {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-m", "20", "-d", "hello", "--unix-socket"]).arg(path);
            curl.arg("http://localhost/said").output()
        });
        let output = curl.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "POST /said unnamed 5", "{output:?}");
    });
}
