//! Futures as tasks, and descriptors that futures wait on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::future::{Executor, block_on, block_on_timeout};
use greenlet_core::io::Source;
use greenlet_core::{Event, Hub, Queue, run, sleep, spawn, yield_now};

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn tasks_run_in_the_order_in_which_they_were_spawned() {
    run(|| {
        let (executor, order) = (Executor::new(), Rc::new(RefCell::new(Vec::new())));
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let order = order.clone();
                executor.spawn(async move { order.borrow_mut().push(n) })
            })
            .collect();
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_task_that_panics_ends_alone_and_is_reported() {
    run(|| {
        let reports = Rc::new(RefCell::new(Vec::new()));
        let seen = reports.clone();
        Hub::set_error_handler(move |context, failure| {
            seen.borrow_mut().push(format!("{context}: {failure}"))
        });
        let executor = Executor::new();
        let bad = executor.spawn(async { panic!("out of paper") });
        let good = executor.spawn(async { 7 });
        assert!(block_on(bad).unwrap_err().to_string().contains("out of paper"));
        assert_eq!(block_on(good).unwrap(), 7);
        let reports = reports.borrow();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].starts_with("a task: ") && reports[0].contains("out of paper"), "{reports:?}");
        Hub::reset_error_handler();
    });
}

#[test]
fn tasks_are_woken_from_other_threads() {
    run(|| {
        let (executor, queue) = (Executor::new(), Arc::new(Queue::<u32>::unbounded()));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let queue = queue.clone();
                executor.spawn(async move { queue.get_op().await.unwrap() })
            })
            .collect();
        yield_now();
        let putter = thread::spawn(move || (0..50).for_each(|n| queue.put(n).unwrap()));
        let mut got: Vec<u32> = tasks.into_iter().map(|task| block_on(task).unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..50).collect::<Vec<_>>());
        putter.join().unwrap();
    });
}

#[test]
fn a_dropped_task_drops_its_future_and_a_detached_one_runs_on() {
    run(|| {
        let (executor, dropped, ran) =
            (Executor::new(), Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let start = Arc::new(Event::new());
        let (flag, event) = (dropped.clone(), start.clone());
        let doomed = executor.spawn(async move {
            let _flag = OnDrop(move || flag.set(true));
            event.wait_op().await;
            unreachable!("it was dropped");
        });
        let (flag, event) = (ran.clone(), start.clone());
        executor
            .spawn(async move {
                event.wait_op().await;
                flag.set(true);
            })
            .detach();
        yield_now();
        drop(doomed);
        start.set();
        while !ran.get() {
            yield_now();
        }
        assert!(dropped.get());
    });
}

#[test]
fn a_dropped_executor_drops_woken_tasks_and_ends_its_greenlet() {
    run(|| {
        let before = Hub::current().metrics().live;
        let (executor, dropped) = (Executor::new(), Rc::new(Cell::new(0)));
        for _ in 0..3 {
            let dropped = dropped.clone();
            let flag = OnDrop(move || dropped.set(dropped.get() + 1));
            executor
                .spawn(async move {
                    let _flag = flag;
                    std::future::pending::<()>().await
                })
                .detach();
        }
        drop(executor);
        assert_eq!(dropped.get(), 3);
        yield_now();
        assert_eq!(Hub::current().metrics().live, before);
    });
}

#[test]
fn tasks_that_wake_themselves_let_greenlets_run() {
    run(|| {
        let (executor, stop) = (Executor::new(), Rc::new(Cell::new(false)));
        let flag = stop.clone();
        let busy = executor.spawn(poll_fn(move |context| {
            context.waker().wake_by_ref();
            if flag.get() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
        sleep(Duration::from_millis(1));
        stop.set(true);
        block_on(busy).unwrap();
    });
}

fn pair() -> (Source<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours), theirs)
}

#[test]
fn a_future_reads_when_something_arrives() {
    run(|| {
        let (source, mut theirs) = pair();
        let executor = Executor::new();
        let reader = executor.spawn(async move {
            let (mut all, mut buffer) = (Vec::new(), [0; 4]);
            loop {
                match poll_fn(|context| source.poll_read(context, &mut buffer)).await.unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&buffer[..n]),
                }
            }
        });
        for part in ["one ", "two ", "three"] {
            sleep(Duration::from_millis(1));
            theirs.write_all(part.as_bytes()).unwrap();
        }
        drop(theirs);
        assert_eq!(block_on(reader).unwrap(), b"one two three");
    });
}

#[test]
fn close_ends_a_future_that_waits() {
    run(|| {
        let (source, _theirs) = pair();
        let source = Rc::new(source);
        let closer = source.clone();
        spawn(move || closer.close());
        let error = block_on(poll_fn(|context| source.poll_read(context, &mut [0; 4]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_future_that_was_dropped_does_not_bar_a_greenlet() {
    run(|| {
        let (source, mut theirs) = pair();
        let mut buffer = [0; 4];
        let wait = poll_fn(|context| source.poll_read(context, &mut buffer));
        assert!(block_on_timeout(wait, Duration::from_millis(1)).is_err());
        spawn(move || theirs.write_all(b"late").unwrap());
        assert_eq!(source.read(&mut buffer, None).unwrap(), 4);
    });
}

#[test]
fn polling_on_a_thread_without_a_hub_is_an_error() {
    let (source, _theirs) = pair();
    let error = thread::spawn(move || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match source.poll_read(&mut context, &mut [0; 4]) {
            std::task::Poll::Ready(Err(error)) => error.kind(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(
        thread::Builder::new().spawn(move || error.join().unwrap()).unwrap().join().unwrap(),
        ErrorKind::Unsupported
    );
}

#[test]
fn a_task_whose_executor_is_gone_is_dropped_with_its_source_when_it_is_woken() {
    run(|| {
        let (source, mut theirs) = pair();
        let (executor, dropped) = (Executor::new(), Rc::new(Event::new()));
        let drops = dropped.clone();
        let task = executor.spawn(async move {
            let _drops = OnDrop(|| drops.set());
            let source = source;
            let mut buffer = [0; 4];
            poll_fn(|context| source.poll_read(context, &mut buffer)).await.unwrap()
        });
        task.detach();
        sleep(Duration::from_millis(1));
        drop(executor);
        sleep(Duration::from_millis(1));
        // The loop finds it ready, and wakes the task.
        theirs.write_all(b"x").unwrap();
        assert!(dropped.wait_timeout(Duration::from_secs(10)));
    });
}
