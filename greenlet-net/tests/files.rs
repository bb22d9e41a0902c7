//! Pipes, files, and the standard descriptors.

mod pair;

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_core::{Event, Hub, run, spawn, with_timeout, yield_now};
use greenlet_net::{File, PipeReader, PipeWriter, pipe, read_file, tp_read, tp_write, write_file};
use pair::kind;

const SHORT: Duration = Duration::from_millis(20);

/// The name of a file that is not there yet.
fn fresh(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("greenlet-files-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// Writes until nothing goes any more.
fn fill(mut writer: &PipeWriter) -> usize {
    writer.set_timeout(Some(SHORT)).unwrap();
    let mut written = 0;
    while let Ok(n) = writer.write(&[7; 4096]) {
        written += n;
    }
    writer.set_timeout(None).unwrap();
    written
}

#[test]
fn a_pipe_carries_more_than_it_holds() {
    run(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let sent = content.clone();
        let writing = spawn(move || writer.write_all(&sent).unwrap());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(all == content);
        writing.get().unwrap();
    });
}

#[test]
fn an_end_without_its_other_end_says_so() {
    run(|| {
        let (mut reader, writer) = pipe().unwrap();
        drop(writer);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        let (reader, mut writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(kind(writer.write(b"x")), ErrorKind::BrokenPipe);
    });
}

#[test]
fn timeouts_kills_and_close_end_a_wait_and_lose_nothing() {
    run(|| {
        let (reader, mut writer) = pipe().unwrap();
        reader.set_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind((&reader).read(&mut [0; 8])), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        reader.set_timeout(None).unwrap();
        assert_eq!(kind(reader.set_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert!(with_timeout(SHORT, || (&reader).read(&mut [0; 8])).is_err());
        let mut clone = reader.try_clone().unwrap();
        let killed = spawn(move || clone.read(&mut [0; 8]).unwrap());
        yield_now();
        assert_eq!(kind((&reader).read(&mut [0; 8])), ErrorKind::ResourceBusy);
        killed.kill();
        writer.write_all(b"later").unwrap();
        assert_eq!((&reader).read(&mut [0; 8]).unwrap(), 5);

        let mut clone = reader.try_clone().unwrap();
        let closed = spawn(move || kind(clone.read(&mut [0; 8])));
        yield_now();
        reader.close();
        assert_eq!(closed.get().unwrap(), ErrorKind::NotConnected);
        assert_eq!(kind((&reader).read(&mut [0; 8])), ErrorKind::NotConnected);
        fill(&writer);
        let mut clone = writer.try_clone().unwrap();
        let closed = spawn(move || kind(clone.write_all(&[0; 100_000])));
        yield_now();
        writer.close();
        assert_eq!(closed.get().unwrap(), ErrorKind::NotConnected);
    });
}

#[test]
fn many_buffers_at_once() {
    run(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let content: Vec<u8> = (0..2000u32).map(|i| (i % 251) as u8).collect();
        let mut buffers: Vec<_> = content.chunks(1).map(IoSlice::new).collect();
        let mut rest = &mut buffers[..];
        while !rest.is_empty() {
            let n = writer.write_vectored(rest).unwrap();
            IoSlice::advance_slices(&mut rest, n);
        }
        assert_eq!(writer.write_vectored(&[]).unwrap(), 0);
        let mut received = vec![[0u8; 1]; 2000];
        let mut done = 0;
        while done < 2000 {
            let mut buffers: Vec<_> =
                received[done..].iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            done += reader.read_vectored(&mut buffers).unwrap();
        }
        assert!(received.concat() == content);
    });
}

#[test]
fn an_end_is_given_away_in_blocking_mode_and_comes_back() {
    run(|| {
        let (reader, mut writer) = pipe().unwrap();
        let clone = reader.try_clone().unwrap();
        assert_eq!(kind(reader.into_fd()), ErrorKind::ResourceBusy);
        let mut blocking = fs::File::from(clone.into_fd().unwrap());
        let thread = std::thread::spawn(move || {
            let mut byte = [0];
            blocking.read_exact(&mut byte).unwrap(); // blocks, or fails at once
            blocking
        });
        writer.write_all(b"x").unwrap();
        let reader = PipeReader::from_fd(thread.join().unwrap().into()).unwrap();
        let hub = Hub::thread("reads").start().unwrap();
        let read = hub.handle().spawn(move || BufReader::new(reader).lines().count()).unwrap();
        writer.write_all(b"one\ntwo").unwrap();
        drop(writer);
        assert_eq!(read.get().unwrap(), 2);
        hub.join();
    });
}

#[test]
fn a_file_is_written_sought_and_read() {
    run(|| {
        let path = fresh("sought");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(b"hello, world").unwrap();
        assert_eq!(file.stream_position().unwrap(), 12);
        assert_eq!(file.seek(SeekFrom::Start(7)).unwrap(), 7);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "world");
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), 7);
        assert_eq!(file.seek(SeekFrom::Current(-7)).unwrap(), 0);
        assert_eq!(kind(file.seek(SeekFrom::Current(-1))), ErrorKind::InvalidInput);
        let mut buffer = [0; 5];
        assert_eq!(file.read_at(&mut buffer, 7).unwrap(), 5);
        assert_eq!(file.write_at(b"W", 7).unwrap(), 1);
        assert_eq!(file.stream_position().unwrap(), 0);
        // Clones share the position.
        let mut clone = file.try_clone().unwrap();
        clone.read_exact(&mut buffer).unwrap();
        assert_eq!(file.stream_position().unwrap(), 5);
        file.set_len(5).unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
        assert_eq!(read_file(&path).unwrap(), b"hello");
        write_file(&path, "anew").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"anew");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_file_is_appended_to_wherever_its_position_is() {
    run(|| {
        let path = fresh("appended");
        fs::write(&path, "one").unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.rewind().unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(file.stream_position().unwrap(), 6);
        let std_file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut file = File::from_std(std_file).unwrap();
        file.write_all(b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"onetwothree");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn large_files_go_through_buffers_and_line_by_line() {
    run(|| {
        let path = fresh("large");
        let mut writer = BufWriter::new(File::create(&path).unwrap());
        for number in 0..100_000 {
            writeln!(writer, "line {number}").unwrap();
        }
        writer.flush().unwrap();
        let mut last = String::new();
        let mut count = 0;
        for line in BufReader::with_capacity(1 << 20, File::open(&path).unwrap()).lines() {
            last = line.unwrap();
            count += 1;
        }
        assert_eq!((count, last.as_str()), (100_000, "line 99999"));
        // More than is handed over at once.
        let all = read_file(&path).unwrap();
        let mut file = File::create(&path).unwrap();
        for _ in 0..3 {
            file.write_all(&all).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 3 * all.len() as u64);
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn files_from_and_to_std_keep_their_position() {
    run(|| {
        let path = fresh("std");
        fs::write(&path, "0123456789").unwrap();
        let mut std_file = fs::File::open(&path).unwrap();
        std_file.seek(SeekFrom::Start(3)).unwrap();
        let mut file = File::from_std(std_file).unwrap();
        file.read_exact(&mut [0; 2]).unwrap();
        let clone = file.try_clone().unwrap();
        assert_eq!(kind(file.into_std()), ErrorKind::ResourceBusy);
        let mut std_file = clone.into_std().unwrap();
        assert_eq!(std_file.stream_position().unwrap(), 5);
        assert_eq!(kind(File::open("/no/such/file")), ErrorKind::NotFound);
        let (reader, _writer) = std::io::pipe().unwrap();
        let not_seekable = File::from_std(fs::File::from(std::os::fd::OwnedFd::from(reader)));
        assert_eq!(kind(not_seekable), ErrorKind::NotSeekable);
        let error = (&File::create(&path).unwrap()).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        fs::remove_file(path).unwrap();
    });
}

/// Others run while a file is opened that takes its time: a FIFO, which waits for its other end.
#[test]
fn a_kill_ends_the_wait_for_a_file_and_others_run_meanwhile() {
    run(|| {
        let path = fresh("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let opening = spawn({
            let path = path.clone();
            move || File::open(path).unwrap()
        });
        yield_now();
        assert!(!opening.ready());
        opening.kill();
        assert!(opening.exited());
        // The thread is still at it: let it end.
        drop(fs::OpenOptions::new().write(true).open(&path).unwrap());
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn two_greenlets_that_read_one_file_take_turns() {
    run(|| {
        let path = fresh("turns");
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 1000) as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let file = file.clone();
                spawn(move || {
                    let mut chunks = Vec::new();
                    loop {
                        let mut chunk = vec![0; 1000];
                        match (&*file).read(&mut chunk).unwrap() {
                            0 => return chunks,
                            n => assert_eq!(n, 1000),
                        }
                        chunks.push(chunk[0]);
                    }
                })
            })
            .collect();
        let mut all: Vec<u8> = readers.iter().flat_map(|reader| reader.get().unwrap()).collect();
        all.sort_unstable();
        assert!(all == (0..100).collect::<Vec<u8>>());
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn tp_read_and_tp_write_leave_blocking_to_a_thread() {
    run(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (Arc::new(reader), Arc::new(writer));
        let waits = Arc::new(Event::new());
        let reading = spawn({
            let waits = waits.clone();
            move || {
                waits.set();
                tp_read(reader, 100).unwrap()
            }
        });
        waits.wait();
        yield_now();
        assert!(!reading.ready());
        assert_eq!(tp_write(writer, "hello").unwrap(), 5);
        assert_eq!(reading.get().unwrap(), b"hello");
    });
}

/// Runs the named test again in a process whose standard descriptors are pipes; `true` in that process.
fn is_child(test: &str) -> Option<std::process::Child> {
    const MARK: &str = "GREENLET_TEST_STDIO";
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Some(child)
}

#[cfg(target_os = "linux")]
#[test]
fn standard_input_and_output_suspend_one_greenlet_and_keep_their_mode() {
    let Some(mut child) = is_child("standard_input_and_output_suspend_one_greenlet_and_keep_their_mode")
    else {
        run(|| {
            let ticks = Arc::new(std::sync::atomic::AtomicU32::new(0));
            let ticking = spawn({
                let ticks = ticks.clone();
                move || {
                    loop {
                        greenlet_core::sleep(Duration::from_millis(1));
                        ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
            let mut lines = BufReader::new(greenlet_net::stdin()).lines();
            let first = lines.next().unwrap().unwrap();
            // The parent writes only after it was asked to: others have run in the meantime.
            assert!(with_timeout(SHORT, || lines.next()).is_err());
            assert!(ticks.load(std::sync::atomic::Ordering::Relaxed) > 0);
            writeln!(greenlet_net::stdout(), "\ngo on after {first}").unwrap();
            let second = lines.next().unwrap().unwrap();
            let blocking = |fd| !rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK);
            assert!(blocking(rustix::stdio::stdin()) && blocking(rustix::stdio::stdout()));
            // More than a pipe holds, to a reader that begins late.
            let mut out = greenlet_net::stdout();
            out.write_all(&[b'x'; 200_000]).unwrap();
            writeln!(out, "\nheard {second}").unwrap();
            writeln!(greenlet_net::stderr(), "done").unwrap();
            ticking.kill();
        });
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(b"one\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("go on after one") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
    }
    stdin.write_all(b"two\n").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches('x').count(), 200_000);
    assert!(rest.contains("heard two"));
    assert!(child.wait().unwrap().success());
}
