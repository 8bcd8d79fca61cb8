//! `millstream services`

use anyhow::Result;
use app::{
    api::{EndpointRow, Request, ServiceRow},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome,
    ask::ask,
    block_on,
    output::{Format, or_dash, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let offline = || {
        eprintln!("The agent is down; this is what its source says now.");
        Ok(block_on(Offline::open(run_dir))??.services())
    };
    let rows: Vec<ServiceRow> = ask(run_dir, &Request::Services, offline)?;
    print(format, &rows, |rows| {
        table(["NAMESPACE", "SERVICE", "ADDRESS", "PORT", "ENDPOINTS", "POLICY"], rows.iter().map(row))
    })?;
    Ok(Outcome::Fine)
}

fn row(service: &ServiceRow) -> [String; 6] {
    let port = or_dash(service.port);
    let port = if service.port_name.is_empty() { port } else { format!("{port} {}", service.port_name) };
    [
        service.namespace.clone(),
        service.name.clone(),
        addresses(service),
        port,
        endpoints(service),
        if service.policy.is_empty() { "-".to_owned() } else { service.policy.join("\n") },
    ]
}

fn addresses(service: &ServiceRow) -> String {
    let ServiceRow { vips, allocated, networks, external_name, .. } = service;
    if external_name.is_some() {
        return "-".to_owned();
    }
    let all = vips.iter().chain(allocated).map(ToString::to_string);
    let all: Vec<String> = all.chain(networks.iter().map(ToString::to_string)).collect();
    if all.is_empty() { "headless".to_owned() } else { all.join("\n") }
}

fn endpoints(service: &ServiceRow) -> String {
    let ServiceRow { endpoints, names, external_name, .. } = service;
    let alias = external_name.iter().map(|name| format!("alias of {name}"));
    let all: Vec<String> = endpoints.iter().map(endpoint).chain(names.iter().cloned()).chain(alias).collect();
    if all.is_empty() { "none".to_owned() } else { all.join("\n") }
}

fn endpoint(endpoint: &EndpointRow) -> String {
    let EndpointRow { address, weight, state, pod, node: _ } = endpoint;
    let pod = pod.as_ref().map_or(String::new(), |pod| format!(" {pod}"));
    let weight = weight.map_or(String::new(), |weight| format!(" weight {weight}"));
    let state = if state == "ready" { String::new() } else { format!(" ({state})") };
    format!("{address}{pod}{weight}{state}")
}
