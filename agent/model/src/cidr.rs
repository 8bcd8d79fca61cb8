//! Networks, as people write them: `192.0.2.0/24`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// An address and how many of its bits count; the others are zero, and IPv4 is not written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("is not a network like 192.0.2.0/24 or 2001:db8::/32")]
    Syntax,
    #[error("has no prefix length: {0} is that one address")]
    NoLength(Cidr),
    #[error("has more bits than the {bits} of such an address")]
    TooLong { bits: u8 },
    #[error("has bits set after the prefix: the network is {0}")]
    HostBits(Cidr),
}

// === impl Cidr ===

impl Cidr {
    /// The network that the address is in: bits after the prefix are cleared. `None` where there are not so many.
    pub fn containing(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match address {
            IpAddr::V6(v6) if 96 <= length && v6.to_ipv4_mapped().is_some() => {
                (address.to_canonical(), length - 96)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => (address, length),
        };
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { address, length })
    }

    pub fn address(self) -> IpAddr {
        self.address
    }

    pub fn length(self) -> u8 {
        self.length
    }

    pub fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && Self::containing(ip, self.length) == Some(self)
    }

    fn bits(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

impl From<IpAddr> for Cidr {
    /// The network that is this one address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, length: Self::bits(address) }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| CidrError::Syntax)?;
        let bits = Self::bits(address);
        let Some(length) = length else {
            return Err(Self::containing(address, bits).map_or(CidrError::Syntax, CidrError::NoLength));
        };
        // `parse` alone would take a sign.
        if !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CidrError::Syntax);
        }
        let length = length.parse().map_err(|_| CidrError::Syntax)?;
        let cidr = Self::containing(address, length).ok_or(CidrError::TooLong { bits })?;
        let is_exact = cidr.address.to_canonical() == address.to_canonical();
        if is_exact { Ok(cidr) } else { Err(CidrError::HostBits(cidr)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, length } = self;
        write!(f, "{address}/{length}")
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests;
