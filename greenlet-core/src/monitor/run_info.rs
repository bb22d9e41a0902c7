//! All greenlets of the process, as they are at this moment.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Backtrace, Metrics, NoBacktrace, ThreadState, capture, process};
use crate::async_result::AsyncResult;
use crate::greenlet::GreenletRef;
use crate::hub::{Context, Hub, HubHandle, HubRef, context};

/// All hubs of the process and their greenlets: gevent's `print_run_info`, and `GreenletTree`.
///
/// `Display` draws each hub's greenlets as a tree of who spawned whom, and [`to_json`](RunInfo::to_json) has it all for
/// programs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunInfo {
    /// Oldest first.
    pub hubs: Vec<HubInfo>,
}

/// A hub, in a [`RunInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubInfo {
    /// The hub.
    pub hub: HubHandle,
    /// The kernel's number of its thread.
    pub thread: i32,
    /// Whether it told of its greenlets.
    pub answer: HubAnswer,
    /// Its counters.
    pub metrics: Metrics,
    /// Its greenlets: main first, then those that were started, then those that timers will start. Empty unless it answered.
    pub greenlets: Vec<GreenletInfo>,
    /// How many more there are than the survey asked for.
    pub left_out: usize,
}

/// What became of the question to a hub.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HubAnswer {
    /// It told of its greenlets.
    Given,
    /// It did not answer in time: something blocks it, or the thread's own code runs and does not wait.
    Blocked {
        /// Who runs there, if the thread could be asked: by the monitor's signal, so when the monitor was started.
        greenlet: Option<GreenletRef>,
        /// What the thread does.
        thread: ThreadState,
        /// Where it stands, if it could be asked.
        backtrace: Backtrace,
    },
    /// It could not be asked: callbacks of a loop and panic hooks must not wait for other hubs.
    NotAsked,
}

/// A greenlet, in a [`RunInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GreenletInfo {
    /// Its number.
    pub id: u64,
    /// The name given to it, if any.
    pub name: Option<String>,
    /// Where it was spawned.
    pub site: &'static Location<'static>,
    /// Who spawned it.
    pub parent: Option<u64>,
    /// What it is doing.
    pub state: GreenletState,
    /// What it waits for, if it waits and that is known.
    pub waits_for: Option<WaitsFor>,
    /// How long ago it was made, to within 17 ms: up to that much too long.
    pub age: Duration,
    /// How often it was switched to.
    pub switches: u64,
    /// Its stack, once it has one. The main greenlet's is the thread's own, which is not shown.
    pub stack: Option<StackUse>,
    /// Where it stands, if the survey asked for [backtraces](Survey::backtraces).
    pub backtrace: Option<Result<Backtrace, NoBacktrace>>,
}

/// What a greenlet is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GreenletState {
    /// It has not had its first turn.
    New,
    /// It will run when the loop comes to it.
    Ready,
    /// It runs now: it asked for this.
    Running,
    /// It is suspended.
    Waiting,
    /// Its code is over, and destructors of it are suspended.
    Ending,
    /// It is over.
    Ended,
}

/// What a suspended greenlet waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WaitsFor {
    /// Like `Queue::get`.
    pub operation: &'static str,
    /// The object's address, which tells two of a kind apart; 0 if there is none.
    pub address: usize,
    /// Since when, to within a turn of the loop: up to that much too long.
    pub duration: Duration,
}

/// How much of its stack a greenlet uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StackUse {
    /// Bytes that it may use, the guard left out.
    pub size: usize,
    /// Bytes between its first frame and where it is suspended.
    pub used: usize,
    /// Bytes that are in memory: what this greenlet, and those that had the stack before it, have touched. Known if the survey
    /// asked for [resident stacks](Survey::resident_stacks).
    pub resident: Option<usize>,
}

/// A question to all hubs of the process; [`take`](Survey::take) asks it.
///
/// ```
/// use greenlet_core::{monitor::Survey, sleep, spawn, yield_now, Kill};
/// use std::time::Duration;
///
/// let sleeper = spawn(|| sleep(Duration::MAX));
/// yield_now();
/// let info = Survey::default().backtraces().take();
/// println!("{info}");
/// # assert!(info.to_string().contains("sleep"));
/// sleeper.kill();
/// ```
#[derive(Clone, Debug)]
pub struct Survey {
    pub(crate) limit: usize,
    pub(crate) backtraces: bool,
    pub(crate) resident_stacks: bool,
    patience: Duration,
}

