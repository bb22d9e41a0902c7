//! Who was started by whom.

use std::collections::HashMap;
use std::fmt::{self, Write};

use super::info::{Activity, ActorInfo};
use crate::actor_ref::{ActorId, AnyActor};
use crate::run::Local;
use crate::run::system::{Shared, System};

/// The actors of a system, each below the supervisor that started it; those without one at the top. In the order in which they were spawned, as far as
/// one thread spawned them.
///
/// [`Display`](fmt::Display) draws it as text.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Those that no supervisor has started.
    pub roots: Vec<TreeNode>,
}

/// An actor in a [`Tree`].
#[derive(Clone, Debug)]
pub struct TreeNode {
    /// What is known of it. Whether it is in a handler was not asked: see [`info`](super::info).
    pub info: ActorInfo,
    /// Those that it has started.
    pub children: Vec<TreeNode>,
}

/// The tree of the current thread's system: of its hub's actors, if it is in none.
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Supervisor, sys, worker};
///
/// struct Idler;
/// impl Actor for Idler {
///     type Message = ();
///     fn receive(&mut self, _: (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// }
///
/// # greenlet_core::run(|| {
/// let top = Supervisor::one_for_one().child(worker("idler", || Idler)).start_named("top").unwrap();
/// let tree = sys::tree();
/// assert_eq!(tree.roots[0].children[0].info.path, "/top/idler");
/// println!("{tree}"); // or to_json(), to_dot()
/// # top.shutdown();
/// # });
/// ```
pub fn tree() -> Tree {
    Local::current().map_or_else(|| Tree { roots: Vec::new() }, |local| Tree::of(local.system()))
}

impl System {
    /// The tree of its actors.
    pub fn tree(&self) -> Tree {
        Tree::of(self.shared())
    }
}

impl Tree {
    fn of(system: &Shared) -> Tree {
        let mut actors: Vec<AnyActor> =
            system.all().iter().flat_map(|part| part.all()).map(AnyActor::new).collect();
        actors.sort_unstable_by_key(AnyActor::id);
        let known: HashMap<ActorId, usize> =
            actors.iter().enumerate().map(|(at, actor)| (actor.id(), at)).collect();
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); actors.len()];
        let mut roots = Vec::new();
        for (at, actor) in actors.iter().enumerate() {
            let parent = actor.life().parent().and_then(|parent| known.get(&parent.id()));
            match parent {
                Some(&parent) => below[parent].push(at),
                None => roots.push(at),
            }
        }
        Tree { roots: roots.into_iter().map(|at| TreeNode::new(at, &actors, &below)).collect() }
    }

    /// As JSON: an array of objects with `id`, `name`, `path`, `type`, `state`, `mailbox`, `handled`, `links` and `children`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        nodes_to_json(&self.roots, &mut out);
        out
    }

    /// As a graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph actors {\n    node [shape=box, style=rounded];\n");
        for root in &self.roots {
            root.to_dot(&mut out);
        }
        out.push_str("}\n");
        out
    }
}

impl TreeNode {
    /// Supervisors are started by supervisors, and those are never started by what they start: it ends.
    fn new(at: usize, actors: &[AnyActor], below: &[Vec<usize>]) -> TreeNode {
        let children = below[at].iter().map(|&child| TreeNode::new(child, actors, below)).collect();
        TreeNode { info: ActorInfo::at_once(&actors[at]), children }
    }

    fn title(&self) -> String {
        self.info.name.clone().unwrap_or_else(|| self.info.id.to_string())
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, before: &str, branch: &str, rest: &str) -> fmt::Result {
        let info = &self.info;
        write!(f, "{before}{branch}{} {} {}", self.title(), info.id, short(info.actor_type))?;
        match &info.activity {
            Activity::Idle => {}
            activity => write!(f, ", {activity}")?,
        }
        if info.mailbox_len > 0 {
            write!(f, ", {} waiting", info.mailbox_len)?;
        }
        writeln!(f)?;
        let before = format!("{before}{rest}");
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            let (branch, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.draw(f, &before, branch, rest)?;
        }
        Ok(())
    }

    fn to_dot(&self, out: &mut String) {
        let number = self.info.id.0;
        let label = format!("{}\\n{}", escaped(&self.title()), escaped(short(self.info.actor_type)));
        let _ = writeln!(out, "    a{number} [label=\"{label}\"];");
        for child in &self.children {
            let _ = writeln!(out, "    a{number} -> a{};", child.info.id.0);
            child.to_dot(out);
        }
    }
}

/// A type's name without the modules.
fn short(name: &str) -> &str {
    let generic = name.find('<').unwrap_or(name.len());
    name[..generic].rfind("::").map_or(name, |at| &name[at + 2..])
}

fn nodes_to_json(nodes: &[TreeNode], out: &mut String) {
    out.push('[');
    for (at, TreeNode { info, children }) in nodes.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        let name =
            info.name.as_ref().map_or_else(|| "null".to_owned(), |name| format!("\"{}\"", escaped(name)));
        let links: Vec<String> = info.links.iter().map(|link| link.0.to_string()).collect();
        let _ = write!(
            out,
            "{separator}{{\"id\":{},\"name\":{name},\"path\":\"{}\",\"type\":\"{}\",\"state\":\"{}\",\"mailbox\":{},\"handled\":{},\"links\":[{}],\"children\":",
            info.id.0,
            escaped(&info.path),
            escaped(info.actor_type),
            escaped(&info.activity.to_string()),
            info.mailbox_len,
            info.handled,
            links.join(",")
        );
        nodes_to_json(children, out);
        out.push('}');
    }
    out.push(']');
}

/// As it stands between quotes in JSON, and in DOT, which knows a part of that.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out
}

/// A line for each actor, with branches drawn before it.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.roots.iter().try_for_each(|root| root.draw(f, "", "", ""))
    }
}
