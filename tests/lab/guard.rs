//! Ways round the connect hook and the rule, and what becomes of them.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use harness::{Pod, Process};

use crate::{
    clsact::filters,
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

/// Nothing on these wires takes as long.
const SHORT: Duration = Duration::from_secs(2);

#[test]
fn a_socket_that_is_bound_to_the_interface_is_turned_into_the_proxy() {
    let mesh = Mesh::labelled("device");
    let client = mesh.pod("client");
    let (near, stranger) = (mesh.pod("near"), mesh.stranger("stranger"));
    for (case, server) in [("captured, same node", &near), ("outside the mesh", &stranger)] {
        let mut listening = echo(server, 7);
        for (ip, own) in server.ips().into_iter().zip(client.ips()) {
            let (mut connection, local) = dial(&client, (ip, 7), &["--device", "eth0"]);
            connection.ping("hello").unwrap();
            assert!(mesh.is_proxied(local), "{case}, {ip}: gets round the proxy");
            assert_eq!(listening.accepted().unwrap().ip(), own, "{case}, {ip}");
            connection.finish().unwrap().stdout().unwrap();
        }
    }
    assert_eq!(mesh.counted("guard", "turned into the proxy"), 4);
}

#[test]
fn syn_cookies_change_nothing() {
    let mesh = Mesh::unlabelled("cookies");
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = [echo(&stranger, 7), echo(&pod, 7)];
    // 2: always, not only under a flood of SYNs.
    pod.sysctl("net/ipv4/tcp_syncookies", "2").unwrap();
    let mut older: Vec<_> = stranger
        .ips()
        .into_iter()
        .map(|ip| dial(&pod, (ip, 7), &["--device", "eth0"]).0)
        .chain(pod.ips().into_iter().map(|ip| dial(&stranger, (ip, 7), &[]).0))
        .collect();
    mesh.label(Some("ambient"));
    mesh.agent.wait_captured(&pod).unwrap();
    for ip in stranger.ips() {
        for args in [&["--device", "eth0"][..], &[]] {
            let (mut connection, local) = dial(&pod, (ip, 7), args);
            connection.ping("hello").unwrap();
            assert!(mesh.is_proxied(local), "{ip} {args:?}: gets round the proxy");
        }
    }
    for ip in pod.ips() {
        let (mut connection, local) = dial(&stranger, (ip, 7), &[]);
        connection.ping("inbound").unwrap();
        assert!(mesh.is_proxied(local), "{ip}: gets round the proxy");
    }
    for connection in &mut older {
        connection.ping("older than all that").unwrap();
    }
    let sent = pod.run(&["nstat", "-az", "TcpExtSyncookiesSent"]).unwrap();
    assert!(!sent.stdout().unwrap().contains(" 0 "), "no cookie was sent: {}", sent.any_stdout());
}

#[test]
fn a_turned_stream_is_exact() {
    let mesh = Mesh::labelled("turned");
    let (client, server) = (mesh.pod("client"), mesh.stranger("server"));
    let _listening = echo(&server, 7);
    for ip in server.ips() {
        let args = ["--device", "eth0", "--mode", "echo", "--bytes", "33554432"];
        let end = client.dial((ip, 7).into(), &args).unwrap().outcome().unwrap();
        assert_eq!(end["intact"], true, "{ip}: {end}");
        assert_eq!(end["received"], 33_554_432, "{ip}: {end}");
    }
}

#[test]
fn an_interface_that_came_later_is_guarded() {
    let mesh = Mesh::labelled("later");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    let name = stranger.netns_path().file_name().unwrap().to_str().unwrap().to_owned();
    ip(&pod, &["link", "add", "net1", "type", "veth", "peer", "name", "net1", "netns", &name]);
    for (end, address) in [(&pod, "192.0.2.1/24"), (&stranger, "192.0.2.2/24")] {
        ip(end, &["address", "add", address, "dev", "net1"]);
        ip(end, &["link", "set", "net1", "up"]);
    }
    wait_for(|| guards(&mesh, &pod) == 2);
    let dialled: SocketAddr = "192.0.2.2:7".parse().unwrap();
    for args in [&[][..], &["--device", "net1"], &["--bind", "192.0.2.1"]] {
        let (mut connection, local) = dial(&pod, dialled, args);
        connection.ping("hello").unwrap();
        assert!(mesh.is_proxied(local), "{args:?}: gets round the proxy");
    }
    ip(&pod, &["link", "del", "net1"]);
    wait_for(|| guards(&mesh, &pod) == 1);
    let left = pod.read_sysctl("net/ipv4/conf/eth0/accept_local").unwrap();
    assert_eq!(left, "1");
}

#[test]
fn without_our_rule_nothing_leaves() {
    let mesh = Mesh::labelled("norule");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let listening = echo(&stranger, 7);
    // Or it would be put back.
    mesh.agent.stop().unwrap();
    ip(&pod, &["rule", "del", "pref", "100"]);
    let connected = pod.exec(|| TcpStream::connect_timeout(&(stranger.v4(), 7).into(), SHORT)).unwrap();
    assert!(connected.is_err(), "got round the mesh");
    mesh.agent.go_on().unwrap();
    assert!(mesh.counted("guard", "turned into the proxy") >= 1);
    drop(listening);
}

#[test]
fn nothing_gets_past_a_guard_whose_verdict_was_taken_away_until_the_next_agent_brings_one() {
    let mut mesh = Mesh::labelled("noverdict");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    for version in fs::read_dir(mesh.node.pin_dir()).unwrap().flatten() {
        let _other_folder = fs::remove_file(version.path().join("VERDICTS"));
    }
    // Nor does what the proxy sends for the pod.
    let echoed = pod.exec(|| {
        let mut stream = TcpStream::connect_timeout(&(stranger.v4(), 7).into(), SHORT)?;
        stream.set_read_timeout(Some(SHORT))?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])
    });
    assert!(echoed.unwrap().is_err(), "got out");
    mesh.agent.restart().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    // ARP did not get out either, and the kernel remembers that for a while.
    ip(&pod, &["neighbour", "flush", "dev", "eth0"]);
    let (mut connection, local) = dial(&pod, (stranger.v4(), 7), &["--device", "eth0"]);
    connection.ping("hello").unwrap();
    assert!(mesh.is_proxied(local), "gets round the proxy");
}

