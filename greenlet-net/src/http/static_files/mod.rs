//! Files of a directory.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use greenlet_core::pool::ThreadPool;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use self::byte_range::{Wanted, wanted};
pub use self::coding::Coding;
use super::percent::{Plus, decode};
use super::{Body, BodyWriter, Handler, IntoResponse, Request, Response};

mod byte_range;
mod coding;
mod parts;

/// Which symbolic links are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Symlinks {
    /// Those that lead to something in the directory.
    #[default]
    Within,
    /// All: whoever can make one may publish every file that the process may read.
    Follow,
}

/// Serves the files of a directory: a [`Handler`], mostly [mounted](super::Router::mount) in a router.
///
/// - `GET` and `HEAD`; directories by their index file; no listings. A directory without its slash is redirected.
/// - Ranges (RFC 9110, section 14), [several](StaticFiles::max_ranges) in one response too, `ETag` and `Last-Modified`, and the conditions on them.
/// - Files that were [compressed beforehand](StaticFiles::precompressed), for clients that understand them.
/// - Content types by file name (`text/...` in UTF-8).
/// - Nothing outside: `..`, encoded slashes, NUL, names that begin with a dot, and [symbolic links](Symlinks) that lead elsewhere are not found.
///
/// Files are read by the [threads](ThreadPool::global) of the process, so that the hub never waits for a disk.
///
/// ```no_run
/// use greenlet_net::http::{Router, StaticFiles};
///
/// let router = Router::new().mount("/static", StaticFiles::new("public"));
/// ```
#[derive(Clone, Debug)]
pub struct StaticFiles {
    root: Arc<PathBuf>,
    index: Option<String>,
    symlinks: Symlinks,
    max_age: Option<Duration>,
    max_ranges: usize,
    codings: Arc<[Coding]>,
}

/// As much is read at once.
const PIECE: usize = 128 * 1024;

impl StaticFiles {
    /// The files below `root`, with the index file `index.html`.
    pub fn new(root: impl Into<PathBuf>) -> StaticFiles {
        StaticFiles {
            root: Arc::new(root.into()),
            index: Some("index.html".into()),
            symlinks: Symlinks::default(),
            max_age: None,
            max_ranges: 16,
            codings: Arc::new([]),
        }
    }

    /// The file that stands for its directory; `None`: directories are not found.
    #[must_use]
    pub fn index(mut self, name: Option<&str>) -> StaticFiles {
        self.index = name.map(str::to_owned);
        self
    }

    /// Which symbolic links are followed; those that stay within by default.
    #[must_use]
    pub fn symlinks(mut self, symlinks: Symlinks) -> StaticFiles {
        self.symlinks = symlinks;
        self
    }

    /// How long clients may use a file without asking again (`Cache-Control: max-age`); nothing is said by default.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> StaticFiles {
        self.max_age = Some(max_age);
        self
    }

    /// How many ranges a request may ask for to get them, as `multipart/byteranges`; 16 by default. More are answered by the whole file, and so are such
    /// that overlap.
    #[must_use]
    pub fn max_ranges(mut self, ranges: usize) -> StaticFiles {
        self.max_ranges = ranges;
        self
    }

    /// Sends `app.js.br` instead of `app.js`, as the same file in that coding, to clients whose `Accept-Encoding` takes it; the favourite of the client, and
    /// of several the one that is named first here. Only where there is such a file that is not older than `app.js` itself. None by default.
    ///
    /// Each coding has an `ETag` of its own, and all responses a `Vary`, so that caches keep them apart.
    ///
    /// ```no_run
    /// use greenlet_net::http::{Coding, StaticFiles};
    ///
    /// let files = StaticFiles::new("public").precompressed(Coding::ALL);
    /// ```
    #[must_use]
    pub fn precompressed(mut self, codings: impl IntoIterator<Item = Coding>) -> StaticFiles {
        self.codings = codings.into_iter().collect();
        self
    }

    fn find(&self, request: &Request) -> Result<Found, StatusCode> {
        let path = request.uri().path();
        let below = relative(path).ok_or(StatusCode::NOT_FOUND)?;
        let (root, symlinks) = (self.root.clone(), self.symlinks);
        let index =
            if path.ends_with('/') { Some(self.index.clone().ok_or(StatusCode::NOT_FOUND)?) } else { None };
        let codings = coding::accepted(request.headers(), &self.codings);
        let found =
            ThreadPool::global().apply(move || open(&root, &below, index.as_deref(), symlinks, &codings));
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(status_of(&error)),
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn answer(&self, request: &Request) -> Result<Response, StatusCode> {
        let head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => {
                let mut response = (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response();
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                return Ok(response);
            }
        };
        let found = match self.find(request)? {
            Found::Directory => return redirect(request),
            Found::File(found) => found,
        };
        let mut response = Response::new(Body::empty());
        let validators = Validators::of(&found.metadata, found.coding);
        validators.tell(response.headers_mut());
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if !self.codings.is_empty() {
            headers.insert(header::VARY, coding::VARY);
        }
        if let Some(max_age) = self.max_age
            && let Ok(value) = HeaderValue::from_str(&format!("max-age={}", max_age.as_secs()))
        {
            headers.insert(header::CACHE_CONTROL, value);
        }
        if let Some(status) = validators.verdict(request.headers()) {
            *response.status_mut() = status;
            return Ok(response);
        }
        let content_type = content_type(&found.path);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
        if let Some(coding) = found.coding {
            let name = HeaderValue::from_static(coding.name());
            response.headers_mut().insert(header::CONTENT_ENCODING, name);
        }
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let length = found.metadata.len();
        // Ranges are for GET only (RFC 9110, 14.2).
        let ranges = if !head && validators.allow_range(request.headers()) {
            request.headers().get(header::RANGE)
        } else {
            None
        };
        let wanted = ranges.map_or(Wanted::All, |range| wanted(range.as_bytes(), length, self.max_ranges));
        let range = match wanted {
            Wanted::All => 0..length,
            Wanted::Parts(parts) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let [range] = &parts[..] else {
                    let (body, content_type) = parts::multipart(&found.file, &content_type, &parts, length);
                    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                    *response.body_mut() = body;
                    return Ok(response);
                };
                let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                response
                    .headers_mut()
                    .insert(header::CONTENT_RANGE, HeaderValue::from_str(&said).expect("digits"));
                range.clone()
            }
            Wanted::Nothing => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                let said = HeaderValue::from_str(&format!("bytes */{length}")).expect("digits");
                response.headers_mut().insert(header::CONTENT_RANGE, said);
                return Ok(response);
            }
        };
        let body = Pieces { file: found.file, at: range.start, end: range.end };
        *response.body_mut() = body.into_body(head).map_err(|error| status_of(&error))?;
        Ok(response)
    }
}

