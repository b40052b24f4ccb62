//! Generates the keys and certificates of one control plane.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Paths of the generated files.
#[derive(Debug)]
pub struct Certificates {
    /// CA certificate that clients trust.
    pub authority: PathBuf,
    pub serving_certificate: PathBuf,
    pub serving_key: PathBuf,
    /// Private key that signs ServiceAccount tokens.
    pub token_key: PathBuf,
    /// Public key that verifies them. The API server cannot derive it from a private key in PKCS#8, the only form generated here.
    pub token_public_key: PathBuf,
}

impl Certificates {
    /// Generates all keys and certificates into the folder.
    pub fn generate(folder: &Path) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "testbed authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let serving_key = KeyPair::generate()?;
        let mut serving = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        serving.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        serving.use_authority_key_identifier_extension = true;
        let serving_pem = serving.signed_by(&serving_key, &issuer)?.pem();

        let token_key = KeyPair::generate()?;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map(|()| path)
        };
        Ok(Self {
            authority: write("ca.crt", authority_pem)?,
            serving_certificate: write("apiserver.crt", serving_pem)?,
            serving_key: write("apiserver.key", serving_key.serialize_pem())?,
            token_key: write("service-account.key", token_key.serialize_pem())?,
            token_public_key: write("service-account.pub", token_key.public_key_pem())?,
        })
    }
}
