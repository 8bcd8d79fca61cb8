//! What passes without the proxy, for every captured pod of the node.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use control::ExclusionConfig;
use model::{ExclusionList, Origin};
use serde::Deserialize;

/// Each list in the syntax of the annotation: items between commas.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Exclusions {
    pub exclude_outbound_cidrs: String,
    pub exclude_outbound_ports: String,
    pub exclude_inbound_cidrs: String,
    pub exclude_inbound_ports: String,
    /// The lists that pods may have of their own.
    pub allow_overrides: BTreeSet<ExclusionList>,
}

// === impl Exclusions ===

impl Exclusions {
    pub(super) fn config(&self) -> Result<ExclusionConfig> {
        let mut node = model::Exclusions::default();
        for list in ExclusionList::ALL {
            let items = model::Exclusions::parse(list, self.text(list), Origin::Node);
            node.extend(&items.with_context(|| format!("exclusions.{}", list.name()))?);
        }
        Ok(ExclusionConfig { node, allow_overrides: self.allow_overrides.clone() })
    }

    fn text(&self, list: ExclusionList) -> &str {
        match list {
            ExclusionList::OutboundCidrs => &self.exclude_outbound_cidrs,
            ExclusionList::OutboundPorts => &self.exclude_outbound_ports,
            ExclusionList::InboundCidrs => &self.exclude_inbound_cidrs,
            ExclusionList::InboundPorts => &self.exclude_inbound_ports,
        }
    }
}
