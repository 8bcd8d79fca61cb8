use super::{Here, Process, is_kubelet};

const UID: &str = "0c9f3a52-7f3f-4a39-9f0e-3c1a5b7d9e21";

fn here() -> Here {
    Here { network: "net:[4026531840]".to_owned(), pids: "pid:[4026531836]".to_owned() }
}

fn kubelet() -> Process {
    Process {
        pid: 812,
        started: 1_234,
        name: "kubelet".to_owned(),
        users: vec![0; 4],
        network: here().network,
        pids: here().pids,
        cgroups: "0::/system.slice/kubelet.service\n".to_owned(),
    }
}

fn named(name: &str) -> Process {
    Process { name: name.to_owned(), ..kubelet() }
}

fn within(cgroups: &str) -> Process {
    Process { cgroups: cgroups.to_owned(), ..kubelet() }
}

#[test]
fn a_kubelet_is() {
    for (case, process) in [
        ("what kubeadm sets up", kubelet()),
        ("that of MicroK8s", named("kubelite")),
        ("k3s", named("k3s")),
        ("k3s, as it calls itself when it serves", named("k3s-server")),
        ("k3s, on other nodes", named("k3s-agent")),
        ("that of Talos, a container but no pod", within("0::/podruntime/kubelet\n")),
        ("one whose cgroup is nobody's own", within("0::/\n")),
        ("one on a hybrid machine", within("5:cpu:/n1\n1:name=systemd:/system.slice\n0::/\n")),
    ] {
        assert!(is_kubelet(&process, &here()), "{case}");
    }
}

#[test]
fn no_kubelet_is() {
    for (case, process) in [
        ("one of another name", named("kubelet2")),
        ("somebody's who is not root", Process { users: vec![1000; 4], ..kubelet() }),
        ("what root started for somebody", Process { users: vec![0, 1000, 0, 0], ..kubelet() }),
        ("of which no user is known", Process { users: Vec::new(), ..kubelet() }),
        ("one in a pod's network", Process { network: "net:[4026532008]".to_owned(), ..kubelet() }),
        ("one that sees other processes", Process { pids: "pid:[4026532009]".to_owned(), ..kubelet() }),
        (
            "a pod with the node's namespaces, cgroupfs",
            within(&format!("0::/kubepods/besteffort/pod{UID}/1f\n")),
        ),
        (
            "a pod with the node's namespaces, systemd",
            within(
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0c9f.slice/cri-1f.scope\n",
            ),
        ),
        ("a pod in kind", within("0::/kubelet.slice/kubelet-kubepods.slice/x.scope\n")),
        ("a pod, seen from another", within(&format!("0::/../../pod{UID}/1f\n"))),
        (
            "a pod, seen from another, systemd",
            within(&format!("0::/../pod{}.slice/x\n", UID.replace('-', "_"))),
        ),
        ("a static pod, seen from another", within("0::/../../pod0c9f3a527f3f4a399f0e3c1a5b7d9e21/1f\n")),
        ("a pod in one hierarchy of many", within(&format!("5:cpu:/kubepods/pod{UID}/1f\n0::/\n"))),
    ] {
        assert!(!is_kubelet(&process, &here()), "{case}");
    }
}
