//! tokio, one thread.

use std::net::SocketAddr;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpListener, TcpStream};
use ::tokio::runtime::{Builder, Runtime};

use super::{Service, std_listener};
use crate::runtimes::MESSAGE_SIZE;

/// The runtime of all servers that run on tokio.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().expect("a runtime")
}

/// Echo.
pub fn serve(service: Service, threads: usize, listening: &dyn Fn(SocketAddr)) {
    assert_eq!(service, Service::Echo);
    runtime(threads).block_on(async {
        let listener = TcpListener::from_std(std_listener()).expect("a listener");
        listening(listener.local_addr().expect("a bound socket has an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            ::tokio::spawn(echo(stream));
        }
    });
}

async fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; MESSAGE_SIZE];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
