//! A cluster that stays when its maker has ended, and how to find it again.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use harness::{LabId, standing};
use serde_json::{Value, json};

use crate::{Cluster, programs::program};

/// What its lab is left as.
pub(crate) const KIND: &str = "cluster";
const RECORD: &str = "cluster.json";

/// A standing cluster, as its maker has described it.
#[derive(Debug)]
pub struct Standing {
    pub id: LabId,
    record: Value,
}

/// Those that stand.
pub fn all() -> Result<Vec<Standing>> {
    let ids = standing::all(KIND).into_iter();
    ids.map(|id| {
        let path = record_file(&id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Standing { record: serde_json::from_str(&text)?, id })
    })
    .collect()
}

pub(crate) fn record(cluster: &Cluster) -> Result<()> {
    let nodes = cluster
        .nodes()
        .iter()
        .map(|node| json!({ "name": node.name(), "short": node.short_name(), "holder": node.holder() }));
    let record = json!({
        "kubeconfig": cluster.kubeconfig(),
        "control": cluster.control().netns_path(),
        "nodes": nodes.collect::<Vec<_>>(),
    });
    let path = record_file(cluster.id());
    let text = serde_json::to_string_pretty(&record)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn record_file(id: &LabId) -> PathBuf {
    id.dir().join(RECORD)
}

// === impl Standing ===

impl Standing {
    /// Takes it down, with every trace of it.
    pub fn down(&self) -> Result<()> {
        standing::down(&self.id)
    }

    /// `kubectl`, in the network where the API server is.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.text("control"))).arg(program("kubectl")?);
        command.env("KUBECONFIG", self.text("kubeconfig"));
        Ok(command)
    }

    /// A command on a node, `n1` or `n2`.
    pub fn on_node(&self, name: &str) -> Result<Command> {
        let mut nodes = self.record["nodes"].as_array().into_iter().flatten();
        let node = nodes.find(|node| node["short"] == name || node["name"] == name);
        let node = node.with_context(|| format!("cluster {} has no node {name:?}", self.id))?;
        let holder = &node["holder"];
        let mut command = Command::new("nsenter");
        command.args([&format!("--target={holder}"), "--net", "--mount", "--pid", "--"]);
        Ok(command)
    }

    /// What a shell needs to go on by itself.
    pub fn environment(&self) -> Result<String> {
        let mut text = format!("export KUBECONFIG={}\n", self.text("kubeconfig"));
        let kubectl = program("kubectl")?;
        let enter = format!("nsenter --net={}", self.text("control"));
        text.push_str(&format!("alias kubectl='{enter} {}'\n", kubectl.display()));
        for node in self.record["nodes"].as_array().into_iter().flatten() {
            let (name, holder) = (node["short"].as_str().unwrap_or_default(), &node["holder"]);
            text.push_str(&format!("alias {name}='nsenter --target={holder} --net --mount --pid --'\n"));
        }
        Ok(text)
    }

    fn text(&self, key: &str) -> &str {
        self.record[key].as_str().unwrap_or_default()
    }
}
