//! The cases of RFC 6455, frame by frame, against our server and our client. `docs/websocket.md` has the table.
#![cfg(feature = "websocket")]

mod frames;

use std::time::Duration;

use frames::*;
use greenlet_core::{joinall, run, spawn};
use greenlet_net::websocket::{CloseCode, RecvError, Role};
use proptest::prelude::*;

/// Everything is said and done: the raw end closes, and gets the close back.
#[track_caller]
fn part(raw: &Raw, role: Role) {
    raw.close(1000, "bye");
    assert_eq!(raw.expect_close(1000), "bye");
    if role == Role::Server {
        raw.expect_end();
    }
}

/// The raw end sends bytes that break the protocol: ours says so, ends the connection, and its reader gets an error with that code.
fn refused(role: Role, code: u16, bytes: impl FnOnce(&Raw) -> Vec<u8>) {
    let (echo, raw) = echo(role, &settings());
    raw.send_bytes(&bytes(&raw));
    raw.expect_close(code);
    raw.expect_end();
    drop(raw);
    let error = echo.get().unwrap().1.unwrap_err();
    assert!(matches!(*error, RecvError::Violation { .. }), "{error}");
    assert_eq!(error.code().map(u16::from), Some(code));
}

// --- 1 framing ---------------------------------------------------------------------------------------------------

#[test]
fn messages_of_every_kind_of_length_come_back() {
    run(|| {
        for role in ROLES {
            for opcode in [TEXT, BINARY] {
                let (_, raw) = echo(role, &settings());
                for length in [0, 1, 125, 126, 127, 128, 65535, 65536] {
                    let payload = vec![b'*'; length];
                    raw.send(FIN | opcode, &payload);
                    raw.expect(FIN | opcode, &payload);
                }
                part(&raw, role);
            }
        }
    });
}

#[test]
fn lengths_need_not_be_written_in_the_shortest_form() {
    // The RFC wants it of senders; nothing is gained by refusing it.
    run(|| {
        let (_, raw) = echo(Role::Client, &settings());
        raw.send_bytes(&[FIN | TEXT, 126, 0, 2, b'h', b'i']);
        raw.expect(FIN | TEXT, b"hi");
        part(&raw, Role::Client);
    });
}

#[test]
fn frames_may_arrive_byte_by_byte_and_many_at_once() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            let payload = vec![b'*'; 300];
            raw.send_in_chops(&raw.frame(FIN | TEXT, &payload));
            raw.expect(FIN | TEXT, &payload);
            raw.send_bytes(&raw.frame(FIN | BINARY, b"one of many").repeat(100));
            for _ in 0..100 {
                raw.expect(FIN | BINARY, b"one of many");
            }
            part(&raw, role);
        }
    });
}

// --- 2 pings and pongs ---------------------------------------------------------------------------------------------

#[test]
fn pings_are_answered_with_what_they_carry() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            for payload in [b"".as_slice(), b"hello", &[0, 255, 254, 0x80], &[7; 125]] {
                raw.send(FIN | PING, payload);
                raw.expect(FIN | PONG, payload);
            }
            raw.send_in_chops(&raw.frame(FIN | PING, &[8; 125]));
            raw.expect(FIN | PONG, &[8; 125]);
            part(&raw, role);
        }
    });
}

#[test]
fn a_ping_of_126_bytes_is_refused() {
    run(|| ROLES.map(|role| refused(role, 1002, |raw| raw.frame(FIN | PING, &[1; 126]))));
}

#[test]
fn pongs_that_answer_nothing_are_ignored() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            raw.send(FIN | PONG, b"");
            raw.send(FIN | PONG, b"unasked");
            raw.send(FIN | PING, b"asked");
            raw.expect(FIN | PONG, b"asked");
            part(&raw, role);
        }
    });
}

#[test]
fn ten_pings_at_once_get_ten_pongs_in_order() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            let pings: Vec<u8> = (0..10).flat_map(|n| raw.frame(FIN | PING, &[n; 100])).collect();
            raw.send_bytes(&pings);
            for n in 0..10 {
                raw.expect(FIN | PONG, &[n; 100]);
            }
            part(&raw, role);
        }
    });
}

// --- 3 and 4 reserved bits and opcodes -------------------------------------------------------------------------------

