//! Makes certificates: the self-signed one of a daemon that was given none, authorities and what
//! they sign (`ggend auth generate-ca`, `generate-cert`). Keys are ECDSA P-256. Files appear whole
//! or not at all, keys readable by their owner only.

use super::{Unusable, certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate and its key, PEM.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be shown by a server.
    Server,
    /// To be shown by a client.
    Client,
    /// Either.
    Both,
}

/// One that signs itself, for these host names and addresses.
///
/// # Errors
/// A name cannot be in a certificate.
pub fn self_signed(names: &[String], days: u32) -> Result<Pair, Unusable> {
    let mut params = params("ggend", names, days)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    finish(&params, None)
}

/// An authority of that name.
///
/// # Errors
/// The name cannot be in a certificate.
pub fn authority(name: &str, days: u32) -> Result<Pair, Unusable> {
    let mut params = params(name, &[], days)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    finish(&params, None)
}

/// A certificate signed by an authority.
///
/// # Errors
/// A name cannot be in a certificate, or the authority cannot be used.
pub fn signed(
    name: &str,
    names: &[String],
    days: u32,
    purpose: Purpose,
    authority: &Pair,
) -> Result<Pair, Unusable> {
    let mut params = params(name, names, days)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match purpose {
        Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Purpose::Both => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    };
    finish(&params, Some(authority))
}

fn params(name: &str, names: &[String], days: u32) -> Result<CertificateParams, Unusable> {
    let mut params = CertificateParams::default();
    let text = |name: &str| {
        name.try_into()
            .map_err(|_| Unusable::new(format!("{name:?} cannot be a name in a certificate")))
    };
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains("://") => SanType::URI(text(name)?),
            Err(_) if name.contains('@') => SanType::Rfc822Name(text(name)?),
            Err(_) => SanType::DnsName(text(name)?),
        });
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // A clock that is a little slow must not find it in the future.
    let now = SystemTime::now();
    params.not_before = (now - DAY / 24).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

fn finish(params: &CertificateParams, authority: Option<&Pair>) -> Result<Pair, Unusable> {
    let failed = |error: rcgen::Error| Unusable::new(format!("cannot be made: {error}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = match authority {
        None => params.self_signed(&key).map_err(failed)?.pem(),
        Some(authority) => {
            certificate::chain(&authority.certificate)?;
            let unusable = |error| Unusable::new(format!("the authority cannot be used: {error}"));
            let own = KeyPair::from_pem(&authority.key).map_err(unusable)?;
            let issuer = Issuer::from_ca_cert_pem(&authority.certificate, own).map_err(unusable)?;
            params.signed_by(&key, &issuer).map_err(failed)?.pem()
        }
    };
    Ok(Pair {
        certificate,
        key: key.serialize_pem(),
    })
}

/// Writes a file that appears whole or not at all. `replace`: over one that exists.
///
/// # Errors
/// `AlreadyExists`, or what the file system says.
pub fn write(path: &Path, text: &str, mode: u32, replace: bool) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let written = (|| {
        fs::remove_file(&draft).or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        })?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // link(2) refuses where rename(2) would replace.
        if replace {
            fs::rename(&draft, path)
        } else {
            fs::hard_link(&draft, path)
        }
    })();
    let _ = fs::remove_file(&draft);
    written
}
