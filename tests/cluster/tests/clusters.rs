//! What the clusters themselves promise to the tests.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{IpAddr, SocketAddr},
    panic,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use cluster::{Cluster, IMAGE, Node};
use harness::{Agent, AgentOptions, Post};
use serde_json::Value;

use crate::shop::wait_for;

/// Two servers, one on each node, and a service before them.
fn shop() -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: shop }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web, namespace: shop }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{ matchLabels: {{ app: web }} }}
      containers:
      - name: web
        image: {IMAGE}
        imagePullPolicy: Never
        command: [sh, -c, 'mkdir -p /www && echo $NAME > /www/index.html && exec httpd -f -p 8080 -h /www']
        env: [{{ name: NAME, valueFrom: {{ fieldRef: {{ fieldPath: metadata.name }} }} }}]
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: http }}, periodSeconds: 1 }}
        livenessProbe: {{ tcpSocket: {{ port: http }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: shop }}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {{ app: web }}
  ports: [{{ name: http, port: 80, targetPort: http }}]
"
    )
}

#[test]
fn a_control_plane_alone_takes_manifests_and_has_its_controllers_act_on_them() {
    let cluster = Cluster::api("plane").unwrap();
    cluster.apply(&shop()).unwrap();
    let deployment = ["get", "replicasets,pods,services", "--namespace=shop", "--output=json"];
    cluster.wait(&["--for=create", "replicaset", "--selector=app=web", "--namespace=shop"]).unwrap();
    cluster.wait(&["--for=create", "pod", "--selector=app=web", "--namespace=shop"]).unwrap();
    let objects = cluster.kubectl(&deployment).unwrap().json().unwrap();
    assert!(objects["items"].as_array().unwrap().len() >= 3, "{objects}");

    cluster.stop_api_server().unwrap();
    let refused = cluster.kubectl(&["get", "nodes"]).unwrap();
    assert!(refused.stderr.contains("refused"), "{}", refused.stderr);
    cluster.start_api_server().unwrap();
    cluster.kubectl(&["get", "namespace", "shop"]).unwrap().stdout().unwrap();

    let id = cluster.id().clone();
    drop(cluster);
    assert_eq!(Cluster::leftovers(&id), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_a_cluster_whose_test_panics() {
    let (sender, id) = std::sync::mpsc::channel();
    let test = thread::spawn(move || {
        let cluster = Cluster::api("panics").unwrap();
        sender.send(cluster.id().clone()).unwrap();
        panic::panic_any("on purpose");
    });
    assert!(test.join().is_err());
    let id = id.recv().unwrap();
    assert_eq!(Cluster::leftovers(&id), Vec::<String>::new());
    let again = Cluster::api("panics").unwrap();
    assert_eq!(again.id(), &id);
}

#[test]
fn what_a_killed_test_leaves_behind_the_next_cluster_removes() {
    let victim = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "clusters::dies_with_its_cluster", "--nocapture"])
        .output()
        .unwrap();
    assert!(!victim.status.success());
    let said = String::from_utf8(victim.stdout).unwrap();
    let name = said.lines().find_map(|line| line.split_once("cluster=")).unwrap().1;
    assert!(Path::new("/run/millstream-lab").join(name).exists());
    drop(Cluster::api("reaper").unwrap());
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for dir in ["/run/netns", "/run/millstream-lab"].map(PathBuf::from).into_iter().chain(hierarchies) {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            assert!(!entry.file_name().to_string_lossy().contains(name), "{}", entry.path().display());
        }
    }
}

#[test]
#[ignore = "run by the test above, as a program that is killed"]
fn dies_with_its_cluster() {
    let cluster = Cluster::start("victim").unwrap();
    open_shop(&cluster);
    println!("cluster={}", cluster.id());
    Command::new("kill").args(["-KILL", &process::id().to_string()]).status().unwrap();
}

