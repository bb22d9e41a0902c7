//! Process groups.

mod probe;

use std::collections::HashMap;
use std::sync::Arc;

use greenlet_actor::groups::{GroupEvent, JoinError, NotJoined, Scope};
use greenlet_actor::{Actor, ActorBuilder, ActorRef, AnyActor, Context, Exit, System};
use greenlet_core::{Queue, joinall, spawn, yield_now};
use probe::{Elsewhere, LONG, on_hub};

struct Worker;

impl Actor for Worker {
    type Message = u32;
    fn receive(&mut self, _: u32, _: &mut Context<Self>) -> Result<(), Exit> {
        Ok(())
    }
}

struct Writer;

impl Actor for Writer {
    type Message = String;
    fn receive(&mut self, _: String, _: &mut Context<Self>) -> Result<(), Exit> {
        Ok(())
    }
}

/// What is known when the events are applied to the map.
fn follow(map: &mut HashMap<String, Vec<AnyActor>>, event: GroupEvent<String>) {
    match event {
        GroupEvent::Joined { group, actor } => map.entry(group).or_default().push(actor),
        GroupEvent::Left { group, actor } => {
            let members = map.get_mut(&group).expect("who leaves was there");
            let at = members.iter().position(|member| *member == actor).expect("who leaves was there");
            members.remove(at);
            if members.is_empty() {
                map.remove(&group);
            }
        }
    }
}

fn any(actor: &ActorRef<u32>) -> AnyActor {
    actor.clone().into()
}

#[test]
fn members_are_those_who_joined_and_did_not_leave() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let (a, b) = (Worker.spawn(), Worker.spawn());
        scope.join("workers", &a).unwrap();
        scope.join("workers", &b).unwrap();
        scope.join("others", &b).unwrap();
        assert_eq!(scope.members::<u32>("workers"), [a.clone(), b.clone()]);
        assert_eq!(scope.all_members("others"), [any(&b)]);
        let mut groups = scope.which_groups();
        groups.sort_unstable();
        assert_eq!(groups, ["others", "workers"]);
        scope.leave("others", &b).unwrap();
        assert_eq!(scope.which_groups(), ["workers"]);
        assert!(scope.members::<u32>("nobody's").is_empty());
    });
}

#[test]
fn who_joined_twice_has_to_leave_twice() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let a = Worker.spawn();
        scope.join("workers", &a).unwrap();
        scope.join("workers", &a).unwrap();
        assert_eq!(scope.members::<u32>("workers"), [a.clone(), a.clone()]);
        scope.leave("workers", &a).unwrap();
        assert_eq!(scope.members::<u32>("workers"), std::slice::from_ref(&a));
        scope.leave("workers", &a).unwrap();
        assert!(scope.which_groups().is_empty());
        assert_eq!(scope.leave("workers", &a), Err(NotJoined(any(&a))));
        assert_eq!(scope.leave("unheard of", &a), Err(NotJoined(any(&a))));
    });
}

#[test]
fn membership_goes_when_the_actor_ends() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let (a, b) = (Worker.spawn(), Worker.spawn());
        for group in ["one", "two", "two"] {
            scope.join(group, &a).unwrap();
        }
        scope.join("two", &b).unwrap();
        a.kill();
        assert_eq!(scope.members::<u32>("two"), std::slice::from_ref(&b));
        assert_eq!(scope.which_groups(), ["two"]);
        assert_eq!(scope.join("one", &a), Err(JoinError(any(&a))));
        b.stop();
        b.join();
        assert!(scope.which_groups().is_empty());
    });
}

#[test]
fn scopes_are_independent() {
    on_hub(|| {
        let (one, two) = (Scope::<u32>::new(), Scope::<u32>::new());
        let a = Worker.spawn();
        one.join(1_u32, &a).unwrap();
        assert!(two.members::<u32>(&1).is_empty());
        assert_eq!(two.leave(&1, &a), Err(NotJoined(any(&a))));
        assert_eq!(one.members::<u32>(&1), [a]);
    });
}

#[test]
fn a_typed_group_has_the_members_that_take_its_messages() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let (worker, writer) = (Worker.spawn(), Writer.spawn());
        let workers = scope.group::<u32>("all");
        workers.join(&worker).unwrap();
        scope.join("all", &writer).unwrap();
        assert_eq!(workers.members(), std::slice::from_ref(&worker));
        assert_eq!(scope.members::<String>("all"), [writer]);
        assert_eq!(scope.all_members("all").len(), 2);
        workers.leave(&worker).unwrap();
        assert!(workers.members().is_empty());
    });
}

