//! Keeps the small file by which the CNI plugin decides while no agent answers.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use cni::standing::Standing;
use model::Snapshot;
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{debug, warn};

/// Writes it anew whenever namespaces are enrolled or released, until nobody publishes snapshots any more.
pub(crate) async fn keep(state_dir: PathBuf, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut written = None;
    while snapshots.wait_for(|snapshot| snapshot.version > 0).await.is_ok() {
        let standing = of(&snapshots.borrow_and_update());
        if written.as_ref() != Some(&standing) {
            let (dir, new) = (state_dir.clone(), standing.clone());
            match spawn_blocking(move || new.write(&dir)).await {
                Ok(Ok(())) => {
                    debug!(namespaces = standing.namespaces.len(), "Written for the CNI plugin");
                    written = Some(standing);
                }
                Ok(Err(error)) => warn!(
                    dir = %state_dir.display(), %error,
                    "What the CNI plugin goes by while no agent runs cannot be written"
                ),
                Err(_) => return,
            }
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// What holds in these namespaces.
pub(crate) fn of(snapshot: &Snapshot) -> Standing {
    let namespaces = snapshot.enrolled_namespaces().iter();
    Standing {
        namespaces: namespaces.map(|(name, when)| (name.to_string(), *when)).collect::<BTreeMap<_, _>>(),
    }
}
