//! Pools of workers.

mod probe;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use greenlet_actor::pool::{Pool, PoolRef, Routing};
use greenlet_actor::{
    Actor, ActorBuilder, ActorId, AskError, Context, Exit, Overflow, Reply, SendError, System,
};
use greenlet_core::{Event, Queue, joinall, spawn, yield_now};
use probe::{Elsewhere, LONG, no_disk, on_hub};

/// Says who it is, and notes what it got.
struct Worker(Arc<Queue<(ActorId, u64)>>);

#[derive(Clone)]
enum Job {
    Note(u64),
    Who(Arc<Queue<ActorId>>),
    Fail,
    Stop,
    Wait(Arc<Event>, Arc<Event>),
}

impl Actor for Worker {
    type Message = Job;
    fn receive(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match job {
            Job::Note(n) => self.0.put((ctx.id(), n)).unwrap(),
            Job::Who(to) => to.put(ctx.id()).unwrap(),
            Job::Fail => return Err(no_disk()),
            Job::Stop => return Err(Exit::Normal),
            Job::Wait(begun, until) => {
                begun.set();
                until.wait();
            }
        }
        Ok(())
    }
}

type Noted = Arc<Queue<(ActorId, u64)>>;

fn pool(size: usize) -> (Pool<Worker>, Noted) {
    let noted: Noted = Arc::new(Queue::unbounded());
    let notes = noted.clone();
    (Pool::of(size, move || Worker(notes.clone())).intensity(1_000_000, Duration::from_secs(5)), noted)
}

fn take(noted: &Noted, n: usize) -> Vec<(ActorId, u64)> {
    (0..n).map(|_| noted.get_timeout(LONG).expect("all are handled")).collect()
}

fn who(pool: &PoolRef<Job>, key: u64) -> ActorId {
    let answer = Arc::new(Queue::unbounded());
    pool.send_by_key(&key, Job::Who(answer.clone())).unwrap();
    answer.get_timeout(LONG).expect("it is handled")
}

#[test]
fn in_turn_each_worker_gets_as_many() {
    on_hub(|| {
        let (pool, noted) = pool(4);
        let pool = pool.start().unwrap();
        for n in 0..40 {
            pool.send(Job::Note(n)).unwrap();
        }
        let noted = take(&noted, 40);
        for worker in pool.workers() {
            assert_eq!(noted.iter().filter(|(by, _)| *by == worker.id()).count(), 10);
        }
        assert_eq!((pool.len(), pool.is_empty()), (4, false));
        pool.shutdown();
    });
}

#[test]
fn the_least_mailbox_spares_a_worker_that_is_behind() {
    on_hub(|| {
        let (pool, noted) = pool(2);
        let pool = pool.routing(Routing::LeastMailbox).start().unwrap();
        let (begun, until) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let slow = pool.workers()[0].clone();
        slow.send(Job::Wait(begun.clone(), until.clone())).unwrap();
        assert!(begun.wait_timeout(LONG));
        for n in 100..105 {
            slow.send(Job::Note(n)).unwrap();
        }
        for n in 0..20 {
            pool.send(Job::Note(n)).unwrap();
            yield_now();
        }
        let by_others = take(&noted, 20);
        assert!(by_others.iter().all(|(by, _)| *by != slow.id()));
        until.set();
        assert!(take(&noted, 5).iter().all(|(by, n)| *by == slow.id() && *n >= 100));
        pool.shutdown();
    });
}

#[test]
fn at_random_all_workers_get_some() {
    on_hub(|| {
        let (pool, noted) = pool(3);
        let pool = pool.routing(Routing::Random).start().unwrap();
        for n in 0..300 {
            pool.send(Job::Note(n)).unwrap();
        }
        let mut noted = take(&noted, 300);
        noted.sort_unstable_by_key(|(_, n)| *n);
        let by: Vec<_> = noted.into_iter().map(|(by, _)| by).collect();
        for worker in pool.workers() {
            let share = by.iter().filter(|by| **by == worker.id()).count();
            assert!((50..150).contains(&share), "{share}");
        }
        let turns: HashSet<_> = by.windows(4).map(<[_]>::to_vec).collect();
        assert!(turns.len() > 20, "it is no round");
        pool.shutdown();
    });
}

