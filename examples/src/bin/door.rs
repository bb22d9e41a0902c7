//! A door with a code lock: a state machine that locks itself again.
//!
//! Type
//! ```text
//! cargo run --bin door
//! ```
//! The door is locked. Digits are typed; the right four unlock it, and after a while without anybody opening it, it locks itself. Who
//! wants to pass says so once: a door that cannot be opened yet remembers it, and lets them through when it can. You will see each change of
//! state, and at the end the states that somebody found who asked.
//!
//! It is OTP's `gen_statem` in small: state timeouts (locking), a timeout by event (a half-typed code is forgotten), postponed events
//! (passing), and state enter calls (what is printed).

use std::time::Duration;

use greenlet_actor::statem::{StateContext, StateMachine, Transition};
use greenlet_actor::{ActorRef, Exit, Reply};
use greenlet_core::sleep;

const CODE: [u8; 4] = [1, 9, 8, 6];
/// A code is typed without longer pauses than this.
const PAUSE: Duration = Duration::from_millis(200);
/// An unlocked door that nobody opens is locked again.
const UNLOCKED: Duration = Duration::from_millis(100);
/// And an open one falls shut.
const OPEN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Locked,
    Closed,
    Open,
}

enum Event {
    Digit(u8),
    /// Somebody wants to pass, and is told when they have.
    Pass(Reply<()>),
    Look(Reply<State>),
    /// From the door to itself.
    Forget,
    FallShut,
    Lock,
}

/// The lock of the door, with what was typed.
#[derive(Default)]
struct Door {
    typed: Vec<u8>,
}

impl StateMachine for Door {
    type State = State;
    type Event = Event;

    fn init(&mut self, _: &mut StateContext<Self>) -> Result<State, Exit> {
        Ok(State::Locked)
    }

    fn enter(
        &mut self,
        from: Option<&State>,
        state: &State,
        ctx: &mut StateContext<Self>,
    ) -> Result<(), Exit> {
        match from {
            None => println!("the door is {state:?}"),
            Some(from) => println!("{from:?} -> {state:?}"),
        }
        match state {
            State::Locked => self.typed.clear(),
            State::Closed => ctx.state_timeout(UNLOCKED, Event::Lock),
            State::Open => ctx.state_timeout(OPEN, Event::FallShut),
        }
        Ok(())
    }

    fn handle_event(
        &mut self,
        state: &State,
        event: Event,
        ctx: &mut StateContext<Self>,
    ) -> Result<Transition<State>, Exit> {
        match (state, event) {
            (State::Locked, Event::Digit(digit)) => {
                self.typed.push(digit);
                if self.typed == CODE {
                    return Ok(Transition::Next(State::Closed));
                }
                if self.typed.len() == CODE.len() {
                    println!("wrong code");
                    self.typed.clear();
                }
                ctx.event_timeout(PAUSE, Event::Forget);
            }
            (State::Locked, Event::Forget) => {
                println!("forgets {} digits", self.typed.len());
                self.typed.clear();
            }
            // It comes again when the state has changed.
            (State::Locked, pass @ Event::Pass(_)) => ctx.postpone(pass)?,
            (State::Closed, pass @ Event::Pass(_)) => {
                ctx.postpone(pass)?;
                return Ok(Transition::Next(State::Open));
            }
            (State::Open, Event::Pass(reply)) => {
                println!("somebody passes");
                reply.send(());
            }
            (State::Open, Event::FallShut) => return Ok(Transition::Next(State::Closed)),
            (State::Closed, Event::Lock) => return Ok(Transition::Next(State::Locked)),
            (state, Event::Look(reply)) => reply.send(*state),
            _ => {} // digits at an unlocked door
        }
        Ok(Transition::Keep)
    }
}

fn dial(door: &ActorRef<Event>, digits: &[u8]) {
    digits.iter().for_each(|digit| door.cast(Event::Digit(*digit)));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    greenlet_core::run(|| {
        let door = Door::default().start()?;
        // Waits at the door until it opens.
        let passing = door.request(Event::Pass)?;
        dial(&door, &[1, 2, 3, 4]);
        dial(&door, &[1, 9]);
        sleep(PAUSE + Duration::from_millis(100)); // too long: what was typed is forgotten
        println!("somebody looks: {:?}", door.call(Event::Look)?);
        dial(&door, &CODE);
        passing.wait(Duration::from_secs(5))?;
        while door.call(Event::Look)? != State::Locked {
            sleep(OPEN);
        }
        println!("somebody looks: Locked");
        Ok(())
    })
}
