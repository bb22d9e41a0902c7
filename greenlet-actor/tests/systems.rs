//! Systems leave nothing behind in the process. Alone in its program: it counts what the process has.

use std::time::Duration;

use greenlet_actor::{Actor, Context, Exit, Reply, System};

struct Echo;

impl Actor for Echo {
    type Message = Reply<()>;
    fn receive(&mut self, reply: Reply<()>, _: &mut Context<Self>) -> Result<(), Exit> {
        reply.send(());
        Ok(())
    }
}

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).expect("Linux").count()
}

#[test]
fn a_hundred_systems_leave_no_threads_and_no_descriptors() {
    let round = |n: usize| {
        let ask = |actor: greenlet_actor::ActorRef<Reply<()>>| {
            actor.ask(|reply| reply, Duration::from_secs(20)).unwrap()
        };
        match n % 3 {
            0 => System::builder().hubs(2).run(|| (0..4).for_each(|_| ask(Echo.spawn()))).unwrap(),
            1 => {
                let system = System::builder().hubs(1 + n % 4).start().unwrap();
                (0..4).for_each(|_| ask(system.spawn(Echo)));
                (0..4).for_each(|_| ask(system.start_local(|| Echo).unwrap()));
                system.shutdown();
            }
            _ => greenlet_core::run(|| (0..4).for_each(|_| ask(Echo.spawn()))),
        }
    };
    (0..3).for_each(round);
    let before = (count("task"), count("fd"));
    (0..100).for_each(round);
    let start = std::time::Instant::now();
    // A thread that was joined may be there a little longer.
    while (count("task"), count("fd")) != before {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{before:?}, now {:?}",
            (count("task"), count("fd"))
        );
        std::thread::yield_now();
    }
}