#[test]
fn what_an_agent_of_a_node_keeps_is_on_that_node_alone() {
    let cluster = Cluster::start("agents").unwrap();
    let manifests = cluster.file("manifests");
    let agents: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| {
            let source = format!("file:{}", manifests.display());
            let post = Post { source, ..node.post().unwrap() };
            Agent::start(post, AgentOptions::default()).unwrap()
        })
        .collect();
    for (node, agent) in cluster.nodes().iter().zip(&agents) {
        let status = agent.json(&["status"]).unwrap();
        assert_eq!(status["node"], node.name());
        let pins = node.run(&["ls", "/sys/fs/bpf/millstream"]).unwrap();
        assert_eq!(pins.stdout().unwrap(), node.name());
        assert!(!Path::new("/sys/fs/bpf/millstream").join(node.name()).exists());
    }
    let id = cluster.id().clone();
    drop(cluster);
    assert_eq!(Cluster::leftovers(&id), Vec::<String>::new());
}

#[test]
fn pods_on_both_nodes_become_ready_and_reach_each_other_by_the_address_of_a_service() {
    let cluster = Cluster::start("whole").unwrap();
    let pods = open_shop(&cluster);
    let nodes: BTreeSet<_> = pods.iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap()).collect();
    let expected: BTreeSet<_> = cluster.nodes().iter().map(Node::name).collect();
    assert_eq!(nodes, expected);

    let service = cluster.kubectl(&["get", "service/web", "--namespace=shop", "--output=json"]).unwrap();
    let service = service.json().unwrap();
    let names: BTreeSet<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
    for vip in service["spec"]["clusterIPs"].as_array().unwrap() {
        let vip = vip.as_str().unwrap().parse::<IpAddr>().unwrap();
        let url = format!("http://{}/", SocketAddr::new(vip, 80));
        for client in &names {
            // kube-proxy throws a die for each connection: in the end it comes to both.
            let mut answered = BTreeSet::new();
            wait_for("both pods to answer", || {
                answered.insert(exec(&cluster, client, &["wget", "-q", "-O-", &url]));
                answered.iter().map(String::as_str).eq(names.iter().copied())
            });
        }
    }

    let id = cluster.id().clone();
    drop(cluster);
    assert_eq!(Cluster::leftovers(&id), Vec::<String>::new());
}

#[test]
fn a_node_goes_on_after_its_kubelet_or_containerd_was_killed_and_comes_back_after_a_reboot() {
    let cluster = Cluster::start("faults").unwrap();
    let pods = open_shop(&cluster);
    let node = cluster.node("n1").unwrap();
    let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node.name()).unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let restarts = || {
        let pod = cluster.kubectl(&["get", "pod", name, "--namespace=shop", "--output=json"]).unwrap();
        pod.json().unwrap()["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap()
    };

    node.kill_kubelet().unwrap();
    node.start_kubelet().unwrap();
    node.kill_containerd().unwrap();
    node.start_containerd().unwrap();
    wait_for("the pod to be entered again", || try_exec(&cluster, name, &["true"]).is_ok());
    assert_eq!(restarts(), 0);

    let mark = |place: &str| format!("touch {place}/mark && ls {place}");
    for place in ["/run", "/etc", "/var/lib", "/opt", "/var/log", "/sys/fs/bpf"] {
        let command = if place == "/sys/fs/bpf" { format!("mkdir {place}/mark") } else { mark(place) };
        node.run(&["sh", "-c", &command]).unwrap().stdout().unwrap();
        assert!(!Path::new(place).join("mark").exists(), "{place} of the node is the machine's");
    }
    node.reboot().unwrap();
    wait_for("a restart of the container", || restarts() == 1);
    cluster.wait(&["--for=condition=Ready", "pod", name, "--namespace=shop"]).unwrap();
    let there = node.run(&["sh", "-c", "ls -d /*/mark /var/*/mark /sys/fs/bpf/mark"]).unwrap();
    assert_eq!(there.any_stdout(), "/etc/mark\n/opt/mark\n/var/lib/mark\n/var/log/mark");
    // The node is a machine of its own: its first process, and what it has started.
    let processes = node.run(&["cat", "/proc/1/comm"]).unwrap();
    assert_eq!(processes.stdout().unwrap(), "sh");

    let id = cluster.id().clone();
    drop(cluster);
    assert_eq!(Cluster::leftovers(&id), Vec::<String>::new());
}

