//! Tasks and streams that belong to an actor.

mod probe;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, AnyActor, Context, Exit, Feed, Reply, System};
use greenlet_core::{Event, GreenletError, Queue, future, sleep, yield_now};

use probe::{Dropped, LONG, Log, no_disk, on_hub, word};
use script::{Message, Tell, any_item, spawn};

/// Has the actor spawn a task, and returns that.
fn task(
    actor: &ActorRef<Message>,
    work: impl FnOnce() -> Result<(), Exit> + Send + Sync + 'static,
) -> AnyActor {
    let (tell, told) = Reply::channel();
    actor.work(move |_, ctx| {
        tell.send(ctx.spawn_task(work));
        Ok(())
    });
    told.recv().unwrap()
}

fn trapping(log: &Log) -> ActorRef<Message> {
    let actor = spawn(log);
    actor.work(|_, ctx| {
        ctx.trap_exits();
        Ok(())
    });
    actor
}

#[test]
fn the_actor_goes_on_while_its_task_waits() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let actor = trapping(&log);
        let (wait, noted) = (go.clone(), log.clone());
        let task = task(&actor, move || {
            wait.wait();
            noted.note("task");
            Ok(())
        });
        actor.item(1);
        actor.settle();
        go.set();
        assert!(task.join().is_normal());
        actor.settle();
        assert_eq!(log.taken(), ["1", "task"], "and nobody hears of its normal end");
    });
}

#[test]
fn the_failure_of_a_task_ends_its_actor() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        task(&actor, || Err(no_disk()));
        assert_eq!(actor.join().to_string(), "no disk");
        let actor = spawn(&log);
        task(&actor, || panic!("lost"));
        assert_eq!(word(&actor.join()), "panic lost");
    });
}

#[test]
fn an_actor_that_traps_exits_hears_of_the_failure_and_of_a_kill() {
    on_hub(|| {
        let log = Log::new();
        let actor = trapping(&log);
        task(&actor, || Err(no_disk())).join();
        task(&actor, || {
            sleep(Duration::MAX);
            Ok(())
        })
        .kill();
        actor.settle();
        assert_eq!(log.taken(), ["exit no disk", "exit killed"]);
    });
}

#[test]
fn tasks_end_with_their_actor_whatever_the_reason() {
    on_hub(|| {
        let ends: [fn(&ActorRef<Message>); 3] =
            [ActorRef::stop, |actor| actor.send_exit(no_disk()), |actor| actor.kill()];
        for end in ends {
            let log = Log::new();
            let actor = spawn(&Log::new());
            let owned = Dropped("what it owned", log.clone());
            let begun = Arc::new(Event::new());
            let begin = begun.clone();
            let suspended = task(&actor, move || {
                let _owned = owned;
                begin.set();
                sleep(Duration::MAX);
                Ok(())
            });
            begun.wait();
            end(&actor);
            actor.join();
            assert!(matches!(suspended.join(), Exit::Killed));
            assert_eq!(log.next(), "what it owned dropped");
        }
    });
}

#[test]
fn a_task_that_an_ending_actor_spawns_does_not_outlive_it() {
    struct Late(Option<Reply<AnyActor>>);
    impl Actor for Late {
        type Message = ();
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Err(Exit::Normal)
        }
        fn terminate(&mut self, _: &Exit, ctx: &mut Context<Self>) {
            if let Some(reply) = self.0.take() {
                reply.send(ctx.spawn_task(|| {
                    sleep(Duration::MAX);
                    Ok(())
                }));
            }
        }
    }
    on_hub(|| {
        let (tell, told) = Reply::channel();
        Late(Some(tell)).spawn().cast(());
        assert!(matches!(told.recv().unwrap().join(), Exit::Killed));
    });
}

#[test]
fn a_task_that_was_set_free_outlives_its_actor() {
    on_hub(|| {
        let (actor, go) = (spawn(&Log::new()), Arc::new(Event::new()));
        let wait = go.clone();
        let task = task(&actor, move || {
            wait.wait();
            Ok(())
        });
        actor.unlink(&task);
        actor.kill();
        yield_now();
        assert!(!task.ready());
        go.set();
        assert!(task.join().is_normal());
    });
}

