//! Nodes. Checked like everything else, but nothing of a node is part of a snapshot yet.

use k8s_openapi::api::core::v1::Node;

use crate::{field, refusal::Invalid};

pub(super) fn check(node: &Node) -> Result<(), Invalid> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    for (n, address) in addresses.iter().enumerate() {
        if matches!(&*address.type_, "InternalIP" | "ExternalIP") {
            field::ip(format_args!("status.addresses[{n}].address"), &address.address)?;
        }
    }
    Ok(())
}
