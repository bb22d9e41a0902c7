//! A request and its response: between the connection's task and the handler's greenlet.

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use greenlet_core::embed::spawn_inside;
use greenlet_core::{Greenlet, GreenletExit, GreenletRef, Kill, spawn, yield_to};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::Body as _;
use hyper::service::Service;

use super::access::Entry;
use super::body::{Body, Kind};
use super::connection::{Connection, Order, Phase, Ticks};
use super::crew::MOST_ORPHANED;
use super::incoming::Incoming;
use super::outgoing::{Outgoing, Source};
use super::respond::TEXT;
use super::settings::{Disconnected, Settings};
use super::upgrade::{OnUpgrade, Upgraded};
use super::writer::{BodyWriter, Pipe};
use super::{Handler, Request};

/// What a connection's task and a handler's greenlet tell each other.
pub(super) struct Exchange {
    /// Until the greenlet takes it. It is some 300 bytes, which are written in place: a `Cell` would move them twice.
    request: RefCell<Option<http::Request<hyper::body::Incoming>>>,
    /// Until hyper takes it; large too.
    answer: RefCell<Option<http::Response<Outgoing>>>,
    timed_out: Cell<bool>,
    since: Ticks,
    task: Cell<Option<Waker>>,
    /// Known from its first wait on: most end without one.
    greenlet: OnceCell<GreenletRef>,
    /// Killed before that.
    killed: Cell<bool>,
    /// Is among the connection's [exchanges](Connection::exchanges).
    pub(super) listed: Cell<bool>,
    /// Asked for by the client.
    upgrade: OnceCell<OnUpgrade>,
    /// A `CONNECT`, which any success upgrades.
    connect: bool,
    /// The greenlet has ended.
    ended: Cell<bool>,
    /// Counts among those at work.
    pub(super) has_place: Cell<bool>,
    /// Nobody waits for it any more.
    orphan: Cell<bool>,
    /// Since when the client takes nothing of the response; 0: it is the response that is waited for.
    untaken_since: Cell<Ticks>,
}

impl Exchange {
    fn new(since: Ticks, connect: bool) -> Rc<Exchange> {
        Rc::new(Exchange {
            request: RefCell::new(None),
            answer: RefCell::new(None),
            timed_out: Cell::new(false),
            since,
            task: Cell::new(None),
            greenlet: OnceCell::new(),
            killed: Cell::new(false),
            listed: Cell::new(false),
            upgrade: OnceCell::new(),
            connect,
            ended: Cell::new(false),
            has_place: Cell::new(false),
            orphan: Cell::new(false),
            untaken_since: Cell::new(0),
        })
    }

    /// For the next request of a connection, whose last exchange nobody has any more.
    fn of_next(spare: Option<Rc<Exchange>>, since: Ticks, connect: bool) -> Rc<Exchange> {
        let Some(mut spare) = spare else { return Exchange::new(since, connect) };
        let Some(exchange) = Rc::get_mut(&mut spare) else { return Exchange::new(since, connect) };
        *exchange.request.get_mut() = None;
        *exchange.answer.get_mut() = None;
        *exchange.task.get_mut() = None;
        exchange.greenlet = OnceCell::new();
        exchange.upgrade = OnceCell::new();
        let Exchange { timed_out, ended, has_place, orphan, killed, listed, .. } = exchange;
        for flag in [timed_out, ended, has_place, orphan, killed, listed] {
            *flag.get_mut() = false;
        }
        exchange.untaken_since.set(0);
        (exchange.since, exchange.connect) = (since, connect);
        spare
    }

    pub(super) fn since(&self) -> Ticks {
        self.since
    }

