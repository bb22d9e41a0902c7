//! Fails when code that should let others run does not.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::greenlet::{GreenletRef, current};
use crate::hub::{Hub, HubRef, Switch};

/// Checks that a block of code lets other greenlets run; see [`assert_switches`].
///
/// ```
/// use greenlet_core::{monitor::AssertSwitches, sleep};
/// use std::time::Duration;
///
/// AssertSwitches::default().max_blocking_time(Duration::from_secs(5)).run(|| {
///     for _ in 0..10 {
///         sleep(Duration::from_millis(1));
///     }
/// });
/// ```
#[derive(Clone, Debug, Default)]
pub struct AssertSwitches {
    limit: Option<Duration>,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum What {
    #[default]
    Switches,
    Turns,
}

/// Runs `f` and fails if no switch of greenlets took place meanwhile: a block that is meant to be cooperative was not.
/// For tests. [`AssertSwitches`] also limits the time between two switches.
///
/// # Panics
/// When nothing switched. A panic or raise of `f` goes on as it is.
///
/// ```
/// use greenlet_core::{monitor::assert_switches, yield_now};
///
/// let value = assert_switches(|| {
///     yield_now();
///     7
/// });
/// assert_eq!(value, 7);
/// ```
#[track_caller]
pub fn assert_switches<R>(f: impl FnOnce() -> R) -> R {
    AssertSwitches::default().run(f)
}

/// Who ran for how long without a switch.
struct Watch {
    what: What,
    hub: HubRef,
    turns: u64,
    /// Since when a greenlet runs, if one does, and how long greenlets ran before it since what counts took place.
    since: Option<Instant>,
    before: Duration,
    limit: Duration,
    worst: Option<Worst>,
}

struct Worst {
    time: Duration,
    greenlet: GreenletRef,
    /// Where it stopped at last.
    place: String,
}

impl AssertSwitches {
    /// Fails too if any greenlet of this thread runs for longer than that at a stretch before it waits, yields or ends.
    pub fn max_blocking_time(mut self, limit: Duration) -> AssertSwitches {
        self.limit = Some(limit);
        self
    }

    /// Counts turns of the hub's loop rather than switches: I/O, timers and other threads' messages must get their turn,
    /// which switches between greenlets that are ready give them every now and then only.
    pub fn hub_only(mut self) -> AssertSwitches {
        self.what = What::Turns;
        self
    }

    /// Runs `f` and returns what it returns. Such blocks may be nested.
    ///
    /// # Panics
    /// As the settings say. A panic or raise of `f` goes on as it is.
    #[track_caller]
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let shared = Hub::current_hub().shared.clone();
        let before = self.count(&shared);
        let watch = self.limit.map(|limit| {
            let watch = Rc::new(RefCell::new(Watch {
                what: self.what,
                hub: shared.clone(),
                turns: shared.vitals.turns.get(),
                since: Some(Instant::now()),
                before: Duration::ZERO,
                limit,
                worst: None,
            }));
            let seen = watch.clone();
            (watch, Hub::add_switch_hook(move |switch| seen.borrow_mut().note(switch)))
        });
        let result = f();
        let switched = self.count(&shared) != before;
        let worst = watch.and_then(|(watch, hook)| {
            drop(hook);
            let mut watch = watch.borrow_mut();
            watch.stopped(&current(), || "the end of the block".into());
            watch.worst.take()
        });
        if let Some(Worst { time, greenlet, place }) = worst {
            let limit = self.limit.unwrap_or_default();
            panic!(
                "{greenlet}, spawned at {}, ran for {time:.3?} without {}, longer than {limit:.3?}; it stopped at {place}",
                greenlet.spawn_site(),
                self.what.name(),
            );
        }
        if !switched {
            panic!(
                "{}, spawned at {}, ran through a block without {}",
                current(),
                current().spawn_site(),
                self.what.name()
            );
        }
        result
    }

    fn count(&self, hub: &HubRef) -> u64 {
        match self.what {
            What::Switches => hub.vitals.switches.get().wrapping_add(hub.vitals.main_waits.get()),
            What::Turns => hub.vitals.turns.get(),
        }
    }
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Switches => "a switch",
            What::Turns => "a turn of the hub's loop",
        }
    }
}

impl Watch {
    fn note(&mut self, switch: Switch<'_>) {
        if let Some(greenlet) = switch.from {
            self.stopped(greenlet, || {
                let mut place = String::from("the end of the greenlet");
                if let Ok(trace) = greenlet.backtrace() {
                    place.clear();
                    let _ = write!(place, "\n{trace}");
                }
                place
            });
        }
        if switch.to.is_some() {
            self.since = Some(Instant::now());
        }
    }

    fn stopped(&mut self, greenlet: &GreenletRef, place: impl FnOnce() -> String) {
        let Some(since) = self.since.take() else { return };
        let turns = self.hub.vitals.turns.get();
        if self.what == What::Switches || turns != self.turns {
            self.turns = turns;
            self.before = Duration::ZERO;
        }
        self.before += since.elapsed();
        let most = self.worst.as_ref().map_or(self.limit, |worst| worst.time);
        if self.before > most {
            self.worst = Some(Worst { time: self.before, greenlet: greenlet.clone(), place: place() });
        }
    }
}
