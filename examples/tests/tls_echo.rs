//! What the `tls_echo` example promises in its first comment.

#[path = "../../greenlet-net/tests/program/mod.rs"]
mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

fn tls_echo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tls_echo"));
    command.args(arguments);
    command
}

/// A server on a port of its own, ended with the test.
struct Server {
    process: Child,
    address: String,
    certificate: String,
}

impl Server {
    fn start() -> Server {
        let mut process = tls_echo(&["server", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let certificate = lines.next().unwrap();
        let certificate = certificate.strip_prefix("made a certificate for localhost: ").unwrap().to_owned();
        let address = lines.next().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        Server { process, address, certificate }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.certificate);
    }
}

fn with_input(command: &mut Command, input: &str) -> Output {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.expect("the program starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn client_and_server_echo_in_private() {
    let server = Server::start();
    let output =
        with_input(&mut tls_echo(&["client", &server.address, &server.certificate]), "hello\nworld\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\nworld\n");
    assert!(said.starts_with("TLSv1_3, TLS13_"), "{said}");
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let server = Server::start();
    let name = "example.org";
    let output = with_input(&mut tls_echo(&["client", &server.address, &server.certificate, name]), "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the certificate of example.org is not valid"), "{said}");
}

#[test]
fn openssl_talks_to_the_server() {
    if !program::has("openssl", "version", "openssl") {
        return;
    }
    let server = Server::start();
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-connect",
            &server.address,
            "-CAfile",
            &server.certificate,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    let _ = client.kill();
    let _ = client.wait();
}

#[test]
fn wrong_arguments_are_explained_with_exit_code_2() {
    for (arguments, complaint) in [
        (&[][..], "expected `server` or `client`"),
        (&["server", "7443"], "not `7443`"),
        (&["client", "127.0.0.1:1", "a", "b", "c"], "at most three"),
    ] {
        let output = tls_echo(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint) && said.contains("usage:"), "{said}");
    }
    let output = tls_echo(&["server", "127.0.0.1:0", "/none.pem", "/none.pem"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /none.pem"));
}
