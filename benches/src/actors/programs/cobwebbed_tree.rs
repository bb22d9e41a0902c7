//! A tree that grows as its root allows, and is then traversed.

use std::hint::black_box;
use std::time::Duration;

use crate::actors::{Behaviour, Cores, Dice, Library, Myself, Place};

const CHILDREN: u64 = 10;
const COST: u64 = 500;
const DEVIATION: u64 = 100;
const URGENT_PERCENT: u64 = 50;

/// Decides who has children.
struct Root<L: Library> {
    nodes: u64,
    max_nodes: u64,
    /// Nodes that have not asked yet.
    expected: u64,
    dice: Dice,
    top: Option<L::Ref<Node<L>>>,
    sink: Option<L::Sink<u64>>,
}

enum Ask<L: Library> {
    Begin(L::Ref<Root<L>>),
    MayGrow(L::Ref<Node<L>>),
    /// That many nodes were traversed.
    Traversed(u64),
}

impl<L: Library> Behaviour<L> for Root<L> {
    type Message = Ask<L>;

    fn receive(&mut self, ask: Ask<L>, _: &mut impl Myself<L, Self>) {
        match ask {
            Ask::Begin(root) => {
                let top = L::spawn(Node::<L>::new(root, None, 0), Place::Here);
                L::send(&top, Message::Grow);
                self.top = Some(top);
            }
            Ask::MayGrow(node) => {
                self.expected -= 1;
                // Half of the nodes have none, but the tree does not stay smaller than it may be.
                let grows = self.nodes + CHILDREN <= self.max_nodes
                    && (self.expected == 0 || self.dice.below(2) == 0);
                if grows {
                    self.nodes += CHILDREN;
                    self.expected += CHILDREN;
                    L::send(&node, Message::Children { seed: self.nodes });
                } else if self.expected == 0 {
                    let urgent = self.dice.below(100) < URGENT_PERCENT;
                    L::send(self.top.as_ref().expect("it has begun"), Message::Traverse { urgent });
                }
            }
            Ask::Traversed(nodes) => {
                assert_eq!(nodes, self.nodes, "every node is traversed");
                L::finish(self.sink.take().expect("it ends once"), nodes);
            }
        }
    }
}

struct Node<L: Library> {
    root: L::Ref<Root<L>>,
    parent: Option<L::Ref<Node<L>>>,
    dice: Dice,
    children: Vec<L::Ref<Node<L>>>,
    waits_for: usize,
    traversed: u64,
}

enum Message {
    /// Asks the root for children.
    Grow,
    Children {
        seed: u64,
    },
    Traverse {
        urgent: bool,
    },
    Traversed(u64),
}

impl<L: Library> Node<L> {
    fn new(root: L::Ref<Root<L>>, parent: Option<L::Ref<Node<L>>>, seed: u64) -> Node<L> {
        Node { root, parent, dice: Dice(seed), children: Vec::new(), waits_for: 0, traversed: 0 }
    }

    /// Some work, more or less.
    fn work(&mut self) {
        let cost = COST - DEVIATION + self.dice.below(2 * DEVIATION);
        for step in 0..cost {
            black_box(step);
        }
    }

    fn done(&self) {
        match &self.parent {
            Some(parent) => L::send(parent, Message::Traversed(self.traversed)),
            None => L::send(&self.root, Ask::Traversed(self.traversed)),
        }
    }
}

impl<L: Library> Behaviour<L> for Node<L> {
    type Message = Message;

    fn receive(&mut self, message: Message, me: &mut impl Myself<L, Self>) {
        match message {
            Message::Grow => {
                self.work();
                L::send(&self.root, Ask::MayGrow(me.me()));
            }
            Message::Children { seed } => {
                let place = if self.parent.is_none() { Place::Anywhere } else { Place::Here };
                for number in 0..CHILDREN {
                    let child = Node::new(self.root.clone(), Some(me.me()), seed + number);
                    let child = L::spawn(child, place);
                    L::send(&child, Message::Grow);
                    self.children.push(child);
                }
            }
            Message::Traverse { urgent } => {
                self.work();
                self.traversed = 1;
                self.waits_for = self.children.len();
                if self.children.is_empty() {
                    self.done();
                }
                for child in &self.children {
                    // One that is urgent is so all the way down.
                    let urgent = urgent || self.dice.below(100) < URGENT_PERCENT;
                    L::send(child, Message::Traverse { urgent });
                }
            }
            Message::Traversed(nodes) => {
                self.traversed += nodes;
                self.waits_for -= 1;
                if self.waits_for == 0 {
                    self.done();
                }
            }
        }
    }
}

/// A tree of so many nodes; a bit fewer if the number is not 1 more than a multiple of ten.
pub fn cobwebbed_tree<L: Library>(cores: Cores, max_nodes: u64) -> Duration {
    let (nodes, time) = L::run(cores, move |sink| {
        let dice = Dice(max_nodes);
        let root = Root::<L> { nodes: 1, max_nodes, expected: 1, dice, top: None, sink: Some(sink) };
        let root = L::spawn(root, Place::Anywhere);
        L::send(&root, Ask::Begin(root.clone()));
    });
    assert!(nodes <= max_nodes && nodes + CHILDREN > max_nodes, "{nodes} nodes are not about {max_nodes}");
    time
}
