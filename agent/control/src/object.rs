//! The Kubernetes objects that the agent reads.

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::ServiceCIDR,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    kind::{Kind, ObjectKey},
    policy::Policy,
    service_entry::ServiceEntry,
};

/// One object, as its source gives it: nothing of it has been checked yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    ServiceEntry(Box<ServiceEntry>),
    ServiceCidr(Box<ServiceCIDR>),
    Policy(Box<Policy>),
}

// === impl Object ===

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
            Self::Policy(policy) => Kind::Policy(policy.kind),
        }
    }

    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::ServiceEntry(object) => &object.metadata,
            Self::ServiceCidr(object) => &object.metadata,
            Self::Policy(object) => &object.metadata,
        }
    }

    /// The name is empty where the object has none; such an object is refused by the index.
    pub fn key(&self) -> ObjectKey {
        let ObjectMeta { name, namespace, .. } = self.metadata();
        ObjectKey::new(self.kind(), namespace.as_deref(), name.as_deref().unwrap_or_default())
    }
}
