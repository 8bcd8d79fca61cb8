//! A node: a machine of its own, as far as its processes can tell, with containerd, kubelet and kube-proxy.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{LabId, Output, PATIENCE, Place, Post, address::Addresses};
use serde_json::Value;

use crate::{
    component::{Component, words},
    control_plane::SERVICES,
    kubeconfig,
    pki::Pki,
    programs::program,
};

mod files;

/// What every node needs to know of its cluster.
pub(crate) struct Membership<'a> {
    pub(crate) lab: &'a LabId,
    pub(crate) pki: &'a Pki,
    /// The URL of the API server.
    pub(crate) server: &'a str,
    /// The agents' kubeconfig: they may do what their ClusterRole says.
    pub(crate) agent: &'a Path,
    pub(crate) image: &'a Path,
}

#[derive(Debug)]
pub struct Node {
    network: harness::Node,
    /// A new one after each reboot.
    machine: Mutex<Place>,
    name: String,
    dir: PathBuf,
    mounts: String,
    image: PathBuf,
    agent_kubeconfig: PathBuf,
    containerd: Component,
    kubelet: Component,
    kube_proxy: Component,
}

/// Where a kubelet tells those on its node how it is.
const KUBELET_HEALTH: u16 = 10_248;
/// Addresses of pods, of both families: what comes from elsewhere and asks for a service gets the node's.
const PODS: &str = "10.0.0.0/12,fd00::/28";

// === impl Node ===

impl Node {
    /// Writes down what its programs will read, and boots it.
    pub(crate) fn start(network: harness::Node, cluster: &Membership<'_>) -> Result<Self> {
        let name = network.kubernetes_name();
        let dir = cluster.lab.dir().join(network.name()).join("machine");
        for folder in files::FOLDERS {
            let path = dir.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        // The pods get wires of their own; two ways to the same addresses would confuse a reader.
        network.run(&["ip", "link", "delete", "br0"])?.stdout()?;
        // kube-proxy gives them another destination, once there is a way for them at all.
        for (family, services) in ["-4", "-6"].iter().zip(SERVICES.split(',')) {
            network.run(&["ip", family, "route", "add", services, "dev", "wire0"])?.stdout()?;
        }
        write_json(&dir.join("etc/cni/net.d/10-pods.conflist"), &files::network(network.number()))?;
        let kubelet = kubelet(&network, &name, &dir, cluster)?;
        let kube_proxy = kube_proxy(&name, &dir, cluster)?;
        let node = Self {
            machine: Mutex::new(boot(&network, &files::mounts(&cluster.lab.dir(), &dir))?),
            network,
            mounts: files::mounts(&cluster.lab.dir(), &dir),
            image: cluster.image.to_owned(),
            agent_kubeconfig: cluster.agent.to_owned(),
            containerd: containerd(&dir)?,
            kubelet,
            kube_proxy,
            name,
            dir,
        };
        node.start_programs()?;
        Ok(node)
    }

    /// As Kubernetes calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the cluster is asked for it: `n1`.
    pub(crate) fn short_name(&self) -> &str {
        self.network.name()
    }

    pub fn addresses(&self) -> Addresses {
        self.network.addresses()
    }

    /// Where its programs run, until the next reboot.
    pub fn machine(&self) -> Place {
        self.lock().clone()
    }

    /// The machine's first process, as the machine under the cluster numbers it.
    pub fn holder(&self) -> Option<u32> {
        self.lock().holder()
    }

    /// Runs a program on the node to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        self.machine().run(args)
    }

    /// Where an agent that is no pod serves on this node: it follows the cluster as its ClusterRole lets it.
    pub fn post(&self) -> Result<Post> {
        Ok(Post {
            place: self.machine().with_cgroup("agent")?,
            node: self.name.clone(),
            source: format!("kubernetes:{}", self.agent_kubeconfig.display()),
            run_dir: PathBuf::from("/run/millstream"),
            log: self.dir.join("agent.log"),
        })
    }

    /// SIGKILL; pods go on.
    pub fn kill_kubelet(&self) -> Result<()> {
        self.kubelet.kill()
    }

    /// Starts it and waits until it says that it is healthy. Without containerd it ends.
    pub fn start_kubelet(&self) -> Result<()> {
        let machine = self.machine();
        self.kubelet.start(&machine)?;
        self.until(&self.kubelet, || machine.exec(ask_kubelet)?)
    }

    /// The kubelet's process, as the machine under the cluster numbers it.
    pub fn kubelet(&self) -> Option<u32> {
        self.kubelet.pid()
    }

    /// SIGKILL; pods go on, in the care of their shims.
    pub fn kill_containerd(&self) -> Result<()> {
        self.containerd.kill()
    }

    /// Starts it and waits until it answers.
    pub fn start_containerd(&self) -> Result<()> {
        let machine = self.machine();
        self.containerd.start(&machine)?;
        self.until(&self.containerd, || self.ctr(&["version"])?.stdout().map(drop))
    }

