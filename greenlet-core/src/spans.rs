//! `tracing` keeps the entered spans per thread. A greenlet that suspends inside a span must keep it to itself: its
//! spans are left when it is switched out, and entered again, in order, when it comes back.

use tracing::{Id, dispatcher};

/// The spans that a suspended greenlet is inside of, outermost last. They stay open: whoever entered them holds them.
#[derive(Default)]
pub(crate) struct Spans(Vec<Id>);

/// A subscriber that ignores `exit` would otherwise keep `leave` busy for ever.
const MOST: usize = 1024;

impl Spans {
    /// Leaves all spans of the thread.
    pub(crate) fn leave() -> Spans {
        let mut spans = Vec::new();
        if dispatcher::has_been_set() {
            dispatcher::get_default(|dispatch| {
                while spans.len() < MOST
                    && let Some(id) = dispatch.current_span().id()
                {
                    dispatch.exit(id);
                    spans.push(id.clone());
                }
            });
        }
        Spans(spans)
    }

    /// Enters them again.
    pub(crate) fn enter(self) {
        if !self.0.is_empty() {
            dispatcher::get_default(|dispatch| self.0.iter().rev().for_each(|id| dispatch.enter(id)));
        }
    }
}
