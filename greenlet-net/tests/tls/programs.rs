//! OpenSSL and curl against us.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use greenlet_core::{run, spawn};
use greenlet_net::tls::rustls::HandshakeKind;
use greenlet_net::tls::{TlsAcceptorBuilder, TlsStream, Versions};
use greenlet_net::{TcpListener, TcpStream};

use crate::certified::{HOST, OURS, SERVER, Valid, acceptor, connector};
use crate::program::has;

/// A folder with certificates, for programs that want files.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("greenlet-net-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let alice = OURS.issue(&["alice"], Valid::Now);
        let files = [
            ("ca.pem", &OURS.pem),
            ("server.pem", &SERVER.certificate),
            ("server-key.pem", &SERVER.key),
            ("alice.pem", &alice.certificate),
            ("alice-key.pem", &alice.key),
        ];
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server of ours on a thread, for so many connections.
fn serve(
    acceptor: TlsAcceptorBuilder,
    connections: usize,
    handler: impl Fn(TlsStream) + Send + Clone + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        run(|| {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = acceptor.build().unwrap();
            let served: Vec<_> = (0..connections)
                .map(|_| {
                    let (stream, acceptor, handler) =
                        (listener.accept().unwrap().0, acceptor.clone(), handler.clone());
                    spawn(move || acceptor.accept(stream).map(handler).is_ok())
                })
                .collect();
            for one in served {
                let _ = one.get();
            }
        });
    });
    (address, server)
}

/// Answers each line in capitals, until `end`.
fn shout(stream: TlsStream) {
    for line in BufReader::new(&stream).lines().map_while(Result::ok) {
        if line == "end" {
            break;
        }
        writeln!(&stream, "{}", line.to_uppercase()).unwrap();
    }
    let _ = stream.shutdown(Shutdown::Write);
}

fn run_with(command: &mut Command, input: &str) -> Output {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

fn s_client(folder: &Folder, address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder.path()).args(["s_client", "-verify_return_error", "-CAfile", "ca.pem"]);
    command.args(["-servername", HOST, "-verify_hostname", HOST, "-connect", &address.to_string()]);
    command.args(arguments);
    command
}

#[test]
fn openssl_s_client_talks_to_us_in_both_versions() {
    if !has("openssl", "version", "openssl") {
        return;
    }
    let folder = Folder::new();
    for (version, said) in
        [("-tls1_2", "Protocol version: TLSv1.2"), ("-tls1_3", "Protocol version: TLSv1.3")]
    {
        let (address, server) = serve(acceptor().alpn(["shout"]), 1, shout);
        let mut client = s_client(&folder, address, &["-brief", "-ign_eof", "-alpn", "shout", version]);
        let output = run_with(&mut client, "hello\nend\n");
        let (printed, complaints) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("HELLO"), "{printed}{complaints}");
        assert!(complaints.contains(said) && complaints.contains("Verification: OK"), "{complaints}");
        server.join().unwrap();
    }
}

#[test]
fn openssl_s_client_shows_its_certificate_and_is_refused_without() {
    if !has("openssl", "version", "openssl") {
        return;
    }
    let folder = Folder::new();
    let asks = || acceptor().require_client_certificate(OURS.roots());
    let (address, server) = serve(asks(), 1, |stream| {
        assert!(stream.peer_certificates().is_some());
        shout(stream);
    });
    let shown = ["-quiet", "-cert", "alice.pem", "-key", "alice-key.pem"];
    let output = run_with(&mut s_client(&folder, address, &shown), "hello\nend\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HELLO\n");
    server.join().unwrap();

    let (address, server) = serve(asks(), 1, shout);
    let output = run_with(&mut s_client(&folder, address, &["-quiet"]), "hello\nend\n");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(complaints.contains("certificate required"), "{complaints}");
    server.join().unwrap();
}

