//! A connection that someone dialled the pod with, on one screen.

use std::sync::Arc;

use model::EndpointAddr;

use crate::{
    connection::Accepted, copy::copy, deliver::deliver, failure::Failure, original_dst::original_dst,
    tuples::Wanted,
};

pub(crate) async fn serve(accepted: Accepted) -> Result<(), Failure> {
    let addressed = original_dst(accepted)?;
    let (live, pod) = (&addressed.connection.live, Arc::clone(&addressed.connection.pod));
    let endpoint = EndpointAddr(addressed.original_dst.0);
    let snapshot = addressed.connection.shared.snapshot();
    live.learn(|facts| {
        facts.client_workload = snapshot.pod_by_ip(live.client.ip()).map(|pod| pod.name.clone());
        facts.upstream = Some(endpoint);
        facts.upstream_workload = Some(pod.name.clone());
    });
    // Never the client's own port: the accepted socket has it in this same namespace.
    let delivering = deliver(&addressed, &pod, None, endpoint, Wanted::FromRange);
    let reached = addressed.while_client_waits(delivering).await?;
    copy(reached.of(addressed)).await
}
