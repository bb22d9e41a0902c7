//! The one place where failures arrive that nobody has to ask for: gevent's `hub.handle_error`.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::Hub;
use crate::failure::Failure;
use crate::greenlet::GreenletRef;
use crate::report;

/// What failed: see [`Hub::set_error_handler`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorContext {
    /// This greenlet. The failure is kept for [`Greenlet::get`](crate::Greenlet::get) too.
    Greenlet(GreenletRef),
    /// A callback of the loop: of a link, or of [`run_callback`](crate::watcher::run_callback).
    Callback,
    /// A task of an [`Executor`](crate::future::Executor).
    Task,
    /// Something that a library runs on greenlets, in its words: an actor, with its name and where it was spawned.
    Other(Arc<str>),
    /// The callback of a [watcher](crate::watcher), which goes on.
    Watcher {
        /// Which: `timer`, `io` ...
        kind: &'static str,
        /// Where it was made.
        made_at: &'static Location<'static>,
    },
}

pub(super) type ErrorHandler = Rc<dyn Fn(&ErrorContext, &Failure)>;

impl ErrorContext {
    /// What happens where no handler is set: reports the failure through `tracing`, at error level.
    pub fn report(&self, failure: &Failure) {
        let reported = report::contain(|| match self {
            ErrorContext::Greenlet(greenlet) => {
                let site = greenlet.spawn_site();
                tracing::error!(target: "greenlet", greenlet = %greenlet, spawned_at = %site, "failed: {failure}");
            }
            context => tracing::error!(target: "greenlet", "{context} failed: {failure}"),
        });
        if !reported {
            report::error(format_args!("{self} failed, and the report of it panicked"));
        }
    }
}

impl fmt::Display for ErrorContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorContext::Greenlet(greenlet) => greenlet.fmt(f),
            ErrorContext::Callback => f.write_str("a callback of the loop"),
            ErrorContext::Task => f.write_str("a task"),
            ErrorContext::Other(what) => f.write_str(what),
            ErrorContext::Watcher { kind, made_at } => {
                write!(f, "the callback of the {kind} watcher of {made_at}")
            }
        }
    }
}

impl Hub {
    /// Calls `handler` for everything that fails on this thread's hub, instead of the report through `tracing`: greenlets, and
    /// callbacks of the loop. Once for each failure, also if it ends several greenlets; a kill is none.
    ///
    /// A greenlet's failure is handled on the greenlet's stack before anybody sees that it has ended, a callback's in the loop.
    /// The handler must not wait. If it panics, that is reported, and the failure as without a handler; the hub and what the
    /// greenlet ended with are as they would be.
    ///
    /// ```
    /// use greenlet_core::{Hub, spawn};
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// let seen = Rc::new(RefCell::new(Vec::new()));
    /// Hub::set_error_handler({
    ///     let seen = seen.clone();
    ///     move |context, failure| seen.borrow_mut().push(format!("{context}: {failure}"))
    /// });
    /// assert!(spawn(|| panic!("out of paper")).get().is_err());
    /// assert!(seen.borrow()[0].contains("out of paper"));
    /// Hub::reset_error_handler();
    /// ```
    #[track_caller]
    pub fn set_error_handler(handler: impl Fn(&ErrorContext, &Failure) + 'static) {
        let previous = Hub::current_hub().error_handler.replace(Some(Rc::new(handler)));
        drop(previous);
    }

    /// Takes the handler away: failures are reported through `tracing` again.
    pub fn reset_error_handler() {
        if let Some(hub) = Hub::try_current() {
            let previous = hub.error_handler.take();
            drop(previous);
        }
    }

    /// Something failed. Does not unwind.
    #[cold]
    pub(crate) fn handle_error(&self, context: &ErrorContext, failure: &Failure) {
        if !failure.claim_report() {
            return;
        }
        if failure.is_panic()
            && let Some(simulation) = self.simulation()
        {
            match context {
                ErrorContext::Greenlet(greenlet) => {
                    simulation
                        .note_panic(format!("{greenlet}, spawned at {}, {failure}", greenlet.spawn_site()));
                }
                ErrorContext::Other(what) => simulation.note_panic(format!("{what}, {failure}")),
                _ => {}
            }
        }
        let handler = self.error_handler.borrow().clone();
        let Some(handler) = handler else {
            return context.report(failure);
        };
        if !report::contain(|| handler(context, failure)) {
            report::error(format_args!("the error handler of hub {} panicked", self.shared.id));
            context.report(failure);
        }
        // It may have been taken away meanwhile, and then this is the last of it.
        report::contain(|| drop(handler));
    }
}
