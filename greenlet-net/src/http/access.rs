//! The access log.

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};

use super::connection::Connection;
use super::settings::{AccessLog, Settings};

/// A line to be, from the request's arrival to the end of its response.
pub(super) struct Entry {
    peer: String,
    line: String,
    arrived: SystemTime,
    status: Option<StatusCode>,
    bytes: u64,
    /// `Referer` and `User-Agent`, for the combined format.
    who: Option<(String, String)>,
}

impl Entry {
    /// `None` when nobody listens.
    #[inline]
    pub(super) fn begin<B>(
        settings: &Settings,
        connection: &Connection,
        request: &http::Request<B>,
    ) -> Option<Box<Entry>> {
        if settings.access_log == AccessLog::Off
            || !tracing::enabled!(target: "greenlet_net::http::access", tracing::Level::INFO)
        {
            return None;
        }
        Some(Entry::of(settings.access_log, connection, request))
    }

    fn of<B>(format: AccessLog, connection: &Connection, request: &http::Request<B>) -> Box<Entry> {
        let peer = match &connection.peer {
            Some(crate::Address::Ip(address)) => address.ip().to_string(),
            // Without a name that the client may have given to its end.
            Some(crate::Address::Unix(_)) => "unix:".to_owned(),
            None => "-".to_owned(),
        };
        let value = |name| quotable(request.headers(), name);
        let who =
            (format == AccessLog::Combined).then(|| (value(header::REFERER), value(header::USER_AGENT)));
        // A path may have quotes in it.
        let target = request.uri().to_string();
        let line =
            format!("{} {} {:?}", request.method(), target.as_bytes().escape_ascii(), request.version());
        Box::new(Entry { peer, line, arrived: SystemTime::now(), status: None, bytes: 0, who })
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn write(&self) {
        tracing::info!(target: "greenlet_net::http::access", "{self}");
    }
}

/// A header's value without what could end the field or the line.
fn quotable(headers: &HeaderMap, name: header::HeaderName) -> String {
    match headers.get(name) {
        Some(value) => value.as_bytes().escape_ascii().to_string(),
        None => "-".to_owned(),
    }
}

/// The common log format: host (`unix:` for a client of a Unix socket), identity and user (unknown), date, request, status, bytes of the body; then, in the combined format, referrer and
/// user agent; then the seconds that it took.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "Sun, 06 Nov 1994 08:49:37 GMT"
        let date = httpdate::fmt_http_date(self.arrived);
        let part = |range| date.get(range).unwrap_or("-");
        let (day, month, year, time) = (part(5..7), part(8..11), part(12..16), part(17..25));
        write!(f, "{} - - [{day}/{month}/{year}:{time} +0000] \"{}\" ", self.peer, self.line)?;
        match self.status {
            Some(status) => write!(f, "{} {}", status.as_u16(), self.bytes)?,
            // The client went away before there was one.
            None => write!(f, "- {}", self.bytes)?,
        }
        if let Some((referer, agent)) = &self.who {
            write!(f, " \"{referer}\" \"{agent}\"")?;
        }
        let seconds = self.arrived.elapsed().unwrap_or_default().as_secs_f64();
        write!(f, " {seconds:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::crew::Crew;
    use crate::http::watch::Clock;
    use std::rc::{Rc, Weak};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_line_of_the_combined_format() {
        let connection = Connection::new(
            Some("127.0.0.1:7".parse::<std::net::SocketAddr>().unwrap().into()),
            false,
            Clock::new(),
            Rc::new(Crew::new(1)),
            Weak::new(),
            0,
        );
        let request = http::Request::get("/a?b=%22").header("user-agent", "one \"two\"").body(()).unwrap();
        let mut entry = Entry::of(AccessLog::Combined, &connection, &request);
        entry.arrived = UNIX_EPOCH + Duration::from_secs(784_111_777);
        entry.status(StatusCode::OK);
        entry.sent(5);
        let line = entry.to_string();
        let expected =
            r#"127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] "GET /a?b=%22 HTTP/1.1" 200 5 "-" "one \"two\"" "#;
        assert!(line.starts_with(expected), "{line}");
    }
}
