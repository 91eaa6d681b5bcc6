//! In the place of the Admin UI, where the crate is built without it.

use std::sync::Arc;

use crate::{
    cluster::peers::Peers,
    config,
    gateway::Gateway,
    sockets::{adapter::Adapters, node::Node},
};

/// There is none.
pub(super) enum AdminUi {}

pub(super) struct New<'a> {
    pub(super) config: &'a config::AdminUi,
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) node: &'a Arc<Node>,
    pub(super) adapters: &'a Arc<Adapters>,
    pub(super) peers: &'a Option<Arc<Peers>>,
}

impl AdminUi {
    pub(super) fn new(_: New<'_>) -> Result<Self, String> {
        Err("this build does not have the cargo feature `admin-ui`".into())
    }

    pub(super) fn gateway(&self) -> Gateway {
        match *self {}
    }

    pub(super) fn start(&self) {
        match *self {}
    }
}
