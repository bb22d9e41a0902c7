//! Requests, responses and connections.
#![cfg(feature = "http")]

mod raw;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{Event, Greenlet, Kill, Queue, current, run, sleep, spawn, yield_now, yield_to};
use greenlet_net::http::{
    Body, BodyWriter, Error, Request, RequestExt, Response, RunningServer, Server, StatusCode, upgrade,
};
use raw::{Client, End, FOREVER, serve};

fn hello(request: Request) -> (StatusCode, String) {
    match request.uri().path() {
        "/" => (StatusCode::OK, "hello".into()),
        path => (StatusCode::NOT_FOUND, format!("no {path}")),
    }
}

/// Sends back what it gets.
fn echo(mut request: Request) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    request.body_mut().read_to_end(&mut body)?;
    Ok(body)
}

#[test]
fn three_requests_on_one_connection() {
    run(|| {
        let (_server, address) = serve(Server::new(hello));
        let mut client = Client::connect(address);
        for (path, status, body) in [("/", 200, "hello"), ("/x", 404, "no /x"), ("/", 200, "hello")] {
            let answer = client.get(path);
            assert_eq!((answer.status(), answer.text()), (status, body));
            assert_eq!(answer.header("content-length").unwrap(), body.len().to_string());
            assert!(answer.header("date").unwrap().ends_with(" GMT"));
            assert_eq!(answer.header("connection"), None);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(|| {
        // The later, the faster.
        let (_server, address) = serve(Server::new(|request: Request| {
            let n: u64 = request.uri().path()[1..].parse().unwrap();
            sleep(Duration::from_millis(10 / n));
            n.to_string()
        }));
        let mut client = Client::connect(address);
        let all: String = (1..=20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        client.send(all);
        for n in 1..=20 {
            assert_eq!(client.answer().text(), n.to_string());
        }
    });
}

#[test]
fn the_client_may_end_the_connection_with_a_request() {
    run(|| {
        let (_server, address) = serve(Server::new(hello));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.end(), End::Fin);
    });
}

#[test]
fn old_clients_get_what_they_understand() {
    run(|| {
        let (_server, address) = serve(Server::new(hello));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.answer().text(), "hello");
        assert_eq!(client.end(), End::Fin);
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.answer().header("connection"), Some("keep-alive"));
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.answer().text(), "hello");
    });
}

#[test]
fn bodies_come_with_a_length_or_in_chunks() {
    run(|| {
        let (_server, address) = serve(Server::new(echo));
        let mut client = Client::connect(address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.answer().text(), "hello");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in ["3\r\nhel\r\n", "2;x=\"y\"\r\nlo\r\n", "0\r\nTrailer: ignored\r\n\r\n"] {
            yield_now();
            client.send(piece);
        }
        assert_eq!(client.answer().text(), "hello");
    });
}

#[test]
fn a_stream_is_chunked_for_new_clients_and_raw_for_old_ones() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| {
            Body::stream(|out| {
                out.write_all(b"one")?;
                out.write_all(b"")?;
                yield_now();
                out.write_all(b"three")
            })
        }));
        let mut client = Client::connect(address);
        let answer = client.get("/");
        assert_eq!((answer.text(), &answer.chunks[..]), ("onethree", &[3, 5][..]));
        client.send("GET / HTTP/1.0\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.header("transfer-encoding")), ("onethree", None));
        assert_eq!(answer.header("connection").unwrap_or("close"), "close");
    });
}

#[test]
fn a_reader_of_known_length_is_not_chunked() {
    run(|| {
        let (_server, address) =
            serve(Server::new(|_: Request| Body::from_reader(&b"from a reader"[..]).with_length(13)));
        let answer = Client::connect(address).get("/");
        assert_eq!((answer.text(), answer.header("content-length")), ("from a reader", Some("13")));
    });
}

#[test]
fn a_handler_that_panics_is_a_500_and_the_others_go_on() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            assert!(request.uri().path() != "/panic", "on purpose");
            "fine"
        }));
        let mut client = Client::connect(address);
        let answer = client.get("/panic");
        assert_eq!(answer.status(), 500);
        assert!(!answer.text().contains("on purpose"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.end(), End::Fin);
        assert_eq!(Client::connect(address).get("/").text(), "fine");
    });
}

