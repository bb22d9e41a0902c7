//! Spans around messages. One test, in a process of its own: tracing asks the thread that first comes to a span whether anybody wants it, and with one
//! subscriber, which is that of another thread, the answer is kept as no.

mod probe;

use std::sync::{Arc, Mutex};

use greenlet_actor::{Actor, ActorBuilder, Context, Exit, Reply};
use probe::on_hub;
use tracing_subscriber::fmt::format::FmtSpan;

struct Counter(u32);

impl Actor for Counter {
    type Message = Reply<u32>;

    fn receive(&mut self, reply: Reply<u32>, _: &mut Context<Self>) -> Result<(), Exit> {
        reply.send(self.0);
        Ok(())
    }

    fn label(_: &Reply<u32>) -> &'static str {
        "Get"
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_span_is_around_each_message() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::NEW)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    on_hub(move || {
        tracing::subscriber::with_default(subscriber, || {
            let actor = ActorBuilder::new().name("counter").start(Counter(0)).unwrap();
            actor.call(|reply| reply).unwrap();
            actor.stop();
            actor.join();
        });
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("path=/counter label=\"Get\""), "{text}");
}
