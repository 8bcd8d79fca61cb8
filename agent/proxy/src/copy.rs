//! The last stage of a connection: bytes, until both ends have finished or one breaks off.

mod both_ways;

use std::{future::pending, io, time::Duration};

pub(crate) use both_ways::{Copied, Ended, both_ways};
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
    let Connected { held: _held, mut applications, addressed, mut server } = connected;
    let Addressed { claim: _claim, connection, mut client, .. } = addressed;
    connection.live.reached(Stage::Copy);
    let (config, meter) = (&connection.shared.config, &connection.live.meter);
    let pool = PodPool { pool: &connection.shared.pool, account: &connection.pod.buffers };
    let (turns, place) = (&connection.pod.turns, &connection.place);

    let mut ended = Ended::default();
    loop {
        let facing = |end| match end {
            End::Client => SockRef::from(client.socket()),
            End::Server => SockRef::from(server.socket()),
        };
        let may_leave = || place.is_stale();
        let copied = tokio::select! {
            biased;
            result = both_ways(client.socket(), server.socket(), pool, turns, meter, &mut ended, may_leave) => result?,
            failure = idle(config.idle_timeout, meter) => return Err(failure),
            never = keepalive::copy_intent(config.keepalive_probe_after, meter, &mut applications, facing) => match never {},
        };
        match copied {
            Copied::Whole => break,
            Copied::Left => {
                place.change().await;
                client = client.moved().map_err(failed)?;
                server = server.moved().map_err(failed)?;
            }
        }
    }
    client.close();
    server.close();
    Ok(())
}

fn failed(source: io::Error) -> Failure {
    Failure::Socket { op: "hand a socket to other threads", source }
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
