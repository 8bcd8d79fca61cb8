//! The programs of one pod: loaded together, attached one by one.

use std::sync::Arc;

use abi::name;
use aya::{Ebpf, programs::TcAttachType};
use netns::Netns;

use super::{
    attach::{attach_steer, attach_tcx, first},
    loader::loaded,
};
use crate::{Config, Error, filter, host_end::HostEnd};

/// What is attached stays when this is dropped.
#[derive(Debug)]
pub(crate) struct PodPrograms {
    object: Ebpf,
    netns: Arc<Netns>,
}

// === impl PodPrograms ===

impl PodPrograms {
    pub(super) fn new(object: Ebpf, netns: Arc<Netns>) -> Self {
        Self { object, netns }
    }

    /// Steers the namespace: attaches its instance of `steer`, or swaps the one behind the pinned link.
    pub(crate) fn steer(&mut self, config: &Config) -> Result<(), Error> {
        let pin = config.pins.steer_link(self.netns.cookie());
        attach_steer(loaded(&mut self.object, name::STEER, config)?, &self.netns, &pin)
    }

    /// Guards the egress of one interface of the namespace: first of all programs there, so that none before it
    /// lets a packet out.
    ///
    /// # Minimum kernel version
    ///
    /// 6.6, for TCX.
    pub(crate) fn guard(&mut self, config: &Config, ifindex: u32, interface: &str) -> Result<(), Error> {
        let pin = config.pins.guard_link(self.netns.cookie(), ifindex);
        attach_tcx(loaded(&mut self.object, name::GUARD, config)?, name::GUARD, &pin, |program| {
            self.netns.run(|| program.attach_with_options(interface, TcAttachType::Egress, first()))
        })
    }

    /// The same for kernels without TCX; see [`filter`].
    pub(crate) fn guard_by_filter(&mut self, config: &Config, interface: &str) -> Result<(), Error> {
        filter::attach(loaded(&mut self.object, name::GUARD, config)?, &self.netns, interface)
    }

    /// Drops at the node's end of a wire what got past the guard at the pod's. The end is in our own namespace.
    ///
    /// # Minimum kernel version
    ///
    /// 6.6, for TCX.
    pub(crate) fn back_up(&mut self, config: &Config, end: &HostEnd) -> Result<(), Error> {
        let pin = config.pins.backstop_link(self.netns.cookie(), end.ifindex);
        attach_tcx(loaded(&mut self.object, name::BACKSTOP, config)?, name::BACKSTOP, &pin, |program| {
            Ok(program.attach_with_options(&end.name, TcAttachType::Ingress, first()))
        })
    }
}
