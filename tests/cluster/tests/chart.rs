//! The Helm chart: what it refuses, what it renders, and what an API server makes of that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cluster::{
    Cluster, program,
    release::{CHART, IN_NAMESPACE},
};
use harness::{Io, PATIENCE};

const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");
/// Everything of the chart bears it.
pub(crate) const OURS: &str = "--selector=app.kubernetes.io/instance=millstream";
pub(crate) const KINDS: &str = "serviceaccounts,configmaps,clusterroles,clusterrolebindings,roles,rolebindings,\
    daemonsets,deployments.apps,leases.coordination.k8s.io,validatingadmissionpolicies,validatingadmissionpolicybindings";

/// Without a cluster.
fn helm(args: &[&str]) -> Output {
    Command::new(program("helm").unwrap()).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [&*output.stdout, b"\n", &*output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// What the chart renders with these values.
pub(crate) fn render(set: &[&str]) -> String {
    let set = set.iter().map(|set| format!("--set-json={set}"));
    let set: Vec<_> = set.collect();
    let args = ["template", "millstream", CHART, IN_NAMESPACE].into_iter().chain(set.iter().map(|s| &**s));
    let rendered = helm(&args.collect::<Vec<_>>());
    assert!(rendered.status.success(), "{set:?}: {}", said(&rendered));
    String::from_utf8(rendered.stdout).unwrap()
}

/// A program of the control plane's network, as an administrator.
pub(crate) fn run(cluster: &Cluster, program: &Path, kubeconfig: &Path, args: &[&str]) -> harness::Output {
    let mut command = cluster.control().command(&[program]).unwrap();
    command.args(args).env("KUBECONFIG", kubeconfig);
    let mut process = cluster.control().start(command, Io::Piped).unwrap();
    process.close_stdin();
    process.wait(PATIENCE).unwrap()
}

pub(crate) fn helm_on(cluster: &Cluster, args: &[&str]) -> String {
    let helm = program("helm").unwrap();
    run(cluster, &helm, cluster.kubeconfig(), args).stdout().unwrap().to_owned()
}

pub(crate) fn install_chart(cluster: &Cluster) {
    cluster.make_room().unwrap();
    helm_on(cluster, &["install", "millstream", CHART, IN_NAMESPACE, "--create-namespace"]);
}

/// What there is of the chart, `kind/name` each.
pub(crate) fn ours(cluster: &Cluster) -> Vec<String> {
    let args = ["get", KINDS, IN_NAMESPACE, OURS, "--output=name"];
    let there = cluster.kubectl(&args).unwrap();
    there.stdout().unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn helm_finds_no_fault() {
    let lint = helm(&["lint", "--strict", CHART]);
    assert!(lint.status.success(), "{}", said(&lint));
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    let rendered = render(&[]);
    let head =
        MANIFESTS.strip_suffix(&rendered).unwrap_or_else(|| panic!("run `cargo xtask chart`:\n{rendered}"));
    assert_eq!(head.matches("\nkind: ").count(), 1, "{head}");
    assert!(head.contains("\nkind: Namespace\n"), "{head}");
}

#[test]
fn wrong_values_are_refused_with_a_sentence() {
    let cases = [
        (
            "a word that is none of three",
            "sameNode=\"both\"",
            "value must be one of 'auto', 'direct', 'wire'",
        ),
        ("an unknown value", "mode=\"closed\"", "additional properties 'mode' not allowed"),
        ("a mode that is not known", "dns.allocation.mode=\"istio\"", "'recorded', 'off', 'istio-v1'"),
        ("a name for a name server", "dns.resolvers=[\"ns\"]", "dns.resolvers: \"ns\" is not the address"),
        (
            "an address for a network",
            "dns.allocation.ipv4=\"240.240.0.0\"",
            "\"240.240.0.0\" is no IPv4 network; write it like 240.240.0.0/16.",
        ),
        ("no controller", "controller.replicas=0", "at '/controller/replicas': minimum: got 0, want 1"),
        ("a typing error", "image.tga=\"x\"", "at '/image': additional properties 'tga' not allowed"),
        ("a platform that is not known", "platform=\"windows\"", "'openshift', 'bottlerocket'"),
        ("a port too large", "metrics.port=70000", "at '/metrics/port': maximum: got 70,000, want 65,535"),
        ("text for a number", "limits.connections=\"many\"", "at '/limits/connections': got string"),
        ("text for yes or no", "cni.enabled=\"yes\"", "at '/cni/enabled': got string, want boolean"),
        ("a list of another kind", "exclusions.allowOverrides=[\"all\"]", "'exclude-outbound-cidrs'"),
        (
            "a name for ports",
            "exclusions.excludeInboundPorts=\"http\"",
            "\"http\" is no list of ports; write it like",
        ),
        ("a name for networks", "exclusions.excludeOutboundCidrs=\"db\"", "\"db\" is no list of networks"),
        (
            "a time without a unit",
            "drain.shutdown=\"20\"",
            "drain.shutdown: \"20\" is no duration; write it like 20s.",
        ),
        ("decimal memory", "limits.buffers=\"1G\"", "\"1G\" is no amount of memory; write it like 256Mi."),
        (
            "a folder that is not absolute",
            "cni.binDir=\"opt\"",
            "\"opt\" is no folder of a node; write it like",
        ),
        (
            "a namespace in capitals",
            "cni.except=[\"Shop\"]",
            "cni.except: \"Shop\" is no name of a namespace",
        ),
        ("no image", "image.repository=\"\"", "image.repository: is empty; name the image"),
        ("no way to upgrade", "updateStrategy.rollingUpdate.maxSurge=0", "no agent could ever be replaced"),
        ("a table of the kernel's", "steering.table=254", "at '/steering/table': minimum: got 254, want 256"),
    ];
    for (name, set, expected) in cases {
        let refused = helm(&["template", "millstream", CHART, IN_NAMESPACE, "--set-json", set]);
        let said = said(&refused);
        assert!(!refused.status.success(), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn values_are_where_they_belong() {
    let cases: [(&str, &[&str], &[&str]); 15] = [
        ("microk8s", &["platform=\"microk8s\""], &["path: /var/snap/microk8s/current/opt/cni/bin,"]),
        ("k3s", &["platform=\"k3s\""], &["path: /var/lib/rancher/k3s/agent/etc/cni/net.d,"]),
        ("GKE", &["platform=\"gke\""], &["kind: ResourceQuota", "path: /home/kubernetes/bin,"]),
        (
            "OpenShift",
            &["platform=\"openshift\""],
            &["securitycontextconstraints", "seLinuxOptions: {type: spc_t}"],
        ),
        ("Bottlerocket", &["platform=\"bottlerocket\""], &["type: super_t"]),
        ("own folders win", &["platform=\"k3s\"", "cni.binDir=\"/cni\""], &["path: /cni,"]),
        (
            "a large number stays one",
            &["steering.marks.captured=1073741824", "steering.table=4000000"],
            &["\n      marks:\n        captured: 1073741824\n      table: 4000000\n"],
        ),
        (
            "a port is a list of ports",
            &["exclusions.excludeInboundPorts=80"],
            &["exclude-inbound-ports: \"80\""],
        ),
        ("nobody allocates", &["dns.allocation.mode=\"off\""], &["\n        mode: \"off\"\n"]),
        (
            "all of DNS",
            &[
                "dns={\"capture\":false,\"clusterDomain\":\"mesh.example\",\"ttl\":\"5s\",\"resolvers\":[\"192.0.2.53\"],\
                 \"allocation\":{\"ipv4\":\"240.0.0.0/16\",\"ipv6\":\"fd00::/48\",\"quarantine\":\"2h\"}}",
            ],
            &[
                "\n    dns:\n      capture: false\n      cluster-domain: \"mesh.example\"\n      ttl: \"5s\"\n",
                "ipv4: \"240.0.0.0/16\"\n        ipv6: \"fd00::/48\"\n        quarantine: \"2h\"\n      \
                 resolvers: [\"192.0.2.53\"]\n",
            ],
        ),
        (
            "only what is registered",
            &["outboundTrafficPolicy=\"REGISTRY_ONLY\""],
            &["outbound-traffic-policy: REGISTRY_ONLY"],
        ),
        ("off is a word", &["probes=\"off\""], &["probes: \"off\""]),
        ("no metrics", &["metrics.port=0"], &["metrics:\n      port: 0\n"]),
        (
            "the taint",
            &["startupTaint=true"],
            &["startup-taint: true", "millstream-nodes", "resources: [nodes]"],
        ),
        (
            "selectors",
            &["enrolment.enablementSelectors=[{\"podSelector\":{\"matchLabels\":{\"mesh\":\"on\"}}}]"],
            &["enablementSelectors: [{\"podSelector\":{\"matchLabels\":{\"mesh\":\"on\"}}}]"],
        ),
    ];
    let defaults = render(&[]);
    for (name, set, expected) in cases {
        let rendered = render(set);
        for text in expected {
            assert!(rendered.contains(text), "{name}: no {text:?} in\n{rendered}");
            assert!(!defaults.contains(text), "{name}: {text:?} without it, too");
        }
    }
    for (name, set, absent) in [
        ("no plugin", "cni.enabled=false", "cni"),
        ("no metrics", "metrics.port=0", "prometheus.io"),
        ("text in the log", "logJson=false", "--log-json"),
        ("no controller", "controller.enabled=false", "-controller"),
    ] {
        assert!(defaults.contains(absent), "{name}");
        let rendered = render(&[set]);
        let there: Vec<_> = rendered.lines().filter(|line| line.contains(absent)).collect();
        // Cilium's policies are watched with or without the plugin.
        assert!(there.iter().all(|line| line.contains("resources:")), "{name}: {there:?}");
    }
}

#[test]
fn names_follow_the_release() {
    let rendered = helm(&["template", "mesh", CHART, "--namespace=elsewhere"]);
    let rendered = said(&rendered);
    let is_odd = |line: &&str| {
        line.contains("millstream-system") || line.contains("name: millstream") && !line.contains("io/name: ")
    };
    let odd: Vec<_> = rendered.lines().filter(is_odd).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert!(rendered.contains("system:serviceaccount:elsewhere:mesh"), "{rendered}");
}

#[test]
fn an_api_server_takes_it() {
    let cluster = Cluster::api("chart").unwrap();
    cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: millstream-system}}").unwrap();
    for set in [
        &[][..],
        &["startupTaint=true", "platform=\"gke\""],
        &["platform=\"openshift\"", "cni.enabled=false"],
        &["platform=\"bottlerocket\"", "imagePullSecrets=[\"registry\"]", "podAnnotations={\"a\":\"b\"}"],
    ] {
        let file = cluster.file("rendered.yaml");
        fs::write(&file, render(set)).unwrap();
        let file = format!("--filename={}", file.display());
        let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", &file];
        cluster.kubectl(&args).unwrap().stdout().unwrap_or_else(|error| panic!("{set:?}: {error:#}"));
    }

    install_chart(&cluster);
    let installed = ours(&cluster);
    for object in [
        "daemonset.apps/millstream",
        "deployment.apps/millstream-controller",
        "lease.coordination.k8s.io/millstream-controller",
        "clusterrole.rbac.authorization.k8s.io/millstream",
        "validatingadmissionpolicy.admissionregistration.k8s.io/millstream-pods",
    ] {
        assert!(installed.iter().any(|there| there == object), "no {object} in {installed:?}");
    }
    let hooks = helm_on(&cluster, &["get", "hooks", "millstream", IN_NAMESPACE]);
    assert!(hooks.contains("kind: Job"), "{hooks}");
    assert!(
        !render(&[]).contains("kind: Job"),
        "who applies the output of `helm template` would uninstall it"
    );
    let upgrade = ["upgrade", "millstream", CHART, IN_NAMESPACE, "--set=logLevel=debug"];
    helm_on(&cluster, &upgrade);
    helm_on(&cluster, &["rollback", "millstream", "1", IN_NAMESPACE]);
    helm_on(&cluster, &["uninstall", "millstream", IN_NAMESPACE, "--no-hooks", "--wait"]);
    assert_eq!(ours(&cluster), Vec::<String>::new());
}

/// A kubeconfig for whoever has this token.
pub(crate) fn kubeconfig_with_token(cluster: &Cluster, token: &str) -> PathBuf {
    let admin = fs::read(cluster.kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&admin).unwrap();
    config["users"][0]["user"] = serde_json::json!({ "token": token });
    let path = cluster.file("token.kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}
