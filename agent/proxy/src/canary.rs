//! Answers the canary: proof that a connection would still be served.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    buffer::{PodPool, SMALLEST},
    lock::lock,
    shared::Shared,
};

/// Answers byte by byte until the other end is gone.
///
/// As with a connection, the runtime must hear of it, start a task for it, and get every lock that connections share:
/// where one is never given back there is no answer.
pub(crate) async fn answer(shared: Arc<Shared>, mut canary: UnixStream) -> io::Result<()> {
    loop {
        let note = canary.read_u8().await?;
        for lane in shared.lanes.handles() {
            let shared = Arc::clone(&shared);
            lane.spawn(async move { take_each_lock(&shared) }).await?;
        }
        canary.write_u8(note).await?;
    }
}

fn take_each_lock(shared: &Shared) {
    let (_snapshot, _pods) = (shared.snapshot(), shared.pods.all());
    let _connections = shared.connections.count();
    drop(lock(&shared.affinities));
    let (_admitted, account) = (shared.admitted.account(), shared.buffers.account());
    drop(PodPool { pool: &shared.pool, account: &account }.take(SMALLEST));
}
