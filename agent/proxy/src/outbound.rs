//! A connection that the pod dialled, on one screen.

use crate::{
    connection::{Accepted, Addressed},
    copy::copy,
    dns::{self, over_tcp},
    failure::Failure,
    original_dst::original_dst,
    reach::{reach, reach_by_name},
    resolve::{Routed, resolve},
};

pub(crate) async fn serve(accepted: Accepted) -> Result<(), Failure> {
    let addressed = original_dst(accepted)?;
    if is_dns(&addressed).await {
        return over_tcp::serve(addressed).await;
    }
    let reached = match resolve(&addressed)? {
        Routed::Endpoint(endpoint) => addressed.while_client_waits(reach(&addressed, endpoint)).await?,
        Routed::Names(named) => addressed.while_client_waits(reach_by_name(&addressed, &named)).await?,
    };
    copy(reached.of(addressed)).await
}

async fn is_dns(addressed: &Addressed) -> bool {
    let connection = &addressed.connection;
    addressed.original_dst.port() == dns::PORT
        && dns::is_captured(&connection.shared, &connection.pod)
        && over_tcp::begins(&addressed.client).await
}
