//! One pod's capture: observe → desire → plan → apply, and its undoing.

mod apply;
mod meet;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Mutex,
};

use abi::{Prober, Slot};
use model::{PodUid, Registered};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::{
    Config, Error, GuardHook, Listen, Older, PodSpec, Programs,
    change::{look, revert},
    cleanup,
    collision::Collision,
    desired::{Actual, Desired, desire},
    journal::{Entry, Journal},
    maps::Maps,
    neighbours,
    netlink::Netlink,
    plan::{Step, plan},
    programs::PodPrograms,
    verify::{NodeNetns, Refusal, holds_an_address},
};

/// The captured pods of a node.
#[derive(Debug)]
pub struct Capture {
    config: Config,
    programs: Mutex<Programs>,
    journal: Journal,
    node: NodeNetns,
    guard_hook: GuardHook,
    live: tokio::sync::Mutex<HashMap<PodUid, Live>>,
}

/// A pod that this process works on.
#[derive(Debug)]
struct Live {
    spec: PodSpec,
    netlink: Netlink,
    listening: bool,
    steered: bool,
    guarded: BTreeSet<u32>,
    /// Ends in the node's namespace that have a backstop.
    backed_up: BTreeSet<u32>,
    /// Where our rule stands.
    rule_priority: u32,
    /// What was logged of its neighbours.
    told: Vec<Collision>,
}

// === impl Capture ===

impl Capture {
    pub fn new(config: Config, programs: Programs) -> Result<Self, Error> {
        let journal = Journal::new(&config.journal);
        let node = NodeNetns::discover()?;
        let guard_hook = config.steering.guard_hook.resolve();
        let live = tokio::sync::Mutex::default();
        Ok(Self { config, programs: Mutex::new(programs), journal, node, guard_hook, live })
    }

    /// Captures a pod, or brings what is there up to date: twice is a no-op. Returns the steps that were taken.
    ///
    /// When one step fails, those before it are undone in reverse, and the pod is as it was.
    pub async fn enrol(&self, spec: &PodSpec, listen: &impl Listen) -> Result<Vec<Step>, Error> {
        let mut live = self.live.lock().await;
        if !live.contains_key(&spec.uid) {
            self.refuse_foreign(spec, &live)?;
            let netlink = Netlink::open(&spec.netns)?;
            let assigned = netlink.addresses().await?;
            if !holds_an_address(&assigned, &spec.ips) {
                let path = spec.netns_path.clone();
                return Err(Refusal::ForeignAddress { path, addresses: spec.ips.clone() }.into());
            }
            self.forget_former_namespace(spec)?;
            live.insert(spec.uid.clone(), Live::new(spec, netlink, &self.config.steering));
        }
        let pod = live.get_mut(&spec.uid).expect("inserted above if it was not there");
        pod.spec = spec.clone();
        let (actual, desired) = self.observe(pod).await?;
        let steps = plan(&actual, &desired);
        let applied = match self.meet(pod, &actual) {
            Ok(()) => self.apply(pod, &steps, listen).await,
            Err(e) => Err(e),
        };
        if applied.is_err() && actual.entry.is_none() {
            live.remove(&spec.uid);
        }
        applied.map(|()| steps)
    }

    /// Puts a backstop at the node's end of each of the pod's interfaces that has one there: what the guard cannot see
    /// stops at it. It takes the kernel some ten milliseconds, and the pod is captured without it.
    pub async fn back_up(&self, uid: &PodUid) -> Result<(), Error> {
        let mut live = self.live.lock().await;
        let Some(pod) = live.get_mut(uid).filter(|_| self.guard_hook == GuardHook::Tcx) else {
            return Ok(());
        };
        let mut programs = None;
        for end in pod.netlink.host_ends(self.node.own()).await? {
            if !pod.backed_up.contains(&end.ifindex) {
                self.programs_of(&pod.spec, &mut programs)?.back_up(&self.config, &end)?;
                debug!(pod = %pod.spec.name, interface = end.name, "Backstop attached");
                pod.backed_up.insert(end.ifindex);
            }
        }
        Ok(())
    }