#[test]
fn a_local_task_need_not_be_send() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let noted = log.clone();
        actor.work(move |_, ctx| {
            let here = std::rc::Rc::new(5);
            ctx.spawn_task_local(move || {
                noted.note(*here);
                Ok(())
            });
            Ok(())
        });
        assert_eq!(log.next(), "5");
    });
}

/// Pipes the result of some work to the actor, which notes it.
fn pipe(actor: &ActorRef<Message>, work: impl FnOnce() -> u32 + Send + Sync + 'static) -> AnyActor {
    let (tell, told) = Reply::channel();
    actor.work(move |_, ctx| {
        let task = ctx.pipe_to_self(work, |result| {
            Message::Do(Box::new(move |script, _| {
                match result {
                    Ok(n) => script.log.note(format_args!("result {n}")),
                    Err(error) => {
                        script.log.note(error.to_string().rsplit(": ").next().unwrap_or_default());
                    }
                }
                Ok(())
            }))
        });
        tell.send(task);
        Ok(())
    });
    told.recv().unwrap()
}

#[test]
fn results_failures_and_kills_are_piped_as_messages() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        pipe(&actor, || 42);
        assert_eq!(log.next(), "result 42");
        pipe(&actor, || panic!("lost"));
        assert_eq!(log.next(), "lost");
        pipe(&actor, || future::block_on(async { 43 }));
        assert_eq!(log.next(), "result 43");
        let begun = Arc::new(Event::new());
        let begin = begun.clone();
        let task = pipe(&actor, move || {
            begin.set();
            sleep(Duration::MAX);
            0
        });
        begun.wait();
        task.kill();
        assert_eq!(log.next(), "the greenlet was killed or exited");
        // Also before its first turn.
        actor.work(|_, ctx| {
            let note = |result: Result<(), _>| Message::Item(if result.is_err() { 1 } else { 0 });
            ctx.pipe_to_self(|| (), note).kill();
            Ok(())
        });
        assert_eq!(log.next(), "1");
        assert!(!actor.ready());
    });
}

#[test]
fn a_piped_result_waits_for_room() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(1));
        let task = pipe(&actor, || 42);
        let wait = go.clone();
        actor.begin(move |_, _| {
            wait.wait();
            Ok(())
        });
        yield_now();
        // The result is in the mailbox, or waits for that.
        while actor.try_send(Message::Item(1)).is_ok() {}
        go.set();
        task.join();
        assert!(log.next() == "result 42" || log.next() == "result 42");
    });
}

#[test]
fn a_stream_is_read_no_faster_than_it_is_handled() {
    on_hub(|| {
        let (log, read) = (Log::new(), Arc::new(AtomicU32::new(0)));
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(1));
        let count = read.clone();
        let go = Arc::new(Event::new());
        let wait = go.clone();
        actor.begin(move |_, ctx| {
            let items = (1..=100).map(move |n| {
                count.fetch_add(1, Ordering::Relaxed);
                Message::Item(n)
            });
            ctx.attach_stream_with(5, items);
            wait.wait();
            Ok(())
        });
        for _ in 0..20 {
            yield_now();
        }
        assert_eq!(read.load(Ordering::Relaxed), 5);
        go.set();
        let heard: Vec<_> = (0..100).map(|_| log.next()).collect();
        assert_eq!(heard, (1..=100).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn a_selective_receive_makes_room_for_the_stream() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            ctx.attach_stream_with(1, (1..=10).map(Message::Item));
            let sum: u32 = (0..10).map(|_| ctx.receive_match(any_item(), LONG)).sum::<Result<u32, _>>()?;
            script.log.note(sum);
            Ok(())
        });
        assert_eq!(log.next(), "55");
    });
}

#[test]
fn a_stream_ends_with_its_actor_and_its_items_with_it() {
    on_hub(|| {
        let items = Arc::new(Queue::unbounded());
        let log = Log::new();
        let actor = spawn(&log);
        let (source, dropped) = (items.clone(), Dropped("iterator", log.clone()));
        let (tell, told) = Reply::channel();
        actor.work(move |_, ctx| {
            tell.send(ctx.attach_stream(std::iter::from_fn(move || {
                let _ = &dropped;
                source.get().ok().map(Message::Item)
            })));
            Ok(())
        });
        let stream = told.recv().unwrap();
        items.put(1).unwrap();
        assert_eq!(log.next(), "1");
        actor.kill();
        assert!(matches!(stream.join(), Exit::Killed));
        assert_eq!(log.next(), "iterator dropped");
    });
}

