//! The pages of gevent's `wsgiserver.py` and some more: a web server whose handlers are plain functions.
//!
//!     cargo run --release -p greenlet-examples --bin wsgi_hello
//!
//! It says `serving on http://127.0.0.1:8088`. Open that in a browser, or:
//!
//!     curl http://127.0.0.1:8088/            hello world
//!     curl http://127.0.0.1:8088/none        Not Found, with status 404
//!     curl http://127.0.0.1:8088/slow        sleeps for two seconds, and keeps nobody else waiting
//!     curl -N http://127.0.0.1:8088/count    ten lines, one every half second
//!     curl -d name=Ada http://127.0.0.1:8088/greet
//!
//! Each request is logged to standard error. Ctrl-C ends it, when the requests in flight are answered. An argument is another address.

use std::env;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

use greenlet_core::signal::{self, SIGINT, SIGTERM};
use greenlet_core::sleep;
use greenlet_net::http::{self, Body, Html, Request, RequestExt, Response, Router, Server, StatusCode};

fn hello(_: Request) -> Html<&'static str> {
    Html("<b>hello world</b>\n")
}

fn not_found(_: Request) -> (StatusCode, Html<&'static str>) {
    (StatusCode::NOT_FOUND, Html("<h1>Not Found</h1>\n"))
}

/// It blocks, and only its own request waits.
fn slow(_: Request) -> &'static str {
    sleep(Duration::from_secs(2));
    "that took a while\n"
}

/// The body is written while the client reads it.
fn count(_: Request) -> Response {
    Response::new(Body::stream(|out| {
        for n in 1..=10 {
            writeln!(out, "{n}")?;
            sleep(Duration::from_millis(500));
        }
        Ok(())
    }))
}

fn greet(mut request: Request) -> Result<String, http::Error> {
    let form = request.form(10_000)?;
    let name = form.iter().find(|(key, _)| key == "name").map(|(_, name)| name.as_str());
    let name = name.ok_or_else(|| http::Error::new(StatusCode::BAD_REQUEST, "what is your name?"))?;
    Ok(format!("hello, {name}\n"))
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8088".to_owned());
    let router = Router::new()
        .get("/", hello)
        .get("/slow", slow)
        .get("/count", count)
        .post("/greet", greet)
        .fallback(not_found);

    let ended = signal::shutdown_on([SIGINT, SIGTERM])?.run(|| {
        let server = Server::new(router).grace(Duration::from_secs(10)).start(address.as_str())?;
        println!("serving on http://{}", server.local_addr()?);
        server.serve_forever() // unwound by Ctrl-C, it stops on its way
    });
    match ended {
        Ok(failed) => Ok(failed?),
        Err(shutdown) => shutdown.exit(),
    }
}
