//! Choosing an engine and its settings.

use greenlet_core::pool::ThreadPool;

use super::engine::{EngineKind, SetupError};
use super::resolver::{Engine, Resolver};
use super::threaded::System;

/// Makes a [`Resolver`]. What is not set has its default; the environment is not looked at, but by
/// [`from_env`](Builder::from_env).
///
/// ```
/// use greenlet_net::dns::{EngineKind, Resolver};
///
/// let resolver = Resolver::builder().engine(EngineKind::Thread).threads(4).build()?;
/// # let _ = resolver;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    engines: Option<Vec<EngineKind>>,
    threads: Option<usize>,
    #[cfg(feature = "native-dns")]
    pub(super) native: super::native::Settings,
}

impl Builder {
    /// With this engine. The default is [`EngineKind::Thread`].
    pub fn engine(self, engine: EngineKind) -> Builder {
        self.engines([engine])
    }

    /// With the first of these engines that this build has.
    pub fn engines(mut self, engines: impl IntoIterator<Item = EngineKind>) -> Builder {
        self.engines = Some(engines.into_iter().collect());
        self
    }

    /// For [`EngineKind::Thread`]: at most this many lookups at once, in threads of its own. By default they share the
    /// [pool of the process](ThreadPool::global), where a lookup that nobody answers holds a thread for many seconds.
    pub fn threads(mut self, most: usize) -> Builder {
        self.threads = Some(most);
        self
    }

    /// What the environment says: `GREENLET_RESOLVER`, and for the native engine `GREENLET_RESOLVER_NAMESERVERS` and
    /// `GREENLET_RESOLVER_TIMEOUT`. See [the settings](super#settings).
    ///
    /// # Errors
    /// [`SetupError`] for a value that cannot be.
    pub fn from_env(mut self) -> Result<Builder, SetupError> {
        if let Some(list) = variable("GREENLET_RESOLVER") {
            self.engines = Some(super::engine::parse_list(&list)?);
        }
        #[cfg(feature = "native-dns")]
        self.native.read_env(variable)?;
        Ok(self)
    }

    /// Makes the resolver. Does not suspend, and asks nobody yet.
    ///
    /// # Errors
    /// [`SetupError`] when this build has none of the engines, or a setting cannot be.
    pub fn build(self) -> Result<Resolver, SetupError> {
        let wanted = self.engines.unwrap_or_else(|| vec![EngineKind::Thread]);
        if wanted.is_empty() {
            return Err(SetupError::NoEngine);
        }
        let kind = wanted.into_iter().find(|kind| kind.is_available()).ok_or(SetupError::NotAvailable)?;
        let threads = match self.threads {
            Some(0) => {
                return Err(SetupError::BadSetting {
                    setting: "threads",
                    found: "0".to_owned(),
                    expected: "a number from 1 on",
                });
            }
            Some(most) => System::Own(ThreadPool::new(most)),
            None => System::Global,
        };
        Ok(Resolver::with(match kind {
            EngineKind::Thread => Engine::System(threads),
            EngineKind::Block => Engine::System(System::InPlace),
            #[cfg(feature = "native-dns")]
            EngineKind::Native => Engine::Native(Box::new(super::native::Native::new(self.native)?)),
            #[cfg(not(feature = "native-dns"))]
            EngineKind::Native => return Err(SetupError::NotAvailable),
        }))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
