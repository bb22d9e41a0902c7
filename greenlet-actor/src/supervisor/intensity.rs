//! How many restarts are too many.

use std::collections::VecDeque;
use std::time::Duration;

use greenlet_core::Instant;

/// At most `intensity` restarts in any `period`.
#[derive(Debug)]
pub(crate) struct Intensity {
    intensity: usize,
    period: Duration,
    restarts: VecDeque<Instant>,
}

impl Intensity {
    pub(crate) fn new(intensity: usize, period: Duration) -> Intensity {
        Intensity { intensity, period, restarts: VecDeque::new() }
    }

    /// Counts a restart; false if that is one too many.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.intensity == usize::MAX {
            return true; // nobody counts so far
        }
        while self.restarts.front().is_some_and(|&at| now.duration_since(at) > self.period) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        // More than one too many need not be remembered.
        if self.restarts.len() > self.intensity.saturating_add(1) {
            self.restarts.pop_front();
        }
        self.restarts.len() <= self.intensity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_within_the_period_are_counted() {
        let start = Instant::now();
        let mut intensity = Intensity::new(2, Duration::from_secs(5));
        assert!(intensity.allows(start));
        assert!(intensity.allows(start + Duration::from_secs(1)));
        assert!(!intensity.allows(start + Duration::from_secs(2)));
    }

    #[test]
    fn old_restarts_are_forgotten() {
        let start = Instant::now();
        let mut intensity = Intensity::new(1, Duration::from_secs(5));
        assert!((0..10).all(|n| intensity.allows(start + Duration::from_secs(6 * n))));
    }

    #[test]
    fn an_intensity_of_zero_allows_no_restart() {
        assert!(!Intensity::new(0, Duration::from_secs(5)).allows(Instant::now()));
    }
}
