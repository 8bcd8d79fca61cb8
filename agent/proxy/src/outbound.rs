//! A connection that the pod dialled, on one screen.

use crate::{
    connection::Accepted,
    copy::copy,
    deliver::deliver,
    failure::Failure,
    forward::forward,
    original_dst::original_dst,
    resolve::{Path, Routed, resolve},
    tuples::Wanted,
};

pub(crate) async fn serve(accepted: Accepted) -> Result<(), Failure> {
    let addressed = original_dst(accepted)?;
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
