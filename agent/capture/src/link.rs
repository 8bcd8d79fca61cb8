//! What aya 0.14 has not of bpf(2): replacing the program behind a pinned cgroup or sk_lookup link (`BPF_OBJ_GET`,
//! `BPF_LINK_UPDATE`; the swap is atomic: there is no moment without a program), pinning a `setsockopt` link
//! (`BPF_LINK_CREATE`, `BPF_OBJ_PIN`), and asking which programs are attached somewhere (`query`).

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::libc;

pub(crate) use query::{Attached, attached, program_behind, program_name};

mod query;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;

/// `enum bpf_attach_type`
const BPF_CGROUP_SETSOCKOPT: u32 = 22;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` and `BPF_OBJ_PIN` read.
#[repr(C)]
#[derive(Default)]
struct Obj {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_UPDATE` reads.
#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a `setsockopt` program to the cgroup, and pins the link.
pub(crate) fn pin_setsockopt(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut attr = LinkCreate {
        prog_fd: raw(program.as_raw_fd()),
        target_fd: raw(cgroup.as_raw_fd()),
        attach_type: BPF_CGROUP_SETSOCKOPT,
        ..LinkCreate::default()
    };
    let link = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Obj { pathname: path.as_ptr() as u64, bpf_fd: raw(link.as_raw_fd()), ..Obj::default() };
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Puts `program` behind the link pinned at `path`. `NotFound` where nothing is pinned; `ENOLINK` where the
/// cgroup or namespace of the link is gone.
pub(crate) fn update(path: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open(path)?;
    let mut attr = LinkUpdate {
        link_fd: raw(link.as_raw_fd()),
        new_prog_fd: raw(program.as_raw_fd()),
        ..LinkUpdate::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Obj { pathname: path.as_ptr() as u64, ..Obj::default() };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a prefix of `union bpf_attr`; the kernel takes its size, and reads and writes no further.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn raw(fd: i32) -> u32 {
    u32::try_from(fd).expect("an open descriptor is not negative")
}
