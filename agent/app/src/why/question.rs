//! What is asked about, from the words of the command line.

use std::{net::SocketAddr, sync::Arc};

use model::{ObjectName, Pod, Snapshot};

/// `IP:PORT`, `[IPv6]:PORT` or `NAMESPACE/SERVICE:PORT`.
pub fn parse_destination(snapshot: &Snapshot, text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let usage = || format!("{text:?} is no destination: give IP:PORT, [IPv6]:PORT or NAMESPACE/SERVICE:PORT");
    let (name, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let (namespace, name) = name.split_once('/').ok_or_else(usage)?;
    let port = port.parse().map_err(|_| usage())?;
    let service = snapshot
        .service(&ObjectName::new(namespace, name))
        .ok_or_else(|| format!("no service {namespace}/{name} is known"))?;
    let ip = service.addresses().next().ok_or_else(|| {
        format!(
            "service {namespace}/{name} has no address of its own: ask about the address of one of its endpoints"
        )
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// `NAMESPACE/NAME`, or just `NAME` where that is unique.
pub fn find_pod<'a>(snapshot: &'a Snapshot, text: &str) -> Result<&'a Arc<Pod>, String> {
    let pods = snapshot.pods();
    let fits = |pod: &&&Arc<Pod>| pod.name.to_string() == text || *pod.name.name == *text;
    let found: Vec<_> = pods.iter().filter(fits).collect();
    match found[..] {
        [pod] => Ok(pod),
        [] => Err(format!("no pod {text} is known: `millstream pods` lists those of this node")),
        _ => Err(format!("several pods are called {text}: say NAMESPACE/{text}")),
    }
}
