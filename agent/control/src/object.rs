//! The Kubernetes objects that the agent reads, and how they are called.

use std::{fmt, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use model::ObjectName;

use crate::{
    policy::{Policy, PolicyKind},
    printable::printable,
};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One object, as its source gives it: nothing of it has been checked yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Policy(Box<Policy>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    Policy(PolicyKind),
}

/// Which object: there is at most one of each key. Written `Pod shop/cart`, or `Node a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub kind: Kind,
    /// `None` for the kinds that belong to the whole cluster.
    pub namespace: Option<Arc<str>>,
    pub name: Arc<str>,
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
            Self::Policy(object) => &object.metadata,
        }
    }

    /// The name is empty where the object has none; such an object is refused by the index.
    pub fn key(&self) -> ObjectKey {
        let ObjectMeta { name, namespace, .. } = self.metadata();
        ObjectKey::new(self.kind(), namespace.as_deref(), name.as_deref().unwrap_or_default())
    }
}

// === impl Kind ===

impl Kind {
    /// What is written as `apiVersion` and `kind`; `None` if it is of no interest.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        match (api_version, kind) {
            ("v1", "Namespace") => Some(Self::Namespace),
            ("v1", "Node") => Some(Self::Node),
            ("v1", "Pod") => Some(Self::Pod),
            ("v1", "Service") => Some(Self::Service),
            ("discovery.k8s.io/v1", "EndpointSlice") => Some(Self::EndpointSlice),
            _ => PolicyKind::of(api_version, kind).map(Self::Policy),
        }
    }

    /// What an object was meant to be, even if its `apiVersion` is wrong or missing.
    pub(crate) fn meant(api_version: &str, kind: &str) -> Option<Self> {
        let any_version = if kind == "EndpointSlice" { "discovery.k8s.io/v1" } else { "v1" };
        Self::of(api_version, kind).or_else(|| Self::of(any_version, kind))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Policy(policy) => policy.name(),
        }
    }

    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::Node => false,
            Self::Pod | Self::Service | Self::EndpointSlice => true,
            Self::Policy(policy) => policy.is_namespaced(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl ObjectKey ===

impl ObjectKey {
    /// An absent or empty namespace is `default`; a kind without namespaces ignores it.
    pub fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        let namespace = kind
            .is_namespaced()
            .then(|| namespace.filter(|n| !n.is_empty()).unwrap_or(DEFAULT_NAMESPACE).into());
        Self { kind, namespace, name: name.into() }
    }

    /// The name of a namespaced object; for one of the whole cluster the namespace is empty.
    pub(crate) fn object_name(&self) -> ObjectName {
        ObjectName { namespace: self.namespace.clone().unwrap_or_default(), name: self.name.clone() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {}/{}", printable(namespace), printable(name)),
            None => write!(f, "{kind} {}", printable(name)),
        }
    }
}
