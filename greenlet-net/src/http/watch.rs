//! Who is too slow: a look at all connections of a hub, now and then.
//!
//! A timer for each connection and request would cost something with each of them. Here a request only notes the tick in which it came,
//! and a look at ten thousand connections takes less than a millisecond. So limits are kept with the precision of a tick.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, Order, Phase, Ticks};
use super::settings::Settings;

/// The ticks of a hub's watch, which begin with 1.
#[derive(Clone)]
pub(super) struct Clock(Rc<Cell<Ticks>>);

impl Clock {
    pub(super) fn new() -> Clock {
        Clock(Rc::new(Cell::new(1)))
    }

    pub(super) fn now(&self) -> Ticks {
        self.0.get()
    }

    pub(super) fn tick(&self) {
        self.0.set(self.0.get().wrapping_add(1).max(1));
    }
}

/// The limits, in ticks.
pub(super) struct Limits {
    pub(super) tick: Duration,
    /// How many ticks are between two looks at all connections.
    pub(super) round: Ticks,
    idle: Option<Ticks>,
    head: Option<Ticks>,
    request: Option<Ticks>,
    write: Option<Ticks>,
    closing: Ticks,
}

/// How long the rest of what a client sends is awaited, which would otherwise reset the connection and with it the response.
const CLOSING: Duration = Duration::from_secs(2);
/// Also half of how soon a connection that waits gives memory back.
const LONGEST_TICK: Duration = Duration::from_millis(50);
/// How often all connections are looked at, at least.
const LONGEST_ROUND: Duration = Duration::from_millis(250);
const SHORTEST_TICK: Duration = Duration::from_millis(5);

impl Limits {
    pub(super) fn new(settings: &Settings) -> Limits {
        let all =
            [settings.keep_alive, settings.header_timeout, settings.request_timeout, settings.write_timeout];
        let shortest = all.into_iter().flatten().min().unwrap_or(Duration::MAX);
        let tick = (shortest / 8).clamp(SHORTEST_TICK, LONGEST_TICK);
        let round = (shortest / 8).clamp(tick, LONGEST_ROUND);
        // One more: the tick that it began in was under way.
        let ticks = |limit: Duration| -> Ticks {
            let ticks = limit.as_nanos().div_ceil(tick.as_nanos()) + 1;
            ticks.try_into().unwrap_or(Ticks::MAX / 2).min(Ticks::MAX / 2)
        };
        Limits {
            tick,
            round: Ticks::try_from(round.as_nanos() / tick.as_nanos()).unwrap_or(1).max(1),
            idle: settings.keep_alive.map(ticks),
            head: settings.header_timeout.map(ticks),
            request: settings.request_timeout.map(ticks),
            write: settings.write_timeout.map(ticks),
            closing: ticks(CLOSING),
        }
    }

    /// Looks at one connection.
    pub(super) fn check(&self, connection: &Connection, now: Ticks) {
        let over =
            |since: Ticks, limit: Option<Ticks>| limit.is_some_and(|limit| now.wrapping_sub(since) >= limit);
        let stuck = connection.stuck_since.get();
        if stuck != 0 && over(stuck, self.write) {
            return connection.order(Order::GiveUp);
        }
        let since = connection.since.get();
        let too_slow = match connection.phase.get() {
            Phase::Idle => over(since, self.idle),
            Phase::Head => over(since, self.head),
            Phase::Closing => over(since, Some(self.closing)),
            Phase::Busy => {
                if self.request.is_some() {
                    let exchanges = connection.exchanges.borrow();
                    exchanges
                        .iter()
                        .filter(|one| over(one.since(), self.request))
                        .for_each(|one| one.time_out());
                }
                // In HTTP/2 the client says how much of each response it takes: it is too slow when it takes nothing of any.
                connection.multiplexed.get()
                    && connection.exchanges.borrow().iter().all(|one| {
                        let untaken = one.untaken_since();
                        untaken != 0 && over(untaken, self.write)
                    })
            }
        };
        if too_slow {
            connection.order(Order::GiveUp);
        }
    }
}
