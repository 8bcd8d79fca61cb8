//! `cargo xtask bench scale`: what a large cluster costs the agent of a node, and how soon it follows a change there.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench is what it prints")]

use std::{
    fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cluster::Cluster;
use harness::{Agent, AgentOptions, Post};
use serde_json::{Value, json};

const NAMESPACE: &str = "large";
/// Each `kubectl` holds itself back to some fifty requests a second.
const AT_ONCE: usize = 8;
const CHANGES: usize = 20;
/// A large cluster takes minutes to write down.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Of each service, in one slice
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let cluster = Cluster::api("scale")?;
    let mut agent = agent(&cluster)?;
    let empty = megabytes(&agent)?;
    let endpoints = args.services * args.endpoints;
    println!("==> write {} services with {endpoints} endpoints to the API server", args.services);
    cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))?;
    let begin = Instant::now();
    write_all(&cluster, args)?;
    println!("    {} s", begin.elapsed().as_secs());
    wait_quiet(&agent)?;
    let followed = megabytes(&agent)?;

    agent.terminate()?;
    let begin = Instant::now();
    agent.launch()?;
    let synced = begin.elapsed();
    let full = megabytes(&agent)?;

    println!("==> change an endpoint {CHANGES} times");
    let mut delays =
        (0..CHANGES).map(|change| follow(&cluster, &agent, change)).collect::<Result<Vec<_>>>()?;
    delays.sort_unstable();
    println!("\n| {} services, {endpoints} endpoints | |\n| :--- | ---: |", args.services);
    for (what, found) in [
        ("agent's RSS, empty cluster, MB", format!("{empty:.1}")),
        ("after it followed each of them come, MB", format!("{followed:.1}")),
        ("after a start in the full cluster, MB", format!("{full:.1}")),
        ("from the start to ready, s", format!("{:.1}", synced.as_secs_f64())),
        ("from a change to the snapshot that the proxy reads, median, ms", milliseconds(delays[CHANGES / 2])),
        ("the slowest of them, ms", milliseconds(delays[CHANGES - 1])),
    ] {
        println!("| {what} | {found} |");
    }
    Ok(())
}

/// On the machine of the control plane: there are no nodes, for theirs is not what is measured.
fn agent(cluster: &Cluster) -> Result<Agent> {
    let post = Post {
        place: cluster.control().with_cgroup("agent")?,
        node: format!("{}-control", cluster.id()),
        source: format!("kubernetes:{}", cluster.agent_kubeconfig().display()),
        run_dir: cluster.file("run"),
        log: cluster.file("agent.log"),
    };
    Agent::start(post, AgentOptions::default())
}

fn write_all(cluster: &Cluster, args: &Args) -> Result<()> {
    let numbers: Vec<_> = (0..args.services).collect();
    let parts = numbers.chunks(args.services.div_ceil(AT_ONCE)).enumerate().map(|(part, numbers)| {
        let objects = numbers.iter().flat_map(|&number| [service(number), slice(number, args.endpoints)]);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>() });
        let file = cluster.file(&format!("part-{part}.json"));
        fs::write(&file, list.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        cluster.start_kubectl(&["create", "--output=name", &format!("--filename={}", file.display())])
    });
    for part in parts.collect::<Result<Vec<_>>>()? {
        part.wait(PATIENCE)?.stdout()?;
    }
    Ok(())
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name(number), "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

fn slice(number: usize, endpoints: usize) -> Value {
    let address = |endpoint: usize| {
        let host = number * endpoints + endpoint;
        format!("10.{}.{}.{}", 128 + host / 62_500, host / 250 % 250, 1 + host % 250)
    };
    let endpoints = (0..endpoints).map(|endpoint| json!({ "addresses": [address(endpoint)] }));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name(number),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": name(number) },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

/// From the moment that the API server has taken the change.
fn follow(cluster: &Cluster, agent: &Agent, change: usize) -> Result<Duration> {
    let before = snapshot(agent)?;
    let patch = json!([{ "op": "replace", "path": "/ports/0/port", "value": 9_000 + change }]).to_string();
    let namespace = format!("--namespace={NAMESPACE}");
    let slice = name(change);
    cluster
        .kubectl(&["patch", "endpointslice", &slice, &namespace, "--type=json", "--patch", &patch])?
        .stdout()?;
    let begin = Instant::now();
    while snapshot(agent)? == before {
        ensure!(begin.elapsed() < PATIENCE, "the agent does not follow");
    }
    Ok(begin.elapsed())
}

/// Until no new snapshot has come for a while: the agent joins them more seldom the longer each takes.
fn wait_quiet(agent: &Agent) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(3);
    loop {
        let before = snapshot(agent)?;
        thread::sleep(QUIET);
        if snapshot(agent)? == before {
            return Ok(());
        }
    }
}

fn snapshot(agent: &Agent) -> Result<u64> {
    agent.json(&["status"])?["snapshot"].as_u64().context("status tells no snapshot")
}

fn megabytes(agent: &Agent) -> Result<f64> {
    Ok(agent.resident()? as f64 / 1e6)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1e3)
}
