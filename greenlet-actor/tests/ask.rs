//! Questions and answers.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, AskError, Context, Exit, Reply};
use greenlet_core::{Event, Hub, Queue, joinall, sleep, spawn, with_timeout, yield_now};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, no_disk, on_hub, word};

/// Too short for any answer in these tests.
const SHORT: Duration = Duration::from_millis(5);

/// A question that gives its reply to this queue.
fn question<T: Send + 'static>(replies: &Arc<Queue<Reply<T>>>) -> impl FnOnce(Reply<T>) -> Job + use<T> {
    let replies = replies.clone();
    move |reply| {
        Box::new(move |_: &mut Context<Probe>| {
            replies.put(reply).unwrap();
            Ok(())
        })
    }
}

// --- answers -----------------------------------------------------------------------------------------------------

#[test]
fn an_answer_comes_from_the_handler() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let id = actor.query(|ctx, reply| {
            reply.send(ctx.id());
            Ok(())
        });
        assert_eq!(id.unwrap(), actor.id());
    });
}

#[test]
fn an_answer_may_come_later_while_the_actor_does_other_things() {
    on_hub(|| {
        let (actor, replies) = (Probe::new().spawn_local(), Arc::new(Queue::unbounded()));
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let (actor, replies) = (actor.clone(), replies.clone());
                spawn(move || actor.ask(question(&replies), LONG))
            })
            .collect();
        let held: Vec<_> = (0..3).map(|_| replies.get().unwrap()).collect();
        actor.settle();
        assert!(askers.iter().all(|asker| !asker.ready()));
        for (n, reply) in held.into_iter().enumerate().rev() {
            reply.send(n);
        }
        for (n, asker) in askers.into_iter().enumerate() {
            assert_eq!(asker.into_value().unwrap().unwrap(), n);
        }
    });
}

#[test]
fn an_answer_may_come_from_another_actor_a_greenlet_or_a_thread() {
    on_hub(|| {
        let (front, back) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let by_actor = front.query(move |_, reply| {
            back.run(|ctx| {
                reply.send(ctx.id());
                Ok(())
            });
            Ok(())
        });
        assert_ne!(by_actor.unwrap(), front.id());
        let by_greenlet = front.query(|_, reply| {
            spawn(move || reply.send("greenlet"));
            Ok(())
        });
        assert_eq!(by_greenlet.unwrap(), "greenlet");
        let by_thread = front.query(|_, reply| {
            std::thread::spawn(move || reply.send("thread"));
            Ok(())
        });
        assert_eq!(by_thread.unwrap(), "thread");
    });
}

#[test]
fn an_answer_from_elsewhere_comes_even_if_the_actor_that_was_asked_has_ended() {
    on_hub(|| {
        let (actor, replies) = (Probe::new().spawn_local(), Arc::new(Queue::unbounded()));
        let asker = spawn({
            let (actor, replies) = (actor.clone(), replies.clone());
            move || actor.ask(question(&replies), LONG)
        });
        let reply = replies.get().unwrap();
        actor.kill();
        reply.send("posthumous");
        assert_eq!(asker.into_value().unwrap().unwrap(), "posthumous");
    });
}

#[test]
fn a_chain_of_actors_asks_to_its_end_and_back() {
    struct Link(Option<ActorRef<Reply<u32>>>);
    impl Actor for Link {
        type Message = Reply<u32>;
        fn receive(&mut self, reply: Reply<u32>, _: &mut Context<Self>) -> Result<(), Exit> {
            let behind = self.0.as_ref().map_or(Ok(0), |next| next.ask(|reply| reply, LONG))?;
            reply.send(behind + 1);
            Ok(())
        }
    }
    on_hub(|| {
        let chain = (0..200).fold(None, |next, _| Some(Link(next).spawn_local()));
        assert_eq!(chain.unwrap().ask(|reply| reply, LONG).unwrap(), 200);
    });
}

#[test]
fn a_failure_at_the_end_of_a_chain_comes_back_as_the_reason() {
    on_hub(|| {
        let last = Probe::new().spawn_local();
        let first = Probe::new().spawn_local();
        let answer = first.query::<()>({
            let last = last.clone();
            move |_, reply| {
                last.query::<()>(|_, _reply| Err(no_disk()))?;
                reply.send(());
                Ok(())
            }
        });
        assert_eq!(word(&last.join()), "no disk");
        assert_eq!(word(&first.join()), "the actor has ended: no disk");
        let error = answer.unwrap_err().to_string();
        assert_eq!(error, "the actor has ended: the actor has ended: no disk");
    });
}

