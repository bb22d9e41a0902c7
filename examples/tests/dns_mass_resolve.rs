//! What `dns_mass_resolve` promises in its first comment.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};

/// A server that knows `h0.example` and so on, but not the names that begin with `n`. It runs until the test ends.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut message).unwrap();
            let name_end = 12 + message[12..length].iter().position(|byte| *byte == 0).unwrap();
            let (end, exists) = (name_end + 5, message[13] == b'h');
            let wants_v4 = message[name_end + 2] == 1;
            let (answers, code) = (u8::from(exists && wants_v4), if exists { 0 } else { 3 });
            message[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
            let mut answer = message[..end].to_vec();
            if answers == 1 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
            }
            socket.send_to(&answer, client).unwrap();
        }
    });
    address
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dns_mass_resolve")).args(arguments).output().unwrap()
}

fn printed(output: Output) -> String {
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_resolves_the_generated_names() {
    let server = name_server().to_string();
    let printed = printed(run(&["--server", &server, "--count", "2000"]));
    assert!(printed.starts_with("2000 names in "), "{printed}");
    assert!(printed.ends_with(": 2000 found, 0 do not exist, 0 failed\n"), "{printed}");
}

#[test]
fn it_resolves_the_names_of_a_file_and_prints_them() {
    let server = name_server().to_string();
    let file = std::env::temp_dir().join(format!("greenlet-names-{}", std::process::id()));
    std::fs::write(&file, "h1.example\n\nnobody.example\nh2.example\n").unwrap();
    let output = run(&["--server", &server, "--print", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let printed = printed(output);
    assert!(printed.contains("h1.example [10.0.0.1]\n"), "{printed}");
    assert!(printed.ends_with(": 2 found, 1 do not exist, 0 failed\n"), "{printed}");
}

#[test]
fn what_it_does_not_understand_is_explained() {
    for (arguments, complaint) in [
        (&[][..], "which names?"),
        (&["--server", "here"], "\"here\" is not an address with a port"),
        (&["--server"], "--server needs an address"),
        (&["--count", "many"], "\"many\" is not a number"),
        (&["--fast"], "what is --fast?"),
        (&["/nonexistent/names"], "cannot read /nonexistent/names"),
    ] {
        let output = run(arguments);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaints}");
        assert!(complaints.contains(complaint) && complaints.contains("usage:"), "{complaints}");
    }
}
