//! The admin port of a server: bound before anything runs, served until its future is dropped.

use std::{convert::Infallible, net::SocketAddr};

use tokio::net::TcpListener;

use crate::server::{ServeError, Switchboard};

/// An admin port with its address, ready to be served.
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Config, Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut config = Config::default();
/// # (config.drain.grace, config.drain.spread) = (Duration::ZERO, Duration::ZERO);
/// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
/// let admin = server.bind_admin("127.0.0.1:0".parse()?).await?;
/// let bound = server.bind("127.0.0.1:0").await?;
/// println!("metrics: http://{}/metrics", admin.local_addr());
/// # let shutdown = async {};
/// tokio::select! {
///     served = bound.serve(shutdown) => served?,
///     never = admin.serve() => match never {},
/// }
/// # Ok(())
/// # }
/// ```
pub struct BoundAdmin {
    server: Switchboard,
    listener: TcpListener,
    address: SocketAddr,
}

impl Switchboard {
    /// Binds an address for `/metrics` and the administration API, `/api/v1`. Port 0 takes a free
    /// one, see [`BoundAdmin::local_addr`]. The keys are those of `admin.api_keys` in the
    /// configuration; `admin_listen` is not read.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, server::ServeError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let exposed = server.bind_admin("0.0.0.0:0".parse()?).await;
    /// assert!(matches!(exposed, Err(ServeError::AdminKeys(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the address cannot be listened on, or if other hosts can reach it and there are no keys.
    pub async fn bind_admin(&self, address: SocketAddr) -> Result<BoundAdmin, ServeError> {
        if !address.ip().is_loopback() && self.api_keys().is_empty() {
            return Err(ServeError::AdminKeys(address));
        }
        let failed = |source| ServeError::BindAdmin { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(BoundAdmin { server: self.clone(), listener, address })
    }
}

impl BoundAdmin {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped, which also ends the requests under way. A drain does not
    /// end it, so that the drain can be watched.
    pub async fn serve(self) -> Infallible {
        let exposed = !self.address.ip().is_loopback();
        super::serve(self.listener, super::router(self.server, exposed)).await
    }
}