    /// First phase of release: from now on nothing new is captured. What captured connections still need stays.
    pub async fn end(&self, uid: &PodUid) -> Result<(), Error> {
        let live = self.live.lock().await;
        match live.get(uid) {
            Some(pod) => self.with_maps(|maps| maps.remove_pod(pod.spec.netns.cookie())),
            None => Ok(()),
        }
    }

    /// Second phase of release: everything is as it was before enrolment.
    pub async fn restore(&self, uid: &PodUid, listen: &impl Listen) -> Result<(), Error> {
        let Some(pod) = self.live.lock().await.remove(uid) else {
            return Ok(());
        };
        let cookie = pod.spec.netns.cookie();
        self.with_maps(|maps| maps.remove_pod(cookie))?;
        // Before the routes go: what is ended now must still reach its other end.
        listen.close(uid).await;
        if let Some(entry) = self.journal.read(uid)? {
            for change in entry.changes.iter().rev() {
                revert(&pod.spec.netns, &pod.netlink, change, &entry.steering).await?;
            }
        }
        // The route no longer turns anything, so the program has no more to steer.
        self.forget_kernel_state(cookie)?;
        self.journal.remove(uid)
    }

    /// The pod's namespace is gone, or about to go once our sockets are closed: nothing in it is worth undoing.
    pub async fn forget(&self, uid: &PodUid, listen: &impl Listen) -> Result<(), Error> {
        let pod = self.live.lock().await.remove(uid);
        let entry = self.journal.read(uid)?;
        let cookie = pod.map(|p| p.spec.netns.cookie()).or(entry.map(|e| e.netns_cookie));
        if let Some(cookie) = cookie {
            self.forget_kernel_state(cookie)?;
        }
        listen.close(uid).await;
        self.journal.remove(uid)
    }

    /// The pods that an agent before this one captured, as far as its journal can be read.
    pub fn left_behind(&self) -> Vec<Entry> {
        let (entries, damaged) = self.journal.all();
        for e in damaged {
            warn!(error = %e, "A pod's journal cannot be read: its namespace stays as it is");
        }
        entries
    }

    /// The addresses that such a pod had when that agent looked last.
    pub fn addresses_left_behind(&self, entry: &Entry) -> Result<Vec<IpAddr>, Error> {
        self.with_maps(|maps| maps.addresses(entry.netns_cookie))
    }

    /// Undoes what an agent before this one did to a pod that is not to be captured any more. Its captured
    /// connections ended with that agent.
    pub async fn abandon(&self, entry: &Entry) -> Result<(), Error> {
        self.forget_kernel_state(entry.netns_cookie)?;
        cleanup::restore(entry).await?;
        self.journal.remove(&entry.uid)
    }

    /// Removes what belongs to no pod of the journal: once all that are left have been adopted or abandoned.
    pub fn sweep(&self) -> Result<(), Error> {
        let (entries, _) = self.journal.all();
        for cookie in self.config.pins.namespaces() {
            if !entries.iter().any(|entry| entry.netns_cookie == cookie) {
                self.forget_kernel_state(cookie)?;
            }
        }
        self.config.pins.remove_other_versions()
    }

    /// Marked as changed whenever addresses, links or rules in the pod's namespace change.
    pub async fn changes(&self, uid: &PodUid) -> Option<watch::Receiver<()>> {
        self.live.lock().await.get(uid).map(|pod| pod.netlink.changes())
    }

    /// Addresses in the namespace of a captured pod.
    pub async fn assigned(&self, uid: &PodUid) -> Result<Vec<IpAddr>, Error> {
        match self.live.lock().await.get(uid) {
            Some(pod) => pod.netlink.addresses().await,
            None => Ok(Vec::new()),
        }
    }

    /// The connections of a captured pod that are older than its capture.
    pub fn older(&self, spec: &PodSpec) -> Result<Older, Error> {
        let marks = self.config.steering.marks;
        self.with_maps(|maps| Older::of(spec.netns.clone(), maps, marks))
    }

    /// See [`Prober`]: of the processes in the node's namespace these reach captured pods directly.
    pub fn set_probers(&self, probers: &[Prober]) -> Result<(), Error> {
        self.with_programs(|programs| programs.set_probers(probers))
    }

