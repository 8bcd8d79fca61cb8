use super::*;
use crate::fair::{Share, Used};

#[test]
fn errors_of_the_kernel_have_reasons() {
    let endpoint = EndpointAddr("192.0.2.1:80".parse().unwrap());
    for (errno, connecting, client, server) in [
        (Errno::ECONNREFUSED, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::ECONNRESET, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::EPIPE, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::ETIMEDOUT, Reason::ConnectTimeout, Reason::Unreachable, Reason::Unreachable),
        (Errno::EHOSTUNREACH, Reason::Unreachable, Reason::Unreachable, Reason::Unreachable),
        (Errno::EMFILE, Reason::OutOfDescriptors, Reason::OutOfDescriptors, Reason::OutOfDescriptors),
        (Errno::EADDRNOTAVAIL, Reason::NoSourcePort, Reason::Io, Reason::Io),
        (Errno::ENOBUFS, Reason::Io, Reason::Io, Reason::Io),
    ] {
        let source = || io::Error::from(errno);
        assert_eq!(Failure::Connect { endpoint, source: source() }.reason(), connecting, "{errno}");
        assert_eq!(Failure::Broken { end: End::Client, source: source() }.reason(), client, "{errno}");
        assert_eq!(Failure::Broken { end: End::Server, source: source() }.reason(), server, "{errno}");
    }
}

#[test]
fn what_the_registry_and_dns_say_has_reasons() {
    let addr = OriginalDst("240.240.0.1:443".parse().unwrap());
    let refused = |because| Failure::Refused { addr, because };
    let host = || "api.test".into();
    for (failure, reason) in [
        (refused(Refusal::UnknownPort), Reason::UnknownPort),
        (refused(Refusal::NoEndpoint), Reason::NoEndpoint),
        (refused(Refusal::NoLocalEndpoint), Reason::NoLocalEndpoint),
        (refused(Refusal::DynamicDns), Reason::DynamicDns),
        (refused(Refusal::NotRegistered), Reason::NotRegistered),
        (Failure::NameUnknown { host: host(), servers: "".into() }, Reason::NameUnknown),
        (Failure::ResolverFailed { host: host(), because: "".into() }, Reason::ResolverFailed),
        (Failure::NoFamily { host: host() }, Reason::Unreachable),
    ] {
        assert_eq!(failure.reason(), reason, "{failure}");
    }
}

#[test]
fn want_of_room_has_reasons() {
    let share = Share { node: 10, pod: 5, reserve: 1 };
    let over = |exceeded| Failure::OverLimit {
        pod: ObjectName::new("shop", "greedy"),
        because: Denial { exceeded, share, used: Used { node: 5, pod: 5 } },
    };
    let open =
        |errno: Errno| netns::Error::Open { path: "/proc/thread-self/ns/net".into(), source: errno.into() };
    let enter = |errno| Failure::Netns { pod: ObjectName::new("shop", "greedy"), source: open(errno) };
    for (failure, reason) in [
        (over(Exceeded::Pod), Reason::PodLimit),
        (over(Exceeded::Reserve), Reason::NodeLimit),
        (over(Exceeded::Node), Reason::NodeLimit),
        (Failure::OutOfDescriptors, Reason::OutOfDescriptors),
        (enter(Errno::ENFILE), Reason::OutOfDescriptors),
        (enter(Errno::EACCES), Reason::Io),
        (Failure::Socket { op: "watch a socket", source: Errno::EMFILE.into() }, Reason::OutOfDescriptors),
    ] {
        assert_eq!(failure.reason(), reason, "{failure}");
    }
}

#[test]
fn the_chain_names_every_cause() {
    let failure = Failure::Connect {
        endpoint: EndpointAddr("192.0.2.1:80".parse().unwrap()),
        source: Errno::ECONNREFUSED.into(),
    };
    assert_eq!(failure.chain(), "cannot connect to 192.0.2.1:80: Connection refused (os error 111)");
}
