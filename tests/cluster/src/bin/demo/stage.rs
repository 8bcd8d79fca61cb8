//! The cluster with a small shop on it, and what is asked of both.
#![expect(clippy::print_stdout, reason = "the demo is what it prints")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, IMAGE, release};
use harness::{
    Client, Connected, Load,
    narrator::{prompt, say, show, title},
};
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const IN_NAMESPACE: &str = "--namespace=shop";
/// What fits on a line.
pub(crate) const PODS: &str =
    "--output=custom-columns=POD:.metadata.name,NODE:.spec.nodeName,STATUS:.status.phase";
const OF_AGENTS: &str = "--namespace=millstream-system";
const COLUMNS: usize = 96;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn build(keep: bool) -> Result<Self> {
        title("A Kubernetes cluster of two nodes");
        say(
            "etcd, an API server, controllers and a scheduler; on each node a kubelet, containerd, kube-proxy. A\n\
             node has a network, mounts and processes of its own, so it is a machine to whatever runs on it.",
        );
        let cluster = if keep { Cluster::standing("demo")? } else { Cluster::start("demo")? };
        let stage = Self { cluster };
        stage.cluster.apply(&stage.manifests(include_str!("shop.yaml"))?)?;
        stage.cluster.wait(&["--for=condition=Available", "deployment/web", IN_NAMESPACE])?;
        stage.cluster.wait(&["--for=condition=Ready", "pod", "--all", IN_NAMESPACE])?;
        stage.kubectl(&["get", "pods", IN_NAMESPACE, PODS])?;
        Ok(stage)
    }

    pub(crate) fn manifests(&self, text: &str) -> Result<String> {
        Ok(text.replace("NEAR", self.cluster.node("n1")?.name()).replace("IMAGE", IMAGE))
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<()> {
        prompt_wrapped("admin", "kubectl", args);
        let output = self.cluster.kubectl(args)?;
        show(&output);
        output.stdout().map(drop)
    }

    /// A line of shell.
    pub(crate) fn on_node(&self, node: &str, line: &str) -> Result<()> {
        prompt(node, line);
        show(&self.cluster.node(node)?.run(&["sh", "-c", &format!("{line} 2>/dev/null")])?);
        Ok(())
    }

    /// Asks the command line beside the agent of this pod's node.
    pub(crate) fn ask(&self, pod: &str, question: &[&str]) -> Result<()> {
        self.kubectl(&exec(&self.agent_of(pod)?, question))
    }

    pub(crate) fn json(&self, pod: &str, question: &[&str]) -> Result<Value> {
        let question = [question, &["--output=json"]].concat();
        self.cluster.kubectl(&exec(&self.agent_of(pod)?, &question))?.json()
    }

    pub(crate) fn wait_released(&self, pod: &str) -> Result<()> {
        let name = format!("{NAMESPACE}/{pod}");
        self.cluster.kubectl(&exec(&self.agent_of(pod)?, &["wait", "released", &name]))?.stdout().map(drop)
    }

    /// The pod of the agent on this pod's node that is not told to end; while two overlap, the older one.
    pub(crate) fn agent_of(&self, pod: &str) -> Result<String> {
        let node = ["get", "pod", pod, IN_NAMESPACE, "--output=jsonpath={.spec.nodeName}"];
        let node = format!("--field-selector=spec.nodeName={}", self.cluster.kubectl(&node)?.stdout()?);
        let agents = ["get", "pods", "--output=json", OF_AGENTS, &node, release::AGENTS];
        let agents = self.cluster.kubectl(&agents)?.json()?;
        let agents = agents["items"].as_array().into_iter().flatten().map(|pod| &pod["metadata"]);
        let stays = agents.filter(|agent| agent["deletionTimestamp"].is_null());
        let oldest = stays.min_by_key(|agent| agent["creationTimestamp"].as_str().map(str::to_owned));
        let name = oldest.and_then(|agent| agent["name"].as_str()).map(str::to_owned);
        name.with_context(|| format!("the node of {pod} has no agent"))
    }

    /// A log is written to the node's disk, and read there a moment later.
    pub(crate) fn log_until(&self, agent: &str, is_there: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.cluster.kubectl(&["logs", agent, OF_AGENTS])?.stdout()?.to_owned();
            if is_there(&log) {
                return Ok(log);
            }
            ensure!(Instant::now() < end, "it is not in the log of {agent}:\n{log}");
        }
    }

    pub(crate) fn restarts_and_redirection(&self) -> Result<()> {
        const COLUMNS: [&str; 3] = [
            "POD:.metadata.name",
            "RESTARTS:.status.containerStatuses[0].restartCount",
            "REDIRECTION:.metadata.annotations.ambient\\.istio\\.io/redirection",
        ];
        let columns = format!("--output=custom-columns={}", COLUMNS.join(","));
        prompt("admin", "kubectl get pods --namespace=shop --output=custom-columns=\\");
        println!("         {}", COLUMNS.join(",\\\n         "));
        let pods = self.cluster.kubectl(&["get", "pods", IN_NAMESPACE, &columns])?;
        show(&pods);
        pods.stdout().map(drop)
    }

    pub(crate) fn address_of(&self, service: &str) -> Result<String> {
        let get = ["get", "service", service, IN_NAMESPACE, "--output=jsonpath={.spec.clusterIP}"];
        Ok(self.cluster.kubectl(&get)?.stdout()?.to_owned())
    }

    /// A page of the web service, by its address.
    pub(crate) fn fetch(&self) -> Result<()> {
        let url = format!("http://{}", self.address_of("web")?);
        self.kubectl(&["exec", IN_NAMESPACE, "client", "--", "wget", "-qO-", &url])
    }

    /// A connection from the client to the database.
    pub(crate) fn dial(&self) -> Result<Client> {
        let addr = self.database()?;
        let mut client = Client::of(self.cluster.exec(NAMESPACE, "client", &["peer", "dial", &addr])?);
        ensure!(matches!(client.connected()?, Connected::Yes { .. }), "no connection to the database");
        Ok(client)
    }

    /// New connections from the client to the database, so many a second, until it is stopped.
    pub(crate) fn load(&self) -> Result<Load> {
        let addr = self.database()?;
        let load = ["peer", "load", &addr, "--workers", "2", "--rate", "50"];
        Load::of(self.cluster.exec(NAMESPACE, "client", &load)?)
    }

    fn database(&self) -> Result<String> {
        Ok(format!("{}:5432", self.address_of("db")?))
    }
}

fn exec<'a>(agent: &'a str, question: &[&'a str]) -> Vec<&'a str> {
    [&["exec", agent, OF_AGENTS, "--", release::RELEASE][..], question].concat()
}

/// A command of any length, as it would be typed.
fn prompt_wrapped(place: &str, program: &str, args: &[&str]) {
    let mut line = program.to_owned();
    let mut width = place.len() + 2 + line.len();
    for arg in args {
        let arg = if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() };
        if COLUMNS < width + 1 + arg.len() {
            line.push_str(" \\\n        ");
            width = 8;
        }
        width += 1 + arg.len();
        line.push(' ');
        line.push_str(&arg);
    }
    prompt(place, &line);
}

/// A long line, broken between words.
pub(crate) fn show_wrapped(line: &str) {
    let mut width = 0;
    for word in line.split(' ') {
        if COLUMNS < width + 1 + word.len() {
            print!("\n     ");
            width = 5;
        }
        print!("{}{word}", if width == 0 { "  " } else { " " });
        width += 1 + word.len();
    }
    println!();
}
