//! The arguments as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use switchboard::config::Sources;

use super::Environment;

/// A Socket.IO-compatible server that knows its users.
#[derive(Debug, Parser)]
#[command(
    name = "switchboard",
    version,
    propagate_version = true,
    args_conflicts_with_subcommands = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    #[command(flatten)]
    pub(super) serve: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Run the server (also without a command)
    Serve(ConfigArgs),
    /// Write a signed token to standard output, or say what one is worth
    Token(TokenArgs),
    /// Write the effective configuration as TOML, secrets masked, or a file to begin with
    Config(ShowArgs),
    /// Bring the tables of the store up to date
    Migrate(ConfigArgs),
    /// Emit an event through Redis, to any cluster of Switchboard or Node.js nodes
    Emit(EmitArgs),
    /// Write a project that uses the library
    New(NewArgs),
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Name of the package, and of the folder that is made here
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// Take the library from this checkout; without --path and --git from the one that this program
    /// was built in
    #[arg(long, value_name = "CHECKOUT", conflicts_with = "git")]
    pub(super) path: Option<PathBuf>,
    /// Take the library from this repository
    #[arg(long, value_name = "URL")]
    pub(super) git: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Write a commented configuration file with every key and its default instead
    #[arg(long, exclusive = true)]
    pub(super) init: bool,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

/// Where the configuration comes from. Flags win over the environment (`SWITCHBOARD_…`), which
/// wins over the file.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file (TOML); also from SWITCHBOARD_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Public address: Socket.IO, /healthz, /readyz
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Administration address: /metrics, /api/v1; empty: none
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Redis that links the nodes
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// Start even if Redis cannot be reached yet, and join the cluster when it can
    #[arg(long)]
    pub(super) wait_for_redis: bool,
    /// Path of the Socket.IO endpoint
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Name of this node in the cluster
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Threads that connections are spread over; 0: everything runs on one thread
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Development: 127.0.0.1 only, with a secret that everybody knows and an inbox in memory
    #[arg(long)]
    pub(super) dev: bool,
}

impl ConfigArgs {
    pub(super) fn sources(self, env: Environment) -> Sources {
        let flags = [
            ("--listen", "listen", self.listen),
            ("--admin-listen", "admin_listen", self.admin_listen),
            ("--redis-url", "redis.url", self.redis_url),
            ("--path", "path", self.path),
            ("--node-id", "node_id", self.node_id),
            ("--workers", "workers", self.workers),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let sources = file_and_env(self.config, env).dev(self.dev);
        flags.into_iter().fold(sources, |sources, (flag, key, value)| match value {
            Some(value) => sources.flag(flag, key, value),
            None => sources,
        })
    }
}

/// The sources with the file of `--config`, or else of `SWITCHBOARD_CONFIG`, or else none.
fn file_and_env(file: Option<PathBuf>, env: Environment) -> Sources {
    let named = env.iter().find(|(name, value)| name == "SWITCHBOARD_CONFIG" && !value.is_empty());
    let file = file.or_else(|| named.map(|(_, path)| path.into()));
    let sources = Sources::new().env(env);
    match file {
        Some(file) => sources.file(file),
        None => sources,
    }
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Say what this token is worth, and why; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["ttl", "rooms", "claims"])]
    pub(super) check: Option<String>,
    /// The user's id
    #[arg(long, value_name = "ID", required_unless_present = "check", conflicts_with = "check")]
    pub(super) user: Option<String>,
    /// How long the token is valid, such as 30s, 10m or 1h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(super) ttl: String,
    /// Rooms to join at connect, separated by commas
    #[arg(long, value_name = "ROOMS", value_delimiter = ',')]
    pub(super) rooms: Vec<String>,
    /// A further claim, such as plan='"pro"' or may_join='["team:*"]'; may be repeated
    #[arg(long = "claim", value_name = "KEY=JSON")]
    pub(super) claims: Vec<String>,
    /// Configuration file (TOML) with the keys; also from SWITCHBOARD_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use the development secret, unless another is configured
    #[arg(long)]
    dev: bool,
}

impl TokenArgs {
    pub(super) fn sources(&self, env: Environment) -> Sources {
        file_and_env(self.config.clone(), env).dev(self.dev)
    }
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct EmitArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Namespace
    #[arg(long, value_name = "NS", default_value = "/")]
    pub(super) namespace: String,
    /// Name of the event
    #[arg(value_name = "EVENT")]
    pub(super) event: String,
    /// Arguments, each in JSON
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(super) args: Vec<String>,
    /// Configuration file (TOML) with the section [redis]; also from SWITCHBOARD_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Redis that links the nodes; also from SWITCHBOARD_REDIS__URL or REDIS_URL
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
}

impl EmitArgs {
    pub(super) fn sources(&self, env: Environment) -> Sources {
        let sources = file_and_env(self.config.clone(), env);
        match &self.redis_url {
            Some(url) => sources.flag("--redis-url", "redis.url", url.clone()),
            None => sources,
        }
    }
}

/// The targets of an event.
#[derive(Debug)]
pub(super) enum Target {
    User(String),
    Room(String),
    All,
    Authenticated,
}

impl TargetArgs {
    pub(super) fn target(self) -> Target {
        match self {
            Self { user: Some(user), .. } => Target::User(user),
            Self { room: Some(room), .. } => Target::Room(room),
            Self { authenticated: true, .. } => Target::Authenticated,
            // clap ensures that exactly one is given.
            Self { .. } => Target::All,
        }
    }
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct TargetArgs {
    /// To all sockets of a user
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    user: Option<String>,
    /// To all sockets in a room
    #[arg(long, value_name = "ROOM", allow_hyphen_values = true)]
    room: Option<String>,
    /// To all sockets
    #[arg(long)]
    all: bool,
    /// To all sockets that have shown a valid token
    #[arg(long)]
    authenticated: bool,
}
