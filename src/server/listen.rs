//! Listening: the address is bound before anything runs, so that a bad one fails the start.

use std::{convert::Infallible, future::Future, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
use tokio_util::sync::CancellationToken;

use super::{ServeError, Switchboard, workers::Workers};
use crate::edge::{Tls, serve_connection};

/// A server with its address, ready to serve.
///
/// ```
/// use switchboard::{Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// let bound = server.bind("127.0.0.1:0").await?;
/// assert_ne!(bound.local_addr().port(), 0);
/// # Ok(())
/// # }
/// ```
pub struct Bound {
    server: Switchboard,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Switchboard {
    /// Binds the address. Port 0 takes a free one, see [`Bound::local_addr`].
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, server::ServeError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let bound = server.bind("127.0.0.1:0").await?;
    /// assert!(matches!(server.bind(bound.local_addr()).await, Err(ServeError::Bind { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the address cannot be listened on, the configured certificate cannot be used, or Redis
    /// cannot be reached.
    pub async fn bind(&self, address: impl ToSocketAddrs) -> Result<Bound, ServeError> {
        let tls = self.certificate()?;
        let addresses: Vec<SocketAddr> =
            lookup_host(address).await.map_err(ServeError::Address)?.collect();
        let named: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let failed = |source| ServeError::Bind { address: named.join(", "), source };
        let listener = listen_on(&addresses).map_err(&failed)?;
        self.join().await?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { server: self.clone(), listener, address, tls })
    }

    /// The certificate for a port: the one in use, or that of the configuration.
    fn certificate(&self) -> Result<Option<Tls>, ServeError> {
        let files = &self.0.config.tls;
        match (self.0.tls.get(), &files.cert_file, &files.key_file) {
            (Some(tls), ..) => Ok(Some(tls.clone())),
            (None, Some(cert), Some(key)) => {
                let tls = Tls::load(cert.clone(), key.clone())
                    .map_err(|error| ServeError::Tls(Box::new(error)))?;
                Ok(Some(self.0.tls.get_or_init(|| tls).clone()))
            }
            _ => Ok(None),
        }
    }
}

/// Connections that may wait to be accepted, as far as the system allows it. When a network is back
/// all its clients come at once, and who finds no room tries again after a second only.
const BACKLOG: u32 = 4096;

/// Listens on the first of these addresses that can be bound.
fn listen_on(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match listen_at(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A node that is started again finds its port free, whatever connections the last one had.
    // Elsewhere the option would share the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Bound {
    /// The address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends, then [drains](Switchboard::drain): new clients are refused,
    /// the others are told and moved elsewhere, handlers under way finish.
    ///
    /// With `workers` set, connections are spread over that many threads, each with a runtime of
    /// its own. Otherwise everything runs on the caller's runtime. Dropping the future stops the
    /// server at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Config, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::default();
    /// config.drain.grace = Duration::ZERO;
    /// config.drain.spread = Duration::ZERO;
    /// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
    /// let bound = server.bind("127.0.0.1:0").await?;
    /// bound.serve(async { println!("asked to stop") }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a worker cannot be started, or the drain takes longer than `drain.timeout`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { server, listener, address, tls } = self;
        let workers = Workers::start(server.0.config.workers).map_err(ServeError::Worker)?;
        let stop = CancellationToken::new();
        // Accepting also stops when this future is dropped.
        let _stop_at_the_end = stop.clone().drop_guard();
        // Only now anybody can reach the node, and so it can try itself.
        let address = stop.clone().run_until_cancelled_owned({
            let (server, tls) = (server.clone(), tls.is_some());
            async move { server.publish_address(address, tls).await }
        });
        tokio::spawn(address);
        let until_drained = async {
            shutdown.await;
            server.drain().await
        };
        // Accepting goes on during the drain: new clients are told to go elsewhere.
        let drained = tokio::select! {
            drained = until_drained => drained,
            never = accept(server.clone(), listener, tls, stop.clone(), &workers) => match never {},
        };
        stop.cancel();
        // A drain that took too long has not left the cluster yet. A second leave changes nothing.
        server.leave_cluster().await;
        server.0.node.stop.cancel();
        workers.join().await;
        // This is last, so that every span until here is exported.
        server.close().await;
        drained
    }
}

/// Accepts connections for ever.
async fn accept(
    server: Switchboard,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: CancellationToken,
    workers: &Workers,
) -> Infallible {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let (server, tls, stop) = (server.clone(), tls.clone(), stop.clone());
        let handed_over = workers.run(stream, move |stream: TcpStream| async move {
            serve_connection(stream, peer, server.site(), tls, stop).await;
        });
        handed_over.await;
    }
}

/// Pauses after a lack of file descriptors, which only time mends. A connection that broke before
/// it was accepted needs no pause.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept a connection");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use test_kit::waiting::within;

    use super::*;

    #[tokio::test]
    async fn many_may_come_at_once() {
        let listener = listen_on(&[([127, 0, 0, 1], 0).into()]).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let mut waiting = Vec::new();
        // Nobody accepts them.
        for _ in 0..600 {
            let stream = within("room", TcpStream::connect(address)).await;
            waiting.push(stream.expect("connected"));
        }
    }

    #[tokio::test]
    async fn the_first_address_that_is_free_is_taken() {
        let taken = listen_on(&[([127, 0, 0, 1], 0).into()]).expect("a free port");
        let address = taken.local_addr().expect("it listens");
        let free = ([127, 0, 0, 1], 0).into();
        let other = listen_on(&[address, free]).expect("the second one");
        assert_ne!(other.local_addr().expect("it listens"), address);
        let error = listen_on(&[address]).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(listen_on(&[]).is_err());
    }
}
