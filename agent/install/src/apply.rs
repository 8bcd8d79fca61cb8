//! Puts the objects on a cluster.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
};

use crate::{
    Error, Installation, Tell,
    manifests::{name, place},
};

/// Whose fields they are: what somebody else has set beside them stays.
const MANAGER: &str = "millstream-install";

/// Applies them server-side, one after the other. What is there already becomes what is written here.
pub async fn apply(client: &Client, objects: &[DynamicObject], tell: Tell<'_>) -> Result<(), Error> {
    refuse_helms(client, "upgrade").await?;
    let params = PatchParams::apply(MANAGER).force();
    for object in objects {
        let what = name(object);
        let patched = place(client, object).patch(&object.name_any(), &params, &Patch::Apply(object)).await;
        patched.map_err(Error::of(format!("apply {what}")))?;
        tell(&format!("applied {what}"));
    }
    Ok(())
}

/// Two who own the same objects would undo each other's work.
pub(crate) async fn refuse_helms(client: &Client, instead: &'static str) -> Result<(), Error> {
    let Installation { namespace, name } = Installation::default();
    let daemonsets: Api<DaemonSet> = Api::namespaced(client.clone(), &namespace);
    let there = daemonsets.get_opt(&name).await.map_err(Error::of("look for the DaemonSet"))?;
    let release = there.and_then(|mut there| there.annotations_mut().remove("meta.helm.sh/release-name"));
    match release {
        Some(release) => Err(Error::OfHelm { release, namespace, instead }),
        None => Ok(()),
    }
}
