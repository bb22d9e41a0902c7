//! Other implementations: Python's `websockets`, as client and as server.
#![cfg(feature = "websocket")]

mod frames;
mod program;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use frames::FOREVER;
use greenlet_core::{run, spawn};
use greenlet_net::TcpListener;
use greenlet_net::websocket::{Acceptor, CloseCode, Connector};
use program::missing;

/// A Python that has the package. Where the tests of all peers are required, there has to be one.
fn python_with_websockets() -> Option<&'static str> {
    let has = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if found.is_none() {
        missing("Python's websockets", "python3-websockets");
    }
    found
}

/// Ends the program with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_python(python: &str, program: &str, arguments: &[&str]) -> Running {
    let started = Command::new(python).arg("-c").arg(program).args(arguments).stdout(Stdio::piped()).spawn();
    Running(started.expect("Python starts"))
}

const CLIENT: &str = r#"
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], subprotocols=["b", "a"], compression=None, max_size=None) as s:
        assert s.subprotocol == "a", s.subprotocol
        for message in ["", "hello", "κόσμε \U0001f600", b"", bytes(range(256)), "x" * 70000, b"y" * 500000]:
            await s.send(message)
            assert await s.recv() == message
        await s.send(["in ", "three ", "pieces"])
        assert await s.recv() == "in three pieces"
        await asyncio.wait_for(await s.ping(b"ping"), 20)
        await s.close(4001, "done")
        assert s.close_code == 4001, s.close_code
asyncio.run(main())
print("fine")
"#;

#[test]
fn a_client_of_python_is_served() {
    let Some(python) = python_with_websockets() else { return };
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/path", listener.local_addr().unwrap());
        let mut client = run_python(python, CLIENT, &[&url]);
        let (stream, _) = listener.accept().unwrap();
        let (socket, request) = Acceptor::new().subprotocols(["a"]).accept(stream).unwrap();
        assert_eq!(request.uri(), "/path");
        while let Some(message) = socket.recv().unwrap() {
            socket.send(message).unwrap();
        }
        let frame = socket.close_frame().unwrap();
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "done"));
        let mut said = String::new();
        BufReader::new(client.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "fine\n");
    });
}

const SERVER: &str = r#"
import asyncio, websockets
async def echo(s, path=None):
    await s.ping(b"from the server")
    async for message in s:
        await s.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, subprotocols=["a"], max_size=None) as server:
        print(list(server.sockets)[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

#[test]
fn a_server_of_python_is_talked_to() {
    let Some(python) = python_with_websockets() else { return };
    run(|| {
        let mut server = run_python(python, SERVER, &[]);
        let mut port = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let connector = Connector::new().subprotocols(["b", "a"]).timeout(FOREVER);
        let (socket, _) = connector.connect(&format!("ws://localhost:{}/", port.trim())).unwrap();
        assert_eq!(socket.subprotocol(), Some("a"));
        let messages = ["".to_owned(), "hello".into(), "κόσμε \u{1f600}".into(), "x".repeat(70_000)];
        let sender = spawn({
            let (socket, messages) = (socket.clone(), messages.clone());
            move || {
                messages.into_iter().for_each(|message| socket.send(message).unwrap());
                socket.send(vec![7; 500_000]).unwrap();
                socket.ping(b"from the client").unwrap();
            }
        });
        for message in messages {
            assert_eq!(socket.recv().unwrap(), Some(message.into()));
        }
        assert_eq!(socket.recv().unwrap(), Some(vec![7; 500_000].into()));
        sender.get().unwrap();
        socket.close(CloseCode::Normal, "bye").unwrap();
        assert_eq!(u16::from(socket.close_frame().unwrap().code), 1000);
    });
}
