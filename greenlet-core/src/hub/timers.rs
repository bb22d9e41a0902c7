//! The timers of one hub: an indexed 4-ary heap.
//!
//! Deadlines come out in the order (deadline, insertion), to the nanosecond. Cancelling is O(log n) in the worst
//! case and O(1) in the common one: the timeout of a call that succeeded lies near the leaves, and filling its
//! place from the end moves nothing.
//!
//! Most timeouts of waits never come: what is waited for comes first, often before the loop looks at the clock again. So a wait says only how long
//! it wants to wait (`insert_later`), and the timer gets its deadline, and its place in the heap, when the loop next looks at the clock
//! (`settle`). It is late by at most the time between two looks.

use std::time::Duration;

use super::clock::Nanos;

/// Names a timer in its heap. A key of a timer that fired or was cancelled matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
pub(crate) struct TimerHeap<T> {
    heap: Vec<Entry>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    sequence: u64,
    /// Those without a deadline yet; some of them may be cancelled already.
    fresh: Vec<(TimerKey, Duration)>,
    /// How many of them are not.
    fresh_alive: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: Nanos,
    sequence: u64,
    slot: u32,
}

impl Entry {
    fn before(&self, other: &Entry) -> bool {
        (self.deadline, self.sequence) < (other.deadline, other.sequence)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    position: u32,
    value: Option<T>,
}

const ARITY: usize = 4;

/// The position of a timer that is not in the heap yet.
const FRESH: u32 = u32::MAX;

impl<T> TimerHeap<T> {
    pub(crate) const fn new() -> TimerHeap<T> {
        TimerHeap {
            heap: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            fresh: Vec::new(),
            fresh_alive: 0,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len() + self.fresh_alive
    }

    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.heap.first().map(|entry| entry.deadline)
    }

    pub(crate) fn insert(&mut self, deadline: Nanos, value: T) -> TimerKey {
        let key = self.occupy(value, 0);
        self.enter(deadline, key.slot);
        key
    }

    /// A timer whose time begins at the next [`settle`](TimerHeap::settle).
    #[inline]
    pub(crate) fn insert_later(&mut self, after: Duration, value: T) -> TimerKey {
        let key = self.occupy(value, FRESH);
        // Cancelled ones are left behind; where waits come and go, this does not grow.
        while self.fresh.last().is_some_and(|(last, _)| !self.contains(*last)) {
            self.fresh.pop();
        }
        self.fresh.push((key, after));
        self.fresh_alive += 1;
        key
    }

    /// Whether there are timers without a deadline.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Gives those their deadlines, counted from `now`.
    pub(crate) fn settle(&mut self, now: Nanos) {
        // Keeps its room for the next ones.
        let mut fresh = std::mem::take(&mut self.fresh);
        for (key, after) in fresh.drain(..) {
            if self.contains(key) {
                let deadline = now.checked_add(after).unwrap_or(Nanos(u64::MAX));
                self.enter(deadline, key.slot);
            }
        }
        self.fresh = fresh;
        self.fresh_alive = 0;
    }

