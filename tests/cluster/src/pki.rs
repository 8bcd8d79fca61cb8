//! Throw-away certificates: one authority for everything in the cluster, and what each member shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// The authority, and the folder that its certificates are written to.
pub(crate) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

// === impl Pki ===

impl Pki {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = subject("millstream test", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        let pki = Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) };
        let Identity { certificate: path, key } = pki.authority();
        write(&path, &certificate.pem())?;
        write(&key, &pki.issuer.key().serialize_pem())?;
        Ok(pki)
    }

    /// Its own certificate and key.
    pub(crate) fn authority(&self) -> Identity {
        self.files("ca")
    }

    /// What a client shows: who it is and which groups it belongs to.
    pub(crate) fn client(&self, file: &str, name: &str, groups: &[&str]) -> Result<Identity> {
        self.issue(file, subject(name, groups), &[])
    }

    /// What a server shows that goes by these names and addresses. It may show it to servers, too.
    pub(crate) fn server(&self, file: &str, names: &[String]) -> Result<Identity> {
        self.issue(file, subject(file, &[]), names)
    }

    /// The pair that tokens of service accounts are signed and verified with: the public half is no certificate.
    pub(crate) fn token_keys(&self) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let files = self.files("service-accounts");
        write(&files.certificate, &key.public_key_pem())?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    fn issue(&self, file: &str, subject: DistinguishedName, names: &[String]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = self.files(file);
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    fn files(&self, name: &str) -> Identity {
        Identity {
            certificate: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        }
    }
}

fn subject(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    subject
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
