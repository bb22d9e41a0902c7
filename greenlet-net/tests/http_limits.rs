//! Clients that are slow, many, greedy or gone.
#![cfg(feature = "http")]

mod raw;

use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{Event, Queue, run, sleep, spawn, yield_now};
use greenlet_net::http::{Body, Disconnected, Error, Request, Server};
use raw::{Client, End, FOREVER, serve};

const SHORT: Option<Duration> = Some(Duration::from_millis(80));

fn hello(_: Request) -> &'static str {
    "hello"
}

/// Set when it is dropped.
struct Ends(Rc<Event>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.set();
    }
}

#[test]
fn a_head_that_takes_too_long_gets_a_408() {
    run(|| {
        let (_server, address) = serve(Server::new(hello).header_timeout(SHORT));
        let mut client = Client::connect(address);
        // Byte by byte, which does not help.
        let dripping = client.stream.try_clone().unwrap();
        spawn(move || {
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " {
                if (&dripping).write_all(&[*byte]).is_err() {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
        });
        assert_eq!(client.answer().status(), 408);
    });
}

#[test]
fn a_connection_that_waits_too_long_is_closed() {
    run(|| {
        let (_server, address) = serve(Server::new(hello).keep_alive(SHORT));
        let mut fresh = Client::connect(address);
        let mut used = Client::connect(address);
        used.get("/");
        assert_eq!(used.end(), End::Fin);
        assert_eq!(fresh.end(), End::Fin);
    });
}

#[test]
fn a_request_that_takes_too_long_is_killed_and_gets_a_503() {
    run(|| {
        let ended = Rc::new(Event::new());
        let ends = ended.clone();
        let (_server, address) = serve(
            Server::new(move |_: Request| {
                let _ends = Ends(ends.clone());
                sleep(Duration::MAX);
            })
            .request_timeout(SHORT),
        );
        assert_eq!(Client::connect(address).get("/").status(), 503);
        assert!(ended.wait_timeout(FOREVER));
    });
}

#[test]
fn a_response_that_takes_too_long_is_cut_off() {
    run(|| {
        let (_server, address) = serve(
            Server::new(move |_: Request| {
                Body::stream(|out| {
                    out.write_all(b"begun")?;
                    sleep(Duration::MAX);
                    Ok(())
                })
            })
            .request_timeout(SHORT),
        );
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.try_answer().unwrap_err(), End::CutOff);
    });
}

