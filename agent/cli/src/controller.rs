//! `millstream controller`

use anyhow::{Context, Result, bail};
use app::{agent::Source, config::Config, logging};
use controller::Options;
use nix::sys::utsname::uname;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Outcome, args::ControllerOptions};

pub(crate) fn run(options: ControllerOptions) -> Result<Outcome> {
    let ControllerOptions { source, config, namespace, name, identity, health_port, log_json } = options;
    let Source::Kubernetes { kubeconfig } = source else {
        bail!("--source {source}: in a folder of manifests the agents give addresses themselves");
    };
    memory::keep_small();
    logging::start(log_json)?;
    let config = config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?.index()?;
    let identity = identity.map_or_else(unique, Ok)?;
    let options = Options { kubeconfig, config, namespace, name, identity, health_port };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        controller::run(options, told).await.map_err(anyhow::Error::from)
    })?;
    Ok(Outcome::Fine)
}

/// Of two controllers on one host, too.
fn unique() -> Result<String> {
    let system = uname().context("cannot learn the name of this host; say --identity")?;
    Ok(format!("{}_{:016x}", system.nodename().to_string_lossy(), fastrand::u64(..)))
}
