//! Objects are written as people write them; what comes out is compared whole where that is short enough.

use std::{net::IpAddr, sync::Arc};

use model::{ObjectName, Pod, PodUid, Service, Snapshot};

use super::{Index, IndexConfig};
use crate::{
    kind::{Kind, ObjectKey},
    manifest,
    object::Object,
    refusal::Refusal,
};

mod contradictions;
mod hosts;
mod namespaces;
mod pods;
mod policies;
mod services;
mod slices;

/// An index, and what it refused.
struct Applied {
    index: Index,
    refusals: Vec<Refusal>,
}

impl Applied {
    fn new(yaml: &str) -> Self {
        let config = IndexConfig { honour_netns_annotation: true, ..IndexConfig::default() };
        Self { index: Index::new(config), refusals: Vec::new() }.and(yaml)
    }

    fn and(mut self, yaml: &str) -> Self {
        for object in objects(yaml) {
            self.refusals.extend(self.index.apply(&object).err());
        }
        self
    }

    fn without(mut self, kind: Kind, name: &str) -> Self {
        self.index.delete(&ObjectKey::new(kind, None, name));
        self
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.index.snapshot(1)
    }

    /// The only refusal, as it is printed.
    fn refusal(&self) -> String {
        let [refusal] = &self.refusals[..] else { panic!("one refusal expected: {:?}", self.refusals) };
        refusal.to_string()
    }

    fn sound(self) -> Self {
        assert_eq!(self.refusals, []);
        self
    }

    fn pod(&self, name: &str) -> Arc<Pod> {
        let snapshot = self.snapshot();
        let pod = snapshot.pod_by_name(&ObjectName::new("default", name));
        pod.unwrap_or_else(|| panic!("no pod {name}")).clone()
    }

    fn service(&self, name: &str) -> Arc<Service> {
        let snapshot = self.snapshot();
        let service = snapshot.service(&ObjectName::new("default", name));
        service.unwrap_or_else(|| panic!("no service {name}")).clone()
    }
}

fn objects(yaml: &str) -> Vec<Object> {
    manifest::parse(yaml).into_iter().map(|result| result.unwrap().object).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One pod in one line: its name, and the rest of its manifest.
fn pod(name: &str, rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, {rest}}}\n---\n")
}

fn pod_at(name: &str, ip: &str) -> String {
    pod(name, &format!("status: {{podIP: {ip}}}"))
}

fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n")
}

fn entry(name: &str, spec: &str) -> String {
    entry_with(name, "", spec)
}

/// With more metadata, and perhaps a status after the `spec`.
fn entry_with(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, {metadata}}}, \
         spec: {{{spec}}}}}\n---\n"
    )
}

/// A slice of the service `cart`.
fn slice(name: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, \
         labels: {{kubernetes.io/service-name: cart}}}}, {rest}}}\n---\n"
    )
}

fn uid(uid: &str) -> PodUid {
    PodUid::new(uid)
}
