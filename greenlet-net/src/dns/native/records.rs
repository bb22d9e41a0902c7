//! Records other than addresses, and what only the native engine has.

use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use super::answer::Answer;
use super::{Ask, Native};
use crate::dns::error::Cause;
use crate::dns::resolver::Engine;
use crate::dns::{ErrorKind, LookupError, Mx, Resolver, Srv, name};

/// Without the dot at its end.
pub(super) fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    text
}

impl Native {
    fn records(&self, host: &str, kind: RecordType) -> Result<Vec<Arc<Answer>>, Cause> {
        let ascii = name::ascii(host)?;
        self.search(&ascii, Ask::Records(kind))
    }
}

/// Records other than addresses, and the cache: of the [native engine](crate::dns::EngineKind::Native), with the feature `native-dns`. The other
/// engines answer with errors of kind [`Unsupported`](ErrorKind::Unsupported).
impl Resolver {
    /// Who takes the mail of a domain, the preferred one first.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup_mx(&self, domain: &str) -> Result<Vec<Mx>, LookupError> {
        let mut found = self.records(domain, RecordType::MX, |data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: text(&mx.exchange) }),
            _ => None,
        })?;
        found.sort();
        Ok(found)
    }

    /// The texts of a name: each record as one, its pieces put together. They need not be UTF-8.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup_txt(&self, name: &str) -> Result<Vec<Vec<u8>>, LookupError> {
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        })
    }

    /// Where a service is, as `_xmpp._tcp.example.org`: sorted by priority. Among those of one priority the caller chooses, by the weights.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup_srv(&self, name: &str) -> Result<Vec<Srv>, LookupError> {
        let mut found = self.records(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: text(&srv.target),
            }),
            _ => None,
        })?;
        found.sort();
        Ok(found)
    }

    /// Forgets all answers. Does not suspend.
    pub fn clear_cache(&self) {
        if let Engine::Native(native) = self.engine_in_use() {
            native.clear_cache();
        }
    }

    /// How many answers are remembered, those included that have expired since.
    pub fn cached(&self) -> usize {
        match self.engine_in_use() {
            Engine::Native(native) => native.cached(),
            Engine::System(_) => 0,
        }
    }

    fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        of: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, LookupError> {
        let answers = match self.engine_in_use() {
            Engine::Native(native) => native.records(name, kind),
            Engine::System(_) => Err(Cause::with(ErrorKind::Unsupported, "the engine `native` is needed")),
        };
        let about = |cause| LookupError::new(format!("find {kind} records of {name:?}"), cause);
        let answers = answers.map_err(about)?;
        Ok(answers.iter().flat_map(|answer| &answer.data).filter_map(of).collect())
    }
}
