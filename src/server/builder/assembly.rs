//! Puts the parts of a server together, in the order in which they need one another.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use arc_swap::ArcSwap;
use socketioxide::SocketIo;
use tokio::sync::OnceCell;

#[cfg(not(feature = "admin-ui"))]
use super::super::no_admin_ui::{self as admin_ui, AdminUi};
#[cfg(feature = "admin")]
use super::super::remembered::Remembered;
use super::{
    super::{
        Inner, Switchboard,
        error::BuildError,
        health,
        history::history,
        join::{ClusterParts, NewClusterParts, relay},
        roaming::{handover, roam},
        settings::{edge_options, engine, secrets},
        store::stores,
    },
    Builder,
};
#[cfg(feature = "admin-ui")]
use crate::admin_ui::{self, AdminUi};
#[cfg(feature = "postgres")]
use crate::outbox::{Outbox, Ways};
use crate::{
    cluster::peers::Peers,
    config::Config,
    edge::Edge,
    gateway::{
        Gateway,
        entrance::{Entrance, Surroundings},
        extract::App,
        handler::Handler,
        lifecycle::PresenceChange,
        opening,
    },
    id::NodeId,
    inbox::Inbox,
    sockets::{
        adapter::{Adapter, Adapters, Paths, State},
        farewell,
        node::Node,
        socket::Expiry,
    },
    store::Stores,
    telemetry::traces::Tracer,
    users::{Itself, PresenceSink},
};

impl Builder {
    /// Builds the server. Nothing listens yet.
    ///
    /// ```
    /// use switchboard::{Switchboard, config::Config, server::BuildError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut config = Config::default();
    /// config.engine.max_payload = 0;
    /// let Err(BuildError::Config(broken)) = Switchboard::builder().config(config).build() else {
    ///     panic!("clients could send nothing");
    /// };
    /// assert_eq!(broken[0].to_string(), "engine.max_payload: must be more than 0");
    /// # }
    /// ```
    ///
    /// # Errors
    /// Outside of a tokio runtime, if the gateways contradict each other, or if a setting cannot be
    /// used: the rules are those of the configuration file.
    pub fn build(mut self) -> Result<Switchboard, BuildError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let mut config = self.config;
        let broken = config.broken_for_server();
        if !broken.is_empty() {
            return Err(BuildError::Config(broken));
        }
        config.admin_ui = self.admin_ui.unwrap_or(config.admin_ui);
        let parser = self.parser.unwrap_or(config.engine.parser);
        let node = config.node_id.as_deref().map_or_else(NodeId::random, NodeId::named);
        #[cfg(feature = "otlp")]
        let tracer = match self.tracer_provider {
            Some(provider) => Ok(Tracer::foreign(&provider, &config.traces)),
            None => Tracer::new(&config, &node),
        };
        #[cfg(not(feature = "otlp"))]
        let tracer = Tracer::new(&config, &node);
        let tracer = tracer.map_err(|error| BuildError::Traces(Box::new(error)))?;
        let node = Node::new(node, parser, &config).traced(tracer).with_states(self.states);
        let node = Arc::new(node.secured(self.secure || self.tls.is_some()));
        if let Some(problem) = self.problem {
            return Err(BuildError::Handler(problem));
        }
        check_handlers(&node, &self.gateways, |app| {
            self.on_presence.iter().try_for_each(|it| it.check(app))?;
            self.middlewares.iter().try_for_each(|it| it.check(app))?;
            self.interceptors.iter().try_for_each(|it| it.check(app))?;
            self.fallback.iter().try_for_each(|it| it.check(app))?;
            self.allow_request.iter().try_for_each(|it| it.check(app))
        })?;
        let presence = self.on_presence.map(|handler| listen_to_presence(&node, handler));
        let adapters = Arc::new(Adapters::default());
        let counted = Arc::downgrade(&adapters);
        let sockets = move || counted.upgrade().map_or(0, |adapters| adapters.socket_count());
        let itself = Itself::new(node.id().clone(), Arc::new(sockets));
        #[cfg(feature = "admin")]
        let table = self.local.as_ref().map(|local| local.0.lock().remembered.clone());
        let new = NewClusterParts {
            config: &config,
            itself,
            local: self.local,
            broker: self.broker,
            directory: self.user_directory,
            presence,
            adapters: &adapters,
        };
        let ClusterParts { peers, directory, redis, meeting } = ClusterParts::new(new)?;
        adapters.set_peers(peers.clone());
        let admin_ui = admin_ui(&config, &node, &adapters, &peers)?;
        let mut hidden = admin_ui.as_ref().map(AdminUi::gateway);
        let all = self.gateways.iter_mut().chain(&mut hidden);
        let handlers = all.map(|gateway| gateway.take_server_side(&node)).collect();
        let relay = peers.as_ref().map(|peers| relay(peers, &adapters, &node, &config, handlers));
        let mut paths = Paths::default();
        self.gateways.iter().for_each(|gateway| paths.add(gateway.path()));
        let paths = Arc::new(paths);
        node.transports().count_unknown_namespaces({
            let (adapters, paths) = (Arc::downgrade(&adapters), paths.clone());
            move |name| {
                paths.has(name)
                    || adapters.upgrade().is_some_and(|adapters| adapters.get(name).is_some())
            }
        });
        let state = State {
            paths,
            node: node.clone(),
            adapters: adapters.clone(),
            peers: peers.clone(),
            farewell: farewell::namespace(),
            hidden: admin_ui.is_some().then(|| config.admin_ui.namespace.as_str().into()),
        };
        let farewell = state.farewell.clone();
        let (service, io) = engine(&config, parser).with_adapter::<Adapter>(state).build_svc();
        farewell::open(&io, &farewell, &node);
        let options = edge_options(&config, &node, meeting.as_ref())?;
        let edge = Edge::new(options, service, node.transports().clone());
        edge.set_starting(peers.is_some());
        if let Some(handler) = self.allow_request {
            edge.set_on_opening(opening::for_edge(&node, handler));
        }

