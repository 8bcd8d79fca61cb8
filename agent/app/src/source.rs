//! The source of the node's configuration, of whichever kind it is.

use std::sync::Arc;

use anyhow::Result;
use control::{
    FileSource, KubernetesSource, Source, SourceReport,
    kubernetes::{Client, PodLookup},
};
use model::Snapshot;
use tokio::sync::{mpsc, watch};

use crate::config::Config;

/// Knows where to read, and has not begun.
#[derive(Debug)]
pub enum Objects {
    File(FileSource),
    Kubernetes(KubernetesSource),
}

// === impl Objects ===

impl Objects {
    pub async fn of(source: &Source, config: &Config) -> Result<Self> {
        let config = config.index()?;
        Ok(match source {
            Source::File(dir) => Self::File(FileSource { dir: dir.clone(), config }),
            Source::Kubernetes { kubeconfig } => {
                Self::Kubernetes(KubernetesSource::connect(kubeconfig.as_deref(), config).await?)
            }
        })
    }

    /// Speaks to the API server, where there is one.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::File(_) => None,
            Self::Kubernetes(source) => Some(source.client()),
        }
    }

    /// Asks it for single pods.
    pub fn lookup(&self) -> Option<PodLookup> {
        match self {
            Self::File(_) => None,
            Self::Kubernetes(source) => Some(source.lookup()),
        }
    }

    /// Until nobody receives its snapshots any more.
    pub async fn run(
        self,
        publish: watch::Sender<Arc<Snapshot>>,
        reports: watch::Sender<SourceReport>,
        reload: mpsc::Receiver<()>,
    ) -> Result<()> {
        match self {
            Self::File(source) => source.run(publish, reports, reload).await?,
            Self::Kubernetes(source) => source.run(publish, reports, reload).await?,
        }
        Ok(())
    }
}