impl Handler for StaticFiles {
    fn handle(&self, request: Request) -> Response {
        self.answer(&request).unwrap_or_else(|status| {
            (status, format!("{}\n", status.canonical_reason().unwrap_or("error"))).into_response()
        })
    }
}

fn status_of(error: &io::Error) -> StatusCode {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            StatusCode::NOT_FOUND
        }
        io::ErrorKind::InvalidFilename => StatusCode::NOT_FOUND,
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        _ if error.raw_os_error() == Some(libc::ELOOP) => StatusCode::NOT_FOUND,
        _ => {
            tracing::error!(target: "greenlet_net::http", "a file cannot be served: {error}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The path below the root that a client means, if it may mean it.
fn relative(path: &str) -> Option<PathBuf> {
    let mut below = PathBuf::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = String::from_utf8(decode(segment, Plus::Itself).into_owned()).ok()?;
        if segment.starts_with('.') || segment.contains(['/', '\\', '\0']) {
            return None;
        }
        // One name and nothing else, whatever the system makes of it.
        let mut components = Path::new(&segment).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) => below.push(name),
            _ => return None,
        }
    }
    Some(below)
}

enum Found {
    File(Box<OpenFile>),
    Directory,
}

struct OpenFile {
    file: Arc<File>,
    metadata: Metadata,
    /// As it was asked for, whatever links and codings lead to.
    path: PathBuf,
    coding: Option<Coding>,
}

