//! What can be said on the command line. The doc comments are the help.

use std::{ffi::OsString, path::PathBuf};

use app::agent::Source;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use jiff::SignedDuration;
use model::ObjectName;

use crate::{output::Format, supervise::CRASHES};

/// Captures the TCP traffic of labelled pods into one proxy on the node, and shows why.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The agent's run directory
    #[arg(long, global = true, value_name = "DIR", default_value = app::run_dir::DEFAULT)]
    pub(crate) run_dir: PathBuf,

    /// How to print the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  millstream status                          Is everything as it should be?
  millstream pods                            Which pods are captured, and why the others are not
  millstream why shop/client 10.96.0.10:80   Where would this connection go, step by step?
  millstream connections --watch             What goes through the proxy right now
  millstream maps counters                   What the eBPF programs decided, also without an agent

Exit codes: 0 fine; 1 the answer is bad news (degraded, refused); 2 usage, or nobody to ask.";

/// Where the node's container runtime looks for its network.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanupOptions {
    /// The folder of the CNI configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,

    /// The folder of the CNI plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) cni_bin_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent of a node, until SIGTERM; SIGHUP reloads the source
    #[command(after_help = "\
Examples:
  millstream agent --source kubernetes --node $NODE_NAME          In a pod: its service account
  millstream agent --source kubernetes:/etc/kubernetes/kubelet.conf --node $(hostname)
  millstream agent --source file:/etc/millstream/manifests --node $(hostname)

Namespaces, Nodes, Pods, Services, EndpointSlices and network policies are read and followed. A pod whose
namespace or own label says istio.io/dataplane-mode=ambient is captured. A folder holds ordinary Kubernetes
manifests; there the annotation millstream.dev/netns on a pod says where its network namespace is.")]
    Agent(AgentOptions),

    /// Run the controller of a cluster, until SIGTERM: it gives hosts of ServiceEntries their addresses
    #[command(after_help = "\
Examples:
  millstream controller                                         In a pod: its service account
  millstream controller --source kubernetes:/etc/kubernetes/admin.conf --namespace millstream-system

Of several controllers one leads, by the Lease NAME-controller; the others look on, and take over when it ends. Hosts
without an address are given one of each family in status.addresses of their ServiceEntries; no address that is
there ever moves. Where istiod gives addresses itself, this one gives none.")]
    Controller(ControllerOptions),

    /// Run the agent, and start it again at once when it crashes
    #[command(after_help = "\
Example:
  millstream supervise -- agent --source kubernetes --node $NODE_NAME

The first process of the DaemonSet's container. Signals are passed on; an agent that ends with an error in its
first 10 s is not started again, and the exit code is its own.")]
    Supervise {
        /// A command of millstream with its options
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },

    /// Is everything as it should be?
    Status,

    /// The pods of this node: captured or not, and why
    Pods,

    /// The services and their endpoints, as the proxy sees them
    Services,

    /// The connections that go through the proxy
    Connections(ConnectionOptions),

    /// DNS of the mesh
    Dns {
        #[command(subcommand)]
        question: DnsQuestion,
    },

    /// What the kernel holds, straight from the pinned maps: needs no agent
    Maps {
        #[arg(value_enum, default_value_t = Map::Summary)]
        map: Map,
    },

    /// Explain one connection: captured or not, and where it would go
    #[command(after_help = "\
Examples:
  millstream why shop/client 10.96.0.10:80
  millstream why client shop/web:80          A service by name
  millstream why client api.example.com:443  What the pod would be told by DNS, and where that leads
  millstream why client '[2001:db8::7]:443'

Exit code 1: the connection would be refused.")]
    Why {
        /// NAMESPACE/NAME, or NAME where that is unique
        pod: String,
        /// IP:PORT, [IPv6]:PORT, NAMESPACE/SERVICE:PORT, or a name that the pod would look up, and :PORT
        #[arg(value_name = "DEST:PORT")]
        destination: String,
    },

    /// Can this machine run the agent? Ends with a real captured connection
    Check,

    /// The eBPF programs: how large they are, and what they cost this kernel's verifier
    ///
    /// Loads each anew and attaches none, so it needs no agent. The verifier gives a program up after a million steps.
    Programs,

    /// Change what a running agent logs
    #[command(after_help = "\
Examples:
  millstream log debug
  millstream log info,capture=debug          By component: agent, app, capture, control, proxy
  millstream log info,access=off             No access records")]
    Log {
        /// error, warn, info, debug, trace, or a filter in the syntax of RUST_LOG
        #[arg(value_name = "LEVEL")]
        filter: String,
    },

    /// Wait until the agent is ready, or a pod captured or released
    #[command(after_help = "\
Examples:
  millstream wait ready
  millstream wait captured shop/client --timeout 30s

Exit code 1: it did not come true in time.")]
    Wait {
        #[command(subcommand)]
        condition: Condition,
        /// How long, e.g. 500ms, 20s, 1m
        #[arg(long, global = true, default_value = "20s")]
        timeout: SignedDuration,
    },

    /// Release every pod and remove every trace; the agent must be stopped
    #[command(after_help = "\
Example:
  millstream cleanup --cni-conf-dir /home/kubernetes/cni/net.d --cni-bin-dir /home/kubernetes/bin

For a node whose agent is gone for good and has left something: on the node itself, as root. The
CNI plugin is removed where the chain names it with this run directory.

Exit code 1: something could not be restored and is kept in the journal.")]
    Cleanup(CleanupOptions),

    /// Put the agents on a cluster, for those without Helm
    #[command(after_help = "\
Examples:
  millstream install --wait                                 Then: kubectl label namespace shop istio.io/dataplane-mode=ambient
  millstream install --image registry.example.com/millstream:0.1.0
  millstream install --dry-run | less                       What would be applied

