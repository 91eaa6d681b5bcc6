//! Connections to other nodes: TCP, with TLS where the node speaks it on its public port.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{net::TcpStream, time::timeout};

use crate::edge::{tcp::Tcp, tls};

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
    tls::connect(host, stream).await.map(Tcp::Other)
}

impl Connection for Tcp {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
