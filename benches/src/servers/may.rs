//! may: sockets, and its HTTP server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};

use ::may::net::TcpListener;
use ::may::{coroutine, go};
use may_minihttp::{HttpServer, HttpService, Request, Response};

use super::{HELLO, Service, compute};
use crate::runtimes::{ANY_PORT, MESSAGE_SIZE};

/// Echo, and HTTP with may_minihttp.
pub fn serve(service: Service, threads: usize, listening: &dyn Fn(SocketAddr)) {
    ::may::config().set_workers(threads);
    match service {
        Service::Echo => {
            let listener = TcpListener::bind(ANY_PORT).expect("a free port");
            listening(listener.local_addr().expect("a bound socket has an address"));
            let server = go!(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.expect("a connection");
                    let _ = stream.set_nodelay(true);
                    go!(move || {
                        let mut buffer = [0; MESSAGE_SIZE];
                        while let Ok(length @ 1..) = stream.read(&mut buffer) {
                            if stream.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                    });
                }
            });
            let _ = server.join();
        }
        Service::Http | Service::BusyHttp => {
            // It does not tell its port, so it is given one that was free a moment ago.
            let free =
                StdListener::bind(ANY_PORT).and_then(|listener| listener.local_addr()).expect("a free port");
            let server: coroutine::JoinHandle<()> =
                HttpServer(Hello(service)).start(free).expect("a listener");
            listening(free);
            let _ = server.join();
        }
    }
}

#[derive(Clone)]
struct Hello(Service);

impl HttpService for Hello {
    fn call(&mut self, _request: Request, response: &mut Response) -> io::Result<()> {
        if self.0 == Service::BusyHttp {
            compute();
        }
        response.header("Content-Type: text/plain; charset=utf-8").body(HELLO);
        Ok(())
    }
}
