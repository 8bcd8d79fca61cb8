use super::{Source, SourceRefusal};

#[test]
fn a_source_is_written_as_it_is_read() {
    for text in ["file:/etc/millstream/manifests", "file:a:b", "kubernetes", "kubernetes:/root/.kube/config"]
    {
        let source: Source = text.parse().unwrap();
        assert_eq!(source.to_string(), text);
        let json = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<Source>(&json).unwrap(), source, "{json}");
    }
}

#[test]
fn what_is_no_source_is_told_what_would_be_one() {
    for (text, hint) in [
        ("file:", "file:/etc/millstream/manifests"),
        ("kubernetes:", "leave the colon out"),
        ("Kubernetes", "use kubernetes, kubernetes:KUBECONFIG or file:DIR"),
        ("/etc/manifests", "file:DIR"),
        ("", "file:DIR"),
    ] {
        let error = text.parse::<Source>().unwrap_err().to_string();
        assert!(error.contains(hint), "{text:?}: {error}");
    }
}

#[test]
fn a_refusal_is_one_sentence() {
    let refusal = |file: Option<&str>, document, object: Option<&str>| SourceRefusal {
        file: file.map(str::to_owned),
        document,
        object: object.map(str::to_owned),
        field: object.map(|_| "status.podIP".to_owned()),
        reason: "is wrong".to_owned(),
    };
    for (refusal, said) in [
        (refusal(Some("a.yaml"), None, None), "a.yaml: is wrong"),
        (refusal(Some("a.yaml"), Some(2), None), "a.yaml, document 2: is wrong"),
        (
            refusal(Some("a.yaml"), Some(2), Some("Pod shop/a")),
            "a.yaml, document 2: Pod shop/a: status.podIP: is wrong",
        ),
        (refusal(None, None, Some("Pod shop/a")), "Pod shop/a: status.podIP: is wrong"),
    ] {
        assert_eq!(refusal.to_string(), said);
    }
}
