//! `cargo xtask demo`: the product at work, with real programs in real network namespaces.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is what it prints")]

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use harness::{
    Agent, AgentOptions, Connected, Lab, Node, Output, Pod, narrator,
    narrator::{prompt, say, show, title},
    shop,
    shop::Shop,
    standing,
};

#[derive(Parser)]
struct Args {
    /// Leave everything standing at the end
    #[arg(long)]
    keep: bool,
}

/// The stage: one node with its agent, and the shop.
struct Stage {
    lab: Lab,
    node: Node,
    agent: Agent,
    shop: Shop,
}

fn main() -> ExitCode {
    let Args { keep } = Args::parse();
    let start = Instant::now();
    let stage = match Stage::build(keep) {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let ended = play(stage, keep);
    match ended {
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

fn play(mut stage: Stage, keep: bool) -> Result<()> {
    let played = stage.before_and_after_the_label().and_then(|()| stage.look_inside());
    let played = played.and_then(|()| stage.lose_the_agent()).and_then(|()| stage.release());
    if let Err(error) = played {
        eprintln!("{}", stage.lab.autopsy());
        return Err(error);
    }
    if keep { stage.keep() } else { stage.leave_nothing() }
}

// === impl Stage ===

impl Stage {
    fn build(keep: bool) -> Result<Self> {
        title("A node, four pods, two services, one agent");
        let lab = if keep { Lab::standing("demo")? } else { Lab::new("demo")? };
        lab.raze_on_signal();
        let node = lab.node("a")?;
        let shop = Shop::open(&lab, &node, &node)?;
        let agent = node.agent(AgentOptions::default())?;
        say("Each pod is a network namespace with a veth, as a CNI plugin makes it. The agent reads\n\
             ordinary Kubernetes manifests from a folder. Nothing is labelled yet.");
        millstream(&agent, &["pods"])?;
        Ok(Self { lab, node, agent, shop })
    }

    fn before_and_after_the_label(&self) -> Result<()> {
        let Self { lab, agent, shop, .. } = self;
        title("Before the label");
        say("The client reaches a pod directly:");
        curl(&shop.client, &shop.web_pod_url())?;
        let mut old = shop.client.dial(shop.db_pod_addr(), &[])?;
        ensure!(matches!(old.connected()?, Connected::Yes { .. }), "no connection to the database");
        old.ping("before the label")?;
        say("A connection to the database is open too, and will stay: `before the label` echoed.");

        title("The label: istio.io/dataplane-mode=ambient on the namespace");
        lab.label_namespace(shop::NAMESPACE, shop::LABEL, Some("ambient"))?;
        for pod in shop.pods() {
            agent.wait_captured(pod)?;
        }
        millstream(agent, &["pods"])?;
        say("The same pods, not restarted. The service address works now, without kube-proxy; the web\n\
             server still sees the client's real address:");
        for url in [&shop.web_url(), &shop.web_url(), &shop.web_url_v6(), &shop.web_pod_url()] {
            curl(&shop.client, url)?;
        }
        old.ping("after the label")?;
        say("`after the label` echoed over the connection from before: it was never touched.");
        old.finish()?.stdout()?;
        Ok(())
    }

    fn look_inside(&self) -> Result<()> {
        let Self { agent, shop, .. } = self;
        title("What the agent knows");
        let mut live = shop.client.dial(shop.db_addr(), &[])?;
        ensure!(matches!(live.connected()?, Connected::Yes { .. }), "no connection to the database");
        live.ping("held open")?;
        for command in [&["status"][..], &["services"], &["connections"], &["maps", "pods"]] {
            millstream(agent, command)?;
        }
        let web = shop.web_service.v4_addr(80).to_string();
        millstream(agent, &["why", &shop.client.full_name(), &web])?;
        live.finish()?.stdout()?;
        Ok(())
    }

    fn lose_the_agent(&mut self) -> Result<()> {
        title("The agent is killed");
        self.agent.kill()?;
        say("Nothing gets round the mesh: connections are refused, at once.");
        refused(&self.shop.client, &self.shop.web_url())?;
        say("The maps are pinned, so they can be read without it:");
        millstream(&self.agent, &["maps", "pods"])?;
        self.agent.launch()?;
        say("It is back, and found everything where it was:");
        curl(&self.shop.client, &self.shop.web_url())
    }

    fn release(&self) -> Result<()> {
        let Self { lab, agent, shop, .. } = self;
        title("The label is taken away, with a connection open through the proxy");
        let mut live = shop.client.dial(shop.db_addr(), &[])?;
        ensure!(matches!(live.connected()?, Connected::Yes { .. }), "no connection to the database");
        live.ping("captured")?;
        lab.label_namespace(shop::NAMESPACE, shop::LABEL, None)?;
        // The web pods have no connections, so they are free soon.
        for pod in &shop.web {
            agent.wait_released(pod)?;
        }
        live.ping("still alive")?;
        say("`still alive` echoed: what was captured stays so until it ends.");
        millstream(agent, &["pods"])?;
        live.finish()?.stdout()?;
        for pod in shop.pods() {
            agent.wait_released(pod)?;
        }
        say("It has ended. The pods are as if nothing had been:");
        millstream(agent, &["pods"])?;
        say("And the client reaches a pod directly, as in the beginning:");
        curl(&shop.client, &shop.web_pod_url())
    }

    fn keep(self) -> Result<()> {
        let Self { lab, agent, shop, .. } = self;
        lab.label_namespace(shop::NAMESPACE, shop::LABEL, Some("ambient"))?;
        for pod in shop.pods() {
            agent.wait_captured(pod)?;
        }
        title("Labelled again, and left standing");
        say(&standing::tour(&lab, &shop));
        agent.leave();
        shop.leave();
        lab.leave()
    }

    fn leave_nothing(self) -> Result<()> {
        let Self { lab, node, mut agent, shop } = self;
        title("Clean-up");
        agent.terminate()?;
        millstream(&agent, &["cleanup"])?;
        let id = lab.id().clone();
        drop((shop, agent, node, lab));
        let left = Lab::leftovers(&id);
        ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        say("No program, pin, rule, namespace or cgroup is left.");
        Ok(())
    }
}

/// Asks the command line on the node.
fn millstream(agent: &Agent, args: &[&str]) -> Result<()> {
    narrator::millstream("node", agent, args)
}

/// Fetches a page from inside a pod.
fn curl(pod: &Pod, url: &str) -> Result<()> {
    let output = run_curl(pod, url)?;
    show(&output);
    output.stdout().map(drop)
}

/// Fetches a page that must not be had, and says how long the refusal took.
fn refused(pod: &Pod, url: &str) -> Result<()> {
    let start = Instant::now();
    let output = run_curl(pod, url)?;
    let elapsed = start.elapsed();
    show(&output);
    ensure!(!output.status.success(), "{url} answered, although nobody is there to forward");
    println!("  ({} ms, with the start of curl)", elapsed.as_millis());
    Ok(())
}

fn run_curl(pod: &Pod, url: &str) -> Result<Output> {
    prompt(pod.name(), &format!("curl {url}"));
    pod.run(&["curl", "--silent", "--show-error", "--max-time", "10", url])
}