impl Default for Survey {
    /// At most 10,000 greenlets of each hub, no backtraces, no resident stacks, and half a second for an answer.
    fn default() -> Survey {
        Survey {
            limit: 10_000,
            backtraces: false,
            resident_stacks: false,
            patience: Duration::from_millis(500),
        }
    }
}

impl Survey {
    /// At most so many greenlets of each hub; the others are counted. A hub does nothing else while it tells of them,
    /// which takes less than a microsecond for each.
    pub fn limit(mut self, greenlets: usize) -> Survey {
        self.limit = greenlets;
        self
    }

    /// Where each greenlet stands, too: some 10 microseconds for each. Names are looked up when it is printed.
    pub fn backtraces(mut self) -> Survey {
        self.backtraces = true;
        self
    }

    /// How much of each stack is in memory, too: a system call (`mincore`) for each.
    pub fn resident_stacks(mut self) -> Survey {
        self.resident_stacks = true;
        self
    }

    /// How long to wait for the answers of other hubs, all together.
    pub fn patience(mut self, limit: Duration) -> Survey {
        self.patience = limit;
        self
    }

    /// Asks all hubs of the process, from any thread. The own hub is looked at directly; others answer when they come to it. So
    /// this suspends a greenlet, and a kill or timeout reaches it here; a thread without a hub is blocked meanwhile. A
    /// hub that does not answer in time is shown as [`HubAnswer::Blocked`].
    ///
    /// In a callback of the loop and in a panic hook others are not asked.
    pub fn take(&self) -> RunInfo {
        let may_wait = match context() {
            Context::Greenlet(..) => true,
            Context::Loop => false,
            // With a hub: in a panic hook.
            Context::Thread => Hub::try_current().is_none(),
        };
        let deadline = Instant::now().checked_add(self.patience);
        let asked: Vec<_> =
            process::process().hubs().into_iter().map(|hub| self.ask(hub, may_wait)).collect();
        let mut hubs: Vec<_> = asked.into_iter().filter_map(|question| question.answer(deadline)).collect();
        hubs.sort_by_key(|hub| hub.hub.id());
        RunInfo { hubs }
    }

    fn ask(&self, hub: HubRef, may_wait: bool) -> Question {
        if hub.is_current() {
            let census = Hub::try_current().and_then(|here| here.census(self));
            return Question::Answered(Box::new(HubInfo::new(hub, census)));
        }
        if !may_wait {
            return Question::Answered(Box::new(HubInfo::new(hub, None)));
        }
        let answer = Arc::new(AsyncResult::new());
        let (survey, tell) = (self.clone(), answer.clone());
        let sent = hub.push_call(Box::new(move |there: &Hub| {
            tell.set(HubInfo::new(there.shared.clone(), there.census(&survey)));
        }));
        match sent {
            Ok(()) => Question::Asked(hub, answer),
            Err(_) => Question::Gone,
        }
    }
}

enum Question {
    Answered(Box<HubInfo>),
    Asked(HubRef, Arc<AsyncResult<HubInfo>>),
    Gone,
}

impl Question {
    fn answer(self, deadline: Option<Instant>) -> Option<HubInfo> {
        match self {
            Question::Answered(info) => Some(*info),
            Question::Gone => None,
            Question::Asked(hub, answer) => {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                match answer.get_timeout(left.unwrap_or(Duration::MAX)) {
                    Ok(info) => Some(info),
                    Err(_) if hub.is_closed() => None,
                    Err(_) => Some(HubInfo::blocked(hub)),
                }
            }
        }
    }
}

impl HubInfo {
    fn new(hub: HubRef, census: Option<(Vec<GreenletInfo>, usize)>) -> HubInfo {
        let answer = if census.is_some() { HubAnswer::Given } else { HubAnswer::NotAsked };
        let thread = hub.vitals.thread.load(std::sync::atomic::Ordering::Relaxed);
        let hub = HubHandle::new(hub);
        let metrics = hub.metrics();
        let (greenlets, left_out) = census.unwrap_or_default();
        HubInfo { hub, thread, answer, metrics, greenlets, left_out }
    }

