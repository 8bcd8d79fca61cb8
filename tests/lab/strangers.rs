//! eBPF programs of others, attached where ours are, before and after them: both do their work.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

use harness::{
    AgentOptions, Pod,
    bpf::{Attached, Place},
    cgroup_root,
};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    neighbours::problems,
    steering::wait_for,
};

/// In no pod: where only a program that rewrites it leads anywhere.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

#[test]
fn an_sk_lookup_program_of_somebody_else_keeps_its_port() {
    // One socket that serves more ports than it is bound to.
    const BOUND: u16 = 7;
    const SERVED: u16 = 81;
    let mut mesh = Mesh::unlabelled("lookup");
    let client = mesh.stranger("client");
    let pods = ["before", "after"].map(|name| mesh.node.pod(NAMESPACE, name).start().unwrap());
    let listeners = pods.each_ref().map(|pod| Echo::start(pod, BOUND));
    let attach = |i: usize| Attached::sk_lookup(pods[i].netns(), SERVED, &listeners[i].0).unwrap();
    let before = attach(0);
    mesh.label(Some("ambient"));
    pods.iter().for_each(|pod| mesh.agent.wait_captured(pod).unwrap());
    let after = attach(1);

    let said = problems(&mesh);
    assert!(said.contains("shop/after: sk_lookup program stranger"), "{said}");
    assert!(!said.contains("shop/before"), "{said}");
    let served = |mesh: &Mesh, proxied: bool, case: &str| {
        for (pod, program) in pods.iter().zip([&before, &after]) {
            for ip in pod.ips() {
                for port in [BOUND, SERVED] {
                    let runs = program.runs().unwrap();
                    let (mut connection, local) = dial(&client, (ip, port), &[]);
                    connection.ping(case).unwrap();
                    assert_eq!(mesh.is_proxied(local), proxied, "{case}: {} {ip} {port}", pod.name());
                    assert!(program.runs().unwrap() > runs, "{case}: {} {ip} {port}", pod.name());
                }
            }
        }
    };
    served(&mesh, true, "captured");
    mesh.agent.restart().unwrap();
    served(&mesh, true, "after a restart of the agent");
    mesh.label(None);
    pods.iter().for_each(|pod| mesh.agent.wait_released(pod).unwrap());
    served(&mesh, false, "released");
}

#[test]
fn a_tcx_program_of_somebody_else_sees_what_leaves() {
    const DROPPED: u16 = 9;
    let mut mesh = Mesh::with("tcx", AgentOptions::default());
    let stranger = mesh.stranger("stranger");
    let _listening = [echo(&stranger, 7), echo(&stranger, DROPPED)];
    let to = |port| SocketAddr::from((stranger.v4(), port));
    let places = [Place::First, Place::Last];
    let pods = ["early", "late"].map(|name| mesh.node.pod(NAMESPACE, name).start().unwrap());
    let attach =
        |pod: &Pod| places.map(|place| Attached::tcx_egress(pod.netns(), "eth0", DROPPED, place).unwrap());
    let early = attach(&pods[0]);
    mesh.label(Some("ambient"));
    pods.iter().for_each(|pod| mesh.agent.wait_captured(pod).unwrap());
    let late = attach(&pods[1]);

    let said = problems(&mesh);
    assert!(said.contains("shop/late: tcx program stranger"), "{said}");
    assert!(said.contains("runs before our guard on eth0"), "{said}");
    assert!(!said.contains("shop/early"), "{said}");
    let sees = |mesh: &Mesh, proxied: bool, case: &str| {
        for (pod, programs) in pods.iter().zip([&early, &late]) {
            let runs = programs.each_ref().map(|program| program.runs().unwrap());
            for args in [&[][..], &["--device", "eth0"]] {
                let (mut connection, local) = dial(pod, to(7), args);
                connection.ping(case).unwrap();
                assert_eq!(mesh.is_proxied(local), proxied, "{case}: {} {args:?}", pod.name());
            }
            for (program, runs) in programs.iter().zip(runs) {
                assert!(program.runs().unwrap() > runs, "{case}: a program of {} is not asked", pod.name());
            }
        }
    };
    sees(&mesh, true, "captured");
    mesh.agent.restart().unwrap();
    sees(&mesh, true, "after a restart of the agent");
    for pod in &pods {
        // Theirs drops what the proxy sends on, too: it is as if it were the application's.
        let mut client = pod.dial(to(DROPPED), &["--mode", "upload", "--bytes", "1"]).unwrap();
        client.connected().unwrap();
        wait_for(|| retransmitted(pod) > 0);
    }
    mesh.label(None);
    pods.iter().for_each(|pod| mesh.agent.wait_released(pod).unwrap());
    sees(&mesh, false, "released");
}

#[test]
fn what_a_load_balancer_in_the_socket_layer_rewrites_is_captured() {
    let mut mesh = Mesh::unlabelled("socketlb");
    let backend = mesh.stranger("backend");
    let mut listening = echo(&backend, 7);
    let pod = mesh.node.pod(NAMESPACE, "pod").label(LABEL, "ambient").start().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let root = cgroup_root().unwrap();
    let on_root = || Attached::connect4(&root, VIRTUAL, backend.v4()).unwrap();
    let mut reaches = |mesh: &Mesh, program: &Attached, case: &str| {
        let runs = program.runs().unwrap();
        let (mut connection, local) = dial(&pod, (VIRTUAL, 7), &[]);
        connection.ping(case).unwrap();
        assert!(program.runs().unwrap() > runs, "{case}");
        assert!(mesh.is_proxied(local), "{case}");
        let rows = mesh.ask(&["connections"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["client"] == local.to_string()).unwrap();
        assert_eq!(row["original_dst"], SocketAddr::from((backend.v4(), 7)).to_string(), "{case}");
        assert_eq!(listening.accepted().unwrap().ip(), IpAddr::V4(pod.v4()), "{case}");
    };
    let after = on_root();
    reaches(&mesh, &after, "on the root, after ours");
    drop(after);
    let child = Attached::connect4(pod.cgroup(), VIRTUAL, backend.v4()).unwrap();
    reaches(&mesh, &child, "on the pod's own cgroup, before ours");
    mesh.agent.restart().unwrap();
    reaches(&mesh, &child, "after a restart of the agent");
    drop(child);
    mesh.agent.terminate().unwrap();
    mesh.agent.cli(&["cleanup"]).unwrap().stdout().unwrap();
    let before = on_root();
    mesh.agent.launch().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    reaches(&mesh, &before, "on the root, before ours");
}

/// An echo server whose socket this process has, and can put into a map.
struct Echo(TcpListener);

impl Echo {
    fn start(pod: &Pod, port: u16) -> Self {
        let listener = pod.exec(|| TcpListener::bind(("::", port))).unwrap().unwrap();
        let accepting = listener.try_clone().unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                thread::spawn(move || echo_back(stream));
            }
        });
        Self(listener)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Ends the wait of its thread, which would hold the namespace.
        let _ended = nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

fn echo_back(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// How many segments the pod has sent again.
fn retransmitted(pod: &Pod) -> u64 {
    let said = pod.run(&["nstat", "-az", "TcpRetransSegs"]).unwrap();
    let line = said.stdout().unwrap().lines().last().unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
