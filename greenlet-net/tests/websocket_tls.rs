//! WebSocket over TLS: `wss://`, and what a kill in the middle of a message leaves there.
#![cfg(all(feature = "websocket", feature = "tls"))]

mod pair;

#[path = "tls/certified.rs"]
mod certified;

use std::time::Duration;

use certified::{acceptor, connector, sessions};
use greenlet_core::{run, spawn, with_timeout, yield_now};
use greenlet_net::TcpListener;
use greenlet_net::tls::TlsConnector;
use greenlet_net::websocket::{self, CloseCode, ConnectError, Connector, Role, Settings, WebSocket};

#[test]
fn a_client_connects_to_wss() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
        let tls = acceptor().build().unwrap();
        spawn(move || {
            for stream in listener.incoming() {
                let (stream, tls) = (stream.unwrap(), tls.clone());
                spawn(move || {
                    let Ok(session) = tls.accept(stream) else { return };
                    let Ok((socket, _)) = websocket::accept(session) else { return };
                    socket.iter().map_while(Result::ok).all(|message| socket.send(message).is_ok());
                });
            }
        });
        let (socket, _) = Connector::new().tls(connector().build().unwrap()).connect(&url).unwrap();
        for length in [0, 1, 1000, 100_000] {
            socket.send("x".repeat(length)).unwrap();
            assert_eq!(socket.recv().unwrap(), Some("x".repeat(length).into()));
        }
        socket.close(CloseCode::Normal, "").unwrap();
        // Whom the system does not trust, and who does not speak TLS.
        let strange = Connector::new().tls(TlsConnector::builder().roots(strangers()).build().unwrap());
        assert!(matches!(strange.connect(&url), Err(ConnectError::Tls(_))));
        assert!(websocket::connect(&url.replace("wss", "ws")).is_err());
    });
}

fn strangers() -> greenlet_net::tls::Roots {
    certified::Authority::new("strangers").roots()
}

#[test]
fn a_message_is_whole_whatever_happens_to_its_sender() {
    run(|| {
        let (client, server) = sessions();
        let settings = Settings::default().max_message_size(16 << 20).max_frame_size(16 << 20);
        let of =
            |stream, role| WebSocket::from_stream(Box::new(stream), role, &settings, Vec::new()).unwrap();
        let (client, server) = (of(client, Role::Client), of(server, Role::Server));
        let message = vec![7_u8; 16 << 20];
        assert!(with_timeout(Duration::from_millis(20), || client.send(message.clone())).is_err());
        let next = spawn({
            let client = client.clone();
            move || client.send("next").unwrap()
        });
        yield_now();
        assert!(server.recv().unwrap() == Some(message.into()));
        assert_eq!(server.recv().unwrap(), Some("next".into()));
        next.get().unwrap();
        let closer = spawn(move || client.close(CloseCode::Normal, "").is_ok());
        assert_eq!(server.recv().unwrap(), None);
        assert!(closer.get().unwrap());
    });
}
