//! Taste as code.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, sources};

/// A file that one reads in a sitting.
const MAX_LINES: usize = 400;

/// Which of our crates may lean on which. They point one way: nouns, decisions, components, assembly. No
/// arrow joins two components; they meet in `app`.
const ARROWS: [(&str, &[&str]); 24] = [
    ("abi", &[]),
    ("verdict", &["abi"]),
    ("model", &[]),
    ("netns", &[]),
    ("timeslice", &[]),
    ("memory", &[]),
    ("allocation", &["model"]),
    ("route", &["model"]),
    ("dns", &["model"]),
    ("resolver", &[]),
    ("control", &["model", "allocation"]),
    ("controller", &["model", "allocation", "control"]),
    ("capture", &["model", "netns", "abi"]),
    ("proxy", &["model", "netns", "route", "dns", "resolver", "timeslice"]),
    ("cni", &["model"]),
    (
        "app",
        &[
            "model",
            "netns",
            "route",
            "dns",
            "control",
            "capture",
            "proxy",
            "cni",
            "abi",
            "verdict",
            "timeslice",
            "memory",
            "allocation",
        ],
    ),
    ("install", &[]),
    ("cli", &["app", "controller", "install", "model", "capture", "cni", "memory"]),
    ("harness", &["netns"]),
    ("bench", &["harness", "netns", "proxy"]),
    ("cluster", &["harness", "oci"]),
    ("oci", &[]),
    ("vm", &[]),
    ("xtask", &["oci", "vm"]),
];

/// Decisions and nouns: testable without a kernel or a runtime.
const PURE: [&str; 6] = ["abi", "verdict", "model", "allocation", "route", "dns"];
const IMPURE: [&str; 7] = ["tokio", "nix", "aya", "rtnetlink", "socket2", "tracing", "notify"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for top in ["agent", "ebpf", "tests", "xtask"] {
        for file in sources(&workspace.root.join(top))? {
            let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            let name = file.strip_prefix(&workspace.root).unwrap_or(&file);
            complaints.extend(check_file(name, &text));
        }
    }
    for package in &workspace.packages {
        let name = package["name"].as_str().unwrap_or_default();
        let dependencies: Vec<_> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            // What only tests need may be anything, and so may what a feature adds for others.
            .filter(|dependency| dependency["kind"] != "dev" && dependency["optional"] != true)
            .filter_map(|dependency| dependency["name"].as_str())
            .collect();
        complaints.extend(check_arrows(name, &dependencies));
    }
    Ok(complaints)
}

fn check_file(name: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if MAX_LINES < lines && !is_test(name) {
        complaints.push(format!("{}: {lines} lines, at most {MAX_LINES}", name.display()));
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if is_root && !text.starts_with("//! ") {
        complaints.push(format!("{}: the first line must say in `//!` what it is for", name.display()));
    }
    complaints
}

/// `foo/tests.rs`, `foo/tests/bar.rs`, and the lab tests; but not the harness, for all its folder's name.
fn is_test(name: &Path) -> bool {
    let inner = name.strip_prefix("tests").unwrap_or(name);
    name.starts_with("tests/lab")
        || inner.components().any(|part| ["tests", "tests.rs"].iter().any(|t| part.as_os_str() == *t))
}

fn check_arrows(name: &str, dependencies: &[&str]) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!("crate {name}: not in the table of arrows (xtask/src/lint/tidy.rs)")];
    };
    let mut complaints = Vec::new();
    for dependency in dependencies {
        let ours = ARROWS.iter().any(|(from, _)| from == dependency);
        if ours && !allowed.contains(dependency) {
            complaints.push(format!("crate {name}: no arrow may lead to {dependency}"));
        }
        if PURE.contains(&name) && IMPURE.contains(dependency) {
            complaints.push(format!("crate {name}: is pure, so it cannot depend on {dependency}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests;
