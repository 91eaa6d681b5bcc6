//! The admin port of a server: bound before anything runs, served as long as somebody waits.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{ServeError, Switchboard};
use crate::{
    admin,
    config::{Config, Secrets},
    context::Context,
};

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

    /// The keys of the admin API, as of now.
    pub(crate) fn api_keys(&self) -> Arc<Secrets> {
        self.0.api_keys.load_full()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether the other nodes hear this one, or there are none.
    pub(crate) fn is_linked(&self) -> bool {
        self.0.peers.as_ref().is_none_or(|peers| peers.is_up())
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
        admin::serve(self.listener, admin::router(self.server, exposed)).await
    }
}
