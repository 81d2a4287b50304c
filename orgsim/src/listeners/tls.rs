//! The certificate of the TLS listener and the small authority that signs it, both made anew at each start.
//!
//! The authority's key never leaves this function: who trusts the authority trusts this one process.

use super::ListenError;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{net::IpAddr, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// The names clients know an org by.
const NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "login.salesforce.com",
    "test.salesforce.com",
    "*.my.salesforce.com",
    "*.sandbox.my.salesforce.com",
];

/// Who the TLS listener is.
pub struct Identity {
    /// Certificate of the authority, in PEM.
    pub ca_pem: String,
    pub acceptor: TlsAcceptor,
}

impl Identity {
    /// Makes an authority and a certificate for Salesforce's names, the address listened on and `more_names`.
    ///
    /// # Errors
    /// When a name is not one, or the system gives no random numbers.
    pub fn make(address: IpAddr, more_names: &[String]) -> Result<Self, ListenError> {
        let (ca_pem, config) = make(address, more_names)?;
        Ok(Self { ca_pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn make(address: IpAddr, more_names: &[String]) -> Result<(String, ServerConfig), ListenError> {
    let failed = |source| ListenError::Certificate { source };
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca = with_life(CertificateParams::default());
    ca.distinguished_name = named("orgsim certificate authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key).map_err(failed)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut names: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    if !address.is_unspecified() && !NAMES.contains(&address.to_string().as_str()) {
        names.push(address.to_string());
    }
    names.extend(more_names.iter().cloned());
    let key = KeyPair::generate().map_err(failed)?;
    let mut own = with_life(CertificateParams::new(names).map_err(failed)?);
    own.distinguished_name = named("orgsim");
    // Clients that check strictly (Python 3.13 does) want to see which key signed.
    own.use_authority_key_identifier_extension = true;
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = own.signed_by(&key, &issuer).map_err(failed)?;

    let refused = |source| ListenError::Tls { source };
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    // Named, so that a process with another default provider, or none, can start a server.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone(), ca_certificate.der().clone()], private)
        .map_err(refused)?;
    // Clients that offer HTTP/2 as well settle for what is spoken here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((ca_certificate.pem(), config))
}

/// Fixed dates: a moved clock, on this machine or the org's, must not make a certificate invalid.
fn with_life(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
