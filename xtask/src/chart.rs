//! `cargo xtask chart`: the plain manifests, rendered from the chart.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail where the manifests are not those of the chart
    #[arg(long)]
    check: bool,
}

const MANIFESTS: &str = "daemonset/millstream.yaml";

/// Helm makes the namespace itself, kubectl does not.
const HEAD: &str = "\
# Written by `cargo xtask chart` from daemonset/chart. `kubectl apply --server-side -f` takes it, and `millstream install`.
apiVersion: v1
kind: Namespace
metadata:
  name: millstream-system
  labels:
    # The agents are of the node: its network, its processes.
    pod-security.kubernetes.io/enforce: privileged
";

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut helm = Command::new(setup::kubernetes::helm(workspace)?);
    helm.current_dir(&workspace.root);
    let rendered = shell::answer(helm.args([
        "template",
        "millstream",
        "daemonset/chart",
        "--namespace=millstream-system",
    ]))?;
    let manifests = format!("{HEAD}{rendered}");
    let path = workspace.root.join(MANIFESTS);
    if args.check {
        let committed =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(committed == manifests, "{MANIFESTS} is not what the chart renders: run `cargo xtask chart`");
        return Ok(());
    }
    fs::write(&path, manifests).with_context(|| format!("cannot write {}", path.display()))
}
