//! An echo server that nobody can listen in on, and a client for it.
//!
//! Type in one terminal
//!
//!     cargo run --release -p greenlet-examples --bin tls_echo -- server
//!
//! and you will see where it listens, and the file with the certificate that it has made for itself:
//!
//!     made a certificate for localhost: /tmp/tls_echo-4711.pem
//!     listening on 127.0.0.1:7443
//!
//! In another one
//!
//!     cargo run --release -p greenlet-examples --bin tls_echo -- client 127.0.0.1:7443 /tmp/tls_echo-4711.pem
//!
//! says what was agreed (`TLSv1_3, TLS13_AES_256_GCM_SHA384`), sends each line that you type, and prints what comes back. So does
//! `openssl s_client -connect 127.0.0.1:7443 -CAfile /tmp/tls_echo-4711.pem`. A certificate of your own goes behind the server's address: CERT.pem KEY.pem.

use std::error::Error;
use std::io::{self, IsTerminal, Write, copy, stdout};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;

use greenlet_core::pool::ThreadPool;
use greenlet_core::{sleep, spawn};
use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector};
use greenlet_net::{TcpListener, TcpStream};
use tracing::{info, warn};

const USAGE: &str = "\
usage: tls_echo server [ADDR [CERT.pem KEY.pem]]    echo what comes (ADDR: 127.0.0.1:7443), with a certificate of its own if none is given
       tls_echo client [ADDR [CA.pem [NAME]]]       talk to a server that CA.pem vouches for (the system's authorities) by NAME (localhost)";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let address = |index| match arguments.get(index).unwrap_or(&"127.0.0.1:7443").parse() {
        Ok(address) => Ok(address),
        Err(_) => Err(format!("ADDR is like 127.0.0.1:7443 or [::1]:7443, not `{}`", arguments[index])),
    };
    let done = match (&arguments[..], address(1)) {
        (["--help" | "-h"], _) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        (["server" | "client", ..], Err(wrong)) => return misused(&wrong),
        (["server"] | ["server", _], Ok(address)) => server(address, None),
        (["server", _, certificate, key], Ok(address)) => server(address, Some((certificate, key))),
        (["client", rest @ ..], Ok(address)) if rest.len() <= 3 => {
            client(address, rest.get(1).copied(), rest.get(2).copied().unwrap_or("localhost"))
        }
        _ => return misused("expected `server` or `client`, and at most three arguments more"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misused(wrong: &str) -> ExitCode {
    eprintln!("tls_echo: {wrong}\n{USAGE}");
    ExitCode::from(2)
}

// --- the server ------------------------------------------------------------------------------------------------

fn server(address: SocketAddr, files: Option<(&str, &str)>) -> Result<(), Box<dyn Error>> {
    let identity = match files {
        Some((certificate, key)) => Identity::from_files(certificate, key)?,
        None => made_up()?,
    };
    let acceptor = TlsAcceptor::builder().identity(identity).build()?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let acceptor = acceptor.clone();
                spawn(move || match echo(&acceptor, stream) {
                    Ok(bytes) => info!(%peer, bytes, "gone"),
                    Err(error) => warn!(%peer, %error, "lost"),
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                warn!(%error, "cannot accept");
                sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

/// The handshake is done here, in the connection's own greenlet: a client that dawdles holds up nobody.
fn echo(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<u64> {
    let stream = acceptor.accept(stream)?;
    info!(peer = %stream.get_ref().peer_addr()?, version = ?stream.protocol_version(), name = ?stream.server_name(), "connected");
    let bytes = copy(&mut &stream, &mut &stream)?;
    stream.shutdown(Shutdown::Write)?;
    Ok(bytes)
}

/// A certificate that vouches for itself.
fn made_up() -> Result<Identity, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed([
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ])?;
    let file = std::env::temp_dir().join(format!("tls_echo-{}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem())?;
    println!("made a certificate for localhost: {}", file.display());
    Ok(Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?)
}

// --- the client ------------------------------------------------------------------------------------------------

fn client(address: SocketAddr, authority: Option<&str>, name: &str) -> Result<(), Box<dyn Error>> {
    let roots = match authority {
        Some(file) => Roots::from_file(file)?,
        None => Roots::system()?,
    };
    let connector = TlsConnector::builder().roots(roots).build()?;
    let stream = connector.connect(name, TcpStream::connect(address)?)?;
    let (version, suite) = (stream.protocol_version(), stream.cipher_suite());
    if let (Some(version), Some(suite)) = (version, suite) {
        eprintln!("{version:?}, {:?}", suite.suite());
    }
    let (mut reader, mut writer) = stream.into_split();
    let printer = spawn(move || copy(&mut reader, &mut stdout()).map(drop));
    loop {
        // Reading what is typed blocks, so a thread does it.
        let line = ThreadPool::global().apply(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        match line?? {
            line if line.is_empty() => break,
            line => writer.write_all(line.as_bytes())?,
        }
    }
    drop(writer); // says that this is all
    Ok(printer.into_value()??)
}
