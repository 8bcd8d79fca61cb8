//! Which programs are attached somewhere, in the order in which they run (`BPF_PROG_QUERY`), and what they are called
//! (`BPF_OBJ_GET_INFO_BY_FD`).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::libc;

use super::{bpf, open, raw};

const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;

// `enum bpf_attach_type`
const BPF_SK_LOOKUP: u32 = 36;
const BPF_TCX_EGRESS: u32 = 47;

/// As many as the kernel allows at one place (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// A place where programs are attached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attached<'a> {
    /// To a network namespace.
    SkLookup(BorrowedFd<'a>),
    /// To an interface of the calling thread's namespace.
    TcxEgress(u32),
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` reads.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    reserved: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The part of `union bpf_attr` that `BPF_PROG_GET_FD_BY_ID` reads.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` reads.
#[repr(C)]
#[derive(Default)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    before_name: [u64; 8],
    name: [u8; 16],
}

/// The ids of the programs there, in the order in which they run.
pub(crate) fn attached(place: Attached<'_>) -> io::Result<Vec<u32>> {
    let (target, attach_type) = match place {
        Attached::SkLookup(netns) => (raw(netns.as_raw_fd()), BPF_SK_LOOKUP),
        Attached::TcxEgress(ifindex) => (ifindex, BPF_TCX_EGRESS),
    };
    let mut ids = [0_u32; MOST];
    let prog_ids = ids.as_mut_ptr() as u64;
    let mut query = Query { target, attach_type, prog_ids, prog_cnt: 64, ..Query::default() };
    bpf(BPF_PROG_QUERY, &mut query)?;
    Ok(ids.into_iter().take(query.prog_cnt as usize).collect())
}

/// The id of the program behind a pinned link; `None` where no link is pinned. What else is in its place is named when
/// ours is to be pinned.
pub(crate) fn program_behind(pin: &Path) -> Option<u32> {
    let link = open(pin).ok()?;
    info(&link, LinkInfo::default()).ok().map(|info| info.prog_id)
}

/// What its maker called it; 15 characters of it.
pub(crate) fn program_name(id: u32) -> io::Result<String> {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let ProgramInfo { name, .. } = info(&program, ProgramInfo::default())?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn info<T>(object: &OwnedFd, mut info: T) -> io::Result<T> {
    let bpf_fd = raw(object.as_raw_fd());
    let info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut get = GetInfo { bpf_fd, info_len, info: (&raw mut info) as u64 };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut get)?;
    Ok(info)
}
