//! Takes connections from a listener, each into a task of its own.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{ClientAddr, OriginalDst, canonical};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    Direction, Reason,
    connection::{Accepted, Connection},
    failure::Failure,
    inbound,
    lanes::Place,
    outbound,
    pods::{Admission, OpenPod, Presence},
    record::Record,
    seldom::Seldom,
    shared::Shared,
    spare::is_out_of_descriptors,
    stream::Stream,
};

/// How long an accept loop rests after an error: doubled from the first to the last while errors go on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Begins to accept, until the pod is stopped.
pub(crate) fn start(shared: &Arc<Shared>, pod: &Arc<OpenPod>, listener: TcpListener, direction: Direction) {
    let place = shared.lanes.place(&pod.usage);
    let accepting = accept_loop(Arc::clone(shared), Arc::clone(pod), listener, direction, Arc::clone(&place));
    place.spawn(pod.accept_loops.track_future(accepting));
}

async fn accept_loop(
    shared: Arc<Shared>,
    pod: Arc<OpenPod>,
    mut listener: TcpListener,
    direction: Direction,
    place: Arc<Place>,
) {
    let accepting = async {
        let (mut pause, mut warning) = (None, Seldom::default());
        loop {
            if place.is_stale() {
                place.change().await;
                match moved(&listener) {
                    Ok(moved) => listener = moved,
                    // It works here too, only with more effort.
                    Err(error) => tracing::debug!(pod = %pod.name, %error, "Cannot move a listener"),
                }
            }
            match listener.accept().await {
                Ok((stream, client)) => {
                    pause = None;
                    accept(&shared, &pod, direction, &place, stream, client);
                }
                // The client gave up while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if is_out_of_descriptors(&error) && refuse_all(&shared, &pod, direction, &listener) {
                        pause = None;
                    } else if let Some(times) = warning.happened(Instant::now()) {
                        tracing::warn!(pod = %pod.name, %direction, times, %error, "Cannot accept; will retry");
                    }
                    // It does not pass sooner for asking. Without a descriptor the kernel cannot even say that
                    // nobody waits.
                    let next = pause.map_or(PAUSES.0, |p: Duration| (p * 2).min(PAUSES.1));
                    pause = Some(next);
                    sleep(next).await;
                }
            }
        }
    };
    let _stopped = pod.stop.run_until_cancelled(accepting).await;
}

/// The same, for use in the lane that the task has changed to.
fn moved(listener: &TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}

fn accept(
    shared: &Arc<Shared>,
    pod: &Arc<OpenPod>,
    direction: Direction,
    place: &Place,
    stream: TcpStream,
    client: SocketAddr,
) {
    let presence = pod.enter();
    // Listed before its task runs, so that whoever stops the loop finds all that it accepted.
    let record = Record::begin(shared, pod, direction, ClientAddr(canonical(client)));
    match pod.admit() {
        Ok(admission) => {
            let (place, client) = (place.beside(), Stream::accepted(stream));
            place.spawn(serve(Arc::clone(shared), Arc::clone(&place), presence, admission, record, client));
        }
        Err(because) => {
            let failure = Failure::OverLimit { pod: pod.name.clone(), because };
            refuse(pod, record, &SockRef::from(&stream), failure);
        }
    }
}

/// Resets all that wait at the listener, as long as there is the spare descriptor for it. Whether any was.
fn refuse_all(
    shared: &Arc<Shared>,
    pod: &Arc<OpenPod>,
    direction: Direction,
    listener: &TcpListener,
) -> bool {
    let mut refused = false;
    let one = || {
        shared.spare.accept(listener, |socket, client| {
            let record = Record::begin(shared, pod, direction, ClientAddr(canonical(client)));
            refuse(pod, record, &SockRef::from(&socket), Failure::OutOfDescriptors);
        })
    };
    while one().is_ok() {
        refused = true;
    }
    refused
}

/// Ends a connection that was not served. Its socket, once it is dropped, is reset.
fn refuse(pod: &OpenPod, record: Record, client: &SockRef<'_>, failure: Failure) {
    let addr = client.local_addr().ok().and_then(|addr| addr.as_socket());
    record.live.learn(|facts| facts.original_dst = addr.map(canonical).map(OriginalDst));
    conclude(pod, record, Err(failure));
}

/// Runs one connection to its end. When this is dropped half-way, the sockets go first, then the record is
/// written, then the pod is left.
async fn serve(
    shared: Arc<Shared>,
    place: Arc<Place>,
    presence: Presence,
    admission: Admission,
    record: Record,
    client: Stream,
) {
    let live = Arc::clone(&record.live);
    let pod = Arc::clone(presence.pod());
    let connection =
        Connection { shared: Arc::clone(&shared), pod: Arc::clone(&pod), live: Arc::clone(&live), place };
    let accepted = Accepted { client, connection };
    let outcome = tokio::select! {
        biased;
        reason = live.ended() => Err(Failure::Ended(reason)),
        outcome = run(live.direction, accepted) => outcome,
    };
    // Its sockets are closed.
    shared.spare.regain();
    conclude(&pod, record, outcome);
    drop((admission, presence));
}

async fn run(direction: Direction, accepted: Accepted) -> Result<(), Failure> {
    match direction {
        Direction::Outbound => outbound::serve(accepted).await,
        Direction::Inbound => inbound::serve(accepted).await,
    }
}

/// Writes the record; what was refused for want of room is also counted for the pod, and now and then logged.
fn conclude(pod: &OpenPod, record: Record, outcome: Result<(), Failure>) {
    if let Err(failure) = &outcome {
        let reason = failure.reason();
        if matches!(reason, Reason::PodLimit | Reason::NodeLimit | Reason::OutOfDescriptors) {
            let because = failure.chain();
            if let Some(connections) = pod.refusals.note(reason, because.clone()) {
                tracing::warn!(pod = %pod.name, connections, %reason, %because, "Connections are refused");
            }
        }
    }
    record.finish(outcome);
}
