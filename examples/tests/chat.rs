//! What the chat server promises, tried from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use socket2::{Domain, Socket, Type};

/// A safety net only: nothing here takes long, except the close of a connection that the client does not close too.
const LONG: Duration = Duration::from_secs(30);
const LINE_LIMIT: usize = 8 * 1024;
const BACKLOG: usize = 25;

fn chat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
    command.args(arguments);
    command
}

/// A server on a port of its own, ended with the test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        Server::run(chat(&["127.0.0.1:0"]))
    }

    fn run(mut command: Command) -> Server {
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the example starts");
        let mut lines = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        for _ in 0..2 {
            stdout.read_line(&mut lines).unwrap();
        }
        let address = lines.trim().split_once("lines on ").expect("it says where it listens").1;
        Server { process, address: address.parse().unwrap() }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        let client = Client::on(stream);
        client.greeted()
    }

    /// A client with a name, in a room.
    fn join(&self, name: &str, room: &str) -> Client {
        let mut client = self.connect();
        client.send(&format!("/name {name}"));
        client.expect(&format!("= you are {name} now"));
        client.send(&format!("/join {room}"));
        let answer = client.line();
        assert!(answer.starts_with(&format!("= you are in {room} with: ")), "{answer}");
        client
    }

    /// The server lives and works, for newcomers too.
    fn works(&self) {
        let (mut a, mut b) = (self.join("check-a", "check"), self.join("check-b", "check"));
        a.expect("* check-b joined");
        b.send("still there?");
        a.expect("<check-b> still there?");
    }

    #[cfg(target_os = "linux")]
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the server has ended by itself, and then the test has failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A plain blocking client.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    fn greeted(mut self) -> Client {
        let greeting = self.line();
        assert!(greeting.starts_with("= welcome, guest-"), "{greeting}");
        self
    }

    fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the connection ended after {line:?}");
        line.pop();
        line
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Nothing more was sent, and the connection is closed.
    #[track_caller]
    fn expect_end(&mut self) {
        assert_eq!(self.rest(), "");
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Ends the connection with a reset.
    fn reset(self) {
        socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

// --- talking -----------------------------------------------------------------------------------------------------

#[test]
fn two_users_talk() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("Bøb", "rust");
    alice.expect("* Bøb joined");
    alice.send("hello, Bøb");
    bob.expect("<alice> hello, Bøb");
    bob.send("//help is how you get help 👍");
    alice.expect("<Bøb> /help is how you get help 👍");
    // Nobody hears himself: this answer is the next line.
    bob.send("/who");
    bob.expect("= in rust: alice, Bøb");
}

#[test]
fn who_shows_who_came_went_and_changed_name() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    bob.send("/name robert");
    bob.expect("= you are robert now");
    alice.expect("* bob is robert now");
    bob.send("/leave");
    bob.expect("= you left rust");
    alice.expect("* robert left");
    alice.send("/who");
    alice.expect("= in rust: alice");
    for said in ["lost words", "/who", "/leave"] {
        bob.send(said);
        bob.expect("! you are in no room; try /join ROOM");
    }
}

#[test]
fn who_joins_another_room_leaves_the_first_and_empty_rooms_are_gone() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    bob.send("/join erlang");
    bob.expect("= you are in erlang with: bob");
    alice.expect("* bob left");
    alice.send("/rooms");
    alice.expect("= rooms: erlang, rust");
    alice.send("/join erlang");
    alice.expect("= you are in erlang with: alice, bob");
    bob.expect("* alice joined");
    // The lobby hears of the end of a room a moment later than its last member.
    let start = Instant::now();
    loop {
        alice.send("/rooms");
        let rooms = alice.line();
        if rooms == "= rooms: erlang" {
            break;
        }
        assert!(start.elapsed() < LONG, "{rooms}");
    }
}

#[test]
fn the_backlog_is_the_last_25_lines_in_order() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    for n in 0..BACKLOG + 5 {
        alice.send(&format!("number {n}"));
    }
    alice.send("/who"); // answered when all is said
    alice.expect("= in rust: alice");
    let mut bob = server.join("bob", "rust");
    for n in 5..BACKLOG + 5 {
        bob.expect(&format!("~ <alice> number {n}"));
    }
    alice.send("new");
    bob.expect("<alice> new");
}

#[test]
fn a_name_is_taken_until_its_connection_is_gone() {
    let server = Server::start();
    let alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    for name in ["alice", "ALICE"] {
        bob.send(&format!("/name {name}"));
        bob.expect(&format!("! the name {name} is taken"));
    }
    bob.send("/name Bob");
    bob.expect("= you are Bob now");
    drop(alice);
    bob.expect("* alice left");
    // The lobby hears of it a moment earlier or later than the room.
    let start = Instant::now();
    loop {
        bob.send("/name alice");
        let answer = bob.line();
        if answer == "= you are alice now" {
            break;
        }
        assert_eq!(answer, "! the name alice is taken");
        assert!(start.elapsed() < LONG);
    }
}

// --- ends --------------------------------------------------------------------------------------------------------

