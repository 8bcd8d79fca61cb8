//! Links that outlive the process: pinned, or found pinned and given the new program.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use abi::name;
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, CgroupSockopt, LinkOrder, ProgramError, ProgramFd, SchedClassifier,
    SkLookup, SockOps,
    links::FdLink,
    tc::{SchedClassifierLinkId, TcAttachOptions},
};
use netns::Netns;

use crate::{Error, link, pins};

pub(super) fn attach_connect(
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

pub(super) fn attach_setsockopt(program: &CgroupSockopt, cgroup: &File, pin: &Path) -> Result<(), Error> {
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

pub(super) fn attach_probe(program: &mut SockOps, cgroup: &File, pin: &Path) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name::PROBE, source };
    if adopt(pin, program.fd().map_err(refused)?)? {
        return Ok(());
    }
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    pin_link(link.try_into().map_err(|_| unsupported(pin))?, pin)
}

/// To a namespace, by the link that steers it.
pub(super) fn attach_steer(program: &mut SkLookup, netns: &Netns, pin: &Path) -> Result<(), Error> {
    let refused = |source| Error::Program { program: name::STEER, source };
    if adopt(pin, program.fd().map_err(refused)?)? {
        return Ok(());
    }
    let id = program.attach(netns).map_err(refused)?;
    let link: FdLink = program.take_link(id).map_err(refused)?.into();
    pin_link(link, pin)
}

/// `attach` goes to where the interface is.
pub(super) fn attach_tcx(
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

pub(super) fn first() -> TcAttachOptions {
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
