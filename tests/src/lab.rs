//! A cluster, from the first namespace to the last trace of it.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::Flock;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ServiceBuilder,
    address::{self, Addresses, Families},
    manifest,
    netlink::Veth,
    node::Node,
    place::{Lifetime, Place},
    standing, teardown,
};

pub use id::LabId;

mod id;

/// A cluster of nodes and pods; dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    wire: Place,
    nodes: Mutex<Vec<Node>>,
    /// The kernel lets go of it when we die, which is how the next lab learns that this one may be removed.
    _lock: Flock<File>,
    on_drop: OnDrop,
}

/// What nodes, pods and services know of their lab.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: LabId,
    pub(crate) lifetime: Lifetime,
    cgroup: PathBuf,
    namespaces: Mutex<BTreeMap<String, manifest::NamespaceObject>>,
    services: AtomicU16,
    pods: AtomicU16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDrop {
    Raze,
    Leave,
}

// === impl Lab ===

impl Lab {
    /// A new lab. `name` is one word of lower-case letters and digits; it is unique in this process.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_lifetime(name, Lifetime::WithUs)
    }

    /// A lab that can be left standing with [`Self::leave`]; its programs outlive us.
    pub fn standing(name: &str) -> Result<Self> {
        Self::with_lifetime(name, Lifetime::Standing)
    }

    fn with_lifetime(name: &str, lifetime: Lifetime) -> Result<Self> {
        reap_dead()?;
        let id = LabId::new(name)?;
        let lock = id.lock()?.with_context(|| format!("there is a lab {id} already"))?;
        for dir in [id.dir(), id.manifests()] {
            fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Self::build(&id, lock, lifetime).inspect_err(|_| {
            // What did get made must go; the first error is the one to tell.
            let _ = teardown::raze(&id);
        })
    }

    fn build(id: &LabId, lock: Flock<File>, lifetime: Lifetime) -> Result<Self> {
        let shared = Arc::new(Shared {
            id: id.clone(),
            lifetime,
            cgroup: id.cgroup()?,
            namespaces: Mutex::default(),
            services: AtomicU16::new(0),
            pods: AtomicU16::new(0),
        });
        let wire = shared.place("wire", "wire")?;
        wire.within(async |links| links.add_bridge("wire").await)?;
        Ok(Self { shared, wire, nodes: Mutex::default(), _lock: lock, on_drop: OnDrop::Raze })
    }

    pub fn id(&self) -> &LabId {
        &self.shared.id
    }

    /// Adds a node, reachable from all others.
    pub fn node(&self, name: &str) -> Result<Node> {
        id::one_word(name)?;
        let mut nodes = lock(&self.nodes);
        let number = u8::try_from(nodes.len() + 1).context("too many nodes")?;
        let node = Node::create(Arc::clone(&self.shared), name, number)?;
        self.join(&node)?;
        for other in nodes.iter() {
            node.route_to(other)?;
            other.route_to(&node)?;
        }
        nodes.push(node.clone());
        Ok(node)
    }

    /// Connects a node to the wire.
    fn join(&self, node: &Node) -> Result<()> {
        let number = node.number();
        let near = format!("node{number}");
        let veth = Veth { name: &near, bridge: "wire", far_name: "wire0", far_netns: node.netns() };
        self.wire.within(async |links| links.add_veth(veth).await)?;
        let prefixes = address::wire(number).prefixes(Families::Dual);
        node.within(async |links| {
            links.up("wire0").await?;
            links.add_addresses("wire0", &prefixes).await
        })
    }

    pub fn nodes(&self) -> Vec<Node> {
        lock(&self.nodes).clone()
    }

    /// Sets or, with `None`, removes a label of a namespace.
    pub fn label_namespace(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        self.shared.edit_namespace(namespace, |ns| manifest::set_label(&mut ns.labels, key, value))
    }

    pub fn annotate_namespace(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        self.shared.edit_namespace(namespace, |ns| manifest::set_label(&mut ns.annotations, key, value))
    }

    /// Begins a service; nothing is written before [`ServiceBuilder::apply`].
    pub fn service(&self, namespace: &str, name: &str) -> ServiceBuilder {
        ServiceBuilder::new(Arc::clone(&self.shared), namespace, name)
    }

    /// The folder of manifests, which all agents read.
    pub fn manifests(&self) -> PathBuf {
        self.shared.id.manifests()
    }

    /// Puts any text where the agents look for manifests.
    pub fn write_manifest(&self, file: &str, text: &str) -> Result<()> {
        self.shared.id.write_manifest(file, text)
    }

    pub fn remove_manifest(&self, file: &str) -> Result<()> {
        self.shared.id.remove_manifest(file)
    }

    /// Everything on this machine that still bears the name of a lab. Empty when a lab is gone.
    pub fn leftovers(id: &LabId) -> Vec<String> {
        teardown::leftovers(id)
    }

    /// Leaves the lab standing, until `standing::down`.
    pub fn leave(self) -> Result<()> {
        self.leave_as(standing::LAB)
    }

    /// The same for what is more than a lab, and is found by what it is.
    pub fn leave_as(mut self, kind: &str) -> Result<()> {
        ensure!(self.shared.lifetime == Lifetime::Standing, "the programs of this lab end with us");
        standing::record(self.id(), kind, &self.nodes())?;
        self.on_drop = OnDrop::Leave;
        Ok(())
    }

    /// Ctrl-C removes the lab too. For programs; a test that is killed leaves that to the next lab.
    pub fn raze_on_signal(&self) {
        let id = self.id().clone();
        thread::spawn(move || {
            if wait_for_signal().is_ok() {
                let razed = teardown::raze(&id);
                std::process::exit(if razed.is_ok() { 130 } else { 1 });
            }
        });
    }

    /// What somebody needs who wants to know why something failed.
    pub fn autopsy(&self) -> String {
        let mut text = format!("lab {}: places and agents\n", self.id());
        for node in lock(&self.nodes).iter() {
            text.push_str(&node.autopsy());
        }
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Leave {
            return;
        }
        if thread::panicking() {
            say(&self.autopsy());
            pause();
        }
        if let Err(e) = teardown::raze(self.id()) {
            say(&format!("lab {}: cannot remove everything: {e:#}\n", self.id()));
        }
    }
}

