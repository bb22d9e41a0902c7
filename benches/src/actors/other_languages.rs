//! The same programs in languages with lightweight processes of their own, which run as child processes.
//!
//! A child reads lines `workload size` from standard input and answers with the nanoseconds that the whole took, and for `idle` with the
//! bytes that it took, too.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use super::Cores;

/// A program in another language.
#[derive(Debug)]
pub struct Program {
    /// What the source is called, and the source.
    file: &'static str,
    source: &'static str,
    /// Builds it in a folder: `None` if this machine cannot.
    build: fn(&Path) -> Option<Command>,
    start: fn(&Path, Cores) -> Command,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    cores: Cores,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Erlang/OTP.
pub static ERLANG: Program = Program {
    file: "savina.erl",
    source: include_str!("../../actor/erlang/savina.erl"),
    build: |folder| {
        let mut erlc = Command::new("erlc");
        erlc.arg("-o").arg(folder).arg(folder.join("savina.erl"));
        Some(erlc)
    },
    start: |folder, cores| {
        let schedulers = match cores {
            Cores::One => "1:1",
            Cores::Two => "2:2",
        };
        let mut erl = Command::new("erl");
        // Room for more than a million processes, and no polling for input on another thread than the schedulers'.
        erl.args(["+S", schedulers, "+P", "4000000", "-noshell", "-kernel", "logger_level", "none", "-pa"]);
        erl.arg(folder).args(["-s", "savina", "main"]);
        erl
    },
    running: Mutex::new(None),
};

/// Go, with goroutines and channels.
pub static GO: Program = Program {
    file: "savina.go",
    source: include_str!("../../actor/go/savina.go"),
    build: |folder| {
        let mut go = Command::new("go");
        go.args(["build", "-o", "savina", "savina.go"]).current_dir(folder).env("GO111MODULE", "off");
        go.env("GOCACHE", folder.join("cache"));
        Some(go)
    },
    start: |folder, cores| {
        let threads = match cores {
            Cores::One => "1",
            Cores::Two => "2",
        };
        let mut savina = Command::new(folder.join("savina"));
        savina.env("GOMAXPROCS", threads);
        savina
    },
    running: Mutex::new(None),
};

impl Program {
    /// Runs a workload. Nothing, if this machine cannot.
    ///
    /// # Panics
    /// If the program fails.
    pub fn measure(&self, workload: &str, cores: Cores, size: u64) -> Vec<f64> {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if running.as_ref().is_none_or(|running| running.cores != cores) {
            *running = self.start(cores);
        }
        let Some(child) = &mut *running else { return Vec::new() };
        writeln!(child.requests, "{workload} {size}").expect("the program listens");
        let mut answer = String::new();
        child.answers.read_line(&mut answer).expect("the program answers");
        let values: Option<Vec<f64>> = answer.split_whitespace().map(|value| value.parse().ok()).collect();
        match values {
            Some(values) if !values.is_empty() => values,
            _ => panic!("{} answered {answer:?} to {workload} {size}", self.file),
        }
    }

    fn start(&self, cores: Cores) -> Option<Running> {
        let folder = self.built()?;
        let mut command = (self.start)(&folder, cores);
        if cores == Cores::One {
            crate::usage::keep_to_one_processor();
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let requests = child.stdin.take()?;
        let answers = BufReader::new(child.stdout.take()?);
        Some(Running { cores, child, requests, answers })
    }

    /// The folder with the program, built before if the source is the same.
    fn built(&self) -> Option<PathBuf> {
        let program = std::env::current_exe().ok()?;
        let folder = program.parent()?.join("other-languages").join(self.file);
        let (source, stamp) = (folder.join(self.file), folder.join("built"));
        if std::fs::read_to_string(&stamp).is_ok_and(|built| built == self.source) {
            return Some(folder);
        }
        std::fs::create_dir_all(&folder).ok()?;
        std::fs::write(&source, self.source).ok()?;
        let mut build = (self.build)(&folder)?;
        // Not installed, if it cannot be run.
        let built = build.output().ok()?;
        if !built.status.success() {
            // Compilers tell of their troubles on one or the other.
            let said = [built.stdout, built.stderr].concat();
            panic!("building {} failed: {}\n{}", self.file, built.status, String::from_utf8_lossy(&said));
        }
        std::fs::write(&stamp, self.source).ok()?;
        Some(folder)
    }
}
