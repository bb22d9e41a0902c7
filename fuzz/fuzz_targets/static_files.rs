//! Requests for files: the path in the first line, headers behind it.
//!
//! Whatever is asked: only what is in a file of the directory is sent, whole or the part that the response says, and nothing of what lies beside it.
#![no_main]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::LazyLock;

use greenlet_fuzz::first_line;
use greenlet_net::http::{Body, Handler, HeaderName, HeaderValue, Method, Request, StaticFiles, Uri, header};
use libfuzzer_sys::fuzz_target;

/// No two are of the same length.
const PUBLIC: &[(&str, &str)] = &[
    ("a.txt", "0123456789"),
    ("sub/index.html", "<h1>sub</h1>"),
    ("sub/b c.bin", "\u{1}\u{2}\u{3}"),
    ("ä.json", "{}"),
    ("empty", ""),
];
const SECRET: &str = "nobody may see this";

struct Site(PathBuf);

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("greenlet-fuzz-files-{}", std::process::id()));
    let root = directory.join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    for (name, text) in PUBLIC {
        fs::write(root.join(name), text).unwrap();
    }
    fs::write(directory.join("secret"), SECRET).unwrap();
    fs::write(root.join(".hidden"), SECRET).unwrap();
    symlink(directory.join("secret"), root.join("out")).unwrap();
    symlink(&directory, root.join("up")).unwrap();
    symlink(root.join("a.txt"), root.join("within")).unwrap();
    Site(directory)
});

fn ask(method: Method, uri: &Uri, headers: &[(HeaderName, HeaderValue)]) -> greenlet_net::http::Response {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = uri.clone();
    request.headers_mut().extend(headers.iter().cloned());
    StaticFiles::new(SITE.0.join("root")).handle(request)
}

fuzz_target!(|input: &[u8]| {
    let (path, rest) = first_line(input);
    let Ok(uri) = Uri::try_from(path) else { return };
    let headers: Vec<(HeaderName, HeaderValue)> = rest
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|&byte| byte == b':')?;
            let name = HeaderName::from_bytes(&line[..at]).ok()?;
            Some((name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?))
        })
        .collect();
    let mut response = ask(Method::GET, &uri, &headers);
    let status = response.status().as_u16();
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if status == 206 && kind.starts_with(b"multipart/byteranges") {
        // Several ranges are written part by part, by a server only; tests of the server read them.
        assert!(!uri.path().contains("secret") && !uri.path().contains("/."), "{uri}");
        assert!(response.headers().get(header::CONTENT_RANGE).is_none());
        return;
    }
    let body = response.body_mut().read_to_bytes(1000).unwrap();
    assert!(!body.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{uri}");
    let file = |length: usize| PUBLIC.iter().find(|(_, text)| text.len() == length).unwrap().1.as_bytes();
    let said = response.headers().get(header::CONTENT_RANGE).map(|range| range.to_str().unwrap());
    match status {
        200 => assert_eq!(body, file(body.len())),
        206 => {
            let (part, whole) = said.unwrap().strip_prefix("bytes ").unwrap().split_once('/').unwrap();
            let (first, last) = part.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(body, file(whole.parse().unwrap())[first..=last]);
        }
        308 => {
            let location = String::from_utf8_lossy(response.headers()[header::LOCATION].as_bytes());
            assert!(location.starts_with("./") && !location.starts_with(".//"), "{location}");
            assert!(location.split('?').next().unwrap().ends_with('/'), "{location}");
        }
        416 => file(said.unwrap().strip_prefix("bytes */").unwrap().parse().unwrap()).iter().for_each(drop),
        304 | 412 => assert!(body.is_empty()),
        404 => assert_eq!(body, "Not Found\n"),
        _ => panic!("{status} for {uri}"),
    }
    if uri.path().contains("secret") || uri.path().contains("/.") {
        assert_eq!(status, 404);
    }
    // Without a body, and for all of the file.
    let head = ask(Method::HEAD, &uri, &headers);
    let expected = if matches!(status, 206 | 416) { 200 } else { status };
    assert_eq!(head.status().as_u16(), expected);
});
