//! Whether the process uses more memory than it should.

use super::Notice;

/// Remembers what was reported, so that each growth is reported once.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch {
    /// The use at the last report, while it is above the limit.
    reported: Option<u64>,
}

impl MemoryWatch {
    /// Looks at the use in bytes: above the limit is reported the first time and whenever it has grown since, and once when
    /// it is below again.
    pub(super) fn look(&mut self, used: u64, limit: u64) -> Option<Notice> {
        match self.reported {
            Some(reported) if used > limit && used <= reported => None,
            None | Some(_) if used > limit => {
                self.reported = Some(used);
                Some(Notice::MemoryExceeded { used, limit })
            }
            Some(_) => {
                self.reported = None;
                Some(Notice::MemoryUnder { used, limit })
            }
            None => None,
        }
    }
}

/// The resident memory of this process in bytes, shared pages included.
pub(super) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * crate::stack::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_growth_is_reported_once_and_then_the_relief() {
        let mut watch = MemoryWatch::default();
        let above = |used| Some(Notice::MemoryExceeded { used, limit: 100 });
        let seen: Vec<_> =
            [50, 100, 101, 101, 90, 95, 150, 140, 160, 160, 20].map(|used| watch.look(used, 100)).into();
        let under = |used| Some(Notice::MemoryUnder { used, limit: 100 });
        let expected =
            [None, None, above(101), None, under(90), None, above(150), None, above(160), None, under(20)];
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!(format!("{seen:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn the_process_uses_some_memory() {
        assert!(resident().unwrap() > 1 << 16);
    }
}
