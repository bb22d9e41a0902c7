//! Supervisors of partitions.

mod nursery;
mod probe;

use std::collections::HashSet;

use greenlet_actor::{DynamicSupervisor, Exit, PartitionSupervisor, StartChildError, Supervisor, supervisor};
use greenlet_core::yield_now;
use nursery::{Census, Free, Order, on_two_hubs};
use probe::{LONG, on_hub};

#[test]
fn equal_keys_choose_the_same_partition_and_different_ones_all() {
    on_hub(|| {
        let partitions = PartitionSupervisor::workers(|_| Free(None)).partitions(5).start().unwrap();
        assert_eq!(partitions.partitions(), 5);
        assert_eq!(partitions.count_children().unwrap().active, 5);
        let chosen: HashSet<_> = (0..200).map(|key| partitions.partition_of(&key)).collect();
        assert_eq!(chosen.len(), 5);
        for key in ["Anna", "Ben"] {
            assert_eq!(partitions.partition_of(key), partitions.partition_of(&key.to_owned()));
            assert!(partitions.child::<Order>(key).is_some());
            assert!(partitions.child::<u32>(key).is_none());
        }
        let ids: Vec<_> = partitions.which_children().unwrap().into_iter().map(|child| child.id).collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4"]);
    });
}

#[test]
fn a_partition_that_fails_is_restarted_alone_and_found_again() {
    on_hub(|| {
        let partitions =
            PartitionSupervisor::workers(|_| Free(None)).partitions(3).intensity(1, LONG).start().unwrap();
        let all = |key: usize| partitions.child::<Order>(&key).unwrap();
        let before: Vec<_> = (0..20).map(all).collect();
        before[0].send(Order::Fail).unwrap();
        before[0].join();
        partitions.which_children().unwrap();
        let failed = partitions.partition_of(&0_usize);
        for (key, before) in before.iter().enumerate() {
            assert_eq!(*before == all(key), partitions.partition_of(&key) != failed);
        }
    });
}

#[test]
fn partitions_in_a_tree_are_found_by_their_id() {
    on_hub(|| {
        let partitions = || PartitionSupervisor::dynamic(DynamicSupervisor::new()).partitions(2);
        let tree = Supervisor::one_for_one()
            .child(supervisor("sessions", partitions))
            .child(supervisor("other", Supervisor::one_for_one))
            .start()
            .unwrap();
        let sessions = tree.partitions("sessions").unwrap();
        assert!(tree.partitions("other").is_none() && tree.partitions("nobody").is_none());
        let child = sessions.start_child("Anna", || Free(None)).unwrap();
        let partition = sessions.partition_of("Anna");
        assert!(child.path().starts_with(&format!("/supervisor/sessions/{partition}/")), "{}", child.path());
        assert_eq!(sessions.supervisor_of("Anna").unwrap().count_children().unwrap().active, 1);
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert!(child.ready());
        let late = sessions.start_child("Anna", || Free(None));
        assert!(matches!(late, Err(StartChildError::Supervisor(_))));
    });
}

#[test]
fn without_a_number_there_is_a_partition_for_each_hub() {
    on_hub(|| {
        let partitions = PartitionSupervisor::dynamic(DynamicSupervisor::new()).start().unwrap();
        assert_eq!(partitions.partitions(), 1);
    });
    on_two_hubs(|| {
        let partitions = PartitionSupervisor::dynamic(DynamicSupervisor::new()).start().unwrap();
        assert_eq!(partitions.partitions(), 2);
    });
}

/// Tells the thread on which it was started.
struct Somewhere;

impl greenlet_actor::Actor for Somewhere {
    type Message = greenlet_actor::Reply<std::thread::ThreadId>;

    fn receive(&mut self, reply: Self::Message, _: &mut greenlet_actor::Context<Self>) -> Result<(), Exit> {
        reply.send(std::thread::current().id());
        Ok(())
    }
}

#[test]
fn on_two_hubs_children_of_different_partitions_are_on_different_hubs() {
    on_two_hubs(|| {
        let dynamic = DynamicSupervisor::new().intensity(usize::MAX, LONG);
        let partitions = PartitionSupervisor::dynamic(dynamic).start().unwrap();
        let threads: HashSet<_> = (0..20)
            .map(|key| {
                let partition = partitions.supervisor_of(&key).unwrap();
                let spec = greenlet_actor::DynamicSpec::worker_local(|| Somewhere);
                partition.start_spec(spec).unwrap().call(|reply| reply).unwrap()
            })
            .collect();
        assert_eq!(threads.len(), 2);
        partitions.shutdown();
    });
}

#[test]
fn on_two_hubs_killed_partitions_leave_no_orphan() {
    on_two_hubs(|| {
        for turns in 0..100 {
            let census = Census::default();
            let dynamic = DynamicSupervisor::new().intensity(usize::MAX, LONG);
            let partitions = PartitionSupervisor::dynamic(dynamic).intensity(9, LONG).start().unwrap();
            for key in 0..6 {
                let census = census.clone();
                let child = partitions.start_child(&key, move || Free(Some(census.clone()))).unwrap();
                child.send([Order::Fail, Order::Block, Order::Panic][key % 3]).unwrap();
            }
            // One of the partitions goes as well.
            partitions.supervisor_of(&0).unwrap().actor().send_exit(Exit::Killed);
            for _ in 0..turns % 20 {
                yield_now();
            }
            partitions.actor().kill();
            assert!(census.orphans().is_empty(), "{turns}: {:?}", census.orphans());
        }
    });
}
