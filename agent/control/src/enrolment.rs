//! Which pods are captured, as Istio's ambient mode decides it.
//!
//! By default the label `istio.io/dataplane-mode` does: `ambient` on the pod, or `ambient` on its namespace unless
//! the pod itself says `none`. Selectors of one's own replace that rule. Some pods are never captured, whatever
//! their labels.

use std::collections::{BTreeMap, BTreeSet};

use model::{Enrolment, ExistingConnections, OutboundPolicy, Uncaptured, WhenAgentDown};
use serde::Deserialize;

use crate::{
    refusal::Invalid,
    selector::{LabelSelector, Selector, SelectorError},
};

pub const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// On a namespace: what its captured pods meet while no agent runs.
pub const WHEN_AGENT_DOWN: &str = "millstream.dev/when-agent-down";
/// On a pod or, for all that do not say it themselves, on a namespace: what becomes of the connections that are
/// there when a pod is captured.
pub const EXISTING_CONNECTIONS: &str = "millstream.dev/existing-connections";
/// On a namespace: what becomes of its captured pods' connections to addresses that no service has.
pub const OUTBOUND_POLICY: &str = "millstream.dev/outbound-traffic-policy";
/// Written by the sidecar injector; its presence decides, not its value.
pub(crate) const SIDECAR_STATUS: &str = "sidecar.istio.io/status";

const AMBIENT: &str = "ambient";
const NONE: &str = "none";

/// Which pods are captured: a rule that was checked when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentConfig {
    rule: Rule,
    excluded_namespaces: BTreeSet<String>,
    /// Of namespaces that do not say it themselves.
    pub when_agent_down: WhenAgentDown,
}

/// One entry of `enablementSelectors`, as it is written. An absent selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnablementSelector {
    pub pod_selector: LabelSelector,
    pub namespace_selector: LabelSelector,
}

/// An entry of `enablementSelectors` that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use enablementSelectors[{position}].{field}")]
pub struct EnablementError {
    pub position: usize,
    pub field: &'static str,
    pub source: SelectorError,
}

