//! To an endpoint elsewhere: out of the client's own namespace, as the application's connection would have
//! gone.

use std::{
    iter,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
};

use model::EndpointAddr;
use socket2::Socket;
use tokio::time::timeout;

use crate::{
    Reason,
    connection::{Addressed, Connection, Held, Reached},
    connections::Stage,
    failure::Failure,
    socket,
    stream::Stream,
};

/// How many ports of the range are tried before the kernel chooses.
const PORT_TRIES: usize = 8;

pub(crate) async fn forward(addressed: &Addressed, endpoint: EndpointAddr) -> Result<Reached, Failure> {
    addressed.connection.live.reached(Stage::Forward);
    let server = connect(addressed, endpoint).await?;
    let applications = addressed.dialler().into_iter().collect();
    Ok(Reached { server, applications, held: Held::default() })
}

pub(crate) async fn connect(addressed: &Addressed, endpoint: EndpointAddr) -> Result<Stream, Failure> {
    let config = &addressed.connection.shared.config;
    let failed = |source| Failure::Connect { endpoint, source };
    let stream = Stream::connecting(open(addressed, endpoint)?).map_err(failed)?;
    match timeout(config.connect_timeout, stream.connected()).await {
        Ok(result) => result.map(|()| stream).map_err(failed),
        Err(_) => Err(Failure::ConnectTimeout { endpoint, after: config.connect_timeout }),
    }
}

/// A socket that is connecting.
fn open(addressed: &Addressed, endpoint: EndpointAddr) -> Result<Socket, Failure> {
    let Connection { shared, pod, .. } = &addressed.connection;
    let open = |from| {
        let opened = pod.netns.run(|| socket::forward(shared.config.marks, addressed.mark, endpoint.0, from));
        let opened = opened.map_err(|source| Failure::Netns { pod: pod.name.clone(), source })?;
        let connecting = opened.and_then(|socket| socket::connect(&socket, endpoint.0).map(|()| socket));
        connecting.map_err(|source| Failure::Connect { endpoint, source })
    };
    let bound = source(addressed, endpoint);
    // Where the application dialled the endpoint itself, a port of its range that we take is one that it lacks.
    let is_contended = addressed.original_dst.0 == endpoint.0;
    let range = Some(&shared.config.forward_ports).filter(|range| is_contended && !range.is_empty());
    for port in range.into_iter().flat_map(some_of) {
        let any =
            if endpoint.ip().is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        match open(Some(SocketAddr::new(bound.map_or(any, |bound| bound.ip()), port))) {
            Err(failure) if failure.reason() == Reason::NoSourcePort => {}
            opened => return opened,
        }
    }
    open(bound)
}

/// Ports of a range, in no order.
fn some_of(range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let range = range.clone();
    iter::repeat_with(move || fastrand::u16(range.clone())).take(PORT_TRIES)
}

/// The address to bind, if it is one that the application had bound itself.
///
/// A client at an address that the turning route gives did not choose it: without capture the kernel would
/// have taken the address of the interface that leads to the endpoint, so the kernel chooses here too. Binding
/// the client's address always would send the primary address out of every other interface of the pod.
fn source(addressed: &Addressed, endpoint: EndpointAddr) -> Option<SocketAddr> {
    let client = addressed.client_addr().ip();
    let chosen_by_route = addressed.connection.pod.addresses.contains(&client);
    let other_family = client.is_ipv4() != endpoint.ip().is_ipv4();
    (!chosen_by_route && !other_family).then(|| SocketAddr::new(client, 0))
}
