//! Ours.

use std::io::{Read, Write};
use std::net::SocketAddr;

use greenlet_core::spawn;
use greenlet_net::http::{Request, Server};
use greenlet_net::{ListenOptions, TcpListener};

use super::{HELLO, Service, compute};
use crate::runtimes::{ANY_PORT, MESSAGE_SIZE};

/// Echo, and HTTP.
pub fn serve(service: Service, threads: usize, listening: &dyn Fn(SocketAddr)) {
    match service {
        Service::Echo => {
            let listener = ListenOptions::new().backlog(4096).bind(ANY_PORT).expect("a free port");
            listening(listener.local_addr().expect("a bound socket has an address"));
            echo(&listener);
        }
        Service::Http | Service::BusyHttp => {
            let server = Server::new(move |_: Request| {
                if service == Service::BusyHttp {
                    compute();
                }
                HELLO
            });
            let server = if threads == 1 {
                let listener = ListenOptions::new().backlog(4096).bind(ANY_PORT).expect("a free port");
                server.start(listener)
            } else {
                server.start_on_hubs(threads, ANY_PORT)
            };
            let server = server.expect("a free port");
            listening(server.local_addr().expect("it listens"));
            server.join();
        }
    }
}

fn echo(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let _ = stream.set_nodelay(true);
        spawn(move || {
            let mut buffer = [0; MESSAGE_SIZE];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        });
    }
}
