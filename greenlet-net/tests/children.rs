//! Child processes: their ends, their pipes, and what is left of them.
#![cfg(target_os = "linux")]

mod pair;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use greenlet_core::{Hub, run, sleep, spawn, with_timeout, yield_now};
use greenlet_net::process::{Child, Command, OutputError, Stdio};
use pair::{FOREVER, kind};

const SHORT: Duration = Duration::from_millis(30);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The state of a process, `None` for one that is not there (any more): a zombie is `Z`.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < FOREVER);
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_status_is_waited_for_while_others_run() {
    run(|| {
        let child = spawn(|| sh("sleep 0.05; exit 7").status().unwrap());
        let mut ticks = 0;
        while !child.ready() {
            sleep(Duration::from_millis(1));
            ticks += 1;
        }
        assert!(ticks > 1);
        assert_eq!(child.get().unwrap().code(), Some(7));
        assert_eq!(sh("kill -9 $$").status().unwrap().signal(), Some(9));
    });
}

#[test]
fn output_has_both_streams_and_nothing_to_read() {
    run(|| {
        let output = sh("cat; echo out; echo err >&2").env("UNUSED", "x").output().unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert!(output.status.success());
    });
}

#[test]
fn a_command_is_told_everything() {
    run(|| {
        let mut command = sh("echo $ONE $TWO $THREE; pwd");
        command.env_clear().envs([("ONE", "1"), ("TWO", "2")]).env("THREE", "3").env_remove("TWO");
        let output = command.env("PATH", "/bin:/usr/bin").current_dir("/").output().unwrap();
        assert_eq!(output.stdout, b"1 3\n/\n");
        // It can be started again, and in another way.
        assert_eq!(command.output().unwrap().stdout, b"1 3\n/\n");
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    });
}

#[test]
fn a_program_that_cannot_be_run_is_an_error_of_spawn_and_leaves_nothing() {
    run(|| {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let program = "/no/such/program";
        let _ = Command::new(program).output(); // whatever is made at the first time
        let before = descriptors();
        for _ in 0..20 {
            assert_eq!(kind(Command::new(program).output()), ErrorKind::NotFound);
        }
        // Other tests of this process have descriptors of their own.
        assert!(descriptors() < before + 20);
        assert_eq!(kind(Command::new("/").spawn()), ErrorKind::PermissionDenied);
        assert_eq!(kind(Command::new("nul\0").spawn()), ErrorKind::InvalidInput);
    });
}

