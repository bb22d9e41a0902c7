//! The files of the page.

use greenlet_net::http::Response;

const HTML: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/chat.css");
const SCRIPT: &str = include_str!("../page/chat.js");
const ICON: &str = include_str!("../page/icon.svg");

/// Nothing but these files, and nobody else's frame: so even a text that were taken for HTML could do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn file(path: &str) -> Option<Response> {
    let (kind, text) = match path {
        "/" => ("text/html; charset=utf-8", HTML),
        "/chat.css" => ("text/css; charset=utf-8", STYLE),
        "/chat.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => ("image/svg+xml", ICON),
        _ => return None,
    };
    let mut response = Response::new(text.into());
    let headers = [
        ("content-type", kind),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("it is fixed"));
    }
    Some(response)
}
