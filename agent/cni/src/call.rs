//! One call of the runtime: environment and standard input, parsed.

use std::{
    collections::BTreeMap,
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

use cni::{
    ask::Attachment,
    entry::{ANNOTATIONS, Entry},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    failure::{Code, Failure},
    version::SUPPORTED,
};

/// What is on standard input, as far as it concerns us.
#[derive(Debug)]
pub(crate) struct Conf<'a> {
    pub(crate) cni_version: String,
    pub(crate) entry: Entry,
    /// Whatever the plugin before us printed, to the byte.
    pub(crate) prev_result: Option<&'a RawValue>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    cni_version: Option<String>,
    #[serde(borrow, default)]
    prev_result: Option<&'a RawValue>,
    #[serde(default)]
    runtime_config: Option<BTreeMap<String, Value>>,
}

/// Of a result of any version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PrevResult {
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

// === impl Conf ===

impl<'a> Conf<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Failure> {
        let envelope: Envelope<'_> = envelope(text).map_err(|error| {
            Failure::new(Code::Decode, format!("the network configuration is no JSON object: {error}"), "")
        })?;
        // The specification: a configuration that names no version is of the first one.
        let cni_version = envelope.cni_version.filter(|v| !v.is_empty()).unwrap_or("0.1.0".to_owned());
        if !SUPPORTED.contains(&cni_version.as_str()) {
            return Err(Failure::new(
                Code::IncompatibleVersion,
                format!("millstream-cni does not speak CNI {cni_version}"),
                format!("it speaks {}; see cniVersion in the conflist", SUPPORTED.join(", ")),
            ));
        }
        let entry = serde_json::from_str(text).map_err(|error| {
            let msg = format!("the entry of millstream-cni in the conflist is wrong: {error}");
            Failure::new(Code::InvalidConfig, msg, "the Millstream agent writes it anew when it starts")
                .in_version(&cni_version)
        })?;
        let annotations = envelope.runtime_config.and_then(|mut config| config.remove(ANNOTATIONS));
        Ok(Self {
            entry,
            prev_result: envelope.prev_result,
            annotations: strings(annotations.unwrap_or_default()),
            cni_version,
        })
    }

    /// `None`: this is no pod, and no business of ours. Somebody tries out the chain by hand, for instance.
    pub(crate) fn attachment(&self) -> Result<Option<Attachment>, Failure> {
        let arguments = env::var("CNI_ARGS").unwrap_or_default();
        let Some((namespace, name)) =
            argument(&arguments, "K8S_POD_NAMESPACE").zip(argument(&arguments, "K8S_POD_NAME"))
        else {
            return Ok(None);
        };
        let netns = PathBuf::from(variable("CNI_NETNS")?);
        if !netns.exists() {
            return Err(gone(&netns));
        }
        Ok(Some(Attachment {
            container_id: variable("CNI_CONTAINERID")?,
            // Where /var/run is a link to /run, the agent's container may not have it. A path in /proc leads nowhere
            // else, and is kept.
            netns: netns.canonicalize().unwrap_or(netns),
            interface: variable("CNI_IFNAME")?,
            namespace,
            name,
            uid: argument(&arguments, "K8S_POD_UID"),
            ips: self.prev_result.map_or_else(|| Ok(Vec::new()), ips)?,
            annotations: self.annotations.clone(),
        }))
    }
}

fn envelope(text: &str) -> Result<Envelope<'_>, serde_json::Error> {
    // serde takes the elements of a list for the fields, one by one.
    if text.trim_start().starts_with('[') {
        return Err(serde::de::Error::custom("it is a list"));
    }
    serde_json::from_str(text)
}

fn variable(name: &str) -> Result<String, Failure> {
    env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
        let msg = format!("the environment variable {name} is missing, empty or not UTF-8");
        Failure::new(Code::Environment, msg, "the container runtime sets it")
    })
}

fn gone(netns: &Path) -> Failure {
    Failure::new(
        Code::Environment,
        format!("there is no network namespace {} (CNI_NETNS)", netns.display()),
        "the pod was probably deleted meanwhile; if not, the kubelet tries again by itself",
    )
}

/// Of `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1`.
fn argument(arguments: &str, name: &str) -> Option<String> {
    let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.to_owned())
}

/// The addresses of the interfaces in the sandbox; one that names no interface counts.
fn ips(prev_result: &RawValue) -> Result<Vec<IpAddr>, Failure> {
    let result: PrevResult = serde_json::from_str(prev_result.get()).map_err(|error| {
        let details = format!("it comes from the plugin before millstream-cni in the conflist: {error}");
        Failure::new(Code::InvalidConfig, "prevResult is no CNI result", details)
    })?;
    let in_sandbox = |ip: &Ip| {
        ip.interface
            .and_then(|index| result.interfaces.get(index))
            .is_none_or(|interface| !interface.sandbox.is_empty())
    };
    let address = |ip: &Ip| ip.address.split('/').next()?.parse().ok();
    Ok(result.ips.iter().filter(|ip| in_sandbox(ip)).filter_map(address).collect())
}

fn strings(annotations: Value) -> BTreeMap<String, String> {
    let Value::Object(annotations) = annotations else {
        return BTreeMap::new();
    };
    annotations.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
}
