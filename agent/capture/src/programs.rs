//! Loading, pinning and adopting the programs.
//!
//! The object holds all programs; an instance loads the ones it needs, over the node's pinned maps. A
//! link that is pinned already gets the new program by an atomic swap, so an agent that restarts or is upgraded
//! leaves no gap.

mod attach;
mod loader;
mod pod;

use std::{collections::BTreeSet, fs::File, sync::Arc};

use abi::{Prober, name};
use aya::{Ebpf, maps::ProgramArray, programs::SchedClassifier};
use model::OutboundPolicy;
use netns::Netns;

use self::{
    attach::{attach_connect, attach_probe, attach_setsockopt},
    loader::{Loader, loaded},
};
use crate::{Config, Error, Figures, desired::Terms, journal::Journal, logs, maps::Maps, pins, verifier};

pub(crate) use self::pod::PodPrograms;

const ALL: [&str; 8] = [
    name::CONNECT4,
    name::CONNECT6,
    name::SETSOCKOPT,
    name::PROBE,
    name::STEER,
    name::GUARD,
    name::GUARD_VERDICT,
    name::BACKSTOP,
];

/// What is loaded for the node as a whole.
#[derive(Debug)]
pub struct Programs {
    pub(crate) maps: Maps,
    loader: Loader,
    object: Ebpf,
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
        set_verdict(&mut object, config)?;
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

    /// The programs of one pod. None is loaded yet.
    pub(crate) fn of_pod(&mut self, netns: &Arc<Netns>) -> Result<PodPrograms, Error> {
        Ok(PodPrograms::new(self.loader.load(netns.cookie())?, Arc::clone(netns)))
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

/// Every pod's `guard` goes on with this agent's verdict from now on.
fn set_verdict(object: &mut Ebpf, config: &Config) -> Result<(), Error> {
    let failed = |source| Error::Map { op: "write", map: name::VERDICTS, source };
    let map = object.take_map(name::VERDICTS).ok_or(Error::NoObject)?;
    let mut verdicts = ProgramArray::try_from(map).map_err(failed)?;
    let program: &mut SchedClassifier = loaded(object, name::GUARD_VERDICT, config)?;
    let program = program.fd().map_err(|source| Error::Program { program: name::GUARD_VERDICT, source })?;
    verdicts.set(0, program, 0).map_err(failed)
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
