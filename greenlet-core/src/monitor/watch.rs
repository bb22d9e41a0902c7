//! Decides whether a hub is blocked, from looks at it now and then.

use std::time::{Duration, Instant};

/// What is remembered of a hub between two looks.
#[derive(Debug)]
pub(super) struct Watch {
    progress: u64,
    /// When this progress was first seen.
    since: Instant,
    /// Blocked for so long it is reported next.
    report_at: Duration,
    /// Whether this episode has been reported.
    reported: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fine,
    /// It is time to report: nothing has happened for so long.
    Blocked(Duration),
    /// It was reported as blocked, and goes on: it took about so long.
    Over(Duration),
}

/// Whether it would matter if the hub were blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mind {
    Blocking,
    /// It sleeps in its poller, nobody waits for it, or it was asked for.
    Nothing,
}

impl Watch {
    pub(super) fn new(progress: u64, now: Instant, limit: Duration) -> Watch {
        Watch { progress, since: now, report_at: limit, reported: false }
    }

    pub(super) fn look(&mut self, progress: u64, mind: Mind, now: Instant, limit: Duration) -> Verdict {
        let waited = now.saturating_duration_since(self.since);
        if progress != self.progress || mind == Mind::Nothing {
            let reported = self.reported;
            *self = Watch::new(progress, now, limit);
            return if reported { Verdict::Over(waited) } else { Verdict::Fine };
        }
        if waited < self.report_at.max(limit) { Verdict::Fine } else { Verdict::Blocked(waited) }
    }

    /// It was reported: the next time is when it has lasted for four times as long.
    pub(super) fn reported(&mut self, waited: Duration) {
        self.reported = true;
        self.report_at = waited.saturating_mul(4);
    }

    /// It is not to be reported, as long as nothing else happens.
    pub(super) fn tolerate(&mut self) {
        self.report_at = Duration::MAX;
    }

    /// The monitor itself did not run for so long: that is not the hub's fault.
    pub(super) fn overslept(&mut self, by: Duration, now: Instant) {
        self.since = (self.since + by).min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn no_progress_for_longer_than_the_limit_is_reported() {
        let start = Instant::now();
        let mut watch = Watch::new(7, start, LIMIT);
        assert_eq!(watch.look(7, Mind::Blocking, start + 99 * MS, LIMIT), Verdict::Fine);
        assert_eq!(watch.look(7, Mind::Blocking, start + 100 * MS, LIMIT), Verdict::Blocked(LIMIT));
    }

    #[test]
    fn reports_of_one_episode_become_rare() {
        let start = Instant::now();
        let mut watch = Watch::new(7, start, LIMIT);
        let mut reports = Vec::new();
        for tick in 1..200 {
            if let Verdict::Blocked(waited) = watch.look(7, Mind::Blocking, start + tick * 50 * MS, LIMIT) {
                watch.reported(waited);
                reports.push(waited.as_millis());
            }
        }
        assert_eq!(reports, [100, 400, 1600, 6400]);
        assert_eq!(watch.look(8, Mind::Blocking, start + 10_000 * MS, LIMIT), Verdict::Over(10_000 * MS));
        // The next episode is a new one.
        assert_eq!(watch.look(8, Mind::Blocking, start + 10_100 * MS, LIMIT), Verdict::Blocked(LIMIT));
    }

    #[test]
    fn progress_begins_anew() {
        let start = Instant::now();
        let mut watch = Watch::new(0, start, LIMIT);
        for tick in 1..100 {
            assert_eq!(watch.look(tick, Mind::Blocking, start + tick as u32 * 90 * MS, LIMIT), Verdict::Fine);
        }
    }

    #[test]
    fn sleep_is_not_blocking_and_does_not_count_afterwards() {
        let start = Instant::now();
        let mut watch = Watch::new(0, start, LIMIT);
        assert_eq!(watch.look(0, Mind::Nothing, start + 1000 * MS, LIMIT), Verdict::Fine);
        assert_eq!(watch.look(0, Mind::Blocking, start + 1050 * MS, LIMIT), Verdict::Fine);
        assert_eq!(watch.look(0, Mind::Blocking, start + 1100 * MS, LIMIT), Verdict::Blocked(LIMIT));
    }

    #[test]
    fn what_is_tolerated_is_not_reported_until_something_happens() {
        let start = Instant::now();
        let mut watch = Watch::new(0, start, LIMIT);
        assert_eq!(watch.look(0, Mind::Blocking, start + LIMIT, LIMIT), Verdict::Blocked(LIMIT));
        watch.tolerate();
        assert_eq!(watch.look(0, Mind::Blocking, start + 1000 * LIMIT, LIMIT), Verdict::Fine);
        assert_eq!(watch.look(1, Mind::Blocking, start + 1001 * LIMIT, LIMIT), Verdict::Fine);
        assert_eq!(watch.look(1, Mind::Blocking, start + 1002 * LIMIT, LIMIT), Verdict::Blocked(LIMIT));
    }

    #[test]
    fn the_monitors_own_sleep_is_not_held_against_the_hub() {
        let start = Instant::now();
        let mut watch = Watch::new(0, start, LIMIT);
        watch.overslept(1000 * MS, start + 1050 * MS);
        assert_eq!(watch.look(0, Mind::Blocking, start + 1050 * MS, LIMIT), Verdict::Fine);
        watch.overslept(Duration::from_secs(1000), start + 1050 * MS);
        assert_eq!(watch.look(0, Mind::Blocking, start + 1100 * MS, LIMIT), Verdict::Fine);
    }
}
