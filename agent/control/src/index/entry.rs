//! One object in the index, of whatever kind.

use model::Cidr;

use super::{
    Claim, IndexConfig, hosts::HostsEntry, namespaces::NamespaceEntry, nodes, pods::PodEntry,
    policies::PolicyEntry, service_cidrs, services::KubernetesService, slices::SliceEntry,
};
use crate::{field, kind::ObjectKey, object::Object, refusal::Invalid};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Namespace(NamespaceEntry),
    Node,
    Pod(PodEntry),
    Service(KubernetesService),
    EndpointSlice(SliceEntry),
    Hosts(HostsEntry),
    ServiceCidr(Vec<Cidr>),
    Policy(PolicyEntry),
}

// === impl Entry ===

impl Entry {
    /// `before` is the last good version of the same object.
    pub(super) fn parse(
        key: &ObjectKey,
        object: &Object,
        before: Option<&Self>,
        config: &IndexConfig,
    ) -> Result<Self, Invalid> {
        field::name("metadata.name", &key.name)?;
        if let Some(namespace) = &key.namespace {
            field::name("metadata.namespace", namespace)?;
        }
        Ok(match object {
            Object::Namespace(namespace) => Self::Namespace(NamespaceEntry::parse(namespace)),
            Object::Node(node) => nodes::check(node).map(|()| Self::Node)?,
            Object::Pod(pod) => {
                let before = match before {
                    Some(Self::Pod(before)) => Some(before),
                    _ => None,
                };
                Self::Pod(PodEntry::parse(key.object_name(), pod, before, config)?)
            }
            Object::Service(service) => {
                let before = match before {
                    Some(Self::Service(before)) => Some(before),
                    _ => None,
                };
                Self::Service(KubernetesService::parse(key.object_name(), service, before)?)
            }
            Object::EndpointSlice(slice) => {
                Self::EndpointSlice(SliceEntry::parse(&key.object_name(), slice)?)
            }
            Object::ServiceEntry(entry) => Self::Hosts(HostsEntry::parse(key.object_name(), entry)?),
            Object::ServiceCidr(object) => Self::ServiceCidr(service_cidrs::networks(object)?),
            Object::Policy(policy) => Self::Policy(PolicyEntry::parse(policy)),
        })
    }

    /// Each with the field that makes it.
    pub(super) fn claims(&self) -> Vec<(Claim, &'static str)> {
        match self {
            Self::Pod(pod) => pod.claims(),
            Self::Service(service) => service.claims(),
            Self::Namespace(_) | Self::Node | Self::EndpointSlice(_) => Vec::new(),
            Self::Hosts(_) | Self::ServiceCidr(_) | Self::Policy(_) => Vec::new(),
        }
    }

    /// What was put aside of an object that was taken nevertheless.
    pub(super) fn objections(&self) -> &[Invalid] {
        match self {
            Self::Namespace(namespace) => &namespace.objections,
            Self::Pod(pod) => &pod.objections,
            Self::Service(service) => &service.objections,
            Self::Hosts(entry) => &entry.objections,
            Self::Policy(policy) => &policy.objections,
            Self::Node | Self::EndpointSlice(_) | Self::ServiceCidr(_) => &[],
        }
    }
}
