//! How hosts of ServiceEntries that have no address get one.

use allocation::{AllocationConfig, Mode, Ranges};
use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use model::Cidr;
use serde::Deserialize;

use super::positive;

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
    Off,
    IstioV1,
}

// === impl Allocation ===

impl Allocation {
    pub(super) fn config(&self) -> Result<AllocationConfig> {
        let network = |field: &str, text: &str| {
            text.parse::<Cidr>().with_context(|| format!("dns.allocation.{field}: {text:?}"))
        };
        let ranges = Ranges::new(network("ipv4", &self.ipv4)?, network("ipv6", &self.ipv6)?)
            .context("dns.allocation")?;
        let mode = match self.mode {
            AllocationMode::Recorded => Mode::Recorded,
            AllocationMode::Off => Mode::Off,
            AllocationMode::IstioV1 => Mode::IstioV1,
        };
        ensure!(
            mode != Mode::IstioV1 || ranges == Ranges::default(),
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