#[test]
fn a_body_that_stalls_fails_the_read() {
    run(|| {
        let kinds = Rc::new(Queue::unbounded());
        let told = kinds.clone();
        let (_server, address) = serve(
            Server::new(move |mut request: Request| {
                let result = request.body_mut().read_to_end(&mut Vec::new());
                told.put(result.as_ref().unwrap_err().kind()).unwrap();
                result.map(drop).map_err(Error::from)
            })
            .body_timeout(SHORT),
        );
        let mut client = Client::connect(address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
        assert_eq!(kinds.get_timeout(FOREVER).unwrap(), ErrorKind::TimedOut);
        assert_eq!(client.answer().status(), 408);
    });
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    run(|| {
        let kinds = Rc::new(Queue::unbounded());
        let told = kinds.clone();
        let (_server, address) = serve(
            Server::new(move |_: Request| {
                let told = told.clone();
                Body::stream(move |out| {
                    loop {
                        if let Err(error) = out.write_all(&[7; 16 * 1024]) {
                            told.put(error.kind()).unwrap();
                            return Err(error);
                        }
                    }
                })
            })
            .write_timeout(SHORT),
        );
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(kinds.get_timeout(FOREVER).unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_body_that_is_too_large_gets_a_413() {
    run(|| {
        let (_server, address) = serve(
            Server::new(|mut request: Request| {
                let mut body = Vec::new();
                request.body_mut().read_to_end(&mut body)?;
                Ok::<_, Error>(body)
            })
            .max_body(10),
        );
        let mut client = Client::connect(address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
        assert_eq!(client.answer().status(), 200);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890");
        assert_eq!(client.answer().status(), 413);
        let mut client = Client::connect(address);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n",
        );
        assert_eq!(client.answer().status(), 413);
        // Endless ones end with the connection.
        let endless = client.stream.try_clone().unwrap();
        let sender = spawn(move || while (&endless).write_all(b"6\r\n012345\r\n").is_ok() {});
        assert!(sender.join_timeout(FOREVER));
    });
}

#[test]
fn a_connection_has_so_many_requests_and_no_more() {
    run(|| {
        let (_server, address) = serve(Server::new(hello).max_requests(Some(2)));
        let mut client = Client::connect(address);
        assert_eq!(client.get("/").header("connection"), None);
        assert_eq!(client.get("/").header("connection"), Some("close"));
        assert_eq!(client.end(), End::Fin);
    });
}

#[test]
fn connections_beyond_the_limit_wait_in_the_backlog() {
    run(|| {
        let (_server, address) = serve(Server::new(hello).max_connections(1));
        let mut first = Client::connect(address);
        first.get("/");
        let mut second = Client::connect(address);
        second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        sleep(Duration::from_millis(20));
        first.get("/");
        second.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!((&second.stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        second.stream.set_read_timeout(Some(FOREVER)).unwrap();
        drop(first);
        assert_eq!(second.answer().text(), "hello");
    });
}

#[test]
fn requests_beyond_the_limit_wait_in_line() {
    run(|| {
        let (began, go_on) = (Rc::new(Queue::unbounded()), Rc::new(Queue::unbounded()));
        let (told, wait) = (began.clone(), go_on.clone());
        let (_server, address) = serve(
            Server::new(move |request: Request| {
                told.put(request.uri().path().to_owned()).unwrap();
                wait.get().unwrap();
                "done"
            })
            .max_concurrent(1),
        );
        let mut clients: Vec<Client> = (0..4)
            .map(|n| {
                let mut client = Client::connect(address);
                client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
                if n == 0 {
                    assert_eq!(began.get_timeout(FOREVER).unwrap(), "/0");
                } else {
                    sleep(Duration::from_millis(5));
                }
                client
            })
            .collect();
        assert!(began.is_empty());
        // Who has gone is not waited for.
        drop(clients.remove(1));
        sleep(Duration::from_millis(20));
        for path in ["/2", "/3"] {
            go_on.put(()).unwrap();
            let next = began.get_timeout(FOREVER).unwrap();
            if next == "/1" {
                // Its end was not seen in time: half closed is not gone.
                go_on.put(()).unwrap();
                assert_eq!(began.get_timeout(FOREVER).unwrap(), path);
            } else {
                assert_eq!(next, path);
            }
        }
        go_on.put(()).unwrap();
        for client in &mut clients {
            assert_eq!(client.answer().text(), "done");
        }
    });
}

#[test]
fn a_handler_is_killed_when_its_client_goes_if_that_is_wished() {
    run(|| {
        let (began, ended) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let (begins, ends) = (began.clone(), ended.clone());
        let (_server, address) = serve(
            Server::new(move |_: Request| {
                let _ends = Ends(ends.clone());
                begins.set();
                sleep(Duration::MAX);
            })
            .disconnected(Disconnected::Kill),
        );
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(began.wait_timeout(FOREVER));
        drop(client);
        assert!(ended.wait_timeout(FOREVER));
    });
}

#[test]
fn a_reset_ends_its_own_connection_and_no_other() {
    run(|| {
        let (_server, address) = serve(Server::new(|mut request: Request| {
            let mut body = Vec::new();
            request.body_mut().read_to_end(&mut body)?;
            let stream = Body::stream(|out| {
                for _ in 0..64 {
                    out.write_all(&[7; 16 * 1024])?;
                    yield_now();
                }
                Ok(())
            });
            Ok::<_, Error>(stream)
        }));
        let mut other = Client::connect(address);
        for sent in [
            "",
            "GET",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhe",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let mut client = Client::connect(address);
            client.send(sent);
            sleep(Duration::from_millis(5));
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(other.get("/").body.len(), 1 << 20, "after {sent:?}");
        }
    });
}

#[test]
fn idle_connections_do_not_keep_others_waiting() {
    run(|| {
        let (_server, address) = serve(Server::new(hello));
        let mut idle: Vec<Client> = (0..400).map(|_| Client::connect(address)).collect();
        for client in &mut idle[..200] {
            client.get("/");
        }
        assert_eq!(Client::connect(address).get("/").text(), "hello");
        for client in &mut idle {
            assert_eq!(client.get("/").text(), "hello");
        }
    });
}

#[test]
fn a_connection_that_rests_goes_on_where_it_was() {
    run(|| {
        let (_server, address) = serve(
            Server::new(|mut request: Request| {
                let mut body = Vec::new();
                request.body_mut().read_to_end(&mut body)?;
                Ok::<_, Error>(format!("{} {}", request.uri(), body.len()))
            })
            .write_timeout(SHORT),
        ); // which makes for short ticks
        let mut client = Client::connect(address);
        for round in 0..3 {
            client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
            assert_eq!(client.answer().text(), "/a 3", "round {round}");
            // Long enough for it to rest; with a part of the next head, or none.
            client.send(if round == 1 { "GET /b HT" } else { "" });
            sleep(Duration::from_millis(150));
            client.send(if round == 1 {
                "TP/1.1\r\nHost: a\r\n\r\n"
            } else {
                "GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
            });
            assert_eq!(client.answer().text(), "/b 0", "round {round}");
        }
    });
}

#[test]
fn a_body_that_is_on_its_way_is_not_taken_for_a_request_after_a_rest() {
    run(|| {
        let (_server, address) =
            serve(Server::new(|request: Request| request.uri().to_string()).write_timeout(SHORT));
        let mut client = Client::connect(address);
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", hidden.len()));
        assert_eq!(client.answer().text(), "/early");
        sleep(Duration::from_millis(150));
        client.send(hidden);
        assert_eq!(client.get("/next").text(), "/next");
    });
}

#[test]
fn killing_the_server_ends_everything_it_does() {
    run(|| {
        let (began, ended) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let (begins, ends) = (began.clone(), ended.clone());
        let listener = greenlet_net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let server = Server::new(move |request: Request| {
                if request.uri().path() == "/" {
                    let _ends = Ends(ends.clone());
                    begins.set();
                    sleep(Duration::MAX);
                }
            });
            server.serve(listener).unwrap();
        });
        let mut clients: Vec<Client> = Vec::new();
        for sent in [
            "",
            "GET",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhe",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let mut client = Client::connect(address);
            client.send(sent);
            clients.push(client);
        }
        assert!(began.wait_timeout(FOREVER));
        server.kill();
        assert!(ended.wait_timeout(FOREVER));
        for mut client in clients {
            while client.try_answer().is_ok() {}
        }
        assert!(greenlet_net::TcpStream::connect(address).is_err());
    });
}
