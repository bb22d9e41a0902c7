//! The run info of the process, written when a signal asks for it.

use std::ffi::c_int;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::process::lock;
use super::{Survey, thread};
use crate::report;

type Writer = Box<dyn Write + Send>;

/// Each signal that asks for a dump: whether it came, and where the dump goes.
static DUMPS: Mutex<Vec<Dump>> = Mutex::new(Vec::new());

struct Dump {
    signal: c_int,
    asked: Arc<AtomicBool>,
    writer: Arc<Mutex<Writer>>,
}

/// Writes the [run info](super::run_info) of all hubs, with backtraces, to standard error whenever the process gets
/// `signal` (`SIGUSR1`, say): `kill -USR1` shows what a process that hangs is doing.
///
/// The monitor's thread writes it, which is started for that if it does not run; so it comes some 50 ms later, and comes even
/// when all hubs are blocked. From now on the signal does nothing else, unless others handle it with signal-hook too.
///
/// # Errors
/// What the system refused: the thread, or to handle the signal.
///
/// ```
/// greenlet_core::monitor::dump_on_signal(10)?; // SIGUSR1 on most platforms
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn dump_on_signal(signal: i32) -> io::Result<()> {
    dump_on_signal_to(signal, io::stderr())
}

/// As [`dump_on_signal`], to another place. A second call for the same signal replaces the first one's writer.
///
/// # Errors
/// As there.
pub fn dump_on_signal_to(signal: i32, writer: impl Write + Send + 'static) -> io::Result<()> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be handled"),
        ));
    }
    let writer: Arc<Mutex<Writer>> = Arc::new(Mutex::new(Box::new(writer)));
    let mut dumps = lock(&DUMPS);
    if let Some(dump) = dumps.iter_mut().find(|dump| dump.signal == signal) {
        let replaced = std::mem::replace(&mut dump.writer, writer);
        drop(dumps);
        // Dropped after the lock: it is the user's.
        drop(replaced);
    } else {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, asked.clone())?;
        dumps.push(Dump { signal, asked, writer });
        drop(dumps);
    }
    thread::start_to_dump()
}

/// Writes the dumps that were asked for. On the monitor's thread.
pub(super) fn write_those_asked_for() {
    let asked: Vec<_> = {
        let dumps = lock(&DUMPS);
        let asked = dumps.iter().filter(|dump| dump.asked.swap(false, Ordering::Relaxed));
        asked.map(|dump| dump.writer.clone()).collect()
    };
    for writer in asked {
        let info = Survey::default().backtraces().take();
        report::contain(|| {
            let mut writer = lock(&writer);
            // Whoever cannot be written to does not want to know.
            let _ = writeln!(writer, "--- greenlets of process {} ---\n{info}", std::process::id());
            let _ = writer.flush();
        });
    }
}
