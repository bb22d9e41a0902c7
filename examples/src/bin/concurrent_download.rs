//! Downloads many URLs at once, a few greenlets at a time, and says how large each page is.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin concurrent_download -- https://www.rust-lang.org/ https://example.org/
//!
//! or, without URLs, let it start a server of its own and download from there; you will see lines such as
//!
//!     [ 1/40] http://127.0.0.1:40817/9000: 9000 bytes in 12 ms
//!
//! and in the end
//!
//!     40 downloads, 11600000 bytes in 0.21 s, 0 failed
//!
//! The server takes a moment for each page: one after the other, they would take four times as long. The program fails if a download does.

use std::cell::Cell;
use std::io::{self, sink};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_core::pool::Pool;
use greenlet_core::sleep;
use greenlet_net::TcpListener;
use greenlet_net::client::agent_with;
use greenlet_net::client::ureq::{self, Agent};
use greenlet_net::http::{Request, RunningServer, Server};

/// How many at once.
const GREENLETS: usize = 8;

fn main() -> ExitCode {
    let mut urls: Vec<String> = std::env::args().skip(1).collect();
    if let [help] = &urls[..]
        && (help == "--help" || help == "-h")
    {
        println!("usage: concurrent_download [URL...]");
        return ExitCode::SUCCESS;
    }
    if let Some(wrong) = urls.iter().find(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        eprintln!("concurrent_download: expected a URL that begins with http:// or https://, not `{wrong}`");
        eprintln!("usage: concurrent_download [URL...]");
        return ExitCode::from(2);
    }
    let _server = match urls.is_empty().then(own_server).transpose() {
        Ok(None) => None,
        Ok(Some((server, offered))) => {
            urls = offered;
            Some(server)
        }
        Err(error) => {
            eprintln!("concurrent_download: {error}");
            return ExitCode::FAILURE;
        }
    };
    if download_all(urls) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns how many failed.
fn download_all(urls: Vec<String>) -> usize {
    let config = Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(60))).build();
    let (agent, pool, begun) = (agent_with(config), Pool::new(GREENLETS), Instant::now());
    let (done, bytes, failed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let all = urls.len();
    for url in urls {
        let (agent, done, bytes, failed) = (agent.clone(), done.clone(), bytes.clone(), failed.clone());
        // Waits for a place in the pool.
        pool.spawn(move || {
            let begun = Instant::now();
            let size = download(&agent, &url);
            done.set(done.get() + 1);
            let place = format!("[{:2}/{all}] {url}", done.get());
            match size {
                Ok(size) => {
                    bytes.set(bytes.get() + size);
                    println!("{place}: {size} bytes in {} ms", begun.elapsed().as_millis());
                }
                Err(error) => {
                    failed.set(failed.get() + 1);
                    println!("{place}: {error}");
                }
            }
        });
    }
    pool.join();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{all} downloads, {} bytes in {seconds:.2} s, {} failed", bytes.get(), failed.get());
    failed.get()
}

/// Plain blocking code. The page is not kept.
fn download(agent: &Agent, url: &str) -> Result<u64, ureq::Error> {
    let mut response = agent.get(url).call()?;
    Ok(io::copy(&mut response.body_mut().as_reader(), &mut sink())?)
}

/// A server whose pages are as long as their paths say, and URLs of forty of them.
fn own_server() -> io::Result<(RunningServer, Vec<String>)> {
    let server = Server::new(|request: Request| {
        sleep(Duration::from_millis(10)); // others are served meanwhile
        let size = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
        vec![b'x'; size]
    });
    let server = server.start(TcpListener::bind("127.0.0.1:0")?)?;
    let address = server.local_addr()?;
    let urls = (0..40).map(|number| format!("http://{address}/{}", number % 8 * 80_000 + 10_000)).collect();
    Ok((server, urls))
}