#[test]
fn a_nested_namespace_does_not_get_out() {
    let mut mesh = Mesh::labelled("nested");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    let nested = Nested::inside(&pod);
    // So that what got out would be answered.
    let pod_address = pod.v4().to_string();
    ip(&stranger, &["route", "add", "198.51.100.0/24", "via", &pod_address]);
    let to = SocketAddr::from((stranger.v4(), 7));

    assert!(!nested.echoes(to), "got round the mesh");
    assert!(mesh.counted("guard", "dropped: from an address that is not the pod's") >= 1);
    mesh.agent.kill().unwrap();
    assert!(!nested.echoes(to), "got round the mesh without an agent");
    assert!(mesh.counted("guard", "dropped: agent down, closed") >= 1);
    mesh.agent.launch().unwrap();
    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    assert!(nested.echoes(to), "the test itself cannot get out");
}

#[test]
fn a_nested_namespace_behind_masquerade_does_not_get_out_in_the_pods_name() {
    let mesh = Mesh::labelled("masquerade");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    let nested = Nested::inside(&pod);
    for command in [
        "add table ip nat",
        "add chain ip nat out { type nat hook postrouting priority srcnat ; }",
        "add rule ip nat out oifname eth0 masquerade",
    ] {
        pod.run(&["nft", command]).unwrap().stdout().unwrap();
    }
    let to = SocketAddr::from((stranger.v4(), 7));
    assert!(!nested.echoes(to), "got round the mesh");
    assert!(mesh.counted("guard", "dropped: forwarded for a nested namespace") >= 1);
    let rows = mesh.ask(&["pods"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["uid"] == pod.uid()).unwrap();
    assert_eq!(row["stopped"][0]["outcome"], "dropped: forwarded for a nested namespace", "{row}");
    let why = mesh.ask(&["why", &pod.full_name(), "192.0.2.1:80"]).to_string();
    assert!(why.contains("a container or VM inside the pod"), "{why}");
    // The pod's own are proxied all the same, also when they come by the guard.
    for args in [&[][..], &["--device", "eth0"]] {
        let (mut connection, local) = dial(&pod, to, args);
        connection.ping("hello").unwrap();
        assert!(mesh.is_proxied(local), "{args:?}");
    }
    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    assert!(nested.echoes(to), "the test itself cannot get out");
}

#[test]
fn a_pod_that_is_open_gets_out_while_the_agent_is_down() {
    let mut mesh = Mesh::labelled("opened");
    mesh.lab.annotate_namespace(NAMESPACE, "millstream.dev/when-agent-down", Some("open")).unwrap();
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    mesh.agent.kill().unwrap();
    for ip in stranger.ips() {
        dial(&pod, (ip, 7), &["--device", "eth0"]).0.ping("direct").unwrap();
    }
}

#[test]
fn a_connection_older_than_the_guard_goes_on_in_both_directions() {
    let mesh = Mesh::unlabelled("older");
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let (_out, _in) = (echo(&stranger, 7), echo(&pod, 7));
    let mut older: Vec<_> = stranger
        .ips()
        .into_iter()
        .map(|ip| dial(&pod, (ip, 7), &["--device", "eth0"]).0)
        .chain(pod.ips().into_iter().map(|ip| dial(&stranger, (ip, 7), &[]).0))
        .collect();
    pod.label(LABEL, Some("ambient")).unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    for connection in &mut older {
        connection.ping("after enrolment").unwrap();
    }
    assert_eq!(mesh.counted("guard", "turned into the proxy"), 0);
}

/// A network namespace behind a pod, as a container in a container has it: routed, not translated.
struct Nested {
    process: Process,
}

impl Nested {
    fn inside(pod: &Pod) -> Self {
        let process = pod.spawn(&["unshare", "--net", "sleep", "1000"]).unwrap();
        let pid = process.pid().to_string();
        let own = pod.netns().inode();
        let path = format!("/proc/{pid}/ns/net");
        wait_for(|| fs::read_link(&path).is_ok_and(|l| l.display().to_string() != format!("net:[{own}]")));
        ip(pod, &["link", "add", "docker0", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        ip(pod, &["address", "add", "198.51.100.1/24", "dev", "docker0"]);
        ip(pod, &["link", "set", "docker0", "up"]);
        pod.sysctl("net/ipv4/ip_forward", "1").unwrap();
        let enter = ["nsenter", "--net", "--target", &pid, "ip"];
        for args in [
            &["address", "add", "198.51.100.2/24", "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", "198.51.100.1"],
        ] {
            pod.run(&[&enter, args].concat()).unwrap().stdout().unwrap();
        }
        Self { process }
    }

    /// Whether an echo server can be reached from in there.
    fn echoes(&self, addr: SocketAddr) -> bool {
        let path = format!("/proc/{}/ns/net", self.process.pid());
        let netns = netns::Netns::open(path.as_ref()).unwrap();
        let attempt = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&addr, SHORT)?;
            stream.set_read_timeout(Some(SHORT))?;
            stream.write_all(b"hello")?;
            stream.read_exact(&mut [0; 5])
        };
        netns.run(attempt).unwrap().is_ok()
    }
}

#[track_caller]
fn ip(pod: &Pod, args: &[&str]) {
    pod.run(&[&["ip"], args].concat()).unwrap().stdout().unwrap();
}

/// How many interfaces are guarded: by a link or, before Linux 6.6, by a filter.
fn guards(mesh: &Mesh, pod: &Pod) -> usize {
    let links = fs::read_dir(mesh.node.pin_dir().join("links")).unwrap();
    let links = links.flatten().filter(|link| link.file_name().to_string_lossy().starts_with("guard-"));
    links.count() + ["eth0", "net1"].map(|interface| filters(pod, interface)).iter().sum::<usize>()
}
