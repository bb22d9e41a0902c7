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
//! under way, and goes on with it. So money is on an account or under way at any time, and at the end all of it is on accounts.

mod account;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use greenlet_actor::{Exit, PartitionSupervisor, System};
use greenlet_core::{sleep, yield_now};

use account::{Account, Book, Message, Page};

const ACCOUNTS: usize = 20;
const START: i64 = 100;
const ALL: i64 = START * ACCOUNTS as i64;
const TRANSFERS: u64 = 20_000;

/// All the money there is: on accounts, and under way.
fn audit(book: &Book) -> i64 {
    let book = book.lock().unwrap();
    let open =
        book.iter().flat_map(|page| &page.under_way).filter(|(id, (to, _))| !book[*to].seen.contains(id));
    book.iter().map(|page| page.balance).sum::<i64>() + open.map(|(_, (_, amount))| amount).sum::<i64>()
}

/// Has money moved while accounts are killed, until all of it has arrived.
fn work(book: &Book, mut random: impl FnMut() -> usize) {
    let (bank, pages) = (Arc::new(OnceLock::new()), book.clone());
    let known = bank.clone();
    let make = move |number| Account { number, book: pages.clone(), bank: known.clone() };
    let accounts = PartitionSupervisor::workers(make).partitions(ACCOUNTS);
    let accounts = accounts.intensity(usize::MAX, Duration::from_secs(1)).start().expect("no init fails");
    bank.get_or_init(|| accounts.clone());
    let tell = |number, message| accounts.partition(number).map(|account| account.send(message));
    let (mut kills, mut audits) = (0, 0);
    for id in 0..TRANSFERS {
        tell(random() % ACCOUNTS, Message::Transfer(id, random() % ACCOUNTS, 1 + id as i64 % 30));
        if id % 50 == 0 {
            yield_now(); // they are in the middle of their work
            let children = accounts.which_children().expect("the supervisor lives");
            children[random() % ACCOUNTS].actor.iter().for_each(|victim| victim.send_exit(Exit::Killed));
            kills += 1;
        }
        if id % 100 == 0 {
            assert_eq!(audit(book), ALL, "money was lost or made");
            audits += 1;
        }
    }
    while book.lock().unwrap().iter().any(|page| !page.under_way.is_empty()) {
        (0..ACCOUNTS).for_each(|number| {
            tell(number, Message::Remind);
        });
        sleep(Duration::from_millis(5));
    }
    assert_eq!(accounts.count_children().expect("the supervisor lives").active, ACCOUNTS);
    println!("{TRANSFERS} transfers asked for, {kills} accounts killed, all restarted");
    println!("{audits} audits in the middle of it: each found {ALL}");
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse::<u64>());
    let (Ok(mut state), None) = (seed, arguments.next()) else {
        eprintln!("bank: the seed is a whole number\nusage: bank [SEED]");
        return ExitCode::from(2);
    };
    // Knuth's numbers; good enough to choose accounts.
    let random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let page = |_| Page { balance: START, ..Page::default() };
    let book: Book = Arc::new(Mutex::new((0..ACCOUNTS).map(page).collect()));
    println!("{ACCOUNTS} accounts of {START} each");
    if let Err(error) = System::builder().run(|| work(&book, random)) {
        eprintln!("bank: {error}");
        return ExitCode::FAILURE;
    }
    println!("money is conserved: {}", book.lock().unwrap().iter().map(|page| page.balance).sum::<i64>());
    ExitCode::SUCCESS
}
