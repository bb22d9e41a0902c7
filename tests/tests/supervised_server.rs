//! A server whose parts are actors: sockets inside handlers, kills and restarts around them.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorRef, Context, Exit, Reply, Restart, Shutdown, Supervisor, worker};
use greenlet_core::{Event, Greenlet, run, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};
use greenlet_tests::{ANY_PORT, LineClient, STUCK};

/// Counts, and panics when told to.
struct Counter(u64);

enum Count {
    Add(Reply<u64>),
    Crash,
}

impl Actor for Counter {
    type Message = Count;

    fn receive(&mut self, message: Count, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Count::Add(reply) => {
                self.0 += 1;
                reply.send(self.0);
                Ok(())
            }
            Count::Crash => panic!("told to crash"),
        }
    }
}

/// One connection: its handler reads lines until the peer is done.
struct Session {
    stream: TcpStream,
    counter: ActorRef<Count>,
}

struct Serve;

impl Actor for Session {
    type Message = Serve;

    fn receive(&mut self, Serve: Serve, _: &mut Context<Self>) -> Result<(), Exit> {
        for line in BufReader::new(&self.stream).lines() {
            let answer = match line?.as_str() {
                "add" => match self.counter.ask(Count::Add, STUCK) {
                    Ok(total) => total.to_string(),
                    Err(error) => format!("error: {error}"),
                },
                "crash" => {
                    self.counter.send(Count::Crash)?;
                    self.counter.join().to_string()
                }
                other => format!("what is {other:?}?"),
            };
            (&self.stream).write_all(format!("{answer}\n").as_bytes())?;
        }
        Err(Exit::Normal)
    }
}

/// Accepts for ever and makes a session of each connection.
fn accept(listener: TcpListener, counter: ActorRef<Count>) -> Greenlet<()> {
    spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let session = Session { stream, counter: counter.clone() }.spawn();
            session.send(Serve).expect("a session that just started takes a message");
        }
    })
}

/// Runs a test's client on a thread of its own, while the hub serves.
fn client<T: Send + Sync + 'static>(address: SocketAddr, talk: fn(SocketAddr) -> T) -> T {
    let done = Arc::new(Event::new());
    let thread = std::thread::spawn({
        let done = done.clone();
        move || {
            let result = std::panic::catch_unwind(|| talk(address));
            done.set();
            result
        }
    });
    done.wait();
    match thread.join().expect("the panic was caught") {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[test]
fn a_handler_serves_a_socket_while_other_actors_run() {
    run(|| {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let counter = Counter(0).spawn();
        let server = accept(listener, counter);
        client(address, |address| {
            let mut idle = LineClient::connect(address);
            let mut busy = LineClient::connect(address);
            for expected in 1..=100 {
                assert_eq!(busy.ask("add"), Some(expected.to_string()));
            }
            assert_eq!(idle.ask("add").as_deref(), Some("101"));
            assert_eq!(idle.ask("?").as_deref(), Some("what is \"?\"?"));
        });
        server.kill();
    });
}

#[test]
fn a_panic_in_a_handler_is_an_answer_to_those_who_ask() {
    run(|| {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let server = accept(listener, Counter(0).spawn());
        client(address, |address| {
            let mut client = LineClient::connect(address);
            assert_eq!(client.ask("add").as_deref(), Some("1"));
            assert!(client.ask("crash").unwrap().contains("told to crash"));
            assert!(client.ask("add").unwrap().starts_with("error: the actor has ended"));
        });
        server.kill();
    });
}

#[test]
fn a_session_killed_in_the_middle_of_a_read_closes_its_socket() {
    run(|| {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let counter = Counter(0).spawn();
        let connected = spawn(move || TcpStream::connect(address).unwrap());
        let (stream, _) = listener.accept().unwrap();
        let session = Session { stream, counter }.spawn();
        session.send(Serve).unwrap();
        yield_now(); // it reads, and waits
        session.kill();
        assert!(matches!(session.exit(), Some(Exit::Killed)));
        let peer = connected.into_value().unwrap();
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut &peer, &mut rest).unwrap();
        assert!(rest.is_empty());
    });
}

/// Owns a listening socket; one accept per message.
struct Acceptor {
    address: SocketAddr,
    listener: Option<TcpListener>,
}

enum Accept {
    Port(Reply<SocketAddr>),
    Crash,
}

impl Actor for Acceptor {
    type Message = Accept;

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.listener = Some(TcpListener::bind(self.address)?);
        Ok(())
    }

    fn receive(&mut self, message: Accept, _: &mut Context<Self>) -> Result<(), Exit> {
        let listener = self.listener.as_ref().expect("init has bound it");
        match message {
            Accept::Port(reply) => reply.send(listener.local_addr()?),
            Accept::Crash => panic!("told to crash"),
        }
        Ok(())
    }
}

#[test]
fn a_restarted_actor_finds_its_port_free() {
    run(|| {
        let fixed = {
            let probe = TcpListener::bind(ANY_PORT).unwrap();
            probe.local_addr().unwrap()
        };
        let tree = Supervisor::one_for_one()
            .intensity(100, Duration::from_secs(60))
            .child(worker("acceptor", move || Acceptor { address: fixed, listener: None }))
            .start()
            .unwrap();
        for _ in 0..20 {
            // The child is another actor after each restart; ask for it until it is there.
            let acceptor = loop {
                match tree.child::<Accept>("acceptor") {
                    Some(acceptor) if acceptor.exit().is_none() => break acceptor,
                    _ => yield_now(),
                }
            };
            assert_eq!(acceptor.ask(Accept::Port, STUCK).unwrap(), fixed);
            acceptor.send(Accept::Crash).unwrap();
            acceptor.join();
        }
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        // Nothing holds the port any more.
        TcpListener::bind(fixed).unwrap();
    });
}

#[test]
fn shutting_a_tree_down_ends_handlers_that_wait_for_the_network() {
    run(|| {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let counter = Counter(0).spawn();
        let tree = Supervisor::one_for_one()
            .child(
                worker("session", move || Session {
                    stream: TcpStream::connect(address).expect("the listener is there"),
                    counter: counter.clone(),
                })
                .restart(Restart::Temporary)
                .shutdown(Shutdown::Infinity),
            )
            .start()
            .unwrap();
        let (peer, _) = listener.accept().unwrap();
        tree.child::<Serve>("session").unwrap().send(Serve).unwrap();
        yield_now(); // it reads, and would for ever
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert_eq!(std::io::Read::read(&mut &peer, &mut [0; 8]).unwrap(), 0);
    });
}