#[test]
fn a_key_keeps_its_worker_and_few_keys_move_when_the_size_changes() {
    on_hub(|| {
        let (pool, _) = pool(4);
        let pool = pool.start().unwrap();
        let keys = 0..200_u64;
        let before: Vec<_> = keys.clone().map(|key| who(&pool, key)).collect();
        assert_eq!(keys.clone().map(|key| who(&pool, key)).collect::<Vec<_>>(), before);
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), 4);
        pool.resize(5).unwrap();
        let after: Vec<_> = keys.clone().map(|key| who(&pool, key)).collect();
        let new = pool.workers()[4].id();
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        let moved: Vec<_> = moved.map(|(_, after)| *after).collect();
        assert!(moved.iter().all(|to| *to == new));
        assert!((20..70).contains(&moved.len()), "a fifth of them: {}", moved.len());
        pool.resize(4).unwrap();
        assert_eq!(keys.map(|key| who(&pool, key)).collect::<Vec<_>>(), before);
        pool.shutdown();
    });
}

#[test]
fn messages_are_hashed_by_what_they_are_about() {
    on_hub(|| {
        let (pool, noted) = pool(4);
        let key = |job: &Job| if let Job::Note(n) = job { n % 10 } else { 0 };
        let pool = pool.hash_by(key).start().unwrap();
        for n in 0..200 {
            pool.send(Job::Note(n)).unwrap();
        }
        let noted = take(&noted, 200);
        for key in 0..10 {
            let by: HashSet<_> = noted.iter().filter(|(_, n)| n % 10 == key).map(|(by, _)| *by).collect();
            assert_eq!(by.len(), 1);
        }
        for worker in pool.workers() {
            let own: Vec<_> = noted.iter().filter(|(by, _)| *by == worker.id()).map(|(_, n)| *n).collect();
            assert!(own.is_sorted(), "in the order of sending");
        }
        pool.shutdown();
    });
}

#[test]
fn a_broadcast_reaches_every_worker() {
    on_hub(|| {
        let (pool, noted) = pool(5);
        let pool = pool.start().unwrap();
        assert_eq!(pool.broadcast(&Job::Note(7)), 5);
        let by: HashSet<_> = take(&noted, 5).into_iter().map(|(by, _)| by).collect();
        assert_eq!(by.len(), 5);
        pool.shutdown();
        assert_eq!(pool.broadcast(&Job::Note(8)), 0);
    });
}

#[test]
fn a_worker_that_ends_is_replaced_whatever_the_reason() {
    on_hub(|| {
        let (pool, noted) = pool(2);
        let pool = pool.start().unwrap();
        for round in 0..30 {
            let before = pool.workers();
            match round % 3 {
                0 => pool.send(Job::Fail).unwrap(),
                1 => pool.send(Job::Stop).unwrap(),
                _ => before[0].kill(),
            }
            for n in 0..4 {
                pool.send(Job::Note(n)).unwrap();
            }
            // The one that ended may have had some.
            while pool.workers().len() != 2 || pool.workers() == before {
                yield_now();
            }
            assert!(pool.workers().iter().filter(|worker| before.contains(worker)).count() == 1);
        }
        drop(noted);
        pool.shutdown();
    });
}

