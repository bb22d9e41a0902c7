//! Serves the files of a directory, on every core.
//!
//!     cargo run --release -p greenlet-examples --bin file_server -- DIRECTORY [ADDRESS]
//!
//! It says `serving DIRECTORY on http://127.0.0.1:8000`, and logs each request to standard error. There are ranges and conditional requests
//! (`curl -r 0-9 ...`), index files, and nothing outside the directory. Ctrl-C ends it.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use greenlet_net::http::{AccessLog, Router, Server, StaticFiles};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: file_server DIRECTORY [ADDRESS]");
        std::process::exit(2);
    };
    if !std::path::Path::new(&directory).is_dir() {
        return Err(format!("{directory} is no directory").into());
    }
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let files = StaticFiles::new(&directory).max_age(Duration::from_secs(60));
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());

    let server = Server::new(Router::new().mount("/", files)).access_log(AccessLog::Combined);
    let server = server.start_on_hubs(cores, address.as_str())?;
    println!("serving {directory} on http://{}", server.local_addr()?);
    server.serve_forever()?;
    Ok(())
}