/// What of a pod, but for its namespace's labels, bears on its enrolment.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    pub namespace: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub host_network: bool,
    pub has_sidecar: bool,
    pub is_terminal: bool,
    pub has_address: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    DataplaneMode,
    /// One that matches is enough.
    Selectors(Vec<Enablement>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Enablement {
    pod: Selector,
    namespace: Selector,
}

/// The order matters only for the reason given, but for one thing: a pod in the host's network or one that has
/// finished does not own its addresses, so these two come first.
pub fn decide(
    pod: &PodFacts<'_>,
    namespace_labels: &BTreeMap<String, String>,
    config: &EnrolmentConfig,
) -> Enrolment {
    let EnrolmentConfig { rule, excluded_namespaces, when_agent_down: _ } = config;
    if pod.host_network {
        let asked_by = rule.decide(pod.labels, namespace_labels).ok();
        let asked_by = asked_by.filter(|_| !excluded_namespaces.contains(pod.namespace));
        return Enrolment::NotEnrolled(Uncaptured::HostNetwork { asked_by });
    }
    if pod.is_terminal {
        return Enrolment::NotEnrolled(Uncaptured::Terminal);
    }
    if excluded_namespaces.contains(pod.namespace) {
        return Enrolment::NotEnrolled(Uncaptured::ExcludedNamespace);
    }
    if pod.has_sidecar {
        return Enrolment::NotEnrolled(Uncaptured::Sidecar);
    }
    match rule.decide(pod.labels, namespace_labels) {
        Ok(_) if !pod.has_address => Enrolment::NotEnrolled(Uncaptured::NoAddress),
        Ok(by) => Enrolment::Enrolled(by),
        Err(why) => Enrolment::NotEnrolled(why),
    }
}

/// `None` where nothing is said. An unknown value is refused, and with it anything but what is safe.
pub(crate) fn when_agent_down(
    annotations: &BTreeMap<String, String>,
) -> Result<Option<WhenAgentDown>, Invalid> {
    match annotations.get(WHEN_AGENT_DOWN).map(String::as_str) {
        None => Ok(None),
        Some("closed") => Ok(Some(WhenAgentDown::Closed)),
        Some("open") => Ok(Some(WhenAgentDown::Open)),
        Some(other) => Err(Invalid::new(
            format_args!("metadata.annotations[{WHEN_AGENT_DOWN}]"),
            format_args!("{other:?} is not one of closed, open; closed is used"),
        )),
    }
}

/// `None` where nothing is said. An unknown value is refused, and with it what the registry does not know.
pub(crate) fn outbound_policy(
    annotations: &BTreeMap<String, String>,
) -> Result<Option<OutboundPolicy>, Invalid> {
    match annotations.get(OUTBOUND_POLICY).map(String::as_str) {
        None => Ok(None),
        Some("ALLOW_ANY") => Ok(Some(OutboundPolicy::AllowAny)),
        Some("REGISTRY_ONLY") => Ok(Some(OutboundPolicy::RegistryOnly)),
        Some(other) => Err(Invalid::new(
            format_args!("metadata.annotations[{OUTBOUND_POLICY}]"),
            format_args!("{other:?} is not one of ALLOW_ANY, REGISTRY_ONLY; REGISTRY_ONLY is used"),
        )),
    }
}

/// `None` where nothing is said. An unknown value is refused: nobody's connections are cut for a slip of the pen.
pub(crate) fn existing_connections(
    annotations: &BTreeMap<String, String>,
) -> Result<Option<ExistingConnections>, Invalid> {
    match annotations.get(EXISTING_CONNECTIONS).map(String::as_str) {
        None => Ok(None),
        Some("keep") => Ok(Some(ExistingConnections::Keep)),
        Some("reset") => Ok(Some(ExistingConnections::Reset)),
        Some(other) => Err(Invalid::new(
            format_args!("metadata.annotations[{EXISTING_CONNECTIONS}]"),
            format_args!("{other:?} is not one of keep, reset; keep is used"),
        )),
    }
}

// === impl EnrolmentConfig ===

impl EnrolmentConfig {
    /// Without `selectors` the default rule holds; an empty list captures nothing.
    pub fn new(
        selectors: Option<Vec<EnablementSelector>>,
        exclude_namespaces: impl IntoIterator<Item = String>,
    ) -> Result<Self, EnablementError> {
        let rule = match selectors {
            None => Rule::DataplaneMode,
            Some(selectors) => Rule::Selectors(
                selectors.into_iter().enumerate().map(Enablement::parse).collect::<Result<_, _>>()?,
            ),
        };
        let excluded_namespaces = exclude_namespaces.into_iter().collect();
        Ok(Self { rule, excluded_namespaces, when_agent_down: WhenAgentDown::Closed })
    }
}

impl Default for EnrolmentConfig {
    fn default() -> Self {
        Self {
            rule: Rule::DataplaneMode,
            excluded_namespaces: ["kube-system".to_owned()].into(),
            when_agent_down: WhenAgentDown::Closed,
        }
    }
}

// === impl Rule ===

impl Rule {
    /// What enrols the pod, or why nothing does.
    fn decide(
        &self,
        pod: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Result<String, Uncaptured> {
        match self {
            Self::DataplaneMode => {
                let mode = |labels: &BTreeMap<String, String>| labels.get(DATAPLANE_MODE).cloned();
                match (mode(pod).as_deref(), mode(namespace).as_deref()) {
                    (Some(AMBIENT), _) => Ok(format!("pod label {DATAPLANE_MODE}={AMBIENT}")),
                    (Some(NONE), _) => Err(Uncaptured::OptedOut),
                    (_, Some(AMBIENT)) => Ok(format!("namespace label {DATAPLANE_MODE}={AMBIENT}")),
                    (_, _) => Err(Uncaptured::NoLabel),
                }
            }
            Self::Selectors(selectors) => selectors
                .iter()
                .position(|s| s.pod.matches(pod) && s.namespace.matches(namespace))
                .map(|position| format!("configuration enablementSelectors[{position}]"))
                .ok_or(Uncaptured::NoSelector),
        }
    }
}

// === impl Enablement ===

impl Enablement {
    fn parse((position, written): (usize, EnablementSelector)) -> Result<Self, EnablementError> {
        let EnablementSelector { pod_selector, namespace_selector } = written;
        let compile = |selector: LabelSelector, field| {
            Selector::try_from(selector).map_err(|source| EnablementError { position, field, source })
        };
        Ok(Self {
            pod: compile(pod_selector, "podSelector")?,
            namespace: compile(namespace_selector, "namespaceSelector")?,
        })
    }
}

#[cfg(test)]
mod tests;
