//! The guard as a tc filter under a clsact qdisc, for kernels without TCX (before Linux 6.6).
//!
//! A filter is no link: it has no pin, it outlives every agent, and whoever has `NET_ADMIN` in the pod can remove it.
//! So its removal is journalled like any other change in the namespace. Filters of others are left alone, and so is the
//! qdisc, also when we made it: by now it may hold theirs.

use std::mem;

use aya::programs::{
    Link as _, ProgramError, SchedClassifier, TcAttachType,
    tc::{
        NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
        qdisc_add_clsact,
    },
};
use netns::Netns;
use nix::libc;

use crate::{Error, interface};

/// First of all, so that no filter before it lets a packet out.
const PRIORITY: u16 = 1;

/// "ms": by which we know our filter again among others of the same priority.
const HANDLE: TcHandle = TcHandle::new(0, 0x6d73);

/// Attaches a loaded program to the egress of an interface, or puts it in place of the one that an earlier agent left.
pub(crate) fn attach(program: &mut SchedClassifier, netns: &Netns, interface: &str) -> Result<(), Error> {
    netns.run(|| {
        match qdisc_add_clsact(interface) {
            Err(TcError::NetlinkError(e)) if e.raw_os_error() == Some(libc::EEXIST) => {}
            added => added.map_err(|e| failed("add a clsact qdisc to", interface)(&e))?,
        }
        let attached = match replace(program, interface) {
            Err(e) if is_missing(&e) => {
                program.attach_with_options(interface, TcAttachType::Egress, options())
            }
            replaced => replaced,
        };
        let id = attached.map_err(|e| failed("add a tc filter to", interface)(&e))?;
        let link = program.take_link(id).map_err(|e| failed("keep a tc filter at", interface)(&e))?;
        // Dropped it would detach, and from an interface of the agent's own namespace.
        mem::forget(link);
        Ok(())
    })?
}

fn replace(program: &mut SchedClassifier, interface: &str) -> Result<SchedClassifierLinkId, ProgramError> {
    let there = SchedClassifierLink::attached(interface, TcAttachType::Egress, PRIORITY, HANDLE, None);
    program.attach_to_link(there.map_err(TcError::IoError)?)
}

/// Removes our filter. What is gone already, with its interface or without, is fine.
pub(crate) fn detach(netns: &Netns, ifindex: u32) -> Result<(), Error> {
    netns.run(|| {
        let Some(interface) = interface::name(ifindex) else {
            return Ok(());
        };
        let link = SchedClassifierLink::attached(&interface, TcAttachType::Egress, PRIORITY, HANDLE, None);
        match link.map_err(|e| failed("find", &interface)(&e))?.detach() {
            Err(e) if !is_missing(&e) => Err(failed("remove the tc filter from", &interface)(&e)),
            Ok(()) | Err(_) => Ok(()),
        }
    })?
}

fn options() -> TcAttachOptions {
    TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None })
}

/// There is no such filter, or no such qdisc.
fn is_missing(error: &ProgramError) -> bool {
    let (ProgramError::NetlinkError(e) | ProgramError::TcError(TcError::NetlinkError(e))) = error else {
        return false;
    };
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL))
}

fn failed<'a>(op: &'a str, interface: &'a str) -> impl Fn(&dyn std::error::Error) -> Error + 'a {
    move |e| Error::Netlink { op: format!("{op} {interface}"), reason: format!("{e}") }
}