Applies this version's manifests server-side, in namespace millstream-system, with the defaults of every setting. Where
something is to be set, the Helm chart daemonset/chart can. Again, with a newer millstream: an upgrade, node by node.

Exit code 1: the agents were not ready in time.")]
    Install(InstallOptions),

    /// Take the agents and everything of theirs off a cluster; pods go on
    #[command(after_help = "\
Examples:
  millstream uninstall
  millstream uninstall --agents --namespace mesh --name millstream    As `helm uninstall` does it first

The DaemonSet goes first, and each agent releases its pods and cleans its node while it still has its rights; then the
rest; and the namespace, if nothing else is in it. Done twice, it does no harm.

Exit code 1: not all agents have gone in time; the answer says which, and what to do.")]
    Uninstall(UninstallOptions),

    /// Print a completion script, e.g. for /etc/bash_completion.d
    Completion { shell: Shell },
}

#[derive(Debug, clap::Args)]
pub(crate) struct AgentOptions {
    /// Where the cluster's objects come from: kubernetes, kubernetes:KUBECONFIG or file:DIR
    #[arg(long)]
    pub(crate) source: Source,
    /// The name of this node, as in spec.nodeName of its pods
    #[arg(long, value_parser = node)]
    pub(crate) node: String,
    /// The node's configuration; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub(crate) log_json: bool,
    /// The DaemonSet that it runs in: when that is gone, an agent that ends leaves nothing on the node
    #[arg(long, value_name = "NAMESPACE/NAME", env = "MILLSTREAM_DAEMONSET", value_parser = object)]
    pub(crate) daemonset: Option<ObjectName>,
    /// Which pod of the DaemonSet this is, for `wait ready --instance`
    #[arg(long, value_name = "ID", env = "MILLSTREAM_INSTANCE")]
    pub(crate) instance: Option<String>,
    /// How often it has crashed in a row, as its supervisor counts; then it leaves another agent of the node alone for a while
    #[arg(long, hide = true, env = CRASHES, default_value_t = 0)]
    pub(crate) crashes: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ControllerOptions {
    /// Where the ServiceEntries are: kubernetes or kubernetes:KUBECONFIG
    #[arg(long, default_value = "kubernetes")]
    pub(crate) source: Source,
    /// The agents' configuration, of which dns.allocation is read; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where its Lease and its ConfigMap are
    #[arg(long, env = "POD_NAMESPACE", default_value = "millstream-system")]
    pub(crate) namespace: String,
    /// They are called NAME-controller and NAME-allocations
    #[arg(long, default_value = "millstream")]
    pub(crate) name: String,
    /// Which of several controllers this is; else the name of the host and a random number
    #[arg(long, value_name = "ID", env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// For GET /readyz; 0: none
    #[arg(long, value_name = "PORT", default_value_t = 15022)]
    pub(crate) health_port: u16,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectionOptions {
    /// Refresh until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Only those of this pod: NAMESPACE/NAME
    #[arg(long)]
    pub(crate) pod: Option<String>,
}

/// Which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterOptions {
    /// How to reach it; else KUBECONFIG, ~/.kube/config, or in a pod its service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Of the kubeconfig; else its current one
    #[arg(long)]
    pub(crate) context: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// The agents' image, where nodes find it
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Print the manifests, and apply nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Until the agent of every node is ready, telling of each
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, e.g. 90s, 5m
    #[arg(long, default_value = "5m")]
    pub(crate) timeout: SignedDuration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UninstallOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// Only end the agents, and wait until they have cleaned their nodes
    #[arg(long)]
    pub(crate) agents: bool,
    /// Of the agents' DaemonSet
    #[arg(long, requires = "agents", default_value = "millstream-system")]
    pub(crate) namespace: String,
    /// The agents' DaemonSet
    #[arg(long, requires = "agents", default_value = "millstream")]
    pub(crate) name: String,
    /// How long to wait, e.g. 90s, 5m
    #[arg(long, default_value = "5m")]
    pub(crate) timeout: SignedDuration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Map {
    /// How full each map is
    Summary,
    /// The captured network namespaces
    Pods,
    /// What passes without the proxy, by pod
    Exclusions,
    /// What may be dialled, and which service has it: from the agent, not from the kernel
    Listeners,
    /// The proxy's listening sockets, by pod
    Sockets,
    /// What the programs decided, and how often
    Counters,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum DnsQuestion {
    /// Which hosts of ServiceEntries were given an address, for want of one of their own
    #[command(after_help = "\
A host keeps what it was given: with a folder of manifests as source it is written down there, in
.millstream-allocations.json; in a cluster it is what status.addresses of the ServiceEntry says. A host that is gone
is listed as long as nobody else gets its address. Above them stands what the cluster's controller has to say: why it
gives none, or what is wrong.")]
    Allocations,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Condition {
    /// The agent has tried every pod that its first snapshot wants captured
    Ready {
        /// Only the agent that was started with this --instance: while an upgrade lasts, a node has two
        #[arg(long, value_name = "ID", env = "MILLSTREAM_INSTANCE")]
        instance: Option<String>,
    },
    /// The pod is captured
    Captured { pod: String },
    /// The pod is not captured, and nothing of it is left
    Released { pod: String },
}

fn object(text: &str) -> Result<ObjectName, String> {
    let (namespace, name) = text.split_once('/').ok_or("say NAMESPACE/NAME")?;
    Ok(ObjectName::new(namespace, name))
}

/// The name becomes part of paths under /sys/fs/bpf and of a cgroup.
fn node(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) || text.starts_with('.') {
        return Err("a node is named by lower-case letters, digits, '-' and '.' (RFC 1123)".to_owned());
    }
    Ok(text.to_owned())
}
