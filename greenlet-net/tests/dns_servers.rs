//! The native resolver against real servers: knot (authoritative), unbound and dnsmasq, each an instance of its own.
#![cfg(all(unix, feature = "native-dns"))]

mod program;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenlet_core::{joinall, run, spawn};
use greenlet_net::dns::{EngineKind, ErrorKind, Family, Hints, Resolver, SocketType};
use program::missing;

const ZONE: &str = "$ORIGIN test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
    www A 10.1.0.1\nwww A 10.1.0.2\nwww AAAA 2001:db8::1\nfour A 10.1.0.4\nalias CNAME www\ndangling CNAME nobody\n\
    @ MX 10 mail\n@ MX 5 first.mail\n_http._tcp SRV 1 2 80 www\nshort TXT \"two \" \"pieces\"\n";

/// A text that needs TCP.
const LONG_PIECE: usize = 200;
const LONG_PIECES: usize = 20;

/// A server's process and its files.
struct RealServer {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

/// How to start one: its arguments, after its files were written.
type Prepare = fn(&Path, SocketAddr) -> Vec<String>;

fn knot(directory: &Path, address: SocketAddr) -> Vec<String> {
    let long: String = (0..LONG_PIECES).map(|_| format!(" \"{}\"", "x".repeat(LONG_PIECE))).collect();
    fs::write(directory.join("zone"), format!("{ZONE}long TXT{long}\n")).unwrap();
    let reverse = "$ORIGIN 1.10.in-addr.arpa.\n$TTL 300\n@ SOA ns.test. h.test. 1 1 1 1 60\n@ NS ns.test.\n1.0 PTR www.test.\n";
    fs::write(directory.join("reverse"), reverse).unwrap();
    let (place, ip, port) = (directory.display(), address.ip(), address.port());
    let config = format!(
        "server:\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  rundir: {place}\n\
         database:\n  storage: {place}\nzone:\n- domain: test\n  file: {place}/zone\n\
         - domain: 1.10.in-addr.arpa\n  file: {place}/reverse\n"
    );
    fs::write(directory.join("knot.conf"), config).unwrap();
    vec!["-c".to_owned(), directory.join("knot.conf").display().to_string()]
}

fn unbound(directory: &Path, address: SocketAddr) -> Vec<String> {
    let long: String = (0..LONG_PIECES).map(|_| format!(" \"{}\"", "x".repeat(LONG_PIECE))).collect();
    let records = [
        "www.test. 300 A 10.1.0.1",
        "www.test. 300 A 10.1.0.2",
        "www.test. 300 AAAA 2001:db8::1",
        "four.test. 300 A 10.1.0.4",
        "alias.test. 300 CNAME www.test.",
        "test. 300 MX 10 mail.test.",
        "test. 300 MX 5 first.mail.test.",
        "_http._tcp.test. 300 SRV 1 2 80 www.test.",
        "short.test. 300 TXT \"two \" \"pieces\"",
        "test. 300 SOA ns.test. h.test. 1 3600 600 86400 60",
        &format!("long.test. 300 TXT{long}"),
    ];
    let local: String = records.iter().map(|record| format!("  local-data: '{record}'\n")).collect();
    let config = format!(
        "server:\n  interface: {}@{}\n  port: {}\n  access-control: 127.0.0.0/8 allow\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  module-config: \"iterator\"\n  \
         local-zone: \"test.\" static\n  local-data-ptr: \"10.1.0.1 300 www.test\"\n{local}\
         remote-control:\n  control-enable: no\n",
        address.ip(),
        address.port(),
        address.port(),
        directory.display(),
    );
    fs::write(directory.join("unbound.conf"), config).unwrap();
    vec!["-d".to_owned(), "-c".to_owned(), directory.join("unbound.conf").display().to_string()]
}

fn dnsmasq(_: &Path, address: SocketAddr) -> Vec<String> {
    let long = (0..LONG_PIECES).map(|_| format!(",{}", "x".repeat(LONG_PIECE))).collect::<String>();
    let mut arguments: Vec<String> = [
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--bind-interfaces",
        "--user=",
        "--pid-file=",
        "--local-ttl=300",
        "--local=/test/",
        "--host-record=www.test,10.1.0.1,2001:db8::1",
        "--host-record=www.test,10.1.0.2",
        "--host-record=four.test,10.1.0.4",
        "--cname=alias.test,www.test",
        "--mx-host=test,mail.test,10",
        "--mx-host=test,first.mail.test,5",
        "--srv-host=_http._tcp.test,www.test,80,1,2",
        "--txt-record=short.test,two ,pieces",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--txt-record=long.test{long}"));
    arguments.push(format!("--listen-address={}", address.ip()));
    arguments.push(format!("--port={}", address.port()));
    arguments
}

/// Starts the program and waits until it answers. `None`: it is missing, which was said.
fn start(program: &str, package: &str, prepare: Prepare) -> Option<RealServer> {
    // What UDP and TCP had free a moment ago. Somebody else may take it first.
    for attempt in 0.. {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let Ok(tcp) = TcpListener::bind(address) else { continue };
        let directory = std::env::temp_dir().join(format!("greenlet-{program}-{}", address.port()));
        fs::create_dir_all(&directory).unwrap();
        let arguments = prepare(&directory, address);
        drop((udp, tcp));
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(child) = child else {
            let _ = fs::remove_dir_all(directory);
            missing(program, package);
            return None;
        };
        let mut server = RealServer { child, directory, address };
        if server.answers() {
            return Some(server);
        }
        let mut said = String::new();
        let _ = server.child.kill();
        let _ = server.child.stderr.take().unwrap().read_to_string(&mut said);
        assert!(attempt < 3, "{program} does not start: {said}");
    }
    unreachable!()
}

impl RealServer {
    fn answers(&mut self) -> bool {
        let resolver = self.resolver_that_waits(Duration::from_millis(100), 1);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) && matches!(self.child.try_wait(), Ok(None)) {
            if run(|| resolver.gethostbyname("four.test")).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn resolver_that_waits(&self, timeout: Duration, attempts: u32) -> Resolver {
        Resolver::builder()
            .engine(EngineKind::Native)
            .resolv_conf("/nonexistent")
            .hosts_file("/nonexistent")
            .search(Vec::<String>::new())
            .nameservers([self.address])
            .timeout(timeout)
            .attempts(attempts)
            .build()
            .unwrap()
    }

    fn resolver(&self) -> Resolver {
        self.resolver_that_waits(Duration::from_secs(5), 4)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// What all of them have to answer alike.
fn answers_of(server: &RealServer) {
    let resolver = server.resolver();
    run(|| {
        let (one, two): (IpAddr, IpAddr) =
            (Ipv4Addr::new(10, 1, 0, 1).into(), Ipv4Addr::new(10, 1, 0, 2).into());
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(sorted(resolver.lookup("www.test").unwrap()), [one, two, six]);
        assert_eq!(sorted(resolver.lookup_family("WWW.Test.", Family::V4).unwrap()), [one, two]);
        assert_eq!(resolver.lookup_family("www.test", Family::V6).unwrap(), [six]);

        let entry = resolver.gethostbyname_ex("alias.test").unwrap();
        assert_eq!((entry.name.as_str(), entry.aliases), ("www.test", vec!["alias.test".to_owned()]));
        assert_eq!(sorted(entry.addresses), [one, two]);

        let stream = Hints::new().socket_type(SocketType::Stream).family(Family::V4).canonical_name();
        let found = resolver.getaddrinfo("four.test", "http", &stream).unwrap();
        assert_eq!(found[0].address, "10.1.0.4:80".parse().unwrap());
        assert_eq!(found[0].canonical_name.as_deref(), Some("four.test"));

        let error = resolver.lookup("nobody.test").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let error = resolver.lookup_family("four.test", Family::V6).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoData, "{error}");

        let mx: Vec<_> =
            resolver.lookup_mx("test.").unwrap().into_iter().map(|mx| (mx.preference, mx.exchange)).collect();
        assert_eq!(mx, [(5, "first.mail.test".to_owned()), (10, "mail.test".to_owned())]);
        let srv = &resolver.lookup_srv("_http._tcp.test").unwrap()[0];
        assert_eq!((srv.priority, srv.weight, srv.port, srv.target.as_str()), (1, 2, 80, "www.test"));
        assert_eq!(resolver.lookup_txt("short.test").unwrap(), [b"two pieces"]);
        let long = resolver.lookup_txt("long.test").unwrap(); // over TCP: it is larger than any datagram
        assert_eq!(long, [vec![b'x'; LONG_PIECE * LONG_PIECES]]);

        assert_eq!(resolver.gethostbyaddr(one).unwrap().name, "www.test");
        let error = resolver.gethostbyaddr("10.1.9.9".parse().unwrap()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Temporary), "{error}");

        let uncached = server.resolver();
        let all: Vec<_> = (0..1000)
            .map(|n| {
                let resolver = uncached.clone();
                spawn(move || {
                    if n % 2 == 0 {
                        resolver.gethostbyname("four.test").is_ok()
                    } else {
                        resolver
                            .lookup(&format!("nobody-{n}.test"))
                            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
                    }
                })
            })
            .collect();
        joinall(&all);
        assert!(all.iter().all(|greenlet| greenlet.value() == Some(&true)));
    });
}

#[test]
fn knot_is_understood() {
    if let Some(server) = start("knotd", "knot", knot) {
        answers_of(&server);
        run(|| {
            // Authoritative servers leave the name behind an alias to us, here one that is not there.
            let error = server.resolver().lookup("dangling.test").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            // It is not for others' zones.
            let error = server.resolver().lookup("www.elsewhere").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Temporary);
            assert!(error.to_string().contains("Refused"), "{error}");
        });
    }
}

#[test]
fn unbound_is_understood() {
    if let Some(server) = start("unbound", "unbound", unbound) {
        answers_of(&server);
    }
}

#[test]
fn dnsmasq_is_understood() {
    if let Some(server) = start("dnsmasq", "dnsmasq-base", dnsmasq) {
        answers_of(&server);
    }
}
