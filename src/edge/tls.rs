//! TLS by rustls, with a certificate that can be replaced while running.

mod to_node;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(super) use self::to_node::connect;
use super::tcp::Stream;
use crate::pem::{TlsError, read_chain, read_key, unusable};

/// A websocket needs an upgrade, which HTTP/2 does not have.
const HTTP_1: &[u8] = b"http/1.1";

/// The certificate in use. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tls {
    /// The files of the certificate and its key. `None`: the program has given the configuration.
    files: Option<(PathBuf, PathBuf)>,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    /// Reads a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// If they can't be read, or do not fit.
    pub(crate) fn load(cert_file: PathBuf, key_file: PathBuf) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::new(read(&cert_file, &key_file)?));
        Ok(Self { files: Some((cert_file, key_file)), config })
    }

    /// Takes a configuration as it is, but for the protocol: a websocket needs an upgrade.
    pub(crate) fn given(config: &ServerConfig) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        Self { files: None, config: Arc::new(ArcSwap::from_pointee(config)) }
    }

    /// All faults of the two files, each with the setting that names it.
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

    /// Reads both files again, for later connections. A configuration of the program stays.
    ///
    /// # Errors
    /// As [`load`](Self::load). The certificate in use stays in use.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        if let Some((cert_file, key_file)) = &self.files {
            self.config.store(read(cert_file, key_file)?);
        }
        Ok(())
    }

    /// Takes a client's connection.
    ///
    /// # Errors
    /// If the handshake fails.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let stream = TlsAcceptor::from(self.config.load_full()).accept(stream).await?;
        Ok(Box::new(stream))
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    pair(cert_file, key_file, read_chain(cert_file)?, read_key(key_file)?)
}

fn pair(
    cert_file: &Path,
    key_file: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |error| unusable(cert_file, key_file, error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(refused)?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(Arc::new(config))
}
