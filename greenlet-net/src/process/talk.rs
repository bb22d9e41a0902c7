//! What is said to a child and what it says, all three pipes at once: whoever served them one after the other would hang as soon as the child
//! waits for another one than he does.

use std::io;
use std::task::{Context, Poll};

use crate::{PipeReader, PipeWriter};

/// Where a conversation stands. Kept with the child, so that one that was interrupted goes on with nothing lost.
#[derive(Default, Debug)]
pub(super) struct Talk {
    /// What is to be said, from `sent` on.
    pub(super) input: Vec<u8>,
    sent: usize,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// How much is read at once.
const BUFFER: usize = 16 * 1024;

/// Reads and writes of one pipe in a row, before the others get a turn.
const LONGEST_STREAK: u32 = 16;

impl Talk {
    /// Goes on as far as it goes now. `Ready`: everything was said, and the child has closed both outputs. The pipes that are done are
    /// closed.
    pub(super) fn advance(
        &mut self,
        context: &mut Context<'_>,
        stdin: &mut Option<PipeWriter>,
        stdout: &mut Option<PipeReader>,
        stderr: &mut Option<PipeReader>,
    ) -> Poll<io::Result<()>> {
        let said = self.say(context, stdin)?;
        let heard = listen(context, stdout, &mut self.stdout)?;
        let complained = listen(context, stderr, &mut self.stderr)?;
        match (said, heard, complained) {
            (Poll::Ready(()), Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn say(&mut self, context: &mut Context<'_>, pipe: &mut Option<PipeWriter>) -> io::Result<Poll<()>> {
        let Some(stdin) = pipe else { return Ok(Poll::Ready(())) };
        for _ in 0..LONGEST_STREAK {
            if self.sent == self.input.len() {
                *pipe = None;
                (self.input, self.sent) = (Vec::new(), 0);
                return Ok(Poll::Ready(()));
            }
            match stdin.poll_write(context, &self.input[self.sent..]) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(n)) => self.sent += n,
                // It does not want to hear more: that is its own business.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.sent = self.input.len();
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        context.waker().wake_by_ref();
        Ok(Poll::Pending)
    }
}

fn listen(
    context: &mut Context<'_>,
    pipe: &mut Option<PipeReader>,
    heard: &mut Vec<u8>,
) -> io::Result<Poll<()>> {
    let Some(output) = pipe else { return Ok(Poll::Ready(())) };
    let mut buffer = [0; BUFFER];
    for _ in 0..LONGEST_STREAK {
        match output.poll_read(context, &mut buffer)? {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(0) => {
                *pipe = None;
                return Ok(Poll::Ready(()));
            }
            Poll::Ready(n) => heard.extend_from_slice(&buffer[..n]),
        }
    }
    context.waker().wake_by_ref();
    Ok(Poll::Pending)
}
