//! An account: an actor, and its page of the bank's book.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use greenlet_actor::{Actor, Context, Exit, PartitionRef};
use greenlet_core::yield_now;

/// What outlives the actor.
#[derive(Default)]
pub struct Page {
    pub balance: i64,
    /// Paid, and not known to have arrived: to whom, and how much.
    pub under_way: BTreeMap<u64, (usize, i64)>,
    /// Received.
    pub seen: HashSet<u64>,
}

impl Page {
    fn pay(&mut self, id: u64, to: usize, amount: i64) -> bool {
        let covered = self.balance >= amount;
        if covered {
            self.balance -= amount;
            self.under_way.insert(id, (to, amount));
        }
        covered
    }
}

/// A page for each account.
pub type Book = Arc<Mutex<Vec<Page>>>;

pub struct Account {
    pub number: usize,
    pub book: Book,
    pub bank: Arc<OnceLock<PartitionRef>>,
}

/// Numbers of transfers, of accounts, and amounts.
pub enum Message {
    Transfer(u64, usize, i64),
    Credit(u64, usize, i64),
    Arrived(u64),
    /// Send again what is under way: it may have been lost with an account that was killed.
    Remind,
}

impl Account {
    /// Writes the account's own page: after a while, in which it may be killed; but then it is written as a whole.
    fn write<R>(&self, change: impl FnOnce(&mut Page) -> R) -> R {
        yield_now();
        change(&mut self.book.lock().unwrap()[self.number])
    }

    fn tell(&self, number: usize, message: Message) {
        // To an account that is being restarted it is lost.
        self.bank.get().and_then(|bank| bank.partition(number)).map(|account| account.send(message));
    }
}

impl Actor for Account {
    type Message = Message;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.me().send(Message::Remind).map_err(|_| Exit::NoProc)
    }

    fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Transfer(id, to, amount) => {
                if self.write(|page| page.pay(id, to, amount)) {
                    self.tell(to, Message::Credit(id, self.number, amount));
                }
            }
            Message::Credit(id, from, amount) => {
                self.write(|page| page.balance += if page.seen.insert(id) { amount } else { 0 });
                self.tell(from, Message::Arrived(id));
            }
            Message::Arrived(id) => drop(self.write(|page| page.under_way.remove(&id))),
            Message::Remind => {
                for (id, (to, amount)) in self.write(|page| page.under_way.clone()) {
                    self.tell(to, Message::Credit(id, self.number, amount));
                }
            }
        }
        Ok(())
    }
}
