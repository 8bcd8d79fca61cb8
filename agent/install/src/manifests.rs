//! The objects, as this version of the agent needs them. PURE.

use std::borrow::Cow;

use kube::{
    Api, Client,
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
};
use serde_json::Value;

use crate::Error;

const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");
const IMAGE: &str = concat!("image: localhost/millstream:", env!("CARGO_PKG_VERSION"), "\n");

/// All of it as YAML, with another image where one is named.
pub fn manifests(image: Option<&str>) -> Result<Cow<'static, str>, Error> {
    let Some(image) = image else { return Ok(MANIFESTS.into()) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
    if !image.chars().all(is_plain) || !image.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::Image { image: image.to_owned() });
    }
    Ok(MANIFESTS.replace(IMAGE, &format!("image: {image}\n")).into())
}

/// The objects of [`manifests`], in the order in which they are applied.
pub fn of_manifests(yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let object = |manifest| {
        let value: Value = serde_saphyr::from_str(manifest).map_err(|source| Error::Manifests { source })?;
        serde_json::from_value(value).map_err(|source| Error::Object { source })
    };
    yaml.split("\n---\n").map(object).collect()
}

/// `daemonset millstream-system/millstream`
pub(crate) fn name(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map(|types| types.kind.to_lowercase()).unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match &object.metadata.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Where objects like this one are.
pub(crate) fn place(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_of_everything_is_replaced_by_the_one_that_is_named() {
        let image = "registry.example.com:5000/m/millstream@sha256:0123";
        let yaml = manifests(Some(image)).unwrap();
        assert_eq!(yaml.matches("image: ").count(), 2, "the agents' and the controller's");
        assert_eq!(yaml.matches(&format!("image: {image}\n")).count(), 2);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for image in ["", "a b", "a\nprivileged: true", "'a'", "-a", "a#b"] {
            let error = manifests(Some(image)).unwrap_err().to_string();
            assert!(error.contains("is no name of an image"), "{image:?}: {error}");
        }
    }

    #[test]
    fn the_namespace_is_first_and_every_object_has_a_name() {
        let objects = of_manifests(&manifests(None).unwrap()).unwrap();
        let names: Vec<_> = objects.iter().map(name).collect();
        assert_eq!(names[0], "namespace millstream-system");
        assert!(names.contains(&"daemonset millstream-system/millstream".to_owned()), "{names:?}");
        assert!(
            names.contains(&"deployment millstream-system/millstream-controller".to_owned()),
            "{names:?}"
        );
        assert!(names.contains(&"lease millstream-system/millstream-controller".to_owned()), "{names:?}");
        assert!(names.contains(&"validatingadmissionpolicy millstream-pods".to_owned()), "{names:?}");
    }
}
