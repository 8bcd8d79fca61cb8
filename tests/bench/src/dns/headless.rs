//! What a very large headless service costs: to join it, to keep it, and each connection and query that meets it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    markdown::{Table, mib, short},
    progress,
    report::{Report, Section},
    road::{NAMESPACE, Road, Stage},
    workload::number,
};

const MANY: usize = 10_000;
/// What a control plane puts in one EndpointSlice at most.
const SLICE: usize = 1_000;
const FILE: &str = "crowd.yaml";
const PORT: u16 = 8_080;
/// Nobody has this address: the mesh answers.
const RESOLVER: &str = "203.0.113.53:53";

/// What was found of one size.
struct Found {
    /// From the file to the snapshot that the proxy reads.
    joined: Duration,
    /// The same of a change of one endpoint.
    changed: Duration,
    before: u64,
    after: u64,
    /// Microseconds.
    connect: f64,
    query: f64,
}

/// As it is printed.
type Figure = fn(&Found) -> String;

pub(super) fn run(report: &mut Report, seconds: u64) -> Result<()> {
    let found = |size| -> Result<Found> {
        let found =
            measure(size, seconds).with_context(|| format!("a headless service of {size} endpoints"))?;
        progress!("headless  {size} endpoints: joined in {} ms", short(milliseconds(found.joined)));
        Ok(found)
    };
    let [one, many] = [found(1)?, found(MANY)?];
    let mut table = Table::new(&["", "1 endpoint", "10 000 endpoints"]);
    let rows: [(&str, Figure); 6] = [
        ("from the manifest to the snapshot that the proxy reads, ms", |f| short(milliseconds(f.joined))),
        ("the same when one endpoint changes, ms", |f| short(milliseconds(f.changed))),
        ("agent's RSS before it", |f| mib(f.before)),
        ("agent's RSS with it", |f| mib(f.after)),
        ("connect-request-close with one of its endpoints, p50 µs", |f| short(f.connect)),
        ("a query for its name, p50 µs", |f| short(f.query)),
    ];
    for (what, figure) in rows {
        table.row([what.to_owned(), figure(&one), figure(&many)]);
    }
    report.sections.push(Section {
        title: "A headless service of 10 000 endpoints",
        text: "In slices of 1 000, read from one file. The client dials the one endpoint that is a pod of this node by \
               its address, so that the proxy knows the service by IP:Port. A reply to a query without EDNS holds 29 \
               addresses, drawn at random.",
        table,
    });
    Ok(())
}

fn measure(size: usize, seconds: u64) -> Result<Found> {
    let mut stage = Stage::build(Road::Ours)?;
    let addr = stage.serve("answer", 1)?;
    let before = stage.agent()?.resident()?;
    let joined = follow(&stage, size, addr.ip())?;
    let other = stage.client.v4().into();
    let changed = follow(&stage, size, other)?;
    follow(&stage, size, addr.ip())?;
    let after = stage.agent()?.resident()?;
    let seconds = seconds.to_string();
    let connect = stage.load(&["connect", &addr.to_string(), "--seconds", &seconds])?;
    let name = format!("crowd.{NAMESPACE}.svc.cluster.local");
    let query = stage.load(&["ask", RESOLVER, "--name", &name, "--seconds", &seconds])?;
    Ok(Found {
        joined,
        changed,
        before,
        after,
        connect: number(&connect, "p50_us")?,
        query: number(&query, "p50_us")?,
    })
}

/// Writes the service down with this first endpoint, and waits until the agent has it.
fn follow(stage: &Stage, size: usize, first: IpAddr) -> Result<Duration> {
    let known =
        |stage: &Stage| -> Result<Option<u64>> { Ok(stage.agent()?.json(&["status"])?["snapshot"].as_u64()) };
    let version = known(stage)?.context("status tells no snapshot")?;
    stage.lab.write_manifest(FILE, &manifest(size, first))?;
    let begun = Instant::now();
    stage.wait_until("the agent has read the manifest", |_| {
        Ok(known(stage)?.is_some_and(|now| version < now))
    })?;
    let took = begun.elapsed();
    let services = stage.agent()?.json(&["services"])?;
    let endpoints: usize = services
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row.to_string().contains("crowd"))
        .filter_map(|row| row["endpoints"].as_array().map(Vec::len))
        .sum();
    ensure!(endpoints == size, "the agent knows {endpoints} endpoints of {size}");
    let has_first = services.to_string().contains(&format!("\"{}\"", SocketAddr::new(first, PORT)));
    ensure!(has_first, "the agent does not know the endpoint {first}");
    Ok(took)
}

/// One file, so that it is read at once.
fn manifest(size: usize, first: IpAddr) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": NAMESPACE, "name": "crowd" },
        "spec": {
            "clusterIP": "None",
            "clusterIPs": ["None"],
            "ports": [{ "name": "main", "port": PORT, "targetPort": PORT, "protocol": "TCP" }],
        },
    });
    let others = (1..size).map(|number| IpAddr::from(address(number)));
    let addresses: Vec<IpAddr> = std::iter::once(first).chain(others).collect();
    let slices = addresses.chunks(SLICE).enumerate().map(|(number, addresses)| slice(number, addresses));
    let objects: Vec<String> =
        std::iter::once(service).chain(slices).map(|object| object.to_string()).collect();
    objects.join("\n---\n")
}

fn slice(number: usize, addresses: &[IpAddr]) -> Value {
    let endpoints = addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } }));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("crowd-{number}"),
            "labels": { "kubernetes.io/service-name": "crowd" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "main", "port": PORT, "protocol": "TCP" }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// Of pods of other nodes.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number as u32)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
