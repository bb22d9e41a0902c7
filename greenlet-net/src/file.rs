//! Files, read and written by the thread pool.

use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use greenlet_core::pool::ThreadPool;
use greenlet_core::sync::{Mutex, MutexGuard};

/// A regular file: [`std::fs::File`] for greenlets. gevent's `FileObjectThread`.
///
/// The system knows no waiting for files, so each operation is done by a thread of the [process's pool](ThreadPool::global), and the greenlet is
/// suspended meanwhile. That costs some microseconds: read and write much at once, or through a [`BufReader`](std::io::BufReader) or
/// [`BufWriter`](std::io::BufWriter). (`std::fs::File` works too: it blocks the thread for as long as the disk takes.)
///
/// The position is kept here and not by the system. A kill or timeout that ends a read leaves it where it was, so nothing is lost; one that
/// ends a write leaves it there too, and what was being written may be in the file or not. Clones share the position; two greenlets that
/// read or write at the position take turns.
///
/// What is no regular file (a pipe, a terminal) has no position and is not for this type: see
/// [`PipeReader::from_fd`](crate::PipeReader::from_fd).
///
/// ```
/// use greenlet_net::File;
/// use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
///
/// # let path = std::env::temp_dir().join(format!("greenlet-doc-file-{}", std::process::id()));
/// let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
/// file.write_all(b"one\ntwo\n")?; // suspends this greenlet
/// file.seek(SeekFrom::Start(4))?;
/// let mut line = String::new();
/// BufReader::new(&file).read_line(&mut line)?;
/// assert_eq!(line, "two\n");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    shared: Arc<Shared>,
}

struct Shared {
    file: Arc<fs::File>,
    /// Held by whoever reads or writes at the position.
    position: Mutex<u64>,
    appends: bool,
}

/// How to open a [`File`]: see [`File::options`].
#[derive(Clone, Debug)]
pub struct FileOptions {
    options: OpenOptions,
    appends: bool,
}

/// The most that is handed to a thread at once, in bytes.
const MOST_AT_ONCE: usize = 1 << 20;

/// Runs it on a thread of the process's pool.
fn elsewhere<R: Send + 'static>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    ThreadPool::global().apply(work).map_err(io::Error::other)?
}

/// Reads a whole file, on a thread of the pool.
///
/// # Errors
/// As [`std::fs::read`].
pub fn read_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref().to_owned();
    elsewhere(move || fs::read(path))
}

/// Writes a whole file, on a thread of the pool. A kill or timeout does not stop that thread.
///
/// # Errors
/// As [`std::fs::write`].
pub fn write_file(path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> io::Result<()> {
    let (path, content) = (path.as_ref().to_owned(), content.into());
    elsewhere(move || fs::write(path, content))
}

/// Reads once from a descriptor that may block, on a thread of the pool: gevent's `tp_read`. Empty: the end.
///
/// A kill or timeout ends the wait and not the thread: what it reads then is lost.
///
/// # Errors
/// What the system says.
pub fn tp_read<F: AsFd + Send + Sync + 'static>(fd: Arc<F>, most: usize) -> io::Result<Vec<u8>> {
    elsewhere(move || {
        let mut buffer = vec![0; most];
        let n = rustix::io::read(&*fd, &mut buffer)?;
        buffer.truncate(n);
        Ok(buffer)
    })
}

/// Writes once to a descriptor that may block, on a thread of the pool: gevent's `tp_write`. Returns how many bytes were written.
///
/// A kill or timeout ends the wait and not the thread, which may write still.
///
/// # Errors
/// What the system says.
pub fn tp_write<F: AsFd + Send + Sync + 'static>(
    fd: Arc<F>,
    content: impl Into<Vec<u8>>,
) -> io::Result<usize> {
    let content = content.into();
    elsewhere(move || Ok(rustix::io::write(&*fd, &content)?))
}

impl FileOptions {
    /// Whether it can be read. Default: `false`.
    pub fn read(mut self, read: bool) -> FileOptions {
        self.options.read(read);
        self
    }

    /// Whether it can be written. Default: `false`.
    pub fn write(mut self, write: bool) -> FileOptions {
        self.options.write(write);
        self
    }

    /// Whether all is written to the end of the file, wherever the position is. Default: `false`.
    pub fn append(mut self, append: bool) -> FileOptions {
        self.options.append(append);
        self.appends = append;
        self
    }

    /// Whether the file is emptied. Default: `false`.
    pub fn truncate(mut self, truncate: bool) -> FileOptions {
        self.options.truncate(truncate);
        self
    }

    /// Whether the file is made if there is none. Default: `false`.
    pub fn create(mut self, create: bool) -> FileOptions {
        self.options.create(create);
        self
    }

