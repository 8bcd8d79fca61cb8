//! The manifests in `daemonset/` ask for what the agent needs, and say why in the same words.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::BTreeSet;

use capture::preflight::CAPABILITIES;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Container};

const MANIFEST: &str = include_str!("../../../daemonset/daemonset.yaml");
const README: &str = include_str!("../../../daemonset/README.md");

fn agent() -> Container {
    let daemonset: DaemonSet = serde_saphyr::from_str(MANIFEST).unwrap();
    let pod = daemonset.spec.unwrap().template.spec.unwrap();
    assert_eq!((pod.host_network, pod.host_pid), (Some(true), Some(true)));
    pod.containers.into_iter().next().unwrap()
}

#[test]
fn it_asks_for_the_capabilities_that_check_demands() {
    let added = agent().security_context.unwrap().capabilities.unwrap().add.unwrap();
    let added: BTreeSet<String> = added.into_iter().map(|name| format!("CAP_{name}")).collect();
    let demanded = CAPABILITIES.iter().map(|(capability, _)| capability.to_string()).collect();
    assert_eq!(added, demanded);
    for (capability, why) in CAPABILITIES {
        let name = capability.to_string().replace("CAP_", "");
        assert!(README.contains(&format!("| `{name}` | {why} |")), "{name}: {why}");
    }
}

#[test]
fn every_mount_has_a_reason() {
    for mount in agent().volume_mounts.unwrap() {
        assert!(README.contains(&format!("| `{}` |", mount.mount_path)), "{}", mount.mount_path);
    }
}

#[test]
fn its_command_line_is_understood() {
    let args = agent().args.unwrap();
    let help =
        std::process::Command::new(env!("CARGO_BIN_EXE_millstream")).args(["agent", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    for option in args.iter().filter(|arg| arg.starts_with("--")) {
        assert!(help.contains(option.as_str()), "{option} is not in the help:\n{help}");
    }
}
