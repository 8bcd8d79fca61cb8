//! What the clusters themselves promise to the tests.

use std::{panic, thread};

use cluster::{Cluster, IMAGE};

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
    assert_eq!(Cluster::leftovers(&id.recv().unwrap()), Vec::<String>::new());
}