        // Before the namespaces are made, which write their sessions.
        if let Some(recovery) = node.recovery() {
            roam(&config, recovery, &node, &adapters, redis.as_ref(), &edge);
            node.tasks.spawn(adapters.clone().look_after_recovery(node.clone()));
        }
        let handover = handover(&config, &node, &adapters, peers.as_ref(), edge.hop());
        let stores = stores(&config)?;
        let history = history(&config, stores.as_ref(), &node, &directory, edge.hop());
        let inbox = stores.as_ref().filter(|_| config.inbox.enabled).map(|stores| {
            Inbox::start(config.inbox.clone(), stores.inbox.clone(), &node, edge.hop())
        });
        #[cfg(feature = "postgres")]
        let outbox = outbox(&config, stores.as_ref(), || Ways {
            node: node.clone(),
            adapters: adapters.clone(),
            peers: peers.clone(),
            inbox: inbox.clone(),
        })?;
        let around = Surroundings {
            handover: handover.clone(),
            adapters: adapters.clone(),
            directory: directory.clone(),
            node: node.clone(),
            expiry: config.auth.revalidate.then(|| Expiry::start(&node)),
        };
        for gateway in self.gateways {
            let fallback = self.fallback.as_ref();
            let mut gateway = gateway.build(&self.middlewares, &self.interceptors, fallback);
            gateway.measure(node.meters());
            gateway.inbox = inbox.clone();
            add(&io, Entrance::new(gateway, around.clone()))?;
        }
        if let Some(hidden) = hidden {
            // The namespace is not for users: none of their middlewares and interceptors sees it,
            // and nothing is kept for whoever is there.
            add(&io, Entrance::new(hidden.build(&[], &[], None), around))?;
        }
        let links = health::Links {
            peers: peers.clone(),
            commands: redis.clone(),
            inbox: inbox.clone(),
            history: history.clone(),
        };
        let health = health::routes(node.clone(), links, directory.clone());
        let routes = health.clone().merge(self.routes.unwrap_or_default());
        let api_keys = ArcSwap::from_pointee(config.admin.api_keys.clone());
        #[cfg(feature = "admin")]
        let remembered = match &redis {
            Some(redis) => redis.remembered(&config),
            None => Remembered::Here(table.unwrap_or_default()),
        };
        let server = Arc::new(Inner {
            config,
            node,
            adapters,
            directory,
            peers,
            relay,
            redis,
            wait_for_redis: self.wait_for_redis,
            joined: OnceCell::new(),
            admin_ui,
            io,
            edge,
            handover,
            history,
            inbox,
            stores,
            #[cfg(feature = "postgres")]
            outbox,
            meeting,
            health,
            routes,
            api_keys,
            #[cfg(feature = "admin")]
            remembered,
            tls: self.tls.map(OnceLock::from).unwrap_or_default(),
            is_mounted: AtomicBool::new(false),
        });
        server.node.set_server(Arc::downgrade(&server));
        Ok(Switchboard(server))
    }
}

