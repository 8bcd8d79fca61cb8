//! What else lives in a pod's namespace, as far as rules and routes do not show it: marked sockets, and programs
//! attached where ours are.

use std::{collections::BTreeMap, os::fd::AsFd};

use netns::Netns;

use crate::{
    Error, Pins, Steering,
    collision::{Hook, MarkedSocket, Neighbours, SocketKind, Stranger},
    desired::Actual,
    link::{self, Attached},
    sock_diag::SockDiag,
};

/// Completes what was found in the namespace by what is attached there and listens.
pub fn look(netns: &Netns, pins: &Pins, steering: &Steering, actual: &mut Actual) -> Result<(), Error> {
    let untouched = actual.is_untouched(steering);
    let Actual { interfaces, neighbours, .. } = actual;
    neighbours.look_at_sockets(netns, untouched)?;
    neighbours.look_at_programs(netns, interfaces, pins)
}

// === impl Neighbours ===

impl Neighbours {
    /// Adds the sockets that matter. Connections are gone through only where `untouched`: afterwards their marks are of
    /// our making.
    fn look_at_sockets(&mut self, netns: &Netns, untouched: bool) -> Result<(), Error> {
        let kernel = SockDiag::open(netns)?;
        let mut add = |kind, found: Vec<crate::sock_diag::Connection>| {
            let marked = found.into_iter().filter(|socket| socket.mark != 0);
            let marked = marked.map(|socket| MarkedSocket { kind, local: socket.local, mark: socket.mark });
            self.sockets.extend(marked);
        };
        add(SocketKind::Listening, kernel.listening()?);
        if untouched {
            add(SocketKind::Connected, kernel.established()?);
        }
        Ok(())
    }

    /// Adds the programs that decide before our guards, or after our `steer`. Where ours are not attached yet there is
    /// nothing to tell: the guard goes to the front, and `steer` has the last word when it comes.
    fn look_at_programs(
        &mut self,
        netns: &Netns,
        interfaces: &BTreeMap<u32, String>,
        pins: &Pins,
    ) -> Result<(), Error> {
        let cookie = netns.cookie();
        let steerers = link::attached(Attached::SkLookup(netns.as_fd()));
        let steerers = steerers.map_err(|source| Error::Query { source })?;
        let ours = link::program_behind(&pins.steer_link(cookie));
        self.add(&Hook::AfterSteer, after(&steerers, ours));
        for (&ifindex, interface) in interfaces {
            let ours = link::program_behind(&pins.guard_link(cookie, ifindex));
            // An interface that has just gone has none.
            let attached = netns.run(|| link::attached(Attached::TcxEgress(ifindex)))?.unwrap_or_default();
            self.add(&Hook::BeforeGuard { interface: interface.clone() }, before(&attached, ours));
        }
        Ok(())
    }

    fn add(&mut self, hook: &Hook, programs: &[u32]) {
        self.programs.extend(programs.iter().map(|&id| {
            // Gone since, or never named.
            let name = link::program_name(id).unwrap_or_default();
            Stranger { hook: hook.clone(), name, id }
        }));
    }
}

fn after(programs: &[u32], ours: Option<u32>) -> &[u32] {
    match programs.iter().position(|id| Some(*id) == ours) {
        Some(ours) => &programs[ours + 1..],
        None => &[],
    }
}

fn before(programs: &[u32], ours: Option<u32>) -> &[u32] {
    match programs.iter().position(|id| Some(*id) == ours) {
        Some(ours) => &programs[..ours],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::{after, before};

    #[test]
    fn order_tells_who_decides() {
        for (case, programs, ours, first, last) in [
            ("ours alone", &[7][..], Some(7), &[][..], &[][..]),
            ("between others", &[3, 7, 5, 6], Some(7), &[3], &[5, 6]),
            ("not attached", &[3, 5], None, &[], &[]),
            ("attached elsewhere", &[3, 5], Some(7), &[], &[]),
        ] {
            assert_eq!((before(programs, ours), after(programs, ours)), (first, last), "{case}");
        }
    }
}
