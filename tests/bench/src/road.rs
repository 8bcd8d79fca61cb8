//! The ways from one pod to another on the same node, and the stage that one is measured on.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    net::SocketAddr,
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use harness::{Agent, AgentOptions, Lab, Node, Place, Pod, Process};
use serde_json::Value;

use crate::usage::Watched;

/// What lies between the two pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Road {
    /// Nothing: no agent runs on this machine.
    Direct,
    /// Both pods are captured.
    Ours,
    /// The same copy behind REDIRECT, at both sides.
    Redirect,
    /// Nothing either, but an agent captures other pods of the node.
    Beside,
}

/// A node with two pods, for one measurement: what a run leaves in the kernel, TIME_WAIT above all, ends with it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) node: Node,
    proxy: Proxy,
    servers: Vec<Process>,
    // Last: it takes down what the others are in.
    pub(crate) lab: Lab,
}

#[derive(Debug)]
enum Proxy {
    None,
    Agent(Agent),
    Redirect(Process),
}

pub(crate) const NAMESPACE: &str = "bench";
const LABEL: &str = "istio.io/dataplane-mode";
/// More than anything takes that is not broken, the sustained run included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// The kernel takes namespaces down after we are done with them, and uses a core for it.
const REST: Duration = Duration::from_millis(500);

/// What REDIRECT leads to, and the mark that keeps the proxy's own connections from it.
const OUTBOUND: u16 = 15_001;
const INBOUND: u16 = 15_006;
const MARK: u32 = 0x539;

// === impl Road ===

impl Road {
    pub(crate) const COMPARED: [Self; 3] = [Self::Direct, Self::Ours, Self::Redirect];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ours => "ours",
            Self::Redirect => "REDIRECT",
            Self::Beside => "uncaptured",
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Stage ===

impl Stage {
    pub(crate) fn build(road: Road) -> Result<Self> {
        Self::with(road, AgentOptions::default())
    }

    /// The agent, if the road has one, is started so.
    pub(crate) fn with(road: Road, options: AgentOptions) -> Result<Self> {
        thread::sleep(REST);
        let lab = Lab::new("bench")?;
        // Every lab of this process has the same name.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| lab.raze_on_signal());
        let node = lab.node("a")?;
        let agent = match road {
            Road::Ours | Road::Beside => Some(node.agent(options)?),
            Road::Direct | Road::Redirect => None,
        };
        let client = node.pod(NAMESPACE, "client").start()?;
        let server = node.pod(NAMESPACE, "server").start()?;
        let mut stage = Self { client, server, node, proxy: Proxy::None, servers: Vec::new(), lab };
        match agent {
            Some(agent) if road == Road::Ours => {
                stage.label(NAMESPACE)?;
                agent.wait_captured(&stage.client)?;
                agent.wait_captured(&stage.server)?;
                stage.proxy = Proxy::Agent(agent);
            }
            Some(agent) => {
                let other = stage.node.pod("captured", "other").start()?;
                stage.label("captured")?;
                agent.wait_captured(&other)?;
                stage.proxy = Proxy::Agent(agent);
            }
            None if road == Road::Redirect => stage.proxy = Proxy::Redirect(stage.redirect()?),
            None => {}
        }
        Ok(stage)
    }

    pub(crate) fn label(&self, namespace: &str) -> Result<()> {
        self.lab.label_namespace(namespace, LABEL, Some("ambient"))
    }

    pub(crate) fn agent(&self) -> Result<&Agent> {
        match &self.proxy {
            Proxy::Agent(agent) => Ok(agent),
            Proxy::None | Proxy::Redirect(_) => bail!("no agent runs on this road"),
        }
    }

    /// Kills the agent, and starts the next.
    pub(crate) fn restart_agent(&mut self) -> Result<()> {
        match &mut self.proxy {
            Proxy::Agent(agent) => agent.kill().and_then(|_| agent.launch()),
            Proxy::None | Proxy::Redirect(_) => bail!("no agent runs on this road"),
        }
    }

    /// Waits until that is true, as `what` says it.
    pub(crate) fn wait_until(&self, what: &str, mut is: impl FnMut(&Agent) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is(self.agent()?)? {
            ensure!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        }
        Ok(())
    }

    /// The process that carries the traffic.
    pub(crate) fn watched(&self) -> Option<Watched> {
        match &self.proxy {
            Proxy::None => None,
            Proxy::Agent(agent) => agent.pid().map(Watched),
            Proxy::Redirect(process) => Some(Watched(process.pid())),
        }
    }