#[test]
fn plain_threads_and_other_hubs_ask() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let ask = |actor: &ActorRef<Job>| {
            (0..50).all(|n| {
                let answer = actor.query(move |_, reply| {
                    reply.send(n);
                    Ok(())
                });
                answer.unwrap() == n
            })
        };
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let actor = actor.clone();
                Elsewhere::spawn(move || ask(&actor))
            })
            .collect();
        let hub = Hub::thread("asking").start().unwrap();
        let greenlets: Vec<_> = (0..3)
            .map(|_| {
                let actor = actor.clone();
                hub.handle().spawn(move || ask(&actor)).unwrap()
            })
            .collect();
        joinall(&greenlets);
        assert!(greenlets.iter().all(|greenlet| greenlet.value() == Some(&true)));
        assert!(threads.into_iter().all(Elsewhere::join));
        hub.join();
    });
}

// --- timeouts ----------------------------------------------------------------------------------------------------

#[test]
fn an_asker_gives_up_at_the_timeout_and_the_late_answer_is_dropped() {
    on_hub(|| {
        let (log, replies) = (Log::new(), Arc::new(Queue::unbounded()));
        let actor = Probe::new().spawn_local();
        let answer = actor.ask(question(&replies), SHORT);
        assert!(matches!(answer, Err(AskError::TimedOut(SHORT))), "{:?}", answer.err());
        assert_eq!(answer.err().unwrap().to_string(), "no answer in 5ms");
        replies.get().unwrap().send(probe::Dropped("answer", log.clone()));
        assert_eq!(log.taken(), ["answer dropped"]);
        // The next question gets its own answer.
        let next = actor.query(|_, reply| {
            reply.send("next");
            Ok(())
        });
        assert_eq!(next.unwrap(), "next");
    });
}

#[test]
fn a_timeout_covers_the_wait_for_room() {
    on_hub(|| {
        let actor = ActorBuilder::new().capacity(1).start_local(Probe::new()).unwrap();
        actor.suspend();
        actor.run(|_| Ok(()));
        let replies = Arc::new(Queue::<Reply<()>>::unbounded());
        let answer = actor.ask(question(&replies), SHORT);
        assert!(matches!(answer, Err(AskError::TimedOut(SHORT))), "{answer:?}");
        assert_eq!(actor.mailbox_len(), 1, "the question was taken back");
    });
}

#[test]
fn a_question_that_waited_for_room_is_answered() {
    on_hub(|| {
        let actor = ActorBuilder::new().capacity(1).start_local(Probe::new()).unwrap();
        let go = Arc::new(Event::new());
        actor.suspend_in({
            let go = go.clone();
            move |_| go.wait()
        });
        actor.run(|_| Ok(()));
        let asker = spawn({
            let actor = actor.clone();
            move || {
                actor.query(|_, reply| {
                    reply.send("there was room");
                    Ok(())
                })
            }
        });
        yield_now();
        go.set();
        assert_eq!(asker.into_value().unwrap().unwrap(), "there was room");
    });
}

#[test]
fn an_asker_that_waits_for_room_hears_of_the_end() {
    on_hub(|| {
        let actor = ActorBuilder::new().capacity(1).start_local(Probe::new()).unwrap();
        actor.suspend();
        actor.run(|_| Ok(()));
        let asker = spawn({
            let actor = actor.clone();
            move || actor.ask(question(&Arc::new(Queue::<Reply<()>>::unbounded())), LONG)
        });
        yield_now();
        actor.send_exit(no_disk());
        let answer = asker.into_value().unwrap();
        let Err(AskError::Ended(exit)) = answer else { panic!("{answer:?}") };
        assert_eq!(word(&exit), "no disk");
    });
}

#[test]
fn a_timeout_of_nothing_asks_all_the_same() {
    on_hub(|| {
        let (actor, replies) = (Probe::new().spawn_local(), Arc::new(Queue::<Reply<()>>::unbounded()));
        let answer = actor.ask(question(&replies), Duration::ZERO);
        assert!(matches!(answer, Err(AskError::TimedOut(Duration::ZERO))), "{answer:?}");
        assert!(replies.get_timeout(LONG).is_ok());
    });
}

#[test]
fn an_ask_inside_a_timeout_leaves_nothing_behind() {
    on_hub(|| {
        let (actor, replies) = (Probe::new().spawn_local(), Arc::new(Queue::<Reply<()>>::unbounded()));
        assert!(with_timeout(SHORT, || actor.ask(question(&replies), LONG)).is_err());
        replies.get_timeout(LONG).unwrap().send(());
        actor.settle();
    });
}

// --- no answer ---------------------------------------------------------------------------------------------------

#[test]
fn asking_the_dead_fails_at_once_with_the_reason_of_its_end() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        actor.run(|_| Err(no_disk()));
        actor.join();
        let answer = actor.query::<()>(|_, _| unreachable!("it is dead"));
        let Err(AskError::Ended(exit)) = answer else { panic!("{answer:?}") };
        assert_eq!(word(&exit), "no disk");
    });
}

#[test]
fn an_asker_hears_at_once_that_the_actor_ended_with_its_question() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let answer = actor.query::<()>(|_, _reply| Err(Exit::Normal));
        assert!(matches!(answer, Err(AskError::Ended(Exit::Normal))), "{answer:?}");
    });
}

