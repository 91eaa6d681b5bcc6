//! The admin port of a server: bound before anything runs, served as long as somebody waits.

use std::{convert::Infallible, net::SocketAddr};

use tokio::net::TcpListener;

use crate::server::{ServeError, Switchboard};

/// An admin port that has its address and is ready to be served.
pub struct BoundAdmin {
    server: Switchboard,
    listener: TcpListener,
    address: SocketAddr,
}

impl Switchboard {
    /// Binds an address for `/metrics` and the administration API, `/api/v1`. Port 0 takes a free
    /// one, see [`BoundAdmin::local_addr`]. `admin_listen` of the configuration is not looked at;
    /// the keys are those of its `admin.api_keys`.
    ///
    /// # Errors
    /// If the address cannot be listened on, or others can reach it and there are no keys.
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

    /// Serves until the future is dropped, which ends the requests under way, too. Not ended by a
    /// drain, so that one can be watched.
    pub async fn serve(self) -> Infallible {
        let exposed = !self.address.ip().is_loopback();
        super::serve(self.listener, super::router(self.server, exposed)).await
    }
}
