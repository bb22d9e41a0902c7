//! Kills, timeouts and wake-ups that race: thousands of small random programs.
//!
//! A program is a few greenlets (and threads) that do random things to shared queues, events, results and to each other.
//! At the end everything is released, and then everybody must end, no item may be lost or doubled, destructors must have
//! run once and at home, and no timeout may have come out where it does not belong. `GREENLET_SEED=n` runs one program
//! alone. What a program does follows from its seed, but which of two microseconds passes first does not.

mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_core::{
    AsyncResult, Builder, Event, Greenlet, GreenletError, GreenletExit, GreenletRef, Hub, HubHandle, Kill,
    LinkId, LinkedExited, PutError, Queue, StackSize, attempt, catch, current, raise, run, sleep, spawn,
    spawn_later, with_timeout, yield_now,
};
use support::{OnDrop, Oops, Rng, Tally, Watchdog, seeds, settle};

/// Members of one program, those that are spawned on the way included.
const MOST_MEMBERS: usize = 20;

// --- what must hold -----------------------------------------------------------------------------------------------

/// What became of an item. Exactly one of the first three, and `got` exactly if it was admitted.
#[derive(Clone, Copy, Default, Debug)]
struct Fate {
    admitted: u8,
    came_back: u8,
    /// Its putter was unwound out of the put.
    unwound: u8,
    got: u8,
    dropped: u8,
}

#[derive(Default)]
struct Ledger(Mutex<Vec<Fate>>);

impl Ledger {
    fn open(&self) -> usize {
        let mut fates = self.0.lock().unwrap();
        fates.push(Fate::default());
        fates.len() - 1
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Fate)) {
        note(&mut self.0.lock().unwrap()[number]);
    }

    fn check(&self) {
        for (number, fate) in self.0.lock().unwrap().iter().enumerate() {
            let Fate { admitted, came_back, unwound, got, dropped } = *fate;
            assert_eq!(admitted + came_back + unwound, 1, "item {number} was put once: {fate:?}");
            assert_eq!(got, admitted, "item {number} is got if it was put: {fate:?}");
            assert_eq!(dropped, 1, "item {number} is dropped once: {fate:?}");
        }
    }
}

struct Item {
    ledger: Arc<Ledger>,
    number: usize,
    putter: usize,
    /// Counts the items of that putter in that queue.
    sequence: usize,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger.note(self.number, |fate| fate.dropped += 1);
    }
}

struct World {
    queues: Vec<Queue<Item>>,
    events: Vec<Event>,
    results: Vec<AsyncResult<usize>>,
    ledger: Arc<Ledger>,
    /// By number. Empty until the member was made.
    members: Mutex<Vec<Option<GreenletRef>>>,
    /// Everything was released for good: nothing may be closed again.
    closing: Mutex<bool>,
    /// Callbacks that must be called, and that were.
    due: AtomicUsize,
    called: AtomicUsize,
    tally: Tally,
    hubs: Vec<HubHandle>,
}

impl World {
    fn new(hubs: Vec<HubHandle>) -> Arc<World> {
        Arc::new(World {
            queues: vec![Queue::bounded(1), Queue::bounded(3), Queue::unbounded()],
            events: (0..3).map(|_| Event::new()).collect(),
            results: (0..2).map(|_| AsyncResult::new()).collect(),
            ledger: Arc::default(),
            members: Mutex::default(),
            closing: Mutex::new(false),
            due: AtomicUsize::new(0),
            called: AtomicUsize::new(0),
            tally: Tally::default(),
            hubs,
        })
    }

    /// Adds a member. `None` when there are enough.
    fn add(self: &Arc<World>, rng: &mut Rng) -> Option<GreenletRef> {
        let number = {
            let mut members = self.members.lock().unwrap();
            if members.len() >= MOST_MEMBERS || *self.closing.lock().unwrap() {
                return None;
            }
            members.push(None);
            members.len() - 1
        };
        let mut member = Member::new(self.clone(), number, rng.fork());
        let in_closure = self.tally.stray_token();
        let live = move || {
            let _in_closure = in_closure;
            let _at_home = member.world.tally.token();
            member.live();
        };
        let greenlet: GreenletRef = if self.hubs.is_empty() {
            match rng.below(6) {
                0 => GreenletRef::clone(&spawn_later(rng.micros(30), live)),
                1 => GreenletRef::clone(&Greenlet::new(live)),
                2 => GreenletRef::clone(&Builder::new().stack_size(LARGE).spawn(live)),
                _ => GreenletRef::clone(&spawn(live)),
            }
        } else {
            let hub = &self.hubs[rng.below(self.hubs.len())];
            GreenletRef::clone(&hub.spawn(live).expect("the hub is there"))
        };
        self.members.lock().unwrap()[number] = Some(greenlet.clone());
        Some(greenlet)
    }

