//! Greenlets and async tasks in one program: a greenlet waits for a future, and a task of tokio awaits a queue that greenlets fill.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin async_bridge
//! ```
//!
//! and you will see
//!
//! ```text
//! a greenlet waited for tokio's timer: 42
//! meanwhile another greenlet ran
//! a task of tokio got 1 + 2 + 3 from greenlets
//! a greenlet heard 6
//! too slow, and dropped: timed out after 10ms
//! ```
//!
//! Nothing blocks: while a future waits, the other greenlets of the thread run.

use std::sync::Arc;
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::{Queue, ShutDown, spawn};
use tokio::runtime::Runtime;

fn main() -> std::io::Result<()> {
    let runtime = Runtime::new()?;

    // Its timer needs tokio, so it is a task there; the handle of the task is a future that anybody may poll.
    let other = spawn(|| println!("meanwhile another greenlet ran"));
    let answer = runtime.spawn(async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        42
    });
    let answer = block_on(answer).expect("the task does not panic");
    println!("a greenlet waited for tokio's timer: {answer}");
    other.join();

    // The same queue on both sides. Its operations are futures for tasks, and suspend greenlets.
    let (numbers, sums) = (Arc::new(Queue::bounded(1)), Arc::new(Queue::unbounded()));
    runtime.spawn({
        let (numbers, sums) = (numbers.clone(), sums.clone());
        async move {
            let mut got = Vec::new();
            while let Ok(number) = numbers.get_op().await {
                got.push(number);
            }
            let terms: Vec<String> = got.iter().map(u32::to_string).collect();
            println!("a task of tokio got {} from greenlets", terms.join(" + "));
            sums.put_op(got.iter().sum::<u32>()).await
        }
    });
    let filler = spawn(move || -> Result<(), ShutDown<u32>> {
        for number in 1..=3 {
            numbers.put(number)?;
        }
        numbers.shutdown();
        Ok(())
    });
    println!("a greenlet heard {}", sums.get().expect("the sum comes"));
    assert!(matches!(filler.into_value(), Ok(Ok(()))));

    // A limit drops the future at the await where it waits.
    if let Err(late) = block_on_timeout(std::future::pending::<()>(), Duration::from_millis(10)) {
        println!("too slow, and dropped: {late}");
    }
    Ok(())
}
