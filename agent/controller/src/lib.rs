//! `millstream controller`: in Kubernetes, hosts of ServiceEntries that have no address are given one in their
//! `status.addresses`, by the one controller that leads.
//!
//! ```text
//!  ServiceEntries, Services ──► Entries ──► Allocator ──► Plan ──► JSON patches of status, Events
//!                                              ▲ │
//!                    Lease: who leads          │ ▼
//!                    istiod's lock     ConfigMap: what was freed, what operators are told
//! ```
//!
//! What a status says decides: the record of all that was given is read out of them, and a patch tests what it replaces.
//! Beside the one that leads, others only look on. Where istiod gives addresses itself, all of them do.
//!
//! In reading order:
#![forbid(unsafe_code)]

/// PURE: what is to be written.
mod allocator;
/// Who leads.
mod election;
/// What outlives a leader: addresses that were freed.
mod freed;
/// Whether it is ready, for its kubelet.
mod health;
/// Whether istiod gives addresses.
mod istiod;
/// PURE: whose the Lease is.
mod lease;
/// What operators are told.
mod told;
/// One round after the other.
mod work;
/// What ServiceEntries are told.
mod writer;

use std::{io, path::PathBuf, sync::Arc};

use allocation::Mode;
use control::{EntriesSource, IndexConfig, kubernetes::ConnectError};
use tokio::{sync::watch, task::JoinError};
use tracing::{info, warn};

use self::{election::Election, work::Work};

/// What `millstream controller` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without one the pod's service account is used or, outside of a pod, the default kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    pub config: IndexConfig,
    /// Where its Lease and its ConfigMap are.
    pub namespace: String,
    /// They are called `NAME-controller` and `NAME-allocations`.
    pub name: String,
    /// No two controllers have the same.
    pub identity: String,
    /// For `GET /readyz`; 0: nobody can ask.
    pub health_port: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen on port {port} for GET /readyz; is it taken? --health-port chooses another, or 0")]
    Listen { port: u16, source: io::Error },
    #[error("a task of the controller died")]
    Died(#[from] JoinError),
}

/// Works until `told` says that it is to end; then the Lease is free for the next.
///
/// # Errors
///
/// If it cannot begin. An API server that fails is asked again.
pub async fn run(options: Options, told: impl Future<Output = ()>) -> Result<(), Error> {
    let Options { kubeconfig, config, namespace, name, identity, health_port } = options;
    let allocation = config.dns.allocation.clone();
    let source = EntriesSource::connect(kubeconfig.as_deref(), config).await?;
    let (ready, is_ready) = watch::channel(false);
    let health = health::serve(health_port, is_ready)
        .await
        .map_err(|source| Error::Listen { port: health_port, source })?;
    tokio::pin!(told);
    if allocation.mode != Mode::Recorded {
        warn!(mode = ?allocation.mode, "dns.allocation.mode: no addresses are given");
        ready.send_replace(true);
        told.await;
        health.abort();
        return Ok(());
    }
    info!(identity, namespace, "The controller begins");
    let client = source.client().clone();
    let election = Election::new(client.clone(), &namespace, &name, &identity);
    let (lead, leads) = watch::channel(None);
    let (tell, istiod) = watch::channel(istiod::Runs::Unknown);
    let work = Work::new(source, allocation, &namespace, &name, &identity);
    tokio::select! {
        () = &mut told => {}
        () = election.run(lead) => {}
        () = istiod::follow(client, tell) => {}
        // As large as all that it waits for.
        ended = Box::pin(work.run(leads, istiod, Arc::new(ready))) => ended?,
    }
    health.abort();
    // Whatever was under way is dropped by now.
    election.release().await;
    Ok(())
}