#[test]
fn what_is_sent_while_all_workers_are_replaced_waits_for_them_in_order() {
    struct Slow(Noted, Arc<Event>, Arc<AtomicBool>);
    impl Actor for Slow {
        type Message = Job;
        fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
            if self.2.swap(true, Ordering::SeqCst) {
                self.1.wait();
            }
            Ok(())
        }
        fn receive(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<(), Exit> {
            Worker(self.0.clone()).0.put((ctx.id(), if let Job::Note(n) = job { n } else { 0 })).unwrap();
            Ok(())
        }
    }
    on_hub(|| {
        let noted: Noted = Arc::new(Queue::unbounded());
        let (notes, open, second) = (noted.clone(), Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
        let opens = open.clone();
        let pool = Pool::of(1, move || Slow(notes.clone(), opens.clone(), second.clone())).start().unwrap();
        pool.workers()[0].kill();
        for n in 0..10 {
            pool.send(Job::Note(n)).unwrap();
        }
        assert!(noted.is_empty());
        assert!(pool.workers().is_empty());
        open.set();
        let order: Vec<_> = take(&noted, 10).into_iter().map(|(_, n)| n).collect();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
        pool.shutdown();
    });
}

#[test]
fn a_pool_whose_workers_fail_too_often_gives_up() {
    on_hub(|| {
        let (pool, _) = pool(2);
        let pool = pool.intensity(2, Duration::from_secs(60)).start().unwrap();
        for _ in 0..2 {
            let before = pool.workers();
            before[0].kill();
            while pool.workers().len() != 2 || pool.workers() == before {
                yield_now();
            }
        }
        let left = pool.workers();
        left[0].kill();
        assert!(matches!(pool.join(), Exit::Shutdown));
        assert!(left[1].ready(), "its workers end with it");
        assert!(matches!(pool.send(Job::Stop), Err(SendError::Ended(Job::Stop))));
        assert_eq!((pool.len(), pool.is_empty()), (0, true));
        assert!(matches!(pool.resize(3).unwrap_err().exit, Exit::Shutdown));
    });
}

#[test]
fn workers_that_go_handle_first_what_they_have() {
    on_hub(|| {
        let (pool, noted) = pool(4);
        let pool = pool.start().unwrap();
        let leaving = pool.workers()[3].clone();
        for n in 0..400 {
            pool.send(Job::Note(n)).unwrap();
        }
        pool.resize(1).unwrap();
        assert_eq!(pool.len(), 1);
        let mut all: Vec<_> = take(&noted, 400).into_iter().map(|(_, n)| n).collect();
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>());
        assert!(leaving.join().is_normal());
        assert_eq!(pool.workers().len(), 1, "it is not replaced");
        pool.shutdown();
    });
}

#[test]
fn a_pool_is_asked_like_an_actor() {
    struct Squares;
    impl Actor for Squares {
        type Message = (u64, Reply<u64>);
        fn receive(&mut self, (n, reply): (u64, Reply<u64>), _: &mut Context<Self>) -> Result<(), Exit> {
            match n {
                0 => Err(no_disk()),
                1 => {
                    drop(reply);
                    Ok(())
                }
                _ => {
                    reply.send(n * n);
                    Ok(())
                }
            }
        }
    }
    on_hub(|| {
        let pool = Pool::of(3, || Squares).start().unwrap();
        for n in 2..20 {
            assert_eq!(pool.call(|reply| (n, reply)).unwrap(), n * n);
            assert_eq!(pool.ask_by_key(&n, |reply| (n, reply), LONG).unwrap(), n * n);
        }
        let unanswered = pool.call(|reply| (1, reply));
        assert!(matches!(unanswered, Err(AskError::NoReply)));
        let failed = pool.call(|reply| (0, reply));
        assert!(matches!(failed, Err(AskError::Ended(_) | AskError::NoReply)), "{failed:?}");
        assert_eq!(pool.call(|reply| (9, reply)).unwrap(), 81);
        pool.shutdown();
        assert!(matches!(pool.call(|reply| (9, reply)), Err(AskError::Ended(Exit::Shutdown))));
    });
}

#[test]
fn a_worker_that_does_not_start_fails_the_start_of_the_pool() {
    struct Third(u32);
    impl Actor for Third {
        type Message = ();
        fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
            if self.0 == 3 { Err(no_disk()) } else { Ok(()) }
        }
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
    }
    on_hub(|| {
        let made = Arc::new(AtomicU32::new(0));
        let makes = made.clone();
        let pool = Pool::of(5, move || Third(makes.fetch_add(1, Ordering::SeqCst) + 1)).start();
        assert!(pool.unwrap_err().exit.to_string().contains("no disk"));
        assert_eq!(made.load(Ordering::SeqCst), 3);
        // Growing into a failure leaves the pool as it was.
        let made = Arc::new(AtomicU32::new(0));
        let pool = Pool::of(2, move || Third(made.fetch_add(1, Ordering::SeqCst) + 1)).start().unwrap();
        let before = pool.workers();
        assert!(pool.resize(4).unwrap_err().exit.to_string().contains("no disk"));
        assert_eq!(pool.workers(), before);
        pool.shutdown();
    });
}

