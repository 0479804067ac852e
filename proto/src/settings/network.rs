//! Ranges of addresses (CIDR, RFC 4632).

use std::net::IpAddr;

use serde_json::Value;

use super::ViolationCode;
use super::reader::{Outcome, Problem, Reading};
use super::scalars::Text;

/// A range of addresses: those that share the first bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Bits in common, 0..=32 for IPv4, 0..=128 for IPv6.
    pub bits: u8,
}

impl Network {
    /// Reads `address` or `address/bits`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = if IpAddr::is_ipv4(&address) { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is in the range. An IPv4 address written as IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.bits));
                own.to_bits().checked_shr(shift).unwrap_or(0) == other.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.bits));
                own.to_bits().checked_shr(shift).unwrap_or(0) == other.to_bits().checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// One range, in its canonical spelling.
pub(super) const NETWORK: Text<Network> = Text {
    read: network,
    spell: Network::to_string,
    pattern: r"^[\s\u0085]*[0-9A-Fa-f:.]+(?:/\+?[0-9]+)?[\s\u0085]*$",
    max: usize::MAX,
    allowed: "a range of addresses such as \"10.0.0.0/8\" or \"::1\"",
};

fn network(value: &Value) -> Outcome<Network> {
    let allowed = NETWORK.allowed;
    let text = value
        .as_str()
        .ok_or_else(|| Problem::of(ViolationCode::WrongType, value, allowed))?;
    Network::parse(text.trim())
        .map(Reading::exact)
        .ok_or_else(|| Problem::of(ViolationCode::Malformed, value, allowed))
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_should() {
        for (range, address, inside) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "10.0.0.1", false),
        ] {
            let network = Network::parse(range).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{range} {address}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