#[test]
fn a_dropped_reply_tells_the_asker_that_there_is_no_answer() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let answer = actor.query::<()>(|_, reply| {
            drop(reply);
            Ok(())
        });
        assert!(matches!(answer, Err(AskError::NoReply)), "{answer:?}");
        actor.settle(); // it lives
    });
}

#[test]
fn a_reply_dropped_by_an_actor_that_was_told_to_stop_is_noticed() {
    on_hub(|| {
        let (actor, go) = (Probe::new().start_local().unwrap(), Arc::new(Event::new()));
        let asker = spawn({
            let (actor, go) = (actor.clone(), go.clone());
            move || {
                actor.query::<()>(move |_, reply| {
                    go.wait();
                    drop(reply);
                    Ok(())
                })
            }
        });
        yield_now();
        yield_now();
        actor.stop();
        go.set();
        let answer = asker.into_value().unwrap();
        // It did not answer, and it has ended: either is the truth.
        assert!(matches!(answer, Err(AskError::NoReply | AskError::Ended(Exit::Normal))), "{answer:?}");
    });
}

#[test]
fn threads_hear_that_the_actor_they_ask_fails() {
    on_hub(|| {
        for _ in 0..500 {
            let actor = Probe::new().spawn_local();
            let asker = Elsewhere::spawn({
                let actor = actor.clone();
                move || actor.query::<()>(|_, _reply| Err(no_disk()))
            });
            actor.join();
            // The reply is dropped an instant before the failure is known.
            match asker.join() {
                Err(AskError::Ended(exit)) => assert_eq!(word(&exit), "no disk"),
                Err(AskError::NoReply) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn an_asker_hears_at_once_that_its_reply_was_dropped_even_if_the_handler_fails_later() {
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            yield_now();
        }
    }
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let answer = actor.query::<()>(|_, reply| {
            let (_slow, _reply) = (Slow, reply); // the reply is dropped first
            Err(no_disk())
        });
        assert!(matches!(answer, Err(AskError::NoReply)), "{answer:?}");
        assert_eq!(word(&actor.join()), "no disk");
    });
}

#[test]
fn an_actor_cannot_ask_itself() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let answer = actor.query(|ctx, reply| {
            reply.send(ctx.me().query::<()>(|_, _| unreachable!("it would wait for itself")));
            Ok(())
        });
        assert!(matches!(answer, Ok(Err(AskError::Itself))), "{answer:?}");
    });
}

#[test]
fn a_greenlet_of_an_actor_may_ask_it() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let answer = actor.query(|ctx, reply| {
            let me = ctx.me().clone();
            spawn(move || {
                let answer = me.query(|_, reply| {
                    reply.send("answered");
                    Ok(())
                });
                reply.send(answer.unwrap());
            });
            Ok(())
        });
        assert_eq!(answer.unwrap(), "answered");
    });
}

// --- the end in the middle of a question -------------------------------------------------------------------------

#[test]
fn an_asker_hears_that_the_actor_was_killed_while_it_had_the_question() {
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        let asker = spawn({
            let actor = actor.clone();
            move || {
                actor.query::<()>(|_, reply| {
                    let _reply = reply;
                    sleep(Duration::MAX);
                    Ok(())
                })
            }
        });
        yield_now();
        yield_now();
        actor.kill();
        let answer = asker.into_value().unwrap();
        assert!(matches!(answer, Err(AskError::Ended(Exit::Killed))), "{answer:?}");
    });
}

#[test]
fn an_asker_hears_that_the_handler_panicked_even_if_terminate_takes_its_time() {
    on_hub(|| {
        let go = Arc::new(Event::new());
        let actor = Probe::new()
            .terminate({
                let go = go.clone();
                move |_, _| go.wait()
            })
            .start_local()
            .unwrap();
        let answer = actor.query::<()>(|_, reply| {
            let _reply = reply;
            panic!("in the middle of a question")
        });
        go.set();
        let Err(AskError::Ended(Exit::Failed(failure))) = answer else { panic!("{answer:?}") };
        assert!(failure.is_panic());
    });
}

#[test]
fn an_actor_cannot_ask_itself_in_terminate_either() {
    on_hub(|| {
        let answers = Arc::new(Queue::unbounded());
        let actor = Probe::new()
            .terminate({
                let answers = answers.clone();
                move |_, ctx| {
                    let question = |reply| -> probe::Job {
                        Box::new(move |_: &mut Context<Probe>| {
                            greenlet_actor::Reply::<()>::send(reply, ());
                            Ok(())
                        })
                    };
                    answers.put(ctx.me().ask(question, Duration::from_secs(2))).unwrap();
                }
            })
            .start_local()
            .unwrap();
        actor.send_exit(Exit::Shutdown);
        actor.join();
        let answer = answers.get_timeout(LONG).unwrap();
        assert!(matches!(answer, Err(AskError::Itself)), "{answer:?}");
    });
}
