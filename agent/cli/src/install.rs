//! `millstream install` and `millstream uninstall`

use std::time::Duration;

use anyhow::{Result, ensure};
use install::{Agents, Error, Installation, apply, connect, manifests, of_manifests, remove, remove_agents};
use jiff::SignedDuration;

use crate::{
    Outcome,
    args::{ClusterOptions, InstallOptions, UninstallOptions},
    block_on,
    output::print_text,
};

pub(crate) fn install(options: &InstallOptions) -> Result<Outcome> {
    let InstallOptions { cluster, image, dry_run, wait, timeout } = options;
    let yaml = manifests(image.as_deref())?;
    if *dry_run {
        print_text(&yaml)?;
        return Ok(Outcome::Fine);
    }
    let (objects, patience) = (of_manifests(&yaml)?, patience(*timeout)?);
    let installed = block_on(async {
        let client = connected(cluster).await?;
        apply(&client, &objects, &mut say).await?;
        match wait {
            true => Agents::ready(&Installation::default(), &client, patience, &mut say).await,
            false => Ok(()),
        }
    })?;
    outcome(installed)
}

pub(crate) fn uninstall(options: UninstallOptions) -> Result<Outcome> {
    let UninstallOptions { cluster, agents, namespace, name, timeout } = options;
    let (objects, patience) = (of_manifests(&manifests(None)?)?, patience(timeout)?);
    let uninstalled = block_on(async {
        let client = connected(&cluster).await?;
        match agents {
            true => remove_agents(&client, &Installation { namespace, name }, patience, &mut say).await,
            false => remove(&client, &objects, patience, &mut say).await,
        }
    })?;
    outcome(uninstalled)
}

async fn connected(cluster: &ClusterOptions) -> Result<install::Client, Error> {
    connect(cluster.kubeconfig.as_deref(), cluster.context.as_deref()).await
}

fn say(line: &str) {
    println!("{line}");
}

fn patience(timeout: SignedDuration) -> Result<Duration> {
    ensure!(timeout.is_positive(), "--timeout must be more than nothing");
    Ok(timeout.unsigned_abs())
}

fn outcome(result: Result<(), Error>) -> Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Fine),
        Err(late @ Error::Late { .. }) => {
            eprintln!("{late}");
            Ok(Outcome::Bad)
        }
        Err(error) => Err(error.into()),
    }
}
