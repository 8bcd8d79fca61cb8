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
    output::{Format, print, table},
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
    let port = if service.port_name.is_empty() {
        service.port.to_string()
    } else {
        format!("{} {}", service.port, service.port_name)
    };
    [
        service.namespace.clone(),
        service.name.clone(),
        addresses(service),
        port,
        lines(service.endpoints.iter().map(endpoint).chain(service.names.iter().cloned())),
        if service.policy.is_empty() { "-".to_owned() } else { service.policy.join("\n") },
    ]
}

fn addresses(service: &ServiceRow) -> String {
    let ServiceRow { vips, allocated, networks, .. } = service;
    let all = vips.iter().chain(allocated).map(ToString::to_string);
    let all: Vec<String> = all.chain(networks.iter().map(ToString::to_string)).collect();
    if all.is_empty() { "headless".to_owned() } else { all.join("\n") }
}

fn endpoint(endpoint: &EndpointRow) -> String {
    let pod = endpoint.pod.as_ref().map_or(String::new(), |pod| format!(" {pod}"));
    let state = if endpoint.state == "ready" { String::new() } else { format!(" ({})", endpoint.state) };
    format!("{}{pod}{state}", endpoint.address)
}

fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join("\n") }
}
