//! Takes the agents away, and then everything else.

use std::time::{Duration, Instant};

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
    core::DynamicObject,
    discovery::{ApiGroup, Discovery, Scope, verbs},
    runtime::wait::{await_condition, conditions::is_deleted},
};
use tokio::time::timeout;

use crate::{
    Agents, Error, Installation, Tell,
    apply::refuse_helms,
    manifests::{name, place},
};

/// What every namespace has, and what passes by itself.
const OF_EVERY_NAMESPACE: [(&str, &str); 4] = [
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ServiceAccount", "default"),
    ("Event", ""),
];

/// Deletes the DaemonSet and waits until each agent has cleaned its node and gone.
pub async fn remove_agents(
    client: &Client,
    of: &Installation,
    patience: Duration,
    tell: Tell<'_>,
) -> Result<(), Error> {
    let Installation { namespace, name } = of;
    let daemonsets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    // It stays until its pods have gone: agents see by it that they are not to come back.
    let deleted = found(daemonsets.delete(name, &DeleteParams::foreground()).await);
    let was_there = deleted.map_err(Error::of(format!("delete daemonset {namespace}/{name}")))?;
    tell(&match was_there {
        true => format!(
            "daemonset {namespace}/{name} is being deleted: each agent releases its pods and cleans its node"
        ),
        false => format!("there is no daemonset {namespace}/{name}"),
    });
    Agents::gone(of, client, patience, tell).await
}

/// All of it: the agents first, while they have their rights; then `objects` but the namespace; and that, if nothing else
/// is in it.
pub async fn remove(
    client: &Client,
    objects: &[DynamicObject],
    patience: Duration,
    tell: Tell<'_>,
) -> Result<(), Error> {
    let end = Instant::now() + patience;
    refuse_helms(client, "uninstall").await?;
    let of = Installation::default();
    remove_agents(client, &of, patience, tell).await?;
    for object in objects.iter().rev().filter(|object| !is_namespace(object)) {
        let what = name(object);
        let deleted = place(client, object).delete(&object.name_any(), &DeleteParams::background()).await;
        if found(deleted).map_err(Error::of(format!("delete {what}")))? {
            tell(&format!("deleted {what}"));
        }
    }
    remove_namespace(client, &of.namespace, end.saturating_duration_since(Instant::now()), tell).await
}

async fn remove_namespace(
    client: &Client,
    namespace: &str,
    patience: Duration,
    tell: Tell<'_>,
) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let what = format!("delete namespace {namespace}");
    let Some(there) = namespaces.get_opt(namespace).await.map_err(Error::of(&*what))? else {
        tell("nothing is left");
        return Ok(());
    };
    if let Some(other) = find_other(client, namespace).await? {
        tell(&format!("namespace {namespace} stays: others use it, e.g. {other}"));
        return Ok(());
    }
    found(namespaces.delete(namespace, &DeleteParams::background()).await).map_err(Error::of(&*what))?;
    let uid = there.uid().unwrap_or_default();
    match timeout(patience, await_condition(namespaces, namespace, is_deleted(&uid))).await {
        Ok(_) => {
            tell(&format!("deleted namespace {namespace}: nothing is left"));
            Ok(())
        }
        Err(_) => Err(Error::Late { left: vec![format!("namespace {namespace} is still being deleted")] }),
    }
}

/// An object of somebody else's, whatever its kind.
async fn find_other(client: &Client, namespace: &str) -> Result<Option<String>, Error> {
    let look = || format!("look what else is in namespace {namespace}");
    let discovery = Discovery::new(client.clone()).run().await.map_err(Error::of(look()))?;
    for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::recommended_resources) {
        if capabilities.scope == Scope::Cluster || !capabilities.supports_operation(verbs::LIST) {
            continue;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        // Two are of every namespace.
        let listed = api.list(&ListParams::default().limit(10)).await;
        let objects = match listed {
            Err(kube::Error::Api(status)) if [404, 405].contains(&status.code) => continue,
            listed => listed.map_err(Error::of(look()))?,
        };
        let is_other = |object: &&DynamicObject| {
            let known = |(kind, name): &(&str, &str)| {
                *kind == resource.kind && (name.is_empty() || *name == object.name_any())
            };
            !OF_EVERY_NAMESPACE.iter().any(known) && object.metadata.deletion_timestamp.is_none()
        };
        if let Some(object) = objects.iter().find(is_other) {
            return Ok(Some(format!("{} {}", resource.kind.to_lowercase(), object.name_any())));
        }
    }
    Ok(None)
}

fn is_namespace(object: &DynamicObject) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == "Namespace")
}

/// Whether what was deleted had been there.
fn found<T>(deleted: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        deleted => deleted.map(|_| true),
    }
}