#[test]
fn talking_both_ways_does_not_hang_whatever_the_order() {
    run(|| {
        // It writes all of its output, more than a pipe holds, before it reads anything, and the other way round.
        let much = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; wc -c";
        let mut child = piped(&mut sh(much));
        let output = child.communicate(vec![b'x'; 500_000]).unwrap();
        assert!(output.stdout.starts_with(&[0; 1_000_000]));
        assert_eq!(String::from_utf8_lossy(&output.stdout[1_000_000..]).trim(), "500000");
        assert_eq!(output.stderr.len(), 1_000_000);
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        // It has ended: nothing more comes, and nothing can be said.
        let again = child.communicate("").unwrap();
        assert!(again.stdout.is_empty() && again.status.success());
        assert_eq!(kind(child.communicate("late")), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_conversation_goes_on_after_timeouts_and_kills_with_nothing_lost() {
    run(|| {
        let script = "while read line; do echo \"got $line\"; sleep 0.01; done; echo end >&2";
        let mut child = piped(&mut sh(script));
        let mut input: String = (0..30).map(|number| format!("{number}\n")).collect();
        let mut interruptions = 0;
        let output = loop {
            let patience = Duration::from_millis(7);
            let result = if interruptions % 2 == 0 {
                child.communicate_timeout(std::mem::take(&mut input), patience)
            } else {
                with_timeout(patience, || child.communicate("")).unwrap_or(Err(ErrorKind::TimedOut.into()))
            };
            match result {
                Ok(output) => break output,
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
            interruptions += 1;
            assert!(interruptions < 10_000);
        };
        let expected: String = (0..30).map(|number| format!("got {number}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(output.stderr, b"end\n");
        assert!(interruptions >= 2);
    });
}

#[test]
fn what_was_heard_so_far_can_be_seen() {
    run(|| {
        let mut child = piped(&mut sh("echo begun; exec sleep 60"));
        until(|| {
            let _ = child.communicate_timeout("", Duration::from_millis(5));
            child.heard().0 == b"begun\n"
        });
        child.kill().unwrap();
        let output = child.communicate("").unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.signal()), (&b"begun\n"[..], Some(9)));
    });
}

#[test]
fn a_child_that_does_not_listen_is_no_error() {
    run(|| {
        let mut child = piped(&mut sh("exec <&-; echo deaf"));
        assert_eq!(child.communicate(vec![0; 1 << 20]).unwrap().stdout, b"deaf\n");
    });
}

#[test]
fn pipes_are_used_by_hand() {
    run(|| {
        let mut child = piped(&mut Command::new("cat"));
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for word in ["one", "two"] {
            writeln!(stdin, "{word}").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), word);
        }
        drop(stdin);
        assert!(lines.next().is_none());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn the_childs_own_ends_are_in_blocking_mode() {
    run(|| {
        let script = "for fd in 0 1; do grep flags: /proc/self/fdinfo/$fd; done";
        let mut child = piped(&mut sh(script));
        let output = child.communicate("").unwrap();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let flags = i32::from_str_radix(line.trim_start_matches("flags:").trim(), 8).unwrap();
            assert_eq!(flags & libc::O_NONBLOCK, 0, "{line}");
        }
    });
}

#[test]
fn a_limit_kills_the_process_and_has_its_output_so_far() {
    run(|| {
        let mut command = sh("echo so far; echo $$ >&2; exec sleep 60");
        // Until the shell was fast enough to say it.
        until(|| match command.output_timeout(SHORT) {
            Err(OutputError::TimedOut { limit, stdout, stderr }) => {
                assert_eq!(limit, SHORT);
                let pid = String::from_utf8_lossy(&stderr).trim().parse().unwrap_or(0);
                assert!(pid == 0 || state(pid).is_none(), "it was killed and collected");
                stdout == b"so far\n" && pid != 0
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(sh("echo fast").output_timeout(FOREVER).unwrap().stdout, b"fast\n");
        assert!(matches!(Command::new("/no/such").output_timeout(SHORT), Err(OutputError::Io(_))));
    });
}

#[test]
fn a_kill_or_timeout_in_status_and_output_kills_the_process() {
    run(|| {
        let folder = std::env::temp_dir().join(format!("greenlet-children-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (number, output) in [(1, false), (2, true)] {
            let file = folder.join(format!("pid-{number}"));
            let mut command = sh(&format!("echo $$ > {}; exec sleep 60", file.display()));
            let waiting = spawn(move || match output {
                true => drop(command.output()),
                false => drop(command.status()),
            });
            let mut pid = None;
            until(|| {
                pid = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
                pid.is_some()
            });
            waiting.kill();
            assert!(waiting.exited());
            // Dead at once; collected when the next one comes.
            until(|| {
                sh("").status().unwrap();
                state(pid.unwrap()).is_none()
            });
        }
        assert!(with_timeout(SHORT, || sh("exec sleep 60").status()).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn killing_who_waits_leaves_the_child_to_others() {
    run(|| {
        let mut child = piped(&mut Command::new("cat"));
        let handle = child.handle();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let handle = handle.clone();
                spawn(move || handle.wait().unwrap())
            })
            .collect();
        yield_now();
        waiters[0].kill();
        assert_eq!(handle.try_wait().unwrap(), None);
        assert_eq!(handle.wait_timeout(SHORT).unwrap(), None);
        drop(child.stdin.take()); // its input ends, and so does it
        assert!(waiters[1].get().unwrap().success());
        assert!(waiters[2].get().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(child.try_wait().unwrap().unwrap().success());
        // A status is collected once and known for ever; a signal to nobody is none.
        child.kill().unwrap();
        assert_eq!(state(child.id()), None);
    });
}

#[test]
fn who_waits_is_told_by_whoever_ends_it() {
    run(|| {
        let mut child = sh("exec sleep 60").spawn().unwrap();
        let handle = child.handle();
        let waiting = spawn(move || child.wait().unwrap());
        yield_now();
        handle.terminate().unwrap();
        assert_eq!(waiting.get().unwrap().signal(), Some(libc::SIGTERM));

        let child = sh("exec sleep 60").spawn().unwrap();
        child.handle().signal(libc::SIGINT).unwrap();
        assert_eq!(child.handle().wait().unwrap().signal(), Some(libc::SIGINT));
        assert_eq!(kind(child.handle().signal(-1)), ErrorKind::InvalidInput);
        assert_eq!(kind(child.handle().signal(10_000)), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_child_that_is_dropped_goes_on_and_becomes_no_zombie_for_long() {
    run(|| {
        let mut child = sh("read word").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, stdin) = (child.id(), child.stdin.take());
        drop(child);
        assert!(matches!(state(pid), Some(state) if state != 'Z'));
        drop(stdin);
        // Collected when the next one is started.
        until(|| {
            sh("").status().unwrap();
            state(pid).is_none()
        });
        let killed = sh("exec sleep 60").kill_on_drop(true).spawn().unwrap();
        let pid = killed.id();
        drop(killed);
        until(|| {
            sh("").status().unwrap();
            state(pid).is_none()
        });
    });
}

#[test]
fn somebody_who_collects_all_children_is_an_error_and_no_hang() {
    run(|| {
        let child = sh("exit 3").spawn().unwrap();
        greenlet_core::watcher::wait_child(child.id(), None).unwrap(); // by another way
        assert_eq!(child.handle().wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    });
}

#[test]
fn waiting_works_on_every_hub_and_on_a_thread_without_one() {
    let hub = Hub::thread("waits").start().unwrap();
    let waiting = hub.handle().spawn(|| sh("exit 4").status().unwrap().code()).unwrap();
    assert_eq!(waiting.get().unwrap(), Some(4));
    hub.join();
    let thread = std::thread::spawn(|| {
        let output = sh("echo thread").output().unwrap();
        (output.stdout, sh("exit 5").status().unwrap().code())
    });
    assert_eq!(thread.join().unwrap(), (b"thread\n".to_vec(), Some(5)));
}

#[test]
fn a_loop_that_asks_again_and_again_comes_to_an_end() {
    run(|| {
        let mut child = sh("exit 0").spawn().unwrap();
        while child.try_wait().unwrap().is_none() {}
    });
}

#[test]
fn many_children_at_once() {
    run(|| {
        let jobs: Vec<_> = (0..20)
            .map(|number| spawn(move || sh(&format!("echo {number}; exit {number}")).output().unwrap()))
            .collect();
        for (number, job) in jobs.iter().enumerate() {
            let output = job.get().unwrap();
            assert_eq!(output.status.code(), Some(number as i32));
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), number.to_string());
        }
    });
}

#[test]
fn a_pipe_of_ours_is_given_to_a_child() {
    run(|| {
        let (mut reader, writer) = greenlet_net::pipe().unwrap();
        let mut command = sh("echo through a pipe");
        let mut child = command.stdout(Stdio::from(writer.into_fd().unwrap())).spawn().unwrap();
        drop(command); // it has the other end, too
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through a pipe\n");
        child.wait().unwrap();
    });
}