    fn member(&self, number: usize) -> Option<GreenletRef> {
        self.members.lock().unwrap().get(number).cloned().flatten()
    }

    fn count(&self) -> usize {
        self.members.lock().unwrap().len()
    }

    /// Lets everybody go on who waits for anything.
    fn release(&self) {
        *self.closing.lock().unwrap() = true;
        self.events.iter().for_each(Event::set);
        self.results.iter().for_each(|result| result.set(0));
        self.queues.iter().for_each(Queue::shutdown);
    }

    fn kill_somebody(&self, rng: &mut Rng) {
        if let Some(member) = self.member(rng.below(self.count())) {
            member.kill_with(kill_of(rng));
        }
    }

    fn kill_everybody(&self) {
        for member in (0..self.count()).filter_map(|number| self.member(number)) {
            member.kill_with(Kill::default().no_wait());
        }
    }

    /// Everybody is joined; says what is wrong with how they ended.
    fn join_everybody(&self) {
        for number in 0..self.count() {
            let Some(member) = self.member(number) else { continue };
            member.start();
            member.join();
            let Some(failure) = member.exception() else { continue };
            let allowed =
                failure.downcast_ref::<Oops>().is_some() || failure.downcast_ref::<LinkedExited>().is_some();
            assert!(allowed, "member {number} failed: {failure}");
        }
    }

    fn drain_and_check(&self) {
        for queue in &self.queues {
            while let Ok(item) = queue.try_get() {
                self.ledger.note(item.number, |fate| fate.got += 1);
            }
        }
        self.ledger.check();
        self.tally.assert_all_home();
        assert_eq!(self.called.load(Ordering::SeqCst), self.due.load(Ordering::SeqCst), "callbacks of links");
    }

    /// Whether what happens soon after the last end has happened.
    fn is_quiet(&self) -> bool {
        self.called.load(Ordering::SeqCst) == self.due.load(Ordering::SeqCst)
            && self.tally.dropped() == self.tally.made()
    }
}

const LARGE: StackSize = StackSize::DEFAULT;

// --- what they do -------------------------------------------------------------------------------------------------

struct Member {
    world: Arc<World>,
    /// Waits for members with lower numbers only, so that nobody waits in a circle. Threads wait for anybody.
    number: usize,
    rng: Rng,
    /// Items put, by queue.
    put: [usize; 3],
    /// The last item got, by queue and putter.
    got: HashMap<(usize, usize), usize>,
    is_thread: bool,
}

impl Member {
    fn new(world: Arc<World>, number: usize, rng: Rng) -> Member {
        Member { world, number, rng, put: [0; 3], got: HashMap::new(), is_thread: false }
    }

    fn live(&mut self) {
        let mut lives = self.rng.below(3);
        for _ in 0..3 + self.rng.below(8) {
            if lives > 0 {
                lives -= usize::from(catch(|| self.step(2)).is_err());
            } else {
                self.step(2);
            }
        }
    }

    /// One random thing. Those that nest do others inside, to this depth.
    fn step(&mut self, depth: usize) {
        let micros = self.rng.micros(40);
        let event = self.rng.below(3);
        let result = self.rng.below(2);
        let choice = self.rng.below(if self.is_thread { 20 } else { 34 });
        let world = self.world.clone();
        match choice {
            0 => yield_now(),
            1 => sleep(micros),
            2..6 => self.put(),
            6..8 => self.get(),
            8 => world.events[event].set(),
            9 => {
                let closing = world.closing.lock().unwrap();
                if !*closing {
                    world.events[event].clear();
                }
            }
            10 => world.events[event].wait(),
            11 => drop(world.events[event].wait_timeout(micros)),
            12 => world.results[result].set(self.number),
            13 => drop(world.results[result].get_timeout(micros)),
            14 => drop(world.results[result].get()),
            15 => drop(world.add(&mut self.rng)),
            16 => self.join(micros),
            17..20 => self.kill(micros),
            20..23 => self.link(),
            23..26 if depth > 0 => self.limited(depth),
            26..29 if depth > 0 => self.guarded(depth),
            29..31 if depth > 0 => self.contained(depth),
            31 if depth > 0 => drop(catch(|| self.step(depth - 1))),
            32 if self.rng.one_in(3) => raise(GreenletExit),
            33 if self.rng.one_in(3) => raise(Oops("raised by itself")),
            _ => yield_now(),
        }
    }

