//! What no client can cause: rooms and lobbies that fail, and rooms that end at the wrong moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, Exit, Supervisor, worker};
use greenlet_core::{Queue, run};

use crate::limits;
use crate::lobby::{Lobby, LobbyRef, Message};
use crate::protocol::{Complaint, Name};
use crate::room::{self, Echo, Newcomer, Room, RoomRef};
use crate::session::Session;
use crate::user::{self, Transport, User, UserRef};

/// A safety net only: nothing here takes long.
const LONG: Duration = Duration::from_secs(10);

/// A client without a connection: what it is shown can be got from the queue.
struct Client {
    user: UserRef,
    session: Session,
    shown: Arc<Queue<String>>,
}

struct Shown(Arc<Queue<String>>);

impl Transport for Shown {
    fn show(&mut self, shown: &user::Shown) -> io::Result<()> {
        self.0.put(shown.to_string()).map_err(io::Error::other)
    }
}

impl Client {
    fn new(lobby: &LobbyRef, name: &str) -> Client {
        let shown = Arc::new(Queue::unbounded());
        let user =
            ActorBuilder::new().capacity(limits::OUTGOING).spawn(User::new(Shown(shown.clone()), lobby.id()));
        let (session, guest) = Session::open(user.clone(), lobby.clone(), Echo::Others).unwrap();
        let mut client = Client { user, session, shown };
        assert!(guest.to_string().starts_with("guest-"));
        assert_eq!(client.line(&format!("/name {name}")), format!("= you are {name} now"));
        client
    }

    fn next(&self) -> String {
        self.shown.get_timeout(LONG).unwrap()
    }

    /// Types a line and returns what is shown next.
    fn line(&mut self, line: &str) -> String {
        assert!(self.session.line(Ok(line)).is_continue());
        self.next()
    }
}

fn enter(lobby: &LobbyRef, client: &Client, room: &str) -> Result<RoomRef, Complaint> {
    let (user, room) = (client.user.id(), Name::new(room).unwrap());
    lobby.ask(|reply| Message::Enter { user, room, echo: Echo::Others, reply }, LONG).unwrap()
}

#[test]
fn members_of_a_room_that_fails_are_told_and_can_open_it_again() {
    run(|| {
        let lobby = Lobby::default().spawn();
        let (mut alice, mut bob) = (Client::new(&lobby, "alice"), Client::new(&lobby, "bob"));
        assert_eq!(alice.line("/join rust"), "= you are in rust with: alice");
        assert_eq!(bob.line("/join rust"), "= you are in rust with: alice, bob");
        assert_eq!(alice.next(), "* bob joined");

        let mut carol = Client::new(&lobby, "carol");
        carol.line("/join rust");
        assert_eq!(carol.line("/leave"), "= you left rust");
        assert_eq!([bob.next(), bob.next()], ["* carol joined", "* carol left"]);
        let dave = Client::new(&lobby, "dave");
        let room = enter(&lobby, &dave, "rust").unwrap();
        assert_eq!(bob.next(), "* dave joined");
        room.kill();
        let told = "! the room has failed and is gone; /join it to open it again";
        assert_eq!(bob.next(), told);
        assert_eq!(bob.line("hello?"), "! you are in no room; try /join ROOM");
        assert_eq!(bob.line("/who"), "! you are in no room; try /join ROOM");
        assert_eq!(bob.line("/join rust"), "= you are in rust with: bob");
        // Who had left is not concerned.
        assert_eq!(carol.line("/rooms"), "= rooms: rust");
    });
}

#[test]
fn a_lobby_that_fails_disconnects_everybody_and_is_replaced() {
    run(|| {
        let tree = Supervisor::one_for_one().child(worker("lobby", Lobby::default)).start().unwrap();
        let lobby: LobbyRef = tree.child("lobby").unwrap();
        let alice = Client::new(&lobby, "alice");
        let room = enter(&lobby, &alice, "rust").unwrap();

        lobby.kill();
        assert!(alice.user.join_timeout(LONG).unwrap().is_normal());
        assert!(room.join_timeout(LONG).is_some());
        let last = std::iter::from_fn(|| alice.shown.try_get().ok()).last().unwrap();
        assert_eq!(last, "! the server has lost its list of users; please connect again");

        let lobby: LobbyRef = tree.child("lobby").unwrap();
        let mut alice = Client::new(&lobby, "alice");
        assert_eq!(alice.line("/join rust"), "= you are in rust with: alice");
        tree.shutdown();
    });
}

#[test]
fn a_room_that_is_just_ending_can_be_joined() {
    run(|| {
        let lobby = Lobby::default().spawn();
        let (alice, mut bob) = (Client::new(&lobby, "alice"), Client::new(&lobby, "bob"));
        for _ in 0..100 {
            let room = enter(&lobby, &alice, "rust").unwrap();
            // The end of the room is in its mailbox when Bob's wish to join comes there.
            let user = alice.user.id();
            let leaving = room.request(|reply| room::Message::Leave { user, reply }).unwrap();
            assert_eq!(bob.line("/join rust"), "= you are in rust with: bob");
            assert!(leaving.wait(LONG).is_ok());
            bob.line("/leave");
        }
    });
}

#[test]
fn a_user_that_ends_while_it_joins_leaves_no_room_behind() {
    run(|| {
        let lobby = Lobby::default().spawn();
        let alice = Client::new(&lobby, "alice");
        let room = Room::new(Name::new("rust").unwrap(), lobby.id()).spawn();
        alice.user.kill();
        let (user, name) = (alice.user.clone(), Name::new("alice").unwrap());
        let joined = room
            .ask(
                |reply| {
                    let member = Newcomer { user, name, echo: Echo::Others };
                    room::Message::Join { member, reply }
                },
                LONG,
            )
            .unwrap();
        assert!(joined.is_ok());
        assert!(matches!(room.join_timeout(LONG), Some(Exit::Normal)));
    });
}

#[test]
fn there_are_only_so_many_rooms_and_users() {
    run(|| {
        let lobby = Lobby::default().spawn();
        let clients: Vec<Client> =
            (0..limits::USERS).map(|n| Client::new(&lobby, &format!("user{n}"))).collect();
        let user = ActorBuilder::new().spawn(User::new(Shown(Arc::default()), lobby.id()));
        let refused = lobby.ask(|reply| Message::Register { user, reply }, LONG).unwrap();
        assert_eq!(refused, Err(Complaint::TooManyUsers));

        for (n, client) in clients[..limits::ROOMS].iter().enumerate() {
            enter(&lobby, client, &format!("room{n}")).unwrap();
        }
        assert_eq!(enter(&lobby, &clients[limits::ROOMS], "more").unwrap_err(), Complaint::TooManyRooms);
        clients[0].user.kill();
        while lobby.ask(Message::Rooms, LONG).unwrap().len() == limits::ROOMS {}
        assert!(enter(&lobby, &clients[limits::ROOMS], "more").is_ok());
    });
}
