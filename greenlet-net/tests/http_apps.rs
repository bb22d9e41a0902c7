//! What applications are made of: routes, files, logs, several hubs.
#![cfg(feature = "http")]

mod program;
mod raw;

use std::fs;
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use greenlet_core::run;
use greenlet_net::http::{
    Error, Html, Next, Redirect, Request, RequestExt, Response, Router, Server, StaticFiles, StatusCode,
    Symlinks,
};
use raw::{Client, FOREVER, serve};

fn path(request: Request) -> String {
    request.uri().to_string()
}

fn router() -> Router {
    let inner = Router::new()
        .get("/", |_: Request| "inner")
        .get("/{name}", |request: Request| request.param::<String>("name"))
        .wrap(|request: Request, next: Next<'_>| {
            let mut response = next.run(request);
            response.headers_mut().insert("x-inner", "yes".parse().unwrap());
            response
        });
    Router::new()
        .get("/", |_: Request| Html("<p>home"))
        .get("/users/{id}", |request: Request| {
            let id: u32 = request.param("id")?;
            Ok::<_, Error>(format!("user {id}"))
        })
        .get("/users/me", |_: Request| "me")
        .post("/form", |mut request: Request| {
            let form = request.form(1000)?;
            Ok::<_, Error>(format!("{form:?}"))
        })
        .get("/files/{*rest}", |request: Request| request.param::<String>("rest"))
        .get("/away", |_: Request| Redirect::see_other("/"))
        .get("/split", |_: Request| Redirect::see_other("/\r\nx: y"))
        .nest("/inner", inner)
        .mount("/mounted", path)
        .wrap(|request: Request, next: Next<'_>| match request.headers().get("x-stop") {
            Some(_) => Err(StatusCode::FORBIDDEN),
            None => Ok(next.run(request)),
        })
}

#[test]
fn a_router_finds_the_most_particular_route() {
    run(|| {
        let (_server, address) = serve(Server::new(router()));
        let mut client = Client::connect(address);
        for (path, status, text) in [
            ("/", 200, "<p>home"),
            ("/users/7", 200, "user 7"),
            ("/users/me", 200, "me"),
            ("/users/x", 400, "'x' is no id\n"),
            ("/users/", 404, "Not Found\n"),
            ("/files/a/b%20c", 200, "a/b c"),
            ("/inner", 200, "inner"),
            ("/inner/you", 200, "you"),
            ("/mounted/a/b?c", 200, "/a/b?c"),
            ("/mounted/", 200, "/"),
            ("/nowhere", 404, "Not Found\n"),
        ] {
            let answer = client.get(path);
            assert_eq!((answer.status(), answer.text()), (status, text), "{path}");
            assert_eq!(answer.header("x-inner").is_some(), path.starts_with("/inner"), "{path}");
        }
    });
}

#[test]
fn other_methods_are_told_which_there_are() {
    run(|| {
        let (_server, address) = serve(Server::new(router()));
        let mut client = Client::connect(address);
        client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
        client.send("OPTIONS /form HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status(), answer.header("allow")), (204, Some("POST, OPTIONS")));
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().header("content-length"), Some("7"));
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Stop: now\r\n\r\n");
        assert_eq!(client.answer().status(), 403);
    });
}

