//! Certificates and keys in PEM files.

use std::path::{Path, PathBuf};

#[cfg(any(feature = "redis", feature = "postgres"))]
use rustls::RootCertStore;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file can't be read, or is not PEM.
    #[error("cannot read `{}`: {source}", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the reader.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in `{}`", .0.display())]
    NoCertificate(PathBuf),
    /// It is no certificate of an authority.
    #[error("a certificate in `{}` cannot be used: {source}", .path.display())]
    Authority {
        /// Its path.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// The file has no key that can be read without a password.
    #[error("no private key in `{}` (one that is encrypted cannot be used)", .0.display())]
    NoKey(PathBuf),
    /// They are not a pair.
    #[error("the key in `{}` does not belong to the certificate in `{}`", .key.display(), .cert.display())]
    Mismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The certificate or the key is of a kind that is not supported, or damaged.
    #[error("the certificate in `{}` and the key in `{}` cannot be used: {source}", .cert.display(), .key.display())]
    Unusable {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
}

impl TlsError {
    /// The file to blame: of a pair, the key.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Authority { path, .. } => path,
            Self::NoCertificate(path) | Self::NoKey(path) => path,
            Self::Mismatch { key, .. } | Self::Unusable { key, .. } => key,
        }
    }
}

pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
    }
}

/// The authorities in a file.
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(crate) fn read_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in read_chain(path)? {
        store
            .add(certificate)
            .map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(store)
}

pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::File { path: path.to_owned(), source },
    })
}

/// The error for a pair of files of which each is valid by itself.
pub(crate) fn unusable(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    let (cert, key) = (cert.to_owned(), key.to_owned());
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert, key },
        source => TlsError::Unusable { cert, key, source },
    }
}
