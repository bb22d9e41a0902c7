//! Names, groups, topics and a pool: a small newsroom.
//!
//! Type `cargo run -p greenlet-examples --bin switchboard`. You will see a reporter that is found by name, a pool of editors that shortens what it
//! sends, readers that get it by topic, one of whom leaves, what happens to a message for a reader that has ended, and the reporter
//! taking its name again after a failure.

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::dead_letters::DeadLetters;
use greenlet_actor::groups::Scope;
use greenlet_actor::pool::{Pool, PoolRef, Routing};
use greenlet_actor::pubsub::{PubSub, Published};
use greenlet_actor::{ActorBuilder, Context, Exit, Supervisor, System, actor, multi_ask, registry, worker};
use greenlet_core::Event;

const SOON: Duration = Duration::from_secs(5);

/// Shortens texts.
struct Editor;

#[actor]
impl Editor {
    fn shorten(&self, text: String) -> String {
        text.split(". ").next().unwrap_or_default().to_owned()
    }
}

/// Has its texts shortened, and publishes them.
struct Reporter {
    editors: PoolRef<EditorMessage>,
    news: PubSub<String>,
}

#[actor]
impl Reporter {
    #[hook]
    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        // Free again, whatever ended the one before.
        registry::register("reporter", ctx.me())?;
        println!("the reporter is there");
        Ok(())
    }

    fn report(&mut self, topic: String, text: String) -> Result<usize, Exit> {
        let text = self.editors.call(EditorMessage::ask_shorten(text))?;
        Ok(self.news.publish(&topic, text))
    }

    fn stumble(&mut self) -> Result<(), Exit> {
        Err(std::io::Error::other("no pencil").into())
    }
}

struct Reader {
    name: &'static str,
    read: Vec<String>,
}

#[actor]
impl Reader {
    fn read(&mut self, news: Published<String>) {
        self.read.push(format!("{} ({})", news.value, news.topic));
    }

    fn leave(&mut self, until: Arc<Event>) -> Result<(), Exit> {
        until.wait();
        Err(Exit::Normal)
    }

    fn all(&self) -> (&'static str, Vec<String>) {
        (self.name, self.read.clone())
    }
}

fn newsroom() -> Result<(), Box<dyn std::error::Error>> {
    let news = PubSub::new();
    let readers: Scope = Scope::new();
    for (name, topics) in [("Ann", "sport.#"), ("Bob", "*.local"), ("Cid", "#")] {
        let reader = ActorBuilder::new().name(name).spawn(Reader { name, read: Vec::new() });
        news.subscribe(topics, &reader, ReaderMessage::read)?;
        readers.join("readers", &reader)?;
    }

    let editors = Pool::of(3, || Editor).routing(Routing::LeastMailbox).start()?;
    let tree = Supervisor::one_for_one()
        .child(worker("reporter", {
            let (editors, news) = (editors.clone(), news.clone());
            move || Reporter { editors: editors.clone(), news: news.clone() }
        }))
        .start()?;

    let reporter = || registry::whereis("reporter").map(ReporterRef::from).ok_or("nobody reports");
    for (topic, text) in [
        ("sport.local", "We won. It rained."),
        ("sport.chess", "A draw. Again."),
        ("roads.local", "A hole. It is deep."),
    ] {
        println!("{topic}: {} read it", reporter()?.report(topic.to_owned(), text.to_owned())?);
    }

    let letters = DeadLetters::open();
    let bob = ReaderRef::from(readers.members("readers").remove(1));
    let until = Arc::new(Event::new());
    bob.cast_leave(until.clone()).map_err(|_| "Bob has left")?;
    bob.cast_all().map_err(|_| "Bob has left")?; // behind it
    until.set();
    bob.join();
    if let Some(letter) = letters.recv_timeout(SOON) {
        println!("dead letter: {} for {}", letter.label, letter.name.unwrap_or_default());
    }

    let first = reporter()?;
    first.cast_stumble().map_err(|_| "it has ended")?;
    first.join();
    while registry::whereis::<ReporterMessage>("reporter").is_none() {
        greenlet_core::yield_now();
    }
    reporter()?.report("roads.local".to_owned(), "No hole. It is mended.".to_owned())?;

    let members = readers.members::<ReaderMessage>("readers");
    let answers = multi_ask(&members, |reply| ReaderMessage::ask_all()(reply), SOON);
    for (_, (name, read)) in answers.replies {
        println!("{name} has read {}", read.join(", "));
    }
    tree.shutdown();
    editors.shutdown();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    System::builder().hubs(2).run(newsroom)?
}