    /// Starts `load serve` in the pod of the server.
    pub(crate) fn serve(&mut self, mode: &str, threads: usize) -> Result<SocketAddr> {
        let server = self.server.clone();
        self.serve_in(&server, mode, threads)
    }

    pub(crate) fn serve_in(&mut self, pod: &Pod, mode: &str, threads: usize) -> Result<SocketAddr> {
        let addr = SocketAddr::from((pod.v4(), 8_080));
        let (listen, threads) = (addr.to_string(), threads.to_string());
        let words = ["serve", "--mode", mode, "--listen", &listen, "--threads", &threads];
        self.servers.push(ready(pod, "load", &words)?);
        Ok(addr)
    }

    /// Starts an nginx that answers from memory.
    pub(crate) fn serve_http(&mut self) -> Result<SocketAddr> {
        let addr = SocketAddr::from((self.server.v4(), 8_080));
        let manifests = self.lab.manifests();
        let dir = manifests.parent().context("the lab has no folder")?;
        let path = dir.join("nginx.conf");
        fs::write(&path, nginx_conf(addr, &dir.display().to_string()))?;
        let path = path.display().to_string();
        self.servers.push(self.server.spawn(&["/usr/sbin/nginx", "-e", "stderr", "-c", &path])?);
        // It says nothing when it listens.
        let listening = format!("ss --no-header --listening --tcp --numeric 'sport = :{}'", addr.port());
        let wait = format!("until [ -n \"$({listening})\" ]; do sleep 0.01; done");
        self.server.run(&["sh", "-c", &wait])?.stdout().context("nginx does not listen")?;
        Ok(addr)
    }

    /// Runs `load ARGS…` in the pod of the client to its end; what it found.
    pub(crate) fn load(&self, args: &[&str]) -> Result<Value> {
        load(&self.client, args)
    }

    /// Starts `load ARGS…`, which says `ready`, in the pod of the client.
    pub(crate) fn start_load(&self, args: &[&str]) -> Result<Process> {
        ready(&self.client, "load", args)
    }

    fn redirect(&self) -> Result<Process> {
        for pod in [&self.client, &self.server] {
            pod.run(&["nft", &rules()])?.stdout().context("cannot set the rules of REDIRECT")?;
        }
        let [client, server] = [&self.client, &self.server].map(|pod| pod.netns_path().display().to_string());
        let [outbound, inbound] = [OUTBOUND, INBOUND].map(|port| port.to_string());
        let mark = MARK.to_string();
        let words = ["--outbound", &outbound, "--inbound", &inbound, "--mark", &mark, &client, &server];
        ready(&self.node, "redirect", &words)
    }
}

/// Runs `load ARGS…` to its end; what it found.
pub(crate) fn load(place: &Place, args: &[&str]) -> Result<Value> {
    place.run_for(PATIENCE, &words("load", args)?)?.json()
}

/// Starts a program of this package, and waits until it says `ready`.
fn ready(place: &Place, program: &str, args: &[&str]) -> Result<Process> {
    let mut process = place.spawn(&words(program, args)?)?;
    let said = process.line(PATIENCE)?;
    ensure!(said == "ready", "{program} said {said:?} instead of ready");
    Ok(process)
}

/// The command line of a program of this package: built with this one, found beside it.
fn words(program: &str, args: &[&str]) -> Result<Vec<OsString>> {
    let path = env::current_exe()?.with_file_name(program);
    ensure!(path.is_file(), "no program {}; build package bench", path.display());
    Ok([path.into_os_string()].into_iter().chain(args.iter().map(OsString::from)).collect())
}

/// What `iptables --table nat --jump REDIRECT` makes too, in the language of nftables.
fn rules() -> String {
    format!(
        "table ip mesh {{
           chain output {{
             type nat hook output priority -100; policy accept;
             meta mark {MARK} return
             oifname \"lo\" return
             meta l4proto tcp redirect to :{OUTBOUND}
           }}
           chain prerouting {{
             type nat hook prerouting priority -100; policy accept;
             iifname \"eth0\" meta l4proto tcp redirect to :{INBOUND}
           }}
         }}"
    )
}

/// One process, no files: what is measured is the way to it.
fn nginx_conf(addr: SocketAddr, dir: &str) -> String {
    format!(
        "daemon off;
         master_process off;
         pid {dir}/nginx.pid;
         events {{ worker_connections 1024; }}
         http {{
           access_log off;
           keepalive_requests 1000000000;
           server {{
             listen {addr};
             location / {{ return 200 'a stone is left to the water\\n'; }}
           }}
         }}"
    )
}
