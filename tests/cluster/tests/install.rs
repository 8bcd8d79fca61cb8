//! `millstream install` and `millstream uninstall`, against an API server without nodes.

use std::path::Path;

use cluster::{Cluster, release::IN_NAMESPACE};
use harness::{Output, millstream};

use crate::chart::{helm_on, install_chart, kubeconfig_with_token, ours, run};

const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: a, labels: {kubernetes.io/os: linux}}
status:
  capacity: {cpu: 1, memory: 1Gi, pods: 10}
  allocatable: {cpu: 1, memory: 1Gi, pods: 10}
";

fn on(cluster: &Cluster, kubeconfig: &Path, args: &[&str]) -> Output {
    run(cluster, &millstream().unwrap(), kubeconfig, args)
}

fn as_admin(cluster: &Cluster, args: &[&str]) -> Output {
    on(cluster, cluster.kubeconfig(), args)
}

fn namespace_exists(cluster: &Cluster) -> bool {
    let args = ["get", "namespace", "millstream-system", "--ignore-not-found", "--output=name"];
    !cluster.kubectl(&args).unwrap().stdout().unwrap().trim().is_empty()
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    cluster.kubectl(args).unwrap().stdout().unwrap().to_owned()
}

#[test]
fn what_is_installed_is_uninstalled() {
    let cluster = Cluster::api("install").unwrap();
    let dry = as_admin(&cluster, &["install", "--dry-run"]);
    assert_eq!(dry.stdout().unwrap().trim_end(), MANIFESTS.trim_end());

    for _ in ["the first time", "once more"] {
        let installed = as_admin(&cluster, &["install", "--wait", "--image", "registry.example.com/m:1"]);
        let said = installed.stdout().unwrap();
        assert!(said.contains("applied daemonset millstream-system/millstream"), "{said}");
    }
    let image = "--output=jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(
        kubectl(&cluster, &["get", "daemonset/millstream", IN_NAMESPACE, image]),
        "registry.example.com/m:1"
    );
    assert_eq!(ours(&cluster).len(), MANIFESTS.matches("\nkind: ").count() - 1);

    // The agents alone.
    let ended = as_admin(&cluster, &["uninstall", "--agents"]);
    assert!(ended.stdout().unwrap().contains("is being deleted"), "{ended:?}");
    assert!(!ours(&cluster).iter().any(|object| object.starts_with("daemonset")), "{:?}", ours(&cluster));
    assert!(ours(&cluster).iter().any(|object| object.starts_with("clusterrole.")), "{:?}", ours(&cluster));

    // Somebody else is there, too.
    kubectl(&cluster, &["create", "configmap", "theirs", IN_NAMESPACE]);
    let removed = as_admin(&cluster, &["uninstall"]);
    let said = removed.stdout().unwrap();
    for line in [
        "there is no daemonset",
        "deleted clusterrole millstream",
        "stays: others use it, e.g. configmap theirs",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert_eq!(ours(&cluster), Vec::<String>::new());
    assert!(namespace_exists(&cluster));

    kubectl(&cluster, &["delete", "configmap", "theirs", IN_NAMESPACE]);
    for expected in ["deleted namespace millstream-system: nothing is left", "nothing is left"] {
        let removed = as_admin(&cluster, &["uninstall"]);
        assert!(removed.stdout().unwrap().contains(expected), "{removed:?}");
    }
    assert!(!namespace_exists(&cluster));
}

/// There is no kubelet: an agent's pod ends only when somebody says so.
#[test]
fn uninstall_waits_for_the_last_agent_and_says_whose_it_is() {
    let cluster = Cluster::api("lingering").unwrap();
    cluster.apply(NODE).unwrap();
    as_admin(&cluster, &["install"]).stdout().unwrap();
    let scheduled = "--for=jsonpath={.status.currentNumberScheduled}=1";
    cluster.wait(&[scheduled, "daemonset/millstream", IN_NAMESPACE]).unwrap();
    cluster.wait(&["--for=condition=PodScheduled", "pods", "--all", IN_NAMESPACE]).unwrap();

    let late = as_admin(&cluster, &["install", "--wait", "--timeout", "2s"]);
    assert_eq!(late.code(), Some(1), "{late:?}");
    assert!(late.any_stdout().contains("a (millstream-"), "{late:?}");
    assert!(late.stderr.contains("not done in time: a (millstream-"), "{late:?}");

    let late = as_admin(&cluster, &["uninstall", "--timeout", "2s"]);
    assert_eq!(late.code(), Some(1), "{late:?}");
    assert!(late.stderr.contains("the agent of a has not ended; if that node is gone for good"), "{late:?}");
    assert!(
        ours(&cluster).iter().any(|object| object.starts_with("clusterrole.")),
        "an agent still needs its rights"
    );

    // Else the controller's pod would come back, and linger as well.
    kubectl(&cluster, &["scale", "deployment/millstream-controller", "--replicas=0", IN_NAMESPACE]);
    let none = "--for=jsonpath={.spec.replicas}=0";
    cluster.wait(&[none, "replicaset", "--all", IN_NAMESPACE]).unwrap();
    kubectl(&cluster, &["delete", "pods", "--all", IN_NAMESPACE, "--force", "--grace-period=0"]);
    as_admin(&cluster, &["uninstall"]).stdout().unwrap();
    assert!(!namespace_exists(&cluster));
}

#[test]
fn what_is_helms_is_left_to_helm_whose_hook_has_the_rights_it_needs() {
    let cluster = Cluster::api("helms").unwrap();
    install_chart(&cluster);
    for (command, instead) in
        [("install", "helm upgrade millstream"), ("uninstall", "helm uninstall millstream")]
    {
        let refused = as_admin(&cluster, &[command]);
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(instead), "{refused:?}");
    }

    // All of the hook but its Job, which no node would run.
    let hooks = helm_on(&cluster, &["get", "hooks", "millstream", IN_NAMESPACE]);
    let rights = hooks.split("\n---\n").filter(|manifest| !manifest.contains("kind: Job"));
    cluster.apply(&rights.collect::<Vec<_>>().join("\n---\n")).unwrap();
    let token = kubectl(&cluster, &["create", "token", "millstream-uninstall", IN_NAMESPACE]);
    let kubeconfig = kubeconfig_with_token(&cluster, token.trim());
    let ended = on(&cluster, &kubeconfig, &["uninstall", "--agents"]);
    assert!(ended.stdout().unwrap().contains("is being deleted"), "{ended:?}");
    assert!(!ours(&cluster).iter().any(|object| object.starts_with("daemonset")), "{:?}", ours(&cluster));

    helm_on(&cluster, &["uninstall", "millstream", IN_NAMESPACE, "--no-hooks"]);
    let refused = on(&cluster, &kubeconfig, &["uninstall"]);
    assert!(refused.stderr.contains("it takes an administrator"), "{refused:?}");
}