/// Attaches a feed whose end is noted when the actor comes to it.
fn feed(actor: &ActorRef<Message>, feed: impl FnOnce() -> Feed<Message> + Send + Sync + 'static) -> AnyActor {
    let (tell, told) = Reply::channel();
    actor.work(move |_, ctx| {
        let end = |end: Result<(), GreenletError>| {
            let how = match end {
                Ok(()) => "no more".to_owned(),
                Err(GreenletError::Failed(failure)) => word(&Exit::Failed(failure)),
                Err(_) => "killed".to_owned(),
            };
            Message::Do(Box::new(|script, _| {
                script.log.note(how);
                Ok(())
            }))
        };
        tell.send(ctx.attach(feed().end(end)));
        Ok(())
    });
    told.recv().unwrap()
}

#[test]
fn the_end_of_a_stream_comes_as_a_message_behind_its_items() {
    on_hub(|| {
        let log = Log::new();
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(1));
        feed(&actor, || Feed::of((1..=3).map(Message::Item)).window(5)).join();
        assert_eq!([log.next(), log.next(), log.next(), log.next()], ["1", "2", "3", "no more"]);
    });
}

#[test]
fn how_a_stream_failed_comes_as_its_end_and_the_actor_goes_on() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let failing = || {
            let items = (1..=3).map(|n| if n == 2 { panic!("torn") } else { Message::Item(n) });
            Feed::of(items).window(1)
        };
        feed(&actor, failing).join();
        assert_eq!([log.next(), log.next()], ["1", "panic torn"]);
        // Killed while it waits for the next item, and before its first turn.
        let (begun, begin) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let tell = begin.clone();
        let endless = move || {
            Feed::of(std::iter::from_fn(move || {
                tell.set();
                begun.wait();
                None
            }))
        };
        let waiting = feed(&actor, endless);
        begin.wait();
        waiting.kill();
        assert_eq!(log.next(), "killed");
        actor.work(|script, ctx| {
            let log = script.log.clone();
            let never = Feed::of(std::iter::once_with(|| -> Message { unreachable!("it is killed before") }));
            let end = move |end: Result<(), _>| {
                log.note(if end.is_err() { "never ran" } else { "ran" });
                Message::Item(0)
            };
            ctx.attach(never.end(end)).kill();
            Ok(())
        });
        assert_eq!([log.next(), log.next()], ["never ran", "0"]);
        assert!(!actor.ready());
    });
}

#[test]
fn a_stream_that_fails_without_an_end_ends_its_actor() {
    on_hub(|| {
        let actor = spawn(&Log::new());
        actor.work(|_, ctx| {
            ctx.attach_stream(std::iter::once_with(|| -> Message { panic!("torn") }));
            Ok(())
        });
        assert_eq!(word(&actor.join()), "panic torn");
    });
}

#[test]
#[should_panic(expected = "a window of no items would never let one through")]
fn a_window_without_items_is_refused() {
    let _ = Feed::of([Message::Item(1)]).window(0);
}

#[cfg(feature = "futures")]
mod async_streams {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use futures_core::Stream;

    use super::*;

    /// Items that somebody else provides, and the waker of who waits for them.
    #[derive(Default)]
    struct Pipe(Mutex<(std::collections::VecDeque<Option<u32>>, Option<Waker>)>);

    impl Pipe {
        /// `None` is the end.
        fn put(&self, item: Option<u32>) {
            let mut pipe = self.0.lock().unwrap();
            pipe.0.push_back(item);
            let waker = pipe.1.take();
            drop(pipe);
            waker.into_iter().for_each(Waker::wake);
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().0.len()
        }
    }

    struct Items(Arc<Pipe>);

