//! Urgent (out-of-band) data: reads stop at its mark, so a short read does not mean that there is no more.

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::time::Duration;

use greenlet_core::{run, with_timeout, yield_now};
use greenlet_net::TcpListener;
use socket2::SockRef;

#[test]
fn what_comes_after_urgent_data_is_read() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 16];
        // Registers the socket with the hub: nothing is there yet.
        assert!(with_timeout(Duration::from_millis(1), || stream.read(&mut buffer).unwrap()).is_err());
        peer.write_all(b"a").unwrap();
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        peer.write_all(b"c").unwrap();
        yield_now();
        let mut got = Vec::new();
        while got != b"ac" {
            let n = with_timeout(Duration::from_secs(60), || stream.read(&mut buffer).unwrap()).unwrap();
            assert!(n > 0, "the peer is still there");
            got.extend_from_slice(&buffer[..n]);
        }
    });
}
