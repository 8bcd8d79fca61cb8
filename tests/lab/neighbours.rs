//! What others have in a pod: named where it collides with capture, left alone, and kept from undoing it.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use harness::Pod;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, assert_same, dial, echo, fingerprint},
    steering::wait_for,
};

#[test]
fn what_makes_capture_impossible_is_refused_and_named() {
    let mesh = Mesh::labelled("fatal");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let cases = [
        (
            "first",
            "rule add pref 1 lookup 77",
            "rule del pref 1 lookup 77",
            "IPv4 rule 1: from all lookup 77 comes first",
        ),
        (
            "captured-bit",
            "rule add pref 300 fwmark 0x10000000/0x10000000 lookup 77",
            "rule del pref 300",
            "steering.marks",
        ),
        (
            "agent-bit",
            "-6 rule add pref 300 fwmark 0x20000000/0xf0000000 lookup 77",
            "-6 rule del pref 300",
            "IPv6 rule 300",
        ),
        ("lookup", "rule add pref 300 lookup 15001", "rule del pref 300", "leads into our table"),
        (
            "table",
            "route add 192.0.2.0/24 dev eth0 table 15001",
            "route flush table 15001",
            "table 15001 has IPv4 routes that are not ours",
        ),
        (
            "table-v6",
            "-6 route add 2001:db8::/32 dev eth0 table 15001",
            "-6 route flush table 15001",
            "table 15001 has IPv6 routes that are not ours",
        ),
    ];
    let pods = cases.map(|(name, made, undone, named)| {
        let pod = mesh.node.pod(NAMESPACE, name).start_unannounced().unwrap();
        ip(&pod, made);
        let before = fingerprint(&pod);
        pod.announce().unwrap();
        (pod, before, undone, named)
    });
    for (pod, before, undone, named) in &pods {
        let name = pod.full_name();
        wait_for(|| problems(&mesh).contains(&format!("{name} is not captured")));
        let said = problems(&mesh);
        assert!(said.contains(named), "{name}: {said}");
        assert_same(&fingerprint(pod), before);
        let (mut connection, local) = dial(pod, (stranger.v4(), 7), &[]);
        connection.ping("as if there were no agent").unwrap();
        assert!(!mesh.is_proxied(local), "{name}");
        ip(pod, undone);
    }
    // Any news from the source is a reason to try again, before the time has come.
    mesh.stranger("news");
    for (pod, ..) in &pods {
        mesh.agent.wait_captured(pod).unwrap();
        let (mut connection, local) = dial(pod, (stranger.v4(), 7), &[]);
        connection.ping("captured").unwrap();
        assert!(mesh.is_proxied(local), "{}", pod.full_name());
    }
}

#[test]
fn an_application_that_uses_our_bit_of_the_mark_is_refused() {
    let mesh = Mesh::labelled("bit");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let pod = mesh.node.pod(NAMESPACE, "pod").start_unannounced().unwrap();
    let mark = 0x1000_0539.to_string();
    let (mut connection, _) = dial(&pod, (stranger.v4(), 7), &["--mark", &mark]);
    pod.announce().unwrap();
    wait_for(|| problems(&mesh).contains("has mark 0x10000539, of which 0x10000000 is ours"));
    connection.ping("goes on").unwrap();
    connection.finish().unwrap().stdout().unwrap();
    mesh.stranger("news");
    mesh.agent.wait_captured(&pod).unwrap();
}

#[test]
fn our_rule_is_put_where_it_belongs() {
    let mesh = Mesh::labelled("place");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let pod = mesh.node.pod(NAMESPACE, "pod").start_unannounced().unwrap();
    // There before capture: nothing goes that way.
    ip(&pod, "rule add pref 50 prohibit uidrange 0-0");
    ip(&pod, "-6 rule add pref 50 prohibit uidrange 0-0");
    let before = fingerprint(&pod);
    pod.announce().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let proxied = |case: &str| {
        for ip in [IpAddr::V4(stranger.v4()), IpAddr::V6(stranger.v6())] {
            let (mut connection, local) = dial(&pod, (ip, 7), &["--bind-port", "0"]);
            connection.ping(case).unwrap();
            assert!(mesh.is_proxied(local), "{case}: {ip} gets round the proxy");
        }
    };
    assert_eq!(place(&pod, "-4"), [49]);
    assert_eq!(place(&pod, "-6"), [49]);
    ip(&pod, "rule del pref 50");
    ip(&pod, "-6 rule del pref 50");
    wait_for(|| place(&pod, "-4") == [100] && place(&pod, "-6") == [100]);
    proxied("nobody before it any more");
    for deleted in ["rule del pref 100", "-6 rule del pref 100"] {
        ip(&pod, deleted);
        wait_for(|| place(&pod, "-4") == [100] && place(&pod, "-6") == [100]);
    }
    proxied("deleted");
    // Without a preference a rule gets the place before the first.
    ip(&pod, "rule add lookup 77");
    ip(&pod, "-6 rule add lookup 77");
    ip(&pod, "route add prohibit default table 77");
    ip(&pod, "-6 route add prohibit default table 77");
    wait_for(|| is_first(&pod, "-4") && is_first(&pod, "-6"));
    ip(&pod, "route flush table 77");
    ip(&pod, "-6 route flush table 77");
    proxied("somebody else's added");
    let turn = mesh.ask(&["why", "shop/pod", "198.51.100.1:80"]).to_string();
    assert!(turn.contains(&format!("rule {}: fwmark", place(&pod, "-4")[0])), "{turn}");
    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    ip(&pod, "rule del lookup 77");
    ip(&pod, "-6 rule del lookup 77");
    ip(&pod, "rule add pref 50 prohibit uidrange 0-0");
    ip(&pod, "-6 rule add pref 50 prohibit uidrange 0-0");
    assert_same(&fingerprint(&pod), &before);
}