    fn put(&mut self) {
        let at = self.rng.below(3);
        let ledger = self.world.ledger.clone();
        let number = ledger.open();
        self.put[at] += 1;
        let item = Item { ledger: ledger.clone(), number, putter: self.number, sequence: self.put[at] };
        let limit = self.rng.micros(40);
        let how = self.rng.below(5);
        let world = self.world.clone();
        let queue = &world.queues[at];
        let returned = Cell::new(false);
        let unwound = OnDrop(|| {
            if !returned.get() {
                ledger.note(number, |fate| fate.unwound += 1);
            }
        });
        let put = match how {
            0 => queue.try_put(item),
            1 => queue.put_timeout(item, limit),
            2 => queue.force_put(item).map_err(|back| PutError::ShutDown(back.0)),
            _ => queue.put(item).map_err(|back| PutError::ShutDown(back.0)),
        };
        returned.set(true);
        drop(unwound);
        match put {
            Ok(()) => ledger.note(number, |fate| fate.admitted += 1),
            Err(back) => {
                let back = back.into_item();
                assert_eq!(back.number, number, "the item that comes back is the one that was put");
                ledger.note(number, |fate| fate.came_back += 1);
            }
        }
    }

    fn get(&mut self) {
        let at = self.rng.below(3);
        let limit = self.rng.micros(40);
        let queue = &self.world.queues[at];
        let got = match self.rng.below(4) {
            0 => queue.try_get().ok(),
            1 => queue.get_timeout(limit).ok(),
            _ => queue.get().ok(),
        };
        let Some(item) = got else { return };
        item.ledger.note(item.number, |fate| fate.got += 1);
        let before = self.got.insert((at, item.putter), item.sequence);
        assert!(before < Some(item.sequence), "first in, first out: {before:?}, then {}", item.sequence);
    }

    fn join(&mut self, limit: Duration) {
        let all = if self.is_thread { self.world.count() } else { self.number };
        if all == 0 {
            return;
        }
        let Some(other) = self.world.member(self.rng.below(all)) else { return };
        match self.rng.below(3) {
            0 => other.join(),
            1 => drop(other.join_timeout(limit)),
            _ => other.kill(),
        }
    }

    fn kill(&mut self, limit: Duration) {
        let all = self.world.count();
        let Some(other) = self.world.member(self.rng.below(all)) else { return };
        let kill = kill_of(&mut self.rng);
        other.kill_with(if self.rng.one_in(2) { kill } else { kill.timeout(limit) });
    }

