//! The native engine: queries over sockets of greenlets, with a cache.
//!
//! Who asks is the greenlet that wants to know: nothing runs in the background, so nothing outlives a hub, and a kill ends what it
//! ends. The way of a lookup: `search` (which full names), the hosts file, `cache`, `flight` (somebody may be asking already),
//! `exchange` (which server, how often; `udp`, `tcp`, `question`), `answer` (what it says).

mod answer;
mod cache;
mod config;
mod exchange;
mod flight;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod order;
mod question;
mod records;
mod search;
mod server;
mod settings;
mod tcp;
mod udp;
mod watched;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::Instant;
use hickory_proto::rr::{Name, RData, RecordType};

use answer::{Answer, LONGEST_CHAIN, Reading};
use cache::{Cache, Found, Outcome};
use config::Config;
use flight::Flights;
pub(super) use settings::Settings;
use udp::Sockets;
use watched::Watched;

use super::error::Cause;
use super::hosts::{Hosts, names_other_than};
use super::threaded::distinct;
use super::{
    AddressInfo, ErrorKind, Family, Hints, HostEntry, NameHints, NameInfo, Service, SetupError, system,
};

/// See the [module](self).
pub(super) struct Native {
    settings: Settings,
    config: Watched<Config>,
    hosts: Watched<Hosts>,
    cache: Cache,
    flights: Flights<(Name, Ask), Outcomes>,
    sockets: Sockets,
}

/// What is asked for about a name at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ask {
    /// Addresses of both families: the two outcomes.
    Addresses,
    /// Records of one kind: the first outcome.
    Records(RecordType),
}

impl Ask {
    fn kinds(&self) -> &[RecordType] {
        match self {
            Ask::Addresses => &[RecordType::A, RecordType::AAAA],
            Ask::Records(kind) => std::slice::from_ref(kind),
        }
    }

    fn addresses(family: Option<Family>) -> Ask {
        match family {
            None => Ask::Addresses,
            Some(Family::V4) => Ask::Records(RecordType::A),
            Some(Family::V6) => Ask::Records(RecordType::AAAA),
        }
    }
}

/// One for each kind of records.
type Outcomes = Arc<[Outcome]>;