/// The outbox, if it is enabled: its rules have seen to it that there is a Postgres.
#[cfg(feature = "postgres")]
fn outbox(
    config: &Config,
    stores: Option<&Stores>,
    ways: impl FnOnce() -> Ways,
) -> Result<Option<Arc<Outbox>>, BuildError> {
    let database = stores.and_then(|stores| stores.postgres.clone());
    let Some(database) = database.filter(|_| config.outbox.enabled) else { return Ok(None) };
    let outbox = Outbox::new(config.outbox.clone(), database, ways());
    let refused = |error| BuildError::Store(Box::new(error));
    outbox.map(Arc::new).map(Some).map_err(refused)
}

/// Whether every handler finds what it asks for.
fn check_handlers(
    node: &Node,
    gateways: &[Gateway],
    of_all: impl FnOnce(App<'_>) -> Result<(), String>,
) -> Result<(), BuildError> {
    let app = App::new(node);
    of_all(app).map_err(BuildError::Handler)?;
    let problem = |gateway: &Gateway| {
        let (path, reason) = (gateway.path().to_owned(), gateway.problem(app)?);
        Some(BuildError::Gateway { path, reason })
    };
    gateways.iter().find_map(problem).map_or(Ok(()), Err)
}

fn admin_ui(
    config: &Config,
    node: &Arc<Node>,
    adapters: &Arc<Adapters>,
    peers: &Option<Arc<Peers>>,
) -> Result<Option<AdminUi>, BuildError> {
    if !config.admin_ui.enabled {
        return Ok(None);
    }
    let secrets = secrets(config);
    let new = admin_ui::New { config: &config.admin_ui, secrets, node, adapters, peers };
    AdminUi::new(new).map(Some).map_err(BuildError::AdminUi)
}

fn add(io: &SocketIo<Adapter>, entrance: Entrance) -> Result<(), BuildError> {
    let path = entrance.path().to_owned();
    let refuse = |reason: String| Err(BuildError::Gateway { path: path.clone(), reason });
    if !path.starts_with('/') {
        return refuse("a namespace starts with a slash".into());
    }
    if path.contains('{') {
        return io.dyn_ns(path.clone(), entrance).or_else(|error| refuse(error.to_string()));
    }
    if io.of(&path).is_some() {
        return refuse("there is one already".into());
    }
    io.ns(path, entrance);
    Ok(())
}

fn listen_to_presence(node: &Arc<Node>, handler: Arc<dyn Handler<PresenceChange>>) -> PresenceSink {
    let sink = PresenceSink::default();
    let (changes, stop, here) = (sink.clone(), node.stop.clone(), node.clone());
    node.tasks.spawn(async move {
        while let Some(presence) = stop.run_until_cancelled(changes.next()).await {
            PresenceChange::new(&here, presence).tell(&*handler).await;
        }
    });
    sink
}
