//! Connections to other nodes: TCP, with TLS where the node speaks it on its public port.
//!
//! TLS is for secrecy here, not for trust. A node's certificate names the public host, not the
//! address by which nodes reach each other, so it is not verified. Who is at the other end is proved
//! by the seal of each answer.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::edge::tcp::Tcp;

/// Longest time to connect, TLS included.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Opens connections for hyper's client.
#[derive(Clone)]
pub(super) struct Connector;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Tcp>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Tcp>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let opened = timeout(PATIENCE, open(&uri)).await;
            Ok(TokioIo::new(opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?))
        })
    }
}

async fn open(uri: &Uri) -> io::Result<Tcp> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
    let host = uri.host().ok_or_else(wrong)?;
    // an address of version 6 stands in brackets
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let stream = TcpStream::connect((host, uri.port_u16().ok_or_else(wrong)?)).await?;
    stream.set_nodelay(true)?;
    if uri.scheme_str() != Some("https") {
        return Ok(Tcp::Plain(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    let stream = TlsConnector::from(TLS.clone()).connect(name, stream).await?;
    Ok(Tcp::Tls(Box::new(stream.into())))
}

static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Arc::new(config)
});

/// Takes any certificate whose key the peer has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Connection for Tcp {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
