use super::{Manifest, parse};

/// Each result in one line: the document and the key, or the error.
fn read(text: &str) -> Vec<String> {
    let print = |manifest: Manifest| format!("{} {}", manifest.document, manifest.object.key());
    parse(text).into_iter().map(|result| result.map_or_else(|error| error.to_string(), print)).collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n";

#[test]
fn documents_and_lists() {
    for (name, text, expected) in [
        ("nothing", String::new(), &[][..]),
        ("only markers", "---\n---\n# nothing\n".into(), &[]),
        ("one", POD.into(), &["1 Pod default/a"]),
        ("byte order mark", format!("\u{feff}{POD}"), &["1 Pod default/a"]),
        ("CRLF", POD.replace('\n', "\r\n"), &["1 Pod default/a"]),
        ("several, one empty", format!("# c\n---\n{POD}---\n---\n{POD}"), &["1 Pod default/a", "3 Pod default/a"]),
        (
            "JSON",
            r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "namespace": "ignored"}}"#.into(),
            &["1 Namespace shop"],
        ),
        (
            "JSON with tabs",
            "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\n\t\t\"name\": \"a\"\n\t}\n}\n".into(),
            &["1 Pod default/a"],
        ),
        (
            "List",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}}\n\
             - {apiVersion: v1, kind: Node, metadata: {name: node-a}}\n"
                .into(),
            &["1 Pod shop/a", "1 Node node-a"],
        ),
        (
            "typed list, whose items do not say what they are",
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSliceList, items: [{metadata: {name: a}, addressType: IPv4}]}"
                .into(),
            &["1 EndpointSlice default/a"],
        ),
        (
            "List in List",
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}}]}]}".into(),
            &["1 Pod default/a"],
        ),
        ("List of nothing", "{apiVersion: v1, kind: List}".into(), &[]),
        (
            "what is of no interest",
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n---\n\
             {apiVersion: networking.istio.io/v1, kind: VirtualService}\n---\n\
             {apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {name: a}}\n---\n\
             {apiVersion: apps/v1, kind: DeploymentList, items: [{metadata: {name: a}}]}"
                .into(),
            &[],
        ),
        (
            "anchors",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: &l {app: x}, annotations: *l}\n".into(),
            &["1 Pod default/a"],
        ),
        ("no namespace is default", POD.replace("name: a", "name: a\n  namespace: ''"), &["1 Pod default/a"]),
    ] {
        assert_eq!(read(&text), expected, "{name}");
    }
}

#[test]
fn an_error_names_the_document_the_object_and_the_field() {
    for (text, expected) in [
        ("just text", "document 1: an object: is not a mapping with apiVersion and kind"),
        ("- a\n- b", "document 1: an object: is not a mapping with apiVersion and kind"),
        ("kind: Pod\nmetadata: {name: a}", "document 1: Pod default/a: apiVersion: is missing"),
        ("apiVersion: v1\nmetadata: {name: a}", "document 1: an object: kind: is missing"),
        ("apiVersion: 1\nkind: Pod", "document 1: a Pod: apiVersion: is not text"),
        ("apiVersion: v1\nkind: Pod", "document 1: a Pod: metadata.name: is missing, or not text"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 1}",
            "document 1: a Pod: metadata.name: is missing, or not text",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}",
            "document 1: a Pod: metadata.name: is missing, or not text",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {on: 1}}",
            "document 1: Pod default/a: metadata.labels.on: invalid type: integer `1`, expected a string",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}, {port: http}]}",
            "document 1: Service default/a: spec.ports[1].port: invalid type: string \"http\", expected i32",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 9999999999}]}",
            "document 1: Service default/a: spec.ports[0].port: invalid value: integer `9999999999`, expected i32",
        ),
        (
            "---\n---\n{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: []}",
            "document 2: Pod default/a: spec: invalid type: sequence, expected PodSpec",
        ),
        (
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod}]}",
            "document 1: a Pod: items[0].metadata.name: is missing, or not text",
        ),
        (
            "{apiVersion: v1, kind: List, items: [1]}",
            "document 1: an object: items[0]: is not a mapping with apiVersion and kind",
        ),
        ("{apiVersion: v1, kind: PodList, items: {}}", "document 1: an object: items: is not a list"),
    ] {
        assert_eq!(read(text), [expected], "{text}");
    }
}

#[test]
fn broken_yaml_names_the_line_of_the_file() {
    let text = format!("{POD}---\n{POD}  name: b\n---\n{POD}  labels: [\n---\n{POD}");
    let results = read(&text);
    assert_eq!(results[0], "1 Pod default/a");
    assert!(
        results[1].starts_with("document 2: Pod default/a: "),
        "a repeated key leaves the rest legible: {results:?}"
    );
    assert!(results[1].contains("line 10") && results[1].contains("name"), "{results:?}");
    assert!(results[2].starts_with("document 3: an object: "), "{results:?}");
    assert_eq!(results[3], "4 Pod default/a", "what is broken in one document leaves the others whole");
}

#[test]
fn a_policy_holds_even_where_nobody_can_read_it() {
    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n";
    for (name, text, expected) in [
        ("whole", POLICY.into(), "1 NetworkPolicy default/p"),
        ("a repeated key", format!("{POLICY}spec: {{}}\nspec: {{}}\n"), "1 NetworkPolicy default/p"),
        ("a spec that is none", format!("{POLICY}spec: 1\n"), "1 NetworkPolicy default/p"),
        (
            "labels that are none",
            POLICY.replace("name: p", "name: p, labels: 1"),
            "1 NetworkPolicy default/p",
        ),
        (
            "no name to hold under",
            POLICY.replace("name: p", ""),
            "document 1: a NetworkPolicy: metadata.name: is missing, or not text",
        ),
        (
            "no namespace to hold in",
            POLICY.replace("name: p", "name: p, namespace: 1"),
            "document 1: NetworkPolicy default/p: metadata.namespace: is not text",
        ),
        (
            "another group's",
            POLICY.replace("networking.k8s.io", "crd.projectcalico.org"),
            "1 Calico NetworkPolicy default/p",
        ),
    ] {
        assert_eq!(read(&text), [expected], "{name}");
    }
}
