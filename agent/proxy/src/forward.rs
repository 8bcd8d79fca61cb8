//! To an endpoint elsewhere: out of the client's own namespace, as the application's connection would have
//! gone.

use std::net::SocketAddr;

use model::EndpointAddr;
use tokio::time::timeout;

use crate::{
    connection::{Addressed, Connected, Held},
    connections::Stage,
    failure::Failure,
    socket,
    stream::Stream,
};

pub(crate) async fn forward(addressed: Addressed, endpoint: EndpointAddr) -> Result<Connected, Failure> {
    addressed.connection.live.reached(Stage::Forward);
    let server = addressed.while_client_waits(connect(&addressed, endpoint)).await?;
    let applications = addressed.dialler().into_iter().collect();
    Ok(Connected { server, addressed, applications, held: Held::default() })
}

async fn connect(addressed: &Addressed, endpoint: EndpointAddr) -> Result<Stream, Failure> {
    let config = &addressed.connection.shared.config;
    let pod = &addressed.connection.pod;
    let failed = |source| Failure::Connect { endpoint, source };

    let socket = pod
        .netns
        .run(|| socket::forward(config.marks, addressed.mark, endpoint.0, source(addressed, endpoint)))
        .map_err(|source| Failure::Netns { pod: pod.name.clone(), source })?
        .map_err(failed)?;
    socket::connect(&socket, endpoint.0).map_err(failed)?;
    let stream = Stream::connecting(socket).map_err(failed)?;
    match timeout(config.connect_timeout, stream.connected()).await {
        Ok(result) => result.map(|()| stream).map_err(failed),
        Err(_) => Err(Failure::ConnectTimeout { endpoint, after: config.connect_timeout }),
    }
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
