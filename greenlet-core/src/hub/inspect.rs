//! Where a suspended greenlet stands: it is resumed for a moment, looks at its own stack, and suspends again.
//!
//! Nothing of the greenlet's own code runs meanwhile: whoever suspends looks for a request before anything else. The
//! request comes with `has_raises`, which a waiter tests anyway when it is resumed.

use std::ops::Range;
use std::ptr::NonNull;

use super::{Hub, Worker};
use crate::greenlet::raw::{Header, Phase};
use crate::monitor::{Backtrace, Frames, NoBacktrace};
use crate::stack;

/// What a suspended greenlet is asked for.
pub(super) struct Inspection {
    within: Range<usize>,
    frames: Frames,
}

/// The unwinder needs some 3 KiB (4 without optimization), and more with large tables of exceptions.
const ROOM: usize = 8 << 10;

impl Hub {
    /// The frames of a greenlet of this hub.
    pub(crate) fn backtrace_of(&self, header: NonNull<Header>) -> Result<Backtrace, NoBacktrace> {
        // SAFETY: callers hold a count.
        let local = unsafe { &header.as_ref().local };
        if self.in_panic_hook.get() {
            return Err(NoBacktrace::Busy); // who runs is not known
        }
        if local.phase.get() == Phase::Ended {
            return Err(NoBacktrace::Ended);
        }
        let here = 0_u8;
        let here = (&raw const here).addr();
        let mut frames = Frames::new();
        if local.is_main {
            if self.current.get() == Some(header) {
                frames.fill(|pointer| pointer >= here);
            } else {
                // It waits below the loop, on the thread's own stack; a greenlet that asks has another stack, and so have those that it runs inside.
                let from = self.main_stack.get();
                frames.fill(|pointer| pointer >= from && stack::slot_at(pointer).is_none());
            }
            return Ok(Backtrace::new(frames.addresses()));
        }
        let Some(worker) = local.worker.get() else { return Err(NoBacktrace::NotStarted) };
        let stack = Self::stack_of(worker);
        if self.current.get() == Some(header) {
            frames.fill(|pointer| (here..stack.end).contains(&pointer));
            return Ok(Backtrace::new(frames.addresses()));
        }
        // SAFETY: a greenlet has its worker until it has ended.
        let worker = unsafe { worker.as_ref() };
        if local.runs_inside.get() {
            // It waits below who asks, and cannot be resumed.
            let top = worker.top().addr();
            frames.fill(|pointer| (top..stack.end).contains(&pointer));
            return Ok(Backtrace::new(frames.addresses()));
        }
        if worker.switches() == 0 {
            return Err(NoBacktrace::NotStarted); // it is about to be: a resume would begin its code
        }
        let top = worker.top().addr();
        if !stack.contains(&top) || top - stack.start < ROOM {
            return Err(NoBacktrace::NoRoom);
        }
        let mut inspection = Inspection { within: top..stack.end, frames };
        let had_raises = local.has_raises.replace(true);
        self.inspection.set(Some(NonNull::from(&mut inspection)));
        let current = self.current.replace(Some(header));
        worker.resume_to_inspect();
        self.current.set(current);
        self.inspection.set(None);
        local.has_raises.set(had_raises);
        Ok(Backtrace::new(inspection.frames.addresses()))
    }

    /// Answers a request to look at the stack that was just resumed, and suspends it again.
    #[cold]
    #[inline(never)]
    pub(super) fn answer_inspections(&self, header: NonNull<Header>) {
        while let Some(mut inspection) = self.inspection.take() {
            // SAFETY: it lies on the stack of `backtrace_of`, which waits for the switch below, and nobody else uses it now.
            let Inspection { within, frames } = unsafe { inspection.as_mut() };
            frames.fill(|pointer| within.contains(&pointer));
            // SAFETY: only greenlets with a worker are asked, and this is its stack.
            unsafe { header.as_ref().local.worker.get().unwrap_unchecked().as_ref().suspend() };
        }
    }

    /// The addresses of a worker's stack: from its guard to the worker's record.
    pub(crate) fn stack_of(worker: NonNull<Worker>) -> Range<usize> {
        let record = worker.addr().get();
        stack::slot_at(record).map_or(record..record, |slot| slot.start..record)
    }
}
