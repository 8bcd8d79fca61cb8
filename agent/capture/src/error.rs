//! What can go wrong, by operation and object.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent was built without its eBPF object; build it with `cargo xtask build`")]
    NoObject,
    #[error("cannot load the eBPF object")]
    Object(#[from] aya::EbpfError),
    #[error("Linux {kernel} refuses eBPF program {program}: {reason}")]
    Verifier { program: &'static str, kernel: String, reason: String },
    #[error("cannot attach eBPF program {program}")]
    Program { program: &'static str, source: aya::programs::ProgramError },
    #[error("cannot {op} map {map}")]
    Map { op: &'static str, map: &'static str, source: aya::maps::MapError },
    #[error(
        "map {map} is full: it has room for {room} entries, and the pods of this node need more; it is tried again"
    )]
    MapFull { map: &'static str, room: u32 },
    #[error("cannot {op} {}", path.display())]
    Pin { op: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {op} {}", path.display())]
    File { op: &'static str, path: PathBuf, source: io::Error },
    #[error("the journal {} is damaged: {reason}; after making sure that the pod works, remove the file", path.display())]
    Journal { path: PathBuf, reason: String },
    #[error("cannot set sysctl {name} in the pod's namespace; /proc/sys may be read-only here")]
    Sysctl { name: String, source: io::Error },
    #[error("netlink: cannot {op} in the pod's namespace: {reason}")]
    Netlink { op: String, reason: String },
    #[error(transparent)]
    Netns(#[from] netns::Error),
    #[error("the proxy cannot listen in the pod's namespace: {0}")]
    Listen(String),
    #[error("cannot ask which programs others have attached in the pod's namespace")]
    Query { source: io::Error },
    #[error(transparent)]
    Collision(#[from] crate::collision::Collision),
    #[error("{0}")]
    Refused(#[from] crate::verify::Refusal),
}
