//! What becomes of the pods' DNS queries.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use anyhow::{Context, Result, ensure};
use control::DnsConfig;
use jiff::SignedDuration;
use serde::Deserialize;

use super::allocation::Allocation;

const DAY: u32 = 24 * 60 * 60;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Dns {
    /// Of pods without the annotation `ambient.istio.io/dns-capture`.
    pub capture: bool,
    pub cluster_domain: String,
    /// How long an answer of the mesh may be kept.
    pub ttl: SignedDuration,
    pub allocation: Allocation,
    /// Who is asked for the endpoints of services that are names.
    pub resolvers: Vec<Resolver>,
}

/// A name server: `192.0.2.53`, or with its port `192.0.2.53:5353`, `[2001:db8::53]:5353`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Resolver(pub SocketAddr);

const PORT: u16 = 53;

// === impl Dns ===

impl Dns {
    /// In seconds.
    pub(super) fn ttl(&self) -> Result<u32> {
        // RFC 2181, 8: of 31 bits; but who would remember what was true a day ago?
        let ttl = u32::try_from(self.ttl.as_secs()).ok().filter(|ttl| (1..=DAY).contains(ttl));
        ttl.with_context(|| format!("dns.ttl: {:#} is not 1s to 24h", self.ttl))
    }

    pub(super) fn config(&self) -> Result<DnsConfig> {
        let domain =
            self.cluster_domain.strip_suffix('.').unwrap_or(&self.cluster_domain).to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        ensure!(
            domain.len() <= 253 && domain.split('.').all(is_label) && Ipv4Addr::from_str(&domain).is_err(),
            "dns.cluster-domain: {:?} is not a domain like cluster.local",
            self.cluster_domain
        );
        let allocation = self.allocation.config()?;
        Ok(DnsConfig { capture: self.capture, cluster_domain: domain.into(), allocation })
    }
}

impl Default for Dns {
    fn default() -> Self {
        // Istio's TTL.
        Self {
            capture: true,
            cluster_domain: "cluster.local".to_owned(),
            ttl: SignedDuration::from_secs(30),
            allocation: Allocation::default(),
            resolvers: Vec::new(),
        }
    }
}

// === impl Resolver ===

impl TryFrom<String> for Resolver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let with_port = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT)));
        let addr =
            with_port.map_err(|_| format!("{text:?} is not the address of a name server like 192.0.2.53"))?;
        if addr.ip().is_unspecified() || addr.ip().is_multicast() || addr.port() == 0 {
            return Err(format!("{text:?} is an address that nobody can be asked at"));
        }
        Ok(Self(addr))
    }
}