    fn blocked(hub: HubRef) -> HubInfo {
        let id = hub.id;
        let mut info = HubInfo::new(hub, None);
        let thread = ThreadState::of(info.thread);
        let captured = capture::signal_in_use().and_then(|signal| capture::capture(info.thread, id, signal));
        let (greenlet, backtrace) =
            captured.map(|captured| (captured.greenlet, captured.backtrace)).unwrap_or_default();
        info.answer = HubAnswer::Blocked { greenlet, thread, backtrace };
        info
    }

    /// The greenlets in the order of a tree, each behind whoever spawned it, with its depth: main and those whose spawner
    /// is not among them (it has ended, or is another hub's) have depth 0.
    pub fn tree(&self) -> Vec<(usize, &GreenletInfo)> {
        let mut children: std::collections::HashMap<u64, Vec<&GreenletInfo>> = Default::default();
        let ids: std::collections::HashSet<u64> = self.greenlets.iter().map(|greenlet| greenlet.id).collect();
        let mut rows = Vec::with_capacity(self.greenlets.len());
        let mut stack = Vec::new();
        for greenlet in self.greenlets.iter().rev() {
            match greenlet.parent {
                Some(parent) if ids.contains(&parent) && parent != greenlet.id => {
                    children.entry(parent).or_default().push(greenlet);
                }
                _ => stack.push((0, greenlet)),
            }
        }
        while let Some((depth, greenlet)) = stack.pop() {
            rows.push((depth, greenlet));
            let below = children.remove(&greenlet.id).unwrap_or_default();
            stack.extend(below.into_iter().map(|child| (depth + 1, child)));
        }
        rows
    }
}

impl GreenletInfo {
    /// Its name and number, as reports show them.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} (Greenlet-{})", self.id),
            None => format!("Greenlet-{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greenlet(id: u64, parent: Option<u64>) -> GreenletInfo {
        GreenletInfo {
            id,
            name: None,
            site: Location::caller(),
            parent,
            state: GreenletState::Waiting,
            waits_for: None,
            age: Duration::ZERO,
            switches: 0,
            stack: None,
            backtrace: None,
        }
    }

    fn hub(greenlets: Vec<GreenletInfo>) -> HubInfo {
        let hub = Hub::current();
        let metrics = hub.metrics();
        HubInfo { hub, thread: 0, answer: HubAnswer::Given, metrics, greenlets, left_out: 0 }
    }

    #[test]
    fn the_tree_shows_who_spawned_whom() {
        let of =
            [(1, None), (5, Some(3)), (2, Some(1)), (3, Some(1)), (4, Some(2)), (6, Some(99)), (7, Some(2))];
        let info = hub(of.map(|(id, parent)| greenlet(id, parent)).into());
        let rows: Vec<_> = info.tree().iter().map(|(depth, greenlet)| (*depth, greenlet.id)).collect();
        // 99 has ended, so 6 stands alone.
        assert_eq!(rows, [(0, 1), (1, 2), (2, 4), (2, 7), (1, 3), (2, 5), (0, 6)]);
        let text = info.to_string();
        let drawn: Vec<_> = text.lines().skip(2).map(|line| line.split(':').next().unwrap()).collect();
        let expected = [
            "  Greenlet-1",
            "  ├─ Greenlet-2",
            "  │  ├─ Greenlet-4",
            "  │  └─ Greenlet-7",
            "  └─ Greenlet-3",
            "     └─ Greenlet-5",
            "  Greenlet-6",
        ];
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_very_deep_tree_is_drawn() {
        let info = hub((0..20_000).map(|id| greenlet(id, id.checked_sub(1))).collect());
        assert_eq!(info.tree().last().unwrap().0, 19_999);
        assert_eq!(info.to_string().lines().count(), 20_002);
    }

    #[test]
    fn who_names_itself_as_its_spawner_is_shown() {
        assert_eq!(hub(vec![greenlet(1, Some(1))]).tree().len(), 1);
    }
}
