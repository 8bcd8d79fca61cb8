//! The manifests in `daemonset/` ask for what the agent needs, and say why in the same words.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::BTreeSet;

use app::config::Config;
use capture::preflight::CAPABILITIES;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Container},
};

const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");
const CHART: &str = include_str!("../../../daemonset/chart/Chart.yaml");
const README: &str = include_str!("../../../daemonset/README.md");

/// The only manifest of a kind.
fn manifest(kind: &str) -> &'static str {
    let line = format!("\nkind: {kind}\n");
    let mut found = MANIFESTS.split("\n---\n").filter(|manifest| manifest.contains(&line));
    let manifest = found.next().unwrap();
    assert!(found.next().is_none(), "{kind}");
    manifest
}

fn daemonset() -> DaemonSet {
    serde_saphyr::from_str(manifest("DaemonSet")).unwrap()
}

fn controller() -> Container {
    let deployment: Deployment = serde_saphyr::from_str(manifest("Deployment")).unwrap();
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    pod.containers.into_iter().next().unwrap()
}

fn agent() -> Container {
    let pod = daemonset().spec.unwrap().template.spec.unwrap();
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
    for (command, args) in [("agent", agent().args), ("controller", controller().args)] {
        let help =
            std::process::Command::new(env!("CARGO_BIN_EXE_millstream")).args([command, "--help"]).output();
        let help = String::from_utf8(help.unwrap().stdout).unwrap();
        for option in args.unwrap().iter().filter(|arg| arg.len() > 2 && arg.starts_with("--")) {
            assert!(help.contains(option.as_str()), "{command}: {option} is not in the help:\n{help}");
        }
    }
}

#[test]
fn the_controller_has_no_powers_and_is_asked_where_it_listens() {
    let Container { security_context, readiness_probe, .. } = controller();
    let security_context = security_context.unwrap();
    assert_eq!(security_context.capabilities.unwrap().add, None);
    assert_eq!(security_context.run_as_non_root, Some(true));
    let port = serde_json::to_string(&readiness_probe.unwrap().http_get.unwrap().port).unwrap();
    let help =
        std::process::Command::new(env!("CARGO_BIN_EXE_millstream")).args(["controller", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    assert!(help.contains(&format!("[default: {port}]")), "{help}");
}

#[test]
fn its_configuration_is_understood() {
    let maps = MANIFESTS.split("\n---\n").filter(|manifest| manifest.contains("\nkind: ConfigMap\n"));
    let mut maps = maps.map(|manifest| serde_saphyr::from_str::<ConfigMap>(manifest).unwrap());
    let configuration = maps.find(|map| map.metadata.name.as_deref() == Some("millstream")).unwrap();
    Config::parse(&configuration.data.unwrap()["config.yaml"]).unwrap();
}

#[test]
fn the_next_agent_of_a_node_can_start_beside_the_one_before_it() {
    assert_eq!(agent().ports, None);
    let strategy = daemonset().spec.unwrap().update_strategy.unwrap().rolling_update.unwrap();
    let numbers = [strategy.max_surge, strategy.max_unavailable].map(|n| serde_json::to_string(&n).unwrap());
    assert_eq!(numbers, ["1", "0"]);
}

#[test]
fn the_chart_has_the_version_of_the_agent() {
    for field in ["version", "appVersion"] {
        let line = format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(CHART.contains(&line), "{field}");
    }
    let image = format!("localhost/millstream:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!([agent().image, controller().image], [Some(image.clone()), Some(image)]);
}
