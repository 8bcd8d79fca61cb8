//! `cargo xtask demo kubernetes`: a label on a namespace of a real cluster, and what follows.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is what it prints")]

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cluster::{Cluster, IMAGE};
use harness::{
    Agent, AgentOptions, Client, Connected, narrator,
    narrator::{prompt, say, show, title},
};

const NAMESPACE: &str = "shop";
const IN_NAMESPACE: &str = "--namespace=shop";
const LABEL: &str = "istio.io/dataplane-mode";
const NODES: [&str; 2] = ["n1", "n2"];

#[derive(Parser)]
struct Args {
    /// Leave everything standing at the end
    #[arg(long)]
    keep: bool,
}

/// The stage: a cluster, and an agent on each of its nodes.
struct Stage {
    cluster: Cluster,
    agents: [Agent; 2],
}

fn main() -> ExitCode {
    let Args { keep } = Args::parse();
    let start = Instant::now();
    match play(keep) {
        Ok(()) => {
            println!("\nThe demo took {:.0} s.", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(keep: bool) -> Result<()> {
    let stage = Stage::build(keep)?;
    let played = stage.before_and_after_the_label().and_then(|()| stage.look_inside());
    if let Err(error) = played.and_then(|()| stage.take_the_label_away()) {
        eprintln!("{}", stage.cluster.autopsy());
        return Err(error);
    }
    if keep { stage.keep() } else { stage.leave_nothing() }
}

// === impl Stage ===

impl Stage {
    fn build(keep: bool) -> Result<Self> {
        title("A Kubernetes cluster of two nodes");
        say(
            "etcd, an API server, controllers and a scheduler; on each node a kubelet, containerd and kube-proxy.\n\
             Each node has a network, mounts and processes of its own, so it is a machine to whatever runs on it.",
        );
        let cluster = if keep { Cluster::standing("demo")? } else { Cluster::start("demo")? };
        let near = cluster.node("n1")?.name();
        cluster.apply(&include_str!("shop.yaml").replace("NEAR", near).replace("IMAGE", IMAGE))?;
        cluster.wait(&["--for=condition=Available", "deployment/web", IN_NAMESPACE])?;
        cluster.wait(&["--for=condition=Ready", "pod", "--all", IN_NAMESPACE])?;
        let start = |node| cluster.node(node)?.agent(AgentOptions::default());
        let agents = [start("n1")?, start("n2")?];
        let stage = Self { cluster, agents };
        stage.kubectl(&["get", "nodes"])?;
        stage.kubectl(&["get", "pods", IN_NAMESPACE, "--output=wide"])?;
        say("An agent runs on each node, with the rights that daemonset/millstream.yaml gives it.");
        Ok(stage)
    }

    fn before_and_after_the_label(&self) -> Result<()> {
        title("Before the label");
        self.fetch()?;
        let mut old = self.dial()?;
        old.ping("before the label")?;
        say("A connection to the database is open too, and will stay: `before the label` echoed.");

        title("The label");
        let flip = Instant::now();
        self.kubectl(&["label", "namespace", NAMESPACE, &format!("{LABEL}=ambient")])?;
        self.cluster.wait(&[
            "--for=jsonpath={.metadata.annotations.ambient\\.istio\\.io/redirection}=enabled",
            "pod",
            "--all",
            IN_NAMESPACE,
        ])?;
        say(&format!(
            "All pods are captured, none was restarted ({} ms later, with what kubectl takes):",
            flip.elapsed().as_millis()
        ));
        self.restarts_and_redirection()?;
        self.fetch()?;
        old.ping("after the label")?;
        say("`after the label` echoed over the connection from before: it was never touched.");
        old.finish()?.stdout().map(drop)
    }

    fn look_inside(&self) -> Result<()> {
        title("What each node knows");
        let mut live = self.dial()?;
        live.ping("held open")?;
        for (node, agent) in NODES.iter().zip(&self.agents) {
            narrator::millstream(node, agent, &["status"])?;
            narrator::millstream(node, agent, &["pods"])?;
        }
        let [near, far] = &self.agents;
        narrator::millstream("n1", near, &["connections"])?;
        let destination = format!("{}:80", self.address_of("web")?);
        narrator::millstream("n1", near, &["why", "shop/client", &destination])?;
        say("And the pod of the service on the other node, from there:");
        let pods =
            self.cluster.kubectl(&["get", "pods", IN_NAMESPACE, "--selector=app=web", "--output=json"])?;
        let pods = pods.json()?;
        let far_node = self.cluster.node("n2")?.name();
        let mut pods = pods["items"].as_array().into_iter().flatten();
        let on_far = pods.find(|pod| pod["spec"]["nodeName"] == far_node);
        let name = on_far.and_then(|pod| pod["metadata"]["name"].as_str()).context("no web pod on n2")?;
        narrator::millstream("n2", far, &["why", &format!("{NAMESPACE}/{name}"), &destination])?;

        prompt("admin", "kubectl get pod client --namespace=shop --output=yaml | head -5");
        let yaml = self.cluster.kubectl(&["get", "pod", "client", IN_NAMESPACE, "--output=yaml"])?;
        yaml.stdout()?.lines().take(5).for_each(|line| println!("  {line}"));
        live.finish()?.stdout().map(drop)
    }

    fn take_the_label_away(&self) -> Result<()> {
        title("The label is taken away, with a connection open through the proxy");
        let mut live = self.dial()?;
        live.ping("captured")?;
        self.kubectl(&["label", "namespace", NAMESPACE, &format!("{LABEL}-")])?;
        let [_, far] = &self.agents;
        let pods = far.json(&["pods"])?;
        for pod in pods.as_array().into_iter().flatten() {
            let name = format!(
                "{}/{}",
                pod["namespace"].as_str().unwrap_or_default(),
                pod["name"].as_str().unwrap_or_default()
            );
            far.wait(&["released", &name])?;
        }
        live.ping("still alive")?;
        say("`still alive` echoed: what was captured stays so until it ends.");
        narrator::millstream("n1", &self.agents[0], &["pods"])?;
        live.finish()?.stdout()?;
        self.agents[0].wait(&["released", "shop/client"])?;
        say("It has ended, and the client is as if nothing had been:");
        self.fetch()
    }

    fn keep(self) -> Result<()> {
        let Self { cluster, agents } = self;
        title("Left standing");
        say("Try:\n  \
             cargo xtask cluster kubectl label namespace shop istio.io/dataplane-mode=ambient\n  \
             cargo xtask cluster exec n1 -- millstream status\n  \
             cargo xtask cluster down");
        agents.into_iter().for_each(Agent::leave);
        cluster.leave()
    }

    fn leave_nothing(self) -> Result<()> {
        let Self { cluster, agents } = self;
        let id = cluster.id().clone();
        drop((agents, cluster));
        let left = Cluster::leftovers(&id);
        ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        say("The cluster is gone, and nothing of it is left.");
        Ok(())
    }

    fn kubectl(&self, args: &[&str]) -> Result<()> {
        prompt("admin", &format!("kubectl {}", args.join(" ")));
        let output = self.cluster.kubectl(args)?;
        show(&output);
        output.stdout().map(drop)
    }

    fn restarts_and_redirection(&self) -> Result<()> {
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

    fn address_of(&self, service: &str) -> Result<String> {
        let get = ["get", "service", service, IN_NAMESPACE, "--output=jsonpath={.spec.clusterIP}"];
        Ok(self.cluster.kubectl(&get)?.stdout()?.to_owned())
    }

    /// A page of the web service, by its address.
    fn fetch(&self) -> Result<()> {
        let url = format!("http://{}", self.address_of("web")?);
        self.kubectl(&["exec", IN_NAMESPACE, "client", "--", "wget", "-qO-", &url])
    }

    /// A connection from the client to the database.
    fn dial(&self) -> Result<Client> {
        let addr = format!("{}:5432", self.address_of("db")?);
        let mut client = Client::of(self.cluster.exec(NAMESPACE, "client", &["peer", "dial", &addr])?);
        ensure!(matches!(client.connected()?, Connected::Yes { .. }), "no connection to the database");
        Ok(client)
    }
}
