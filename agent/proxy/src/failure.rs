//! How a connection can fail, and the reason that each failure is counted under.

use std::{error::Error, io, net::IpAddr, sync::Arc, time::Duration};

use model::{EndpointAddr, ObjectName, OriginalDst};
use nix::errno::Errno;
use route::Refusal;

use crate::{
    Reason,
    end::End,
    fair::{Denial, Exceeded},
    spare::is_out_of_descriptors,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{addr} is a listener of the proxy itself")]
    OwnListener { addr: OriginalDst },
    #[error("the proxy's own connection to {addr} came back to it")]
    OwnConnection { addr: OriginalDst },
    #[error("{addr}: {because}")]
    Refused { addr: OriginalDst, because: Refusal },
    #[error("{servers} knows no address of {host} in a family that the pod has")]
    NameUnknown { host: Arc<str>, servers: Arc<str> },
    #[error("{host} is an address of a family that the pod does not have")]
    NoFamily { host: Arc<str> },
    #[error("cannot resolve {host}: {because}")]
    ResolverFailed { host: Arc<str>, because: Arc<str> },
    #[error("every source port from {client} to {endpoint} is in use")]
    NoSourcePort { client: IpAddr, endpoint: EndpointAddr },
    #[error("pod {pod} may not have another connection: {because}")]
    OverLimit { pod: ObjectName, because: Denial },
    #[error(
        "the agent has all the files open that RLIMIT_NOFILE allows, or the machine has; raise that or lower limits.connections"
    )]
    OutOfDescriptors,
    #[error("cannot enter the network namespace of pod {pod}")]
    Netns { pod: ObjectName, source: netns::Error },
    #[error("cannot {op}")]
    Socket { op: &'static str, source: io::Error },
    #[error("cannot connect to {endpoint}")]
    Connect { endpoint: EndpointAddr, source: io::Error },
    #[error("{endpoint} did not accept within {after:?}")]
    ConnectTimeout { endpoint: EndpointAddr, after: Duration },
    #[error(
        "the application at {endpoint} did not answer over lo within {after:?}; if it listens, something in the pod may set \
         the whole mark of a socket or packet, or drop what comes in over lo"
    )]
    DeliveryTimeout { endpoint: EndpointAddr, after: Duration },
    #[error("the {end} broke off")]
    Broken { end: End, source: io::Error },
    #[error("no byte moved for {after:?}")]
    Idle { after: Duration },
    #[error("ended by the agent")]
    Ended(Reason),
}

// === impl Failure ===

impl Failure {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::OwnListener { .. } => Reason::OwnListener,
            Self::OwnConnection { .. } => Reason::OwnConnection,
            Self::Refused { because, .. } => match because {
                Refusal::UnknownPort => Reason::UnknownPort,
                Refusal::NoEndpoint => Reason::NoEndpoint,
                Refusal::NoLocalEndpoint => Reason::NoLocalEndpoint,
                Refusal::DynamicDns => Reason::DynamicDns,
                Refusal::NotRegistered => Reason::NotRegistered,
            },
            Self::NameUnknown { .. } => Reason::NameUnknown,
            Self::ResolverFailed { .. } => Reason::ResolverFailed,
            Self::NoFamily { .. } => Reason::Unreachable,
            Self::NoSourcePort { .. } => Reason::NoSourcePort,
            Self::OverLimit { because, .. } => match because.exceeded {
                Exceeded::Pod => Reason::PodLimit,
                Exceeded::Reserve | Exceeded::Node => Reason::NodeLimit,
            },
            Self::OutOfDescriptors => Reason::OutOfDescriptors,
            Self::Netns { source: netns::Error::Open { source, .. }, .. }
                if is_out_of_descriptors(source) =>
            {
                Reason::OutOfDescriptors
            }
            Self::Socket { source, .. } if is_out_of_descriptors(source) => Reason::OutOfDescriptors,
            Self::Netns { .. } | Self::Socket { .. } => Reason::Io,
            Self::Connect { source, .. } => match Kind::of(source) {
                Kind::OutOfDescriptors => Reason::OutOfDescriptors,
                Kind::NoPort => Reason::NoSourcePort,
                Kind::Reset => Reason::ConnectRefused,
                Kind::TimedOut => Reason::ConnectTimeout,
                Kind::Unreachable => Reason::Unreachable,
                Kind::Other => Reason::Io,
            },
            Self::ConnectTimeout { .. } | Self::DeliveryTimeout { .. } => Reason::ConnectTimeout,
            Self::Broken { end, source } => match (Kind::of(source), end) {
                (Kind::Reset, End::Client) => Reason::ClientReset,
                (Kind::Reset, End::Server) => Reason::ServerReset,
                (Kind::TimedOut | Kind::Unreachable, _) => Reason::Unreachable,
                (Kind::OutOfDescriptors, _) => Reason::OutOfDescriptors,
                (Kind::NoPort | Kind::Other, _) => Reason::Io,
            },
            Self::Idle { .. } => Reason::IdleTimeout,
            Self::Ended(reason) => *reason,
        }
    }

    /// The message and those of its causes, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// What an error says of the end it came from.
enum Kind {
    Reset,
    TimedOut,
    Unreachable,
    OutOfDescriptors,
    NoPort,
    Other,
}

// === impl Kind ===

impl Kind {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            // EPIPE is what a reset leaves after a half-close.
            Some(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE) => Self::Reset,
            Some(Errno::ETIMEDOUT) => Self::TimedOut,
            Some(Errno::EMFILE | Errno::ENFILE) => Self::OutOfDescriptors,
            Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE) => Self::NoPort,
            Some(
                Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETDOWN
                // A route of type `prohibit`, and one of type `blackhole`.
                | Errno::EACCES
                | Errno::EINVAL,
            ) => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
