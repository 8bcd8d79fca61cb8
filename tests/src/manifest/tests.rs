use std::path::PathBuf;

use serde_json::json;

use super::{
    Labels, NamespaceObject, PodObject, endpoint_slices, file_name, namespace, pod, service, to_yaml,
};
use crate::service::{Endpoint, ServiceObject, ServicePort};

fn web(name: &str, port: u16) -> PodObject {
    PodObject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        node: "a".to_owned(),
        netns: PathBuf::from("/run/netns/x"),
        ips: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        labels: Labels::new(),
        annotations: Labels::new(),
        hostname: None,
        service_account: "default".to_owned(),
        ports: vec![("http".to_owned(), port)],
    }
}

fn web_service(endpoints: Vec<Endpoint>) -> ServiceObject {
    ServiceObject {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        vips: vec!["198.51.100.1".parse().unwrap()],
        ports: vec![ServicePort { name: "http".to_owned(), number: 80, target: "http".into() }],
        selector: Labels::new(),
        client_ip_affinity: None,
        local: false,
        endpoints,
    }
}

fn ready(pod: PodObject) -> Endpoint {
    Endpoint { pod, ready: true, serving: true, terminating: false }
}

#[test]
fn files_are_named_after_their_objects() {
    assert_eq!(file_name(&namespace("shop", &NamespaceObject::default())), "namespace-shop.yaml");
    assert_eq!(file_name(&pod(&web("web-1", 80))), "pod-shop-web-1.yaml");
    assert_eq!(file_name(&service(&web_service(Vec::new()))), "service-shop-web.yaml");
}

#[test]
fn a_pod_says_where_its_namespace_is_unless_the_annotation_is_given() {
    let mut object = web("web-1", 80);
    let netns = |object: &PodObject| pod(object)["metadata"]["annotations"]["millstream.dev/netns"].clone();
    assert_eq!(netns(&object), "/run/netns/x");
    object.annotations.insert("millstream.dev/netns".to_owned(), "/proc/1/ns/net".to_owned());
    assert_eq!(netns(&object), "/proc/1/ns/net");
}

#[test]
fn a_headless_service_has_the_cluster_ip_none() {
    let mut object = web_service(Vec::new());
    object.vips.clear();
    assert_eq!(service(&object)["spec"]["clusterIP"], "None");
}

#[test]
fn pods_that_number_a_named_port_differently_are_in_different_slices() {
    let object = web_service(vec![ready(web("web-1", 8_080)), ready(web("web-2", 9_090))]);
    let slices = endpoint_slices(&object);
    let seen: Vec<_> = slices.iter().map(|s| (&s["addressType"], &s["ports"][0]["port"])).collect();
    let expected = [("IPv4", 8_080), ("IPv4", 9_090), ("IPv6", 8_080), ("IPv6", 9_090)];
    assert_eq!(seen.len(), expected.len());
    for ((family, port), expected) in seen.into_iter().zip(expected) {
        assert_eq!((family, port), (&json!(expected.0), &json!(expected.1)));
    }
}

#[test]
fn a_pod_without_the_named_port_is_in_no_slice() {
    let mut other = web("web-1", 80);
    other.ports.clear();
    assert!(endpoint_slices(&web_service(vec![ready(other)])).is_empty());
}

#[test]
fn yaml_reads_back_as_what_was_written() {
    let object = pod(&web("web-1", 80));
    let text = to_yaml(&object).unwrap();
    assert!(text.starts_with("apiVersion: v1\nkind: Pod\n"), "{text}");
    let back: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(back, object);
}
