//! Child processes at once: while they work, the others of this program go on.
//!
//! Type
//!
//!     cargo run -p greenlet-examples --bin processes
//!
//! and you will see a dot every 20 ms while two programs run, what they said, a conversation with a third one, and a fourth one that takes
//! too long and is ended:
//!
//!     uname -s: Linux (exit status: 0)
//!     sh: to be continued ... and done (exit status: 3)
//!     dots in the meantime: 11
//!     sort: apple, cherry, pear
//!     sleep: the process did not end within 200ms and was killed

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{joinall, sleep, spawn};
use greenlet_net::process::{Command, Output, Stdio};

fn main() -> Result<(), Box<dyn Error>> {
    let dots = Rc::new(std::cell::Cell::new(0));
    let ticking = spawn({
        let dots = dots.clone();
        move || {
            loop {
                sleep(Duration::from_millis(20));
                eprint!(".");
                dots.set(dots.get() + 1);
            }
        }
    });

    // Two at once; each is waited for by a greenlet of its own.
    let uname = spawn(|| Command::new("uname").arg("-s").output());
    let script = "echo to be continued ...; sleep 0.2; echo and done; exit 3";
    let slow = spawn(move || Command::new("sh").args(["-c", script]).output());
    joinall([&uname, &slow]);
    ticking.kill();
    eprintln!();
    println!("uname -s: {}", described(&uname.into_value()??));
    println!("sh: {}", described(&slow.into_value()??));
    println!("dots in the meantime: {}", dots.get());

    // Said and heard at the same time, however much it is.
    let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = sort.communicate("pear\napple\ncherry\n")?;
    println!("sort: {}", lines(&output).join(", "));

    // Too slow.
    match Command::new("sleep").arg("60").output_timeout(Duration::from_millis(200)) {
        Ok(output) => println!("sleep: {}", described(&output)),
        Err(error) => println!("sleep: {error}"),
    }
    Ok(())
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn described(output: &Output) -> String {
    format!("{} ({})", lines(output).join(" "), output.status)
}