#[test]
fn reserved_bits_are_refused() {
    run(|| {
        for role in ROLES {
            for bits in 1..8 {
                for opcode in [TEXT, BINARY, PING, CLOSE] {
                    refused(role, 1002, |raw| raw.frame(FIN | bits << 4 | opcode, b""));
                }
            }
            // After something good, which is answered.
            let (echo, raw) = echo(role, &settings());
            raw.send_bytes(&[raw.frame(FIN | TEXT, b"good"), raw.frame(FIN | 0x40 | TEXT, b"bad")].concat());
            raw.expect(FIN | TEXT, b"good");
            raw.expect_close(1002);
            drop(raw);
            assert_eq!(echo.get().unwrap().0, 1);
        }
    });
}

#[test]
fn reserved_opcodes_are_refused() {
    run(|| {
        for role in ROLES {
            for opcode in (3..8).chain(11..16) {
                refused(role, 1002, |raw| raw.frame(FIN | opcode, b""));
                refused(role, 1002, |raw| raw.frame(FIN | opcode, b"with something in it"));
            }
        }
    });
}

// --- 5 fragments -------------------------------------------------------------------------------------------------

#[test]
fn fragments_are_put_together_and_pings_between_them_are_answered_first() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            raw.send(TEXT, b"frag");
            raw.send(CONTINUE, b"");
            raw.send(FIN | PING, b"in between");
            raw.expect(FIN | PONG, b"in between");
            raw.send(CONTINUE, b"men");
            raw.send(FIN | CONTINUE, b"ted");
            raw.expect(FIN | TEXT, b"fragmented");
            // In one piece and in single bytes.
            let all = [raw.frame(BINARY, &[1; 200]), raw.frame(FIN | CONTINUE, &[2; 200])].concat();
            let whole = [[1; 200], [2; 200]].concat();
            raw.send_bytes(&all);
            raw.expect(FIN | BINARY, &whole);
            raw.send_in_chops(&all);
            raw.expect(FIN | BINARY, &whole);
            part(&raw, role);
        }
    });
}

#[test]
fn fragments_of_nothing_are_an_empty_message() {
    run(|| {
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            raw.send(TEXT, b"");
            raw.send(CONTINUE, b"");
            raw.send(FIN | CONTINUE, b"");
            raw.expect(FIN | TEXT, b"");
            part(&raw, role);
        }
    });
}

#[test]
fn control_frames_in_fragments_are_refused() {
    run(|| {
        for role in ROLES {
            for opcode in [PING, PONG, CLOSE] {
                refused(role, 1002, |raw| raw.frame(opcode, b""));
            }
        }
    });
}

#[test]
fn a_continuation_of_nothing_and_a_beginning_in_the_middle_are_refused() {
    run(|| {
        for role in ROLES {
            refused(role, 1002, |raw| raw.frame(FIN | CONTINUE, b"of what?"));
            refused(role, 1002, |raw| raw.frame(CONTINUE, b"of what?"));
            refused(role, 1002, |raw| [raw.frame(TEXT, b"one"), raw.frame(FIN | TEXT, b"two")].concat());
            refused(role, 1002, |raw| [raw.frame(TEXT, b"one"), raw.frame(BINARY, b"two")].concat());
        }
    });
}

// --- 6 UTF-8 -----------------------------------------------------------------------------------------------------

#[test]
fn text_may_be_cut_anywhere() {
    run(|| {
        let text = "κόσμε\u{0} ẞ \u{10ffff}\u{1f600}";
        for role in ROLES {
            let (_, raw) = echo(role, &settings());
            raw.send(FIN | TEXT, text.as_bytes());
            raw.expect(FIN | TEXT, text.as_bytes());
            for cut in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(cut);
                raw.send(TEXT, one);
                raw.send(FIN | CONTINUE, two);
                raw.expect(FIN | TEXT, text.as_bytes());
            }
            raw.send(TEXT, b"");
            for byte in text.bytes() {
                raw.send(CONTINUE, &[byte]);
            }
            raw.send(FIN | CONTINUE, b"");
            raw.expect(FIN | TEXT, text.as_bytes());
            part(&raw, role);
        }
    });
}