#[test]
fn a_pool_that_was_killed_leaves_no_worker() {
    on_hub(|| {
        let (pool, _) = pool(3);
        let pool = pool.start().unwrap();
        let workers = pool.workers();
        let (begun, never) = (Arc::new(Event::new()), Arc::new(Event::new()));
        workers[0].send(Job::Wait(begun.clone(), never)).unwrap();
        assert!(begun.wait_timeout(LONG));
        pool.supervisor().kill();
        assert!(workers.iter().all(greenlet_actor::ActorRef::ready));
        assert!(matches!(pool.send(Job::Note(1)), Err(SendError::Ended(_))));
    });
}

#[test]
fn bounded_workers_refuse_or_suspend_as_they_were_made() {
    on_hub(|| {
        let (pool, noted) = pool(1);
        let workers = ActorBuilder::new().capacity(1).overflow(Overflow::Fail);
        let pool = pool.workers_by(workers).start().unwrap();
        let (begun, until) = (Arc::new(Event::new()), Arc::new(Event::new()));
        pool.send(Job::Wait(begun.clone(), until.clone())).unwrap();
        assert!(begun.wait_timeout(LONG));
        pool.send(Job::Note(1)).unwrap();
        assert!(matches!(pool.send(Job::Note(2)), Err(SendError::Full(Job::Note(2)))));
        until.set();
        take(&noted, 1);
        pool.shutdown();
    });
}

#[test]
fn no_message_is_lost_while_the_pool_is_resized_on_two_hubs() {
    System::builder()
        .hubs(2)
        .run(|| {
            let (pool, noted) = pool(2);
            let pool = pool.start().unwrap();
            let sent = Arc::new(AtomicU64::new(0));
            let senders: Vec<_> = (0..2_u64)
                .map(|sender| {
                    let (pool, sent) = (pool.clone(), sent.clone());
                    Elsewhere::spawn(move || {
                        for n in 0..3_000 {
                            pool.send(Job::Note(sender * 10_000 + n)).unwrap();
                            sent.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for round in 0..60 {
                pool.resize(1 + round * 7 % 5).unwrap();
                yield_now();
            }
            senders.into_iter().for_each(Elsewhere::join);
            let mut got: Vec<_> =
                take(&noted, sent.load(Ordering::SeqCst) as usize).into_iter().map(|(_, n)| n).collect();
            got.sort_unstable();
            got.dedup();
            assert_eq!(got.len(), 6_000);
            pool.shutdown();
        })
        .unwrap();
}

#[test]
fn senders_survive_kills_of_workers_on_two_hubs() {
    System::builder()
        .hubs(2)
        .run(|| {
            let (pool, noted) = pool(3);
            let pool = pool.start().unwrap();
            let senders: Vec<_> = (0..3_u64)
                .map(|sender| {
                    let pool = pool.clone();
                    spawn(move || {
                        for n in 0..500 {
                            pool.send_by_key(&sender, Job::Note(sender * 1_000 + n)).unwrap();
                            if n % 7 == 0 {
                                yield_now();
                            }
                        }
                    })
                })
                .collect();
            for round in 0..50 {
                if let Some(worker) = pool.workers().get(round % 3) {
                    worker.send_exit(Exit::Killed);
                }
                yield_now();
            }
            joinall(&senders);
            assert!(senders.iter().all(|sender| sender.exception().is_none()));
            // What was in mailboxes of killed ones is gone; what arrived did so in order.
            pool.resize(1).unwrap();
            let answer = Arc::new(Queue::unbounded());
            while answer.is_empty() {
                pool.send(Job::Who(answer.clone())).unwrap();
                yield_now();
            }
            let mut last = [None::<u64>; 3];
            while let Ok((_, n)) = noted.try_get() {
                let sender = (n / 1_000) as usize;
                assert!(last[sender].is_none_or(|before| before < n));
                last[sender] = Some(n);
            }
            pool.shutdown();
            assert_eq!(pool.len(), 0);
        })
        .unwrap();
}