#[test]
fn a_collision_that_comes_later_is_told() {
    let mesh = Mesh::labelled("told");
    let pod = mesh.pod("pod");
    assert_eq!(mesh.agent.cli(&["status"]).unwrap().code(), Some(0));
    let sentence = "IPv4 rule 300: from all fwmark 0x539 lookup 77 compares the whole mark";
    ip(&pod, "rule add pref 300 fwmark 0x539 lookup 77");
    assert!(problems(&mesh).contains(sentence), "{}", problems(&mesh));
    let row = &mesh.ask(&["pods"])[0];
    assert_eq!(row["state"], "captured");
    assert_eq!(row["collisions"].as_array().unwrap().len(), 1, "{row}");
    let pods = mesh.agent.cli(&["pods"]).unwrap();
    assert!(pods.any_stdout().contains("collision)"), "{}", pods.any_stdout());
    let told = || mesh.agent.log().unwrap().matches(sentence).count();
    wait_for(|| told() == 1);
    // Another change, another look.
    ip(&pod, "rule add pref 400 lookup 78");
    pod.add_address("192.0.2.77".parse().unwrap()).unwrap();
    wait_for(|| mesh.agent.cli(&["maps", "pods"]).unwrap().any_stdout().contains("192.0.2.77"));
    assert_eq!(told(), 1, "told more than once");
    ip(&pod, "rule del pref 300");
    assert_eq!(problems(&mesh), "[]");
}

#[test]
fn a_listening_socket_with_a_mark_is_named() {
    let mesh = Mesh::labelled("marked");
    let pod = mesh.pod("pod");
    let listener: TcpListener = pod
        .exec(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_mark(0x539).unwrap();
            socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)).into()).unwrap();
            socket.listen(1).unwrap();
            socket.into()
        })
        .unwrap();
    assert!(problems(&mesh).contains("listens at 0.0.0.0:80 with a mark of its own (0x539)"));
    drop(listener);
    assert_eq!(problems(&mesh), "[]");
}

#[test]
fn a_sysctl_that_is_changed_back_is_set_again_and_told() {
    let mesh = Mesh::labelled("sysctl");
    let pod = mesh.pod("pod");
    let original = "0";
    for name in ["net/ipv4/tcp_fwmark_accept", "net/ipv4/conf/eth0/accept_local"] {
        pod.sysctl(name, original).unwrap();
    }
    // Nothing announces that; the next change that is announced does.
    pod.add_address("192.0.2.77".parse().unwrap()).unwrap();
    for name in ["net/ipv4/tcp_fwmark_accept", "net/ipv4/conf/eth0/accept_local"] {
        wait_for(|| pod.read_sysctl(name).unwrap() == "1");
        wait_for(|| mesh.agent.log().unwrap().contains(&format!("\"sysctl\":\"{name}\"")));
    }
    pod.label(LABEL, Some("none")).unwrap();
    mesh.agent.wait_released(&pod).unwrap();
    assert_eq!(pod.read_sysctl("net/ipv4/tcp_fwmark_accept").unwrap(), original);
}

/// `ip ARGS`, with the family in front: `-6 rule add …`.
#[track_caller]
pub(crate) fn ip(pod: &Pod, args: &str) {
    let words: Vec<&str> = std::iter::once("ip").chain(args.split(' ')).collect();
    pod.run(&words).unwrap().stdout().unwrap();
}

/// Where our rule stands.
fn place(pod: &Pod, family: &str) -> Vec<u32> {
    let rules = pod.run(&["ip", family, "rule"]).unwrap();
    let ours = rules.stdout().unwrap().lines().filter(|line| line.contains("lookup 15001"));
    ours.map(|line| line.split(':').next().unwrap().parse().unwrap()).collect()
}

/// Whether ours is the only one, and the first after the kernel's.
fn is_first(pod: &Pod, family: &str) -> bool {
    let rules = pod.run(&["ip", family, "rule"]).unwrap();
    place(pod, family).len() == 1 && rules.stdout().unwrap().lines().nth(1).unwrap().contains("lookup 15001")
}

/// What `status` complains of.
pub(crate) fn problems(mesh: &Mesh) -> String {
    let Value::Array(problems) = &mesh.ask(&["status"])["problems"] else { panic!("no problems") };
    format!("{problems:?}").replace("String(\"", "").replace("\")", "")
}
