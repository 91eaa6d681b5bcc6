//! TLS to another node.
//!
//! It is for secrecy here, not for trust. A node's certificate names the public host, not the
//! address by which nodes reach each other, so it is not verified. Who is at the other end is proved
//! by the seal of each answer.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{any_certificate, edge::tcp::Stream};

/// Speaks TLS on a connection to the node at this host.
///
/// # Errors
/// If it does not.
pub(in crate::edge) async fn connect(host: &str, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(Box::new(TlsConnector::from(TLS.clone()).connect(name, stream).await?))
}

static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(any_certificate::client()));
