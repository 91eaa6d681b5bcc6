//! TLS by rustls, with a certificate that can be replaced while running.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file can't be read, or is not PEM.
    #[error("cannot read {}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// Key and certificate do not fit, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
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

fn read(cert_file: &PathBuf, key_file: &PathBuf) -> Result<Arc<ServerConfig>, TlsError> {
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(cert_file))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert_file.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(failed(key_file))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()]; // a websocket needs an upgrade
    Ok(Arc::new(config))
}
