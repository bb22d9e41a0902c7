//! What the libraries on tokio have in common.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::Cores;

/// A runtime on so many cores.
pub fn runtime(cores: Cores) -> Runtime {
    let mut builder = match cores {
        Cores::One => Builder::new_current_thread(),
        Cores::Two => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_time().build().expect("a runtime starts")
}

/// Runs a program on one of the runtime's threads until it has a result.
pub fn run<T: Send + 'static>(
    cores: Cores,
    program: impl FnOnce(oneshot::Sender<T>) + Send + 'static,
) -> (T, Duration) {
    on_a_worker(cores, async {
        let (sink, result) = oneshot::channel();
        let start = Instant::now();
        program(sink);
        let result = result.await.expect("the program has a result");
        (result, start.elapsed())
    })
}

/// Runs a future on one of the runtime's threads.
pub fn on_a_worker<T: Send + 'static>(cores: Cores, future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = runtime(cores);
    let result = runtime.block_on(async { tokio::spawn(future).await.expect("it does not fail") });
    runtime.shutdown_background();
    result
}

/// The output of a future that is ready at once.
pub fn ready_now<T>(future: impl Future<Output = T>) -> T {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something"),
    }
}