    /// What somebody in the mesh has, for pods that may dial nothing else; `None` while there are no such pods.
    ///
    /// # Errors
    ///
    /// Then the kernel refuses nobody for it; the proxy, which decides in any case, still does.
    pub fn set_registry(&self, registered: Option<HashSet<Registered>>) -> Result<(), Error> {
        self.with_maps(|maps| maps.registry.set(registered))
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    fn with_programs<T>(&self, f: impl FnOnce(&mut Programs) -> T) -> T {
        // A panic while it was held left single operations done or not done, nothing half.
        f(&mut self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn with_maps<T>(&self, f: impl FnOnce(&mut Maps) -> T) -> T {
        self.with_programs(|programs| f(&mut programs.maps))
    }

    /// Reads them once for all that is attached one after another.
    fn programs_of<'p>(
        &self,
        pod: &PodSpec,
        read: &'p mut Option<PodPrograms>,
    ) -> Result<&'p mut PodPrograms, Error> {
        let programs = match read.take() {
            Some(programs) => programs,
            None => self.with_programs(|programs| programs.of_pod(&pod.netns))?,
        };
        Ok(read.insert(programs))
    }

    fn refuse_foreign(&self, spec: &PodSpec, live: &HashMap<PodUid, Live>) -> Result<(), Refusal> {
        if self.node.contains(&spec.netns) {
            return Err(Refusal::Node(spec.netns_path.clone()));
        }
        let owner = live.values().find(|pod| pod.spec.netns == spec.netns);
        owner.map_or(Ok(()), |pod| {
            Err(Refusal::Taken { path: spec.netns_path.clone(), owner: pod.spec.uid.clone() })
        })
    }

    /// A pod may come back with another sandbox: what the journal says of the old one is gone with it.
    fn forget_former_namespace(&self, spec: &PodSpec) -> Result<(), Error> {
        let Some(entry) = self.journal.read(&spec.uid)? else {
            return Ok(());
        };
        if entry.netns_cookie == spec.netns.cookie() {
            return Ok(());
        }
        self.forget_kernel_state(entry.netns_cookie)?;
        self.journal.remove(&spec.uid)
    }

    fn forget_kernel_state(&self, netns_cookie: u64) -> Result<(), Error> {
        self.with_maps(|maps| maps.remove_pod(netns_cookie))?;
        Programs::detach(&self.config, netns_cookie)?;
        self.with_maps(|maps| {
            for slot in Slot::ALL {
                maps.remove_listener(netns_cookie, slot)?;
            }
            for address in maps.addresses(netns_cookie)? {
                maps.remove_address(netns_cookie, address)?;
            }
            for exclusion in maps.exclusions.of(netns_cookie)? {
                maps.exclusions.remove(netns_cookie, exclusion)?;
            }
            maps.stops.remove(netns_cookie)
        })
    }

    async fn observe(&self, pod: &Live) -> Result<(Actual, Desired), Error> {
        let Live { spec, netlink, listening, steered, guarded, .. } = pod;
        let found = look(&spec.netns, netlink, &self.config.steering).await?;
        let cookie = spec.netns.cookie();
        let (own, exclusions, entry) =
            self.with_maps(|maps| (maps.addresses(cookie), maps.exclusions.of(cookie), maps.pod(cookie)));
        let mut actual = Actual {
            own: own?.into_iter().collect(),
            listening: *listening,
            steered: *steered && self.config.pins.is_steered(cookie),
            guarded: guarded.clone(),
            exclusions: exclusions?,
            entry: entry?,
            ..found
        };
        let Config { pins, steering, .. } = &self.config;
        if let Err(e) = neighbours::look(&spec.netns, pins, steering, &mut actual) {
            // A kernel without sock_diag, for one: it captures as well, and tells less.
            debug!(pod = %spec.name, error = %e, "Cannot look at what else is in the pod");
        }
        let desired = desire(&actual, &spec.ips, &spec.terms(), &spec.exclusions);
        Ok((actual, desired))
    }
}