    #[inline]
    fn occupy(&mut self, value: T, position: u32) -> TimerKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers");
                self.slots.push(Slot { generation: 0, position: 0, value: None });
                slot
            }
        };
        let occupied = &mut self.slots[slot as usize];
        occupied.value = Some(value);
        occupied.position = position;
        TimerKey { slot, generation: occupied.generation }
    }

    fn enter(&mut self, deadline: Nanos, slot: u32) {
        self.sequence += 1;
        self.heap.push(Entry { deadline, sequence: self.sequence, slot });
        self.sift_up(self.heap.len() - 1);
    }

    /// Cancels a timer; `None` when it already fired or was cancelled.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        if !self.contains(key) {
            return None;
        }
        match self.slots[key.slot as usize].position {
            FRESH => {
                self.fresh_alive -= 1;
                self.vacate(key.slot)
            }
            position => Some(self.take(position as usize)),
        }
    }

    /// Whether the timer has neither fired nor been cancelled.
    pub(crate) fn contains(&self, key: TimerKey) -> bool {
        let slot = self.slots.get(key.slot as usize);
        slot.is_some_and(|slot| slot.generation == key.generation && slot.value.is_some())
    }

    /// The first timer whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<T> {
        (self.next_deadline()? <= now).then(|| self.take(0))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.value)
    }

    fn take(&mut self, position: usize) -> T {
        let entry = self.heap.swap_remove(position);
        if position < self.heap.len() {
            // What came from the end may belong above or below its new place.
            let moved = self.sift_down(position);
            self.sift_up(moved);
        }
        self.vacate(entry.slot).expect("a timer in the heap has its value")
    }

    #[inline]
    fn vacate(&mut self, at: u32) -> Option<T> {
        let slot = &mut self.slots[at as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(at);
        slot.value.take()
    }

    fn place(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.slots[entry.slot as usize].position = position as u32;
    }

    fn sift_up(&mut self, mut position: usize) -> usize {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, entry);
        position
    }

    fn sift_down(&mut self, mut position: usize) -> usize {
        let entry = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.reduce(|a, b| if self.heap[b].before(&self.heap[a]) { b } else { a })
            else {
                break;
            };
            if !self.heap[least].before(&entry) {
                break;
            }
            self.place(position, self.heap[least]);
            position = least;
        }
        self.place(position, entry);
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_deadlines_fire_in_the_order_of_insertion() {
        let mut timers = TimerHeap::new();
        for n in 0..20 {
            timers.insert(Nanos(5), n);
        }
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(Nanos(5))).collect();
        assert_eq!(fired, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_key_outlives_its_timer_harmlessly() {
        let mut timers = TimerHeap::new();
        let old = timers.insert(Nanos(1), 'a');
        assert_eq!(timers.pop_due(Nanos(1)), Some('a'));
        let new = timers.insert(Nanos(2), 'b');
        assert_eq!(timers.remove(old), None);
        assert_eq!(timers.remove(new), Some('b'));
        assert_eq!(timers.remove(new), None);
        assert_eq!(timers.next_deadline(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        InsertLater(u64),
        Settle,
        Remove(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..100u64).prop_map(Step::Insert),
            (0..100u64).prop_map(Step::InsertLater),
            Just(Step::Settle),
            (0..200usize).prop_map(Step::Remove),
            (0..20u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a sorted list: the same timers fire in the same order, the same cancels succeed.
        #[test]
        fn behaves_as_a_sorted_list(steps in prop::collection::vec(step(), 0..300)) {
            let mut timers = TimerHeap::new();
            // Deadline, the number of its insertion into the heap, id.
            let mut model: Vec<(u64, usize, usize)> = Vec::new();
            // Those without a deadline.
            let mut later: Vec<(u64, usize)> = Vec::new();
            let mut keys = Vec::new();
            let (mut now, mut entered) = (0, 0);
            for step in steps {
                match step {
                    Step::Insert(after) => {
                        let id = keys.len();
                        keys.push(timers.insert(Nanos(now + after), id));
                        entered += 1;
                        model.push((now + after, entered, id));
                    }
                    Step::InsertLater(after) => {
                        let id = keys.len();
                        keys.push(timers.insert_later(Duration::from_nanos(after), id));
                        later.push((after, id));
                        prop_assert!(timers.is_unsettled());
                    }
                    Step::Settle => {
                        timers.settle(Nanos(now));
                        for (after, id) in later.drain(..) {
                            entered += 1;
                            model.push((now + after, entered, id));
                        }
                        prop_assert!(!timers.is_unsettled());
                    }
                    Step::Remove(n) if !keys.is_empty() => {
                        let id = n % keys.len();
                        let settled = model.iter().position(|&(.., other)| other == id);
                        let fresh = later.iter().position(|&(_, other)| other == id);
                        let expected = settled.map(|at| model.remove(at).2).or(fresh.map(|at| later.remove(at).1));
                        prop_assert_eq!(timers.contains(keys[id]), expected.is_some());
                        prop_assert_eq!(timers.remove(keys[id]), expected);
                        prop_assert!(!timers.contains(keys[id]));
                    }
                    Step::Remove(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        model.sort_unstable();
                        let due = model.iter().take_while(|&&(at, ..)| at <= now).count();
                        let expected: Vec<_> = model.drain(..due).map(|(.., id)| id).collect();
                        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(Nanos(now))).collect();
                        prop_assert_eq!(fired, expected);
                    }
                }
                prop_assert_eq!(timers.next_deadline().map(|at| at.0), model.iter().map(|&(at, ..)| at).min());
                prop_assert_eq!(timers.len(), model.len() + later.len());
                prop_assert_eq!(timers.values().count(), model.len() + later.len());
            }
        }
    }
}
