//! Which kinds the API server serves that not every one does: network policies, which come with a CNI, what comes with
//! Istio, and what came with a newer Kubernetes. They may come and go.

use std::time::Duration;

use k8s_openapi::{
    api::networking::v1::NetworkPolicy,
    apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource},
};
use kube::{Client, api::ApiResource, core::GroupVersionKind};
use tokio::{select, sync::mpsc, time::sleep};

use super::{
    backoff::{Backoff, Reached},
    event::{Change, Closed, Outbox, Served},
    of::{ISTIO, NETWORKING, Of},
    request::{ANSWER, RequestError, ask},
};
use crate::kind::Kind;

/// Where there are policies of one kind in two groups, the first is watched: Calico shows what its own group holds in
/// the other as well.
const GROUPS: [&str; 7] = [
    "cilium.io",
    "crd.projectcalico.org",
    "projectcalico.org",
    "crd.antrea.io",
    "policy.networking.k8s.io",
    ISTIO,
    NETWORKING,
];

/// Between looks, and as much again at most.
const LOOK: Duration = Duration::from_secs(30);

/// Looks for them now and then.
pub(super) struct Search {
    pub(super) client: Client,
    pub(super) of: Of,
    pub(super) outbox: Outbox,
    pub(super) reached: Reached,
}

/// Network policies that are always there.
pub(super) fn kubernetes() -> ApiResource {
    ApiResource::erase::<NetworkPolicy>(&())
}

// === impl Search ===

impl Search {
    /// Until nobody wants to know.
    pub(super) async fn run(self, mut reload: mpsc::Receiver<()>) {
        while self.look(&mut reload).await.is_ok() {}
    }

    async fn look(&self, reload: &mut mpsc::Receiver<()>) -> Result<(), Closed> {
        let mut backoff = Backoff::new(&self.reached);
        loop {
            match self.served().await {
                Ok(served) => break self.outbox.tell(Change::Served(served)).await?,
                Err(error) => {
                    let needs = "the agent must be able to get /apis, as system:discovery lets everybody";
                    self.outbox.tell(Change::Failed(error.explain(needs))).await?;
                    backoff.wait(error.retry_after()).await;
                }
            }
        }
        select! {
            () = sleep(LOOK + LOOK.mul_f64(fastrand::f64())) => {}
            Some(()) = reload.recv() => {}
        }
        Ok(())
    }

    async fn served(&self) -> Result<Served, RequestError> {
        let groups = ask(ANSWER, self.client.list_api_groups()).await?.groups;
        let mut served = Served::new();
        for name in GROUPS.into_iter().filter(|group| self.of.looks_into(group)) {
            let Some(group) = groups.iter().find(|group| group.name == name) else { continue };
            for version in versions(group) {
                let resources = ask(ANSWER, self.client.list_api_group_resources(&version)).await?.resources;
                let kinds = kinds(&version, &resources);
                for (kind, resource) in kinds.into_iter().filter(|(kind, _)| self.of.includes(*kind)) {
                    served.entry(kind).or_insert(resource);
                }
            }
        }
        Ok(served)
    }
}

/// The one that the server prefers first.
fn versions(group: &APIGroup) -> Vec<String> {
    let preferred = group.preferred_version.iter();
    let mut versions: Vec<String> = Vec::new();
    for version in preferred.chain(&group.versions) {
        if !versions.contains(&version.group_version) {
            versions.push(version.group_version.clone());
        }
    }
    versions
}

/// Of what a group serves, what is of interest and can be watched.
fn kinds(group_version: &str, resources: &[APIResource]) -> Vec<(Kind, ApiResource)> {
    let Some((group, version)) = group_version.split_once('/') else { return Vec::new() };
    let watchable = |resource: &&APIResource| {
        let can = |verb: &str| resource.verbs.iter().any(|v| v == verb);
        // With a slash it is a part of an object, such as its status.
        !resource.name.contains('/') && can("list") && can("watch")
    };
    let of_interest = |resource: &APIResource| {
        let kind = Kind::of(group_version, &resource.kind).filter(|kind| kind.may_come_later())?;
        let name = GroupVersionKind::gvk(group, version, &resource.kind);
        Some((kind, ApiResource::from_gvk_with_plural(&name, &resource.name)))
    };
    resources.iter().filter(watchable).filter_map(of_interest).collect()
}

#[cfg(test)]
mod tests;
