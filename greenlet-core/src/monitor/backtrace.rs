//! Where a stack stands: taken cheaply as addresses, and named when somebody looks at it.

use std::fmt;
use std::path::PathBuf;

/// The frames of a stack, the innermost first.
///
/// It is taken as bare addresses, which costs microseconds; names and lines are looked up by [`frames`](Backtrace::frames)
/// and `Display`, which costs milliseconds the first time and needs debug information (`debug = "line-tables-only"` in
/// the profile is enough).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Backtrace {
    addresses: Vec<usize>,
}

/// A frame of a [`Backtrace`], with its name looked up. A function that was inlined is a frame of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// Its address.
    pub address: usize,
    /// The function's path, like `my_crate::module::function`.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
}

/// More frames than that are left out.
pub(crate) const MOST_FRAMES: usize = 96;

/// Room for the frames of one stack, which a signal handler or a foreign stack can fill: it allocates nothing.
pub(crate) struct Frames {
    addresses: [usize; MOST_FRAMES],
    count: usize,
}

impl Frames {
    pub(crate) const fn new() -> Frames {
        Frames { addresses: [0; MOST_FRAMES], count: 0 }
    }

    /// Writes down the frames from here outwards whose stack pointers are wanted: those before are left out, and the
    /// first one after them that is not wanted is another stack's.
    ///
    /// Uses some 3 KiB of stack, and neither allocates nor locks, so it may be called in a signal handler: the unwinder of a
    /// current glibc (2.35) finds its tables without a lock.
    #[inline(never)]
    pub(crate) fn fill(&mut self, wanted: impl Fn(usize) -> bool) {
        self.count = 0;
        // SAFETY: the lock that `trace` would take is needed on Windows only.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                let wanted = wanted(frame.sp() as usize);
                if wanted {
                    self.addresses[self.count] = frame.ip() as usize;
                    self.count += 1;
                }
                self.count < MOST_FRAMES && (self.count == 0 || wanted)
            });
        }
    }

    pub(crate) fn addresses(&self) -> &[usize] {
        &self.addresses[..self.count]
    }
}

impl Backtrace {
    pub(crate) fn new(addresses: &[usize]) -> Backtrace {
        Backtrace { addresses: addresses.iter().copied().filter(|&address| address != 0).collect() }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The frames with their names, as far as debug information tells.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &address in &self.addresses {
            let before = frames.len();
            backtrace::resolve(address as *mut _, |symbol| {
                frames.push(Frame {
                    address,
                    function: symbol.name().map(|name| format!("{name:#}")),
                    file: symbol.filename().map(PathBuf::from),
                    line: symbol.lineno(),
                });
            });
            if frames.len() == before {
                frames.push(Frame { address, function: None, file: None, line: None });
            }
        }
        frames
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => f.write_str(function)?,
            None => write!(f, "{:#x}", self.address)?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {}:{line}", file.display()),
            (Some(file), None) => write!(f, " at {}", file.display()),
            _ => Ok(()),
        }
    }
}

/// A frame a line, numbered.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame) in self.frames().iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{number:4}: {frame}")?;
        }
        Ok(())
    }
}

/// As `Display`.
impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_to_be_found() -> Backtrace {
        let mut frames = Frames::new();
        frames.fill(|_| true);
        Backtrace::new(frames.addresses())
    }

    #[test]
    fn names_are_found() {
        let trace = a_function_to_be_found();
        assert!(!trace.is_empty());
        assert!(trace.to_string().contains("a_function_to_be_found"), "{trace}");
    }

    #[test]
    fn frames_of_other_stacks_are_left_out() {
        let mut frames = Frames::new();
        frames.fill(|_| false);
        assert_eq!(frames.addresses(), [0; 0]);
    }
}
