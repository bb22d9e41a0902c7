//! A connection without a system under it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use greenlet_net::{Address, Stream};

/// A [`Stream`] on which these pieces come, then the end. Never waits. Clones are the same connection.
#[derive(Clone)]
pub struct Pieces(Arc<Mutex<State>>);

struct State {
    coming: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
    closed: bool,
    answer: Option<Answer>,
}

type Answer = Box<dyn FnOnce(&[u8]) -> Vec<Vec<u8>> + Send>;

impl Pieces {
    pub fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Pieces {
        let coming = pieces.into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
        Pieces(Arc::new(Mutex::new(State { coming, sent: Vec::new(), closed: false, answer: None })))
    }

    /// What was sent on it.
    pub fn sent(&self) -> Vec<u8> {
        self.0.lock().unwrap().sent.clone()
    }

    /// The pieces that come when something is received for the first time, made of what was sent until then.
    pub fn answer(&self, answer: impl FnOnce(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        self.0.lock().unwrap().answer = Some(Box::new(answer));
    }

    fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        if state.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if let Some(answer) = state.answer.take() {
            let pieces = answer(&state.sent);
            state.coming.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        }
        let Some(piece) = state.coming.front_mut() else { return Ok(0) };
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        piece.drain(..n);
        if piece.is_empty() {
            state.coming.pop_front();
        }
        Ok(n)
    }

    fn put(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        if state.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        buffers.iter().for_each(|buffer| state.sent.extend_from_slice(buffer));
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }
}

impl Stream for Pieces {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.take(buffer)
    }

    fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.put(&[IoSlice::new(buffer)])
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.put(buffers)
    }

    fn poll_recv(&self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.take(buffer))
    }

    fn poll_send(&self, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.put(&[IoSlice::new(buffer)]))
    }

    fn poll_send_vectored(&self, _: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.put(buffers))
    }

    fn poll_finish(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }

    fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn peer_address(&self) -> io::Result<Address> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into())
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 2)).into())
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").finish_non_exhaustive()
    }
}