    /// Whether the file is made, and must not have been there. Default: `false`.
    pub fn create_new(mut self, create_new: bool) -> FileOptions {
        self.options.create_new(create_new);
        self
    }

    /// Opens the file. Suspends the greenlet; a kill or timeout that ends the wait closes the file as soon as it is open.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (path, options, appends) = (path.as_ref().to_owned(), self.options.clone(), self.appends);
        let file = elsewhere(move || options.open(path))?;
        Ok(File::new(file, 0, appends))
    }
}

impl File {
    fn new(file: fs::File, position: u64, appends: bool) -> File {
        File { shared: Arc::new(Shared { file: Arc::new(file), position: Mutex::new(position), appends }) }
    }

    /// How to open a file.
    pub fn options() -> FileOptions {
        FileOptions { options: OpenOptions::new(), appends: false }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::options().read(true).open(path)
    }

    /// Opens a file for writing: makes it, or empties it.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::options().write(true).create(true).truncate(true).open(path)
    }

    /// Takes over a file of std's, at its position.
    ///
    /// # Errors
    /// What the system says, for example `NotSeekable` for a pipe.
    pub fn from_std(mut file: fs::File) -> io::Result<File> {
        let position = file.stream_position()?;
        let appends = rustix::fs::fcntl_getfl(&file)?.contains(rustix::fs::OFlags::APPEND);
        Ok(File::new(file, position, appends))
    }

    /// Gives the file back as std's, at its position.
    ///
    /// # Errors
    /// `ResourceBusy` if there are clones, or a thread of the pool is still at work for a greenlet that was killed.
    pub fn into_std(self) -> io::Result<fs::File> {
        let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "the file is in use elsewhere");
        let shared = Arc::try_unwrap(self.shared).map_err(|_| busy())?;
        let mut file = Arc::try_unwrap(shared.file).map_err(|_| busy())?;
        let position = shared.position.into_inner().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(position))?;
        Ok(file)
    }

    /// Another handle to the same file, with the same position.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File { shared: self.shared.clone() })
    }

    /// Reads at a place in the file, once. The position does not matter and does not move.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let (file, most) = (self.shared.file.clone(), buffer.len().min(MOST_AT_ONCE));
        let read = elsewhere(move || {
            let mut read = vec![0; most];
            let n = file.read_at(&mut read, offset)?;
            read.truncate(n);
            Ok(read)
        })?;
        buffer[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    /// Writes at a place in the file, once; at its end where it is open for [appending](FileOptions::append). The position does not matter
    /// and does not move.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let content = buffer[..buffer.len().min(MOST_AT_ONCE)].to_vec();
        let file = self.shared.file.clone();
        elsewhere(move || file.write_at(&content, offset))
    }

    /// Waits until content and metadata are on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_all(&self) -> io::Result<()> {
        let file = self.shared.file.clone();
        elsewhere(move || file.sync_all())
    }

    /// Waits until the content is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_data(&self) -> io::Result<()> {
        let file = self.shared.file.clone();
        elsewhere(move || file.sync_data())
    }

    /// Cuts the file to so many bytes, or lengthens it with zeros.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        let file = self.shared.file.clone();
        elsewhere(move || file.set_len(bytes))
    }

    /// Length, times, permissions.
    ///
    /// # Errors
    /// What the system says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let file = self.shared.file.clone();
        elsewhere(move || file.metadata())
    }

    /// A greenlet that was killed with it in its hands has changed nothing.
    fn position(&self) -> MutexGuard<'_, u64> {
        self.shared.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut position = self.position();
        let n = self.read_at(buffer, *position)?;
        *position += n as u64;
        Ok(n)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for &File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut position = self.position();
        let n = self.write_at(buffer, *position)?;
        *position += n as u64;
        if self.shared.appends
            && let Ok(now) = self.metadata()
        {
            // As the system does with what is appended: behind it.
            *position = now.len();
        }
        Ok(n)
    }

    /// Nothing is kept back here: does nothing. [`sync_data`](File::sync_data) waits for the disk.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    /// As for `&File`.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut position = self.position();
        let (base, offset) = match to {
            SeekFrom::Start(offset) => {
                *position = offset;
                return Ok(offset);
            }
            SeekFrom::Current(offset) => (*position, offset),
            SeekFrom::End(offset) => (self.metadata()?.len(), offset),
        };
        let before_the_start =
            || io::Error::new(io::ErrorKind::InvalidInput, "cannot seek to before the start of the file");
        *position = base.checked_add_signed(offset).ok_or_else(before_the_start)?;
        Ok(*position)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared.file, f)
    }
}
