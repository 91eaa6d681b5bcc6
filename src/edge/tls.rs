//! TLS by rustls, with a certificate that can be replaced while running.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file can't be read, or is not PEM.
    #[error("cannot read `{}`: {source}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in `{}`", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in the file that can be read without a password.
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
        /// Why.
        source: rustls::Error,
    },
}

/// The certificate in use. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    /// Reads a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// If they can't be read, or do not fit.
    pub(crate) fn load(cert_file: PathBuf, key_file: PathBuf) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::new(read(&cert_file, &key_file)?));
        Ok(Self { cert_file, key_file, config })
    }

    /// Everything that is wrong with the two files, each with the setting that names it.
    pub(crate) fn problems(cert_file: &Path, key_file: &Path) -> Vec<(&'static str, String)> {
        let blame = |setting| move |error: TlsError| vec![(setting, error.to_string())];
        match (read_chain(cert_file), read_key(key_file)) {
            (Ok(chain), Ok(key)) => pair(cert_file, key_file, chain, key)
                .map_or_else(blame("tls.key_file"), |_| Vec::new()),
            (chain, key) => {
                let chain = chain.map_or_else(blame("tls.cert_file"), |_| Vec::new());
                let key = key.map_or_else(blame("tls.key_file"), |_| Vec::new());
                chain.into_iter().chain(key).collect()
            }
        }
    }

    /// Reads both files again; connections to come use them.
    ///
    /// # Errors
    /// As [`load`](Self::load); the certificate in use stays in use.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        self.config.store(read(&self.cert_file, &self.key_file)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    pair(cert_file, key_file, read_chain(cert_file)?, read_key(key_file)?)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::File { path: path.to_owned(), source },
    })
}

fn pair(
    cert_file: &Path,
    key_file: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert, key_path) = (cert_file.to_owned(), key_file.to_owned());
    let refused = |error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert, key: key_path },
        source => TlsError::Unusable { cert, key: key_path, source },
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()]; // a websocket needs an upgrade
    Ok(Arc::new(config))
}
