//! The admin port of a server: bound before anything runs, served as long as somebody waits.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{ServeError, Switchboard};
use crate::{
    admin,
    config::{Config, Secrets},
    fault::Fault,
    sockets::node::Context,
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

    /// Says something to the other nodes, and waits until Redis has all of it.
    ///
    /// # Errors
    /// `unavailable` if it does not have it in time, refuses it, or the link is down; what was
    /// meant for this node is done all the same.
    pub(crate) async fn reaching_all<T>(&self, say: impl FnOnce() -> T) -> Result<T, Fault> {
        let Some(peers) = &self.0.peers else { return Ok(say()) };
        let reaching = peers.reaching();
        let said = say();
        reaching.all().await?;
        Ok(said)
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