#[test]
fn a_body_that_fails_is_cut_off() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| {
            Body::stream(|out| {
                out.write_all(b"some")?;
                Err(std::io::Error::other("on purpose"))
            })
        }));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.try_answer().unwrap_err(), End::CutOff);
    });
}

#[test]
fn a_writer_is_suspended_while_the_client_takes_nothing() {
    run(|| {
        let written = Rc::new(std::cell::Cell::new(0_usize));
        let count = written.clone();
        let (_server, address) = serve(Server::new(move |_: Request| {
            let count = count.clone();
            Body::stream(move |out: &mut BodyWriter| {
                for _ in 0..1024 {
                    out.write_all(&[7; 64 * 1024])?;
                    count.set(count.get() + 64 * 1024);
                }
                Ok(())
            })
        }));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.0\r\n\r\n");
        // It goes on until nothing goes any more.
        let mut before = usize::MAX;
        while before != written.get() {
            before = written.get();
            sleep(Duration::from_millis(50));
        }
        assert!(before < 16 << 20, "{before} bytes are somewhere");
        assert_eq!(client.answer().body.len(), 64 << 20);
    });
}

#[test]
fn a_writer_finds_out_that_its_client_has_gone() {
    run(|| {
        let errors = Rc::new(Queue::unbounded());
        let told = errors.clone();
        let (_server, address) = serve(Server::new(move |_: Request| {
            let told = told.clone();
            Body::stream(move |out| {
                loop {
                    if let Err(error) = out.write_all(&[7; 16 * 1024]) {
                        told.put(error.kind()).unwrap();
                        return Err(error);
                    }
                }
            })
        }));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.bytes(100);
        drop(client);
        assert_eq!(errors.get_timeout(FOREVER).unwrap(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_upgraded_connection_belongs_to_the_handler() {
    run(|| {
        let (_server, address) = serve(Server::new(|mut request: Request| {
            upgrade(&mut request, "echo", |mut client| {
                let mut line = [0; 5];
                while client.read_exact(&mut line).is_ok() {
                    client.write_all(&line).unwrap();
                }
            })
        }));
        let mut client = Client::connect(address);
        // The first bytes of the new protocol come with the request.
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst");
        let answer = client.head().unwrap();
        assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("echo")));
        assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (None, None));
        assert_eq!(client.bytes(5), b"first");
        client.send("again");
        assert_eq!(client.bytes(5), b"again");
        client.half_close();
        assert_eq!(client.end(), End::Fin);
        // Who does not ask for it gets none.
        assert_eq!(Client::connect(address).get("/").status(), 426);
    });
}

#[test]
fn every_request_has_a_greenlet_of_its_own() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| current().id().to_string()));
        let mut client = Client::connect(address);
        let first = client.get("/").body;
        assert_ne!(first, client.get("/").body);
    });
}

#[test]
fn pipelined_requests_have_greenlets_of_their_own_whether_they_wait_or_not() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            VISITS.with(|visits| visits.set(visits.get() + 1));
            if request.uri().path() == "/waits" {
                yield_now();
            }
            format!("{} {}", current().id(), VISITS.with(Cell::get))
        }));
        let mut client = Client::connect(address);
        let paths = (0..40).map(|n| if n % 3 == 0 { "waits" } else { "" });
        client.send(paths.map(|path| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>());
        let answers: HashSet<String> = (0..40).map(|_| client.answer().text().to_owned()).collect();
        assert_eq!(answers.len(), 40);
        assert!(answers.iter().all(|answer| answer.ends_with(" 1")), "{answers:?}");
    });
}

#[test]
fn the_greenlet_of_a_request_is_known_beyond_its_end() {
    run(|| {
        let (kept, told) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let (keeping, telling) = (kept.clone(), told.clone());
        let (_server, address) = serve(Server::new(move |request: Request| {
            let (me, telling) = (current(), telling.clone());
            me.link(move |ended| telling.set(telling.get() + u32::from(ended.successful())));
            match request.uri().path() {
                "/kept" => keeping.borrow_mut().push(me),
                "/waits" => yield_now(),
                _ => {}
            }
            current().id().to_string()
        }));
        let mut client = Client::connect(address);
        let ids: HashSet<String> =
            (0..30).map(|n| client.get(["/kept", "/waits", "/"][n % 3]).text().to_owned()).collect();
        assert_eq!(ids.len(), 30);
        let kept = kept.take();
        assert_eq!(kept.len(), 10);
        for one in &kept {
            one.join();
            assert!(one.successful() && ids.contains(&one.id().to_string()));
        }
        while told.get() < 30 {
            yield_now();
        }
    });
}

