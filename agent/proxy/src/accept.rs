//! Takes connections from a listener, each into a task of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use model::{ClientAddr, canonical};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    Direction,
    connection::{Accepted, Connection},
    failure::Failure,
    inbound, outbound,
    pods::{OpenPod, Presence},
    record::Record,
    shared::Shared,
    stream::Stream,
};

/// How long an accept loop rests after an error: doubled from the first to the last while errors go on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts until the pod is stopped.
pub(crate) async fn accept_loop(
    shared: Arc<Shared>,
    pod: Arc<OpenPod>,
    listener: TcpListener,
    direction: Direction,
) {
    let accepting = async {
        let mut pause = None;
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    pause = None;
                    accept(&shared, &pod, direction, stream, client);
                }
                // The client gave up while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors or memory, most likely, which does not pass sooner for asking.
                    if pause.is_none() {
                        tracing::warn!(pod = %pod.name, %direction, %error, "Cannot accept; will retry");
                    }
                    let next = pause.map_or(PAUSES.0, |p: Duration| (p * 2).min(PAUSES.1));
                    pause = Some(next);
                    sleep(next).await;
                }
            }
        }
    };
    let _stopped = pod.stop.run_until_cancelled(accepting).await;
}

fn accept(
    shared: &Arc<Shared>,
    pod: &Arc<OpenPod>,
    direction: Direction,
    stream: TcpStream,
    client: SocketAddr,
) {
    let presence = pod.enter();
    // Listed before its task runs, so that whoever stops the loop finds all that it accepted.
    let record = Record::begin(shared, pod, direction, ClientAddr(canonical(client)));
    tokio::spawn(serve(Arc::clone(shared), presence, record, Stream::accepted(stream)));
}

/// Runs one connection to its end. When this is dropped half-way, the sockets go first, then the record is
/// written, then the pod is left.
async fn serve(shared: Arc<Shared>, presence: Presence, record: Record, client: Stream) {
    let live = Arc::clone(&record.live);
    let connection = Connection { shared, pod: Arc::clone(presence.pod()), live: Arc::clone(&live) };
    let accepted = Accepted { client, connection };
    let outcome = tokio::select! {
        biased;
        reason = live.ended() => Err(Failure::Ended(reason)),
        outcome = run(live.direction, accepted) => outcome,
    };
    record.finish(outcome);
    drop(presence);
}

async fn run(direction: Direction, accepted: Accepted) -> Result<(), Failure> {
    match direction {
        Direction::Outbound => outbound::serve(accepted).await,
        Direction::Inbound => inbound::serve(accepted).await,
    }
}
