//! A connection that the pod dialled, on one screen.

use crate::{
    connection::{Accepted, Addressed},
    copy::copy,
    deliver::deliver,
    dns::{self, over_tcp},
    failure::Failure,
    forward::forward,
    original_dst::original_dst,
    resolve::{Path, Routed, resolve},
    tuples::Wanted,
};

pub(crate) async fn serve(accepted: Accepted) -> Result<(), Failure> {
    let addressed = original_dst(accepted)?;
    if is_dns(&addressed).await {
        return over_tcp::serve(addressed).await;
    }
    let Routed { addressed, endpoint, path, load } = resolve(addressed)?;
    let mut connected = match path {
        Path::Deliver { to, presence } => {
            let own_port = Wanted::Port(addressed.client_addr().port());
            deliver(addressed, &to, presence, endpoint, own_port).await?
        }
        Path::Forward => forward(addressed, endpoint).await?,
    };
    connected.held.load = Some(load);
    copy(connected).await
}

async fn is_dns(addressed: &Addressed) -> bool {
    let connection = &addressed.connection;
    addressed.original_dst.port() == dns::PORT
        && dns::is_captured(&connection.shared, &connection.pod)
        && over_tcp::begins(&addressed.client).await
}
