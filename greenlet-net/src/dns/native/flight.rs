//! One query for all who want the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use greenlet_core::Event;

/// What is being asked right now.
///
/// The first one who wants something asks, in its own greenlet; the others wait for what it finds. If it is killed or times out
/// meanwhile, one of the others asks in its place.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

#[derive(Debug)]
struct Flight<V> {
    /// Set at the end, with or without a result.
    over: Event,
    result: OnceLock<V>,
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    pub(super) fn new() -> Flights<K, V> {
        Flights { under_way: Mutex::new(HashMap::new()) }
    }

    /// What `ask` returns, called here or by somebody else who wants the same. `known` looks whether it was found meanwhile.
    pub(super) fn join(&self, key: &K, known: impl Fn() -> Option<V>, ask: impl FnOnce() -> V) -> V {
        loop {
            let flight = {
                let mut under_way = self.lock();
                match under_way.get(key) {
                    Some(flight) => flight.clone(),
                    None => {
                        let flight = Arc::new(Flight { over: Event::new(), result: OnceLock::new() });
                        under_way.insert(key.clone(), flight.clone());
                        drop(under_way);
                        // From here on it ends for the others however this ends.
                        let landing = Landing { flights: self, key, flight };
                        let result = known().unwrap_or_else(ask);
                        let _ = landing.flight.result.set(result.clone());
                        return result;
                    }
                }
            };
            flight.over.wait();
            if let Some(result) = flight.result.get() {
                return result.clone();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight<V>>>> {
        // Nothing under the lock panics halfway through a change.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight.
struct Landing<'a, K: Clone + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Arc<Flight<V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(self.key);
        self.flight.over.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;
    use std::rc::Rc;

    use greenlet_core::{joinall, run, spawn, yield_now};

    /// Joins the flight, counting who asks; whoever asks waits for `go`.
    fn join(flights: &Flights<u32, u32>, asked: &Cell<u32>, go: &Event) -> u32 {
        flights.join(
            &1,
            || None,
            || {
                asked.set(asked.get() + 1);
                go.wait();
                asked.get()
            },
        )
    }

    #[test]
    fn all_who_want_the_same_get_what_one_asked_for() {
        run(|| {
            let (flights, asked, go) =
                (Rc::new(Flights::new()), Rc::new(Cell::new(0)), Rc::new(Event::new()));
            let all: Vec<_> = (0..100)
                .map(|_| {
                    let (flights, asked, go) = (flights.clone(), asked.clone(), go.clone());
                    spawn(move || join(&flights, &asked, &go))
                })
                .collect();
            yield_now();
            go.set();
            joinall(&all);
            assert_eq!(asked.get(), 1);
            assert!(all.iter().all(|greenlet| greenlet.value() == Some(&1)));
            assert!(flights.lock().is_empty());
        });
    }

    #[test]
    fn when_the_one_who_asks_is_killed_another_one_asks() {
        run(|| {
            let (flights, asked, go) =
                (Rc::new(Flights::new()), Rc::new(Cell::new(0)), Rc::new(Event::new()));
            let all: Vec<_> = (0..10)
                .map(|_| {
                    let (flights, asked, go) = (flights.clone(), asked.clone(), go.clone());
                    spawn(move || join(&flights, &asked, &go))
                })
                .collect();
            yield_now();
            all[0].kill();
            yield_now();
            go.set();
            joinall(&all);
            assert_eq!(asked.get(), 2);
            assert!(all[1..].iter().all(|greenlet| greenlet.value() == Some(&2)));
            assert!(flights.lock().is_empty());
        });
    }

    #[test]
    fn a_killed_waiter_disturbs_nobody() {
        run(|| {
            let (flights, asked, go) =
                (Rc::new(Flights::new()), Rc::new(Cell::new(0)), Rc::new(Event::new()));
            let all: Vec<_> = (0..3)
                .map(|_| {
                    let (flights, asked, go) = (flights.clone(), asked.clone(), go.clone());
                    spawn(move || join(&flights, &asked, &go))
                })
                .collect();
            yield_now();
            all[1].kill();
            go.set();
            joinall(&all);
            assert_eq!((asked.get(), all[0].value(), all[2].value()), (1, Some(&1), Some(&1)));
        });
    }
}