/// A host that was found.
struct Host {
    canonical: String,
    aliases: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Native {
    pub(super) fn new(settings: Settings) -> Result<Native, SetupError> {
        settings.check()?;
        Ok(Native {
            config: Watched::new(settings.resolv_conf.clone(), |path| Config::read(path, &settings)),
            hosts: Watched::new(settings.hosts.clone(), Hosts::read),
            cache: Cache::new(&settings),
            flights: Flights::new(),
            sockets: Sockets::new(settings.at_once),
            settings,
        })
    }

    fn config(&self) -> Arc<Config> {
        self.config.get(|path| Config::read(path, &self.settings))
    }

    fn hosts(&self) -> Arc<Hosts> {
        self.hosts.get(Hosts::read)
    }

    pub(super) fn clear_cache(&self) {
        self.cache.clear();
    }

    pub(super) fn cached(&self) -> usize {
        self.cache.len()
    }

    // --- records -----------------------------------------------------------------------------------------------

    /// The outcomes for one full name: known, asked for by somebody else, or asked for now. Not both at once for one name and kind.
    fn ask(&self, name: &Name, ask: Ask) -> Outcomes {
        let known = || -> Option<Outcomes> {
            let now = Instant::now();
            ask.kinds().iter().map(|kind| self.cache.get(&(name.clone(), *kind), now)).collect()
        };
        if let Some(outcomes) = known() {
            return outcomes;
        }
        self.flights.join(&(name.clone(), ask), known, || self.fetch(name, ask))
    }

    fn fetch(&self, name: &Name, ask: Ask) -> Outcomes {
        let kinds = ask.kinds();
        let config = self.config();
        let found = exchange::ask(&config, &self.sockets, name, kinds).into_iter().zip(kinds).map(
            |(message, kind)| match message {
                Ok(message) => self.follow(&config, answer::read(message, name, *kind), *kind),
                Err(cause) => Found { outcome: Err(cause), ttl: Duration::ZERO },
            },
        );
        let found: Vec<Found> = found.collect();
        let now = Instant::now();
        for (kind, found) in kinds.iter().zip(&found) {
            self.cache.put((name.clone(), *kind), found, now);
        }
        found.into_iter().map(|found| found.outcome).collect()
    }

    /// Servers that look up nothing for others leave it to us to ask for the name behind an alias.
    fn follow(&self, config: &Config, first: Reading, kind: RecordType) -> Found {
        let (mut aliases, mut ttl, mut reading) = (Vec::new(), Duration::MAX, first);
        loop {
            let found = |kind: ErrorKind, why: &dyn fmt::Display, ttl| Found {
                outcome: Err(Cause::with(kind, why)),
                ttl,
            };
            let at = match reading {
                Reading::Answer(answer, its_ttl) => {
                    aliases.extend(answer.aliases);
                    let answer = Answer { aliases, ..answer };
                    return Found { outcome: Ok(Arc::new(answer)), ttl: ttl.min(its_ttl) };
                }
                Reading::Nothing(kind, its_ttl) => {
                    return Found { outcome: Err(kind.into()), ttl: ttl.min(its_ttl) };
                }
                Reading::Circle => {
                    return found(ErrorKind::Failed, &"its aliases go in a circle", Duration::ZERO);
                }
                Reading::Refused(code) => {
                    return found(
                        ErrorKind::Temporary,
                        &format_args!("the answer is {code}"),
                        Duration::ZERO,
                    );
                }
                Reading::Referral => {
                    let why = "the server refers to others, and does not ask them itself";
                    return found(ErrorKind::Temporary, &why, Duration::ZERO);
                }
                Reading::Alias { aliases: more, target, ttl: its_ttl } => {
                    aliases.extend(more);
                    if aliases.contains(&target) || aliases.len() >= LONGEST_CHAIN {
                        return found(ErrorKind::Failed, &"its aliases go in a circle", Duration::ZERO);
                    }
                    ttl = ttl.min(its_ttl);
                    target
                }
            };
            let mut answers = exchange::ask(config, &self.sockets, &at, &[kind]);
            reading = match answers.pop() {
                Some(Ok(message)) => answer::read(message, &at, kind),
                Some(Err(cause)) => return Found { outcome: Err(cause), ttl: Duration::ZERO },
                None => Reading::Nothing(ErrorKind::NoData, Duration::ZERO),
            };
        }
    }

    /// The answers for the first of the names that `host` may mean for which there is one.
    fn search(&self, host: &str, ask: Ask) -> Result<Vec<Arc<Answer>>, Cause> {
        let config = self.config();
        let mut failure = None;
        for name in search::candidates(host, &config)? {
            let outcomes = self.ask(&name, ask);
            let answers: Vec<Arc<Answer>> =
                outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
            if !answers.is_empty() {
                return Ok(answers);
            }
            let causes = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
            let cause = causes.fold(None, |worst, cause| Some(search::worse(worst, cause.clone())));
            let cause = cause.unwrap_or_else(|| ErrorKind::NoData.into());
            // A server that is silent or sick will be for the other names too; one that refuses this name may not.
            let goes_on =
                matches!(cause.kind, ErrorKind::NotFound | ErrorKind::NoData | ErrorKind::Temporary);
            failure = Some(search::worse(failure, cause));
            if !goes_on {
                break;
            }
        }
        Err(failure.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    // --- hosts -------------------------------------------------------------------------------------------------

    fn find(&self, host: &str, family: Option<Family>) -> Result<Host, Cause> {
        if let Some(local) = self.local(host, family) {
            return Ok(local);
        }
        let answers = self.search(host, Ask::addresses(family))?;
        let mut addresses =
            distinct(answers.iter().flat_map(|answer| &answer.data).filter_map(RData::ip_addr));
        if addresses.is_empty() {
            return Err(ErrorKind::NoData.into());
        }
        order::sort(&mut addresses);
        let first = &answers[0];
        let aliases = first.aliases.iter().map(records::text).collect();
        Ok(Host { canonical: records::text(&first.canonical), aliases, addresses })
    }

    /// What needs no server: the hosts file, and this machine (RFC 6761, section 6.3).
    fn local(&self, host: &str, family: Option<Family>) -> Option<Host> {
        let fits = |address: &IpAddr| match family {
            None => true,
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
        };
        let hosts = self.hosts();
        let addresses = distinct(hosts.of_name(host).map(|line| line.address).filter(fits));
        if !addresses.is_empty() {
            let lines = || hosts.of_name(host).filter(|line| fits(&line.address));
            let canonical = lines().next()?.names.first()?.clone();
            let aliases = names_other_than(&canonical, lines());
            return Some(Host { canonical, aliases, addresses });
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if name != "localhost" && !name.ends_with(".localhost") {
            return None;
        }
        let own: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let addresses = own.into_iter().filter(fits).collect();
        Some(Host { canonical: name, aliases: Vec::new(), addresses })
    }

    pub(super) fn addresses(&self, host: &str, family: Option<Family>) -> Result<Vec<IpAddr>, Cause> {
        self.find(host, family).map(|host| host.addresses)
    }

    pub(super) fn host(&self, host: &str, family: Family) -> Result<HostEntry, Cause> {
        let Host { canonical, aliases, addresses } = self.find(host, Some(family))?;
        Ok(HostEntry { name: canonical, aliases, addresses })
    }

    pub(super) fn getaddrinfo(
        &self,
        host: &str,
        service: Service<'_>,
        hints: &Hints,
    ) -> Result<Vec<AddressInfo>, Cause> {
        // What the system makes of the service and the hints, with an address that it need not look for.
        let service = if service == Service::Any { Service::Port(0) } else { service };
        let flags = hints.flags & libc::AI_NUMERICSERV;
        let shape = Hints { family: Some(Family::V4), flags, ..hints.clone() };
        let shapes = system::getaddrinfo(Some("0.0.0.0"), service, &shape)?;

        let mapped = hints.family == Some(Family::V6) && hints.has(libc::AI_V4MAPPED);
        let wanted = if mapped { None } else { hints.family };
        let Host { canonical, mut addresses, .. } = self.find(host, wanted)?;
        if mapped {
            let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
            let with_v4 = v6.is_empty() || hints.has(libc::AI_ALL);
            addresses = v6;
            if with_v4 {
                addresses.extend(v4.into_iter().map(|address| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().into(),
                    IpAddr::V6(_) => address,
                }));
            }
        } else if hints.has(libc::AI_ADDRCONFIG) {
            addresses.retain(|address| order::is_reachable(*address));
        }
        if addresses.is_empty() {
            return Err(ErrorKind::NoData.into());
        }
        let mut canonical = hints.has(libc::AI_CANONNAME).then_some(canonical);
        let infos = addresses.iter().flat_map(|address| {
            shapes.iter().map(|shape| AddressInfo {
                address: SocketAddr::new(*address, shape.address.port()),
                socket_type: shape.socket_type,
                protocol: shape.protocol,
                canonical_name: None,
            })
        });
        let mut infos: Vec<AddressInfo> = infos.collect();
        if let Some(first) = infos.first_mut() {
            first.canonical_name = canonical.take();
        }
        Ok(infos)
    }

    // --- names of addresses ------------------------------------------------------------------------------------

    pub(super) fn host_of_address(&self, address: IpAddr) -> Result<HostEntry, Cause> {
        // An IPv4 address in IPv6's clothes has the names of the IPv4 address.
        let asked = address.to_canonical();
        let hosts = self.hosts();
        if let Some(line) = hosts.of_address(asked)
            && let Some(name) = line.names.first()
        {
            let aliases = names_other_than(name, std::iter::once(line));
            return Ok(HostEntry { name: name.clone(), aliases, addresses: vec![address] });
        }
        let outcomes = self.ask(&Name::from(asked), Ask::Records(RecordType::PTR));
        let answer = outcomes[0].clone()?;
        let mut names = answer.data.iter().filter_map(|data| match data {
            RData::PTR(name) => Some(records::text(&name.0)),
            _ => None,
        });
        let name = names.next().ok_or(ErrorKind::NoData)?;
        Ok(HostEntry { name, aliases: names.collect(), addresses: vec![address] })
    }

    pub(super) fn getnameinfo(&self, address: SocketAddr, hints: NameHints) -> Result<NameInfo, Cause> {
        let digits = NameHints { flags: hints.flags & !libc::NI_NAMEREQD }.numeric_host();
        let NameInfo { host: in_digits, service } = system::getnameinfo(&address, digits)?;
        let host = match self.host_of_address(address.ip()) {
            Ok(entry) if hints.has(libc::NI_NOFQDN) => self.local_part(entry.name),
            Ok(entry) => entry.name,
            Err(cause) if hints.has(libc::NI_NAMEREQD) => return Err(cause),
            Err(cause) if matches!(cause.kind, ErrorKind::NotFound | ErrorKind::NoData) => in_digits,
            Err(cause) => return Err(cause),
        };
        Ok(NameInfo { host, service })
    }

    fn local_part(&self, mut name: String) -> String {
        let domain = config::own_domain()
            .or_else(|| self.config().search.first().map(records::text))
            .unwrap_or_default();
        if let Some((host, rest)) = name.split_once('.')
            && rest.eq_ignore_ascii_case(&domain)
        {
            name.truncate(host.len());
        }
        name
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<SocketAddr> = self.config().servers.iter().map(|server| server.address).collect();
        f.debug_struct("Native")
            .field("servers", &servers)
            .field("cached", &self.cached())
            .finish_non_exhaustive()
    }
}
