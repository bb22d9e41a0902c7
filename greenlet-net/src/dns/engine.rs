//! The ways to look up names, and how one is chosen.

use std::str::FromStr;

/// How a [`Resolver`](super::Resolver) looks up names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// The system's resolver in a thread of the [pool](greenlet_core::pool::ThreadPool): exactly what other programs of this machine get. The
    /// greenlet is suspended meanwhile. A lookup occupies its thread until the system gives up, whoever waits for it.
    Thread,
    /// Queries of our own from the greenlet itself, with a cache: for many names at once. With the feature `native-dns`.
    Native,
    /// The system's resolver, in place: blocks the whole thread.
    Block,
}

impl EngineKind {
    const ALL: [EngineKind; 3] = [EngineKind::Thread, EngineKind::Native, EngineKind::Block];

    /// Its name in `GREENLET_RESOLVER`.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Thread => "thread",
            EngineKind::Native => "native",
            EngineKind::Block => "block",
        }
    }

    /// Whether this build has it.
    pub fn is_available(self) -> bool {
        self != EngineKind::Native || cfg!(feature = "native-dns")
    }
}

/// One of the names `thread`, `native` and `block`.
impl FromStr for EngineKind {
    type Err = SetupError;

    fn from_str(name: &str) -> Result<EngineKind, SetupError> {
        let known = EngineKind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| SetupError::UnknownEngine { found: name.to_owned() })
    }
}

/// A list as `native,thread`.
pub(super) fn parse_list(list: &str) -> Result<Vec<EngineKind>, SetupError> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let kinds = names.map(str::parse).collect::<Result<Vec<_>, _>>()?;
    if kinds.is_empty() { Err(SetupError::NoEngine) } else { Ok(kinds) }
}

/// A [`Resolver`](super::Resolver) cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no engine of this name.
    #[error("unknown resolver `{found}`: expected `thread`, `native`, `block` or a list of them")]
    UnknownEngine {
        /// What was found.
        found: String,
    },
    /// The list of engines is empty.
    #[error("no resolver is named: expected `thread`, `native`, `block` or a list of them")]
    NoEngine,
    /// This build has none of the wanted engines.
    #[error("the resolver `native` needs the feature `native-dns` of greenlet-net")]
    NotAvailable,
    /// A setting has a value that it cannot have.
    #[error("bad setting {setting} `{found}`: expected {expected}")]
    BadSetting {
        /// The setting or its environment variable.
        setting: &'static str,
        /// What was found.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_engines_in_order() {
        assert_eq!(parse_list("thread"), Ok(vec![EngineKind::Thread]));
        assert_eq!(parse_list(" native, block,"), Ok(vec![EngineKind::Native, EngineKind::Block]));
    }

    #[test]
    fn what_is_no_engine_is_named_in_the_error() {
        for list in ["ares", "thread,ares", "Thread"] {
            let error = parse_list(list).unwrap_err();
            let found = list.rsplit(',').next().unwrap();
            assert_eq!(error, SetupError::UnknownEngine { found: found.to_owned() });
            assert!(error.to_string().contains("`thread`, `native`, `block`"), "{error}");
        }
        assert_eq!(parse_list(" , "), Err(SetupError::NoEngine));
        assert_eq!(parse_list(""), Err(SetupError::NoEngine));
    }
}
