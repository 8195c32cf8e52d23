//! Where a listener listens. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

const LOCALHOST: &str = "localhost";

/// An IP address, or `localhost`, which is both loopback addresses: clients resolve the name to
/// either. Other names are refused: what they mean may change under the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// 127.0.0.1 and ::1, as far as this host has them.
    Localhost,
    /// `0.0.0.0` is every IPv4 address of this host, `::` every address of both families.
    Address(IpAddr),
}

impl Host {
    /// The default: 127.0.0.1.
    pub(super) const fn loopback() -> Self {
        Self::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The addresses to listen at, with a port.
    #[must_use]
    pub fn at(self, port: u16) -> Vec<SocketAddr> {
        match self {
            Self::Localhost => vec![
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
                SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
            ],
            Self::Address(address) => vec![SocketAddr::new(address, port)],
        }
    }

    /// Whether only this host can reach it.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Localhost => true,
            Self::Address(address) => address.to_canonical().is_loopback(),
        }
    }

    /// Whether the same port cannot be had at both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let all = |host: Self| matches!(host, Self::Address(address) if address.is_unspecified());
        let of_other = other.at(0);
        all(self) || all(other) || self.at(0).iter().any(|address| of_other.contains(address))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str(LOCALHOST),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl de::Visitor<'_> for Form {
            type Value = Host;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IP address such as \"127.0.0.1\" or \"::1\", or \"localhost\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Host, E> {
                let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
                if bare.eq_ignore_ascii_case(LOCALHOST) {
                    return Ok(Host::Localhost);
                }
                bare.parse()
                    .map(Host::Address)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Form)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::Host;

    fn host(text: &str) -> Host {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn localhost_is_both_loopback_addresses_and_stays_as_it_was_written() {
        let shown = |text| {
            host(text)
                .at(80)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(" LocalHost "), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(shown("[::1]"), ["[::1]:80"]);
        let written = |text| serde_json::to_value(host(text)).unwrap();
        assert_eq!(written("LOCALHOST"), "localhost");
        assert_eq!(written("[::]"), "::");
        assert!(host("localhost").is_loopback() && host("::ffff:127.0.0.2").is_loopback());
        assert!(!host("0.0.0.0").is_loopback() && !host("::").is_loopback());
    }

    #[test]
    fn a_port_can_be_had_once_where_addresses_meet() {
        for (one, other, meet) in [
            ("localhost", "127.0.0.1", true),
            ("::1", "localhost", true),
            ("::1", "127.0.0.1", false),
            ("::", "127.0.0.1", true),
            ("192.0.2.1", "0.0.0.0", true),
        ] {
            assert_eq!(host(one).overlaps(host(other)), meet, "{one} {other}");
        }
    }
}