#[test]
fn forms_are_read_and_redirects_cannot_split_a_response() {
    run(|| {
        let (_server, address) = serve(Server::new(router()));
        let mut client = Client::connect(address);
        let form = "a=1&b=x+y%21";
        let kind = "application/x-www-form-urlencoded";
        let post = |kind: &str, body: &str| {
            format!(
                "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        client.send(post(kind, form));
        assert_eq!(client.answer().text(), r#"[("a", "1"), ("b", "x y!")]"#);
        client.send(post("text/plain", form));
        assert_eq!(client.answer().status(), 415);
        client.send(post(kind, &"x".repeat(1001)));
        assert_eq!(client.answer().status(), 413);
        let answer = Client::connect(address).get("/away");
        assert_eq!((answer.status(), answer.header("location")), (303, Some("/")));
        let answer = Client::connect(address).get("/split");
        assert_eq!((answer.status(), answer.header("x")), (500, None));
    });
}

#[test]
fn lines_of_a_body_are_read_across_chunks() {
    run(|| {
        let (_server, address) = serve(Server::new(|mut request: Request| {
            let lines: Vec<String> = request.body_mut().lines().collect::<Result<_, _>>()?;
            Ok::<_, Error>(lines.join("|"))
        }));
        let mut client = Client::connect(address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("2\r\non\r\n5\r\ne\ntwo\r\n8\r\n\n\nthree\n\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "one|two||three");
    });
}

// --- files --------------------------------------------------------------------------------------------------------

/// A directory that goes when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("greenlet-http-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("public/sub")).unwrap();
        fs::write(path.join("secret.txt"), "secret").unwrap();
        fs::write(path.join("public/digits.txt"), "0123456789").unwrap();
        fs::write(path.join("public/empty.css"), "").unwrap();
        fs::write(path.join("public/.hidden"), "hidden").unwrap();
        fs::write(path.join("public/sub/index.html"), "<p>index").unwrap();
        fs::write(path.join("public/large.bin"), vec![7; 1_000_000]).unwrap();
        std::os::unix::fs::symlink("digits.txt", path.join("public/link.txt")).unwrap();
        std::os::unix::fs::symlink("../secret.txt", path.join("public/escape.txt")).unwrap();
        Directory(path)
    }

    fn public(&self) -> PathBuf {
        self.0.join("public")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_served_with_their_type_and_nothing_outside_is() {
    run(|| {
        let directory = Directory::new("types");
        let files = StaticFiles::new(directory.public());
        let open = files.clone().symlinks(Symlinks::Follow);
        let (_server, address) = serve(Server::new(Router::new().mount("/s", files).mount("/open", open)));
        let mut client = Client::connect(address);
        let answer = client.get("/s/digits.txt");
        assert_eq!((answer.status(), answer.text()), (200, "0123456789"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(client.get("/s/empty.css").header("content-type"), Some("text/css; charset=utf-8"));
        assert_eq!(client.get("/s/sub/").text(), "<p>index");
        let answer = client.get("/s/sub?a=b");
        assert_eq!((answer.status(), answer.header("location")), (308, Some("./sub/?a=b")));
        assert_eq!(client.get("/s/large.bin").body, vec![7; 1_000_000]);
        assert_eq!(client.get("/s/link.txt").status(), 200);
        assert_eq!(client.get("/open/escape.txt").text(), "secret");
        for path in [
            "/s/",
            "/s/none",
            "/s/escape.txt",
            "/s/.hidden",
            "/s/../secret.txt",
            "/s/%2e%2e/secret.txt",
            "/s/..%2fsecret.txt",
            "/s/%2e%2e%5csecret.txt",
            "/s/digits.txt%00",
            "/s/digits.txt/",
            "/s//../../secret.txt",
        ] {
            assert_eq!(client.get(path).status(), 404, "{path}");
        }
        client.send("POST /s/digits.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status(), 405);
        client.send("HEAD /s/large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().header("content-length"), Some("1000000"));
    });
}

#[test]
fn conditions_and_ranges_are_kept() {
    run(|| {
        let directory = Directory::new("ranges");
        let (_server, address) = serve(Server::new(StaticFiles::new(directory.public())));
        let mut client = Client::connect(address);
        let whole = client.get("/digits.txt");
        let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
        let mut with = |headers: String| {
            client.send(format!("GET /digits.txt HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
            client.answer()
        };
        for (headers, status, text) in [
            (format!("If-None-Match: {tag}\r\n"), 304, ""),
            (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304, ""),
            ("If-None-Match: *\r\n".into(), 304, ""),
            ("If-None-Match: \"x\"\r\n".into(), 200, "0123456789"),
            (format!("If-Modified-Since: {date}\r\n"), 304, ""),
            ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".into(), 200, "0123456789"),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), 200, "0123456789"),
            ("If-Match: \"x\"\r\n".into(), 412, ""),
            ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".into(), 412, ""),
            ("Range: bytes=2-4\r\n".into(), 206, "234"),
            ("Range: bytes=-2\r\n".into(), 206, "89"),
            ("Range: bytes=0-2,2-3\r\n".into(), 200, "0123456789"),
            ("Range: bytes=10-\r\n".into(), 416, ""),
            (format!("Range: bytes=8-\r\nIf-Range: {tag}\r\n"), 206, "89"),
            (format!("Range: bytes=8-\r\nIf-Range: {date}\r\n"), 206, "89"),
            ("Range: bytes=8-\r\nIf-Range: \"x\"\r\n".into(), 200, "0123456789"),
            (format!("Range: bytes=8-\r\nIf-None-Match: {tag}\r\n"), 304, ""),
        ] {
            let answer = with(headers.clone());
            assert_eq!((answer.status(), answer.text()), (status, text), "{headers}");
            let range = match status {
                206 if text == "234" => Some("bytes 2-4/10"),
                206 => Some("bytes 8-9/10"),
                416 => Some("bytes */10"),
                _ => None,
            };
            assert_eq!(answer.header("content-range"), range, "{headers}");
        }
    });
}

// --- hubs -----------------------------------------------------------------------------------------------------

#[test]
fn a_server_on_two_hubs_serves_on_both() {
    let names = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let seen = names.clone();
    let server = Server::new(move |_: Request| {
        seen.lock().unwrap().insert(thread::current().name().unwrap_or("").to_owned());
        "here"
    });
    let server = server.start_on_hubs(2, "127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    // The system chooses by the client's port: some forty choices miss a hub once in 2^39.
    for _ in 0..40 {
        assert_eq!(Client::connect(address).get("/").text(), "here");
    }
    assert_eq!(names.lock().unwrap().len(), 2);
    assert_eq!(server.stop(FOREVER).killed, 0);
}

#[cfg(feature = "tls")]
#[test]
fn https_is_http_in_tls() {
    use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector};
    use std::io::Write;
    run(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let identity = Identity::from_pem(&pem, made.signing_key.serialize_pem()).unwrap();
        let acceptor = TlsAcceptor::builder().identity(identity).build().unwrap();
        let handler = |request: Request| format!("{} {}", request.uri().path(), request.is_secure());
        let (_server, address) = serve(Server::new(handler).tls(acceptor));
        let connector = TlsConnector::builder().roots(Roots::from_pem(&pem).unwrap()).build().unwrap();
        let stream = greenlet_net::TcpStream::connect(address).unwrap();
        let mut session = connector.connect("localhost", stream).unwrap();
        session.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        session.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("\r\n\r\n/a true"), "{text}");
        // Who speaks no TLS is let go, and the server goes on.
        let mut plain = Client::connect(address);
        plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut rest = Vec::new();
        let _ = plain.stream.read_to_end(&mut rest);
        let stream = greenlet_net::TcpStream::connect(address).unwrap();
        assert!(connector.connect("localhost", stream).is_ok());
    });
}

#[cfg(feature = "tower")]
#[test]
fn an_axum_router_runs_and_may_block() {
    use axum::extract::Path;
    use axum::routing::{get, post};
    use greenlet_net::http::{Peer, TowerService};
    run(|| {
        let app = axum::Router::new()
            .route(
                "/sleep/{ms}",
                get(|Path(ms): Path<u64>| async move {
                    greenlet_core::sleep(std::time::Duration::from_millis(ms)); // cooperative
                    format!("slept {ms}")
                }),
            )
            .route("/echo", post(|body: String| async move { body }))
            .route("/peer", get(|peer: axum::Extension<Peer>| async move { peer.0.0.to_string() }));
        let (_server, address) = serve(Server::new(TowerService::new(app)).max_body(10));
        let mut client = Client::connect(address);
        let mut slow = Client::connect(address);
        slow.send("GET /sleep/100 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.get("/sleep/1").text(), "slept 1");
        assert_eq!(slow.answer().text(), "slept 100");
        assert_eq!(client.get("/peer").text(), client.stream.local_addr().unwrap().to_string());
        assert_eq!(client.get("/none").status(), 404);
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "abcdef");
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n");
        assert!(client.answer().status() >= 400);
    });
}

/// Runs it while the hub of this thread goes on.
fn output(mut command: std::process::Command) -> String {
    let output = greenlet_core::pool::ThreadPool::global().apply(move || command.output()).unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_gets_and_sends() {
    if !program::has("curl", "--version", "curl") {
        return;
    }
    run(|| {
        let (_server, address) = serve(Server::new(|mut request: Request| {
            let mut body = Vec::new();
            request.body_mut().read_to_end(&mut body)?;
            Ok::<_, Error>(Response::new(greenlet_net::http::Body::from(format!(
                "{} {}",
                request.method(),
                body.len()
            ))))
        }));
        let url = format!("http://{address}/");
        let curl = |arguments: &[&str]| {
            let mut command = std::process::Command::new("curl");
            command.args(["-sS", "-m", "20"]).args(arguments).arg(&url);
            output(command)
        };
        assert_eq!(curl(&[]), "GET 0");
        assert_eq!(curl(&["-d", "hello"]), "POST 5");
        // More than a megabyte, which curl sends after `100 Continue`.
        let data = "x".repeat(100_000);
        assert_eq!(curl(&["-H", "Expect: 100-continue", "-d", &data]), "POST 100000");
        assert_eq!(curl(&["-H", "Transfer-Encoding: chunked", "-d", &data]), "POST 100000");
    });
}

#[cfg(feature = "http2")]
#[test]
fn curl_and_h2load_speak_http_2() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            greenlet_core::sleep(std::time::Duration::from_millis(1));
            format!("{:?}", request.version())
        }));
        if program::has("curl", "--version", "curl") {
            let mut command = std::process::Command::new("curl");
            command.args(["-sS", "-m", "20", "--http2-prior-knowledge", &format!("http://{address}/")]);
            assert_eq!(output(command), "HTTP/2.0");
        }
        if program::has("h2load", "--version", "nghttp2-client") {
            let mut command = std::process::Command::new("h2load");
            command.args(["-n1000", "-c4", "-m32", &format!("http://{address}/")]);
            let said = output(command);
            assert!(said.contains("1000 succeeded, 0 failed"), "{said}");
        }
    });
}
