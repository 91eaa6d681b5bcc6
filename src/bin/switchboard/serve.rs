//! Runs the server: wires the parts in the order in which they start, and waits for signals.

use std::{fmt, io, net::SocketAddr, process, time::Duration};

use switchboard::{
    Authenticate, Config, Switchboard,
    admin::BoundAdmin,
    builtin,
    config::{self, AuthMode, Loaded, LogLevel, Running},
    interceptor::{Logging, Propagate},
    server::{Builder, ServeError, migrate as migrate_store},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{self, Answer, ServeArgs, emit::Emit, token::Check},
    logs,
};

/// Why the server ended: the failure and its causes.
pub(crate) struct Failure(Box<dyn std::error::Error>);

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Serves until a signal, drains, and returns.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let level = logs::start(&args.loaded.config.log);
    for warning in &args.loaded.warnings {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(serve(args, level))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| format!("cannot start the runtime: {error}").into())
}

/// Emits one event and returns.
pub(crate) fn emit(emit: Emit) -> Result<(), Failure> {
    // The link to Redis is news for a server. A command that succeeds stays silent.
    let mut log = emit.config.log.clone();
    if log.level == LogLevel::Info {
        log.level = LogLevel::Warn;
    }
    logs::start(&log);
    Ok(runtime()?.block_on(cli::emit::send(emit))?)
}

/// Brings the store's tables up to date.
pub(crate) fn migrate(config: &Config) -> Result<(), Failure> {
    logs::start(&config.log);
    runtime()?.block_on(migrate_store(config))?;
    tracing::info!("the store's tables are up to date");
    Ok(())
}

/// Says what a token is worth. The keys may have to be fetched.
pub(crate) fn check(check: &Check) -> Result<Answer, Failure> {
    Ok(runtime()?.block_on(cli::token::check(check)))
}

