//! A bank whose accounts are actors, which are killed at random while money moves between them.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin bank
//!
//! and you will see (the numbers of kills and transfers follow from the seed, 1 unless another is given behind `--`)
//!
//!     20 accounts of 100 each
//!     20000 transfers asked for, 400 accounts killed, all restarted
//!     200 audits in the middle of it: each found 2000
//!     money is conserved: 2000
//!
//! Each account writes its own page of the bank's book, and nobody else does. A transfer is written down by who pays, together with the new
//! balance; who is paid writes it down too, once; then who pays crosses it out. An account that starts again finds on its page what was
//! under way, and goes on with it. So money is on an account or under way at any time, and at the end on an account.

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use greenlet_actor::{Actor, Context, Exit, PartitionRef, PartitionSupervisor, System};
use greenlet_core::{sleep, yield_now};

const ACCOUNTS: usize = 20;
const START: i64 = 100;
const TRANSFERS: u64 = 20_000;

#[derive(Default)]
struct Page {
    balance: i64,
    /// Paid, and not known to have arrived: to whom, and how much.
    under_way: BTreeMap<u64, (usize, i64)>,
    /// Received.
    seen: HashSet<u64>,
}

type Book = Arc<Mutex<Vec<Page>>>;

struct Account {
    number: usize,
    book: Book,
    bank: Arc<OnceLock<PartitionRef>>,
}

#[derive(Clone)]
enum Message {
    Transfer {
        id: u64,
        to: usize,
        amount: i64,
    },
    Credit {
        id: u64,
        amount: i64,
        from: usize,
    },
    Arrived {
        id: u64,
    },
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
        if let Some(account) = self.bank.get().and_then(|bank| bank.partition(number)) {
            let _ = account.send(message);
        }
    }
}

impl Actor for Account {
    type Message = Message;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        Ok(ctx.me().send(Message::Remind).map_err(|_| Exit::NoProc)?)
    }

    fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Transfer { id, to, amount } => {
                let paid = self.write(|page| {
                    let covered = page.balance >= amount;
                    if covered {
                        page.balance -= amount;
                        page.under_way.insert(id, (to, amount));
                    }
                    covered
                });
                if paid {
                    self.tell(to, Message::Credit { id, amount, from: self.number });
                }
            }
            Message::Credit { id, amount, from } => {
                self.write(|page| page.balance += if page.seen.insert(id) { amount } else { 0 });
                self.tell(from, Message::Arrived { id });
            }
            Message::Arrived { id } => drop(self.write(|page| page.under_way.remove(&id))),
            Message::Remind => {
                for (id, (to, amount)) in self.write(|page| page.under_way.clone()) {
                    self.tell(to, Message::Credit { id, amount, from: self.number });
                }
            }
        }
        Ok(())
    }
}

/// All the money there is: on accounts, and under way.
fn audit(book: &Book) -> i64 {
    let book = book.lock().unwrap();
    let on_the_way = |page: &Page| {
        let open = page.under_way.iter().filter(|(id, (to, _))| !book[*to].seen.contains(id));
        open.map(|(_, (_, amount))| amount).sum::<i64>()
    };
    book.iter().map(|page| page.balance + on_the_way(page)).sum()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse::<u64>());
    let (Ok(mut state), None) = (seed, arguments.next()) else {
        eprintln!("bank: the seed is a whole number\nusage: bank [SEED]");
        return ExitCode::from(2);
    };
    // Knuth's numbers; good enough to choose accounts.
    let mut random = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let page = || Page { balance: START, ..Page::default() };
    let book: Book = Arc::new(Mutex::new((0..ACCOUNTS).map(|_| page()).collect()));
    println!("{ACCOUNTS} accounts of {START} each");
    let work = || {
        let (bank, pages) = (Arc::new(OnceLock::new()), book.clone());
        let all = bank.clone();
        let accounts = PartitionSupervisor::workers(move |number| Account {
            number,
            book: pages.clone(),
            bank: all.clone(),
        })
        .partitions(ACCOUNTS)
        .intensity(usize::MAX, Duration::from_secs(1)) // as often as it takes
        .start()
        .expect("no account fails to start");
        bank.set(accounts.clone()).expect("set once");
        let mut account = || random(ACCOUNTS as u64) as usize;
        let (mut kills, mut audits) = (0, 0);
        for id in 0..TRANSFERS {
            let (from, to) = (account(), account());
            if let Some(payer) = accounts.partition(from) {
                let _ = payer.send(Message::Transfer { id, to, amount: 1 + id as i64 % 30 });
            }
            if id % 50 == 0 {
                let victim = account();
                yield_now(); // in the middle of their work
                let children = accounts.which_children().expect("the supervisor lives");
                children[victim].actor.iter().for_each(|actor| actor.send_exit(Exit::Killed));
                kills += 1;
            }
            if id % 100 == 0 {
                assert_eq!(audit(&book), ACCOUNTS as i64 * START, "money was lost or made");
                audits += 1;
            }
        }
        while book.lock().unwrap().iter().any(|page| !page.under_way.is_empty()) {
            (0..ACCOUNTS)
                .filter_map(|number| accounts.partition(number))
                .for_each(|account| drop(account.send(Message::Remind)));
            sleep(Duration::from_millis(5));
        }
        let active = accounts.count_children().expect("the supervisor lives").active;
        assert_eq!(active, ACCOUNTS);
        println!("{TRANSFERS} transfers asked for, {kills} accounts killed, all restarted");
        println!("{audits} audits in the middle of it: each found {}", ACCOUNTS as i64 * START);
    };
    if let Err(error) = System::builder().run(work) {
        eprintln!("bank: {error}");
        return ExitCode::FAILURE;
    }
    let total: i64 = book.lock().unwrap().iter().map(|page| page.balance).sum();
    println!("money is conserved: {total}");
    ExitCode::SUCCESS
}
