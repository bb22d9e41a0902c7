//! Who answers what.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::percent::{Plus, decode_text};
use super::{Handler, IntoResponse, Request, Response};

type Shared = Arc<dyn Handler + Send + Sync>;
type Wrapper = Arc<dyn Fn(Request, Next<'_>) -> Response + Send + Sync>;

/// Calls a handler by the method and the path of a request; itself a [`Handler`].
///
/// `{name}` in a pattern stands for one segment of a path, which [`param`](super::RequestExt::param) gives to the handler; `{*name}` at its end for
/// the rest. The more particular pattern wins.
///
/// - What is found nowhere gets a `404`, or the [fallback](Router::fallback).
/// - A path with other methods gets a `405` with an `Allow` header; `OPTIONS` gets a `204` with it.
/// - `HEAD` is answered by the handler of `GET`, without the body.
///
/// Handlers are `Send` and `Sync`, since a router may serve several hubs.
///
/// ```
/// use greenlet_net::http::{Error, Handler, Request, RequestExt, Router};
///
/// fn user(request: Request) -> Result<String, Error> {
///     let id: u32 = request.param("id")?;
///     Ok(format!("user {id}"))
/// }
///
/// let router = Router::new().get("/", |_: Request| "home").get("/users/{id}", user);
/// let answer = |path: &str| router.handle(http::Request::get(path).body(Default::default()).unwrap()).status();
/// assert_eq!(answer("/users/7"), 200);
/// assert_eq!(answer("/users/seven"), 400);
/// assert_eq!(answer("/nowhere"), 404);
/// ```
#[derive(Default)]
pub struct Router {
    paths: matchit::Router<usize>,
    routes: Vec<Route>,
    by_pattern: HashMap<String, usize>,
    fallback: Option<Shared>,
    wrappers: Vec<Wrapper>,
}

#[derive(Clone)]
struct Route {
    pattern: String,
    methods: Vec<(Method, Shared)>,
    any: Option<Shared>,
}

/// What a router has found in the path: see [`RequestExt::param`](super::RequestExt::param).
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

macro_rules! methods {
    ($($name:ident $method:ident),*) => {
        $(#[doc = concat!("Answers `", stringify!($method), "` of this pattern.\n\n# Panics\nAs [`route`](Router::route).")]
        #[must_use]
        pub fn $name(self, pattern: &str, handler: impl Handler + Send + Sync) -> Router {
            self.route(Method::$method, pattern, handler)
        })*
    };
}

impl Router {
    /// A router that knows no path.
    #[must_use]
    pub fn new() -> Router {
        Router::default()
    }

    methods!(get GET, post POST, put PUT, patch PATCH, delete DELETE);

    /// Answers a method of a pattern.
    ///
    /// # Panics
    /// When the pattern is not well-formed, is in conflict with another one, or has a handler for this method already.
    #[must_use]
    pub fn route(mut self, method: Method, pattern: &str, handler: impl Handler + Send + Sync) -> Router {
        let route = self.at(pattern);
        assert!(
            route.methods.iter().all(|(other, _)| *other != method),
            "{method} {pattern} has a handler already"
        );
        route.methods.push((method, Arc::new(handler)));
        self
    }

    /// Answers all methods of a pattern that have no handler of their own.
    ///
    /// # Panics
    /// As [`route`](Router::route).
    #[must_use]
    pub fn any(mut self, pattern: &str, handler: impl Handler + Send + Sync) -> Router {
        let route = self.at(pattern);
        assert!(route.any.is_none(), "{pattern} has a handler already");
        route.any = Some(Arc::new(handler));
        self
    }

    /// Answers everything below a prefix; the handler sees the path without it, and the [query](Uri::query) as it is. For
    /// [`StaticFiles`](super::StaticFiles) and routers that know nothing of where they are.
    ///
    /// # Panics
    /// As [`route`](Router::route).
    #[must_use]
    pub fn mount(self, prefix: &str, handler: impl Handler + Send + Sync) -> Router {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let length = prefix.len();
        let mounted: Shared = Arc::new(move |mut request: Request| {
            *request.uri_mut() = below(request.uri(), length);
            handler.handle(request)
        });
        let again = mounted.clone();
        let mut router =
            self.any(&format!("{prefix}/{{*rest}}"), move |request: Request| mounted.handle(request));
        let root = router.at(&format!("{prefix}/"));
        assert!(root.any.is_none(), "{prefix}/ has a handler already");
        root.any = Some(again);
        router
    }

    /// Adds the routes of another router below a prefix. Their handlers see the whole path; its wrappers are around its own routes, and its
    /// fallback is not used.
    ///
    /// # Panics
    /// As [`route`](Router::route).
    #[must_use]
    pub fn nest(mut self, prefix: &str, inner: Router) -> Router {
        let prefix = prefix.trim_end_matches('/');
        let wrappers: Arc<[Wrapper]> = inner.wrappers.into();
        let wrapped = |handler: Shared| -> Shared {
            if wrappers.is_empty() {
                return handler;
            }
            let wrappers = wrappers.clone();
            Arc::new(move |request: Request| {
                Next { wrappers: &wrappers, last: Last::Handler(&*handler) }.run(request)
            })
        };
        for route in inner.routes {
            let pattern = if route.pattern == "/" && !prefix.is_empty() {
                prefix.to_owned()
            } else {
                format!("{prefix}{}", route.pattern)
            };
            let mine = self.at(&pattern);
            assert!(mine.methods.is_empty() && mine.any.is_none(), "{pattern} has a handler already");
            mine.methods =
                route.methods.into_iter().map(|(method, handler)| (method, wrapped(handler))).collect();
            mine.any = route.any.map(&wrapped);
        }
        self
    }

    /// Answers what is found nowhere else.
    #[must_use]
    pub fn fallback(mut self, handler: impl Handler + Send + Sync) -> Router {
        self.fallback = Some(Arc::new(handler));
        self
    }

    /// Puts a function around everything that this router answers, its `404`s included: it gets the request, and calls [`Next::run`] or does not.
    /// The one that was added first is called first.
    ///
    /// ```
    /// use greenlet_net::http::{Next, Request, Response, Router, StatusCode};
    ///
    /// fn no_robots(request: Request, next: Next<'_>) -> Result<Response, StatusCode> {
    ///     match request.headers().get("user-agent") {
    ///         Some(agent) if agent.as_bytes().ends_with(b"bot") => Err(StatusCode::FORBIDDEN),
    ///         _ => Ok(next.run(request)),
    ///     }
    /// }
    /// let router = Router::new().get("/", |_: Request| "home").wrap(no_robots);
    /// ```
    #[must_use]
    pub fn wrap<R: IntoResponse>(
        mut self,
        wrapper: impl Fn(Request, Next<'_>) -> R + Send + Sync + 'static,
    ) -> Router {
        self.wrappers.push(Arc::new(move |request, next| wrapper(request, next).into_response()));
        self
    }

    fn at(&mut self, pattern: &str) -> &mut Route {
        let at = match self.by_pattern.get(pattern) {
            Some(&at) => at,
            None => {
                assert!(pattern.starts_with('/'), "a pattern begins with a slash: '{pattern}'");
                let at = self.routes.len();
                if let Err(error) = self.paths.insert(pattern, at) {
                    panic!("the pattern {pattern}: {error}");
                }
                self.by_pattern.insert(pattern.to_owned(), at);
                self.routes.push(Route { pattern: pattern.to_owned(), methods: Vec::new(), any: None });
                at
            }
        };
        &mut self.routes[at]
    }

    fn dispatch(&self, mut request: Request) -> Response {
        let path = request.uri().path();
        let Ok(found) = self.paths.at(path) else {
            return match &self.fallback {
                Some(fallback) => fallback.handle(request),
                None if request.method() == Method::OPTIONS && path == "*" => {
                    StatusCode::NO_CONTENT.into_response()
                }
                None => (StatusCode::NOT_FOUND, "Not Found\n").into_response(),
            };
        };
        let route = &self.routes[*found.value];
        if found.params.iter().next().is_some() {
            let decoded = |(name, value): (&str, &str)| {
                (name.to_owned(), decode_text(value, Plus::Itself).into_owned())
            };
            let params = Params(found.params.iter().map(decoded).collect());
            request.extensions_mut().insert(params);
        }
        match route.handler(request.method()) {
            Some(handler) => handler.handle(request),
            None => route.refuse(request.method()),
        }
    }
}

/// A path without so many bytes at its front.
fn below(uri: &Uri, length: usize) -> Uri {
    let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
    match whole.get(length..) {
        Some(rest) if rest.starts_with('/') => rest.parse().unwrap_or_default(),
        _ => Uri::default(),
    }
}

impl Route {
    fn handler(&self, method: &Method) -> Option<&Shared> {
        let of = |method: &Method| {
            self.methods.iter().find(|(mine, _)| mine == method).map(|(_, handler)| handler)
        };
        let get = || if method == Method::HEAD { of(&Method::GET) } else { None };
        of(method).or_else(get).or(self.any.as_ref())
    }

    fn refuse(&self, method: &Method) -> Response {
        let mut allowed: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
            allowed.push("HEAD");
        }
        allowed.push("OPTIONS");
        let mut response = if method == Method::OPTIONS {
            StatusCode::NO_CONTENT.into_response()
        } else {
            (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response()
        };
        if let Ok(allowed) = HeaderValue::from_str(&allowed.join(", ")) {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

/// What is left to be done with a request: see [`Router::wrap`].
pub struct Next<'a> {
    wrappers: &'a [Wrapper],
    last: Last<'a>,
}

enum Last<'a> {
    Handler(&'a dyn Handler),
    Router(&'a Router),
}

impl Next<'_> {
    /// Has the rest answer it.
    pub fn run(self, request: Request) -> Response {
        match (self.wrappers.split_first(), self.last) {
            (Some((first, rest)), last) => first(request, Next { wrappers: rest, last }),
            (None, Last::Handler(handler)) => handler.handle(request),
            (None, Last::Router(router)) => router.dispatch(request),
        }
    }
}

impl Handler for Router {
    fn handle(&self, request: Request) -> Response {
        Next { wrappers: &self.wrappers, last: Last::Router(self) }.run(request)
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("wrappers", &self.wrappers.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.pattern)).finish()
    }
}
