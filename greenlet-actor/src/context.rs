//! What an actor sees of itself.

use std::fmt;

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorId, ActorRef, Linkable};

/// The actor's view of itself, passed to every hook.
pub struct Context<A: Actor> {
    me: ActorRef<A::Message>,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(me: ActorRef<A::Message>) -> Context<A> {
        Context { me }
    }

    /// A reference to this actor: Erlang's `self()`.
    pub fn me(&self) -> &ActorRef<A::Message> {
        &self.me
    }

    /// Its number.
    pub fn id(&self) -> ActorId {
        self.me.id()
    }

    /// From now on exits of linked actors do not end this one: they come to
    /// [`handle_exit`](Actor::handle_exit), in order with the messages. Erlang's `process_flag(trap_exit, true)`.
    pub fn trap_exits(&self) {
        self.me.any_cell().cell().life().trap_exits();
    }

    /// Links this actor with another: [`ActorRef::link`].
    pub fn link(&self, other: &impl Linkable) {
        self.me.link(other);
    }

    /// Takes a link back: [`ActorRef::unlink`].
    pub fn unlink(&self, other: &impl Linkable) {
        self.me.unlink(other);
    }

    /// Spawns an actor that is linked to this one from the start: [`ActorBuilder::link`] for one with other settings too.
    #[track_caller]
    pub fn spawn_link<B: Actor>(&self, actor: B) -> ActorRef<B::Message> {
        ActorBuilder::new().link(&self.me).spawn(actor)
    }
}

impl<A: Actor> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.me)
    }
}
