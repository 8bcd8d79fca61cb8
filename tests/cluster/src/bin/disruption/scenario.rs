//! What is done to the mesh.

use anyhow::Result;
use clap::ValueEnum;
use cluster::release;

use crate::stage::{NAMESPACE, Stage};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The namespace is labelled
    Label,
    /// The DaemonSet is rolled: the next agent of a node is ready before the one before it ends
    Roll,
    /// The agents' pods are deleted, and made anew once they are gone
    Delete,
    /// The agents are killed; their supervisors start them again
    Kill,
    /// The same soon after, as by a crash that comes back: is the agent back as soon?
    KillAgain,
    /// The kubelets are killed and started again
    Kubelet,
    /// The containerds are killed and started again
    Containerd,
    /// The API server is killed and started again
    ApiServer,
    /// The label is taken away
    Unlabel,
    /// The chart is uninstalled
    Uninstall,
}

impl Scenario {
    /// Whether the pods are captured before it.
    pub(crate) fn begins_captured(self) -> bool {
        self != Self::Label
    }

    /// Returns when it is over: what was stopped runs again, and pods are where the label wants them.
    pub(crate) fn act(self, stage: &mut Stage) -> Result<()> {
        match self {
            Self::Label => stage.label(true),
            Self::Unlabel => stage.label(false),
            Self::Roll => stage.roll().and_then(|()| stage.until_replaced()),
            Self::Delete => {
                stage.of_agents(&["delete", "pods", release::AGENTS])?;
                stage.until_replaced()
            }
            Self::Kill | Self::KillAgain => stage.kill(),
            Self::Uninstall => stage.uninstall(),
            Self::Kubelet => stage.cluster.nodes().iter().try_for_each(|node| {
                node.kill_kubelet()?;
                node.start_kubelet()
            }),
            Self::Containerd => stage.cluster.nodes().iter().try_for_each(|node| {
                node.kill_containerd()?;
                node.start_containerd()
            }),
            Self::ApiServer => {
                stage.cluster.stop_api_server()?;
                stage.cluster.start_api_server()?;
                stage.cluster.kubectl(&["get", "namespace", NAMESPACE])?.stdout().map(drop)
            }
        }
    }
}
