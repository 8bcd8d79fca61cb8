use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource, GroupVersionForDiscovery};

use super::{kinds, versions};

fn resource(name: &str, kind: &str, verbs: &[&str]) -> APIResource {
    APIResource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..APIResource::default()
    }
}

#[test]
fn kinds_are_found_among_what_is_served() {
    const ALL: [&str; 3] = ["get", "list", "watch"];
    for (version, name, kind, verbs, expected) in [
        (
            "cilium.io/v2",
            "ciliumnetworkpolicies",
            "CiliumNetworkPolicy",
            &ALL[..],
            Some("CiliumNetworkPolicy"),
        ),
        ("cilium.io/v9", "ciliumnetworkpolicies", "CiliumNetworkPolicy", &ALL, Some("CiliumNetworkPolicy")),
        ("cilium.io/v2", "ciliumnetworkpolicies/status", "CiliumNetworkPolicy", &ALL, None),
        ("cilium.io/v2", "ciliumendpoints", "CiliumEndpoint", &ALL, None),
        ("projectcalico.org/v3", "networkpolicies", "NetworkPolicy", &["list"], None),
        ("projectcalico.org/v3", "networkpolicies", "NetworkPolicy", &ALL, Some("Calico NetworkPolicy")),
        (
            "policy.networking.k8s.io/v1alpha1",
            "baselineadminnetworkpolicies",
            "BaselineAdminNetworkPolicy",
            &ALL,
            Some("BaselineAdminNetworkPolicy"),
        ),
        ("networking.istio.io/v1", "serviceentries", "ServiceEntry", &ALL, Some("ServiceEntry")),
        ("networking.istio.io/v1alpha3", "serviceentries", "ServiceEntry", &ALL, Some("ServiceEntry")),
        ("networking.istio.io/v1", "serviceentries/status", "ServiceEntry", &ALL, None),
        ("networking.istio.io/v1", "sidecars", "Sidecar", &ALL, None),
        ("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", &ALL, Some("ServiceCIDR")),
        ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", &ALL, None),
        ("v1", "pods", "Pod", &ALL, None),
    ] {
        let found = kinds(version, &[resource(name, kind, verbs)]);
        let [kind] = &found.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>()[..] else {
            assert_eq!((found.len(), expected), (0, None), "{version} {name}");
            continue;
        };
        assert_eq!(Some(*kind), expected, "{version} {name}");
        assert_eq!((found[0].1.api_version.as_str(), found[0].1.plural.as_str()), (version, name));
    }
}

#[test]
fn the_preferred_version_comes_first() {
    let version = |version: &str| GroupVersionForDiscovery {
        group_version: format!("cilium.io/{version}"),
        version: version.to_owned(),
    };
    let group = APIGroup {
        name: "cilium.io".to_owned(),
        versions: ["v2alpha1", "v2"].map(version).into(),
        preferred_version: Some(version("v2")),
        ..APIGroup::default()
    };
    assert_eq!(versions(&group), ["cilium.io/v2", "cilium.io/v2alpha1"]);
}
