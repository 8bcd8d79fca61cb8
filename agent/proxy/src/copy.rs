//! The last stage of a connection: bytes, until both ends have finished or one breaks off.

mod both_ways;

use std::{future::pending, time::Duration};

pub(crate) use both_ways::both_ways;
use socket2::SockRef;

use crate::{
    buffer::PodPool,
    connection::{Addressed, Connected},
    connections::Stage,
    end::End,
    failure::Failure,
    keepalive,
    meter::Meter,
};

pub(crate) async fn copy(connected: Connected) -> Result<(), Failure> {
    // What was bound last is dropped first: the sockets.
    let Connected { held: _held, applications, addressed, server } = connected;
    let Addressed { claim: _claim, connection, client, .. } = addressed;
    connection.live.reached(Stage::Copy);
    let (config, meter) = (&connection.shared.config, &connection.live.meter);
    let pool = PodPool { pool: &connection.shared.pool, account: &connection.pod.buffers };

    let facing = |end| match end {
        End::Client => SockRef::from(client.socket()),
        End::Server => SockRef::from(server.socket()),
    };
    tokio::select! {
        biased;
        result = both_ways(client.socket(), server.socket(), pool, &connection.pod.turns, meter) => result?,
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
