//! Queries over UDP: one task a family takes them as they come, and those that go on have a task each.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use ::dns::Transport;
use socket2::Socket;

use super::{
    PORT, Query, Step,
    datagram::with_buffer,
    decide, failed, forward,
    socket::{self, Open, Received, Sockets},
};
use crate::{QueryOutcome, lanes::Place, pods::OpenPod, shared::Shared};

/// So many are taken before others have their turn.
const TURN: usize = 32;

/// Begins to take queries, until the pod is stopped.
pub(crate) fn start(shared: &Arc<Shared>, pod: &Arc<OpenPod>, sockets: Sockets) {
    let place = shared.lanes.place(&pod.usage);
    let serving = serve(Arc::clone(shared), Arc::clone(pod), sockets, Arc::clone(&place));
    place.spawn(pod.accept_loops.track_future(serving));
}

async fn serve(shared: Arc<Shared>, pod: Arc<OpenPod>, sockets: Sockets, place: Arc<Place>) {
    let serving = async {
        let mut open = Open::new(sockets)?;
        loop {
            if place.is_stale() {
                place.change().await;
                open = open.moved()?;
            }
            open.readable().await?;
            with_buffer(|buffer| take_some(&shared, &pod, &place, &open, buffer));
        }
    };
    let stopped: Option<io::Result<Infallible>> = pod.stop.run_until_cancelled(serving).await;
    if let Some(Err(error)) = stopped {
        tracing::error!(pod = %pod.name, %error, "Cannot wait for the pod's DNS queries any more; none is answered");
    }
}

fn take_some(shared: &Arc<Shared>, pod: &Arc<OpenPod>, place: &Arc<Place>, open: &Open, buffer: &mut [u8]) {
    for _ in 0..TURN {
        match open.receive(buffer) {
            Ok(Received { length, client, resolver }) => {
                let asking = Asking { shared, pod, place, replies: open.replies() };
                asking.take(&buffer[..length], client, resolver);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // It tells of one datagram, or of an earlier reply; the next may be well again.
            Err(error) => tracing::debug!(pod = %pod.name, %error, "A DNS query could not be received"),
        }
    }
}

/// What is needed to see to a query.
struct Asking<'a> {
    shared: &'a Arc<Shared>,
    pod: &'a Arc<OpenPod>,
    place: &'a Arc<Place>,
    replies: &'a Arc<Socket>,
}

// === impl Asking ===

impl Asking<'_> {
    fn take(&self, message: &[u8], client: SocketAddr, resolver: SocketAddr) {
        let Self { shared, pod, replies, .. } = self;
        // Somebody in the pod found the socket itself.
        if resolver.port() != PORT {
            return shared.queries.count(QueryOutcome::Dropped);
        }
        match decide(shared, pod, message, Transport::Udp) {
            Step::Answer(message) => {
                send(pod, replies, resolver, client, &message);
                shared.queries.count(QueryOutcome::Answered);
            }
            Step::Forward => self.forward(Query { message: message.to_vec(), client, resolver }),
            Step::Drop => shared.queries.count(QueryOutcome::Dropped),
        }
    }

    fn forward(&self, query: Query) {
        let Self { shared, pod, place, replies } = self;
        match pod.admit_query() {
            Ok(admission) => {
                let (shared, pod, replies) = (Arc::clone(shared), Arc::clone(pod), Arc::clone(replies));
                place.beside().spawn(async move {
                    forwarded(&shared, &pod, &replies, &query).await;
                    drop(admission);
                });
            }
            Err(denial) => {
                tracing::debug!(pod = %pod.name, ?denial, "Too many DNS queries under way");
                shared.queries.count(QueryOutcome::OverLimit);
                fail(pod, replies, &query);
            }
        }
    }
}

async fn forwarded(shared: &Shared, pod: &Arc<OpenPod>, replies: &Socket, query: &Query) {
    // A pod that is released waits for what is under way.
    let _presence = pod.enter();
    match forward::forward(shared, pod, query).await {
        Ok(reply) => {
            send(pod, replies, query.resolver, query.client, &reply);
            shared.queries.count(QueryOutcome::Forwarded);
        }
        Err(error) => {
            tracing::debug!(
                target: "dns",
                { src.workload = %pod.name, resolver = %query.resolver, %error },
                "query failed"
            );
            shared.queries.count(QueryOutcome::Failed);
            if error.is_refusal() {
                refuse(pod, replies, query);
            } else {
                fail(pod, replies, query);
            }
        }
    }
}

/// As the resolver's host has done: a client that waits for a reply hears it at once, and asks the next resolver.
fn refuse(pod: &OpenPod, replies: &Socket, query: &Query) {
    let &Query { resolver, client, .. } = query;
    if let Err(error) = socket::refuse(replies, resolver, client) {
        tracing::debug!(pod = %pod.name, %client, %error, "Cannot tell that a DNS query was refused");
    }
}

fn fail(pod: &OpenPod, replies: &Socket, query: &Query) {
    if let Some(reply) = failed(&query.message) {
        send(pod, replies, query.resolver, query.client, &reply);
    }
}

/// What is lost here is lost as any datagram may be: the client asks again.
fn send(pod: &OpenPod, replies: &Socket, from: SocketAddr, to: SocketAddr, message: &[u8]) {
    if let Err(error) = socket::send(replies, from, to, message) {
        tracing::debug!(pod = %pod.name, client = %to, %error, "Cannot send a DNS reply");
    }
}