    impl Stream for Items {
        type Item = Message;
        fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
            let mut pipe = self.0.0.lock().unwrap();
            match pipe.0.pop_front() {
                Some(item) => {
                    Poll::Ready(item.map(|n| if n == 13 { panic!("torn") } else { Message::Item(n) }))
                }
                None => {
                    pipe.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    fn attached(actor: &ActorRef<Message>, window: usize) -> (Arc<Pipe>, AnyActor) {
        let pipe = Arc::new(Pipe::default());
        let items = pipe.clone();
        (pipe, feed(actor, move || Feed::of_stream(Items(items)).window(window)))
    }

    #[test]
    fn an_async_stream_is_awaited_and_its_end_is_told() {
        on_hub(|| {
            let log = Log::new();
            let actor = spawn(&log);
            let (pipe, _) = attached(&actor, 16);
            actor.settle();
            pipe.put(Some(1));
            assert_eq!(log.next(), "1");
            // From a thread that knows nothing of hubs.
            std::thread::spawn(move || {
                pipe.put(Some(2));
                pipe.put(None);
            });
            assert_eq!([log.next(), log.next()], ["2", "no more"]);
        });
    }

    #[test]
    fn an_async_stream_is_polled_no_faster_than_it_is_handled() {
        on_hub(|| {
            let (log, go) = (Log::new(), Arc::new(Event::new()));
            let actor = spawn(&log);
            let (pipe, _) = attached(&actor, 3);
            let wait = go.clone();
            actor.begin(move |_, _| {
                wait.wait();
                Ok(())
            });
            (0..10).for_each(|n| pipe.put(Some(n)));
            for _ in 0..20 {
                yield_now();
            }
            assert_eq!(pipe.left(), 7);
            go.set();
            assert_eq!(
                (0..10).map(|_| log.next()).collect::<Vec<_>>(),
                (0..10).map(|n| n.to_string()).collect::<Vec<_>>()
            );
        });
    }

    #[test]
    fn an_async_stream_that_fails_or_whose_actor_ends_is_dropped() {
        on_hub(|| {
            let log = Log::new();
            let actor = spawn(&log);
            let (pipe, failing) = attached(&actor, 16);
            pipe.put(Some(13));
            failing.join();
            assert_eq!(log.next(), "panic torn");
            let (pipe, waiting) = attached(&actor, 16);
            actor.kill();
            assert!(matches!(waiting.join(), Exit::Killed));
            assert_eq!(Arc::strong_count(&pipe), 1, "the stream is gone");
        });
    }
}

#[test]
fn on_several_hubs_streams_keep_their_order_and_lose_nothing() {
    let sums = System::builder().hubs(2).run(|| {
        let done = Arc::new(Queue::unbounded());
        for _ in 0..4 {
            let tell = done.clone();
            let actor = spawn(&Log::new());
            actor.work(move |_, ctx| {
                for _ in 0..2 {
                    ctx.attach_stream((0..500).map(Message::Item));
                }
                let mut seen = Vec::new();
                for _ in 0..1000 {
                    seen.push(ctx.receive_match(any_item(), LONG)?);
                }
                // Each number comes twice, for the second time after everything that is less has come once.
                let mut next = [0, 0];
                for n in &seen {
                    let stream = if next[0] == *n { 0 } else { 1 };
                    assert_eq!(next[stream], *n);
                    next[stream] += 1;
                    next.sort_unstable_by(|a, b| b.cmp(a));
                }
                tell.put(seen.len()).expect("never shut down");
                Ok(())
            });
        }
        (0..4).map(|_| done.get_timeout(LONG).unwrap()).sum::<usize>()
    });
    assert_eq!(sums.unwrap(), 4000);
}

#[test]
fn actors_that_are_killed_while_their_tasks_work_leave_none_behind() {
    let left = System::builder().hubs(2).run(|| {
        let kept = Arc::new(());
        for round in 0..100_u64 {
            let actor = spawn(&Log::new());
            let keep = kept.clone();
            actor.work(move |_, ctx| {
                for _ in 0..3 {
                    let keep = keep.clone();
                    ctx.spawn_task(move || {
                        let _keep = keep;
                        sleep(Duration::from_micros(round * 7));
                        Ok(())
                    });
                }
                Ok(())
            });
            sleep(Duration::from_micros(round * 3));
            actor.kill();
        }
        // The tasks hear of it, each on its hub.
        let start = greenlet_core::Instant::now();
        while Arc::strong_count(&kept) > 1 && start.elapsed() < LONG {
            sleep(Duration::from_millis(1));
        }
        Arc::strong_count(&kept)
    });
    assert_eq!(left.unwrap(), 1);
}
