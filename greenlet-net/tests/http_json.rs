//! JSON in requests and responses.
#![cfg(feature = "json")]

mod raw;

use std::collections::HashMap;

use greenlet_core::run;
use greenlet_net::http::{Error, Json, Request, RequestExt, Server};
use raw::{Client, serve};

#[derive(serde::Deserialize, serde::Serialize)]
struct Sum {
    terms: Vec<u8>,
}

fn sort(mut request: Request) -> Result<Json<Sum>, Error> {
    let mut sum: Sum = request.json(100)?;
    sum.terms.sort_unstable();
    Ok(Json(sum))
}

fn post(kind: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn json_is_read_and_written() {
    run(|| {
        let (_server, address) = serve(Server::new(sort));
        let mut client = Client::connect(address);
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            client.send(post(kind, r#"{"terms": [3, 1, 2]}"#));
            let answer = client.answer();
            assert_eq!((answer.status(), answer.text()), (200, r#"{"terms":[1,2,3]}"#));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    });
}

#[test]
fn what_is_no_json_is_refused_with_the_reason() {
    run(|| {
        let (_server, address) = serve(Server::new(sort));
        let json = "application/json";
        let long = format!(r#"{{"terms": [{}1]}}"#, "1,".repeat(100));
        let deep = "[".repeat(100);
        for (kind, body, status, reason) in [
            ("text/plain", r#"{"terms": []}"#, 415, "expected JSON"),
            ("", r#"{"terms": []}"#, 415, "expected JSON"),
            ("application/jsonx", r#"{"terms": []}"#, 415, "expected JSON"),
            (json, "", 400, "EOF"),
            (json, r#"{"terms": [1"#, 400, "EOF"),
            (json, r#"{"terms": [1]} x"#, 400, "trailing"),
            (json, r#"{"terms": [256]}"#, 400, "256"),
            (json, "{}", 400, "missing field `terms`"),
            (json, &deep, 400, "invalid type: sequence"),
            (json, &long, 413, "Payload Too Large"),
        ] {
            let mut client = Client::connect(address);
            client.send(post(kind, body));
            let answer = client.answer();
            assert_eq!(answer.status(), status, "{body}");
            assert!(answer.text().contains(reason), "{}", answer.text());
        }
    });
}

#[test]
fn what_cannot_be_json_is_a_500() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| Json(HashMap::from([((1, 2), 3)]))));
        assert_eq!(Client::connect(address).get("/").status(), 500);
    });
}