    fn link(&mut self) {
        let Some(source) = self.world.member(self.rng.below(self.world.count())) else { return };
        let world = self.world.clone();
        let token = world.tally.token();
        let call = {
            let world = world.clone();
            move |_: &GreenletRef| {
                drop(token);
                world.called.fetch_add(1, Ordering::SeqCst);
            }
        };
        let link: LinkId = match self.rng.below(4) {
            0 => return source.link_to(&current()),
            1 => {
                let Some(receiver) = world.member(self.rng.below(world.count())) else { return };
                return source.link_to(&receiver);
            }
            2 => source.rawlink(call),
            _ => source.link(call),
        };
        world.due.fetch_add(1, Ordering::SeqCst);
        if self.rng.one_in(4) && source.unlink(&link) {
            world.due.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn contained(&mut self, depth: usize) {
        match attempt(|| self.step(depth - 1)) {
            // Nothing panics on purpose: this is one of the assertions here.
            Err(GreenletError::Failed(failure)) if failure.is_panic() => failure.reraise(),
            _ => {}
        }
    }

    fn limited(&mut self, depth: usize) {
        // No two timeouts have the same length, so it is known whose it was.
        static DISTINCT: AtomicUsize = AtomicUsize::new(0);
        let distinct = DISTINCT.fetch_add(1, Ordering::Relaxed) % 900;
        let limit = self.rng.micros(60) + Duration::from_nanos(distinct as u64);
        let steps = 1 + self.rng.below(2);
        let limited = with_timeout(limit, || (0..steps).for_each(|_| self.step(depth - 1)));
        if let Err(late) = limited {
            assert_eq!(late.after(), limit, "another timeout than its own");
        }
    }

    /// With a destructor that suspends.
    fn guarded(&mut self, depth: usize) {
        let token = self.world.tally.token();
        let (world, mut rng) = (self.world.clone(), self.rng.fork());
        let _guard = OnDrop(move || {
            let _token = &token;
            let event = &world.events[rng.below(3)];
            match rng.below(5) {
                0 => yield_now(),
                1 => sleep(rng.micros(30)),
                2 => drop(event.wait_timeout(rng.micros(30))),
                3 => drop(attempt(|| with_timeout(rng.micros(30), || event.wait()))),
                _ => event.wait(),
            }
        });
        self.step(depth - 1);
    }
}

/// One that does not wait.
fn kill_of(rng: &mut Rng) -> Kill {
    let kill = if rng.one_in(3) { Kill::error(Oops("killed")) } else { Kill::default() };
    kill.no_wait()
}

// --- the programs -------------------------------------------------------------------------------------------------

fn on_one_hub(seed: u64) {
    let mut rng = Rng::new(seed);
    let world = World::new(Vec::new());
    for _ in 0..3 + rng.below(6) {
        world.add(&mut rng);
    }
    for _ in 0..rng.below(40) {
        match rng.below(4) {
            0 => sleep(rng.micros(40)),
            1 => world.kill_somebody(&mut rng),
            _ => yield_now(),
        }
    }
    world.release();
    if rng.one_in(3) {
        world.kill_everybody();
    }
    world.join_everybody();
    settle();
    world.drain_and_check();
}

#[test]
fn thousands_of_programs_on_one_hub_lose_nothing_and_end() {
    let watchdog = Watchdog::start("races on one hub");
    run(|| {
        for seed in seeds(5_000) {
            let _seed = watchdog.begin(seed);
            on_one_hub(seed);
        }
        // Each program has at most so many greenlets at once, callbacks of links included; their stacks are reused.
        let stacks = Hub::stack_stats().allocated;
        assert!(stacks <= 4 * MOST_MEMBERS, "{stacks} stacks did not come back");
    });
}

fn across_hubs(seed: u64, hubs: &[HubHandle]) {
    let mut rng = Rng::new(seed);
    let world = World::new(hubs.to_vec());
    for _ in 0..4 + rng.below(6) {
        world.add(&mut rng);
    }
    let threads: Vec<_> = (0..rng.below(3))
        .map(|nth| {
            let mut member = Member::new(world.clone(), MOST_MEMBERS + nth, rng.fork());
            member.is_thread = true;
            thread::spawn(move || (0..8).for_each(|_| member.step(0)))
        })
        .collect();
    for _ in 0..rng.below(40) {
        match rng.below(4) {
            0 => world.kill_somebody(&mut rng),
            1 => thread::sleep(rng.micros(30)),
            _ => thread::yield_now(),
        }
    }
    world.release();
    if rng.one_in(3) {
        world.kill_everybody();
    }
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    world.join_everybody();
    while !world.is_quiet() {
        thread::yield_now();
    }
    world.drain_and_check();
}

#[test]
fn hundreds_of_programs_across_hubs_and_threads_lose_nothing_and_end() {
    let watchdog = Watchdog::start("races across hubs");
    let hubs: Vec<_> = ["left", "right"].map(|name| Hub::thread(name).start().unwrap()).into();
    let handles: Vec<_> = hubs.iter().map(|hub| hub.handle().clone()).collect();
    for seed in seeds(600) {
        let _seed = watchdog.begin(seed);
        across_hubs(seed, &handles);
    }
    hubs.into_iter().for_each(|hub| hub.shutdown());
}