#[test]
fn text_that_is_not_utf8_is_refused_with_1007() {
    run(|| {
        let wrong: [&[u8]; 12] = [
            b"\xff",
            b"\x80",
            b"\xc0\x80",
            b"\xc3",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            b"\xed\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"good until here\xe1\x80",
            b"\xfe\xfe\xff\xff",
        ];
        for role in ROLES {
            for text in wrong {
                refused(role, 1007, |raw| raw.frame(FIN | TEXT, text));
                let fragments = |raw: &Raw| {
                    let mut all = raw.frame(TEXT, b"good ");
                    all.extend(text.iter().flat_map(|&byte| raw.frame(CONTINUE, &[byte])));
                    all.extend(raw.frame(FIN | CONTINUE, b""));
                    all
                };
                refused(role, 1007, fragments);
            }
            // Bytes are none of its business.
            let (_, raw) = echo(role, &settings());
            raw.send(FIN | BINARY, b"\xff\xfe");
            raw.expect(FIN | BINARY, b"\xff\xfe");
        }
    });
}

#[test]
fn wrong_text_is_refused_before_its_message_is_whole() {
    run(|| {
        ROLES.map(|role| {
            refused(role, 1007, |raw| [raw.frame(TEXT, b"\xff"), raw.frame(CONTINUE, b"")].concat())
        })
    });
}

// --- 7 close -----------------------------------------------------------------------------------------------------

#[test]
fn a_close_is_answered_and_the_rest_is_ignored() {
    run(|| {
        for role in ROLES {
            let (echo, raw) = echo(role, &settings());
            let close = raw.frame(FIN | CLOSE, &1000_u16.to_be_bytes());
            let more = [raw.frame(FIN | TEXT, b"ignored"), raw.frame(FIN | PING, b"ignored")].concat();
            raw.send_bytes(&[raw.frame(FIN | TEXT, b"answered"), close, more].concat());
            raw.expect(FIN | TEXT, b"answered");
            raw.expect_close(1000);
            drop(raw);
            let (answered, ended) = echo.get().unwrap();
            assert_eq!(answered, 1);
            ended.unwrap();
        }
    });
}

#[test]
fn a_close_may_come_without_a_code_and_in_the_middle_of_a_message() {
    run(|| {
        for role in ROLES {
            let (echo, raw) = echo(role, &settings());
            raw.send(TEXT, b"half a");
            raw.send(FIN | CLOSE, b"");
            raw.expect(FIN | CLOSE, b"");
            drop(raw);
            let (answered, ended) = echo.get().unwrap();
            assert_eq!(answered, 0);
            ended.unwrap();
        }
    });
}

#[test]
fn a_close_that_is_malformed_is_refused() {
    run(|| {
        for role in ROLES {
            refused(role, 1002, |raw| raw.frame(FIN | CLOSE, &[3]));
            let long = [1000_u16.to_be_bytes().as_slice(), &[b'x'; 124]].concat();
            refused(role, 1002, |raw| raw.frame(FIN | CLOSE, &long));
            let binary = [1000_u16.to_be_bytes().as_slice(), b"\xff"].concat();
            refused(role, 1007, |raw| raw.frame(FIN | CLOSE, &binary));
        }
    });
}

#[test]
fn every_code_that_is_allowed_is_answered_with_itself() {
    run(|| {
        let longest = "x".repeat(123);
        for role in ROLES {
            for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
                let (socket, raw) = ours(role, &settings());
                let reader = spawn(move || {
                    assert_eq!(socket.recv().unwrap(), None);
                    socket.close_frame()
                });
                raw.close(code, &longest);
                assert_eq!(raw.expect_close(code), longest);
                drop(raw);
                let frame = reader.get().unwrap().unwrap();
                assert_eq!((u16::from(frame.code), frame.reason.as_str()), (code, longest.as_str()));
            }
        }
    });
}

#[test]
fn every_code_that_is_not_allowed_is_answered_with_1002() {
    run(|| {
        for role in ROLES {
            for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
                let (_echo, raw) = echo(role, &settings());
                raw.close(code, "");
                raw.expect_close(1002);
            }
        }
    });
}

// --- masks -------------------------------------------------------------------------------------------------------

#[test]
fn a_server_refuses_what_is_not_masked_and_a_client_what_is() {
    run(|| {
        for role in ROLES {
            for opcode in [TEXT, PING, CLOSE] {
                refused(role, 1002, |raw| frame(FIN | opcode, b"", !raw.masks));
            }
        }
    });
}

// --- 9 limits ----------------------------------------------------------------------------------------------------

