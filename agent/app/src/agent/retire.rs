//! After a newer agent has taken the node over: what arrives meanwhile is served, and what is open goes on.

use std::time::Duration;

use proxy::Proxy;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    api::{Condition, Request, Waited},
    client::{Asked, ask},
    run_dir::RunDir,
    tenure,
};

/// What the kernel has accepted for our listeners, or is about to, arrives within this time after the last slot has
/// another listener.
const LINGER: Duration = Duration::from_secs(3);

/// How often the newer agent is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// A DaemonSet makes the next pod as soon as one is told to end, and its agent is there within two seconds or three. By
/// then the pulse of this one has not run out yet.
const COMES_WITHIN: Duration = Duration::from_secs(5);

/// How long it may then take for all pods; the kubelet's patience is for open connections, too.
const TAKES_AT_MOST: Duration = Duration::from_secs(4);

/// A newer agent that is restarted by its own supervisor is back much sooner.
const ROUNDS_UNTIL_GONE: u32 = 5;

/// Never returns while there is a newer agent; then this one is needed again.
pub(super) async fn retire(run_dir: &RunDir, proxy: &Proxy) {
    tokio::select! {
        () = close_listeners(run_dir, proxy) => until_gone(run_dir).await,
        () = until_gone(run_dir) => {}
    }
    warn!("The newer agent of this node is gone: beginning anew");
}

/// An agent that is told to end without a newer one: new connections are served until one has them, or none comes.
pub(super) async fn hand_over(run_dir: &RunDir, proxy: &Proxy) {
    if timeout(COMES_WITHIN, tenure::until_held(&run_dir.lock_file(), true)).await.is_ok() {
        let _over = timeout(TAKES_AT_MOST, close_listeners(run_dir, proxy)).await;
    }
}

/// Once the newer one has every pod, and nothing has come for a while.
async fn close_listeners(run_dir: &RunDir, proxy: &Proxy) {
    while !is_ready(run_dir).await {
        sleep(ROUND).await;
    }
    proxy.until_none_begins(LINGER).await;
    proxy.stop_accepting().await;
    info!(connections = proxy.connection_count(), "The newer agent has all pods: listeners are closed");
}

async fn is_ready(run_dir: &RunDir) -> bool {
    let (run_dir, request) =
        (run_dir.clone(), Request::Wait { condition: Condition::Ready, timeout: Duration::ZERO });
    let asked = spawn_blocking(move || ask::<Waited>(&run_dir, &request)).await;
    matches!(asked, Ok(Ok(Asked::Answer(Waited { met: true, .. }))))
}

async fn until_gone(run_dir: &RunDir) {
    let mut missed = 0;
    while missed < ROUNDS_UNTIL_GONE {
        sleep(ROUND).await;
        missed = if tenure::is_held(&run_dir.lock_file()) { 0 } else { missed + 1 };
    }
}
