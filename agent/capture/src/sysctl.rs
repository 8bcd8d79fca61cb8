//! Per-namespace sysctls, read and written from inside the namespace.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use netns::Netns;

use crate::Error;

/// What a captured pod needs, and why:
///
/// - `tcp_fwmark_accept`: the application's accepted sockets take bit C from the delivered SYN, so that their
///   replies to the client's address turn back over lo.
/// - `fwmark_reflect`: so does the RST of a closed port; without it the client would wait for a timeout.
///
/// Source: <https://docs.kernel.org/networking/ip-sysctl.html>.
const OF_THE_POD: [(&str, &str); 4] = [
    ("net/ipv4/tcp_fwmark_accept", "1"),
    ("net/ipv4/fwmark_reflect", "1"),
    ("net/ipv6/fwmark_reflect", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
];

/// What each interface that is guarded needs: a packet that the guard turned comes in with a source address of our
/// own. Of the two `rp_filter`s the kernel takes the larger.
const OF_AN_INTERFACE: [(&str, &str); 2] = [("accept_local", "1"), ("rp_filter", "0")];

/// Where the DaemonSet mounts the node's `/proc/sys/net`.
const MOUNTED: &str = "/host/proc/sys";

/// 1: `lo` has no IPv6, and takes no route.
pub const LO_WITHOUT_IPV6: &str = "net/ipv6/conf/lo/disable_ipv6";

/// Every sysctl that matters in a pod with these interfaces, with the value it should have.
pub fn wanted<'a>(interfaces: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, &'static str> {
    let of_the_pod = OF_THE_POD.into_iter().map(|(name, value)| (name.to_owned(), value));
    let of_interfaces = interfaces.into_iter().flat_map(|interface| {
        OF_AN_INTERFACE.map(|(name, value)| (format!("net/ipv4/conf/{interface}/{name}"), value))
    });
    of_the_pod.chain(of_interfaces).collect()
}

/// The value of a sysctl in the namespace; `None` where this kernel or namespace has no such thing (IPv6 off).
pub fn read(netns: &Netns, name: &str) -> Result<Option<String>, Error> {
    match netns.run(|| fs::read_to_string(path(name)))? {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Sysctl { name: name.to_owned(), source }),
    }
}

pub fn write(netns: &Netns, name: &str, value: &str) -> Result<(), Error> {
    netns
        .run(|| fs::write(path(name), value))?
        .map_err(|source| Error::Sysctl { name: name.to_owned(), source })
}

/// Shows each process the sysctls of the network namespace that it is in. In a container `/proc/sys` is read-only, and
/// the node's `net` is mounted elsewhere.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<&Path> = LazyLock::new(|| {
        let mounted = Path::new(MOUNTED);
        if mounted.join("net").is_dir() { mounted } else { Path::new("/proc/sys") }
    });
    *ROOT
}

fn path(name: &str) -> PathBuf {
    root().join(name)
}
