//! A connection that the pod dialled, on one screen.

use crate::{
    connection::Accepted,
    copy::copy,
    failure::Failure,
    original_dst::original_dst,
    reach::{reach, reach_by_name},
    resolve::{Routed, resolve},
};

pub(crate) async fn serve(accepted: Accepted) -> Result<(), Failure> {
    let addressed = original_dst(accepted)?;
    let reached = match resolve(&addressed)? {
        Routed::Endpoint(endpoint) => addressed.while_client_waits(reach(&addressed, endpoint)).await?,
        Routed::Names(named) => addressed.while_client_waits(reach_by_name(&addressed, &named)).await?,
    };
    copy(reached.of(addressed)).await
}
