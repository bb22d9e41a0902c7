//! What a hub tells of its greenlets when it is asked.

use std::ptr::NonNull;

use super::{Hub, Nanos, TimerAction, Worker};
use crate::greenlet::raw::{Header, Phase};
use crate::monitor::{GreenletInfo, GreenletState, StackUse, Survey, WaitsFor};
use crate::stack;

impl Hub {
    /// The greenlets of this hub, main first, and how many more there are than the survey asks for. None if the hub is in the
    /// middle of something: a panic hook asks.
    pub(crate) fn census(&self, survey: &Survey) -> Option<(Vec<GreenletInfo>, usize)> {
        if self.in_panic_hook.get() {
            return None;
        }
        let (live, timers) = (self.live.try_borrow().ok()?, self.timers.try_borrow().ok()?);
        let now = Nanos::now();
        let later = timers.values().filter_map(|action| match action {
            TimerAction::Start(greenlet) => Some(greenlet.header()),
            _ => None,
        });
        let started = live.iter().copied();
        let mut left_out = 0;
        let mut greenlets = Vec::new();
        for header in std::iter::once(self.main).chain(started).chain(later) {
            if greenlets.len() < survey.limit {
                greenlets.push(self.greenlet_info(header, survey, now));
            } else {
                left_out += 1;
            }
        }
        Some((greenlets, left_out))
    }

    fn greenlet_info(&self, header: NonNull<Header>, survey: &Survey, now: Nanos) -> GreenletInfo {
        // SAFETY: the hub holds main, live greenlets, and those that timers start.
        let greenlet = unsafe { header.as_ref() };
        let local = &greenlet.local;
        let worker = local.worker.get();
        // SAFETY: a greenlet has its worker until it has ended.
        let worker_ref = worker.map(|worker| unsafe { worker.as_ref() });
        let state = match local.phase.get() {
            Phase::New => GreenletState::New,
            _ if self.current.get() == Some(header) => GreenletState::Running,
            Phase::Ending => GreenletState::Ending,
            Phase::Ended => GreenletState::Ended,
            // It goes on as soon as the one that it yielded to has suspended.
            Phase::Started if local.queued.get() || local.runs_inside.get() => GreenletState::Ready,
            Phase::Started => GreenletState::Waiting,
        };
        let suspended = matches!(state, GreenletState::Waiting | GreenletState::Ending);
        let waits_for = self.waiting_of(header).filter(|_| suspended);
        GreenletInfo {
            id: greenlet.id,
            name: greenlet.given_name().map(|name| name.to_string()),
            site: greenlet.site,
            parent: greenlet.parent_id(),
            state,
            waits_for: waits_for.map(|wait| WaitsFor {
                operation: wait.kind,
                address: wait.address,
                duration: now.since(wait.since),
            }),
            age: now.since(greenlet.born.nanos()),
            switches: match worker_ref {
                Some(worker) => worker.switches(),
                None if local.is_main => self.shared.vitals.main_waits.get(),
                None => 0,
            },
            stack: worker.map(|worker| stack_use(worker, state, survey)),
            backtrace: survey.backtraces.then(|| self.backtrace_of(header)),
        }
    }

    /// Sections that whatever runs now is inside of in which blocking is not reported.
    pub(crate) fn may_block(&self) -> &std::cell::Cell<u32> {
        // SAFETY: the running greenlet is alive, and has its worker, if it is not main, until it has ended.
        unsafe {
            match self.current.get().and_then(|current| current.as_ref().local.worker.get()) {
                Some(worker) => &worker.as_ref().may_block,
                None => &self.main_may_block,
            }
        }
    }
}

fn stack_use(worker: NonNull<Worker>, state: GreenletState, survey: &Survey) -> StackUse {
    let stack = Hub::stack_of(worker);
    let here = 0_u8;
    let top = match state {
        GreenletState::Running => (&raw const here).addr(),
        // SAFETY: the greenlet has not ended, so it has its worker.
        _ => unsafe { worker.as_ref() }.top().addr(),
    };
    StackUse {
        size: stack.len(),
        used: if stack.contains(&top) { stack.end - top } else { 0 },
        resident: if survey.resident_stacks { stack::resident_bytes(&stack) } else { None },
    }
}