#[test]
fn openssl_s_client_updates_keys_and_takes_up_its_session() {
    if !has("openssl", "version", "openssl") {
        return;
    }
    let folder = Folder::new();
    let (address, server) = serve(acceptor(), 2, shout);
    // `K` on a line of its own: new keys on both sides.
    let first = ["-tls1_3", "-sess_out", "session.pem"];
    let mut child = s_client(&folder, address, &first)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut complaints = BufReader::new(child.stderr.take().unwrap());
    fn wait_for(lines: &mut impl BufRead, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before {wanted}");
        }
    }
    for word in ["apple", "pear"] {
        writeln!(stdin, "{word}").unwrap();
        wait_for(&mut printed, &word.to_uppercase());
        stdin.write_all(b"K\n").unwrap();
        wait_for(&mut complaints, "KEYUPDATE");
    }
    writeln!(stdin, "plum").unwrap();
    wait_for(&mut printed, "PLUM");
    writeln!(stdin, "end").unwrap();
    drop(stdin);
    child.wait().unwrap();

    let again = ["-tls1_3", "-ign_eof", "-sess_in", "session.pem"];
    let output = run_with(&mut s_client(&folder, address, &again), "hello\nend\n");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("Reused, TLSv1.3") && printed.contains("HELLO"), "{printed}");
    server.join().unwrap();
}

/// `openssl s_server` that sends lines back reversed, ended with the test.
struct Reversing {
    process: Child,
    address: String,
}

impl Reversing {
    fn start(folder: &Folder, arguments: &[&str]) -> Reversing {
        let mut process = Command::new("openssl")
            .current_dir(folder.path())
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-rev",
                "-cert",
                "server.pem",
                "-key",
                "server-key.pem",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT ") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it listens");
        }
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Reversing { process, address: line["ACCEPT ".len()..].trim().to_owned() }
    }
}

impl Drop for Reversing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn we_talk_to_openssl_s_server_and_take_up_sessions() {
    if !has("openssl", "version", "openssl") {
        return;
    }
    let folder = Folder::new();
    for versions in [Versions::Tls12, Versions::Tls13] {
        let server = Reversing::start(&folder, &["-Verify", "1", "-CAfile", "ca.pem"]);
        run(|| {
            let alice = greenlet_net::tls::Identity::from_files(
                folder.path().join("alice.pem"),
                folder.path().join("alice-key.pem"),
            );
            let connector = connector().versions(versions).identity(alice.unwrap()).build().unwrap();
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let stream = connector.connect(HOST, TcpStream::connect(&*server.address).unwrap()).unwrap();
                assert_eq!(stream.handshake_kind(), Some(kind), "{versions:?}");
                (&stream).write_all(b"hello\n").unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert_eq!(line, "olleh\n");
            }
        });
    }
}

#[test]
fn we_are_refused_by_openssl_s_server_with_its_alert() {
    if !has("openssl", "version", "openssl") {
        return;
    }
    let folder = Folder::new();
    let server = Reversing::start(&folder, &["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"]);
    run(|| {
        let connector = connector().build().unwrap();
        let stream = connector.connect(HOST, TcpStream::connect(&*server.address).unwrap()).unwrap();
        let error = (&stream).read(&mut [0; 8]).unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    });
}

fn page(stream: TlsStream) {
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let body = "x".repeat(300_000);
    write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
}

#[test]
fn curl_gets_a_page_and_refuses_whom_it_does_not_know() {
    if !has("curl", "--version", "curl") {
        return;
    }
    let folder = Folder::new();
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let (address, server) = serve(acceptor().alpn(["http/1.1"]), 1, page);
        let port = address.port();
        let mut curl = Command::new("curl");
        curl.current_dir(folder.path()).args(["-sS", "--cacert", "ca.pem", "--noproxy", "*"]);
        match version.split_once('=') {
            Some((name, value)) => curl.args([name, value]),
            None => curl.arg(version),
        };
        curl.arg("--resolve").arg(format!("{HOST}:{port}:127.0.0.1")).arg(format!("https://{HOST}:{port}/"));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout.len(), 300_000);
        server.join().unwrap();
    }
    let (address, server) = serve(acceptor(), 1, page);
    let url = format!("https://127.0.0.1:{}/", address.port());
    let output = Command::new("curl").args(["-sS", "--noproxy", "*", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(60), "the authority is unknown to it");
    server.join().unwrap();
}
