//! Real Kubernetes clusters on one machine: a control plane, and two nodes with kubelet, containerd and kube-proxy.
//!
//! ```text
//!              wire (a bridge in a namespace of its own)
//!        ┌────────────┬────┴───────┐
//!   node n1      node n2      control      each with a network of its own; a node with processes and mounts of its
//!    ├ containerd  …            ├ etcd     own, too: it has its /run, /etc, /opt, /var/lib, /var/log and bpffs
//!    ├ kubelet                  ├ kube-apiserver
//!    ├ kube-proxy               ├ kube-controller-manager
//!    └ pods                     └ kube-scheduler
//! ```
//!
//! It stands on a [`harness::Lab`], which owns the networks, the cgroups and the files: when a [`Cluster`] is dropped, or
//! the test panics, nothing is left; what a killed test left behind, the next lab or cluster removes.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use cluster::Cluster;
//!
//! let cluster = Cluster::start("example")?;
//! cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")?;
//! cluster.install(&["logLevel=debug"])?;
//! cluster.kubectl(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"])?.stdout()?;
//! println!("{}", cluster.node("n1")?.agent().cli(&["status"])?.stdout()?);
//! # Ok(())
//! # }
//! ```

mod agent;
mod cluster;
mod component;
mod control_plane;
mod image;
mod kubeconfig;
mod node;
mod pki;
mod programs;
pub mod release;
pub mod standing;

pub use crate::{agent::NodeAgent, cluster::Cluster, image::NAME as IMAGE, node::Node, programs::program};