#[test]
fn a_handler_that_ends_its_server_is_killed_at_its_next_wait() {
    run(|| {
        let (server, ended) = (Rc::new(OnceCell::<RunningServer>::new()), Rc::new(Event::new()));
        let (own, ending) = (server.clone(), ended.clone());
        let (running, address) = serve(Server::new(move |_: Request| {
            struct Dropped(Rc<Event>);
            impl Drop for Dropped {
                fn drop(&mut self) {
                    self.0.set();
                }
            }
            let _dropped = Dropped(ending.clone());
            let own = own.clone();
            yield_to(&spawn(move || own.get().unwrap().stop(Duration::ZERO)));
            sleep(Duration::MAX);
        }));
        let _ = server.set(running);
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        ended.wait();
        assert!(client.try_answer().is_err());
        server.get().unwrap().join();
    });
}

greenlet_core::greenlet_local! {
    static VISITS: Cell<u32> = Cell::new(0);
}

#[test]
fn a_handler_that_another_one_kills_is_a_500() {
    run(|| {
        let waiting = Rc::new(Queue::unbounded());
        let (_server, address) = serve(Server::new(move |request: Request| {
            if request.uri().path() == "/victim" {
                waiting.put(current()).unwrap();
                sleep(FOREVER);
            } else {
                waiting.get().unwrap().kill_with(Kill::default().no_wait());
            }
        }));
        let (mut victim, mut killer) = (Client::connect(address), Client::connect(address));
        victim.send("GET /victim HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(killer.get("/").status(), 200);
        assert_eq!(victim.answer().status(), 500);
    });
}

#[test]
fn handlers_know_the_client() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            format!("{} {}", request.peer().unwrap(), request.is_secure())
        }));
        let mut client = Client::connect(address);
        let expected = format!("{} false", client.stream.local_addr().unwrap());
        assert_eq!(client.get("/").text(), expected);
    });
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| match request.uri().path() {
            "/stream" => Response::new(Body::stream(|_| unreachable!("nobody would get it"))),
            _ => Response::new(Body::from("hello")),
        }));
        let mut client = Client::connect(address);
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().header("content-length"), Some("5"));
        assert_eq!(client.head().unwrap().status(), 200);
        assert_eq!(client.answer().text(), "hello");
    });
}

#[test]
fn a_stop_lets_requests_finish_and_closes_what_waits() {
    run(|| {
        let (began, go_on) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let (began_too, go_on_too) = (began.clone(), go_on.clone());
        let (server, address) = serve(Server::new(move |_: Request| {
            began_too.set();
            go_on_too.wait();
            "done"
        }));
        let (mut idle, mut fresh, mut busy) =
            (Client::connect(address), Client::connect(address), Client::connect(address));
        go_on.set();
        idle.get("/");
        began.clear();
        go_on.clear();
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        began.wait();
        let stopper: Greenlet<usize> = spawn(move || server.stop(FOREVER).killed);
        assert_eq!(idle.end(), End::Fin);
        assert_eq!(fresh.end(), End::Fin);
        assert!(greenlet_net::TcpStream::connect(address).is_err());
        go_on.set();
        let answer = busy.answer();
        assert_eq!((answer.text(), answer.header("connection")), ("done", Some("close")));
        assert_eq!(busy.end(), End::Fin);
        assert_eq!(stopper.get().unwrap(), 0);
    });
}

#[test]
fn a_stop_without_grace_kills_the_handlers() {
    run(|| {
        struct Dropped(Rc<Event>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let (began, ended) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let (began_too, ended_too) = (began.clone(), ended.clone());
        let (server, address) = serve(Server::new(move |_: Request| {
            let _dropped = Dropped(ended_too.clone());
            began_too.set();
            sleep(Duration::MAX);
        }));
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        began.wait();
        assert_eq!(server.stop(Duration::ZERO).killed, 1);
        ended.wait();
        assert!(client.try_answer().is_err());
    });
}
