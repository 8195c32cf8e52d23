//! Certificates that the product would not make: expired, or with a serial number that a revocation list can name.

use ggend_tests::pki::Pki;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, Issuer, KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SerialNumber,
};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Certificates that the product would not make: expired, or with a serial number that a revocation list can name.
pub(crate) struct Forge {
    ca: String,
    ca_key: String,
    folder: PathBuf,
}

impl Forge {
    pub(crate) fn new(pki: &Pki) -> Self {
        let text = |name| fs::read_to_string(pki.file(name)).unwrap();
        Self { ca: text("ca.pem"), ca_key: text("ca.key"), folder: pki.folder.clone() }
    }

    pub(crate) fn issuer(&self) -> Issuer<'static, KeyPair> {
        Issuer::from_ca_cert_pem(&self.ca, KeyPair::from_pem(&self.ca_key).unwrap()).unwrap()
    }

    pub(crate) fn client(&self, name: &str, serial: u64, until: SystemTime) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        fs::write(self.folder.join(format!("{name}.pem")), params.signed_by(&key, &self.issuer()).unwrap().pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: (SystemTime::now() + 30 * DAY).into(),
            crl_number: SerialNumber::from(u64::try_from(serials.len()).unwrap()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}
