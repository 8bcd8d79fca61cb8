//! A socket to the server, whichever way leads there.

use model::EndpointAddr;
use route::Refusal;
use tokio::time::timeout;

use crate::{
    connection::{Addressed, Reached},
    connections::Stage,
    deliver::deliver,
    failure::Failure,
    forward::forward,
    names::Named,
    race::race,
    resolve::{Path, path},
    tuples::Wanted,
};

pub(crate) async fn reach(addressed: &Addressed, endpoint: EndpointAddr) -> Result<Reached, Failure> {
    let (path, via) = path(addressed, endpoint);
    addressed.connection.live.learn(|facts| facts.via = Some(via));
    reach_by(addressed, endpoint, path).await
}

/// The first address of the names that accepts.
pub(crate) async fn reach_by_name(addressed: &Addressed, named: &Named) -> Result<Reached, Failure> {
    let (shared, live) = (&addressed.connection.shared, &addressed.connection.live);
    let limit = shared.config.connect_timeout;
    let load = |endpoint| shared.loads.of(endpoint);
    let candidates = shared.names.candidates(named, load, |n| fastrand::usize(..n), limit).await?;
    let [first, ..] = candidates[..] else {
        return Err(Failure::Refused { addr: addressed.original_dst, because: Refusal::NoEndpoint });
    };

    live.reached(Stage::Select);
    let workload =
        |endpoint: EndpointAddr| shared.snapshot().pod_by_ip(endpoint.ip()).map(|pod| pod.name.clone());
    live.learn(|facts| {
        facts.upstream = Some(first);
        facts.upstream_workload = workload(first);
    });
    let racing = race(candidates, |endpoint| async move {
        let (path, via) = path(addressed, endpoint);
        Ok((endpoint, via, reach_by(addressed, endpoint, path).await?))
    });
    match timeout(limit, racing).await {
        Ok(Some(Ok((winner, via, reached)))) => {
            live.learn(|facts| {
                facts.upstream = Some(winner);
                facts.upstream_workload = workload(winner);
                facts.via = Some(via);
                // Those of the others were dropped with them.
                facts.delivered_in =
                    reached.held.presence.iter().map(|presence| presence.pod().uid.clone()).collect();
            });
            Ok(reached)
        }
        Ok(Some(Err(failure))) => Err(failure),
        // There is one at least, so it has not ended for want of any.
        Ok(None) | Err(_) => Err(Failure::ConnectTimeout { endpoint: first, after: limit }),
    }
}

async fn reach_by(addressed: &Addressed, endpoint: EndpointAddr, path: Path) -> Result<Reached, Failure> {
    let load = addressed.connection.shared.loads.add(endpoint);
    let mut reached = match path {
        Path::Deliver { to, presence } => {
            let own_port = Wanted::Port(addressed.client_addr().port());
            deliver(addressed, &to, presence, endpoint, own_port).await?
        }
        Path::Forward => forward(addressed, endpoint).await?,
    };
    reached.held.load = Some(load);
    Ok(reached)
}
