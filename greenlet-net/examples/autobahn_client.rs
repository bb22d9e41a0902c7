//! Has the Autobahn test suite try our client.
//!
//! Type `wstest -m fuzzingserver -s docs/autobahn/server.json` in one terminal, and in another
//!
//!     cargo run --release -p greenlet-net --features websocket --example autobahn_client
//!
//! You will see the cases counted; the report is in `reports/clients/index.html`. How to get `wstest` is in `docs/websocket.md`.

use greenlet_net::websocket::{Connector, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9717".into());
    let settings = Settings::default().max_message_size(64 << 20).max_frame_size(64 << 20);
    let connector = Connector::new().settings(settings);
    let (count, _) = connector.connect(&format!("{server}/getCaseCount"))?;
    let count: u32 = count.recv()?.ok_or("no count")?.as_text().ok_or("no text")?.parse()?;
    for case in 1..=count {
        println!("{case} of {count}");
        let (socket, _) =
            connector.connect(&format!("{server}/runCase?case={case}&agent=greenlet-client"))?;
        // What breaks the protocol ends in an error here: that is what half of the cases are about.
        while let Ok(Some(message)) = socket.recv() {
            if socket.send(message).is_err() {
                break;
            }
        }
    }
    let (report, _) = connector.connect(&format!("{server}/updateReports?agent=greenlet-client"))?;
    report.recv()?;
    Ok(())
}
