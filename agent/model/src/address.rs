//! Four addresses describe one captured connection; each type says whose it is.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub SocketAddr);

        impl $name {
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address! {
    /// The application that dialled: the far end of the socket that the proxy accepted.
    ClientAddr
}
address! {
    /// What the application dialled: the local address of the socket that the proxy accepted.
    OriginalDst
}
address! {
    /// Where the proxy goes on to: one address and port that serve the connection.
    EndpointAddr
}

/// The address with an IPv4-mapped IPv6 form (`::ffff:192.0.2.1`) turned into plain IPv4, so that one
/// address has one spelling.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
