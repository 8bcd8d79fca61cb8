//! What becomes of the pods' DNS queries.

use std::{net::Ipv4Addr, str::FromStr};

use allocation::{AllocationConfig, Mode, Ranges};
use anyhow::{Context, Result, ensure};
use control::DnsConfig;
use jiff::SignedDuration;
use model::Cidr;
use serde::Deserialize;

use super::positive;

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
}

/// How hosts of ServiceEntries that have no address get one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Allocation {
    pub mode: AllocationMode,
    pub ipv4: String,
    pub ipv6: String,
    /// How long nobody else gets the address of a host that is gone.
    pub quarantine: SignedDuration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllocationMode {
    #[default]
    Recorded,
    IstioV1,
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
        }
    }
}

// === impl Allocation ===

impl Allocation {
    fn config(&self) -> Result<AllocationConfig> {
        let network = |field: &str, text: &str| {
            text.parse::<Cidr>().with_context(|| format!("dns.allocation.{field}: {text:?}"))
        };
        let ranges = Ranges::new(network("ipv4", &self.ipv4)?, network("ipv6", &self.ipv6)?)
            .context("dns.allocation")?;
        let mode = match self.mode {
            AllocationMode::Recorded => Mode::Recorded,
            AllocationMode::IstioV1 => Mode::IstioV1,
        };
        ensure!(
            mode == Mode::Recorded || ranges == Ranges::default(),
            "dns.allocation: the mode istio-v1 knows no other ranges than 240.240.0.0/16 and 2001:2::/48; leave them out"
        );
        Ok(AllocationConfig { mode, ranges, quarantine: positive(self.quarantine) })
    }
}

impl Default for Allocation {
    fn default() -> Self {
        let ranges = Ranges::default();
        Self {
            mode: AllocationMode::default(),
            ipv4: ranges.ipv4().to_string(),
            ipv6: ranges.ipv6().to_string(),
            quarantine: SignedDuration::from_hours(1),
        }
    }
}