async fn serve(args: ServeArgs, level: logs::Level) -> Result<(), Failure> {
    let ServeArgs { loaded, dev, sources, wait_for_redis } = args;
    let config = loaded.config.clone();
    // Before the port is open, so that an early signal is not lost.
    let mut signals =
        Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let authenticate = Authenticate::from_config(&config.auth)?;
    let server = builder(&config, &authenticate).wait_for_redis(wait_for_redis).build()?;
    let admin = bind_admin(&server, &config, dev).await?;
    let bound = server.bind(config.listen).await?;
    let address = bound.local_addr();
    tracing::info!(
        %address,
        node.id = %server.node(),
        version = env!("CARGO_PKG_VERSION"),
        workers = config.workers,
        "listening"
    );
    warn_if_open(&loaded, address);
    let admin_address = admin.as_ref().map(BoundAdmin::local_addr);
    if let Some(address) = admin_address {
        tracing::info!(%address, "listening for administration");
    }
    if dev {
        // The reader of standard output may have gone away.
        _ = greet(&mut io::stdout(), address, admin_address, &config);
    }
    let mut reloader =
        Reloader { server, authenticate, level, sources, running: Running::new(loaded), address };
    let shutdown = async {
        while signals.next().await == Received::Reload {
            reloader.reload();
        }
        tokio::spawn(async move {
            let second = async { while signals.next().await == Received::Reload {} };
            if !dev {
                second.await;
                tracing::warn!("stopped at once by a second signal");
                process::exit(i32::from(cli::exit::FAILED));
            }
            // A developer wants the port back at once, and has no users to drain.
            _ = tokio::time::timeout(DEV_PATIENCE, second).await;
            process::exit(i32::from(cli::exit::FINE));
        });
    };
    // The admin port serves to the very end, so that a drain can be watched.
    let administration = async {
        match admin {
            Some(admin) => admin.serve().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = bound.serve(shutdown) => Ok(served?),
        never = administration => match never {},
    }
}

/// Binds the admin port. A busy port is an error, except the default one of `--dev`: any port will
/// do then.
async fn bind_admin(
    server: &Switchboard,
    config: &Config,
    dev: bool,
) -> Result<Option<BoundAdmin>, ServeError> {
    let Some(address) = config.admin_listen else { return Ok(None) };
    let is_default = config.admin_listen == Config::default().admin_listen;
    match server.bind_admin(address).await {
        Err(ServeError::BindAdmin { source, .. })
            if dev && is_default && source.kind() == io::ErrorKind::AddrInUse =>
        {
            server.bind_admin(SocketAddr::new(address.ip(), 0)).await.map(Some)
        }
        bound => bound.map(Some),
    }
}

fn builder(config: &Config, authenticate: &Authenticate) -> Builder {
    Switchboard::builder()
        .config(config.clone())
        .global_middleware(authenticate.clone())
        .global_interceptor(Logging)
        .global_interceptor(Propagate)
        .gateway(builtin::gateway(config, authenticate))
}

/// Reloads the reloadable part of the configuration on a signal.
struct Reloader {
    server: Switchboard,
    authenticate: Authenticate,
    level: logs::Level,
    sources: config::Sources,
    running: Running,
    address: SocketAddr,
}

impl Reloader {
    /// Loads the configuration again. An error is logged, and then nothing changes.
    fn reload(&mut self) {
        let loaded = match self.running.load_again(&self.sources) {
            Ok(loaded) => loaded,
            Err(errors) => {
                for problem in errors.problems() {
                    tracing::error!("not reloaded: {problem}");
                }
                return;
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        if let Err(error) = self.authenticate.reload(&loaded.config.auth) {
            tracing::error!("not reloaded: {error}");
            return;
        }
        if let Err(error) = self.server.reload(&loaded.config) {
            tracing::error!("the certificate is not reloaded: {error}");
        }
        self.level.set(&loaded.config.log);
        let waiting = self.running.needs_restart(&loaded);
        if !waiting.is_empty() {
            tracing::warn!("changed, and in use only after a restart: {}", waiting.join(", "));
        }
        warn_if_open(&loaded, self.address);
        self.running.take(loaded);
        tracing::info!("keys, limits and log level reloaded");
    }
}

/// Warns if tokens are not checked, unless the configuration asks for that.
fn warn_if_open(loaded: &Loaded, address: SocketAddr) {
    let auth = &loaded.config.auth;
    if auth.mode != AuthMode::None && !auth.has_key() {
        tracing::warn!(
            %address,
            "nobody is asked who they are: no key is set (auth.hs256_secret, auth.public_key_file or \
             auth.jwks_url), so whoever connects to {address} is a guest, with a token or without; \
             auth.mode = \"none\" says that this is meant"
        );
    }
}

/// The greeting of `--dev`: addresses, and tokens to use there.
fn greet(
    to: &mut impl io::Write,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    config: &Config,
) -> io::Result<()> {
    let scheme = if config.tls.cert_file.is_some() { "https" } else { "http" };
    writeln!(to, "Switchboard for development: {scheme}://{address} (path {})", config.path)?;
    writeln!(to, "Its secret is known to everybody. Never use --dev where others can reach it.")?;
    if let Some(admin) = admin {
        writeln!(
            to,
            "Administration: http://{admin}/api/v1/openapi.json and http://{admin}/metrics"
        )?;
    }
    if config.inbox.enabled && keeps_nothing(config) {
        writeln!(
            to,
            "Messages for who is away wait in memory (the inbox), and are gone when the server ends."
        )?;
    }
    if let Some(secret) = config.auth.hs256_secret.first() {
        for user in ["alice", "bob"] {
            let token = cli::token::for_user(&config.auth, secret, user, DAY);
            writeln!(to, "A token for {user}, good for a day:\n{token}")?;
        }
    }
    let port = match address.port() {
        3000 => String::new(),
        port => format!(" PORT={port}"),
    };
    let admin = match admin {
        Some(admin) if Some(admin) != Config::default().admin_listen => {
            format!(" ADMIN=http://{admin}")
        }
        _ => String::new(),
    };
    writeln!(to, "What next: in a second terminal, where you have the source of Switchboard:")?;
    writeln!(to, "    make page{port}{admin}")?;
    writeln!(to, "and open http://127.0.0.1:8080 in two tabs. Ctrl-C ends the server.")
}

/// Whether the store is the memory of this process.
fn keeps_nothing(config: &Config) -> bool {
    config.store.url.as_ref().is_some_and(|url| url.expose() == "sqlite::memory:")
}

/// Longest shutdown of a development server.
const DEV_PATIENCE: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop,
            _ = self.interrupt.recv() => Received::Stop,
            _ = self.hangup.recv() => Received::Reload,
        }
    }
}
