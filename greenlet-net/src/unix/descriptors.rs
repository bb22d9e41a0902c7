//! Descriptors on their way from process to process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, recvmsg, sendmsg,
};

use super::UnixStream;
use crate::socket::NO_SIGNAL;

/// As many as the system lets go with one call (`SCM_MAX_FD`).
const MOST: usize = 253;

const SPACE: usize = cmsg_space!(ScmRights(MOST));

/// Bytes, and the descriptors that came with them: see [`UnixStream::recv_with_fds`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceivedFds {
    /// How many bytes are in the buffer. 0 is the end of what the peer sends.
    pub length: usize,
    /// The descriptors, closed on `exec`.
    pub fds: Vec<OwnedFd>,
    /// Whether there were more, which are lost: this process has as many descriptors as it may have.
    pub fds_lost: bool,
}

impl UnixStream {
    /// Sends bytes, and descriptors with the first of them. The peer gets duplicates. Returns how many bytes were sent; the
    /// descriptors were sent with them, all of them.
    ///
    /// Otherwise as a [write](UnixStream#reading-and-writing). A peer that just reads closes the descriptors without knowing.
    ///
    /// # Errors
    /// As a write; `InvalidInput` for no bytes, or more than 253 descriptors.
    ///
    /// ```
    /// use greenlet_net::{UnixStream, pipe};
    /// use std::io::Write;
    /// use std::os::fd::AsFd;
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let (reader, writer) = pipe()?;
    /// ours.send_with_fds(b"a pipe", &[writer.as_fd()])?;
    ///
    /// let received = theirs.recv_with_fds(&mut [0; 16])?;
    /// assert_eq!((received.length, received.fds.len()), (6, 1));
    /// # drop(reader);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if bytes.is_empty() || fds.len() > MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "expected at least 1 byte and at most {MOST} descriptors, found {} and {}",
                    bytes.len(),
                    fds.len()
                ),
            ));
        }
        self.connection.transmit(None, |socket| {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                // There is room for as many as there may be.
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, NO_SIGNAL)?)
        })
    }

    /// Reads bytes, and the descriptors that came with the first of them.
    ///
    /// Otherwise as a [read](UnixStream#reading-and-writing); with an empty buffer there is nothing to receive.
    ///
    /// # Errors
    /// As a read.
    pub fn recv_with_fds(&self, buffer: &mut [u8]) -> io::Result<ReceivedFds> {
        let (mut fds, mut fds_lost) = (Vec::new(), false);
        if buffer.is_empty() {
            return Ok(ReceivedFds { length: 0, fds, fds_lost });
        }
        let length = self.connection.receive(None, |socket| {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut buffers = [IoSliceMut::new(buffer)];
            let received = recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            fds_lost = received.flags.contains(ReturnFlags::CTRUNC);
            Ok(received.bytes)
        })?;
        Ok(ReceivedFds { length, fds, fds_lost })
    }
}
