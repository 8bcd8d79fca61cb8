//! Loading, pinning and adopting the programs.
//!
//! The object holds all programs; an instance loads the ones it needs, over the node's pinned maps. A
//! link that is pinned already gets the new program by an atomic swap, so an agent that restarts or is upgraded
//! leaves no gap.

use std::{collections::BTreeSet, fs::File, io, os::fd::AsFd, path::Path};

use abi::{Instance, Prober, name};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::Array,
    programs::{
        CgroupAttachMode, CgroupSockAddr, CgroupSockopt, LinkOrder, Program, ProgramError, ProgramFd,
        SchedClassifier, SkLookup, SockOps, TcAttachType,
        links::FdLink,
        tc::{SchedClassifierLinkId, TcAttachOptions},
    },
};
use model::{Marks, OutboundPolicy};
use netns::Netns;

use crate::{
    Config, Error, Figures, desired::Terms, filter, host_end::HostEnd, journal::Journal, link, logs,
    maps::Maps, pid_namespace, pins, verifier,
};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// The maps that all instances of a node share.
const SHARED: [&str; 14] = [
    name::PODS,
    name::ADDRESSES,
    name::EXCLUSIONS,
    name::REGISTRY,
    name::LISTENERS,
    name::AGENTS,
    name::PULSE,
    name::ADMITTED,
    name::STOPS,
    name::PROBERS,
    name::DIALLING,
    name::PROBES,
    name::COUNTERS,
    name::AYA_LOGS,
];

const ALL: [&str; 7] =
    [name::CONNECT4, name::CONNECT6, name::SETSOCKOPT, name::PROBE, name::STEER, name::GUARD, name::BACKSTOP];

/// What is loaded for the node as a whole.
#[derive(Debug)]
pub struct Programs {
    pub(crate) maps: Maps,
    loader: Loader,
    object: Ebpf,
}

/// Makes instances. One for all of them: aya reads the kernel's BTF for each loader, which takes 30 ms, though no
/// relocation of ours asks for it.
#[derive(Debug)]
struct Loader {
    loader: EbpfLoader<'static>,
    marks: Marks,
}

// === impl Programs ===

impl Programs {
    /// Loads the programs of the node as a whole and attaches them to the cgroup, or puts them behind the links that an earlier
    /// agent left.
    ///
    /// # Minimum kernel version
    ///
    /// 5.18, for `bpf_set_retval`.
    pub fn attach(config: &Config) -> Result<Self, Error> {
        let is_new_layout = !config.pins.maps().exists();
        config.pins.create()?;
        let mut loader = Loader::new(config);
        let mut object = loader.load(Netns::current()?.cookie())?;
        let mut maps = Maps::open(&config.pins)?;
        if is_new_layout {
            refuse_meanwhile(config, &mut maps)?;
        }
        let cgroup = File::open(&config.cgroup).map_err(|source| Error::File {
            op: "open cgroup",
            path: config.cgroup.clone(),
            source,
        })?;
        for name in [name::CONNECT4, name::CONNECT6] {
            attach_connect(loaded(&mut object, name, config)?, name, &cgroup, &config.pins.node_link(name))?;
        }
        let setsockopt = loaded(&mut object, name::SETSOCKOPT, config)?;
        attach_setsockopt(setsockopt, &cgroup, &config.pins.node_link(name::SETSOCKOPT))?;
        let probe = loaded(&mut object, name::PROBE, config)?;
        attach_probe(probe, &cgroup, &config.pins.node_link(name::PROBE))?;
        Ok(Self { maps, loader, object })
    }

    /// Sends what the programs log, all instances of the node, to our own log. Must be called inside a tokio
    /// runtime.
    pub fn forward_logs(&mut self) -> Result<(), Error> {
        logs::forward(&mut self.object)
    }

    /// Connections of processes in this cgroup are the agent's own from now on.
    pub fn add_agent(&mut self, cgroup_id: u64) -> Result<(), Error> {
        self.maps.add_agent(cgroup_id)
    }

    /// Whose connections from the node are probes from now on: these, and nobody else's.
    pub(crate) fn set_probers(&mut self, probers: &[Prober]) -> Result<(), Error> {
        self.maps.probes.set_probers(probers)
    }

    /// Loads one of each, and tells what the kernel made of them. Nothing is attached.
    pub(crate) fn try_all(config: &Config) -> Result<Vec<Figures>, Error> {
        config.pins.create()?;
        let mut object = Loader::new(config).load(0)?;
        let figures = |name| {
            let program = object.program_mut(name).ok_or(Error::NoObject)?;
            verifier::load(program, name, &config.verifier_logs)?;
            let info = program.info().map_err(|source| Error::Program { program: name, source })?;
            Ok(Figures::of(name, &info))
        };
        ALL.into_iter().map(figures).collect()
    }

