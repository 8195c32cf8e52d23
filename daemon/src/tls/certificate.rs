//! What a certificate says: names and dates (RFC 5280 §4.1, §4.2.1.6). Pure. May not: verify
//! anything.

use super::Unusable;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer, X509Name},
};

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The first DNS name, URI or e-mail address among its alternative names; its common name, if it
    /// has no alternative names at all (RFC 6125 §6.4.4); may be empty.
    pub name: String,
    /// Every alternative name, each once, or the common name. None of one kind has the form of
    /// another, so that rules cannot take one for the other.
    pub names: Vec<String>,
    /// Names of hosts that it may serve: DNS names (perhaps with `*.`) and addresses.
    pub hosts: Vec<String>,
    /// Valid from then on, in seconds since the Unix epoch.
    pub not_before: i64,
    /// Valid until then, in seconds since the Unix epoch.
    pub not_after: i64,
    /// Who signed it, as a name in the form of RFC 4514.
    pub issuer: String,
    /// It names itself as its issuer.
    pub self_issued: bool,
}

/// Reads one certificate.
///
/// # Errors
/// It is none.
pub fn facts(der: &[u8]) -> Result<Facts, Unusable> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| Unusable::new(format!("not an X.509 certificate: {error}")))?;
    let mut facts = Facts {
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        issuer: certificate.issuer().to_string(),
        self_issued: certificate.issuer() == certificate.subject(),
        ..Facts::default()
    };
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map_or(&[][..], |extension| &extension.value.general_names);
    for name in alternatives {
        match name {
            GeneralName::DNSName(name) if is_host(name) => {
                facts.named(name, true);
                facts.hosts.push((*name).to_owned());
            }
            GeneralName::URI(name) if is_uri(name) => facts.named(name, true),
            GeneralName::RFC822Name(name) if is_mail(name) => facts.named(name, true),
            GeneralName::IPAddress(bytes) => {
                if let Some(address) = address(bytes) {
                    facts.named(&address.to_string(), false);
                    facts.hosts.push(address.to_string());
                }
            }
            _ => {}
        }
    }
    if alternatives.is_empty()
        && let Some(common) = common_name(certificate.subject())
    {
        facts.named(common, true);
    }
    Ok(facts)
}

impl Facts {
    fn named(&mut self, name: &str, may_lead: bool) {
        if may_lead && self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    /// Whether it is made for a host of that name (RFC 6125 §6.4.3: an asterisk stands for one
    /// whole label, the first).
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.hosts.iter().any(|name| match name.strip_prefix("*.") {
            Some(rest) => host.split_once('.').is_some_and(|(first, below)| {
                !first.is_empty() && below.eq_ignore_ascii_case(rest)
            }),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte))
        && name.parse::<IpAddr>().is_err()
}

fn is_uri(name: &str) -> bool {
    let scheme = name.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
        && name.parse::<IpAddr>().is_err()
}

fn is_mail(name: &str) -> bool {
    name.contains('@') && !name.contains([':', '/'])
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name()
        .next()
        .and_then(|common| common.as_str().ok())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// There is none, or one is broken.
pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Unusable::new(
            "holds no PEM certificate (-----BEGIN CERTIFICATE-----)",
        )),
        Ok(chain) => Ok(chain),
        Err(error) => Err(Unusable::new(format!("is not valid PEM: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::facts;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn names(alternatives: Vec<SanType>) -> (String, Vec<String>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternatives;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "admin");
        let key = KeyPair::generate().unwrap();
        let facts = facts(params.self_signed(&key).unwrap().der()).unwrap();
        (facts.name, facts.names)
    }

    #[test]
    fn the_common_name_counts_only_alone_and_no_kind_of_name_passes_for_another() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let found = |alternatives| names(alternatives).1;
        assert_eq!(
            names(vec![]),
            ("admin".to_owned(), vec!["admin".to_owned()])
        );
        assert_eq!(found(vec![dns("host.example")]), ["host.example"]);
        assert_eq!(found(vec![mail("a@b.example")]), ["a@b.example"]);
        assert_eq!(found(vec![uri("spiffe://a/b")]), ["spiffe://a/b"]);
        assert_eq!(
            found(vec![SanType::IpAddress([10, 0, 0, 1].into())]),
            ["10.0.0.1"]
        );
        for disguised in [
            dns("a@b.example"),
            dns("spiffe://a/b"),
            dns("10.0.0.1"),
            mail("host.example"),
            mail("spiffe://a/b@c"),
            uri("host.example"),
            uri("a@b.example"),
            uri("fe80::1"),
        ] {
            assert_eq!(found(vec![disguised.clone()]), [""; 0], "{disguised:?}");
        }
    }
}
