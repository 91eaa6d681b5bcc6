//! TLS to Redis, and its files: authorities, and the certificate that is shown to Redis.
//!
//! They are read again for each new connection, since certificates are renewed while a server runs.
//! Unusable files are logged once, and the former ones stay in use.

mod certificates;
#[cfg(test)]
mod tests;

use std::{fs, io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use redis::{
    Client, ClientTlsConfig, ConnectionInfo, ErrorKind, RedisError, RedisResult, TlsCertificates,
    cluster::ClusterClientBuilder,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

pub(super) use self::certificates::of_certificate;
use super::{target_error::TargetError, tls_files::TlsFiles};
pub(crate) use crate::pem::TlsError;
use crate::pem::{read_authorities, read_chain, read_key, unusable};

/// The files, and their last usable contents.
pub(super) struct Tls {
    files: TlsFiles,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    inside: Option<Arc<Inside>>,
    /// The logged fault of the present files.
    bad: Option<String>,
}

/// The contents of the files.
#[derive(PartialEq)]
struct Inside {
    ca: Option<Vec<u8>>,
    pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// # Errors
    /// None: only a build without TLS has one.
    pub(super) fn new(files: TlsFiles) -> Result<Self, TargetError> {
        Ok(Self { files, read: Mutex::default() })
    }

    /// Sets rustls' default provider of the process, unless the program has set one. Without any,
    /// the driver would panic where another crate's features compile two in.
    #[allow(clippy::unused_self, reason = "there is nothing to be set without TLS")]
    pub(super) fn ensure_crypto(&self) {
        drop(aws_lc_rs::default_provider().install_default());
    }

    /// The same server, with the certificates for a new connection.
    ///
    /// # Errors
    /// If the files were never usable.
    pub(super) fn certify(&self, info: ConnectionInfo) -> RedisResult<ConnectionInfo> {
        match self.certificates()? {
            Some(certificates) => {
                let client = Client::build_with_tls(info, certificates)?;
                Ok(client.get_connection_info().clone())
            }
            None => Ok(info),
        }
    }

    /// The same, for the connections of a cluster.
    ///
    /// # Errors
    /// If the files were never usable.
    pub(super) fn certify_all(
        &self,
        builder: ClusterClientBuilder,
    ) -> RedisResult<ClusterClientBuilder> {
        Ok(match self.certificates()? {
            Some(certificates) => builder.certs(certificates),
            None => builder,
        })
    }

    /// The faults of the files.
    pub(super) fn problems(&self) -> Vec<TlsError> {
        let Self { files, .. } = self;
        let ca = files.ca.as_deref().and_then(|path| read_authorities(path).err());
        let pair = files.cert.as_deref().zip(files.key.as_deref());
        let pair = match pair.map(|(cert, key)| (cert, key, read_chain(cert), read_key(key))) {
            None => vec![],
            Some((cert, key, Ok(chain), Ok(private))) => {
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .and_then(|config| {
                        config
                            .with_root_certificates(RootCertStore::empty())
                            .with_client_auth_cert(chain, private)
                    })
                    .err()
                    .map(|error| unusable(cert, key, error))
                    .into_iter()
                    .collect()
            }
            Some((_, _, chain, private)) => chain.err().into_iter().chain(private.err()).collect(),
        };
        ca.into_iter().chain(pair).collect()
    }

    /// The certificates for a new connection; `None` without files. Without a file of authorities
    /// those of the system are trusted.
    ///
    /// # Errors
    /// If the files were never usable.
    fn certificates(&self) -> Result<Option<TlsCertificates>, RedisError> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let mut read = self.read.lock();
        self.look(&mut read);
        match (&read.inside, &read.bad) {
            (Some(inside), _) => Ok(Some(inside.certificates())),
            (None, bad) => {
                let why = bad.clone().unwrap_or_default();
                Err((ErrorKind::Client, "a file of TLS cannot be used:", why).into())
            }
        }
    }

    /// Whether the contents differ from those of the connection before.
    pub(super) fn changed(&self) -> bool {
        let mut read = self.read.lock();
        let before = read.inside.clone();
        self.look(&mut read);
        match (&before, &read.inside) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            _ => false,
        }
    }

    fn look(&self, read: &mut Read) {
        let found = self.inside();
        if let (Ok(found), Some(inside)) = (&found, &read.inside)
            && *found == **inside
        {
            read.bad = None;
            return;
        }
        let bad = match found {
            Ok(found) => match self.problems().into_iter().next() {
                Some(error) => error.to_string(),
                None => {
                    let is_new = read.inside.replace(Arc::new(found)).is_some();
                    if is_new {
                        tracing::info!("the TLS files for Redis have changed and are in use");
                    }
                    read.bad = None;
                    return;
                }
            },
            Err((path, error)) => format!("cannot read `{}`: {error}", path.display()),
        };
        if read.bad.as_ref() != Some(&bad) && read.inside.is_some() {
            tracing::warn!(
                error = bad,
                "the TLS files for Redis have changed and cannot be used; the former ones stay in use"
            );
        }
        read.bad = Some(bad);
    }

    fn inside(&self) -> Result<Inside, (PathBuf, io::Error)> {
        let bytes = |path: &Option<PathBuf>| {
            let read = |path: &PathBuf| fs::read(path).map_err(|error| (path.clone(), error));
            path.as_ref().map(read).transpose()
        };
        let TlsFiles { ca, cert, key } = &self.files;
        Ok(Inside { ca: bytes(ca)?, pair: bytes(cert)?.zip(bytes(key)?) })
    }
}

impl Inside {
    fn certificates(&self) -> TlsCertificates {
        let pair = self.pair.clone();
        TlsCertificates {
            client_tls: pair
                .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
            root_cert: self.ca.clone(),
        }
    }
}