#[test]
fn a_message_of_exactly_the_limit_is_received_and_a_longer_one_refused() {
    run(|| {
        let settings = settings().max_message_size(1000).max_frame_size(600);
        for role in ROLES {
            let (echo, raw) = echo(role, &settings);
            raw.send(FIN | TEXT, &[b'x'; 600]);
            raw.expect(FIN | TEXT, &[b'x'; 600]);
            raw.send(TEXT, &[b'x'; 600]);
            raw.send(FIN | CONTINUE, &[b'x'; 400]);
            raw.expect(FIN | TEXT, &[b'x'; 1000]);
            raw.send(TEXT, &[b'x'; 600]);
            raw.send(FIN | CONTINUE, &[b'x'; 401]);
            raw.expect_close(1009);
            drop(raw);
            assert_eq!(echo.get().unwrap().1.unwrap_err().code(), Some(CloseCode::Size));
        }
    });
}

#[test]
fn the_header_of_a_huge_frame_is_enough_to_refuse_it() {
    run(|| {
        for role in ROLES {
            for length in [601, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
                let (echo, raw) = echo(role, &settings().max_frame_size(600));
                let mask = if raw.masks { 0x80 } else { 0 };
                raw.send_bytes(
                    &[&[FIN | BINARY, mask | 127], length.to_be_bytes().as_slice(), &[0; 4]].concat(),
                );
                raw.expect_close(1009);
                raw.expect_end();
                drop(raw);
                assert_eq!(echo.get().unwrap().1.unwrap_err().code(), Some(CloseCode::Size));
            }
        }
    });
}

#[test]
fn a_flood_of_fragments_ends_at_the_limit() {
    run(|| {
        // It reads on for so long, lest its close be lost in a reset.
        let settings = settings().max_message_size(10_000).close_timeout(Duration::from_millis(200));
        let (echo, raw) = echo(Role::Server, &settings);
        let one = raw.frame(CONTINUE, b"0123456789");
        raw.send(BINARY, b"");
        let flood = spawn(move || {
            use std::io::Write;
            // Until ours has enough and ends it.
            while (&raw.stream).write_all(&one.repeat(100)).is_ok() {}
        });
        assert_eq!(echo.get().unwrap().1.unwrap_err().code(), Some(CloseCode::Size));
        flood.join();
    });
}

#[test]
fn large_messages_come_back_whole() {
    run(|| {
        let settings = settings().max_message_size(16 << 20).max_frame_size(16 << 20);
        let payload: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
        for role in ROLES {
            let (_echo, raw) = echo(role, &settings);
            raw.send(FIN | BINARY, &payload);
            raw.expect(FIN | BINARY, &payload);
            // In pieces of all sizes.
            let mut first = BINARY;
            for piece in payload.chunks(65_537) {
                raw.send(first, piece);
                first = CONTINUE;
            }
            raw.send(FIN | CONTINUE, b"");
            raw.expect(FIN | BINARY, &payload);
        }
    });
}

#[test]
fn ten_thousand_small_messages_come_back_in_order() {
    run(|| {
        for role in ROLES {
            let (_echo, raw) = echo(role, &settings());
            let raw = std::rc::Rc::new(raw);
            let sender = spawn({
                let raw = raw.clone();
                move || (0..10_000_u32).for_each(|n| raw.send(FIN | BINARY, &n.to_be_bytes()))
            });
            for n in 0..10_000_u32 {
                raw.expect(FIN | BINARY, &n.to_be_bytes());
            }
            joinall(&[sender]);
        }
    });
}

// --- anything ----------------------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// An answer or an error, and an end; no panic, and nothing that hangs.
    #[test]
    fn arbitrary_bytes_end_in_good_order(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                // Frames with a taste for what means something.
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200), any::<bool>())
                    .prop_map(|(first, payload, masked)| frame(first, &payload, masked)),
                (0..11_u8, prop::collection::vec(32..127_u8, 0..20), any::<bool>())
                    .prop_map(|(opcode, payload, fin)| frame(if fin { FIN | opcode } else { opcode }, &payload, true)),
            ],
            0..12,
        ),
        server in any::<bool>(),
    ) {
        run(move || {
            let role = if server { Role::Server } else { Role::Client };
            let (echo, raw) = echo(role, &settings());
            for piece in pieces {
                use std::io::Write;
                if (&raw.stream).write_all(&piece).is_err() {
                    break; // ours had enough
                }
            }
            let _ = raw.stream.shutdown(std::net::Shutdown::Write);
            read_to_any_end(&raw.stream);
            drop(raw);
            let ended = echo.get_timeout(FOREVER).expect("it ends").1;
            if let Err(error) = ended {
                assert!(error.code().is_some(), "{error}");
            }
        });
    }
}
