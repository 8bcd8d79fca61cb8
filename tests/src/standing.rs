//! A lab that stays when its maker has ended, and how to find it again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Lab, LabId, Node, Place, shop::Shop, teardown};

/// What a plain lab is left as.
pub const LAB: &str = "lab";
/// What is written down about a standing lab.
const RECORD: &str = "standing.json";

/// Takes a standing lab down.
pub fn down(id: &LabId) -> Result<()> {
    teardown::raze(id)
}

/// The labs that stand, of those that were left as this.
pub fn all(kind: &str) -> Vec<LabId> {
    LabId::all().into_iter().filter(|id| read_record(id).is_ok_and(|record| record["kind"] == kind)).collect()
}

/// Runs a command in a pod or on a node of a standing lab of this kind, on the terminal of the caller.
pub fn exec(kind: &str, place: &str, command: &[String]) -> Result<ExitStatus> {
    let place = find(kind, place)?;
    place.command(command)?.status().with_context(|| format!("cannot run {command:?} in {}", place.name()))
}

/// What can be tried in the lab with the shop.
pub fn tour(lab: &Lab, shop: &Shop) -> String {
    let mut text = format!("The lab {} stands.\n", lab.id());
    for node in lab.nodes() {
        let pods: Vec<_> = node.pods().iter().map(|pod| pod.name().to_owned()).collect();
        text.push_str(&format!("  node {} with the pods {}\n", node.name(), pods.join(", ")));
    }
    let run_dirs = lab.nodes().iter().map(|node| node.run_dir().display().to_string()).collect::<Vec<_>>();
    let run_dir = run_dirs.first().map_or("", String::as_str);
    let client = shop.client.full_name();
    let try_these = [
        format!("cargo xtask lab exec client -- curl --silent {}", shop.web_url()),
        format!("cargo xtask lab exec client -- curl --silent {}", shop.web_pod_url()),
        format!("target/release/millstream pods --run-dir {run_dir}"),
        format!("target/release/millstream connections --run-dir {run_dir}"),
        format!("target/release/millstream why {client} {}:80 --run-dir {run_dir}", shop.web_service.v4),
        format!("edit a manifest in {} and ask again", lab.manifests().display()),
        "cargo xtask lab down".to_owned(),
    ];
    text.push_str("Try:\n");
    for line in try_these {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

pub(crate) fn is_recorded(id: &LabId) -> bool {
    record_file(id).exists()
}

pub(crate) fn record(id: &LabId, kind: &str, nodes: &[Node]) -> Result<()> {
    let mut places = Vec::new();
    for node in nodes {
        places.push(describe(node));
        places.extend(node.pods().iter().map(describe));
    }
    let path = record_file(id);
    let text = serde_json::to_string_pretty(&json!({ "kind": kind, "places": places }))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn read_record(id: &LabId) -> Result<Value> {
    let path = record_file(id);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
}

fn record_file(id: &LabId) -> PathBuf {
    id.dir().join(RECORD)
}

fn describe(place: &Place) -> Value {
    json!({"name": place.name(), "netns": place.netns_path(), "cgroup": place.cgroup()})
}

fn find(kind: &str, name: &str) -> Result<Place> {
    let mut names = Vec::new();
    for id in all(kind) {
        let record = read_record(&id)?;
        for place in record["places"].as_array().into_iter().flatten() {
            let field = |key: &str| place[key].as_str().unwrap_or_default();
            if field("name") == name {
                return Place::open(name, Path::new(field("netns")), Path::new(field("cgroup")));
            }
            names.push(field("name").to_owned());
        }
    }
    if names.is_empty() {
        bail!("no lab stands; `cargo xtask lab up` makes one");
    }
    bail!("no pod or node {name:?}; there are {}", names.join(", "))
}
