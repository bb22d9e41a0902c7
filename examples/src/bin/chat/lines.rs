//! Lines out of a stream of bytes, however these arrive.

use std::io::{self, BufRead};

use crate::limits;
use crate::protocol::Complaint;

/// Takes lines from `R`. Of a line that is too long, no more than the limit is ever kept.
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Lines<R> {
        Lines { reader, line: Vec::new() }
    }

    /// The next line without its `\n` or `\r\n`; a complaint about a bad one, after which the next call goes on behind
    /// it; `None` at the end. What comes last is a line even if it has no end.
    pub fn next(&mut self) -> io::Result<Option<Result<&str, Complaint>>> {
        let kept = limits::LINE + 1; // one more, in case it is the `\r`
        let mut length = 0;
        self.line.clear();
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() && length == 0 {
                return Ok(None);
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            self.line.extend(&part[..part.len().min(kept - self.line.len())]);
            let (taken, last) = (part.len() + usize::from(end.is_some()), end.is_some() || chunk.is_empty());
            length += taken;
            self.reader.consume(taken);
            if last {
                // The end of the line was counted, if it had one.
                length -= usize::from(end.is_some());
                break;
            }
        }
        if self.line.len() == length && self.line.ends_with(b"\r") {
            self.line.pop();
            length -= 1;
        }
        if length > limits::LINE {
            return Ok(Some(Err(Complaint::LineTooLong)));
        }
        Ok(Some(str::from_utf8(&self.line).map_err(|_| Complaint::NotUtf8)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    /// All lines of the bytes, read through a buffer of that size.
    fn lines(bytes: &[u8], buffer: usize) -> Vec<Result<String, Complaint>> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, bytes));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.map(str::to_owned));
            assert!(lines.line.len() <= limits::LINE + 1);
        }
        all
    }

    #[test]
    fn both_ends_of_line_and_none_are_understood() {
        let expected = ["a", "", "b\rc", "d"].map(|line| Ok(line.to_owned()));
        for buffer in 1..10 {
            assert_eq!(lines(b"a\n\r\nb\rc\r\nd", buffer), expected);
        }
        assert_eq!(lines(b"", 1), []);
    }

    #[test]
    fn the_limit_is_exact_and_the_next_line_is_not_harmed() {
        let full = "x".repeat(limits::LINE);
        for end in ["\n", "\r\n"] {
            let input = format!("{full}{end}{full}y{end}{full}{full}{full}{end}after{end}{full}");
            let expected = [
                Ok(full.clone()),
                Err(Complaint::LineTooLong),
                Err(Complaint::LineTooLong),
                Ok("after".to_owned()),
                Ok(full.clone()),
            ];
            for buffer in [1, 7, 4096, 8192, 1 << 20] {
                assert_eq!(lines(input.as_bytes(), buffer), expected);
            }
        }
    }

    #[test]
    fn what_is_not_utf8_is_one_bad_line() {
        let expected = [Ok("a".to_owned()), Err(Complaint::NotUtf8), Ok("b".to_owned())];
        assert_eq!(lines(b"a\n\xff\xfe\nb\n", 3), expected);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\xff\xc3\xa9 ".as_slice()), 0..200),
            buffer in 1..50_usize,
        ) {
            prop_assert_eq!(lines(&bytes, buffer), lines(&bytes, 1 << 20));
        }
    }
}
