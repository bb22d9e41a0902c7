//! Queries, forms and cookies.
//!
//! A form is what a plain reference makes of it; a query is read as a form; what is encoded comes back as it was; a cookie that is there is found.
#![no_main]

use greenlet_net::http::{Body, HeaderValue, Request, RequestExt, Uri, header};
use libfuzzer_sys::fuzz_target;

/// Written for clarity alone.
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match (text[at], hex) {
            (b'%', Some(hex)) => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reference(form: &[u8]) -> Vec<(String, String)> {
    let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (decoded(&pair[..at]), decoded(&pair[at + 1..])),
            None => (decoded(pair), String::new()),
        })
        .collect()
}

fn form(body: Vec<u8>) -> Vec<(String, String)> {
    let mut request = Request::new(Body::from(body));
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    request.form(u64::MAX).unwrap()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input).into_owned();
    let pairs = form(input.to_vec());
    assert_eq!(pairs, reference(text.as_bytes()));

    let again: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    assert_eq!(form(again.join("&").into_bytes()), pairs);

    if let Ok(uri) = format!("/?{text}").parse::<Uri>() {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        let query = request.uri().query().unwrap_or("").to_owned();
        let found = request.query_pairs();
        let expected = reference(query.as_bytes());
        assert!(
            found
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .eq(expected.iter().map(|(n, v)| (&**n, &**v)))
        );
        for (name, _) in &expected {
            let first = expected.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
            assert_eq!(request.query_value(name), first);
        }
    }

    if let Ok(cookies) = HeaderValue::from_bytes(input) {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(header::COOKIE, cookies.clone());
        for part in cookies.to_str().unwrap_or_default().split(';') {
            let Some((name, _)) = part.split_once('=') else { continue };
            let value = request.cookie(name.trim()).unwrap_or_else(|| panic!("{name:?} is not found"));
            assert!(!value.contains(';') && !value.starts_with('"'), "{value:?}");
        }
    }
});
