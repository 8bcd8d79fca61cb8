//! ServiceCIDRs: the networks of which Services are given their addresses.

use k8s_openapi::api::networking::v1::ServiceCIDR;
use model::{Cidr, cidr::CidrError};

use crate::refusal::Invalid;

pub(super) fn networks(object: &ServiceCIDR) -> Result<Vec<Cidr>, Invalid> {
    let written = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).enumerate();
    let network = |(n, text): (usize, &String)| match text.parse() {
        Ok(network) | Err(CidrError::HostBits(network)) => Ok(network),
        Err(error) => Err(Invalid::new(format_args!("spec.cidrs[{n}]"), format_args!("{text:?} {error}"))),
    };
    written.map(network).collect()
}
