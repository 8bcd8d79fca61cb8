//! What is done to the mesh.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::stage::{NAMESPACE, Stage};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The namespace is labelled
    Label,
    /// The agents end in good order and are started again: both nodes, one after the other
    Restart,
    /// The agents are killed and started again
    Kill,
    /// The kubelets are killed and started again
    Kubelet,
    /// The containerds are killed and started again
    Containerd,
    /// The API server is killed and started again
    ApiServer,
    /// The label is taken away
    Unlabel,
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
            Self::Restart => stage.agents.iter_mut().try_for_each(|agent| {
                ensure!(agent.terminate()?.success(), "the agent did not end in good order");
                agent.launch()
            }),
            Self::Kill => stage.agents.iter_mut().try_for_each(|agent| {
                agent.kill()?;
                agent.launch()
            }),
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
