//! What becomes of the pods' DNS queries.

use std::{net::Ipv4Addr, str::FromStr};

use anyhow::{Context, Result, ensure};
use control::DnsConfig;
use jiff::SignedDuration;
use serde::Deserialize;

const DAY: u32 = 24 * 60 * 60;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Dns {
    /// Of pods without the annotation `ambient.istio.io/dns-capture`.
    pub capture: bool,
    pub cluster_domain: String,
    /// How long an answer of the mesh may be kept.
    pub ttl: SignedDuration,
}

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
        Ok(DnsConfig { capture: self.capture, cluster_domain: domain.into() })
    }
}

impl Default for Dns {
    fn default() -> Self {
        // Istio's TTL.
        Self { capture: true, cluster_domain: "cluster.local".to_owned(), ttl: SignedDuration::from_secs(30) }
    }
}
