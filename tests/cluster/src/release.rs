//! The agents as an operator installs them: by our chart, with our image, as a DaemonSet.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Io, Output};

use crate::{Cluster, program};

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemonset/chart");
pub const NAMESPACE: &str = "millstream-system";
/// The same for `kubectl` and `helm`.
pub const IN_NAMESPACE: &str = "--namespace=millstream-system";
pub const RELEASE: &str = "millstream";

/// Everything of the chart bears it.
const OURS: &str = "--selector=app.kubernetes.io/instance=millstream";

/// The agents' pods.
pub const AGENTS: &str = "--selector=app.kubernetes.io/name=millstream";

/// Pods are made and ended in it, one node after the other.
const PATIENCE: Duration = Duration::from_secs(240);

/// The archive that `cargo xtask image` makes: `MILLSTREAM_IMAGE`, which `cargo xtask` sets, or where it leaves it.
fn image() -> Result<PathBuf> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/image/millstream.tar");
    let path = env::var_os("MILLSTREAM_IMAGE").map_or_else(|| PathBuf::from(built), PathBuf::from);
    ensure!(path.is_file(), "no image at {}: `cargo xtask image` makes it", path.display());
    path.canonicalize().context("the image's path")
}

// === impl Cluster ===

impl Cluster {
    /// Installs the chart and waits until every agent is ready. `values` as for `helm --set`.
    pub fn install(&self, values: &[&str]) -> Result<()> {
        self.prepare_install()?;
        self.helm_install(values)
    }

    /// What [`Self::helm_install`] needs: the image on each node, and a cluster without anything of the agents.
    pub fn prepare_install(&self) -> Result<()> {
        let image = image()?;
        for node in self.nodes() {
            node.import(&image)?;
        }
        self.make_room()
    }

    /// The harness has given the agents' rights to those that are no pods; Helm takes over nothing of others.
    pub fn make_room(&self) -> Result<()> {
        self.kubectl(&["delete", "namespace", NAMESPACE])?.stdout()?;
        self.kubectl(&["delete", "clusterroles,clusterrolebindings", OURS])?.stdout().map(drop)
    }

    /// `helm install` alone, for whoever measures it.
    pub fn helm_install(&self, values: &[&str]) -> Result<()> {
        self.release(&["install", "--create-namespace"], values)
    }

    /// Another revision of it, rolled out.
    pub fn upgrade(&self, values: &[&str]) -> Result<()> {
        self.release(&["upgrade"], values)
    }

    pub fn rollback(&self) -> Result<()> {
        self.helm(&["rollback", RELEASE, "--wait"])
    }

    /// Returns once everything of it is gone.
    pub fn uninstall(&self) -> Result<()> {
        self.helm(&["uninstall", RELEASE, "--wait"])
    }

    /// `helm` as an administrator, in the namespace of the release.
    pub fn helm(&self, args: &[&str]) -> Result<()> {
        let output = self.try_helm(args)?;
        output.stdout().map(drop).with_context(|| self.autopsy())
    }

    pub fn try_helm(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.control().command(&[program("helm")?])?;
        command.args(args).arg(IN_NAMESPACE).env("KUBECONFIG", self.kubeconfig());
        // It keeps a cache of repositories, which we have none of, at home.
        command.env("HELM_CACHE_HOME", self.file("helm"));
        let mut process = self.control().start(command, Io::Piped)?;
        process.close_stdin();
        process.wait(PATIENCE)
    }

    fn release(&self, verb: &[&str], values: &[&str]) -> Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs() - 60);
        let mut args = [verb, &[RELEASE, CHART, "--wait", &timeout, "--set=image.pullPolicy=Never"]].concat();
        for value in values {
            args.extend(["--set", value]);
        }
        self.helm(&args)
    }
}