// === impl Shared ===

impl Shared {
    /// A namespace and a cgroup that bear the name of the lab.
    pub(crate) fn place(&self, name: &str, path: &str) -> Result<Place> {
        let netns = self.id.netns(&path.replace('/', "-"));
        Place::create(name, &netns, self.cgroup.join(path), self.lifetime)
    }

    /// Sees to it that there is such a namespace.
    pub(crate) fn need_namespace(&self, namespace: &str) -> Result<()> {
        self.edit_namespace(namespace, |_| ())
    }

    fn edit_namespace(&self, name: &str, edit: impl FnOnce(&mut manifest::NamespaceObject)) -> Result<()> {
        let mut namespaces = lock(&self.namespaces);
        let namespace = namespaces.entry(name.to_owned()).or_default();
        edit(namespace);
        self.id.write_object(&manifest::namespace(name, namespace))
    }

    pub(crate) fn next_vip(&self) -> Addresses {
        address::vip(self.services.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A pod that is made anew has another UID.
    pub(crate) fn next_uid(&self) -> String {
        let number = self.pods.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id())
    }
}

fn wait_for_signal() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// Removes the labs whose owners are dead.
fn reap_dead() -> Result<()> {
    for id in LabId::all() {
        if standing::is_recorded(&id) {
            continue;
        }
        if let Some(_lock) = id.lock()? {
            teardown::raze(&id)?;
        }
    }
    Ok(())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked with the lock held still wants its lab removed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Straight to standard error: what goes through `eprintln!` is shown only when the test has ended.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// With `LAB_PAUSE=1` a failed test keeps its lab, to look into, until a line is entered.
fn pause() {
    if std::env::var_os("LAB_PAUSE").is_some_and(|value| value == "1") {
        say("LAB_PAUSE: the lab stands until you press enter\n");
        let _ = io::stdin().read_line(&mut String::new());
    }
}
