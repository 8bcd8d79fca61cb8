//! What is asked about, from the words of the command line.

use std::{net::SocketAddr, sync::Arc};

use dns::Client;
use model::{ObjectName, Pod, Snapshot};

/// Where the connection is to go.
#[derive(Clone, Debug)]
pub struct Destination {
    pub addr: SocketAddr,
    /// If the pod has to look it up first.
    pub asked: Option<Asked>,
}

/// What the pod is told by DNS.
#[derive(Clone, Debug)]
pub struct Asked {
    /// With the port.
    pub name: String,
    pub answer: String,
    pub because: String,
}

/// `IP:PORT`, `[IPv6]:PORT`, `NAMESPACE/SERVICE:PORT`, or `NAME:PORT` of a name that the pod would look up.
pub fn find_destination(snapshot: &Snapshot, pod: &Pod, text: &str) -> Result<Destination, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(Destination { addr, asked: None });
    }
    let usage = || {
        format!("{text:?} is no destination: give IP:PORT, [IPv6]:PORT, NAMESPACE/SERVICE:PORT or NAME:PORT")
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let port = port.parse().map_err(|_| usage())?;
    match name.split_once('/') {
        Some((namespace, name)) => of_service(snapshot, &ObjectName::new(namespace, name), port),
        None if name.is_empty() || name.contains([':', '[']) => Err(usage()),
        None => of_name(snapshot, pod, name, port),
    }
}

fn of_service(snapshot: &Snapshot, name: &ObjectName, port: u16) -> Result<Destination, String> {
    let service = snapshot.service(name).ok_or_else(|| format!("no service {name} is known"))?;
    let address = service.addresses().next().ok_or_else(|| match service.is_headless() {
        true => format!("service {name} is headless: ask about the address of one of its pods"),
        false => format!("service {name} has no address"),
    })?;
    Ok(Destination { addr: SocketAddr::new(address, port), asked: None })
}

fn of_name(snapshot: &Snapshot, pod: &Pod, name: &str, port: u16) -> Result<Destination, String> {
    let resolver = "its resolver is asked; ask about the address that it gives";
    if !pod.dns.captured {
        return Err(format!("DNS of pod {} is not captured: {resolver}", pod.name));
    }
    let client = Client { namespace: &pod.name.namespace, search: &pod.dns.search };
    let found = dns::lookup(snapshot, &client, name)
        .ok_or_else(|| format!("the mesh has no host {name} that {} sees: {resolver}", pod.name))?;
    let meaning = found.meaning.as_ref().map_err(|because| format!("{name} is {because}: {resolver}"))?;
    let addresses = meaning.addresses();
    let first = addresses.first().ok_or_else(|| format!("{found} has no address at the moment"))?;
    let more = match addresses.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let asked = Asked {
        name: format!("{name}:{port}"),
        answer: format!("{first}{more}"),
        because: found.to_string(),
    };
    Ok(Destination { addr: SocketAddr::new(*first, port), asked: Some(asked) })
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
