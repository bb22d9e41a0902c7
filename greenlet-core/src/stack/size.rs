//! [`StackSize`]: how much address space one stack takes.

use std::fmt;

use super::guard::page_size;

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;
const GIB: u32 = 1 << 30;

/// The size of a greenlet's stack.
///
/// It counts address space, guard included: what a stack costs in memory is what the greenlet has touched of
/// it, one page (4 KiB) for most. A size is a multiple of the page size between [`MIN`](Self::MIN) and
/// [`MAX`](Self::MAX).
///
/// The guard takes 4 KiB of it (one page where pages are larger, 64 KiB on aarch64, where C compilers probe
/// the stack in steps of that size).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StackSize(u32);

impl StackSize {
    /// The smallest stack: 32 KiB, or 128 KiB on targets whose guard or page may take 64 KiB.
    pub const MIN: StackSize = StackSize(
        if cfg!(any(
            target_arch = "x86_64",
            target_arch = "x86",
            target_arch = "riscv64",
            target_arch = "arm"
        )) {
            32 * KIB
        } else {
            128 * KIB
        },
    );

    /// The largest stack: 1 GiB.
    pub const MAX: StackSize = StackSize(GIB);

    /// The size used when nothing else is asked for: 256 KiB.
    ///
    /// Enough for TLS handshakes, regular expressions and a panic with a backtrace, in builds without
    /// optimization too.
    pub const DEFAULT: StackSize = StackSize(256 * KIB);

    /// A stack of `bytes` bytes, guard included.
    ///
    /// # Errors
    ///
    /// When `bytes` is less than [`MIN`](Self::MIN), more than [`MAX`](Self::MAX), or not a multiple of the
    /// page size.
    pub fn new(bytes: usize) -> Result<StackSize, StackSizeError> {
        let page = page_size();
        if bytes < Self::MIN.bytes() {
            Err(StackSizeError::TooSmall { given: bytes })
        } else if bytes > Self::MAX.bytes() {
            Err(StackSizeError::TooLarge { given: bytes })
        } else if !bytes.is_multiple_of(page) {
            Err(StackSizeError::NotPageMultiple { given: bytes, page })
        } else {
            Ok(StackSize(bytes as u32))
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Default for StackSize {
    /// [`StackSize::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for StackSize {
    /// In the largest unit that divides it: `256 KiB`, `1 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            GIB => f.write_str("1 GiB"),
            bytes if bytes.is_multiple_of(MIB) => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{} KiB", bytes / KIB),
        }
    }
}

/// Why a number of bytes is not a [`StackSize`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackSizeError {
    /// Less than [`StackSize::MIN`].
    #[error(
        "a stack of {given} bytes is too small: at least {} ({} bytes) is allowed",
        StackSize::MIN,
        StackSize::MIN.bytes()
    )]
    TooSmall {
        /// The number of bytes asked for.
        given: usize,
    },
    /// More than [`StackSize::MAX`].
    #[error(
        "a stack of {given} bytes is too large: at most {} ({} bytes) is allowed",
        StackSize::MAX,
        StackSize::MAX.bytes()
    )]
    TooLarge {
        /// The number of bytes asked for.
        given: usize,
    },
    /// Not a whole number of pages.
    #[error(
        "a stack of {given} bytes is not a multiple of the page size ({page} bytes): \
         the nearest sizes are {} and {}",
        given / page * page,
        given.next_multiple_of(*page)
    )]
    NotPageMultiple {
        /// The number of bytes asked for.
        given: usize,
        /// The page size of this machine in bytes.
        page: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_within_the_limits_are_accepted() {
        for size in [StackSize::MIN, StackSize::DEFAULT, StackSize::MAX] {
            assert_eq!(StackSize::new(size.bytes()), Ok(size));
        }
        assert_eq!(StackSize::default().bytes(), 256 * 1024);
    }

    #[test]
    fn refused_sizes_say_what_is_allowed_and_what_was_given() {
        let message = |bytes| StackSize::new(bytes).unwrap_err().to_string();

        let small = message(8192);
        assert!(small.contains("8192 bytes is too small"), "{small}");
        assert!(small.contains(&format!("at least {} ({} bytes)", StackSize::MIN, StackSize::MIN.bytes())));

        let large = message((1 << 30) + page_size());
        assert!(large.contains("too large: at most 1 GiB (1073741824 bytes)"), "{large}");

        let page = page_size();
        let odd = message(StackSize::DEFAULT.bytes() + 1);
        assert!(
            odd.contains(&format!("262145 bytes is not a multiple of the page size ({page} bytes)")),
            "{odd}"
        );
        assert!(odd.contains(&format!("262144 and {}", 262_144 + page)), "{odd}");
    }

    #[test]
    fn sizes_print_in_the_largest_whole_unit() {
        let print = |bytes| StackSize::new(bytes).unwrap().to_string();
        assert_eq!(print(256 << 10), "256 KiB");
        assert_eq!(print(1280 << 10), "1280 KiB");
        assert_eq!(print(8 << 20), "8 MiB");
        assert_eq!(print(1 << 30), "1 GiB");
    }
}