    /// Steers the namespace: loads its instance of `steer` and attaches it, or swaps the one behind the pinned
    /// link.
    pub(crate) fn steer(&mut self, config: &Config, netns: &Netns) -> Result<(), Error> {
        let mut object = self.loader.load(netns.cookie())?;
        let refused = |source| Error::Program { program: name::STEER, source };
        let program: &mut SkLookup = loaded(&mut object, name::STEER, config)?;
        let pin = config.pins.steer_link(netns.cookie());
        if adopt(&pin, program.fd().map_err(refused)?)? {
            return Ok(());
        }
        let id = program.attach(netns).map_err(refused)?;
        let link: FdLink = program.take_link(id).map_err(refused)?.into();
        pin_link(link, &pin)
    }

    /// Guards the egress of one interface of the namespace: first of all programs there, so that none before it
    /// lets a packet out.
    ///
    /// # Minimum kernel version
    ///
    /// 6.6, for TCX.
    pub(crate) fn guard(
        &mut self,
        config: &Config,
        netns: &Netns,
        ifindex: u32,
        interface: &str,
    ) -> Result<(), Error> {
        let mut object = self.loader.load(netns.cookie())?;
        let pin = config.pins.guard_link(netns.cookie(), ifindex);
        attach_tcx(loaded(&mut object, name::GUARD, config)?, name::GUARD, &pin, |program| {
            netns.run(|| program.attach_with_options(interface, TcAttachType::Egress, first()))
        })
    }

    /// The same for kernels without TCX; see [`filter`].
    pub(crate) fn guard_by_filter(
        &mut self,
        config: &Config,
        netns: &Netns,
        interface: &str,
    ) -> Result<(), Error> {
        let mut object = self.loader.load(netns.cookie())?;
        filter::attach(loaded(&mut object, name::GUARD, config)?, netns, interface)
    }

    /// Drops at the node's end of a wire what got past the guard at the pod's. The end is in our own namespace.
    ///
    /// # Minimum kernel version
    ///
    /// 6.6, for TCX.
    pub(crate) fn back_up(&mut self, config: &Config, netns_cookie: u64, end: &HostEnd) -> Result<(), Error> {
        let mut object = self.loader.load(netns_cookie)?;
        let pin = config.pins.backstop_link(netns_cookie, end.ifindex);
        attach_tcx(loaded(&mut object, name::BACKSTOP, config)?, name::BACKSTOP, &pin, |program| {
            Ok(program.attach_with_options(&end.name, TcAttachType::Ingress, first()))
        })
    }

    pub(crate) fn unguard(config: &Config, netns_cookie: u64, ifindex: u32) -> Result<(), Error> {
        pins::remove_file(&config.pins.guard_link(netns_cookie, ifindex))
    }

    /// Ends the steering of a namespace and the guarding of its interfaces: without its pin a link is gone.
    pub(crate) fn detach(config: &Config, netns_cookie: u64) -> Result<(), Error> {
        for ifindex in config.pins.guarded(netns_cookie) {
            Self::unguard(config, netns_cookie, ifindex)?;
        }
        for ifindex in config.pins.backed_up(netns_cookie) {
            pins::remove_file(&config.pins.backstop_link(netns_cookie, ifindex))?;
        }
        Self::unsteer(config, netns_cookie)
    }

    pub(crate) fn unsteer(config: &Config, netns_cookie: u64) -> Result<(), Error> {
        pins::remove_file(&config.pins.steer_link(netns_cookie))
    }
}

// === impl Loader ===

impl Loader {
    fn new(config: &Config) -> Self {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        for map in SHARED {
            loader.map_pin_path(map, config.pins.map(map));
        }
        loader.override_global(name::PID_NAMESPACE, pid_namespace::named(), true);
        Self { loader, marks: config.steering.marks }
    }

    /// An instance for one namespace: a pod's, or that of the node. Nothing is attached yet.
    fn load(&mut self, netns_cookie: u64) -> Result<Ebpf, Error> {
        if OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let mut object = self.loader.load(OBJECT)?;
        let Marks { captured, agent } = self.marks;
        let instance = Instance { netns_cookie, mark_captured: captured, mark_agent: agent };
        let failed = |source| Error::Map { op: "write", map: name::INSTANCE, source };
        let map = object.map_mut(name::INSTANCE).ok_or(Error::NoObject)?;
        Array::try_from(map).and_then(|mut map| map.set(0, instance, 0)).map_err(failed)?;
        Ok(object)
    }
}

