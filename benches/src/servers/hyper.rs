//! HTTP on tokio: hyper by itself, and axum.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::tokio::runtime;
use super::{HELLO, Service, compute, std_listener};

async fn hello(service: Service) -> Result<Response<Full<Bytes>>, Infallible> {
    if service == Service::BusyHttp {
        compute();
    }
    let mut response = Response::new(Full::new(Bytes::from_static(HELLO.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// hyper by itself.
pub fn serve(service: Service, threads: usize, listening: &dyn Fn(SocketAddr)) {
    runtime(threads).block_on(async {
        let listener = TcpListener::from_std(std_listener()).expect("a listener");
        listening(listener.local_addr().expect("a bound socket has an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = service_fn(move |_: Request<Incoming>| hello(service));
                let mut builder = http1::Builder::new();
                let connection = builder.timer(TokioTimer::new()).pipeline_flush(true);
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// axum.
pub fn serve_axum(service: Service, threads: usize, listening: &dyn Fn(SocketAddr)) {
    runtime(threads).block_on(async {
        let listener = TcpListener::from_std(std_listener()).expect("a listener");
        listening(listener.local_addr().expect("a bound socket has an address"));
        let hello = move || async move {
            if service == Service::BusyHttp {
                compute();
            }
            HELLO
        };
        let app = Router::new().route("/", get(hello));
        axum::serve(listener, app).await.expect("a healthy listener");
    });
}