/// In a thread that may block.
fn open(
    root: &Path,
    below: &Path,
    index: Option<&str>,
    symlinks: Symlinks,
    codings: &[Coding],
) -> io::Result<Found> {
    let root = fs::canonicalize(root)?;
    let mut path = root.join(below);
    if let Some(index) = index {
        path.push(index);
    }
    let (mut file, mut metadata) = open_one(&root, &path, symlinks)?;
    if metadata.is_dir() && index.is_none() {
        return Ok(Found::Directory);
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut coding = None;
    for each in codings {
        let mut other = path.clone().into_os_string();
        other.push(each.extension());
        if let Ok((encoded, of_encoded)) = open_one(&root, Path::new(&other), symlinks)
            && of_encoded.is_file()
            && of_encoded.modified()? >= metadata.modified()?
        {
            (file, metadata, coding) = (encoded, of_encoded, Some(*each));
            break;
        }
    }
    Ok(Found::File(Box::new(OpenFile { file: Arc::new(file), metadata, path, coding })))
}

fn open_one(root: &Path, path: &Path, symlinks: Symlinks) -> io::Result<(File, Metadata)> {
    let real = fs::canonicalize(path)?;
    if symlinks == Symlinks::Within && !real.starts_with(root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Its last name is not a link put there meanwhile; who may rename directories in the root is trusted. And there is no waiting for the other
    // end of a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(&real)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn redirect(request: &Request) -> Result<Response, StatusCode> {
    // Only the last name: where it is mounted is not known here.
    let path = request.uri().path().trim_end_matches('/');
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).ok_or(StatusCode::NOT_FOUND)?;
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    let location = HeaderValue::from_str(&format!("./{name}/{query}")).map_err(|_| StatusCode::NOT_FOUND)?;
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn content_type(path: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let textual =
        guess.type_() == "text" || matches!(guess.subtype().as_str(), "javascript" | "json" | "xml");
    let value = if textual { format!("{guess}; charset=utf-8") } else { guess.to_string() };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// What clients compare to see whether theirs is the same.
struct Validators {
    tag: String,
    /// In whole seconds, as in the headers.
    modified: SystemTime,
}

impl Validators {
    fn of(metadata: &Metadata, coding: Option<Coding>) -> Validators {
        let (mtime, nanoseconds, length) = (metadata.mtime(), metadata.mtime_nsec(), metadata.len());
        let tag = match coding {
            None => format!("\"{mtime:x}-{nanoseconds:x}-{length:x}\""),
            Some(coding) => format!("\"{mtime:x}-{nanoseconds:x}-{length:x}-{}\"", coding.name()),
        };
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        Validators { tag, modified: UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        if let Ok(modified) = HeaderValue::from_str(&httpdate::fmt_http_date(self.modified)) {
            headers.insert(header::LAST_MODIFIED, modified);
        }
    }

    fn lists_tag(&self, value: &HeaderValue) -> bool {
        let Ok(list) = value.to_str() else { return false };
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.tag)
    }

    /// As [`lists_tag`](Validators::lists_tag), with the strong comparison: a weak tag is like no other.
    fn lists_strong_tag(&self, value: &HeaderValue) -> bool {
        let Ok(list) = value.to_str() else { return false };
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag == self.tag)
    }

    /// What the conditions of a request come to (RFC 9110, 13.2.2), if that is not the file.
    fn verdict(&self, headers: &HeaderMap) -> Option<StatusCode> {
        let date = |name| {
            let value = headers.get(name)?;
            httpdate::parse_http_date(value.to_str().ok()?).ok()
        };
        if let Some(tags) = headers.get(header::IF_MATCH) {
            if !self.lists_strong_tag(tags) {
                return Some(StatusCode::PRECONDITION_FAILED);
            }
        } else if date(header::IF_UNMODIFIED_SINCE).is_some_and(|date| self.modified > date) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        if let Some(tags) = headers.get(header::IF_NONE_MATCH) {
            return self.lists_tag(tags).then_some(StatusCode::NOT_MODIFIED);
        }
        date(header::IF_MODIFIED_SINCE)
            .is_some_and(|date| self.modified <= date)
            .then_some(StatusCode::NOT_MODIFIED)
    }

    /// Whether a part may be sent: the client's other part is of the same file.
    fn allow_range(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::IF_RANGE).map(HeaderValue::to_str) {
            None => true,
            Some(Ok(tag)) if tag.starts_with('"') => tag == self.tag,
            Some(Ok(date)) => httpdate::parse_http_date(date).is_ok_and(|date| date == self.modified),
            Some(Err(_)) => false,
        }
    }
}

/// A part of a file, read by a thread piece by piece.
struct Pieces {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Pieces {
    fn next(&mut self) -> io::Result<Bytes> {
        let (file, at) = (self.file.clone(), self.at);
        let length = usize::try_from(self.end - at).unwrap_or(PIECE).min(PIECE);
        let read = move || {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
        };
        let piece = ThreadPool::global().apply(read).map_err(io::Error::other)??;
        self.at += length as u64;
        Ok(piece)
    }

    fn into_body(mut self, head: bool) -> io::Result<Body> {
        let length = self.end - self.at;
        if length <= PIECE as u64 && !head {
            return if length == 0 { Ok(Body::empty()) } else { self.next().map(Body::from) };
        }
        Ok(Body::stream(move |out| self.send(out)).with_length(length))
    }

    fn send(mut self, out: &mut BodyWriter) -> io::Result<()> {
        while self.at < self.end {
            out.send(self.next()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_root_are_meant() {
        for (path, expected) in [
            ("/", Some("")),
            ("/a/b.txt", Some("a/b.txt")),
            ("//a///b", Some("a/b")),
            ("/a%20b", Some("a b")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/etc", None),
            ("/a%2fb", None),
            ("/a%5cb", None),
            ("/a%00", None),
            ("/.git/config", None),
            ("/%ff", None),
        ] {
            assert_eq!(relative(path), expected.map(PathBuf::from), "{path}");
        }
    }
}