#[test]
fn a_broken_connection_leaves_the_room_working_and_the_others_hear_of_it() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    for round in 0..20 {
        let mut bob = server.join("bob", "rust");
        alice.expect("* bob joined");
        match round % 3 {
            0 => bob.reset(),
            1 => {
                // Dropped with unread data, which resets it too.
                bob.send("/help");
                bob.socket().peek(&mut [0]).unwrap();
                drop(bob);
            }
            _ => drop(bob),
        }
        alice.expect("* bob left");
        // The name is free when the lobby has heard of it too.
        alice.send("/rooms");
        alice.expect("= rooms: rust");
    }
    server.works();
}

#[test]
fn a_half_closed_client_gets_all_answers_and_then_the_close() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    bob.send_bytes(b"one\n/who\n/help\nthe last line has no end");
    bob.socket().shutdown(Shutdown::Write).unwrap();
    bob.expect("= in rust: alice, bob");
    assert!(bob.line().starts_with("= /name NAME"));
    bob.expect_end();
    alice.expect("<bob> one");
    alice.expect("<bob> the last line has no end");
    alice.expect("* bob left");
}

#[test]
fn quit_is_answered_whatever_comes_after_it() {
    let server = Server::start();
    let mut alice = server.connect();
    alice.send_bytes(&[b"/quit\n".as_slice(), &b"more\n".repeat(10_000)].concat());
    alice.expect("= bye");
    alice.expect_end();
    server.works();
}

#[test]
fn who_is_silent_for_too_long_is_disconnected() {
    let server = Server::run(chat(&["127.0.0.1:0", "--idle", "1"]));
    let mut alice = server.connect();
    alice.expect("! you were silent for too long");
    alice.expect_end();
    server.works();
}

#[test]
fn a_server_that_is_killed_closes_its_connections_and_frees_its_address() {
    let mut server = Server::start();
    let mut alice = server.join("alice", "rust");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    alice.expect_end();
    let again = Server::run(chat(&["127.0.0.1:0", "--lines", &server.address.to_string()]));
    again.works();
}

// --- what clients should not send ------------------------------------------------------------------------------------

#[test]
fn lines_are_understood_however_they_arrive() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    for byte in "byte by byte, é too\r\n".bytes() {
        bob.send_bytes(&[byte]);
    }
    alice.expect("<bob> byte by byte, é too");
    let many: String = (0..1000).map(|n| format!("line {n}\r\n\r\n\n")).collect();
    bob.send_bytes(many.as_bytes());
    for n in 0..1000 {
        alice.expect(&format!("<bob> line {n}"));
    }
}

#[test]
fn a_line_of_8_kib_is_said_and_a_longer_one_is_refused() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    let full = "x".repeat(LINE_LIMIT);
    bob.send_bytes(format!("{full}\n{full}y\n{full}\r\n{}\nafter\n", "z".repeat(1 << 20)).as_bytes());
    bob.expect("! the line is longer than 8192 bytes");
    bob.expect("! the line is longer than 8192 bytes");
    alice.expect(&format!("<bob> {full}"));
    alice.expect(&format!("<bob> {full}"));
    alice.expect("<bob> after");
}

#[test]
fn garbage_gets_an_answer_and_reaches_nobody() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");
    let refused: [(&[u8], &str); 8] = [
        (b"\xff\xfe\xfd\n", "! the line is not UTF-8"),
        (b"\0\0\0\n", "! the line contains control characters"),
        (b"\x1b]0;owned\x07\n", "! the line contains control characters"),
        ("\u{9b}2J\n".as_bytes(), "! the line contains control characters"),
        (b"/name two words\n", "! the name of a person or a room has 1 to 24 letters, digits, - and _"),
        (b"/join <b>\n", "! the name of a person or a room has 1 to 24 letters, digits, - and _"),
        (b"/dance\n", "! there is no such command; try /help"),
        (b"/who is there\n", "! /who stands alone on its line"),
    ];
    for (sent, answer) in refused {
        bob.send_bytes(sent);
        bob.expect(answer);
    }
    bob.send("sorry");
    alice.expect("<bob> sorry");
}

#[test]
fn random_bytes_on_many_connections_do_no_harm() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    // Bytes with a taste for what means something.
    let word = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..50),
        prop::sample::select(vec![
            "\n",
            "\r\n",
            "/",
            "/name ",
            "/join rust\n",
            "/quit\n",
            "/who\n",
            "\0",
            "é"
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        Just(vec![b'x'; LINE_LIMIT]),
    ];
    let noise = prop::collection::vec(word, 0..40).prop_map(|words| words.concat());
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec((noise, any::<bool>()), 1..8), |clients| {
            let clients: Vec<Client> = clients
                .into_iter()
                .map(|(noise, half_close)| {
                    let mut client = server.connect();
                    // It fails if the noise asked for the end.
                    let _ = client.stream.get_mut().write_all(&noise);
                    if half_close {
                        let _ = client.socket().shutdown(Shutdown::Write);
                    }
                    client
                })
                .collect();
            drop(clients);
            Ok(())
        })
        .unwrap();
    server.works();
    alice.send("/who");
    while !alice.line().starts_with("= in rust: alice") {}
}