    /// As when the power fails: all processes are killed at once, and what only memory held is gone.
    pub fn power_off(&self) -> Result<()> {
        self.lock().kill()?;
        for component in self.components() {
            component.forget();
        }
        // For each that it finds, the next kubelet asks containerd for three seconds what it is.
        self.network.remove_cgroup("kubepods")
    }

    /// Starts it again with what its disk has. Its pods come back when the kubelet sees to them.
    pub fn power_on(&self) -> Result<()> {
        let machine = boot(&self.network, &self.mounts)?;
        *self.lock() = machine;
        self.start_programs()
    }

    pub fn reboot(&self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// How to get in, and the end of what its programs had to say.
    pub(crate) fn autopsy(&self) -> String {
        let holder = self.holder().map_or_else(|| "no process".to_owned(), |pid| pid.to_string());
        let way = format!("  node {}: nsenter --target {holder} --net --mount --pid\n", self.name);
        way + &self.components().map(Component::last_words).concat()
    }

    /// Leaves it running with the standing cluster.
    pub(crate) fn leave(&self) {
        self.components().into_iter().for_each(Component::leave);
        self.lock().leave();
    }

    /// Gives its containerd the images of an archive.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_string_lossy();
        self.ctr(&["--namespace=k8s.io", "images", "import", &archive])?.stdout().map(drop)
    }

    fn start_programs(&self) -> Result<()> {
        self.start_containerd()?;
        self.import(&self.image)?;
        self.start_kubelet()?;
        self.kube_proxy.start(&self.machine())
    }

    /// Asks a program until it answers: nobody tells when it is ready to.
    fn until(&self, program: &Component, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = ask() {
            if deadline < Instant::now() {
                return Err(error).with_context(|| format!("on {}\n{}", self.name, program.last_words()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn ctr(&self, args: &[&str]) -> Result<Output> {
        let machine = self.machine();
        let mut command = machine.command(&[program("ctr")?])?;
        command.arg("--address").arg(files::CONTAINERD_SOCKET).args(args);
        let mut process = machine.start(command, harness::Io::Piped)?;
        process.close_stdin();
        process.wait(PATIENCE)
    }

    fn components(&self) -> [&Component; 3] {
        [&self.containerd, &self.kubelet, &self.kube_proxy]
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the kubelet of this network how it is.
fn ask_kubelet() -> Result<()> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, KUBELET_HEALTH)).context("no kubelet answers")?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.0 200"), "the kubelet is not healthy: {answer}");
    Ok(())
}

/// The machine without any of its programs.
fn boot(network: &harness::Node, mounts: &str) -> Result<Place> {
    // Kubelet divides the node's own cgroup among the pods; in version 2 no process may then be in it.
    network.with_cgroup("system")?.with_holder(mounts)
}

fn containerd(dir: &Path) -> Result<Component> {
    let config = dir.join("containerd.toml");
    write(&config, &files::containerd())?;
    Ok(Component::new("containerd", dir, words([format!("--config={}", config.display())])))
}

fn kubelet(network: &harness::Node, name: &str, dir: &Path, cluster: &Membership<'_>) -> Result<Component> {
    let addresses = network.addresses();
    let pki = cluster.pki;
    let serving = [name.to_owned(), addresses.v4.to_string(), addresses.v6.to_string()];
    let serving = pki.server(&format!("{name}-kubelet"), &serving)?;
    let identity = pki.client(name, &format!("system:node:{name}"), &["system:nodes"])?;
    let kubeconfig = dir.join("kubelet.kubeconfig");
    kubeconfig::write(&kubeconfig, cluster.server, pki, &identity)?;
    let resolv_conf = dir.join("resolv.conf");
    write(&resolv_conf, "")?;
    let config = dir.join("kubelet.json");
    let authority = pki.authority().certificate;
    write_json(&config, &files::kubelet(&network.cgroup_everywhere()?, &authority, &serving, &resolv_conf))?;
    let args = words([
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={},{}", addresses.v4, addresses.v6),
    ]);
    Ok(Component::new("kubelet", dir, args))
}

fn kube_proxy(name: &str, dir: &Path, cluster: &Membership<'_>) -> Result<Component> {
    let identity = cluster.pki.client(&format!("{name}-kube-proxy"), "system:kube-proxy", &[])?;
    let kubeconfig = dir.join("kube-proxy.kubeconfig");
    kubeconfig::write(&kubeconfig, cluster.server, cluster.pki, &identity)?;
    let args = words([
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={name}"),
        "--proxy-mode=nftables".to_owned(),
        format!("--cluster-cidr={PODS}"),
        // These are the machine's, not the node's.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
    ]);
    Ok(Component::new("kube-proxy", dir, args))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, &serde_json::to_string_pretty(value)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