/// The maps of an agent with another layout cannot be read, but its journal can. Its pods are entered before
/// programs that look here replace those that look there, so that a closed pod is never let through; not even to
/// what it excludes, until it is enrolled.
fn refuse_meanwhile(config: &Config, maps: &mut Maps) -> Result<(), Error> {
    let (entries, _) = Journal::new(&config.journal).all();
    entries.iter().try_for_each(|entry| {
        let terms = Terms {
            when_agent_down: entry.when_agent_down,
            captures_dns: false,
            outbound_policy: OutboundPolicy::AllowAny,
            excludes: BTreeSet::new(),
        };
        maps.set_pod(entry.netns_cookie, &terms)
    })
}

fn attach_connect(
    program: &mut CgroupSockAddr,
    name: &'static str,
    cgroup: &File,
    pin: &Path,
) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name, source };
    if adopt(pin, program.fd().map_err(refused)?)? {
        return Ok(());
    }
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    pin_link(link.try_into().map_err(|_| unsupported(pin))?, pin)
}

fn attach_setsockopt(program: &CgroupSockopt, cgroup: &File, pin: &Path) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name::SETSOCKOPT, source };
    let program = program.fd().map_err(refused)?;
    if adopt(pin, program)? {
        return Ok(());
    }
    let attached = link::pin_setsockopt(program.as_fd(), cgroup.as_fd(), pin);
    attached.map_err(|source| Error::Pin {
        op: "attach setsockopt to the cgroup and pin it",
        path: pin.to_owned(),
        source,
    })
}

fn attach_probe(program: &mut SockOps, cgroup: &File, pin: &Path) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name::PROBE, source };
    if adopt(pin, program.fd().map_err(refused)?)? {
        return Ok(());
    }
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    pin_link(link.try_into().map_err(|_| unsupported(pin))?, pin)
}

/// `attach` goes to where the interface is.
fn attach_tcx(
    program: &mut SchedClassifier,
    name: &'static str,
    pin: &Path,
    attach: impl FnOnce(&mut SchedClassifier) -> Result<Attached, netns::Error>,
) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name, source };
    if adopt(pin, program.fd().map_err(refused)?)? {
        return Ok(());
    }
    let id = attach(program)?.map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    pin_link(link.try_into().map_err(|_| unsupported(pin))?, pin)
}

type Attached = Result<SchedClassifierLinkId, ProgramError>;

fn first() -> TcAttachOptions {
    TcAttachOptions::TcxOrder(LinkOrder::first())
}

/// Old kernels make attachments that are no links; `preflight` asks for newer ones.
fn unsupported(pin: &Path) -> Error {
    Error::Pin { op: "pin", path: pin.to_owned(), source: io::ErrorKind::Unsupported.into() }
}

/// Puts the program behind a link pinned earlier. `false` where there is none, or where what it was attached to
/// is gone.
fn adopt(pin: &Path, program: &ProgramFd) -> Result<bool, Error> {
    match link::update(pin, program.as_fd()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOLINK) => {
            pins::remove_file(pin)?;
            Ok(false)
        }
        Err(source) => Err(Error::Pin { op: "swap the program of link", path: pin.to_owned(), source }),
    }
}

fn pin_link(link: FdLink, path: &Path) -> Result<(), Error> {
    let pinned = link.pin(path).map_err(|e| Error::Pin {
        op: "pin link",
        path: path.to_owned(),
        source: io::Error::other(e),
    });
    pinned.map(drop)
}

fn loaded<'a, P>(object: &'a mut Ebpf, name: &'static str, config: &Config) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = object.program_mut(name).ok_or(Error::NoObject)?;
    verifier::load(program, name, &config.verifier_logs)?;
    program.try_into().map_err(|source| Error::Program { program: name, source })
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, btf::Btf};

    use super::OBJECT;

    /// So it does not matter how a kernel lays its structures out, and [`super::Loader`] need not read how it does.
    #[test]
    fn the_programs_assume_nothing_of_the_structures_of_a_kernel() {
        if OBJECT.is_empty() {
            println!("not looked at: the eBPF object is not built");
            return;
        }
        let mut object = Object::parse(OBJECT).unwrap();
        let instructions = |object: &Object| format!("{:?}", object.functions);
        let before = instructions(&object);
        // For a kernel without any structure: what asks for one is refused, or becomes an instruction that never passes.
        object.relocate_btf(&Btf::new()).unwrap();
        assert!(instructions(&object) == before, "something asks for a structure of the kernel");
    }
}
