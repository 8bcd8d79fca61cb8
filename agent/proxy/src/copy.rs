//! The last stage of a connection: bytes, until both ends have finished or one breaks off.

mod both_ways;

use std::{fmt, future::pending, time::Duration};

use both_ways::both_ways;
use socket2::SockRef;

use crate::{
    connections::Stage,
    failure::Failure,
    keepalive::{self, Application},
    load::Load,
    meter::Meter,
    original_dst::Addressed,
    pods::{Claim, Presence},
    stream::Stream,
};

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
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) presence: Option<Presence>,
    pub(crate) load: Option<Load>,
}

/// Which of the two sockets of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

pub(crate) async fn copy(connected: Connected) -> Result<(), Failure> {
    // What was bound last is dropped first: the sockets.
    let Connected { held: _held, applications, addressed, server } = connected;
    let Addressed { claim: _claim, connection, client, .. } = addressed;
    connection.live.reached(Stage::Copy);
    let (config, meter) = (&connection.shared.config, &connection.live.meter);

    let facing = |end| match end {
        End::Client => SockRef::from(client.socket()),
        End::Server => SockRef::from(server.socket()),
    };
    tokio::select! {
        biased;
        result = both_ways(client.socket(), server.socket(), &connection.shared.pool, meter) => result?,
        failure = idle(config.idle_timeout, meter) => return Err(failure),
        never = keepalive::copy_intent(config.keepalive_probe_after, meter, applications, facing) => match never {},
    }
    client.close();
    server.close();
    Ok(())
}

/// When no byte has moved for `limit`, if there is one.
async fn idle(limit: Option<Duration>, meter: &Meter) -> Failure {
    match limit {
        Some(after) => {
            meter.idle_for(after).await;
            Failure::Idle { after }
        }
        None => pending().await,
    }
}

// === impl End ===

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}
