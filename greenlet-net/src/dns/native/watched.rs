//! A file that may change while the program runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use greenlet_core::Instant;

/// How long it takes at most until a change is seen.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What a file says, read again when the file has changed.
///
/// The files are small and local: reading them takes microseconds, and is done in place.
#[derive(Debug)]
pub(super) struct Watched<T> {
    path: PathBuf,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Arc<T>,
    stamp: Option<Stamp>,
    checked: Instant,
}

/// What changes with a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(SystemTime, u64);

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = path.metadata().ok()?;
        Some(Stamp(metadata.modified().ok()?, metadata.len()))
    }
}

impl<T> Watched<T> {
    pub(super) fn new(path: PathBuf, read: impl Fn(&Path) -> T) -> Watched<T> {
        let stamp = Stamp::of(&path);
        let state = State { value: Arc::new(read(&path)), stamp, checked: Instant::now() };
        Watched { path, state: Mutex::new(state) }
    }

    pub(super) fn get(&self, read: impl Fn(&Path) -> T) -> Arc<T> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(state.checked) >= CHECK_EVERY {
            state.checked = now;
            let stamp = Stamp::of(&self.path);
            if stamp != state.stamp {
                state.value = Arc::new(read(&self.path));
                state.stamp = stamp;
            }
        }
        state.value.clone()
    }
}
