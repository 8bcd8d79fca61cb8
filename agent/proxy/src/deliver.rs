//! To an application of this node: over `lo` of its own namespace, in the name of the client.

use std::{sync::Arc, time::Duration};

use model::EndpointAddr;
use nix::errno::Errno;
use tokio::time::{Instant, timeout};

use crate::{
    connection::{Addressed, Connection, Held, Reached},
    connections::Stage,
    end::End,
    failure::Failure,
    keepalive::Application,
    pods::{Claim, OpenPod, Presence},
    socket,
    stream::Stream,
    tuples::Wanted,
};

/// `lo` answers in microseconds. Silence means that the kernel took our segment for one of another connection
/// with the same addresses: another port is tried.
const PATIENCE: Duration = Duration::from_millis(50);
/// An application that is too busy to accept is silent too, so the last try waits to the end.
const IMPATIENT_TRIES: usize = 3;
/// How many ports the kernel may refuse, which sees more than we do: those that the application uses itself.
const PORT_TRIES: usize = 128;

pub(crate) async fn deliver(
    addressed: &Addressed,
    to: &Arc<OpenPod>,
    presence: Option<Presence>,
    endpoint: EndpointAddr,
    wanted: Wanted,
) -> Result<Reached, Failure> {
    let connection = &addressed.connection;
    connection.live.reached(Stage::Deliver);
    let (server, claim) = connect(connection, to, endpoint, wanted).await?;

    let served =
        Application { pod: Arc::clone(to), local: endpoint.0, remote: claim.tuple.client, far: End::Client };
    let mut applications = vec![served];
    applications.extend(addressed.dialler());
    let held = Held { claim: Some(claim), presence, load: None };
    Ok(Reached { server, applications, held })
}

async fn connect(
    connection: &Connection,
    to: &Arc<OpenPod>,
    endpoint: EndpointAddr,
    mut wanted: Wanted,
) -> Result<(Stream, Claim), Failure> {
    let limit = connection.shared.config.connect_timeout;
    let begun = Instant::now();
    for tries in 0.. {
        let left = limit.saturating_sub(begun.elapsed());
        let patience = if tries < IMPATIENT_TRIES { PATIENCE.min(left) } else { left };
        let (stream, claim) = open(connection, to, endpoint, wanted)?;
        match timeout(patience, stream.connected()).await {
            Ok(Ok(())) => return Ok((stream, claim)),
            Ok(Err(source)) => return Err(Failure::Connect { endpoint, source }),
            Err(_) if begun.elapsed() < limit => wanted = Wanted::FromRange,
            Err(_) => break,
        }
    }
    Err(Failure::DeliveryTimeout { endpoint, after: limit })
}

/// A socket that is connecting from a port which neither we nor the kernel have in use.
fn open(
    connection: &Connection,
    to: &Arc<OpenPod>,
    endpoint: EndpointAddr,
    mut wanted: Wanted,
) -> Result<(Stream, Claim), Failure> {
    let Connection { shared, live, .. } = connection;
    let client = live.client.ip();
    for _ in 0..PORT_TRIES {
        let Some(claim) = to.claim_delivery(client, endpoint.0, wanted, &shared.config.delivery_ports) else {
            break;
        };
        wanted = Wanted::FromRange;
        let calls_itself = client == endpoint.ip() || to.addresses.contains(&client);
        let socket = if calls_itself { socket::delivery_to_itself } else { socket::delivery };
        let opened = to
            .netns
            .run(|| socket(shared.config.marks, claim.tuple.client))
            .map_err(|source| Failure::Netns { pod: to.name.clone(), source })?;
        match opened.and_then(|socket| socket::connect(&socket, endpoint.0).map(|()| socket)) {
            Ok(socket) => {
                let failed = |source| Failure::Socket { op: "watch a socket", source };
                return Ok((Stream::connecting(socket).map_err(failed)?, claim));
            }
            Err(error) if is_taken(&error) => {}
            Err(source) => return Err(Failure::Connect { endpoint, source }),
        }
    }
    Err(Failure::NoSourcePort { client, endpoint })
}

fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EADDRINUSE | Errno::EADDRNOTAVAIL))
}