#[test]
fn a_monitor_begins_with_the_map_and_hears_every_event_once_and_in_order() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let (a, b) = (Worker.spawn(), Worker.spawn());
        scope.join("workers", &a).unwrap();
        let (mut map, events) = scope.monitor();
        assert_eq!(map, HashMap::from([("workers".to_owned(), vec![any(&a)])]));
        scope.join("workers", &b).unwrap();
        scope.join("others", &a).unwrap();
        scope.leave("workers", &b).unwrap();
        a.kill();
        let heard: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
        let joined = |group: &str, actor| GroupEvent::Joined { group: group.to_owned(), actor };
        let left = |group: &str, actor| GroupEvent::Left { group: group.to_owned(), actor };
        assert_eq!(
            heard,
            [
                joined("workers", any(&b)),
                joined("others", any(&a)),
                left("workers", any(&b)),
                left("workers", any(&a)),
                left("others", any(&a)),
            ]
        );
        heard.into_iter().for_each(|event| follow(&mut map, event));
        assert!(map.is_empty());
    });
}

#[test]
fn a_monitor_of_a_group_hears_of_that_one_only() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let a = Worker.spawn();
        scope.join("mine", &a).unwrap();
        let (now, events) = scope.monitor_group("mine");
        assert_eq!(now, [any(&a)]);
        scope.join("yours", &a).unwrap();
        scope.leave("mine", &a).unwrap();
        assert!(matches!(events.recv(), GroupEvent::Left { group, .. } if group == "mine"));
        assert_eq!(events.try_recv(), None);
    });
}

#[test]
fn an_actor_gets_the_events_as_its_own_messages_until_it_takes_the_monitor_back() {
    struct Listener(Arc<Queue<GroupEvent<String>>>);
    impl Actor for Listener {
        type Message = GroupEvent<String>;
        fn receive(&mut self, event: GroupEvent<String>, _: &mut Context<Self>) -> Result<(), Exit> {
            self.0.put(event).unwrap();
            Ok(())
        }
    }
    on_hub(|| {
        let scope: Scope = Scope::new();
        let heard = Arc::new(Queue::unbounded());
        // The narrow mailbox loses nothing and holds nobody up.
        let listener = ActorBuilder::new().capacity(1).spawn(Listener(heard.clone()));
        let (now, monitor) = scope.monitor_by(&listener, |event| event);
        assert!(now.is_empty());
        let a = Worker.spawn();
        for _ in 0..5 {
            scope.join("workers", &a).unwrap();
        }
        for _ in 0..5 {
            assert!(matches!(heard.get_timeout(LONG).unwrap(), GroupEvent::Joined { .. }));
        }
        assert!(scope.demonitor(monitor));
        assert!(!scope.demonitor(monitor));
        scope.leave("workers", &a).unwrap();
        listener.finish();
        listener.join();
        assert!(heard.is_empty());
    });
}

#[test]
fn a_listener_that_fails_or_has_ended_harms_nobody() {
    on_hub(|| {
        let scope: Scope = Scope::new();
        let (a, listener) = (Worker.spawn(), Worker.spawn());
        let (_, monitor) = scope.monitor_by(&listener, |_| panic!("no message of it"));
        let (_, events) = scope.monitor();
        scope.join("workers", &a).unwrap();
        assert!(events.try_recv().is_some());
        assert!(scope.demonitor(monitor));
        let (_, monitor) = scope.monitor_by(&listener, |_| 1);
        listener.kill();
        scope.join("workers", &a).unwrap();
        assert!(!scope.demonitor(monitor), "it was dropped when its actor had ended");
    });
}

#[test]
fn the_map_and_the_events_agree_with_what_ends_while_it_joins() {
    System::builder()
        .hubs(2)
        .run(|| {
            let scope: Scope = Scope::new();
            let (mut early, early_events) = scope.monitor();
            let joiners: Vec<_> = (0..4)
                .map(|n| {
                    let scope = scope.clone();
                    spawn(move || {
                        for round in 0..150 {
                            let actor = Worker.spawn();
                            let joins = Elsewhere::spawn({
                                let (scope, actor) = (scope.clone(), actor.clone());
                                move || {
                                    for group in 0..3 {
                                        let _ = scope.join(format!("group {group}"), &actor);
                                    }
                                    let _ = scope.leave("group 0", &actor);
                                }
                            });
                            if (round + n) % 2 == 0 {
                                yield_now();
                            }
                            actor.kill();
                            let gone = |scope: &Scope| {
                                (0..3).all(|group| {
                                    let members = scope.members::<u32>(format!("group {group}").as_str());
                                    !members.contains(&actor)
                                })
                            };
                            assert!(gone(&scope));
                            joins.join();
                            assert!(gone(&scope));
                        }
                    })
                })
                .collect();
            yield_now();
            let (mut late, late_events) = scope.monitor();
            joinall(&joiners);
            assert!(joiners.iter().all(|joiner| joiner.exception().is_none()));
            assert!(scope.which_groups().is_empty());
            // Ends on the other hub may still be telling.
            while !early.is_empty()
                || early_events.try_recv().map(|event| follow(&mut early, event)).is_some()
            {
                if let Some(event) = early_events.recv_timeout(LONG) {
                    follow(&mut early, event);
                }
            }
            while !late.is_empty() || late_events.try_recv().map(|event| follow(&mut late, event)).is_some() {
                if let Some(event) = late_events.recv_timeout(LONG) {
                    follow(&mut late, event);
                }
            }
        })
        .unwrap();
}