#[test]
fn rooms_and_connections_are_on_all_cores() {
    let server = Server::start();
    server.works();
    let names: Vec<String> = std::fs::read_dir(format!("/proc/{}/task", server.process.id()))
        .unwrap()
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap())
        .collect();
    let cores = std::thread::available_parallelism().unwrap().get();
    for hubs in ["system-", "lines-"] {
        assert_eq!(names.iter().filter(|name| name.starts_with(hubs)).count(), cores, "{names:?}");
    }
}

// --- many and slow ---------------------------------------------------------------------------------------------------

#[test]
fn three_hundred_talk_at_once_in_one_room() {
    // More than there is room for in the queue of one user.
    const USERS: usize = 300;
    let server = Server::start();
    let mut clients: Vec<Client> = (0..USERS).map(|n| server.join(&format!("user{n}"), "rust")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for later in n + 1..USERS {
            client.expect(&format!("* user{later} joined"));
        }
    }
    // All at once; everybody hears all others, each line once.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&format!("I am {n}"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let mut heard: Vec<String> = (1..USERS).map(|_| client.line()).collect();
        let mut expected: Vec<String> = (0..USERS)
            .filter(|&other| other != n)
            .map(|other| format!("<user{other}> I am {other}"))
            .collect();
        heard.sort();
        expected.sort();
        assert_eq!(heard, expected);
    }
    drop(clients);
    server.works();
}

#[test]
fn who_does_not_read_is_disconnected_and_nobody_waits_for_him() {
    let server = Server::start();
    let mut alice = server.join("alice", "rust");
    let mut bob = server.join("bob", "rust");
    alice.expect("* bob joined");

    // A small receive buffer, so that less is needed to fill it.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut slow = Client::on(socket.into()).greeted();
    slow.send("/name slow");
    slow.send("/join rust");
    alice.expect("* slow joined");
    bob.expect("* slow joined");

    // Bob reads each line before the next one is sent, so he is never far behind.
    let text = "x".repeat(LINE_LIMIT);
    let (mut sent, mut longest) = (0, Duration::ZERO);
    let gone = loop {
        let start = Instant::now();
        alice.send(&text);
        sent += 1;
        let line = bob.line();
        longest = longest.max(start.elapsed());
        if line.starts_with('*') {
            break line;
        }
        assert_eq!(line.len(), "<alice> ".len() + LINE_LIMIT);
        assert!(sent < 8192, "64 MiB were sent, and the slow reader is still there");
    };
    assert_eq!(gone, "* slow left, being too slow");
    assert!(sent > 256, "gone after {sent} lines: the queue alone is longer");
    // That the slow one held nobody up is said by the reads above; this is far more than a busy machine needs.
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    #[cfg(target_os = "linux")]
    {
        let resident = server.resident_kib();
        assert!(resident < 64 * 1024, "{resident} KiB");
    }

    // What had been written before is still there, then comes the end.
    let rest = slow.rest();
    assert!(rest.ends_with("\n! you read too slowly\n"), "{:?}", &rest[rest.len().saturating_sub(100)..]);
    server.works();
}

#[test]
fn who_sends_without_a_pause_does_not_keep_the_server_to_himself() {
    let server = Server::start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for noise in [b"\n".repeat(1 << 16), b"x".repeat(1 << 16)] {
            let mut flood = server.connect();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    flood.send_bytes(&noise);
                }
            });
        }
        server.works();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_out_of_descriptors_goes_on_when_it_has_some_again() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 32; exec \"$0\" 127.0.0.1:0", env!("CARGO_BIN_EXE_chat")]);
    let server = Server::run(command);
    let mut alice = server.join("alice", "rust");
    // They are in the backlog of the listener as far as they are not accepted.
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    alice.send("/who");
    alice.expect("= in rust: alice");
    drop(crowd);
    server.works();
}

// --- the command line --------------------------------------------------------------------------------------------

#[test]
fn help_is_given() {
    let output = chat(&["--help"]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("usage: chat [ADDR]"));
}

#[test]
fn wrong_arguments_are_explained_with_exit_code_2() {
    let wrong: [(&[&str], &str); 8] = [
        (&["5000"], "not `5000`"),
        (&["127.0.0.1:0", "127.0.0.1:1"], "found `127.0.0.1:1` too"),
        (&["--idle"], "--idle takes"),
        (&["--idle", "0"], "not `0`"),
        (&["--grace", "soon"], "not `soon`"),
        (&["--lines"], "ADDR is like"),
        (&["127.0.0.1:65535"], "no port after 65535"),
        (&["--loud"], "no option `--loud`"),
    ];
    for (arguments, expected) in wrong {
        let output = chat(arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(expected) && complaint.contains("usage:"), "{arguments:?}: {complaint}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let server = Server::start();
    let output = chat(&["127.0.0.1:0", "--lines", &server.address.to_string()]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&server.address.to_string()), "{complaint}");
}
