//! Keys, and what they are looked up by.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

/// What can be a name: anything that can be hashed, compared, cloned and shown. Its methods must not wait.
pub trait Key: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static> Key for K {}

mod sealed {
    pub trait Sealed<K> {}
}

/// What a key of type `K` can be looked up by: `K` itself, or what it lends, as `str` for a `String`.
pub trait Lookup<K>: sealed::Sealed<K> + Hash {
    #[doc(hidden)]
    fn find<'map, V>(&self, map: &'map HashMap<K, V>) -> Option<&'map V>;
    #[doc(hidden)]
    fn take<V>(&self, map: &mut HashMap<K, V>) -> Option<(K, V)>;
}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized> sealed::Sealed<K> for Q {}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized> Lookup<K> for Q {
    #[inline]
    fn find<'map, V>(&self, map: &'map HashMap<K, V>) -> Option<&'map V> {
        map.get(self)
    }

    fn take<V>(&self, map: &mut HashMap<K, V>) -> Option<(K, V)> {
        map.remove_entry(self)
    }
}

/// A number that spreads keys over shards. It need not be good, only cheap: within its shard a key is hashed again.
#[inline]
pub(super) fn spread<Q: Hash + ?Sized>(key: &Q) -> usize {
    let mut spread = Spread(0);
    key.hash(&mut spread);
    (spread.0 >> 32) as usize
}

struct Spread(u64);

impl Spread {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Spread {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.add(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.add(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
