use super::*;

#[test]
fn errors_of_the_kernel_have_reasons() {
    let endpoint = EndpointAddr("192.0.2.1:80".parse().unwrap());
    for (errno, connecting, client, server) in [
        (Errno::ECONNREFUSED, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::ECONNRESET, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::EPIPE, Reason::ConnectRefused, Reason::ClientReset, Reason::ServerReset),
        (Errno::ETIMEDOUT, Reason::ConnectTimeout, Reason::Unreachable, Reason::Unreachable),
        (Errno::EHOSTUNREACH, Reason::Unreachable, Reason::Unreachable, Reason::Unreachable),
        (Errno::EMFILE, Reason::Io, Reason::Io, Reason::Io),
    ] {
        let source = || io::Error::from(errno);
        assert_eq!(Failure::Connect { endpoint, source: source() }.reason(), connecting, "{errno}");
        assert_eq!(Failure::Broken { end: End::Client, source: source() }.reason(), client, "{errno}");
        assert_eq!(Failure::Broken { end: End::Server, source: source() }.reason(), server, "{errno}");
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
