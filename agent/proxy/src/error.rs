//! Why a pod was not opened.

use std::{io, net::SocketAddr};

use model::ObjectName;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("pod {pod} is open already")]
    AlreadyOpen { pod: ObjectName },
    #[error("cannot open pod {pod}: the proxy is draining")]
    Draining { pod: ObjectName },
    #[error("cannot enter the network namespace of pod {pod}")]
    Netns { pod: ObjectName, source: netns::Error },
    #[error("cannot listen on {addr} in pod {pod}; its loopback interface may be down")]
    Listen { pod: ObjectName, addr: SocketAddr, source: io::Error },
    #[error("cannot duplicate the listeners of pod {pod}")]
    Duplicate { pod: ObjectName, source: io::Error },
    #[error("cannot listen in pod {pod}: its network namespace has neither IPv4 nor IPv6")]
    NoFamily { pod: ObjectName },
}
