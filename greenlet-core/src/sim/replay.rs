//! Naming one run, for the message of a failure and for `GREENLET_SEED`.

use std::fmt;

use crate::hub::{Fault, Injection, Moment, Settings};

/// What `GREENLET_SEED` says: `seed`, or `seed:point:moment:fault`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Replay {
    pub(super) seed: Option<u64>,
    pub(super) fault: Option<Injection>,
}

const MOMENTS: [(&str, Moment); 4] = [
    ("entering", Moment::Entering),
    ("soon", Moment::Soon),
    ("idle", Moment::Idle),
    ("waking", Moment::Waking),
];
const FAULTS: [(&str, Fault); 3] =
    [("kill", Fault::Kill), ("timeout", Fault::Timeout), ("error", Fault::Error)];

impl Replay {
    pub(super) fn from_env() -> Replay {
        let Ok(text) = std::env::var("GREENLET_SEED") else { return Replay::default() };
        match Replay::parse(&text) {
            Some(replay) => replay,
            None => {
                panic!("GREENLET_SEED is {text:?}; expected a number, or what a failed simulation printed")
            }
        }
    }

    fn parse(text: &str) -> Option<Replay> {
        let mut parts = text.trim().split(':');
        let seed = Some(parts.next()?.parse().ok()?);
        let Some(point) = parts.next() else { return Some(Replay { seed, fault: None }) };
        let point = point.parse().ok()?;
        let (moment, fault) = (parts.next()?, parts.next()?);
        let moment = MOMENTS.iter().find(|(name, _)| *name == moment)?.1;
        let fault = FAULTS.iter().find(|(name, _)| *name == fault)?.1;
        parts.next().is_none().then_some(Replay { seed, fault: Some(Injection { point, moment, fault }) })
    }

    /// The run with these settings.
    pub(super) fn of(settings: &Settings) -> Replay {
        Replay { seed: Some(settings.seed), fault: settings.plan }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.plan = self.fault.or(settings.plan);
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed.unwrap_or_default())?;
        let Some(Injection { point, moment, fault }) = self.fault else { return Ok(()) };
        let moment = MOMENTS.iter().find(|(_, other)| *other == moment).map_or("", |(name, _)| name);
        let fault = FAULTS.iter().find(|(_, other)| *other == fault).map_or("", |(name, _)| name);
        write!(f, ":{point}:{moment}:{fault}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_back() {
        for fault in [None, Some(Injection { point: 12, moment: Moment::Waking, fault: Fault::Timeout })] {
            let replay = Replay { seed: Some(7), fault };
            assert_eq!(Replay::parse(&replay.to_string()), Some(replay));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "1:2", "1:2:waking", "1:2:never:kill", "1:2:idle:kill:3"] {
            assert_eq!(Replay::parse(text), None, "{text:?}");
        }
    }
}
