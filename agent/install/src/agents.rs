//! The DaemonSet and its pods, followed while they come and go.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::timeout;

use crate::{Error, Tell};

/// Which agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    pub namespace: String,
    /// Of the DaemonSet; with Helm, the release.
    pub name: String,
}

/// The agents of an installation, as they are now.
#[derive(Debug, Default)]
pub struct Agents {
    daemonset: Known<DaemonSet>,
    pods: Known<Pod>,
    /// What was told of each node.
    told: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Known<K> {
    objects: BTreeMap<String, K>,
    /// What a list has told that is not at its end.
    listing: BTreeMap<String, K>,
    is_listed: bool,
}

enum Seen {
    DaemonSet(Event<DaemonSet>),
    Pod(Event<Pod>),
}

// === impl Installation ===

impl Default for Installation {
    fn default() -> Self {
        Self { namespace: "millstream-system".to_owned(), name: "millstream".to_owned() }
    }
}

// === impl Agents ===

impl Agents {
    /// Waits until each node has an agent of the newest kind that is ready.
    pub async fn ready(
        of: &Installation,
        client: &Client,
        patience: Duration,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        Self::wait(of, client, patience, tell, Self::is_rolled_out, Self::unready).await
    }

    /// Waits until the last one has gone.
    pub async fn gone(
        of: &Installation,
        client: &Client,
        patience: Duration,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let are_gone = |agents: &Self| agents.daemonset.objects.is_empty() && agents.pods.objects.is_empty();
        Self::wait(of, client, patience, tell, are_gone, |agents| agents.remaining(of)).await
    }

    /// Until it `is_so`; if that takes longer, the error tells what is `left`.
    async fn wait(
        of: &Installation,
        client: &Client,
        patience: Duration,
        tell: Tell<'_>,
        is_so: impl Fn(&Self) -> bool,
        left: impl Fn(&Self) -> Vec<String>,
    ) -> Result<(), Error> {
        let mut agents = Self::default();
        match timeout(patience, agents.follow(of, client, tell, is_so)).await {
            Ok(followed) => followed,
            Err(_) => Err(Error::Late { left: left(&agents) }),
        }
    }

    async fn follow(
        &mut self,
        of: &Installation,
        client: &Client,
        tell: Tell<'_>,
        until: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        let Installation { namespace, name } = of;
        let daemonsets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let theirs = watcher::Config::default()
            .labels(&format!("app.kubernetes.io/name=millstream,app.kubernetes.io/instance={name}"));
        // An API server that is gone for a while is asked again; the caller's patience ends it.
        let daemonsets = watcher(daemonsets, one).default_backoff().map_ok(Seen::DaemonSet);
        let pods = watcher(pods, theirs).default_backoff().map_ok(Seen::Pod);
        let mut seen = pin!(stream::select(daemonsets, pods));
        while let Some(seen) = seen.next().await {
            match seen {
                Ok(Seen::DaemonSet(event)) => self.daemonset.note(event),
                Ok(Seen::Pod(event)) => self.pods.note(event),
                Err(watcher::Error::InitialListFailed(source @ kube::Error::Api(_))) => {
                    return Err(Error::of("list the agents")(source));
                }
                Err(_) => {}
            }
            if !(self.daemonset.is_listed && self.pods.is_listed) {
                continue;
            }
            self.tell(tell);
            if until(self) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A line for each node where something has changed.
    fn tell(&mut self, tell: Tell<'_>) {
        let now: BTreeMap<_, _> = self
            .pods
            .objects
            .iter()
            .map(|(name, pod)| (format!("{} ({name})", node(pod)), state(pod)))
            .collect();
        for (agent, state) in &now {
            if self.told.get(agent) != Some(state) {
                tell(&format!("{agent}: {state}"));
            }
        }
        for agent in self.told.keys().filter(|agent| !now.contains_key(*agent)) {
            tell(&format!("{agent}: gone"));
        }
        self.told = now;
    }

    fn is_rolled_out(&self) -> bool {
        let Some(daemonset) = self.daemonset.objects.values().next() else { return false };
        let Some(status) = &daemonset.status else { return false };
        let wanted = status.desired_number_scheduled;
        status.observed_generation == daemonset.metadata.generation
            && status.updated_number_scheduled.unwrap_or(0) == wanted
            && status.number_ready == wanted
            // In an upgrade, the ones before have gone.
            && self.pods.objects.len() == usize::try_from(wanted).unwrap_or(usize::MAX)
    }

    fn unready(&self) -> Vec<String> {
        let late = self.told.iter().filter(|(_, state)| *state != READY);
        let late: Vec<_> = late.map(|(agent, state)| format!("{agent}: {state}")).collect();
        if late.is_empty() {
            return vec!["the DaemonSet has no pods; are its controller and the scheduler there?".to_owned()];
        }
        late
    }

    fn remaining(&self, of: &Installation) -> Vec<String> {
        let Installation { namespace, name } = of;
        let left = self.pods.objects.iter().map(|(pod, object)| {
            format!(
                "the agent of {} has not ended; if that node is gone for good, say so (`kubectl delete pod {pod} \
                 --namespace {namespace} --force`), then try again",
                node(object)
            )
        });
        let mut left: Vec<_> = left.collect();
        if left.is_empty() {
            left.push(format!(
                "the DaemonSet {namespace}/{name} is still there; is the garbage collector running?"
            ));
        }
        left
    }
}

// === impl Known ===

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: BTreeMap::new(), is_listed: false }
    }
}

impl<K: ResourceExt> Known<K> {
    fn note(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(object.name_any(), object);
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listing);
                self.is_listed = true;
            }
            Event::Apply(object) => {
                self.objects.insert(object.name_any(), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&object.name_any());
            }
        }
    }
}

const READY: &str = "ready";

fn node(pod: &Pod) -> &str {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.unwrap_or("a node not yet chosen")
}

/// In a few words, with what keeps it from becoming ready.
fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "ending".to_owned();
    }
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return READY.to_owned();
    }
    let containers = status.container_statuses.unwrap_or_default();
    let waiting = containers.into_iter().find_map(|container| container.state?.waiting);
    if let Some(waiting) = waiting {
        let words = [waiting.reason, waiting.message];
        return words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    }
    let unscheduled = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(message) = unscheduled.and_then(|condition| condition.message) {
        return message;
    }
    match status.phase.as_deref() {
        Some("Running") => "running, not ready yet".to_owned(),
        _ => "starting".to_owned(),
    }
}

#[cfg(test)]
mod tests;
