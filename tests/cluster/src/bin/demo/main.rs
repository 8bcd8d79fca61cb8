//! `cargo xtask demo kubernetes`: installed on a real cluster, put to work, replaced, and taken away.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is what it prints")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cluster::{Cluster, IMAGE};
use harness::narrator::{prompt, say, title};

use crate::{
    stage::{IN_NAMESPACE, NAMESPACE, Stage},
    traces::Traces,
};

mod stage;
mod traces;

const LABEL: &str = "istio.io/dataplane-mode";
const ROLLOUT: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Args {
    /// Leave everything standing at the end, with the agents
    #[arg(long)]
    keep: bool,
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
    let before = Traces::of(&stage.cluster)?;
    let played = stage
        .install()
        .and_then(|()| stage.label())
        .and_then(|()| stage.start_a_pod())
        .and_then(|()| stage.look_inside())
        .and_then(|()| stage.roll())
        .and_then(|()| stage.take_the_label_away());
    let ended = if keep { played } else { played.and_then(|()| stage.uninstall(&before)) };
    if let Err(error) = ended {
        eprintln!("{}", stage.cluster.autopsy());
        return Err(error);
    }
    if keep { keep_standing(stage) } else { leave_nothing(stage) }
}

// === impl Stage ===

impl Stage {
    fn install(&self) -> Result<()> {
        title("Installed, by the chart");
        self.fetch()?;
        prompt("admin", "helm install millstream daemonset/chart --namespace millstream-system \\");
        println!("         --create-namespace --wait");
        self.cluster.prepare_install()?;
        let begin = Instant::now();
        self.cluster.helm_install(&["logJson=false"])?;
        say(&format!("Each node has an agent, and all are ready after {} ms.", begin.elapsed().as_millis()));
        self.kubectl(&["get", "pods", "--namespace=millstream-system", stage::PODS])?;
        say("It has put its plugin last into the node's CNI chain, so that it is asked for each new pod:");
        self.on_node("n1", r#"grep -oE '"type": ?"[^"]+"' /etc/cni/net.d/10-pods.conflist"#)
    }

    fn label(&self) -> Result<()> {
        title("The label, on a namespace whose pods run already");
        let mut old = self.dial()?;
        old.ping("before the label")?;
        say("A connection to the database is open, and will stay: `before the label` echoed.");
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

    fn start_a_pod(&self) -> Result<()> {
        title("A new pod, whose first act is a connection");
        say(
            "Its containers start only when the plugin has heard from the agent that it is captured: nothing of\n\
             a new pod goes past the mesh.",
        );
        let first = "wget -qO- http://$WEB_SERVICE_HOST && exec sleep 2147483647";
        let image = format!("--image={IMAGE}");
        self.kubectl(&["run", "early", IN_NAMESPACE, &image, "--", "sh", "-c", first])?;
        self.cluster.wait(&["--for=condition=Ready", "pod/early", IN_NAMESPACE])?;
        self.kubectl(&["logs", "early", IN_NAMESPACE])?;
        say("What the agent says of it: the plugin's question, and the access record of that connection.");
        let agent = self.agent_of("early")?;
        let log = self.log_until(&agent, |log| log.contains("src.workload=shop/early"))?;
        prompt("admin", &format!("kubectl logs {agent} -n millstream-system | grep shop/early"));
        log.lines().filter(|line| line.contains("shop/early")).for_each(stage::show_wrapped);
        let pods = self.json("early", &["pods"])?;
        let early = pods.as_array().into_iter().flatten().find(|pod| pod["name"] == "early");
        let early = early.context("the agent does not know the pod")?;
        ensure!(early["older_connections"] == 0, "it had connections before it was captured: {early}");
        Ok(())
    }

    fn look_inside(&self) -> Result<()> {
        title("What a node knows");
        let mut live = self.dial()?;
        live.ping("held open")?;
        let destination = format!("{}:80", self.address_of("web")?);
        for question in [&["status"][..], &["pods"], &["connections"], &["why", "shop/client", &destination]]
        {
            self.ask("client", question)?;
        }
        live.finish()?.stdout().map(drop)
    }

    fn roll(&self) -> Result<()> {
        title("The agents are replaced, with connections open and new ones all the while");
        say(
            "The next agent of a node is ready before the one before it ends, and takes over what is new. What is\n\
             open stays with the old one, which ends when that is closed, or after drain.shutdown (20 s).",
        );
        let mut live = self.dial()?;
        live.ping("before")?;
        let old = self.agent_of("client")?;
        let load = self.load()?;
        let begin = Instant::now();
        self.kubectl(&["rollout", "restart", "daemonset/millstream", "--namespace=millstream-system"])?;
        while self.agent_of("client")? == old {
            ensure!(begin.elapsed() < ROLLOUT, "{old} was not replaced within {ROLLOUT:?}");
        }
        live.ping("the old agent is told to end")?;
        say("`the old agent is told to end` echoed: that one still serves the connection. It is closed now.");
        live.finish()?.stdout()?;
        self.kubectl(&["rollout", "status", "daemonset/millstream", "--namespace=millstream-system"])?;
        let took = begin.elapsed();
        let found = load.stop()?;
        let failed: u64 =
            found["failures"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        ensure!(failed == 0, "new connections failed: {found}");
        say(&format!(
            "Both nodes have new agents after {:.1} s. Of {} connections begun meanwhile, {failed} failed.",
            took.as_secs_f64(),
            found["connections"]
        ));
        Ok(())
    }

    fn take_the_label_away(&self) -> Result<()> {
        title("The label is taken away, with a connection open through the proxy");
        let mut live = self.dial()?;
        live.ping("captured")?;
        self.kubectl(&["label", "namespace", NAMESPACE, &format!("{LABEL}-")])?;
        self.wait_released("early")?;
        live.ping("still alive")?;
        say("`still alive` echoed: what was captured stays so until it ends.");
        self.ask("client", &["pods"])?;
        live.finish()?.stdout()?;
        self.wait_released("client")?;
        say("It has ended, and the client is as if nothing had been:");
        self.fetch()
    }

    fn uninstall(&self, before: &Traces) -> Result<()> {
        title("Uninstalled, by Helm");
        prompt("admin", "helm uninstall millstream --namespace=millstream-system --wait");
        let begin = Instant::now();
        self.cluster.uninstall()?;
        say(&format!(
            "A hook of the chart ended the agents first and waited until each had cleaned its node, while it\n\
             still had its rights: {:.1} s in all. What is left:",
            begin.elapsed().as_secs_f64()
        ));
        self.kubectl(&[
            "get",
            "all,clusterroles,validatingadmissionpolicies",
            "--all-namespaces",
            "--selector=app.kubernetes.io/instance=millstream",
        ])?;
        self.on_node("n1", traces::FILES)?;
        before.ensure_nothing_else(&Traces::of(&self.cluster)?)?;
        say(
            "Nothing. On both nodes the CNI configuration is to the byte what it was before, and so are the rules\n\
             and routes of the pods; and they still reach each other:",
        );
        self.fetch()
    }
}

fn keep_standing(stage: Stage) -> Result<()> {
    title("Left standing, with the agents");
    say("Try:\n  \
         cargo xtask cluster kubectl label namespace shop istio.io/dataplane-mode=ambient\n  \
         cargo xtask cluster kubectl exec daemonset/millstream -n millstream-system -- millstream status\n  \
         cargo xtask cluster down");
    stage.cluster.leave()
}

fn leave_nothing(stage: Stage) -> Result<()> {
    let id = stage.cluster.id().clone();
    drop(stage);
    let left = Cluster::leftovers(&id);
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    say("The cluster is gone, and nothing of it is left.");
    Ok(())
}