#[test]
fn pods_of_the_host_see_their_own_node_and_a_host_port_leads_to_its_pod() {
    let cluster = Cluster::start("host").unwrap();
    cluster.apply(&host()).unwrap();
    let rollout =
        ["rollout", "status", "daemonset/host", "daemonset/port", "--namespace=shop", "--timeout=80s"];
    cluster.kubectl(&rollout).unwrap().stdout().unwrap();
    let pods =
        cluster.kubectl(&["get", "pods", "--namespace=shop", "--output=json"]).unwrap().json().unwrap();
    let pods = pods["items"].as_array().unwrap();
    let of = |name: &str, node: &Node| {
        let is_it =
            |pod: &&Value| pod["spec"]["nodeName"] == node.name() && pod["metadata"]["labels"]["app"] == name;
        pods.iter().find(is_it).unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    };
    for node in cluster.nodes() {
        let pod = of("host", node);
        let say = |script: &str| exec(&cluster, &pod, &["sh", "-c", script]);
        // The first process is the node's, the addresses are, and so are the files.
        assert_eq!(say("cat /proc/1/comm"), "sh");
        let address = node.addresses().v4.to_string();
        assert!(say("ip address show dev wire0").contains(&address), "{address}");
        node.run(&["mkdir", "/sys/fs/bpf/later", "/run/millstream/later"]).unwrap().stdout().unwrap();
        assert_eq!(
            say("ls /sys/fs/bpf /run/millstream | sort | uniq -c | awk '{print $1 $2}' | grep later"),
            "2later"
        );

        // The other nodes reach the port, and the API server answers at its service's address.
        let url = format!("http://{address}:8888/");
        for other in cluster.nodes().iter().filter(|other| other.name() != node.name()) {
            let answer = exec(&cluster, &of("host", other), &["wget", "-q", "-O-", &url]);
            assert_eq!(answer, of("port", node));
        }
        let dial = "nc -w 30 10.96.0.1 443 < /dev/null";
        exec(&cluster, &of("port", node), &["sh", "-c", dial]);
    }
}

/// On each node a pod that is the host, as far as it goes, and one with a port of the host.
fn host() -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: shop }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ name: host, namespace: shop }}
spec:
  selector: {{ matchLabels: {{ app: host }} }}
  template:
    metadata: {{ labels: {{ app: host }} }}
    spec:
      hostNetwork: true
      hostPID: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: host
        image: {IMAGE}
        imagePullPolicy: Never
        command: [sleep, '3600']
        volumeMounts:
        - {{ name: bpf, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer }}
        - {{ name: run, mountPath: /run/millstream }}
      volumes:
      - {{ name: bpf, hostPath: {{ path: /sys/fs/bpf, type: Directory }} }}
      - {{ name: run, hostPath: {{ path: /run/millstream, type: DirectoryOrCreate }} }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ name: port, namespace: shop }}
spec:
  selector: {{ matchLabels: {{ app: port }} }}
  template:
    metadata: {{ labels: {{ app: port }} }}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: port
        image: {IMAGE}
        imagePullPolicy: Never
        command: [sh, -c, 'mkdir -p /www && echo $NAME > /www/index.html && exec httpd -f -p 8080 -h /www']
        env: [{{ name: NAME, valueFrom: {{ fieldRef: {{ fieldPath: metadata.name }} }} }}]
        ports: [{{ containerPort: 8080, hostPort: 8888 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: 8080 }}, periodSeconds: 1 }}
"
    )
}

/// Applies [`shop`] and waits until its pods are ready.
fn open_shop(cluster: &Cluster) -> Vec<Value> {
    cluster.apply(&shop()).unwrap();
    cluster.wait(&["--for=condition=Available", "deployment/web", "--namespace=shop"]).unwrap();
    let pods = cluster.kubectl(&["get", "pods", "--namespace=shop", "--output=json"]).unwrap();
    pods.json().unwrap()["items"].as_array().unwrap().clone()
}

fn exec(cluster: &Cluster, pod: &str, command: &[&str]) -> String {
    try_exec(cluster, pod, command).unwrap()
}

fn try_exec(cluster: &Cluster, pod: &str, command: &[&str]) -> anyhow::Result<String> {
    let args: Vec<_> = ["exec", "--namespace=shop", pod, "--"].iter().chain(command).copied().collect();
    Ok(cluster.kubectl(&args)?.stdout()?.to_owned())
}
