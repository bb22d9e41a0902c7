//! Sessions in futures: many in one greenlet.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use greenlet_core::future::{Executor, block_on};
use greenlet_core::{run, spawn, yield_now};
use greenlet_net::tls::TlsStream;
use greenlet_net::{Stream, TcpListener, TcpStream};

use crate::certified::{HOST, acceptor, connector, sessions};
use crate::pair::{kind, pair};
use crate::stream::fill_session;

async fn recv(stream: &dyn Stream, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| stream.poll_recv(context, buffer)).await
}

async fn send_all(stream: &dyn Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|context| stream.poll_send(context, bytes)).await?;
        bytes = &bytes[n..];
    }
    poll_fn(|context| stream.poll_flush(context)).await
}

async fn echo(stream: Rc<TlsStream>) -> io::Result<()> {
    let mut buffer = vec![0; 10_000];
    loop {
        match recv(&*stream, &mut buffer).await? {
            0 => return poll_fn(|context| stream.poll_finish(context)).await,
            n => send_all(&*stream, &buffer[..n]).await?,
        }
    }
}

#[test]
fn a_hundred_sessions_in_one_greenlet() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let (executor, acceptor) = (Executor::new(), acceptor().build().unwrap());
            for _ in 0..100 {
                let (transport, acceptor) = (listener.accept().unwrap().0, acceptor.clone());
                let served = async move {
                    echo(Rc::new(acceptor.accept_async(transport).await.unwrap())).await.unwrap()
                };
                executor.spawn(served).detach();
            }
            greenlet_core::sleep(std::time::Duration::MAX);
        });
        let connector = connector().build().unwrap();
        let clients: Vec<_> = (0..100u8)
            .map(|number| {
                let connector = connector.clone();
                spawn(move || {
                    let stream = connector.connect(HOST, TcpStream::connect(address).unwrap()).unwrap();
                    let writing = stream.try_clone().unwrap();
                    let writer = spawn(move || {
                        (&writing).write_all(&vec![number; 100_000]).unwrap();
                        writing.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut all = Vec::new();
                    (&stream).read_to_end(&mut all).unwrap();
                    writer.get().unwrap();
                    all.len() == 100_000 && all.iter().all(|&byte| byte == number)
                })
            })
            .collect();
        assert!(clients.iter().all(|client| client.get().unwrap()));
        server.kill();
    });
}

#[test]
fn client_and_server_in_futures_both_ways_at_once() {
    run(|| {
        let (ours, theirs) = pair();
        let executor = Executor::new();
        let acceptor = acceptor().build().unwrap();
        let server = executor.spawn(async move {
            let stream = Rc::new(acceptor.accept_async(theirs).await.unwrap());
            echo(stream).await.unwrap();
        });
        let total = block_on(async {
            let stream = Rc::new(connector().build().unwrap().connect_async(HOST, ours).await.unwrap());
            let reading = stream.clone();
            let reader = executor.spawn(async move {
                let (mut buffer, mut total) = (vec![0; 5000], 0);
                loop {
                    match recv(&*reading, &mut buffer).await.unwrap() {
                        0 => return total,
                        n => total += n,
                    }
                }
            });
            send_all(&*stream, &vec![7; 4 << 20]).await.unwrap();
            let slices = [IoSlice::new(b"a"), IoSlice::new(b"b")];
            assert_eq!(poll_fn(|context| stream.poll_send_vectored(context, &slices)).await.unwrap(), 2);
            poll_fn(|context| stream.poll_finish(context)).await.unwrap();
            let total = reader.await.unwrap();
            server.await.unwrap();
            total
        });
        assert_eq!(total, (4 << 20) + 2);
    });
}

#[test]
fn a_full_session_takes_no_more_and_wakes_who_polls() {
    run(|| {
        let (client, mut server) = sessions();
        fill_session(&client);
        let mut nobody = Context::from_waker(Waker::noop());
        // It may have room for what it keeps itself, but not for ever.
        let mut kept = 0;
        while let Poll::Ready(n) = client.poll_send(&mut nobody, &[8; 16 * 1024]) {
            kept += n.unwrap();
            assert!(kept <= 16 << 20);
        }
        let reader = spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all.iter().filter(|&&byte| byte == 9).count()
        });
        block_on(async {
            send_all(&client, &[9; 100_000]).await.unwrap();
            poll_fn(|context| client.poll_finish(context)).await.unwrap();
        });
        assert_eq!(reader.get().unwrap(), 100_000);
    });
}

#[test]
fn a_dropped_handshake_closes_the_connection() {
    run(|| {
        let (ours, theirs) = pair();
        {
            let acceptor = acceptor().build().unwrap();
            let mut accepting = pin!(acceptor.accept_async(ours));
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(std::future::Future::poll(accepting.as_mut(), &mut nobody).is_pending());
        }
        assert_eq!((&theirs).read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn close_ends_who_polls() {
    run(|| {
        let (client, _server) = sessions();
        let client = Rc::new(client);
        let executor = Executor::new();
        let polling = client.clone();
        let reader = executor.spawn(async move { kind(recv(&*polling, &mut [0; 8]).await) });
        yield_now();
        yield_now();
        client.close();
        assert_eq!(block_on(reader).unwrap(), ErrorKind::NotConnected);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(matches!(client.poll_send(&mut nobody, b"x"), Poll::Ready(Err(_))));
        assert!(matches!(client.poll_finish(&mut nobody), Poll::Ready(Err(_))));
    });
}

#[test]
fn a_reader_in_a_future_and_a_writer_that_blocks_do_not_disturb_each_other() {
    run(|| {
        let (client, mut server) = sessions();
        let client = Rc::new(client);
        let executor = Executor::new();
        let polling = client.clone();
        let reader = executor.spawn(async move {
            let (mut buffer, mut all) = ([0; 100], 0);
            while all < 10_000 {
                all += recv(&*polling, &mut buffer).await.unwrap();
            }
            all
        });
        let echoing = spawn(move || {
            let mut buffer = [0; 1000];
            for _ in 0..10 {
                server.read_exact(&mut buffer).unwrap();
                server.write_all(&buffer).unwrap();
            }
        });
        for _ in 0..10 {
            (&*client).write_all(&[1; 1000]).unwrap();
        }
        assert_eq!(block_on(reader).unwrap(), 10_000);
        echoing.get().unwrap();
    });
}
