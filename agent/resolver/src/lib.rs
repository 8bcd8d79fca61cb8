//! The name servers: those of the configuration, or else those of the agent's `/etc/resolv.conf`.
//!
//! They are asked from the agent's own network namespace, in which all its threads are but for the moment in which one
//! opens a socket of a pod. A crate of its own, so that the library, which is generic, is compiled for size: a question is
//! seldom, for the proxy remembers the answers.

mod question;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::parse_resolv_conf,
};

pub use self::question::{Family, Outcome, Question};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whom to ask.
#[derive(Debug)]
pub struct Servers {
    /// None: those of `/etc/resolv.conf`.
    given: Vec<SocketAddr>,
    ready: Mutex<Option<Ready>>,
}

/// A resolver, for as long as what it was made of stays the same.
#[derive(Clone, Debug)]
struct Ready {
    resolv_conf: Vec<u8>,
    resolver: TokioResolver,
    /// For messages.
    names: Arc<str>,
}

// === impl Servers ===

impl Servers {
    /// `given` are asked; where there are none, those of `/etc/resolv.conf`.
    pub fn new(given: Vec<SocketAddr>) -> Self {
        Self { given, ready: Mutex::default() }
    }

    /// It takes as long as the name servers do, some seconds at most if none answers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn ask(&self, question: &Question) -> Outcome {
        let (resolver, names) = match self.ready() {
            Ok(Ready { resolver, names, .. }) => (resolver, names),
            Err(because) => return Outcome::Failed(because.into()),
        };
        // As a whole name: no search list applies to it.
        let name = Name::from_ascii(&question.host).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        let name = match name {
            Ok(name) => name,
            Err(error) => return Outcome::Failed(format!("it is no name of DNS: {error}").into()),
        };
        let kind = match question.family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        match resolver.lookup(name, kind).await {
            Ok(lookup) => answer(&lookup),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_answer(&none) => {
                let ttl = Duration::from_secs(none.negative_ttl.unwrap_or_default().into());
                Outcome::Answered { ips: Vec::new(), ttl }
            }
            Err(error) => Outcome::Failed(format!("{names}: {error}").into()),
        }
    }

    /// Who they are, for messages.
    pub fn names(&self) -> Arc<str> {
        self.ready().map_or_else(Into::into, |ready| ready.names)
    }

    /// Made anew when `/etc/resolv.conf` has changed.
    fn ready(&self) -> Result<Ready, String> {
        // A panic elsewhere leaves what was ready as good as it was.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let resolv_conf = if self.given.is_empty() { read(Path::new(RESOLV_CONF))? } else { Vec::new() };
        if let Some(ready) = ready.as_ref().filter(|ready| ready.resolv_conf == resolv_conf) {
            return Ok(ready.clone());
        }
        let made = self.make(resolv_conf)?;
        *ready = Some(made.clone());
        Ok(made)
    }

    fn make(&self, resolv_conf: Vec<u8>) -> Result<Ready, String> {
        let (servers, mut options, origin) = if self.given.is_empty() {
            let (config, options) = parse_resolv_conf(&resolv_conf)
                .map_err(|error| format!("cannot use {RESOLV_CONF}: {error}; give dns.resolvers"))?;
            (config.name_servers().to_vec(), options, format!(" of {RESOLV_CONF}"))
        } else {
            (self.given.iter().map(server).collect(), ResolverOpts::default(), String::new())
        };
        // What is remembered, and for how long, is decided here.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        let names: Vec<_> = servers.iter().map(|server| server.ip.to_string()).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| format!("cannot make a resolver: {error}"))?;
        Ok(Ready { resolv_conf, resolver, names: format!("name server {}{origin}", names.join(", ")).into() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}; give dns.resolvers", path.display()))
}

fn server(addr: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = addr.port();
        connection
    });
    NameServerConfig::new(addr.ip(), true, connections.into())
}

/// Whether it says that there are none, and not that the server cannot say.
fn is_answer(none: &NoRecords) -> bool {
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// The answer is good for as long as each of its records, aliases too.
fn answer(lookup: &Lookup) -> Outcome {
    let records = lookup.answers();
    let ips = records.iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    });
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Outcome::Answered { ips: ips.filter(is_dialled).collect(), ttl: Duration::from_secs(ttl.into()) }
}

/// Some filters answer 0.0.0.0 for "no", which would be the pod itself, and so would a loopback address: what listens
/// there expects nobody from outside. IPv4 is asked for by itself.
fn is_dialled(ip: &IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && ip.to_canonical() == *ip
}

#[cfg(test)]
mod tests;
