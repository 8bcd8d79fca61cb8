//! Strings and numbers of an object become addresses, ports and names. Every refusal names the field.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::IpAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::refusal::Invalid;

/// The longest name of an object: a DNS subdomain.
const NAME_MAX: usize = 253;
/// The longest name of a port.
const PORT_NAME_MAX: usize = 15;
/// Long enough for every UID in use; the API server makes UUIDs of 36 characters.
const UID_MAX: usize = 128;

/// A unicast address in its one spelling: IPv4-mapped IPv6 becomes IPv4.
pub(crate) fn ip(field: impl Display, text: &str) -> Result<IpAddr, Invalid> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Err(Invalid::new(field, format_args!("{text:?} is not an IP address")));
    };
    let ip = ip.to_canonical();
    let why = if ip.is_unspecified() {
        "the unspecified address"
    } else if ip.is_loopback() {
        "a loopback address"
    } else if ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        "not a unicast address"
    } else {
        return Ok(ip);
    };
    Err(Invalid::new(field, format_args!("{text} is {why}")))
}

pub(crate) fn port(field: impl Display, number: i32) -> Result<u16, Invalid> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        Ok(_) | Err(_) => Err(Invalid::new(field, format_args!("{number} is not a port, 1 to 65535"))),
    }
}

/// Whether a port is TCP: absent means that it is, and of the others only those that Kubernetes knows are let
/// pass.
pub(crate) fn is_tcp(field: impl Display, protocol: Option<&str>) -> Result<bool, Invalid> {
    match protocol {
        None | Some("TCP") => Ok(true),
        Some("UDP" | "SCTP") => Ok(false),
        Some(other) => Err(Invalid::new(field, format_args!("{other:?} is not one of TCP, UDP, SCTP"))),
    }
}

/// The name by which a service refers to a container's port.
pub(crate) fn port_name(field: impl Display, name: &str) -> Result<(), Invalid> {
    let sound = name.len() <= PORT_NAME_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase());
    if sound {
        return Ok(());
    }
    let reason =
        format_args!("{name:?} is not a port name: at most 15 of a-z, 0-9 and -, a letter among them");
    Err(Invalid::new(field, reason))
}

/// The name of an object or a namespace, as the API server would take it.
pub(crate) fn name(field: impl Display, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(field, "is missing"));
    }
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let sound = name.len() <= NAME_MAX
        && name.bytes().all(|b| edge(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(edge)
        && name.bytes().last().is_some_and(edge);
    if sound {
        return Ok(());
    }
    let reason = format_args!("{name:?} is not a name: a-z, 0-9, - and ., a letter or digit at both ends");
    Err(Invalid::new(field, reason))
}

/// The name of a host: as names are compared, in lower case and without the last dot. `*.example.com` stands for all
/// names below.
pub(crate) fn host_or_wildcard(field: impl Display, text: &str) -> Result<Arc<str>, Invalid> {
    match text.strip_prefix("*.") {
        Some(domain) => Ok(format!("*.{}", host(field, domain)?).into()),
        None if text == "*" => {
            let reason = "stands for every name; say those below which domain, as *.example.com does";
            Err(Invalid::new(field, reason))
        }
        None => host(field, text),
    }
}

/// The same, of one host alone.
pub(crate) fn host(field: impl Display, text: &str) -> Result<Arc<str>, Invalid> {
    let host = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= NAME_MAX && host.split('.').all(is_label) {
        return Ok(host.to_ascii_lowercase().into());
    }
    Err(Invalid::new(field, format_args!("{text:?} is not a name like www.example.com")))
}

/// One part of the name of a host, in lower case.
pub(crate) fn label(field: impl Display, text: &str) -> Result<Arc<str>, Invalid> {
    match text.contains('.') {
        true => Err(Invalid::new(field, format_args!("{text:?} is more than one part of a name"))),
        false => host(field, text),
    }
}

/// A UID becomes part of file names, so it may hold nothing that leads elsewhere.
pub(crate) fn uid(field: impl Display, uid: &str) -> Result<(), Invalid> {
    let sound = (1..=UID_MAX).contains(&uid.len())
        && uid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !uid.starts_with('.');
    if sound {
        return Ok(());
    }
    Err(Invalid::new(field, format_args!("{uid:?} is not a UID: letters, digits, -, _ and .")))
}

/// An absolute path with one spelling, so that two equal paths are seen to be equal.
pub(crate) fn path(field: impl Display, text: &str) -> Result<PathBuf, Invalid> {
    let path = Path::new(text);
    let plain = path.is_absolute()
        && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
        && !text.contains('\0');
    if plain {
        // Collected anew: `//run/./netns/a` and `/run/netns/a` are one.
        return Ok(path.components().collect());
    }
    Err(Invalid::new(field, format_args!("{text:?} is not an absolute path without `..`")))
}

/// Labels and annotations where there are none.
pub(crate) fn or_empty(map: Option<&BTreeMap<String, String>>) -> &BTreeMap<String, String> {
    static EMPTY: BTreeMap<String, String> = BTreeMap::new();
    map.unwrap_or(&EMPTY)
}

#[cfg(test)]
mod tests;
