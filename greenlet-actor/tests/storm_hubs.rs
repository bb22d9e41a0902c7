//! Trees of 10,000 actors on two hubs under random fire from both, from another hub and from a thread. `GREENLET_SEED` replays one seed (as far as
//! threads allow that); `ACTOR_STORM_SECONDS` goes on with more of them for so long.

use std::alloc::{GlobalAlloc, Layout, System as Allocator};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_actor::{
    Actor, ActorRef, AskError, Context, Exit, Reply, Restart, Shutdown, Supervisor, SupervisorRef, System,
    supervisor, worker,
};
use greenlet_core::embed::memory;
use greenlet_core::{Hub, StackStats, sleep, yield_now};

/// Counts the bytes that are allocated: what an actor leaves behind shows, whatever it is.
struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

fn counted(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: it is the system's allocator, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(counted(layout), Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(counted(layout), Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { Allocator.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What may stay from one storm to the next, in bytes: lists that have grown. Of the actors of a storm it is less than one in ten.
const GROWTH: isize = 32 << 10;

/// Far more than anything takes.
const STUCK: Duration = Duration::from_secs(120);
const BRIEF: Duration = Duration::from_millis(1);
const GUNNERS: usize = 4;

/// splitmix64.
struct Chance(Cell<u64>);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D))
    }

    fn below(&self, limit: usize) -> usize {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// A place for a child, which is filled again and again.
struct Slot {
    /// The actors that were here, the last of them at the end.
    actor: Mutex<Option<ActorRef<Order>>>,
    made: AtomicUsize,
    /// States of it that are there: one at most.
    alive: AtomicUsize,
}

struct World {
    slots: Vec<Slot>,
    storming: AtomicBool,
    alive: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn complain(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

enum Order {
    Number(usize, usize),
    Answer(Reply<usize>),
    Ask(ActorRef<Order>),
    Link(ActorRef<Order>),
    Panic,
    Fail,
    End,
    Sleep(Duration),
}

struct Worker {
    world: Arc<World>,
    slot: usize,
    /// The last number from each gunner.
    last: [usize; GUNNERS],
}

impl Worker {
    fn new(world: &Arc<World>, slot: usize) -> Worker {
        world.alive.fetch_add(1, Ordering::SeqCst);
        let place = &world.slots[slot];
        place.made.fetch_add(1, Ordering::SeqCst);
        if place.alive.fetch_add(1, Ordering::SeqCst) != 0 {
            world.complain(format!("slot {slot} was filled before it was empty"));
        }
        Worker { world: world.clone(), slot, last: [0; GUNNERS] }
    }

    /// Whether a handler here may wait until it is killed.
    fn may_hang(slot: usize) -> bool {
        slot % 4 == 3
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.slot.is_multiple_of(16) {
            // A kill may come here too, and must not keep this from counting.
            let _ = greenlet_core::catch(yield_now);
        }
        self.world.slots[self.slot].alive.fetch_sub(1, Ordering::SeqCst);
        self.world.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor for Worker {
    type Message = Order;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if self.slot.is_multiple_of(5) {
            ctx.trap_exits();
        }
        let before = self.world.slots[self.slot].actor.lock().unwrap().replace(ctx.me().clone());
        drop(before);
        Ok(())
    }

    fn receive(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match order {
            Order::Number(gunner, number) => {
                if number <= self.last[gunner] {
                    self.world.complain(format!("{number} after {} in {}", self.last[gunner], self.slot));
                }
                self.last[gunner] = number;
            }
            Order::Answer(reply) => reply.send(self.slot),
            Order::Ask(other) => drop(other.ask(Order::Answer, BRIEF)),
            Order::Link(other) => ctx.link(&other),
            Order::Panic => panic!("storm"),
            Order::Fail => return Err(Exit::error(std::io::Error::other("storm"))),
            Order::End => return Err(Exit::Normal),
            Order::Sleep(_) if Worker::may_hang(self.slot) && self.world.storming.load(Ordering::Relaxed) => {
                sleep(Duration::MAX);
            }
            Order::Sleep(time) => sleep(time),
        }
        Ok(())
    }

    fn handle_exit(
        &mut self,
        _: greenlet_actor::ActorId,
        exit: Exit,
        _: &mut Context<Self>,
    ) -> Result<(), Exit> {
        if exit.is_ordinary() { Ok(()) } else { Err(exit) }
    }

    fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
        if self.slot.is_multiple_of(7) {
            yield_now();
        }
    }
}

// --- the tree ----------------------------------------------------------------------------------------------------

/// One supervisor's children.
#[derive(Clone)]
struct Plan {
    strategy: usize,
    intensity: usize,
    slots: std::ops::Range<usize>,
}

fn group(world: &Arc<World>, plan: &Plan) -> Supervisor {
    let tree = match plan.strategy {
        0 => Supervisor::one_for_all(),
        1 => Supervisor::rest_for_one(),
        _ => Supervisor::one_for_one(),
    };
    let mut tree = tree.intensity(plan.intensity, Duration::from_millis(200));
    // How often each child was made by this incarnation of the supervisor.
    let restarts = Rc::new(Cell::new(0));
    for slot in plan.slots.clone() {
        let (world, restarts, made, plan) = (world.clone(), restarts.clone(), Cell::new(0), plan.clone());
        let make = move || {
            made.set(made.get() + 1);
            restarts.set(restarts.get() + usize::from(made.get() > 1));
            if plan.intensity == 0 && restarts.get() > 0 {
                world.complain(format!("slot {slot} was restarted with intensity 0"));
            }
            Worker::new(&world, slot)
        };
        let shutdown = if slot.is_multiple_of(3) { Shutdown::BrutalKill } else { Shutdown::Timeout(BRIEF) };
        tree = tree.child(worker(slot.to_string(), make).restart(Restart::Permanent).shutdown(shutdown));
    }
    tree
}

/// Starts the supervisor on top of one hub's half.
struct Starter(Arc<World>);

impl Actor for Starter {
    type Message = (Vec<Plan>, Reply<SupervisorRef>);
    fn receive(&mut self, (plans, reply): Self::Message, _: &mut Context<Self>) -> Result<(), Exit> {
        let mut top = Supervisor::one_for_one().intensity(usize::MAX, Duration::from_secs(1));
        for (at, plan) in plans.into_iter().enumerate() {
            let world = self.0.clone();
            top = top.child(supervisor(format!("group {at}"), move || group(&world, &plan)));
        }
        reply.send(top.start().expect("nothing fails before the storm"));
        Ok(())
    }
}

/// Shoots from a hub.
struct Gunner(Arc<World>);

impl Actor for Gunner {
    type Message = (usize, u64, usize, Reply<()>);
    fn receive(
        &mut self,
        (name, seed, shots, reply): Self::Message,
        _: &mut Context<Self>,
    ) -> Result<(), Exit> {
        shoot(&self.0, name, seed, shots);
        reply.send(());
        Ok(())
    }
}

/// What the hub of whoever is asked has in stacks.
struct Stacks;

impl Actor for Stacks {
    type Message = Reply<StackStats>;
    fn receive(&mut self, reply: Reply<StackStats>, _: &mut Context<Self>) -> Result<(), Exit> {
        reply.send(Hub::stack_stats());
        Ok(())
    }
}

// --- the storm ---------------------------------------------------------------------------------------------------

fn shoot(world: &Arc<World>, name: usize, seed: u64, shots: usize) {
    let chance = Chance::new(seed * 31 + name as u64);
    let mut number = 0;
    let any = || loop {
        let slot = chance.below(world.slots.len());
        if let Some(actor) = world.slots[slot].actor.lock().unwrap().clone() {
            return (slot, actor);
        }
        yield_now();
    };
    for shot in 0..shots {
        let (slot, one) = any();
        match chance.below(64) {
            0 => one.cast(Order::Panic),
            1..3 => one.cast(Order::Fail),
            3 => one.cast(Order::End),
            4..6 => one.send_exit(Exit::Killed),
            6 => one.send_exit(Exit::Shutdown),
            7 => one.kill(),
            8 => one.stop(),
            9 if chance.below(8) == 0 => one.cast(Order::Link(any().1)),
            10..14 => one.cast(Order::Sleep(BRIEF / 4)),
            14..18 => one.cast(Order::Ask(any().1)),
            18..22 => {
                let _ = one.ask(Order::Answer, BRIEF);
            }
            22 if !Worker::may_hang(slot) => {
                // Whatever becomes of it, this has an end.
                match one.ask(Order::Answer, STUCK) {
                    Ok(answer) if answer != slot => world.complain(format!("{slot} answers for {answer}")),
                    Err(error @ (AskError::TimedOut(_) | AskError::Deadlock(_))) => {
                        world.complain(format!("slot {slot}: {error}"));
                    }
                    _ => {}
                }
            }
            _ => {
                number += 1;
                one.cast(Order::Number(name, number));
            }
        }
        if shot.is_multiple_of(16) {
            yield_now();
        }
    }
}

fn plans(chance: &Chance, slots: std::ops::Range<usize>) -> Vec<Plan> {
    let (mut plans, mut from) = (Vec::new(), slots.start);
    while from < slots.end {
        let strategy = chance.below(4);
        // Where one takes the others along, they are not many.
        let size = if strategy < 2 { 2 + chance.below(30) } else { 2 + chance.below(400) };
        let to = (from + size).min(slots.end);
        let intensity = [0, 1, 10, 100, usize::MAX][chance.below(5)];
        plans.push(Plan { strategy, intensity, slots: from..to });
        from = to;
    }
    plans
}

/// Waits for what comes about by itself: supervisors tell nobody of their restarts.
#[track_caller]
fn eventually(what: impl Fn() -> String, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{}", what());
        thread::sleep(Duration::from_millis(2));
    }
}

/// What is known of the places that are not as they should be.
fn stuck(world: &World) -> String {
    let mut told = format!("{} states", world.alive.load(Ordering::SeqCst));
    for (at, slot) in world.slots.iter().enumerate() {
        let (alive, actor) = (slot.alive.load(Ordering::SeqCst), slot.actor.lock().unwrap().clone());
        let ready = actor.as_ref().is_none_or(ActorRef::ready);
        if alive != 1 || ready {
            let actor = actor.map(|actor| {
                (actor.id(), actor.exit(), actor.mailbox_len(), greenlet_actor::sys::info(&actor))
            });
            let made = slot.made.load(Ordering::SeqCst);
            told += &format!("\nslot {at}: {alive} alive, {made} made, the last one {actor:?}");
        }
    }
    told
}

fn storm(seed: u64, actors: usize, shots: usize) {
    let chance = Chance::new(seed);
    let slot = |_| Slot { actor: Mutex::default(), made: AtomicUsize::new(0), alive: AtomicUsize::new(0) };
    let world = Arc::new(World {
        slots: (0..actors).map(slot).collect(),
        storming: AtomicBool::new(true),
        alive: AtomicUsize::new(0),
        wrong: Mutex::default(),
    });
    let system = System::builder().hubs(2).start().unwrap();
    let tops: Vec<_> = [0..actors / 2, actors / 2..actors]
        .into_iter()
        .map(|half| {
            let (world, plans) = (world.clone(), plans(&chance, half));
            let starter = system.start_local(move || Starter(world)).unwrap();
            let top = starter.ask(|reply| (plans, reply), STUCK).unwrap();
            starter.kill();
            top
        })
        .collect();
    let firing: Vec<_> = (0..GUNNERS)
        .map(|name| {
            let world = world.clone();
            if name < 2 {
                let gunner = system.start_local(move || Gunner(world)).unwrap();
                thread::spawn(move || drop(gunner.ask(|reply| (name, seed, shots, reply), STUCK)))
            } else {
                thread::spawn(move || match name {
                    2 => greenlet_core::run(|| shoot(&world, name, seed, shots)),
                    _ => shoot(&world, name, seed, shots),
                })
            }
        })
        .collect();
    firing.into_iter().for_each(|gunner| gunner.join().unwrap());
    world.storming.store(false, Ordering::SeqCst);
    // Those that hang would be waited for.
    for (at, slot) in world.slots.iter().enumerate() {
        let actor = slot.actor.lock().unwrap().clone();
        if let Some(actor) = actor.filter(|_| Worker::may_hang(at)) {
            actor.send_exit(Exit::Killed);
        }
    }
    // No restart is lost: every place is filled again, by one that lives and answers.
    let mut from = 0;
    eventually(
        || "a child was not started again".to_owned(),
        STUCK,
        || {
            while from < actors {
                let actor = world.slots[from].actor.lock().unwrap().clone();
                let answers = actor.is_some_and(|actor| actor.ask(Order::Answer, STUCK).is_ok());
                if !answers {
                    return false;
                }
                from += 1;
            }
            true
        },
    );
    let restarted = || format!("children are still restarted: {}", stuck(&world));
    eventually(restarted, STUCK / 4, || world.alive.load(Ordering::SeqCst) == actors);
    for top in &tops {
        assert!(matches!(top.shutdown(), Exit::Shutdown), "{top:?}");
    }
    drop(tops);
    eventually(
        || format!("states are left: {}", stuck(&world)),
        STUCK,
        || world.alive.load(Ordering::SeqCst) == 0,
    );
    let orphans = world.slots.iter().filter_map(|slot| slot.actor.lock().unwrap().clone());
    let orphans: Vec<_> = orphans.filter(|actor| !actor.ready()).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    for _ in 0..2 {
        let stats = system.start_local(|| Stacks).unwrap().ask(|reply| reply, STUCK).unwrap();
        assert!(stats.allocated < 80, "seed {seed}: {stats:?}");
    }
    system.shutdown();
    let made: usize = world.slots.iter().map(|slot| slot.made.load(Ordering::SeqCst)).sum();
    assert!(made > actors, "nothing was ever restarted");
    let wrong = world.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    for slot in &world.slots {
        assert_eq!(slot.alive.load(Ordering::SeqCst), 0);
        // The cells would be kept by the references to each other.
        slot.actor.lock().unwrap().take();
    }
}

#[test]
fn trees_on_two_hubs_weather_any_storm() {
    std::panic::set_hook(Box::new(|info| {
        let storm = info.payload().downcast_ref::<&str>().is_some_and(|text| *text == "storm");
        if !storm {
            eprintln!("{info}");
        }
    }));
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (actors, shots) = if cfg!(debug_assertions) { (2000, 5000) } else { (10_000, 20_000) };
    let seeds = match (number("GREENLET_SEED"), number("ACTOR_STORM_SECONDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => 0..3,
    };
    let limit = Duration::from_secs(number("ACTOR_STORM_SECONDS").unwrap_or(u64::from(u32::MAX)));
    let start = Instant::now();
    // The first storm makes what lives as long as the process.
    let mut before = None;
    for seed in seeds {
        if start.elapsed() > limit {
            break;
        }
        let (done, ended) = channel();
        let storming = thread::spawn(move || {
            storm(seed, actors, shots);
            done.send(()).unwrap();
        });
        match ended.recv_timeout(4 * STUCK) {
            Ok(()) => storming.join().unwrap(),
            Err(error) => panic!("the storm with GREENLET_SEED={seed} does not end: {error}"),
        }
        // What messages were in is kept for others, up to a limit.
        let after = ALLOCATED.load(Ordering::SeqCst) - memory::waiting_bytes().cast_signed();
        let before = *before.get_or_insert(after);
        assert!(
            after - before < GROWTH,
            "GREENLET_SEED={seed}: {before} bytes were allocated, and now {after}"
        );
        if limit < STUCK * 1000 {
            eprintln!("seed {seed} at {:?}", start.elapsed());
        }
    }
}
