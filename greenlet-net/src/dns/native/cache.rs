//! Answers that are still true.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::Instant;
use hickory_proto::rr::{Name, RecordType};
use lru::LruCache;

use super::answer::Answer;
use super::settings::Settings;
use crate::dns::ErrorKind;
use crate::dns::error::Cause;

/// The answer, or that there is none.
pub(super) type Outcome = Result<Arc<Answer>, Cause>;

/// What was found, and how long it may be remembered.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    pub(super) ttl: Duration,
}

/// Bounded: the least recently used answer makes room.
#[derive(Debug)]
pub(super) struct Cache {
    /// None for a size of zero.
    answers: Option<Mutex<LruCache<(Name, RecordType), Entry>>>,
    max_ttl: Duration,
    max_negative_ttl: Duration,
}

#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    /// None: never.
    expires: Option<Instant>,
}

impl Cache {
    pub(super) fn new(settings: &Settings) -> Cache {
        // Not made for all of them at once: it grows.
        let answers = NonZeroUsize::new(settings.cache_size).map(|size| {
            let mut cache = LruCache::unbounded();
            cache.resize(size);
            Mutex::new(cache)
        });
        Cache { answers, max_ttl: settings.max_ttl, max_negative_ttl: settings.max_negative_ttl }
    }

    pub(super) fn get(&self, key: &(Name, RecordType), now: Instant) -> Option<Outcome> {
        let mut answers = lock(self.answers.as_ref()?);
        let entry = answers.get(key)?;
        if entry.expires.is_some_and(|expires| expires <= now) {
            answers.pop(key);
            return None;
        }
        Some(entry.outcome.clone())
    }

    /// Remembers it, if it is worth that: failures of servers are not.
    pub(super) fn put(&self, key: (Name, RecordType), found: &Found, now: Instant) {
        let Some(answers) = &self.answers else { return };
        let limit = match &found.outcome {
            Ok(_) => self.max_ttl,
            Err(cause) if matches!(cause.kind, ErrorKind::NotFound | ErrorKind::NoData) => {
                self.max_negative_ttl
            }
            Err(_) => return,
        };
        let ttl = found.ttl.min(limit);
        if ttl.is_zero() {
            return;
        }
        let entry = Entry { outcome: found.outcome.clone(), expires: now.checked_add(ttl) };
        lock(answers).put(key, entry);
    }

    pub(super) fn clear(&self) {
        if let Some(answers) = &self.answers {
            lock(answers).clear();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.as_ref().map_or(0, |answers| lock(answers).len())
    }
}

/// Nothing under the lock panics halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> (Name, RecordType) {
        (Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn found(seconds: u64) -> Found {
        let answer = Answer { aliases: vec![], canonical: Name::root(), data: vec![] };
        Found { outcome: Ok(Arc::new(answer)), ttl: Duration::from_secs(seconds) }
    }

    fn nothing(kind: ErrorKind, seconds: u64) -> Found {
        Found { outcome: Err(kind.into()), ttl: Duration::from_secs(seconds) }
    }

    fn cache(size: usize) -> Cache {
        Cache::new(&Settings { cache_size: size, ..Settings::default() })
    }

    #[test]
    fn an_answer_lives_as_long_as_it_says() {
        let (cache, start) = (cache(8), Instant::now());
        cache.put(key("a."), &found(10), start);
        assert!(cache.get(&key("A."), start + Duration::from_millis(9999)).is_some());
        assert!(cache.get(&key("a."), start + Duration::from_secs(10)).is_none());
        assert_eq!(cache.len(), 0, "what is over makes room");
    }

    #[test]
    fn lives_have_an_upper_limit() {
        let (cache, start) = (cache(8), Instant::now());
        cache.put(key("a."), &found(u64::MAX), start);
        cache.put(key("b."), &nothing(ErrorKind::NotFound, u64::MAX), start);
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        assert!(cache.get(&key("b."), start + (hour - Duration::from_secs(1))).is_some());
        assert!(cache.get(&key("b."), start + hour).is_none());
        assert!(cache.get(&key("a."), start + hour).is_some());
        assert!(cache.get(&key("a."), start + day).is_none());
    }

    #[test]
    fn the_least_recently_used_answer_makes_room() {
        let (cache, now) = (cache(2), Instant::now());
        cache.put(key("a."), &found(10), now);
        cache.put(key("b."), &found(10), now);
        assert!(cache.get(&key("a."), now).is_some());
        cache.put(key("c."), &found(10), now);
        assert!(cache.get(&key("b."), now).is_none());
        assert!(cache.get(&key("a."), now).is_some() && cache.get(&key("c."), now).is_some());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn what_is_not_worth_it_is_not_remembered() {
        let (none, some, now) = (cache(0), cache(8), Instant::now());
        none.put(key("a."), &found(10), now);
        assert!(none.get(&key("a."), now).is_none());
        some.put(key("a."), &found(0), now);
        some.put(key("b."), &nothing(ErrorKind::Temporary, 10), now);
        some.put(key("c."), &nothing(ErrorKind::TimedOut, 10), now);
        assert_eq!(some.len(), 0);
    }
}
