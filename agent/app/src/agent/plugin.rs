//! The CNI plugin: kept in the node's chain, answered, and told what holds while no agent runs.

use std::path::Path;

use anyhow::Result;
use cni::entry::{Entry, Own};
use tokio::{sync::watch, task::JoinSet};

use super::Options;
use crate::{
    arrivals::Arrivals,
    chain::{Chain, ChainState},
    config::Cni,
    socket, standing,
};

/// The plugin's own configuration, in the chain.
pub(super) fn entry(cni: &Cni, options: &Options) -> Entry {
    let own = options.daemonset.as_ref();
    let own =
        own.map(|name| Own { namespace: name.namespace.to_string(), daemon_set: name.name.to_string() });
    cni.entry(options.run_dir.path(), own)
}

pub(super) fn keep(
    cni: &Cni,
    arrivals: Arrivals,
    socket: &Path,
    tasks: &mut JoinSet<()>,
) -> Result<watch::Receiver<ChainState>> {
    let chain = Chain { install: cni.install(arrivals.entry.clone()) };
    let (states, state) = watch::channel(ChainState::default());
    tasks.spawn(standing::keep(cni.state_dir.clone(), arrivals.snapshots.clone()));
    // Before the plugin can be called.
    tasks.spawn(arrivals.serve(socket::bind(socket)?));
    tasks.spawn(chain.keep(states));
    Ok(state)
}
