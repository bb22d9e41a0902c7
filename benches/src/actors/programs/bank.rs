//! Transfers between accounts, each of which asks another one and waits for its answer.

use crate::actors::Dice;

/// How many accounts there are.
pub const ACCOUNTS: u64 = 1000;

/// What is in each of them at first.
pub const BALANCE: i64 = 1_000_000;

/// A transfer that somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// From which account.
    pub from: usize,
    /// To which one. Always a later one: so there is no circle of accounts that wait for each other.
    pub to: usize,
    /// How much.
    pub cents: i64,
}

/// The same transfers in every run.
pub fn orders(count: u64) -> impl Iterator<Item = Order> {
    let mut dice = Dice(count);
    (0..count).map(move |_| {
        let from = dice.below(ACCOUNTS / 10 * 8);
        let to = from + 1 + dice.below(ACCOUNTS - from - 1);
        Order { from: from as usize, to: to as usize, cents: dice.below(1000) as i64 }
    })
}
