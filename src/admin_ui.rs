//! The official Socket.IO Admin UI: a namespace that speaks the protocol of `@socket.io/admin-ui`.
//!
//! `auth` decides who may enter, `actions` holds the page's actions, and `feed` sends what the page
//! shows. `protocol` has the shapes, `stats` the numbers, and `attention` knows whether a page is
//! open. The namespace is hidden: no user's token opens it, and its sockets are not shown, counted
//! or reported. Its events travel between nodes like all others. So instrumented Node.js nodes
//! appear on the page as well, and our nodes on theirs.

mod actions;
mod attention;
mod auth;
mod feed;
mod protocol;
mod stats;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use attention::Attention;
use auth::{By, Doorkeeper, Shown};
use feed::{Feed, LOOKING, Sources};
use parking_lot::Mutex;
use protocol::Feature;
use tokio::sync::mpsc;

use crate::{
    cluster::peers::Peers,
    config::{self, AdminUiMode},
    fault::{Code, Fault},
    gateway::{Gateway, handshake::Handshake},
    sockets::{adapter::Adapters, emitter::Emitter, node::Node, socket::Socket, watch::Watch},
};

/// Marks a socket that gave the password, so that it gets a session id.
const LOGGED_IN: &str = "logged_in";

/// Most upgrades that may wait to be reported.
const UPGRADES: usize = 1024;

/// The Admin UI of one node.
pub(crate) struct AdminUi {
    shared: Arc<Shared>,
    /// `None` once the feed has started.
    sources: Mutex<Option<Sources>>,
}

/// The state that the parts share.
struct Shared {
    namespace: Box<str>,
    server_id: Box<str>,
    development: bool,
    read_only: bool,
    door: Doorkeeper,
    node: Arc<Node>,
    adapters: Arc<Adapters>,
    peers: Option<Arc<Peers>>,
    attention: Attention,
    /// The last answer of `attention`.
    looked_at: AtomicBool,
}

/// The parts of an Admin UI.
pub(crate) struct New<'a> {
    pub(crate) config: &'a config::AdminUi,
    /// The secrets of the cluster. There may be none.
    pub(crate) secrets: Vec<Vec<u8>>,
    pub(crate) node: &'a Arc<Node>,
    pub(crate) adapters: &'a Arc<Adapters>,
    pub(crate) peers: &'a Option<Arc<Peers>>,
}

impl AdminUi {
    /// # Errors
    /// If there are no credentials, or the password or the namespace cannot be used.
    pub(crate) fn new(new: New<'_>) -> Result<Self, String> {
        let New { config, secrets, node, adapters, peers } = new;
        config::check_namespace(&config.namespace)
            .map_err(|rule| format!("the namespace {rule}"))?;
        let development = config.mode == AdminUiMode::Development;
        let server_id = config.server_id.as_deref().unwrap_or(node.id().as_str());
        let shared = Shared {
            namespace: config.namespace.as_str().into(),
            server_id: server_id.into(),
            development,
            read_only: config.read_only,
            door: Doorkeeper::new(config, &secrets)?,
            node: node.clone(),
            adapters: adapters.clone(),
            peers: peers.clone(),
            attention: Attention::default(),
            looked_at: AtomicBool::new(false),
        };
        let happenings = development.then(|| {
            let (watch, happenings) = Watch::new();
            node.set_watch(watch);
            happenings
        });
        let (upgraded, upgrades) = mpsc::channel(UPGRADES);
        node.transports().count_traffic(upgraded);
        let sources = Sources { happenings, upgrades };
        Ok(Self { shared: Arc::new(shared), sources: Mutex::new(Some(sources)) })
    }

    /// The namespace, without the middleware and interceptors of the others.
    pub(crate) fn gateway(&self) -> Gateway {
        let shared = self.shared.clone();
        let gateway =
            Gateway::new(&*self.shared.namespace).refusing_in_words().refuse_unknown_events();
        let gateway = gateway.middleware(move |handshake: Handshake| {
            let shared = shared.clone();
            async move { shared.admit(&handshake).await }
        });
        let shared = self.shared.clone();
        let gateway = gateway.on_connect(move |session: Socket| {
            let shared = shared.clone();
            async move { shared.welcome(&session) }
        });
        let shared = self.shared.clone();
        let gateway = gateway.on_server_side(LOOKING, move || {
            shared.attention.elsewhere(Instant::now());
            shared.weigh_attention();
            std::future::ready(())
        });
        match self.shared.read_only {
            true => gateway,
            false => actions::add(gateway, &self.shared),
        }
    }

    /// Starts the feed, on the caller's runtime. A second call does nothing.
    pub(crate) fn start(&self) {
        if let Some(sources) = self.sources.lock().take() {
            let node = &self.shared.node;
            node.tasks.spawn(Feed::new(self.shared.clone()).run(sources));
            let (look, stop) = (self.shared.clone().look_for_nodejs(), node.stop.clone());
            node.tasks.spawn(async move { stop.run_until_cancelled(look).await });
        }
    }
}

impl Shared {
    fn of(&self, namespace: &str) -> Emitter {
        Emitter::of(&self.adapters, &self.node, self.peers.as_ref(), namespace)
    }

    async fn admit(&self, handshake: &Handshake) -> Result<(), Fault> {
        let shown: Shown = handshake.auth().unwrap_or_default();
        let from = handshake.peer_addr();
        let admitted = self.door.admit(&shown, from).await;
        match &admitted {
            Ok(By::Password) => handshake.socket().set(LOGGED_IN, &true)?,
            Ok(By::Socket) => {}
            // Attempts are limited, so these lines are few. The refusals beyond the limit must not
            // fill the log.
            Err(fault) if fault.code() == Code::Unauthorized => {
                tracing::warn!(?from, "somebody was not let into the admin UI");
            }
            Err(fault) => {
                let (fault, reason) = (fault.code().as_str(), fault.for_log());
                tracing::debug!(?from, fault, reason, "somebody was not let into the admin UI");
            }
        }
        admitted.map(|by| tracing::info!(?from, ?by, "an admin has logged in"))
    }

    /// Tells a new admin its possible actions, and the state of the cluster.
    fn welcome(self: Arc<Self>, session: &Socket) {
        let features = self.features();
        let greeted = (|| {
            if session.get(LOGGED_IN)?.unwrap_or(false) {
                session.emit("session", &self.door.new_session())?;
            }
            session.emit("config", &protocol::Config { supported_features: features })?;
            Ok::<_, Fault>(())
        })();
        if greeted.is_err() {
            // Logged at the place of the failure.
            return session.disconnect(false);
        }
        // From now on every node reports what happens; then the present state can be asked for.
        self.look_here();
        if self.development {
            let (shared, session) = (self.clone(), session.clone());
            let listed = async move {
                let sockets = shared.all_sockets().await;
                if let Err(error) = session.emit("all_sockets", &sockets) {
                    tracing::error!(%error, "cannot send an admin the list of sockets");
                }
            };
            let stop = self.node.stop.clone();
            self.node.tasks.spawn(async move { stop.run_until_cancelled(listed).await });
        }
    }

    fn features(&self) -> Vec<Feature> {
        let actions = Feature::ACTIONS.into_iter().filter(|_| !self.read_only);
        let events = self.development.then_some(Feature::AllEvents);
        actions.chain([Feature::AggregatedEvents]).chain(events).collect()
    }
}
