//! What each stage hands to the next: `Accepted → Addressed → Routed → Connected`, each richer than the one
//! before, so that nothing is copied before it was routed. (`Routed` is known to `resolve` and the outbound pipeline
//! alone.)

use std::sync::Arc;

use model::{ClientAddr, OriginalDst};

use crate::{
    connections::{Direction, Live},
    end::End,
    failure::Failure,
    keepalive::Application,
    lanes::Place,
    load::Load,
    pods::{Claim, OpenPod, Presence},
    shared::Shared,
    stream::Stream,
};

/// What every stage of one connection needs.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    /// The pod in whose namespace it was accepted.
    pub(crate) pod: Arc<OpenPod>,
    pub(crate) live: Arc<Live>,
    pub(crate) place: Arc<Place>,
}

/// A connection of which only the client is known.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) client: Stream,
    pub(crate) connection: Connection,
}

/// A connection whose two addresses are known, and that is not one of ours.
#[derive(Debug)]
pub(crate) struct Addressed {
    pub(crate) client: Stream,
    pub(crate) connection: Connection,
    pub(crate) original_dst: OriginalDst,
    /// The mark of the client's socket.
    pub(crate) mark: u32,
    /// The addresses, while a delivery in this pod must not use the same.
    pub(crate) claim: Option<Claim>,
}

/// The server's end of a connection, for one whose client waits.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) server: Stream,
    pub(crate) applications: Vec<Application>,
    pub(crate) held: Held,
}

/// A connection whose two sockets are connected. The sockets are dropped first, then what was held for them.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) server: Stream,
    pub(crate) addressed: Addressed,
    /// The applications at either end that are on this node.
    pub(crate) applications: Vec<Application>,
    pub(crate) held: Held,
}

/// What a connection keeps others from while it lasts.
#[derive(Debug, Default)]
pub(crate) struct Held {
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) claim: Option<Claim>,
    pub(crate) presence: Option<Presence>,
    pub(crate) load: Option<Load>,
}

// === impl Reached ===

impl Reached {
    pub(crate) fn of(self, addressed: Addressed) -> Connected {
        let Self { server, applications, held } = self;
        Connected { server, addressed, applications, held }
    }
}

// === impl Addressed ===

impl Addressed {
    pub(crate) fn client_addr(&self) -> ClientAddr {
        self.connection.live.client
    }

    /// Runs a connect, and gives it up as soon as the client has gone.
    pub(crate) async fn while_client_waits<T>(
        &self,
        connecting: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            result = connecting => result,
            source = self.client.broken() => Err(Failure::Broken { end: End::Client, source }),
        }
    }

    /// The application that dialled, if it is in this pod.
    pub(crate) fn dialler(&self) -> Option<Application> {
        let live = &self.connection.live;
        (live.direction == Direction::Outbound).then(|| Application {
            pod: Arc::clone(&self.connection.pod),
            local: live.client.0,
            remote: self.original_dst.0,
            far: End::Server,
        })
    }
}
