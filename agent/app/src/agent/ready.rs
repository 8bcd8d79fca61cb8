//! Ready: every pod that is wanted captured is, or was tried, and the next one that starts will be.

use std::time::Duration;

use cni::install::State;
use control::kubernetes::{Client, remove_startup_taint};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tracing::{info, warn};

use crate::chain::ChainState;

/// Between tries to take the taint away.
const BACKOFF: Duration = Duration::from_secs(2);

/// Once, and then for good: what fails later is told as it is.
pub(super) fn when(
    mut enrolled: watch::Receiver<bool>,
    chain: Option<watch::Receiver<ChainState>>,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<bool> {
    let Some(mut chain) = chain else { return enrolled };
    let (ready, is_ready) = watch::channel(false);
    tasks.spawn(async move {
        // They fail only when the agent ends.
        let is_enrolled = enrolled.wait_for(|is_enrolled| *is_enrolled).await.is_ok();
        if is_enrolled && chain.wait_for(will_capture).await.is_ok() {
            ready.send_replace(true);
        }
        // Whoever waits must not take the end of this task for that of the agent.
        ready.closed().await;
    });
    is_ready
}

/// A node without any chain starts no pods, so none gets by.
fn will_capture(chain: &ChainState) -> bool {
    matches!(chain.state, Some(State::Installed { .. } | State::Waiting { .. }))
}

/// Takes the startup taint from the node once the agent is ready.
pub(super) async fn untaint(client: Client, node: String, mut ready: watch::Receiver<bool>) {
    if ready.wait_for(|ready| *ready).await.is_err() {
        return;
    }
    loop {
        match remove_startup_taint(&client, &node).await {
            Ok(true) => return info!(node, "The taint millstream.dev/agent-not-ready is removed"),
            Ok(false) => return,
            Err(error) => {
                warn!(node, error, "The taint millstream.dev/agent-not-ready cannot be removed; trying on");
            }
        }
        sleep(BACKOFF).await;
    }
}