    pub(super) fn untaken_since(&self) -> Ticks {
        self.untaken_since.get()
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    #[inline]
    fn answer(&self, response: http::Response<Outgoing>) {
        *self.answer.borrow_mut() = Some(response);
        self.wake();
    }

    pub(super) fn start(&self) {
        if let Some(greenlet) = self.greenlet.get() {
            greenlet.start();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub(super) fn is_orphan(&self) -> bool {
        self.orphan.get()
    }

    /// Ends the greenlet, wherever it waits.
    pub(super) fn kill(&self) {
        match self.greenlet.get() {
            Some(greenlet) => drop(greenlet.kill_with(Kill::error(GreenletExit).no_wait())),
            None => self.killed.set(true),
        }
    }

    /// Its greenlet has waited, or has not begun.
    fn is_run_by(&self, greenlet: GreenletRef) {
        let _ = self.greenlet.set(greenlet);
        if self.killed.get() {
            self.kill();
        }
    }

    /// Whether there is nothing more to be seen to than that the response is sent.
    fn is_settled(&self) -> bool {
        self.ended.get() && self.answer.borrow().as_ref().is_some_and(|response| response.body().is_whole())
    }

    /// Hands the connection over.
    pub(super) fn upgrade(&self, upgraded: Upgraded) {
        if let Some(upgrade) = self.upgrade.get() {
            upgrade.fulfill(upgraded);
        }
    }

    pub(super) fn cancel_upgrade(&self) {
        if let Some(upgrade) = self.upgrade.get() {
            upgrade.cancel();
        }
    }

    /// Waits for the end of the handler's greenlet.
    pub(super) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        if self.ended.get() {
            return Poll::Ready(());
        }
        self.task.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// It has had its time.
    pub(super) fn time_out(&self) {
        if !self.timed_out.replace(true) {
            self.kill();
            self.wake();
        }
    }
}

/// hyper's service: spawns a greenlet for each request.
pub(super) struct Exchanges<H> {
    pub(super) means: Rc<Means<H>>,
    pub(super) connection: Rc<Connection>,
}

/// What the exchanges of all connections of a hub need: behind one count, since each takes it and gives it back.
pub(super) struct Means<H> {
    pub(super) handler: Arc<H>,
    pub(super) settings: Settings,
}

impl<H: Handler> Service<http::Request<hyper::body::Incoming>> for Exchanges<H> {
    type Response = http::Response<Outgoing>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<hyper::body::Incoming>) -> Answer {
        let (connection, settings) = (&self.connection, &self.means.settings);
        let now = connection.clock.now();
        let count = connection.requests.get().saturating_add(1);
        connection.requests.set(count);
        connection.enter(Phase::Busy, now);
        let exchange = Exchange::of_next(connection.spare.take(), now, request.method() == Method::CONNECT);
        connection.open.set(connection.open.get() + 1);
        if connection.multiplexed.get() {
            connection.list(&exchange);
        }
        let finish = Finish {
            connection: connection.clone(),
            entry: Entry::begin(settings, connection, &request),
            exchange: exchange.clone(),
        };
        let last = settings.max_requests.is_some_and(|most| count >= most);
        let answer = Answer { disconnected: settings.disconnected, close: last, finish: Some(finish) };
        match refusal(&request, settings) {
            Some(status) => {
                connection.lingers.set(!request.body().is_end_stream());
                exchange.answer(refuse(status));
            }
            None => {
                *exchange.request.borrow_mut() = Some(request);
                self.begin(exchange);
            }
        }
        answer
    }
}

impl<H: Handler> Exchanges<H> {
    /// Has the handler called: now, or when there is a place.
    fn begin(&self, exchange: Rc<Exchange>) {
        let (means, connection) = (self.means.clone(), self.connection.clone());
        let at_work = AtWork { exchange: exchange.clone(), connection };
        let work = move || respond(&means, at_work);
        if !self.connection.crew.has_place(&exchange) {
            exchange.is_run_by((*Greenlet::new(work)).clone());
            self.connection.list(&exchange);
            return self.connection.crew.wait_for_place(exchange);
        }
        // Most handlers have their response at once: then hyper has it as soon as it asks.
        match spawn_inside(work) {
            Ok(None) => {}
            Ok(Some(greenlet)) => exchange.is_run_by(greenlet),
            Err(work) => {
                let greenlet = spawn(work);
                exchange.is_run_by((*greenlet).clone());
                self.connection.list(&exchange);
                yield_to(&greenlet);
                return;
            }
        }
        if !exchange.is_settled() {
            self.connection.list(&exchange);
            if self.connection.order.get() == Some(Order::GiveUp) {
                // It was not listed yet when all that were listed were killed.
                exchange.kill();
            }
        }
    }
}

/// The request as handlers know it.
#[inline(always)]
fn take_over(
    request: http::Request<hyper::body::Incoming>,
    settings: &Settings,
    connection: &Rc<Connection>,
    exchange: &Exchange,
) -> Request {
    // The head is moved once, and nothing else is done between taking it apart and putting it together.
    let (head, body) = request.into_parts();
    let mut request = http::Request::from_parts(head, Body::empty());
    request.body_mut().connection = Some(connection.clone());
    if request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>().is_some() {
        request.extensions_mut().insert(exchange.upgrade.get_or_init(OnUpgrade::new).clone());
    }
    if !body.is_end_stream() {
        let expects = request.headers().contains_key(header::EXPECT);
        let (limit, stall) = (settings.max_body, settings.body_timeout);
        let incoming = Incoming::new(body, expects, limit, stall, connection.clone());
        request.body_mut().kind = Kind::Incoming(Box::new(incoming));
    }
    request
}

/// What is refused without asking the handler.
fn refusal(request: &http::Request<hyper::body::Incoming>, settings: &Settings) -> Option<StatusCode> {
    let target = request.uri();
    if target.path_and_query().is_some_and(|whole| whole.as_str().len() > settings.max_uri) {
        return Some(StatusCode::URI_TOO_LONG);
    }
    // RFC 9112, section 3.2.
    if request.version() == Version::HTTP_11 && !has_one_host(request.headers()) {
        return Some(StatusCode::BAD_REQUEST);
    }
    let body = request.body().size_hint().lower();
    (body > settings.max_body).then_some(StatusCode::PAYLOAD_TOO_LARGE)
}

fn has_one_host(headers: &HeaderMap) -> bool {
    // There are few, and comparing names takes less than hashing one.
    headers.iter().filter(|(name, _)| **name == header::HOST).count() == 1
}

fn refuse(status: StatusCode) -> http::Response<Outgoing> {
    let mut response = plain(status);
    response.headers_mut().insert(header::CONNECTION, CLOSE);
    response
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A response whose text is its status.
fn plain(status: StatusCode) -> http::Response<Outgoing> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or("error"));
    let mut response = http::Response::new(Outgoing::new(Source::Bytes(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    response
}

/// Dropped when the handler's greenlet has ended, in whatever way, also before it ran.
struct AtWork {
    exchange: Rc<Exchange>,
    connection: Rc<Connection>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.exchange.ended.set(true);
        self.exchange.wake();
        self.connection.crew.leave(&self.exchange);
    }
}

/// The handler's greenlet.
fn respond<H: Handler>(means: &Means<H>, at_work: AtWork) {
    let exchange = &at_work.exchange;
    let Some(request) = exchange.request.take() else { return };
    let request = take_over(request, &means.settings, &at_work.connection, exchange);
    let bodiless = request.method() == Method::HEAD;
    let response = means.handler.handle(request);
    let bodiless = bodiless || has_no_body(response.status());
    let (head, body) = response.into_parts();
    let send = |source| exchange.answer(http::Response::from_parts(head, Outgoing::new(source)));
    match body.kind {
        Kind::Bytes(bytes) if bytes.is_empty() => send(Source::Empty),
        Kind::Bytes(bytes) => send(Source::Bytes(bytes)),
        Kind::Frames { frames, chunk } if chunk.is_empty() => send(Source::Frames(frames)),
        Kind::Upgrade { on_upgrade, run } => {
            send(Source::Empty);
            if let Ok(upgraded) = on_upgrade.wait() {
                run(upgraded);
            }
        }
        // Nobody would get what they write.
        Kind::Writer { length, .. } | Kind::Reader { length, .. } if bodiless => {
            send(length.map_or(Source::Empty, Source::Unsent));
        }
        Kind::Writer { write, length } => {
            let pipe = Pipe::new();
            send(Source::Pipe { pipe: pipe.clone(), length });
            produce(pipe, write);
        }
        kind => {
            let mut body = Body::of(kind);
            let pipe = Pipe::new();
            send(Source::Pipe { pipe: pipe.clone(), length: body.length() });
            produce(pipe, move |out| io::copy(&mut body, out).map(drop));
        }
    }
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes a body, and says how it ended.
fn produce(pipe: Rc<Pipe>, write: impl FnOnce(&mut BodyWriter) -> io::Result<()>) {
    /// Unless it finished, it failed: also when it is killed.
    struct Ended(Rc<Pipe>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.fail();
        }
    }
    let ended = Ended(pipe.clone());
    let mut out = BodyWriter { pipe: pipe.clone() };
    match write(&mut out) {
        Ok(()) => pipe.finish(),
        Err(_) if pipe.is_closed() => {}
        Err(error) => tracing::error!(target: "greenlet_net::http", "a response was cut off: {error}"),
    }
    drop(ended);
}

/// The future of a response.
pub(super) struct Answer {
    /// What is to be done when the response was sent. `None`: it is the body's matter now.
    finish: Option<Finish>,
    /// What becomes of the handler when its client has gone.
    disconnected: Disconnected,
    /// Whether this is the last response of the connection.
    close: bool,
}

impl Future for Answer {
    type Output = Result<http::Response<Outgoing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(finish) = &self.finish else { return Poll::Pending };
        let exchange = finish.exchange.clone();
        // It is changed where it is: moving it costs more than all of this.
        let mut answer = exchange.answer.borrow_mut();
        if answer.is_none() {
            *answer = Some(match () {
                () if exchange.timed_out.get() => refuse(StatusCode::SERVICE_UNAVAILABLE),
                () if exchange.ended.get() => refuse(StatusCode::INTERNAL_SERVER_ERROR),
                () => {
                    exchange.task.set(Some(context.waker().clone()));
                    return Poll::Pending;
                }
            });
        }
        if let (Some(response), Some(mut finish)) = (&mut *answer, self.finish.take()) {
            if self.close {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            finish.begin(response);
            response.body_mut().finish_with(finish);
        }
        answer.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(finish) = &self.finish {
            finish.exchange.cancel_upgrade();
            if self.disconnected == Disconnected::Kill {
                finish.exchange.kill();
            }
        }
    }
}

/// Notes the end of an exchange when it is dropped.
pub(super) struct Finish {
    connection: Rc<Connection>,
    exchange: Rc<Exchange>,
    entry: Option<Box<Entry>>,
}

impl Finish {
    fn begin(&mut self, response: &http::Response<Outgoing>) {
        self.exchange.untaken_since.set(self.connection.clock.now());
        if let Some(entry) = &mut self.entry {
            entry.status(response.status());
        }
        let status = response.status();
        let switches =
            status == StatusCode::SWITCHING_PROTOCOLS || self.exchange.connect && status.is_success();
        if switches && self.exchange.upgrade.get().is_some() {
            self.connection.upgrading.set(Some(self.exchange.clone()));
        } else {
            self.exchange.cancel_upgrade();
        }
    }

    /// Whether the request has had its time. If not, the task hears of it when it has.
    pub(super) fn poll_timed_out(&self, context: &Context<'_>) -> Poll<()> {
        if self.exchange.timed_out.get() {
            return Poll::Ready(());
        }
        self.exchange.task.set(Some(context.waker().clone()));
        Poll::Pending
    }

    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        self.exchange.untaken_since.set(self.connection.clock.now());
        if let Some(entry) = &mut self.entry {
            entry.sent(bytes);
        }
    }

    /// There is nothing to be sent at the moment.
    #[inline]
    pub(super) fn waits(&self) {
        self.exchange.untaken_since.set(0);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if self.exchange.listed.get() {
            self.connection.exchanges.borrow_mut().retain(|one| !Rc::ptr_eq(one, &self.exchange));
        }
        let open = self.connection.open.get() - 1;
        self.connection.open.set(open);
        if open == 0 && self.connection.phase.get() == Phase::Busy {
            self.connection.enter(Phase::Idle, self.connection.clock.now());
            self.connection.crew.may_rest(&self.connection);
        }
        if !self.exchange.ended.get() && self.exchange.greenlet.get().is_some() {
            self.exchange.orphan.set(true);
            self.connection.crew.orphan(&self.exchange);
            let orphaned = self.connection.orphaned.get() + 1;
            self.connection.orphaned.set(orphaned);
            if self.connection.multiplexed.get() && orphaned >= MOST_ORPHANED {
                self.connection.order(Order::GiveUp);
            }
        } else {
            self.connection.spare.set(Some(self.exchange.clone()));
        }
        if let Some(entry) = self.entry.take() {
            entry.write();
        }
    }
}
