//! The end of the agents of this cluster: traffic flows on, and nothing of them stays on the node.

use std::time::Duration;

use anyhow::{Result, bail};
use capture::cleanup::{Outcome, cleanup};
use cni::{install, sentence};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{Options, work::Work};
use crate::{
    config::{Cni, Config, positive},
    tenure::Tenure,
};

/// For the API server to take the last annotations away.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Work {
    /// In this order: no new pod asks for us, no new connection is captured, what is open ends, and what is left goes.
    pub(super) async fn leave(mut self, options: &Options, config: &Config, tenure: &Tenure) -> Result<()> {
        info!("The agents are being removed: this one leaves nothing behind");
        self.keeping.shutdown().await;
        if let Some(cni) = config.cni.clone() {
            remove_plugin(cni).await;
        }
        let drain = positive(config.drain.shutdown);
        self.leaving.send_replace(Some(drain));
        let _ended = self.enrolling.await;
        if let Some(telling) = self.telling.take()
            && timeout(LAST_WORDS, telling).await.is_err()
        {
            warn!("The API server does not take the annotations of pods away");
        }
        let drained = self.proxy.drain(drain).await;
        self.serving.abort();
        let agent = options.run_dir.read()?;
        let cleaned = cleanup(&agent.capture_config(&options.run_dir), &options.node).await?;
        let failed = cleaned.iter().filter(|cleaned| matches!(cleaned.outcome, Outcome::Failed(_))).count();
        drop(tenure.end());
        if failed > 0 {
            bail!("{failed} pods are not as they were; run `millstream cleanup` on this node");
        }
        options.run_dir.remove()?;
        info!(
            finished = drained.finished,
            reset = drained.reset,
            "Nothing of the agent is left on this node"
        );
        Ok(())
    }
}

async fn remove_plugin(cni: Cni) {
    let removed = spawn_blocking(move || install::remove(&cni.conf_dir, &cni.bin_dir, &cni.state_dir));
    let why = match removed.await {
        Ok(Ok(())) => return info!("CNI: the plugin is removed"),
        Ok(Err(error)) => sentence(&error),
        Err(error) => error.to_string(),
    };
    warn!(%why, "CNI: the plugin could not be removed");
}
