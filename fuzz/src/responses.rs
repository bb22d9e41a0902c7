//! HTTP responses, read by the letter.

use std::str;

/// One response of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, without the date.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

/// All responses of a connection that has ended, those that only say "go on" left out. `method` of a response, if it has one, says what was asked: there
/// is no body where that is `HEAD`.
///
/// # Panics
/// If there is anything else than whole responses.
pub fn responses(mut bytes: &[u8], method: &str) -> Vec<Response> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let response = response(&mut bytes, method);
        if response.status >= 200 {
            all.push(response);
        }
    }
    all
}

fn response(bytes: &mut &[u8], method: &str) -> Response {
    let status_line = line(bytes);
    let status = status_line.strip_prefix("HTTP/1.1 ").or_else(|| status_line.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse::<u16>().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
    let mut headers = fields(bytes);
    headers.retain(|(name, _)| name != "date");
    let mut response = Response { status, headers, body: Vec::new() };
    let head = response.header(method) == Some("HEAD");
    // So a request for a head was refused before anybody was asked who could have said that it was one.
    let refused = !method.is_empty() && response.header(method).is_none() && bytes.is_empty();
    if head || refused || status < 200 || status == 204 || status == 304 {
        return response;
    }
    let length = response.header("content-length").map(|length| length.parse::<usize>().expect("digits"));
    response.body = match (response.header("transfer-encoding"), length) {
        (Some("chunked"), None) => chunks(bytes),
        (None, Some(length)) => take(bytes, length),
        // Until the end of the connection.
        (None, None) => take(bytes, bytes.len()),
        both => panic!("the length is said in two ways: {both:?}"),
    };
    response
}

fn chunks(bytes: &mut &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&line(bytes), 16).expect("the size of a chunk");
        if size == 0 {
            fields(bytes);
            return body;
        }
        body.extend(take(bytes, size));
        assert_eq!(line(bytes), "", "the end of a chunk");
    }
}

fn fields(bytes: &mut &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    loop {
        let line = line(bytes);
        if line.is_empty() {
            return fields;
        }
        let (name, value) = line.split_once(':').expect("a header");
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line(bytes: &mut &[u8]) -> String {
    let end = bytes.windows(2).position(|two| two == b"\r\n");
    let end = end.unwrap_or_else(|| panic!("a line is cut off: {:?}", bytes.escape_ascii().to_string()));
    let line = str::from_utf8(&bytes[..end]).expect("a head in ASCII").to_owned();
    *bytes = &bytes[end + 2..];
    line
}

fn take(bytes: &mut &[u8], n: usize) -> Vec<u8> {
    assert!(n <= bytes.len(), "a body of {n} bytes is cut off after {}", bytes.len());
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken.to_vec()
}
