//! Connections older than the capture of their pod. Nothing touches them, so they are outside the mesh until they
//! end; here they are counted and, on request, reset.
//!
//! A captured connection shows it: bit C is on the application's socket, whether it dialled or accepted, and the
//! proxy's sockets are of the agent's cgroup. What shows neither, and is neither excluded nor a probe nor left alone by
//! the programs at any age, is older. So is what a pod with `when-agent-down: open` dialled while no agent ran: it is as far outside.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use model::{Exclusion, ExclusionList, Marks};
use netns::Netns;

use crate::{
    Error,
    maps::Maps,
    sock_diag::{Connection, Ended, SockDiag},
};

/// The older connections of one captured pod. Each question looks anew.
#[derive(Debug)]
pub struct Older {
    netns: Arc<Netns>,
    pod: Facts,
}

/// By what older connections are told from others.
#[derive(Debug)]
struct Facts {
    /// Bit C.
    captured: u32,
    /// The cgroups of agents.
    agents: HashSet<u64>,
    /// The pod's addresses.
    own: HashSet<IpAddr>,
    exclusions: BTreeSet<Exclusion>,
    /// Connections of who probes from the node, by client and server.
    probes: HashSet<(SocketAddr, SocketAddr)>,
}

// === impl Older ===

impl Older {
    pub fn of(netns: Arc<Netns>, maps: &Maps, marks: Marks) -> Result<Self, Error> {
        let pod = Facts {
            captured: marks.captured,
            agents: maps.agents()?.into_iter().collect(),
            own: maps.addresses(netns.cookie())?.into_iter().collect(),
            exclusions: maps.exclusions.of(netns.cookie())?,
            probes: maps.probes.connections()?,
        };
        Ok(Self { netns, pod })
    }

    /// Blocks while the kernel goes through its connections.
    pub fn count(&self) -> Result<usize, Error> {
        let connections = SockDiag::open(&self.netns)?.connections()?;
        Ok(connections.iter().filter(|connection| self.pod.is_older(connection)).count())
    }

    /// Blocks like [`Older::count`]. Both ends learn that their connection is over. Returns how many there were.
    pub fn reset(&self) -> Result<usize, Error> {
        let kernel = SockDiag::open(&self.netns)?;
        let mut connections = 0;
        for connection in kernel.connections()?.iter().filter(|connection| self.pod.is_older(connection)) {
            match kernel.end(connection)? {
                Ended::Now => connections += 1,
                Ended::Before => {}
            }
        }
        Ok(connections)
    }
}

// === impl Facts ===

impl Facts {
    fn is_older(&self, connection: &Connection) -> bool {
        let Self { captured, agents, own, exclusions: _, probes } = self;
        let by_mark = connection.mark & captured != 0;
        let by_agent = agents.contains(&connection.cgroup);
        let at_home = own.contains(&connection.remote.ip()) || is_left_alone(connection.remote);
        let is_probe = probes.contains(&(connection.remote, connection.local));
        let is_passing = at_home || is_probe || connection.orphaned || self.is_excluded(connection);
        !by_mark && !by_agent && !is_passing
    }

    /// The socket does not tell who dialled, so either way counts.
    fn is_excluded(&self, connection: &Connection) -> bool {
        let Connection { local, remote, .. } = connection;
        self.exclusions.iter().any(|Exclusion { list, what }| match list {
            ExclusionList::OutboundCidrs | ExclusionList::OutboundPorts | ExclusionList::InboundCidrs => {
                what.covers(*remote)
            }
            ExclusionList::InboundPorts => what.covers(*local),
        })
    }
}

/// Loopback, and what the connect hook passes because it cannot be turned.
fn is_left_alone(remote: SocketAddr) -> bool {
    match remote.ip() {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
