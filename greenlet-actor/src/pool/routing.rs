//! Which worker gets a message.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a pool chooses the worker for a message that has no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Routing {
    /// One after another.
    #[default]
    RoundRobin,
    /// The one with the fewest messages in its mailbox; of equals one after another. Looks at all workers for each message.
    LeastMailbox,
    /// Any, evenly. The order follows from the number of messages sent, so a test that is repeated finds the same.
    Random,
}

/// What messages are hashed by.
pub(super) type KeyOf<M> = Arc<dyn Fn(&M) -> u64 + Send + Sync>;

pub(super) fn hash<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Jump consistent hash (Lamping and Veach, 2014): of `n` buckets growing by one, 1 in `n + 1` keys moves, to the new one.
pub(super) fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets as u64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let share = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * share) as u64;
    }
    bucket as usize
}

/// Where the choice begins.
#[derive(Default)]
pub(super) struct Turn(AtomicUsize);

impl Turn {
    /// The place of the next one of so many.
    pub(super) fn next(&self, of: usize) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) % of
    }

    /// splitmix64 of the number of the turn.
    pub(super) fn random(&self, of: usize) -> usize {
        let mut z = (self.0.fetch_add(1, Ordering::Relaxed) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % of as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0; 7];
        (0..70_000_u64).for_each(|key| counts[jump(hash(&key), 7)] += 1);
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_bucket_more_moves_keys_only_to_itself() {
        for buckets in 1..20 {
            for key in 0..1_000_u64 {
                let (before, after) = (jump(hash(&key), buckets), jump(hash(&key), buckets + 1));
                assert!(after == before || after == buckets);
            }
        }
    }
}
